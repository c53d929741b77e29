// What is shown of timelines and summaries: times, short ids, sentences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/time.hpp"
#include "common/wire/timeline_frames.hpp"

namespace liminal::cli {

/// A whole timeline, put in order of cause.
struct Timeline {
  control::TimelineReply head;      // without `told` and `next`
  std::vector<control::Told> told;  // as it is to be shown
  std::vector<Duration> at;         // of each: since the earliest, see below
};

/// `reply` with the told of all pages.
///
/// Times of one node are exact. Between nodes, whose clocks have nothing to do with each other,
/// each clock is taken to be as far off the broker's as the quickest of its records says; so they
/// may be off by what a record takes to the broker, and need not grow along the timeline.
[[nodiscard]] Timeline arrange(control::TimelineReply reply);

/// The last hex digits of each id, at least four and as many as keep all of these apart.
class ShortIds {
 public:
  explicit ShortIds(const std::vector<control::Told>& told);
  [[nodiscard]] std::string operator()(const MessageId& id) const;

 private:
  std::size_t digits_ = 4;
};

[[nodiscard]] std::string timeline_text(const Timeline& timeline);
/// Without those that ended, an empty list is one of open conversations.
[[nodiscard]] std::string conversations_text(
    const std::vector<control::ConversationSummary>& summaries, std::uint64_t forgotten,
    bool with_ended = true);

/// "open", "ended", "node gone".
[[nodiscard]] std::string_view name_of(control::ConversationStanding standing);

}  // namespace liminal::cli
