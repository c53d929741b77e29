// What a participant does with a request: the part that a user of the library writes.
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

/// A request as its behaviour sees it.
struct Request {
  MessageId id;  // the same on every attempt: the idempotence key
  ConversationId conversation;
  std::uint32_t attempt = 1;
  std::string schema = {};
  std::string trace = {};
  std::optional<TimePoint> deadline = {};
  std::vector<std::pair<std::string, std::string>> headers = {};
  Payload payload = {};
};

/// What an instance of a service does. An instance serves one conversation and gets one request at
/// a time.
///
/// Thread affinity: called by one thread at a time, with a happens-before from call to call; made
/// and destroyed on threads of the scheduler.
/// Errors: an exception that leaves process() is the participant's exit with error(what).
class ParticipantBehaviour {
 public:
  virtual ~ParticipantBehaviour() = default;

  /// The reply, or nothing: then the request is done without one.
  [[nodiscard]] virtual std::optional<Payload> process(const Request& request) = 0;

  /// Whether process() may block or take long; it then runs on the pool for blocking work, and may
  /// still run when its participant has ended. Asked once.
  [[nodiscard]] virtual bool blocking() const { return false; }
};

/// Replies with the payload.
class EchoBehaviour final : public ParticipantBehaviour {
 public:
  [[nodiscard]] std::optional<Payload> process(const Request& request) override {
    return request.payload;
  }
};

}  // namespace liminal
