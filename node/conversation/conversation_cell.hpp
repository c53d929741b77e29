// What is known of a conversation outside of its process, and after its end.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "node/conversation/conversation_core.hpp"
#include "node/conversation/waiter.hpp"

namespace liminal {

/// What a caller asks for.
namespace question {
struct Send {};
struct Receive {
  std::optional<MessageId> request;  // none: the next of the inbox
};
struct Close {};
}  // namespace question
using Question = std::variant<question::Send, question::Receive, question::Close>;

/// Told once how a participant's part ended; see
/// ConversationActor::notify_on_participant_exit().
using ExitNotifier = std::function<void(const ParticipantExit&)>;

/// The actor publishes after each decision, before its effects are carried out: whoever was told of
/// a crash finds it here. When the conversation ends, what was not received yet is kept here.
///
/// Exit notifiers wait here too, so that no crash of an actor loses one. Each is called exactly
/// once: at the latest when the conversation's process ends, since that calls lost().
///
/// On other nodes each ConversationProxy has one as well: what it publishes is what it was told.
///
/// Thread-safety: all functions from any thread.
/// Ownership: shared by the conversation's process, its handles and their messages.
class ConversationCell {
 public:
  explicit ConversationCell(ConversationState created) : snapshot_(std::move(created)) {}

  void publish(ConversationState snapshot);
  void publish(const ConversationCounters& counters);
  void publish_actor(std::optional<Pid> actor);
  /// An answer that was refused before the actor saw it.
  void count_dropped_answer();
  /// An exit signal of who is no participant.
  void count_ignored_exit();
  void count_actor_restart();
  /// Of a handle elsewhere; it could not be read, or was not its to make.
  void count_ignored_call();
  /// An input that was given up, since deciding it threw and no actor was left.
  void count_undecided();

  [[nodiscard]] ConversationState snapshot() const;
  [[nodiscard]] ConversationPhase phase() const;
  [[nodiscard]] std::optional<Pid> actor() const;
  /// Grows with everything that is published, counters alone excepted. The first is 1.
  [[nodiscard]] std::uint64_t version() const;

  /// Keeps what can still be received.
  void archive(effect::Finish over);
  /// The process went without finishing: killed from outside. After archive() no more than
  /// tell_exits().
  void lost();
  /// What becomes of it is not seen here any more; `why` is what callers are told, unless its end
  /// was published. `over`: it is known to have ended, so that a close is no error.
  void lost_sight(Error why, bool over);

  /// A reply of the archive, or from before it, that its caller did not get: the next that is
  /// received. REQUIRES: archive() was called.
  void put_back(const HandedOut& handed_out, Outcome reply);
  [[nodiscard]] bool has_archive() const;  // anything to receive
  /// Nobody will ask for the reply to this request: if it is in the archive, and the request was
  /// taken for this waiter, it is dropped, and counted. Cost: O(replies of the inbox).
  void forget(const MessageId& request, WaiterId taken_for);

  /// Calls the notifier now, in this thread, if that exit is recorded or the conversation is over;
  /// else keeps it. Errors: kRejected when `waiting_max` wait, of all roles together.
  /// REQUIRES: `role` is one of the snapshot's participants.
  [[nodiscard]] Result<void> notify_exit(RoleIndex role, CrashPolicy policy,
                                         std::size_t waiting_max, ExitNotifier notifier);
  /// The same, by the role's name and with the policy that publish_policy() told. What comes before
  /// any state was published is resolved by the first; a role that it does not show was never
  /// started. Errors: kUsage too, for a role that is not shown.
  [[nodiscard]] Result<void> notify_exit(const std::string& role, std::size_t waiting_max,
                                         ExitNotifier notifier);
  void publish_policy(CrashPolicy policy);
  [[nodiscard]] bool has_exit_notifiers() const;
  /// Calls the notifiers whose moment has come, in the order of their registration, without a lock
  /// held. What they throw is counted and goes no further. Called by the conversation's process
  /// after each decision that was published. Cost: one load where none can be due.
  void tell_exits();

  /// For calls that the process did not answer: as it would have at its end.
  /// The reply, if it was one from the archive.
  std::optional<HandedOut> answer(const Question& question, Waiter& waiter);

  /// Offers, and counts with the notifiers a completion that throws. False if it was not taken.
  bool offer(Waiter& waiter, Outcome outcome);

