#include "node/conversation/conversation_cell.hpp"

#include <string>
#include <utility>

#include "common/base/text.hpp"

namespace liminal {
namespace {

// Of the first reply of the archive; before it is room for those that come back.
constexpr std::uint64_t kFirstArrival = std::uint64_t{1} << 32;

ParticipantExit never_started(const std::string& role, CrashPolicy policy) {
  return {role, role, std::nullopt, std::nullopt, std::nullopt, policy, false};
}

}  // namespace

void ConversationCell::publish(ConversationState snapshot) {
  const std::lock_guard lock{mutex_};
  snapshot_ = std::move(snapshot);
  ++version_;
  if (!notifiers_.empty() || !unresolved_.empty()) {
    exits_may_be_due_.store(true, std::memory_order_relaxed);
  }
}

void ConversationCell::publish(const ConversationCounters& counters) {
  const std::lock_guard lock{mutex_};
  snapshot_.counters = counters;
}

void ConversationCell::publish_actor(std::optional<Pid> actor) {
  const std::lock_guard lock{mutex_};
  actor_ = std::move(actor);
  ++version_;
}

std::uint64_t ConversationCell::version() const {
  const std::lock_guard lock{mutex_};
  return version_;
}

void ConversationCell::count_dropped_answer() {
  dropped_answers_.fetch_add(1, std::memory_order_relaxed);
}

void ConversationCell::count_ignored_exit() {
  exits_ignored_.fetch_add(1, std::memory_order_relaxed);
}

void ConversationCell::count_actor_restart() {
  actor_restarts_.fetch_add(1, std::memory_order_relaxed);
}

void ConversationCell::count_ignored_call() {
  calls_ignored_.fetch_add(1, std::memory_order_relaxed);
}

void ConversationCell::count_undecided() { undecided_.fetch_add(1, std::memory_order_relaxed); }

ConversationPhase ConversationCell::phase() const {
  const std::lock_guard lock{mutex_};
  return snapshot_.phase;
}

ConversationState ConversationCell::snapshot() const {
  const std::lock_guard lock{mutex_};
  ConversationState copy = snapshot_;
  copy.counters.answers_dropped += dropped_answers_.load(std::memory_order_relaxed);
  copy.counters.actor_restarts += actor_restarts_.load(std::memory_order_relaxed);
  copy.counters.undecided += undecided_.load(std::memory_order_relaxed);
  copy.counters.notifiers_thrown += notifiers_thrown_.load(std::memory_order_relaxed);
  copy.counters.exits_ignored += exits_ignored_.load(std::memory_order_relaxed);
  copy.counters.calls_ignored += calls_ignored_.load(std::memory_order_relaxed);
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
  ++version_;
  correlated_ = std::move(over.correlated);
  std::uint64_t arrival = kFirstArrival;
  for (auto& [request, outcome] : over.inbox) {
    inbox_.emplace(arrival++, Kept{request, std::move(outcome)});
  }
}

void ConversationCell::forget(const MessageId& request) {
  const std::lock_guard lock{mutex_};
  const std::size_t dropped =
      correlated_.erase(request) +
      std::erase_if(inbox_, [&](const auto& entry) { return entry.second.request == request; });
  dropped_answers_.fetch_add(dropped, std::memory_order_relaxed);
}

void ConversationCell::put_back(const std::optional<MessageId>& request, Outcome reply) {
  const std::lock_guard lock{mutex_};
  if (request) {
    correlated_.emplace(*request, std::move(reply));
  } else {
    const std::uint64_t next = inbox_.empty() ? kFirstArrival : inbox_.begin()->first;
    inbox_.emplace(next - 1, Kept{std::nullopt, std::move(reply)});
  }
}

bool ConversationCell::has_archive() const {
  const std::lock_guard lock{mutex_};
  return !correlated_.empty() || !inbox_.empty();
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
    ++version_;
    exits_may_be_due_.store(true, std::memory_order_relaxed);
  }
  tell_exits();
}

void ConversationCell::lost_sight(Error why, bool over) {
  {
    const std::lock_guard lock{mutex_};
    if (!snapshot_.ended) {
      unknown_ = !over;
      if (unknown_ || !snapshot_.failure) snapshot_.failure = std::move(why);
    }
    archived_ = true;
    snapshot_.ended = true;
    ++version_;
    exits_may_be_due_.store(true, std::memory_order_relaxed);
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
      if (notifiers_.size() >= waiting_max) return tl::unexpected{too_many_notifiers(waiting_max)};
      notifiers_.push_back({role, policy, std::move(notifier)});
      return {};
    }
  }
  tell(notifier, *recorded);
  return {};
}

