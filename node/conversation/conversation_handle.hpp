// What the user of a conversation holds.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "node/conversation/conversation_ref.hpp"
#include "node/conversation/conversation_registry.hpp"
#include "node/remote/directory.hpp"

namespace liminal {

/// The outcome of a call that a process made through ConversationHandle::tell().
struct ConversationOutcome final : LocalMessage {
  ConversationOutcome(std::uint64_t the_tag, Outcome the_outcome)
      : tag(the_tag), outcome(std::move(the_outcome)) {}
  std::uint64_t tag;
  Outcome outcome;
};

/// The end of a participant's part, for a process that asked through
/// ConversationHandle::tell_exit().
struct ConversationExit final : LocalMessage {
  ConversationExit(std::uint64_t the_tag, ParticipantExit the_exit)
      : tag(the_tag), exit(std::move(the_exit)) {}
  std::uint64_t tag;
  ParticipantExit exit;
};

class AskCall;
class SendCall;
class ReceiveCall;
class CloseCall;

/// A conversation, to talk through. Copies are the same conversation; when the last one is gone the
/// conversation is cancelled after orphan_timeout.
///
/// Three sets of functions over one path: those that block, for threads of the application's own;
/// ..._async(), which a Task awaits; and start_*(), which return at once and tell the outcome to a
/// completion. In a process's turn, where waiting would stop the very thread that is waited for,
/// those that block are kUsage at once.
///
/// No call waits beyond its timeout, whatever became of the conversation, its process, or the
/// scheduler's drivers. A receive that timed out swallows no reply: the next one gets it.
///
/// A handle made by ConversationSupervisor::attach() is of a conversation on another node and does
/// the same; what it shows (query_state(), actor_pid()) is as of the last update from there, and
/// Created without participants until the first one. When its conversation's node is lost, or the
/// way to it, every call ends in kConversationFailed: the outcome is unknown. It stays so; attach
/// again to go on. A reply that was on its way here at that moment is lost.
///
/// Thread-safety: all functions from any thread.
/// Lifetime: may outlive the supervisor, but no call may run while the supervisor is destroyed;
/// afterwards calls fail with kConversationFailed and query_state() goes on working.
class ConversationHandle {
  struct Shared;

 public:
  static constexpr Duration kCallTimeout = std::chrono::seconds{5};

  /// Sends a request; returns when the conversation took it or refused it. The first one starts the
  /// participants. Errors: kRejected (a bound, or a payload over payload-max), kParticipantLeft,
  /// kConversationFailed (closed or failed), kConversationTimeout (nothing answered within
  /// `timeout`). After that last one the request is withdrawn: what was not taken yet is never sent
  /// to anybody; what was taken meanwhile is cancelled (under Compensate it runs on, so that
  /// nothing need be undone), may have had its effect, and its reply is a dead letter. Its id, by
  /// which the participants, the timeline and dead letters know it, is in the error's text.
  ///
  /// Taken is taken, with one exception: on a handle from elsewhere, if this node crashes or is cut
  /// off before the conversation heard that the caller knows (a message each way after this
  /// returned), the request is withdrawn as if it had been given up. A node that stops in order
  /// says so first.
  [[nodiscard]] Result<MessageId> send(Payload payload, SendOptions options = {},
                                       Duration timeout = kCallTimeout);

  /// The same for a request whose reply nobody wants, whatever the conversation's mode.
  [[nodiscard]] Result<MessageId> send_one_way(Payload payload, SendOptions options = {},
                                               Duration timeout = kCallTimeout);

  /// The reply to a request sent with ReplyMode::kCorrelated. Errors: kConversationTimeout (not
  /// yet, or the request's deadline passed), kNoReply, kRejected and kDeferred (it was not taken;
  /// see WhenDeferred), kParticipantCrashed, kNoService, kConversationFailed, kRejected (somebody
  /// waits for it already).
  [[nodiscard]] Result<Payload> receive(const MessageId& request, Duration timeout);
  /// Within the conversation's receive_timeout(); see ConversationActor.
  [[nodiscard]] Result<Payload> receive(const MessageId& request);

