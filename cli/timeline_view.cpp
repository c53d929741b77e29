#include "cli/timeline_view.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "cli/text_table.hpp"
#include "common/base/text.hpp"
#include "common/timeline/order.hpp"
#include "common/wire/exit_reason.hpp"
#include "common/wire/limits.hpp"

namespace liminal::cli {
namespace {

constexpr std::size_t kPhaseBytesMax = 200;  // of a line in the list

std::string seconds(Duration duration) {
  char text[48];
  std::snprintf(text, sizeof text, "%.3f", to_ms(duration) / 1000.0);
  return text;
}

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

std::string line_of(std::string_view text) { return escaped_tail(text, wire::kTextBytesMax); }

std::string detail_of(const TimelineRecord& record, const ShortIds& short_id) {
  std::string detail;
  const auto add = [&](const std::string& part) {
    if (!part.empty()) detail += (detail.empty() ? "" : "; ") + part;
  };
  if (record.attempt > 1) add("attempt " + std::to_string(record.attempt));
  if (record.cause) add("because of " + short_id(*record.cause));
  if (record.reason) add(line_of(to_string(*record.reason)));
  add(line_of(record.text));
  return detail;
}

std::string not_kept(std::uint64_t count, const char* one, const char* many) {
  if (count == 0) return "";
  return std::to_string(count) + " " + (count == 1 ? one : many) + (count == 1 ? " was" : " were") +
         " not kept\n";
}

}  // namespace

std::string_view name_of(control::ConversationStanding standing) {
  switch (standing) {
    case control::ConversationStanding::kOpen:
      return "open";
    case control::ConversationStanding::kEnded:
      return "ended";
    case control::ConversationStanding::kNodeLost:
      return "node gone";
  }
  return "?";
}

Timeline arrange(control::TimelineReply reply) {
  // whatever a node claims, differences of times are to be times
  constexpr Duration kLatest = std::chrono::hours{24 * 36'500};
  const auto at_of = [&](const control::Told& told) { return std::min(told.record.at, kLatest); };
  const auto heard_of = [&](const control::Told& told) { return std::min(told.heard, kLatest); };
  const std::vector<control::Told> told = std::exchange(reply.told, {});
  std::map<NodeName, Duration> behind;  // of a node's clock to the broker's
  for (const control::Told& each : told) {
    const Duration offset = heard_of(each) - at_of(each);
    const auto [found, is_new] = behind.try_emplace(each.teller, offset);
    if (!is_new) found->second = std::min(found->second, offset);
  }
  Timeline timeline{std::move(reply), {}, {}};
  for (const std::size_t i : order_by_cause(told)) {
    timeline.told.push_back(told[i]);
    timeline.at.push_back(at_of(told[i]) + behind.at(told[i].teller));
  }
  if (timeline.at.empty()) return timeline;
  const Duration first = *std::min_element(timeline.at.begin(), timeline.at.end());
  for (Duration& at : timeline.at) at -= first;
  return timeline;
}

ShortIds::ShortIds(const std::vector<control::Told>& told) {
  std::set<MessageId> ids;
  for (const auto& each : told) {
    if (each.record.message) ids.insert(*each.record.message);
    if (each.record.cause) ids.insert(*each.record.cause);
  }
  const auto are_apart = [&] {
    std::set<std::string> shown;
    for (const MessageId& id : ids) shown.insert((*this)(id));
    return shown.size() == ids.size();
  };
  constexpr std::size_t kAll = 32;
  while (digits_ < kAll && !are_apart()) ++digits_;
}

std::string ShortIds::operator()(const MessageId& id) const {
  const std::string all = to_string(id);
  return all.substr(all.size() - digits_);
}

std::string timeline_text(const Timeline& timeline) {
  const control::TimelineReply& head = timeline.head;
  std::string text = "conversation " + to_string(head.conversation);
  if (head.summary) {
    const auto& summary = *head.summary;
    text += "  on " + summary.node.value() + "  " + std::string{name_of(summary.standing)};
    if (!summary.phase.empty()) text += "  " + line_of(summary.phase);
    text += "\nopened " + seconds(summary.opened_ago) + " s ago";
    if (summary.ended_ago) text += ", ended " + seconds(*summary.ended_ago) + " s ago";
    text += "\n";
  } else {
    text += "  its own node told nothing of it\n";
  }
  const ShortIds short_id{timeline.told};
  std::vector<std::vector<std::string>> rows{
      {"SECONDS", "NODE", "EVENT", "ROLE", "PARTICIPANT", "MESSAGE", "DETAIL"}};
  for (std::size_t i = 0; i < timeline.told.size(); ++i) {
    const auto& [teller, heard, record] = timeline.told[i];
    std::string participant;
    if (record.participant) {
      participant = record.participant->node.value() + "/" +
                    std::to_string(record.participant->serial.value());
    }
    rows.push_back({seconds(timeline.at[i]), teller.value(), std::string{name_of(record.event)},
                    or_dash(record.role), or_dash(participant),
                    record.message ? short_id(*record.message) : "-", detail_of(record, short_id)});
  }
  text += text_table(rows);
  text += not_kept(head.left_out.routine, "send or reply", "sends and replies");
  text += not_kept(head.left_out.other, "other record", "other records");
  return text;
}

std::string conversations_text(const std::vector<control::ConversationSummary>& summaries,
                               std::uint64_t forgotten, bool with_ended) {
  std::string text;
  if (summaries.empty()) {
    text = with_ended ? "no conversations\n" : "no open conversations\n";
  } else {
    std::vector<std::vector<std::string>> rows{{"CONVERSATION", "NODE", "STATE", "OPENED", "ENDED",
                                                "REQUESTS", "CRASHES", "ABOUT", "PHASE"}};
    for (const auto& summary : summaries) {
      rows.push_back({to_string(summary.conversation), summary.node.value(),
                      std::string{name_of(summary.standing)}, seconds(summary.opened_ago) + " s",
                      summary.ended_ago ? seconds(*summary.ended_ago) + " s" : "-",
                      std::to_string(summary.requests), std::to_string(summary.crashes),
                      or_dash(line_of(summary.about)),
                      escaped_tail(summary.phase, kPhaseBytesMax)});
    }
    text = text_table(rows);
  }
  if (forgotten > 0) {
    text += std::to_string(forgotten) + " more were forgotten by the broker, for want of room\n";
  }
  return text;
}

}  // namespace liminal::cli
