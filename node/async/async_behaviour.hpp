// What a participant that awaits does with a request: the part that a user of the library writes.
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "node/conversation/conversation_awaits.hpp"
#include "node/conversation/conversation_supervisor.hpp"
#include "node/participant/participant_maker.hpp"
#include "node/scheduler/task.hpp"

namespace liminal {

/// What an AsyncBehaviour reaches from within its coroutines, one for each participant.
///
/// Thread affinity: its participant's turns, that is, its coroutines.
/// Lifetime: the participant's.
class ParticipantContext {
 public:
  /// A conversation that serves the request at hand: what is sent in it has the request as its
  /// cause and keeps to its deadline. If the request is not carried out to its end (it expires, is
  /// cancelled, or its participant crashes or ends), the conversation is cancelled, and ends by its
  /// policy. One that is let go unclosed ends after orphan_timeout, as everywhere.
  /// Errors: those of ConversationSupervisor::spawn().
  [[nodiscard]] Result<ConversationActor> spawn(ConversationConfig config);

  /// One request and its reply, in such a conversation of its own, closed afterwards.
  /// Errors: as liminal::ask().
  [[nodiscard]] Task<Result<Payload>> ask(ServiceName service, Payload payload, Duration timeout,
                                          CrashPolicy on_crash);

  /// Of this moment's turn.
  [[nodiscard]] TimePoint now() const { return host_.context().now(); }
  /// The participant's own generator.
  [[nodiscard]] Random& random() { return host_.context().random(); }
  [[nodiscard]] const Pid& self() const { return host_.context().self(); }

 private:
  friend class AsyncParticipant;
  ParticipantContext(TaskHost& host, ConversationSupervisor& conversations)
      : host_(host), conversations_(conversations) {}

  void cancel_nested(const char* why);

  TaskHost& host_;
  ConversationSupervisor& conversations_;
  std::vector<ConversationHandle::Weak> nested_;  // of the request at hand
};

/// What an instance of a service does, as coroutines: while one waits for a reply or for time to
/// pass, it holds no thread. An instance serves one conversation and is asked for one thing at a
/// time.
///
/// What blocks does not belong here: it stops a worker, and blocking calls of a ConversationHandle
/// are kUsage. See ParticipantBehaviour::blocking().
///
/// A request that expires or is cancelled, or whose participant ends, ends its coroutine where it
/// waits: what is on its stack is destroyed, what it waits for is given up, and the conversations
/// that it opened are cancelled.
///
/// Thread affinity: as ParticipantBehaviour.
/// Errors: an exception that leaves a coroutine is the participant's exit with error(what).
class AsyncBehaviour {
 public:
  virtual ~AsyncBehaviour() = default;

  /// The reply, or nothing: then the request is done without one.
  [[nodiscard]] virtual Task<std::optional<Payload>> process(Request request,
                                                             ParticipantContext& context) = 0;

  /// Undoes what process() did; see ParticipantBehaviour::compensate().
  [[nodiscard]] virtual Task<> compensate(Compensation compensation, ParticipantContext& context);
};

using AsyncBehaviourFactory = std::function<std::unique_ptr<AsyncBehaviour>()>;

/// A factory of a behaviour whose type is known; it says whether that compensates.
template <class Factory>
concept TypedAsyncBehaviourFactory = std::copy_constructible<Factory> && requires(Factory factory) {
  typename std::invoke_result_t<Factory&>::element_type;
  { factory() } -> std::convertible_to<std::unique_ptr<AsyncBehaviour>>;
  requires !std::same_as<typename std::invoke_result_t<Factory&>::element_type, AsyncBehaviour>;
};

/// Makes participants that converse through `conversations`, which outlives the scheduler's
/// drivers. Where the factory's type does not say whether its behaviours compensate.
[[nodiscard]] ParticipantMaker async_participants(ConversationSupervisor& conversations,
                                                  AsyncBehaviourFactory factory, Undo undo);

/// The same, of a behaviour that compensates if it has a compensate() of its own (see
/// kCompensates).
template <TypedAsyncBehaviourFactory Factory>
[[nodiscard]] ParticipantMaker async_participants(ConversationSupervisor& conversations,
                                                  Factory factory) {
  using Behaviour = typename std::invoke_result_t<Factory&>::element_type;
  constexpr bool compensates =
      !std::is_same_v<decltype(&Behaviour::compensate), decltype(&AsyncBehaviour::compensate)>;
  return async_participants(conversations, AsyncBehaviourFactory{std::move(factory)},
                            compensates ? Undo::kCompensates : Undo::kNone);
}

}  // namespace liminal