  /// The next reply to a request sent with ReplyMode::kInbox, in order of arrival. Errors: as
  /// above, and kParticipantLeft when none can come.
  [[nodiscard]] Result<Payload> receive(Duration timeout);
  [[nodiscard]] Result<Payload> receive();

  /// One request and its reply. After kConversationTimeout that reply is dropped when it comes, and
  /// the participant is told of the deadline, unless `options` have one. Errors: those of send and
  /// receive.
  [[nodiscard]] Result<Payload> ask(Payload payload, Duration timeout, SendOptions options = {});

  /// Ends the conversation, its owned participants included; returns when they are gone or were
  /// killed after close_timeout. No error if it was closed or failed before: query_state() tells.
  /// Errors: kConversationTimeout.
  [[nodiscard]] Result<void> close(Duration timeout = 2 * kCallTimeout);

  /// Has the conversation end by its policy, with kConversationFailed as the cause; does not wait.
  /// Changes nothing once it is closed, failed or compensates. `by` says who wants it, for people.
  void cancel(std::string by);

  /// As of the last decision; after the end, the end.
  [[nodiscard]] ConversationState query_state() const;

  [[nodiscard]] const ConversationId& id() const;
  [[nodiscard]] const Pid& pid() const;
  /// For attach() on other nodes, by whoever reads it; good until this node takes another
  /// incarnation. Errors: kNoBroker (the node has not joined), kConversationFailed (the supervisor
  /// is gone).
  [[nodiscard]] Result<ConversationRef> ref() const;
  /// Of the moment: an actor that crashes is replaced. nullopt before its first turn, and once it
  /// crashed more often than actor_restarts_max allows.
  [[nodiscard]] std::optional<Pid> actor_pid() const;

  /// Has `notifier` called exactly once with how the part of the participant in `role` ended: when
  /// its exit is recorded, with the instant of the record; before on_exit() returns if it was
  /// recorded already; and when the conversation ends or is lost without it (an attached pid let
  /// go, an instance never made, or killed after close_timeout), without a reason. close() returns
  /// after it. No crash of an actor loses or repeats it.
  ///
  /// It runs in some worker's turn, in the calling thread, or in the one that destroys the
  /// scheduler, and must return soon: what the conversation does next waits for it. It may call
  /// whatever does not block, on this handle too, on_exit() included. An exception that leaves it
  /// is counted (notifiers_thrown) and does nothing else. It is destroyed after its call; a handle
  /// in it keeps the conversation until then, as every handle does.
  ///
  /// On a handle from elsewhere that was told no state yet, a role that turns out not to exist is
  /// told as never started.
  ///
  /// Errors, and it is not called: kUsage (no such role, nothing to call), kRejected
  /// (exit_notifiers_max wait).
  [[nodiscard]] Result<void> on_exit(const std::string& role, ExitNotifier notifier);

  // --- for Tasks (node/conversation/conversation_awaits.hpp) ---

  /// `co_await conversation.ask_async(payload, 5s)` and so on: results and errors of those that
  /// block. What the options leave open comes from what the Task is about: the request that its
  /// participant carries out is the cause, and lends its trace; its deadline bounds all of it. A
  /// Task that is destroyed while it waits gives the call up.
  ///
  /// Options have a name of their own, since g++ 12 destroys a braced aggregate in an expression
  /// with co_await where it is not.
  [[nodiscard]] SendCall send_async(Payload payload, Duration timeout = kCallTimeout);
  [[nodiscard]] SendCall send_async(Payload payload, const SendOptions& options,
                                    Duration timeout = kCallTimeout);
  SendCall send_async(Payload, SendOptions&&, Duration = kCallTimeout) = delete;
  [[nodiscard]] AskCall ask_async(Payload payload, Duration timeout);
  [[nodiscard]] AskCall ask_async(Payload payload, Duration timeout, const SendOptions& options);
  AskCall ask_async(Payload, Duration, SendOptions&&) = delete;
  [[nodiscard]] ReceiveCall receive_async(const MessageId& request, Duration timeout);
  [[nodiscard]] ReceiveCall receive_async(Duration timeout);
  [[nodiscard]] CloseCall close_async(Duration timeout = 2 * kCallTimeout);