Error ConversationCell::too_many_notifiers(std::size_t waiting_max) const {
  return {Errc::kRejected, std::to_string(notifiers_.size() + unresolved_.size()) +
                               " exit notifiers wait, exit-notifiers-max is " +
                               std::to_string(waiting_max)};
}

std::optional<RoleIndex> ConversationCell::role_of(const std::string& role) const {
  for (RoleIndex i = 0; i < snapshot_.participants.size(); ++i) {
    if (snapshot_.participants[i].role == role) return i;
  }
  return std::nullopt;
}

Result<void> ConversationCell::notify_exit(const std::string& role, std::size_t waiting_max,
                                           ExitNotifier notifier) {
  std::optional<RoleIndex> index;
  std::optional<CrashPolicy> policy;
  {
    const std::lock_guard lock{mutex_};
    policy = policy_;
    if (snapshot_.participants.empty() && !snapshot_.ended) {
      if (unresolved_.size() >= waiting_max) return tl::unexpected{too_many_notifiers(waiting_max)};
      unresolved_.push_back({role, std::move(notifier)});
      return {};
    }
    index = role_of(role);
    if (!index && !snapshot_.participants.empty()) {
      return fail(Errc::kUsage, "'" + escaped_tail(role, 63) + "' is no role of this conversation");
    }
  }
  if (index) return notify_exit(*index, *policy, waiting_max, std::move(notifier));
  tell(notifier, never_started(role, *policy));
  return {};
}

bool ConversationCell::has_exit_notifiers() const {
  const std::lock_guard lock{mutex_};
  return !notifiers_.empty() || !unresolved_.empty();
}

void ConversationCell::publish_policy(CrashPolicy policy) {
  const std::lock_guard lock{mutex_};
  policy_ = policy;
}

void ConversationCell::tell_exits() {
  if (!exits_may_be_due_.exchange(false, std::memory_order_relaxed)) return;
  std::vector<std::pair<Notifier, ParticipantExit>> due;
  {
    const std::lock_guard lock{mutex_};
    for (UnresolvedNotifier& notifier : std::exchange(unresolved_, {})) {
      if (const auto role = role_of(notifier.role)) {
        notifiers_.push_back({*role, policy_, std::move(notifier.call)});
      } else {
        due.emplace_back(Notifier{0, policy_, std::move(notifier.call)},
                         never_started(notifier.role, policy_));
      }
    }
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
  if (unknown_ || std::holds_alternative<question::Receive>(question)) return *failure;
  return {Errc::kConversationFailed, "conversation failed: " + failure->detail};
}

bool ConversationCell::answer(const Question& question, Waiter& waiter) {
  Outcome outcome{Payload{}};
  std::optional<std::uint64_t> arrival;
  std::optional<MessageId> of;  // the inbox's
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
      of = inbox_.begin()->second.request;
      outcome = std::move(inbox_.begin()->second.reply);
      inbox_.erase(inbox_.begin());
    }
    if (!kept && (unknown_ || !std::holds_alternative<question::Close>(question))) {
      outcome = tl::unexpected{too_late(question)};
    }
  }
  // offered without the lock: a completion may call back
  const std::optional<Outcome> copy = kept ? std::optional{outcome} : std::nullopt;
  if (offer(waiter, std::move(outcome)) || !copy) return kept;
  const std::lock_guard lock{mutex_};
  if (arrival) {
    inbox_.emplace(*arrival, Kept{of, *copy});
  } else {
    correlated_.emplace(*receive->request, *copy);
  }
  return true;
}

/// Completions run in turns that are not their own, as notifiers do.
bool ConversationCell::offer(Waiter& waiter, Outcome outcome) {
  const bool taken = waiter.offer(std::move(outcome));
  if (taken && waiter.completion_threw()) {
    notifiers_thrown_.fetch_add(1, std::memory_order_relaxed);
  }
  return taken;
}

WaiterId ConversationCell::new_waiter_id() {
  return WaiterId{next_waiter_.fetch_add(1, std::memory_order_relaxed)};
}

}  // namespace liminal
