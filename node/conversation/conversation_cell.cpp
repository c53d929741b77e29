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
  const auto keep = [&](const MessageId& request, ReplyMode mode, std::uint64_t arrival,
                        Outcome& outcome) {
    HandedOut of{request, mode, arrival};
    if (const auto found = over.taken_for.find(request); found != over.taken_for.end()) {
      of.taken_for = found->second;
    }
    return Kept{of, std::move(outcome)};
  };
  for (auto& [request, outcome] : over.correlated) {
    correlated_.emplace(request, keep(request, ReplyMode::kCorrelated, 0, outcome));
  }
  std::uint64_t arrival = kFirstArrival;
  for (auto& [request, outcome] : over.inbox) {
    inbox_.emplace(arrival, keep(request, ReplyMode::kInbox, arrival, outcome));
    ++arrival;
  }
}

void ConversationCell::forget(const MessageId& request, WaiterId taken_for) {
  const std::lock_guard lock{mutex_};
  const auto is_meant = [&](const auto& entry) {
    return entry.second.of.request == request && entry.second.of.taken_for == taken_for;
  };
  const auto found = correlated_.find(request);
  std::size_t dropped = std::erase_if(inbox_, is_meant);
  if (found != correlated_.end() && is_meant(*found)) {
    correlated_.erase(found);
    ++dropped;
  }
  dropped_answers_.fetch_add(dropped, std::memory_order_relaxed);
}

void ConversationCell::put_back(const HandedOut& handed_out, Outcome reply) {
  const std::lock_guard lock{mutex_};
  if (handed_out.mode == ReplyMode::kCorrelated) {
    correlated_.emplace(handed_out.request, Kept{handed_out, std::move(reply)});
  } else {
    const std::uint64_t next = inbox_.empty() ? kFirstArrival : inbox_.begin()->first;
    inbox_.emplace(next - 1, Kept{handed_out, std::move(reply)});
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

std::optional<HandedOut> ConversationCell::answer(const Question& question, Waiter& waiter) {
  Outcome outcome{Payload{}};
  std::uint64_t place = 0;  // in the inbox
  std::optional<Kept> kept;
  const auto* receive = std::get_if<question::Receive>(&question);
  {
    const std::lock_guard lock{mutex_};
    if (receive != nullptr && receive->request) {
      if (auto found = correlated_.extract(*receive->request)) kept = std::move(found.mapped());
    } else if (receive != nullptr && !inbox_.empty()) {
      place = inbox_.begin()->first;
      kept = std::move(inbox_.extract(inbox_.begin()).mapped());
    }
    if (kept) {
      outcome = kept->reply;
    } else if (unknown_ || !std::holds_alternative<question::Close>(question)) {
      outcome = tl::unexpected{too_late(question)};
    }
  }
  // offered without the lock: a completion may call back
  const bool taken = offer(waiter, std::move(outcome));
  if (!kept) return std::nullopt;
  const HandedOut of = kept->of;
  if (taken) return of;
  const std::lock_guard lock{mutex_};
  if (of.mode == ReplyMode::kCorrelated) {
    correlated_.emplace(of.request, *std::move(kept));
  } else {
    inbox_.emplace(place, *std::move(kept));
  }
  return of;
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