  // --- for processes, and whoever must not block ---

  using Completion = Waiter::Completion;

  /// A call under way.
  class Pending {
   public:
    /// Gives the call up: if it returns true, its completion is never called, and a reply stays for
    /// the next receive; of an ask it is dropped, and a send is withdrawn. False if the outcome
    /// came first.
    bool cancel();

   private:
    friend class ConversationHandle;
    std::shared_ptr<const void> handle_;  // keeps the conversation from being orphaned
    ConversationRegistry* registry_ = nullptr;
    std::optional<Pid> conversation_;
    std::shared_ptr<Waiter> waiter_;
    std::optional<WaiterId> id_;
    std::optional<MessageId> forget_;         // the request of an ask or a send
    std::shared_ptr<ConversationCell> cell_;  // that may have a reply to it
  };

  /// Each calls `completion` once unless cancelled: in some worker's turn, or before it returns
  /// where the outcome is known at once. What it throws is counted (notifiers_thrown) and does
  /// nothing else. A send's and a close's outcome has an empty payload.
  MessageId start_send(Payload payload, SendOptions options, Completion completion);
  /// The same, where it may have to be given up.
  struct Sending {
    MessageId id;
    Pending pending;
  };
  Sending begin_send(Payload payload, SendOptions options, Completion completion);
  Pending start_receive(std::optional<MessageId> request, Completion completion);
  /// Deadlines are the caller's to set, in `options`; its reply mode is kCorrelated whatever they
  /// say.
  Pending start_ask(Payload payload, SendOptions options, Completion completion);
  Pending start_close(Completion completion);

  /// A completion that sends `to` a ConversationOutcome with the tag. REQUIRES: `to` is local.
  [[nodiscard]] Completion tell(const Pid& to, std::uint64_t tag) const;
  /// A notifier that sends `to` a ConversationExit with the tag. REQUIRES: `to` is local.
  [[nodiscard]] ExitNotifier tell_exit(const Pid& to, std::uint64_t tag) const;

  /// Sees a conversation without keeping it from being orphaned. Thread-safety: as the handle.
  class Weak {
   public:
    /// nullopt once no handle is left.
    [[nodiscard]] std::optional<ConversationHandle> lock() const;
    [[nodiscard]] bool is_let_go() const { return shared_.expired(); }

   private:
    friend class ConversationHandle;
    explicit Weak(std::weak_ptr<Shared> shared) : shared_(std::move(shared)) {}
    std::weak_ptr<Shared> shared_;
  };
  [[nodiscard]] Weak weak() const { return Weak{shared_}; }

 private:
  friend class ConversationActor;
  friend class ConversationCall;
  friend class SendCall;
  friend class ConversationSupervisor;
  explicit ConversationHandle(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  [[nodiscard]] std::optional<Error> why_not_sent(const Payload& payload,
                                                  const SendOptions& options) const;
  Pending start_receive(std::optional<MessageId> request, std::shared_ptr<Waiter> waiter);
  Pending start_ask(Payload payload, SendOptions options, std::shared_ptr<Waiter> waiter);
  Pending start_close(std::shared_ptr<Waiter> waiter);
  [[nodiscard]] Sending begin_send(Payload payload, SendOptions options,
                                   std::shared_ptr<Waiter> waiter);
  [[nodiscard]] Pending pending(std::shared_ptr<Waiter> waiter, WaiterId id,
                                std::optional<MessageId> forget = {}) const;
  [[nodiscard]] Result<Payload> receive(std::optional<MessageId> request, Duration timeout);
  [[nodiscard]] tl::unexpected<Error> out_of_time(const char* for_what, Duration timeout) const;
  /// What a send waits for, in words.
  [[nodiscard]] static std::string acceptance_of(const MessageId& request);
  [[nodiscard]] Outcome wait(Pending pending, Duration timeout, const char* for_what);

  std::shared_ptr<Shared>
      shared_;  // by all copies; the last one's end is the conversation's to know
};

}  // namespace liminal
