// An envelope that could not be delivered, and why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/wire/signal.hpp"

namespace liminal {

enum class DeadLetterCause : std::uint8_t {
  kNoProcess,    // its receiver was gone when it came
  kNotRead,      // its receiver ended with it unread
  kNodeGone,     // the receiver's node is down, left, or was never there
  kSessionLost,  // the node was lost before it acknowledged it: it may have been read there
  kLateReply,    // nobody waits for it, or not any more
  kExpired,      // a request that was out of time before it was started
  kRejected,     // refused at a limit, for good
};
inline constexpr std::size_t kDeadLetterCauses = 7;

/// "no such process", "ended with it unread", "node gone", "session lost", "late reply", "expired",
/// "rejected".
[[nodiscard]] std::string_view name_of(DeadLetterCause cause);

struct DeadLetter {
  DeadLetterCause cause;
  Pid from, to;
  MessageId message;
  ConversationId conversation;
  EnvelopeKind kind;
  std::size_t payload_bytes;
  TimePoint at;  // nearly: when the turn began in which it was given up

  [[nodiscard]] static DeadLetter of(DeadLetterCause cause, const Pid& from, const Pid& to,
                                     const Envelope& envelope, TimePoint at) {
    return {
        cause, from, to, envelope.id, envelope.conversation, envelope.kind, envelope.payload.size(),
        at};
  }

  friend bool operator==(const DeadLetter&, const DeadLetter&) = default;
};

}  // namespace liminal
