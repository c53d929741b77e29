#include "node/conversation/conversation_cell.hpp"

#include <string>
#include <utility>

namespace liminal {

void ConversationCell::publish(ConversationState snapshot) {
  const std::lock_guard lock{mutex_};
  snapshot_ = std::move(snapshot);
  if (!notifiers_.empty()) exits_may_be_due_.store(true, std::memory_order_relaxed);
}

void ConversationCell::publish(const ConversationCounters& counters) {
  const std::lock_guard lock{mutex_};
  snapshot_.counters = counters;
}

void ConversationCell::publish_actor(std::optional<Pid> actor) {
  const std::lock_guard lock{mutex_};
  actor_ = std::move(actor);
}

void ConversationCell::count_dropped_answer() {
  dropped_answers_.fetch_add(1, std::memory_order_relaxed);
}

void ConversationCell::count_actor_restart() {
  actor_restarts_.fetch_add(1, std::memory_order_relaxed);
}

void ConversationCell::count_undecided() { undecided_.fetch_add(1, std::memory_order_relaxed); }

ConversationState ConversationCell::snapshot() const {
  const std::lock_guard lock{mutex_};
  ConversationState copy = snapshot_;
  copy.counters.answers_dropped += dropped_answers_.load(std::memory_order_relaxed);
  copy.counters.actor_restarts = actor_restarts_.load(std::memory_order_relaxed);
  copy.counters.undecided = undecided_.load(std::memory_order_relaxed);
  copy.counters.notifiers_thrown = notifiers_thrown_.load(std::memory_order_relaxed);
  return copy;
}

std::optional<Pid> ConversationCell::actor() const {
  const std::lock_guard lock{mutex_};
  return actor_;
}

void ConversationCell::archive(effect::Finish over) {
  const std::lock_guard lock{mutex_};
  archived_ = true;
  snapshot_.ended = true;
  correlated_ = std::move(over.correlated);
  std::uint64_t arrival = 0;
  for (Outcome& outcome : over.inbox) inbox_.emplace(arrival++, std::move(outcome));
}

void ConversationCell::lost() {
  {
    const std::lock_guard lock{mutex_};
    if (!archived_ && !is_terminal(snapshot_.phase)) {
      snapshot_.phase = ConversationPhase::kFailed;
      snapshot_.failure = Error{Errc::kConversationFailed, "the conversation's process was killed"};
    }
    archived_ = true;
    snapshot_.ended = true;
    if (!notifiers_.empty()) exits_may_be_due_.store(true, std::memory_order_relaxed);
  }
  tell_exits();
}

// --- exit notifiers ---

std::optional<ParticipantExit> ConversationCell::exit_for(RoleIndex role,
                                                          CrashPolicy policy) const {
  const ParticipantStatus& participant = snapshot_.participants[role];
  if (!participant.reason && !snapshot_.ended) return std::nullopt;
  return exit_of(participant, policy);
}

Result<void> ConversationCell::notify_exit(RoleIndex role, CrashPolicy policy,
                                           std::size_t waiting_max, ExitNotifier notifier) {
  std::optional<ParticipantExit> recorded;
  {
    const std::lock_guard lock{mutex_};
    recorded = exit_for(role, policy);
    if (!recorded) {
      if (notifiers_.size() >= waiting_max) {
        return fail(Errc::kRejected, std::to_string(notifiers_.size()) +
                                         " exit notifiers wait, exit-notifiers-max is " +
                                         std::to_string(waiting_max));
      }
      notifiers_.push_back({role, policy, std::move(notifier)});
      return {};
    }
  }
  tell(notifier, *recorded);
  return {};
}

void ConversationCell::tell_exits() {
  if (!exits_may_be_due_.exchange(false, std::memory_order_relaxed)) return;
  std::vector<std::pair<Notifier, ParticipantExit>> due;
  {
    const std::lock_guard lock{mutex_};
    std::vector<Notifier> waiting;
    for (Notifier& notifier : notifiers_) {
      if (auto exit = exit_for(notifier.role, notifier.policy)) {
        due.emplace_back(std::move(notifier), *std::move(exit));
      } else {
        waiting.push_back(std::move(notifier));
      }
    }
    notifiers_ = std::move(waiting);
  }
  for (const auto& [notifier, exit] : due) tell(notifier.call, exit);
}

/// The application's code, in a turn that is not its own: an exception there is no crash of the
/// conversation, nor of the caller that happened to register late.
void ConversationCell::tell(const ExitNotifier& notifier, const ParticipantExit& exit) {
  try {
    notifier(exit);
  } catch (...) {
    notifiers_thrown_.fetch_add(1, std::memory_order_relaxed);
  }
}

Error ConversationCell::too_late(const Question& question) const {
  const auto& failure = snapshot_.failure;
  if (!failure) {
    const bool closed = snapshot_.phase == ConversationPhase::kClosed;
    return {Errc::kConversationFailed,
            closed ? "conversation closed" : "the conversation's process is gone"};
  }
  if (std::holds_alternative<question::Receive>(question)) return *failure;
  return {Errc::kConversationFailed, "conversation failed: " + failure->detail};
}

void ConversationCell::answer(const Question& question, Waiter& waiter) {
  Outcome outcome{Payload{}};
  std::optional<std::uint64_t> arrival;
  const auto* receive = std::get_if<question::Receive>(&question);
  bool kept = false;
  {
    const std::lock_guard lock{mutex_};
    if (receive != nullptr && receive->request) {
      const auto found = correlated_.find(*receive->request);
      kept = found != correlated_.end();
      if (kept) {
        outcome = std::move(found->second);
        correlated_.erase(found);
      }
    } else if (receive != nullptr && !inbox_.empty()) {
      kept = true;
      arrival = inbox_.begin()->first;
      outcome = std::move(inbox_.begin()->second);
      inbox_.erase(inbox_.begin());
    }
    if (!kept && !std::holds_alternative<question::Close>(question)) {
      outcome = tl::unexpected{too_late(question)};
    }
  }
  // offered without the lock: a completion may call back
  const std::optional<Outcome> copy = kept ? std::optional{outcome} : std::nullopt;
  if (waiter.offer(std::move(outcome)) || !copy) return;
  const std::lock_guard lock{mutex_};
  if (arrival) {
    inbox_.emplace(*arrival, *copy);
  } else {
    correlated_.emplace(*receive->request, *copy);
  }
}

WaiterId ConversationCell::new_waiter_id() {
  return WaiterId{next_waiter_.fetch_add(1, std::memory_order_relaxed)};
}

}  // namespace liminal
