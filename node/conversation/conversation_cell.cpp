#include "node/conversation/conversation_cell.hpp"

#include <utility>

namespace liminal {

void ConversationCell::publish(ConversationSnapshot snapshot) {
  const std::lock_guard lock{mutex_};
  snapshot_ = std::move(snapshot);
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

ConversationSnapshot ConversationCell::snapshot() const {
  const std::lock_guard lock{mutex_};
  ConversationSnapshot copy = snapshot_;
  copy.counters.answers_dropped += dropped_answers_.load(std::memory_order_relaxed);
  copy.counters.actor_restarts = actor_restarts_.load(std::memory_order_relaxed);
  copy.counters.undecided = undecided_.load(std::memory_order_relaxed);
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
  const std::lock_guard lock{mutex_};
  if (archived_) return;
  archived_ = true;
  snapshot_.ended = true;
  if (is_terminal(snapshot_.phase)) return;
  snapshot_.phase = ConversationPhase::kFailed;
  snapshot_.failure = Error{Errc::kConversationFailed, "the conversation's process was killed"};
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
