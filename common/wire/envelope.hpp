// What participants exchange: a payload and what the system must know about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/payload.hpp"
#include "common/base/time.hpp"

namespace liminal {

enum class EnvelopeKind : std::uint8_t {
  kRequest = 0,  // do this
  kReply = 1,    // the request `parent` is done, with this reply
  kDone = 2,     // the request `parent` is done, without a reply
  kExpired = 3,  // the request `parent` was out of time before it was done; it may have begun
};

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

  friend bool operator==(const Envelope&, const Envelope&) = default;
};

}  // namespace liminal
