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

}  // namespace liminal
