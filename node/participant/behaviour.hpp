// What a participant does with a request, and to undo it: the part that a user of the library
// writes.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
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

/// A request that is to be undone. Without a reply it may have been done, in part or not at all:
/// undoing what never ran must be fine. It may be undone more than once, each time with the id that
/// it was done with.
struct Compensation {
  Request request;  // of its attempts nothing is said: `attempt` and `deadline` are those below
  MessageId id;     // of this undoing
  std::uint32_t attempt = 1;
  std::optional<Payload> reply = {};
  std::optional<TimePoint> deadline = {};
};

/// What an instance of a service does. An instance serves one conversation and is asked for one
/// thing at a time.
///
/// Thread affinity: called by one thread at a time, with a happens-before from call to call; made
/// and destroyed on threads of the scheduler.
/// Errors: an exception that leaves process() or compensate() is the participant's exit with
/// error(what).
class ParticipantBehaviour {
 public:
  virtual ~ParticipantBehaviour() = default;

  /// The reply, or nothing: then the request is done without one.
  [[nodiscard]] virtual std::optional<Payload> process(const Request& request) = 0;

  /// Undoes what process() did. Not called unless the service was offered as one that compensates;
  /// kCompensates says when it is.
  virtual void compensate(const Compensation&) {
    throw std::logic_error("asked to undo a request, which this service cannot");
  }

  /// Whether process() and compensate() may block or take long; they then run on the pool for
  /// blocking work, and may still run when their participant has ended. Asked once.
  [[nodiscard]] virtual bool blocking() const { return false; }
};

using BehaviourFactory = std::function<std::unique_ptr<ParticipantBehaviour>()>;

/// Whether a service can undo its requests, where the type of its behaviour does not say so.
enum class Undo : std::uint8_t { kNone, kCompensates };

/// Whether a behaviour, or what it derives from, has a compensate() of its own. It has to be
/// public, and the only function of that name.
template <std::derived_from<ParticipantBehaviour> Behaviour>
inline constexpr bool kCompensates =
    !std::is_same_v<decltype(&Behaviour::compensate), decltype(&ParticipantBehaviour::compensate)>;

/// A factory whose type says what behaviour it makes, and so whether that compensates. One that
/// makes a unique_ptr<ParticipantBehaviour> does not: it has to be said (Undo).
// What is cheap to refuse comes first: whether a ParticipantMaker can be copied is asked where it is
// made of one of these, and a compiler may not ask that of it in turn.
template <class Factory>
concept TypedBehaviourFactory = requires(Factory factory) {
  typename std::invoke_result_t<Factory&>::element_type;
  { factory() } -> std::convertible_to<std::unique_ptr<ParticipantBehaviour>>;
  requires !std::same_as<typename std::invoke_result_t<Factory&>::element_type,
                         ParticipantBehaviour>;
} && std::copy_constructible<Factory>;

template <TypedBehaviourFactory Factory>
[[nodiscard]] constexpr Undo undo_of() {
  return kCompensates<typename std::invoke_result_t<Factory&>::element_type> ? Undo::kCompensates
                                                                             : Undo::kNone;
}

/// Replies with the payload.
class EchoBehaviour final : public ParticipantBehaviour {
 public:
  [[nodiscard]] std::optional<Payload> process(const Request& request) override {
    return request.payload;
  }
};

}  // namespace liminal
