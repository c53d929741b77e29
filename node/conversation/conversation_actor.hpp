// A conversation as whoever opened it has it.
#pragma once

#include <string>
#include <utility>

#include "node/conversation/conversation_handle.hpp"

namespace liminal {

/// What ConversationSupervisor::spawn() returns. To talk there is handle(); here is what concerns
/// the conversation as a whole. A copy is the same conversation, and keeps it from being orphaned
/// as a handle does.
///
/// Thread-safety: all functions from any thread. Lifetime: as ConversationHandle.
class ConversationActor {
 public:
  [[nodiscard]] ConversationHandle handle() const { return handle_; }

  [[nodiscard]] const ConversationId& id() const { return handle_.id(); }
  /// The pid that stays, whatever becomes of the actor of the moment: see
  /// ConversationHandle::actor_pid().
  [[nodiscard]] const Pid& pid() const { return handle_.pid(); }
  /// What ConversationHandle::query_state() says.
  [[nodiscard]] ConversationState state() const { return handle_.query_state(); }

  /// How long receives that name no time wait, through any handle of this conversation, from now
  /// on. ConversationHandle::kCallTimeout at first.
  void receive_timeout(Duration timeout);

  /// Has `notifier` called exactly once with how the part of the participant in `role` ended: when
  /// its exit is recorded, with the instant of the record; before this returns if it was
  /// recorded already; and when the conversation ends or is lost without it (an attached pid let
  /// go, an instance never made, or killed after close_timeout), without a reason. close() returns
  /// after it. No crash of an actor loses or repeats it.
  ///
  /// It runs in some worker's turn, in the calling thread, or in the one that destroys the
  /// scheduler, and must return soon: what the conversation does next waits for it. It may call
  /// whatever does not block, of this conversation too, this function included. An exception that
  /// leaves it is counted (notifiers_thrown) and does nothing else. It is destroyed after its call;
  /// a handle in it keeps the conversation until then, as every handle does.
  ///
  /// Errors, and it is not called: kUsage (no such role, nothing to call), kRejected
  /// (exit_notifiers_max wait).
  [[nodiscard]] Result<void> notify_on_participant_exit(const std::string& role,
                                                        ExitNotifier notifier);

 private:
  friend class ConversationSupervisor;
  explicit ConversationActor(ConversationHandle handle) : handle_(std::move(handle)) {}

  ConversationHandle handle_;
};

}  // namespace liminal
