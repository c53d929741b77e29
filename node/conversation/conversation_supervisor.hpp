// Opens the conversations of a node.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "node/conversation/conversation_actor.hpp"
#include "node/participant/service_registry.hpp"
#include "node/timeline/timeline_sink.hpp"

namespace liminal {

/// Spawns conversations; knows how many are open.
///
/// Thread-safety: all functions from any thread, handlers of processes included (wait_until_none()
/// excepted: it blocks).
/// Lifetime: scheduler and directory outlive it, and every handle's last call. It is
/// destroyed after the scheduler's drivers were stopped.
class ConversationSupervisor {
 public:
  struct Settings {
    std::size_t conversations_max = 10'000;
    std::size_t attachments_max = 10'000;  // to conversations elsewhere
    TimelineSink timeline = {};            // told what happens in them; empty: nobody keeps it
    /// Makes the participants of spawn_with_participant(), and counts them; outlives this. Null:
    /// those calls are kUnsupported.
    const ServiceRegistry* participants = nullptr;
  };

  ConversationSupervisor(Scheduler& scheduler, const Directory& directory, Settings settings);
  ConversationSupervisor(Scheduler& scheduler, const Directory& directory)
      : ConversationSupervisor(scheduler, directory, Settings{}) {}
  ~ConversationSupervisor();
  ConversationSupervisor(const ConversationSupervisor&) = delete;
  ConversationSupervisor& operator=(const ConversationSupervisor&) = delete;

  /// Errors: kUsage (see validate()), kRejected at conversations_max,
  /// kConversationFailed after shutdown().
  [[nodiscard]] Result<ConversationActor> spawn(ConversationConfig config);

  /// A conversation whose only participant, in the role "participant", is what `maker` makes, on
  /// this node and without a service: owned, so it ends with the conversation, and its crash is a
  /// crash. Where a policy needs another one, another one is made here.
  /// `config` says all but the participants: ConversationConfig{CrashPolicy::kFail}.
  /// Errors: those of spawn(); kUsage (`config` names participants).
  [[nodiscard]] Result<ConversationActor> spawn_with_participant(ConversationConfig config,
                                                                 ParticipantMaker maker);

  [[nodiscard]] Scheduler& scheduler() { return scheduler_; }

  /// A handle to a conversation that somebody opened, here or on another node; returns at once.
  /// Whether it is still there is learned by calling: one that is over, or whose node is lost, ends
  /// every call in kConversationFailed; one that has remote_handles_max attachments, in kRejected.
  /// It keeps the conversation from being orphaned as every handle does. One attachment for each
  /// call: copy the handle rather than attach again.
  /// Errors: kUsage (a reference to no process), kRejected at attachments_max, kConversationFailed
  /// (one of this node that is over; after shutdown()).
  [[nodiscard]] Result<ConversationHandle> attach(const ConversationRef& ref);

  /// Attachments to conversations elsewhere that have not ended.
  [[nodiscard]] std::size_t attachments() const { return registry_->attachments(); }

  /// Conversations whose process has not ended: over, it stays while others have replies to fetch.
  [[nodiscard]] std::size_t open() const { return registry_->open(); }

  /// Has a conversation end by its policy; does not wait for it. False if it is not open here: what
  /// is ending, or being undone already, goes its way. `by` says who wants it, for people.
  bool cancel(const ConversationId& id, std::string by);

  /// Has each open conversation tell the timeline again that it is open, and its phase: another
  /// broker does not know it, or took it for lost with the incarnation that its node had. Returns
  /// at once; told in steps, kRetoldAtOnce conversations every kRetellPause, so that the recorder
  /// has room. Called again meanwhile it begins anew.
  void retell();
  static constexpr std::size_t kRetoldAtOnce = 64;
  static constexpr Duration kRetellPause = std::chrono::milliseconds{20};

  /// Refuses new ones and closes all, those under Compensate by undoing what they did; lets go of
  /// all attachments: whoever waits on one is told that the outcome is unknown. Does not wait for
  /// it.
  void shutdown();
  /// Blocks until none is open, and after shutdown() no attachment left, at most for `timeout`.
  /// False if some are.
  [[nodiscard]] bool wait_until_none(Duration timeout) {
    return registry_->wait_until_none(timeout);
  }

 private:
  [[nodiscard]] Result<ConversationActor> spawn(ConversationConfig config,
                                                std::function<Result<Scheduler::Instance>()> make);

  Scheduler& scheduler_;
  const Directory& directory_;
  const ServiceRegistry* const participants_;
  const TimelineSink timeline_;
  const std::shared_ptr<std::atomic<std::uint64_t>> retellings_;  // begun; theirs too
  std::shared_ptr<ConversationRegistry> registry_;
};

/// One request and its reply: opens a conversation with an instance of `service`, asks, and closes
/// it. Blocks for `timeout` at most, and as long again for what the policy undoes; what is not over
/// by then ends by itself.
/// Errors: those of spawn() and ConversationHandle::ask(); kCompensated and kCompensationFailed
/// where there was something to undo; in a process's turn kUsage.
[[nodiscard]] Result<Payload> ask(ConversationSupervisor& conversations, const ServiceName& service,
                                  Payload payload, Duration timeout, CrashPolicy on_crash);

/// What to tell whoever got `error` in a conversation that ended so: that what was done was undone,
/// or could not be, where there was something to undo; else the error.
[[nodiscard]] Error what_it_came_to(const ConversationState& end, Error error);

}  // namespace liminal
