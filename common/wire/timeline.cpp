#include "common/wire/timeline.hpp"

namespace liminal {

std::string_view name_of(TimelineEvent event) {
  switch (event) {
    case TimelineEvent::kOpened:
      return "opened";
    case TimelineEvent::kPhase:
      return "phase";
    case TimelineEvent::kPlaced:
      return "placed";
    case TimelineEvent::kUnplaced:
      return "unplaced";
    case TimelineEvent::kSent:
      return "sent";
    case TimelineEvent::kReplied:
      return "replied";
    case TimelineEvent::kDone:
      return "done";
    case TimelineEvent::kExpired:
      return "expired";
    case TimelineEvent::kRefused:
      return "refused";
    case TimelineEvent::kCancelled:
      return "cancelled";
    case TimelineEvent::kLeft:
      return "left";
    case TimelineEvent::kCrashed:
      return "crashed";
    case TimelineEvent::kEnded:
      return "ended";
    case TimelineEvent::kRerouted:
      return "rerouted";
    case TimelineEvent::kCompensating:
      return "compensating";
    case TimelineEvent::kCompensated:
      return "compensated";
    case TimelineEvent::kNothingToUndo:
      return "nothing-to-undo";
    case TimelineEvent::kNotCompensated:
      return "not-compensated";
    case TimelineEvent::kCancelRequested:
      return "cancel-requested";
    case TimelineEvent::kBegun:
      return "begun";
    case TimelineEvent::kAnswered:
      return "answered";
  }
  return "?";
}

bool is_routine(TimelineEvent event) {
  switch (event) {
    case TimelineEvent::kSent:
    case TimelineEvent::kReplied:
    case TimelineEvent::kDone:
    case TimelineEvent::kBegun:
    case TimelineEvent::kAnswered:
      return true;
    default:
      return false;
  }
}

bool is_told_by_opener(TimelineEvent event) {
  return event != TimelineEvent::kBegun && event != TimelineEvent::kAnswered;
}

std::size_t weight_bytes(const TimelineRecord& record) {
  constexpr std::size_t kFixed = 256;  // ids, numbers, evidence, heads, and what holds them
  std::size_t bytes = kFixed + record.role.size() + record.text.size();
  if (record.reason) bytes += record.reason->text.size();
  if (record.participant) bytes += record.participant->node.value().size();
  return bytes;
}

}  // namespace liminal