  [[nodiscard]] WaiterId new_waiter_id();

 private:
  struct Notifier {
    RoleIndex role;
    CrashPolicy policy;
    ExitNotifier call;
  };
  struct Kept {
    HandedOut of;
    Outcome reply;
  };
  struct UnresolvedNotifier {
    std::string role;
    ExitNotifier call;
  };

  [[nodiscard]] Error too_late(const Question& question) const;  // REQUIRES: mutex_ is held
  /// nullopt while its participant's part goes on. REQUIRES: mutex_ is held
  [[nodiscard]] std::optional<ParticipantExit> exit_for(RoleIndex role, CrashPolicy policy) const;
  [[nodiscard]] std::optional<RoleIndex> role_of(const std::string& role) const;  // REQUIRES: same
  [[nodiscard]] Error too_many_notifiers(std::size_t waiting_max) const;          // REQUIRES: same
  void tell(const ExitNotifier& notifier, const ParticipantExit& exit);

  std::atomic<std::uint64_t> next_waiter_{1};
  std::atomic<std::uint64_t> dropped_answers_{0}, actor_restarts_{0}, undecided_{0};
  std::atomic<std::uint64_t> notifiers_thrown_{0}, calls_ignored_{0}, exits_ignored_{0};
  std::atomic<bool> exits_may_be_due_{false};  // notifiers wait, and a snapshot came

  mutable std::mutex mutex_;
  ConversationState snapshot_;                  // GUARDED_BY mutex_
  std::optional<Pid> actor_;                    // GUARDED_BY mutex_
  std::uint64_t version_ = 1;                   // GUARDED_BY mutex_
  CrashPolicy policy_ = CrashPolicy::kFail;     // GUARDED_BY mutex_; as told by publish_policy()
  bool archived_ = false;                       // GUARDED_BY mutex_
  bool unknown_ = false;                        // GUARDED_BY mutex_; what became of it
  std::map<MessageId, Kept> correlated_;        // GUARDED_BY mutex_
  std::map<std::uint64_t, Kept> inbox_;         // GUARDED_BY mutex_; by arrival
  std::vector<Notifier> notifiers_;             // GUARDED_BY mutex_; in order of registration
  std::vector<UnresolvedNotifier> unresolved_;  // GUARDED_BY mutex_; no state was published yet
};

/// A waiter on its way to the outcome: wherever it is dropped, the cell answers, so that nobody
/// waits for a conversation that is gone.
class Ticket {
 public:
  Ticket(std::shared_ptr<Waiter> waiter, std::shared_ptr<ConversationCell> cell, Question question)
      : waiter_(std::move(waiter)), cell_(std::move(cell)), question_(std::move(question)) {}
  Ticket(Ticket&&) noexcept = default;
  Ticket& operator=(Ticket&&) = delete;
  ~Ticket() {
    if (waiter_) cell_->answer(question_, *waiter_);
  }

  /// False if the caller gave up. Nothing follows either way.
  bool redeem(Outcome outcome) {
    return cell_->offer(*std::exchange(waiter_, nullptr), std::move(outcome));
  }

  [[nodiscard]] bool is_wanted() const { return waiter_->is_waiting(); }

  /// The caller gave up and said so: nobody is to be answered.
  void cancel() { waiter_.reset(); }

 private:
  std::shared_ptr<Waiter> waiter_;
  std::shared_ptr<ConversationCell> cell_;
  Question question_;
};

/// That a caller gave up a request, on its way to the conversation: wherever it is dropped, the
/// archive has no reply to it any more.
class Forgotten {
 public:
  Forgotten(MessageId request, WaiterId waiter, std::shared_ptr<ConversationCell> cell)
      : request_(request), waiter_(waiter), cell_(std::move(cell)) {}
  Forgotten(Forgotten&&) noexcept = default;
  Forgotten& operator=(Forgotten&&) = delete;
  ~Forgotten() {
    if (cell_) cell_->forget(request_, waiter_);
  }

  [[nodiscard]] const MessageId& request() const { return request_; }
  [[nodiscard]] WaiterId waiter() const { return waiter_; }  // that waits for the call

 private:
  MessageId request_;
  WaiterId waiter_;
  std::shared_ptr<ConversationCell> cell_;
};

}  // namespace liminal
