// What participants exchange: a payload and what the system must know about it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/payload.hpp"
#include "common/base/time.hpp"

namespace liminal {

enum class EnvelopeKind : std::uint8_t {
  kRequest = 0,     // do this
  kReply = 1,       // the request `parent` is done, with this reply
  kDone = 2,        // the request `parent` is done, without a reply
  kExpired = 3,     // the request `parent` was out of time before it was done; it may have begun
  kCompensate = 4,  // undo the request `parent`
  kCancelled = 5,   // the request `parent` was cancelled, and was never begun
  kCall = 6,        // of a handle elsewhere to its conversation: its first header says which
  kOutcome = 7,     // of the call `parent`: its first header says which
};

/// Whether an envelope of this kind is work for a participant.
[[nodiscard]] constexpr bool is_work(EnvelopeKind kind) {
  return kind == EnvelopeKind::kRequest || kind == EnvelopeKind::kCompensate;
}

/// Whether an envelope of this kind asks for something, so that an answer is owed.
[[nodiscard]] constexpr bool is_asked(EnvelopeKind kind) {
  return is_work(kind) || kind == EnvelopeKind::kCall;
}

/// How large the state of a conversation may be that an outcome tells, whatever payload-max is:
/// such a payload travels whole.
inline constexpr std::size_t kStateBytesMax = 64 * 1024;

/// How large a payload of this kind may be where those of requests and replies may be `of_one`: a
/// compensation carries one of each, an outcome a reply or a conversation's state.
[[nodiscard]] constexpr std::size_t payload_bytes_max_of(EnvelopeKind kind, std::size_t of_one) {
  if (kind == EnvelopeKind::kOutcome) return of_one > kStateBytesMax ? of_one : kStateBytesMax;
  if (kind != EnvelopeKind::kCompensate) return of_one;
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  return of_one > kMost / 2 ? kMost : 2 * of_one;
}

/// "request", "reply", "done", "expired", "compensate", "cancelled", "call", "outcome".
[[nodiscard]] std::string_view name_of(EnvelopeKind kind);

/// Its publisher is the process that sends it: the `from` of the signal that carries it, which the
/// connection proved, so that it is not said twice.
struct Envelope {
  EnvelopeKind kind;
  MessageId id;
  ConversationId conversation;
  std::optional<MessageId> parent = {};    // what caused it: for replies, the request
  std::uint32_t attempt = 1;               // which attempt to have this request done
  bool wants_reply = false;                // requests only
  std::string schema = {};                 // names the form of the payload; empty: plain bytes
  std::string trace = {};                  // W3C traceparent; empty: none
  std::optional<TimePoint> deadline = {};  // on the wire: the time that remains
  std::vector<std::pair<std::string, std::string>> headers = {};
  Payload payload = {};
  /// kCompensate only: its payload is the request's, and from here on the reply's; none: there is
  /// no reply to look at. Never beyond the payload's end.
  std::optional<std::uint64_t> reply_at = {};

  friend bool operator==(const Envelope&, const Envelope&) = default;
};

}  // namespace liminal
