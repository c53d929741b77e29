// What happened in a conversation, one record for each thing, as nodes tell the broker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/wire/exit_reason.hpp"

namespace liminal {

enum class TimelineEvent : std::uint8_t {
  // told by the conversation's node
  kOpened = 0,            // text: its policy and its roles
  kPhase = 1,             // text: the phase entered, and of Failed why
  kPlaced = 2,            // a role got its instance; text: why that node
  kUnplaced = 3,          // none could be found; text: why
  kSent = 4,              // message, cause, attempt
  kReplied = 5,           // message: the request; a reply arrived
  kDone = 6,              // message: the request; done without a reply
  kExpired = 7,           // message: the request; out of time
  kRefused = 8,           // message: the request; text: why it was not taken for good
  kCancelled = 9,         // message: the request; cancelled and never begun
  kLeft = 10,             // reason; with nothing unanswered
  kCrashed = 11,          // reason, with its evidence
  kEnded = 12,            // reason; the conversation caused it
  kRerouted = 13,         // text: the decision; its requests are sent again, as other attempts
  kCompensating = 14,     // message: the compensation's, cause: the request to undo, attempt
  kCompensated = 15,      // cause: the request that is undone
  kNothingToUndo = 16,    // cause: the request; text: why
  kNotCompensated = 17,   // cause: the request; text: what could not be undone, and why
  kCancelRequested = 18,  // text: by whom
  // told by a participant's node
  kBegun = 19,     // message, attempt
  kAnswered = 20,  // message, attempt; text: reply, done, expired, cancelled
};

/// "opened", "phase", "placed", ...: one word each, as `liminal timeline` prints it.
[[nodiscard]] std::string_view name_of(TimelineEvent event);
/// What every request makes: sent, replied, done, begun, answered. Where room is short these go
/// first.
[[nodiscard]] bool is_routine(TimelineEvent event);
/// Whether it is the conversation's node that tells of it, rather than a participant's.
[[nodiscard]] bool is_told_by_opener(TimelineEvent event);

/// One thing that happened, as the node saw it on which it happened. Bounded: each text by
/// wire::kTextBytesMax.
struct TimelineRecord {
  ConversationId conversation;
  TimelineEvent event;
  Duration at = Duration::zero();  // of the telling node's own clock: for people, it orders nothing
  std::string role = {};
  std::optional<Pid> participant = {};
  std::optional<MessageId> message = {};
  std::optional<MessageId> cause = {};
  std::uint32_t attempt = 0;  // 0: none
  std::optional<ExitReason> reason = {};
  std::string text = {};
  friend bool operator==(const TimelineRecord&, const TimelineRecord&) = default;
};

/// What a record takes of frames and memory, roughly and never less.
[[nodiscard]] std::size_t weight_bytes(const TimelineRecord& record);

/// How many records of a conversation routine ones may take, of `records_max` in all: the rest is
/// kept for what matters more. Nodes and broker count alike.
[[nodiscard]] constexpr std::size_t routine_records_max(std::size_t records_max) {
  return records_max - (records_max + 3) / 4;
}

}  // namespace liminal
