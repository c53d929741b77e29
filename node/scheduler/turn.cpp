#include "node/scheduler/turn.hpp"

#include <chrono>
#include <exception>
#include <utility>

#include "common/base/check.hpp"
#include "common/base/fault_point.hpp"

namespace liminal {

namespace {

// However few messages that were: what is called a long turn is then one of them, not their number.
constexpr Duration kTurnTimeMax = std::chrono::milliseconds{10};
constexpr std::size_t kBatchKeptMax = 16;  // after a burst the memory goes back

// Incarnations whose refusals are counted by themselves.
constexpr std::size_t kCountedApartMax = 1024;

TimePoint later(TimePoint now, Duration after) {
  if (after > TimePoint::max() - now) return TimePoint::max();
  return now + after;
}

bool on_one_node(const Pid& a, const Pid& b) {
  return a.incarnation == b.incarnation && (a.is_local() || a.node == b.node);
}

}  // namespace

// --- running -------------------------------------------------------------------------------------

Turn::After Turn::run(std::size_t messages_max) {
  if (!process_.started) {
    // Before any signal: a process that traps exits from on_start() on misses none.
    process_.started = true;
    guarded([this] { process_.handler->on_start(*this); });
  } else if (!process_.mailbox.empty()) {
    receive();
  }

  const TimePoint began = now_;
  for (std::size_t left = messages_max; left > 0 && now_ - began < kTurnTimeMax && !is_ending();) {
    if (process_.mailbox.empty()) {
      if (!receive_or_rest()) return After::kResting;
      if (!process_.mailbox.empty()) continue;  // a batch of nothing but signals counts as one
    } else {
      handle_next();
    }
    --left;
  }
  if (!is_ending()) return After::kRunnable;
  end();
  return After::kEnded;
}

template <class Call>
void Turn::guarded(Call call) {
  try {
    call();
  } catch (const std::exception& thrown) {
    die_of(ExitReason::error(thrown.what()));
  } catch (...) {
    die_of(ExitReason::error("unknown exception"));
  }
}

void Turn::handle_next() {
  Mail mail = process_.mailbox.pop();
  if (const auto* received = std::get_if<message::Received>(&mail.message)) {
    process_.in_queue.room().left(received->envelope);
  } else if (const auto* cancelled = std::get_if<message::Cancelled>(&mail.message)) {
    process_.in_queue.cancel_was_read(cancelled->from);
  }
  if (!still_wanted(mail)) return;
  if (clock_ != nullptr) now_ = clock_->now();
  guarded([&] { process_.handler->handle(*this, std::move(mail.message)); });
}

bool Turn::still_wanted(const Mail& mail) {
  if (const auto* exited = std::get_if<message::Exited>(&mail.message)) {
    return !mail.link || process_.links.take_exit(exited->from, *mail.link);
  }
  if (const auto* down = std::get_if<message::Down>(&mail.message)) {
    return process_.monitors.erase(down->monitor) > 0;
  }
  if (const auto* fired = std::get_if<message::TimerFired>(&mail.message)) {
    return process_.timers.erase(fired->timer) > 0;
  }
  if (const auto* spawned = std::get_if<message::Spawned>(&mail.message)) {
    return process_.spawns.erase(spawned->spawn) > 0;
  }
  return true;
}

void Turn::receive() {
  process_.in_queue.take(process_.batch);
  apply_batch();
}

bool Turn::receive_or_rest() {
  if (!process_.in_queue.take_or_rest(process_.batch)) return false;
  apply_batch();
  return true;
}

void Turn::apply_batch() {
  std::size_t applied = 0;
  for (Arrival& arrival : process_.batch) {
    if (death_) break;
    ++applied;
    std::visit([this](auto& kind) { apply(std::move(kind)); }, arrival);
  }
  if (applied < process_.batch.size()) {  // died of one of them: the rest came too late, see end()
    process_.batch.erase(process_.batch.begin(),
                         process_.batch.begin() + static_cast<std::ptrdiff_t>(applied));
    return;
  }
  process_.batch.clear();
  if (process_.batch.capacity() > kBatchKeptMax) process_.batch.shrink_to_fit();
}

// --- what arrives --------------------------------------------------------------------------------

void Turn::apply(Signal&& arrived) {
  std::visit([this](auto& kind) { apply(std::move(kind)); }, arrived);
}

void Turn::apply(LocalMessagePtr message) { process_.mailbox.push({std::move(message)}); }

void Turn::apply(arrival::TimerDue due) {
  if (process_.timers.contains(due.timer)) {
    process_.mailbox.push({message::TimerFired{due.timer}});
  }
}

void Turn::apply(arrival::WorkDone done) {
  if (done.result) process_.mailbox.push({std::move(done.result)});
}

void Turn::apply(arrival::WorkFailed failed) { die_of(ExitReason::error(std::move(failed.what))); }

void Turn::apply(signal::Send&& send) {
  process_.mailbox.push({message::Received{std::move(send.from), std::move(send.envelope)}});
}

void Turn::apply(const signal::Link& link) {
  if (has_all_ties() && !process_.links.all().contains(link.from)) {
    scheduler_.route(signal::Exit{self(), link.from, too_many_ties(), link.link});
    return;
  }
  process_.links.linked_by(link.from, link.link);
}

void Turn::apply(const signal::Unlink& unlink) { process_.links.unlinked_by(unlink); }

void Turn::apply(signal::Exit exit) {
  if (exit.link) {
    waits_no_longer_for(exit.from);
    if (!process_.links.exited(exit.from, *exit.link)) return;  // stale
  } else if (exit.reason.kind == ExitKind::kKill) {
    die_of(ExitReason::killed());
    return;
  }

  if (process_.traps_exits) {
    if (exit.link) process_.links.exit_waits(exit.from, *exit.link);
    process_.mailbox.push(
        {message::Exited{std::move(exit.from), std::move(exit.reason)}, exit.link});
    return;
  }
  // `normal` kills nobody, except who sent it to itself.
  if (exit.reason.kind == ExitKind::kNormal && exit.from != self()) return;
  die_of(std::move(exit.reason));
}

void Turn::apply(const signal::Monitor& monitor) {
  if (has_all_ties()) {
    scheduler_.route(signal::Down{self(), monitor.from, monitor.monitor, too_many_ties()});
    return;
  }
  process_.watchers.emplace(monitor.from, monitor.monitor);
}

void Turn::apply(const signal::Demonitor& demonitor) {
  process_.watchers.erase({demonitor.from, demonitor.monitor});
}

void Turn::apply(signal::Down down) {
  const auto found = process_.monitors.find(down.monitor);
  if (found == process_.monitors.end()) return;  // stale
  // The second look is for a peer that guesses ids: only who is watched can be down.
  if (found->second.down_waits || found->second.process != down.from) return;
  waits_no_longer_for(down.from);
  found->second.down_waits = true;
  process_.mailbox.push(
      {message::Down{down.monitor, std::move(down.from), std::move(down.reason)}});
}

void Turn::apply(signal::SpawnReply reply) {
  const auto found = process_.spawns.find(reply.spawn);
  const bool wanted = found != process_.spawns.end() && !found->second.answered &&
                      on_one_node(found->second.node, reply.from);
  if (!reply.link) {
    if (!wanted) return;
    found->second.answered = true;
    Error error = reply.error.value_or(Error{Errc::kInternal, "a spawn was answered with nothing"});
    process_.mailbox.push({message::Spawned{reply.spawn, tl::unexpected(std::move(error))}});
    return;
  }
  if (!wanted) {
    scheduler_.route(signal::Exit{self(), reply.from, ExitReason::shutdown(), reply.link});
    return;
  }
  process_.links.linked_by(reply.from, *reply.link);
  found->second.answered = true;
  found->second.instance = reply.from;
  process_.mailbox.push({message::Spawned{reply.spawn, std::move(reply.from), reply.compensates}});
}

void Turn::apply(signal::Refusal refusal) {
  if (!may_be_refused(refusal)) return;  // a peer that makes it up
  if (refusal.kind == signal::RefusalKind::kDeferred) process_.deferred_by.insert(refusal.from);
  process_.mailbox.push({message::Refused{std::move(refusal.from), refusal.message, refusal.kind,
                                          std::move(refusal.text), std::move(refusal.returned)}});
}

/// What is returned was refused on this node, which does not make it up; it is counted all the
/// same.
bool Turn::may_be_refused(const signal::Refusal& refusal) {
  if (refusal.from.is_local()) return true;
  auto sent = process_.may_be_refused.find(refusal.from.incarnation);
  if (sent == process_.may_be_refused.end()) {
    sent = process_.may_be_refused.find(local_incarnation());
  }
  if (sent == process_.may_be_refused.end()) return refusal.returned.has_value();
  if (--sent->second == 0) process_.may_be_refused.erase(sent);
  return true;
}

/// Those beyond the bound share one count, under the incarnation that is nobody's.
Incarnation Turn::counted_as(Incarnation who) const {
  const auto& counts = process_.may_be_refused;
  const bool apart = counts.contains(who) || counts.size() < kCountedApartMax;
  return apart ? who : local_incarnation();
}

void Turn::apply(signal::Cancel cancel) {
  auto taken = process_.mailbox.take(cancel.from, cancel.message);
  if (taken) process_.in_queue.room().left(*taken);
  process_.mailbox.push(
      {message::Cancelled{std::move(cancel.from), cancel.message, std::move(taken)}});
}

void Turn::waits_no_longer_for(const Pid& peer) {
  // The outbox toward its node may remember it as well.
  if (process_.deferred_by.erase(peer) > 0) {
    scheduler_.route(signal::Withdraw{self(), peer, std::nullopt});
  }
  process_.in_queue.withdraw(peer, std::nullopt);
}

bool Turn::has_all_ties() const {
  return process_.links.all().size() + process_.monitors.size() + process_.watchers.size() >=
         scheduler_.settings.links_max;
}

ExitReason Turn::too_many_ties() const {
  return ExitReason::error(std::to_string(scheduler_.settings.links_max) +
                           " links and monitors at one process, links-max");
}

// --- what the handler does -----------------------------------------------------------------------

void Turn::withdraw(const Pid& to, const MessageId& message) {
  scheduler_.route(signal::Withdraw{self(), to, message});
}

void Turn::cancel(const Pid& to, const MessageId& message) {
  scheduler_.route(signal::Cancel{self(), to, message});
}

void Turn::send(const Pid& to, Envelope envelope) {
  if (!to.is_local()) ++process_.may_be_refused[counted_as(to.incarnation)];
  if (is_asked(envelope.kind)) process_.in_queue.room().answer_is_owed();
  scheduler_.route(signal::Send{self(), to, std::move(envelope)});
}

void Turn::send_local(const Pid& to, LocalMessagePtr message) {
  static_cast<void>(scheduler_.send_local(to, std::move(message)));  // a drop is counted there
}

void Turn::link(const Pid& to) {
  if (to == self()) return;
  const bool too_many = has_all_ties();
  if (const auto made = process_.links.link(to)) {
    if (too_many) return scheduler_.route(signal::Exit{to, self(), too_many_ties(), *made});
    scheduler_.route(signal::Link{self(), to, *made});
  }
}

void Turn::unlink(const Pid& to) {
  if (auto told = process_.links.unlink(to)) scheduler_.route(std::move(*told));
}

MonitorId Turn::monitor(const Pid& to) {
  const MonitorId made{++process_.monitors_made};
  if (to == self()) return made;  // nobody lives to see its own end
  const bool too_many = has_all_ties();
  process_.monitors.emplace(made, ProcessControl::Monitored{to});
  if (too_many) {
    scheduler_.route(signal::Down{to, self(), made, too_many_ties()});
    return made;
  }
  scheduler_.route(signal::Monitor{self(), to, made});
  return made;
}

void Turn::demonitor(MonitorId monitor) {
  const auto found = process_.monitors.find(monitor);
  if (found == process_.monitors.end()) return;
  const ProcessControl::Monitored monitored = std::move(found->second);
  process_.monitors.erase(found);
  if (!monitored.down_waits) {
    scheduler_.route(signal::Demonitor{self(), monitored.process, monitor});
  }
}

void Turn::exit(ExitReason reason) { own_exit_ = std::move(reason); }

void Turn::exit(const Pid& to, ExitReason reason) {
  scheduler_.route(signal::Exit{self(), to, bounded(std::move(reason)), std::nullopt});
  // A signal to oneself takes effect before the call returns, whatever this handler does next.
  if (to == self() && !death_) receive();
}

Pid Turn::spawn(std::unique_ptr<Process> process) {
  ProcessPtr made = scheduler_.make(std::move(process));
  Pid pid = made->pid;
  scheduler_.enlist(made);
  scheduler_.make_runnable(std::move(made));
  return pid;
}

Pid Turn::spawn_link(std::unique_ptr<Process> process) {
  ProcessPtr made = scheduler_.make(std::move(process));
  Pid pid = made->pid;
  const auto link = process_.links.link(pid);
  check(link.has_value(), "a new process is linked to nobody");
  made->links.linked_by(self(), *link);
  scheduler_.enlist(made);
  scheduler_.make_runnable(std::move(made));
  return pid;
}

SpawnId Turn::spawn_service(const Pid& node, const ServiceName& service,
                            const ConversationId& conversation) {
  const SpawnId spawn{++process_.spawns_made};
  process_.spawns.emplace(spawn, ProcessControl::Spawning{node});
  scheduler_.route(signal::SpawnRequest{self(), node, spawn, service, conversation});
  return spawn;
}

void Turn::abandon_spawn(SpawnId spawn) {
  const auto found = process_.spawns.find(spawn);
  if (found == process_.spawns.end()) return;
  const std::optional<Pid> instance = std::move(found->second.instance);
  process_.spawns.erase(found);
  if (!instance) return;  // where an answer is yet to come, it will find that nobody wants it

  // The answer waits in the mailbox. Usually the link stands; if its exit waits in the mailbox too,
  // it is cancelled; if the instance took the link back, it ends all the same.
  const auto told = process_.links.unlink(*instance);
  scheduler_.route(signal::Exit{self(), *instance, ExitReason::shutdown(),
                                told ? told->made_by_receiver : std::nullopt});
}

TimerId Turn::start_timer(Duration after) {
  const TimePoint due = later(now_, after);
  const TimerId timer = scheduler_.timers.start(self().serial, due);
  process_.timers.emplace(timer, due);
  return timer;
}

void Turn::cancel_timer(TimerId timer) {
  const auto found = process_.timers.find(timer);
  if (found == process_.timers.end()) return;
  scheduler_.timers.cancel(timer, found->second);
  process_.timers.erase(found);
}

void Turn::run_blocking(std::function<LocalMessagePtr()> work) {
  scheduler_.blocking.push({self().serial, std::move(work)});
}

// --- the end -------------------------------------------------------------------------------------

void Turn::die_of(ExitReason reason) {
  if (!death_) death_ = std::move(reason);
}

void Turn::end() {
  const ExitReason reason = bounded(death_ ? std::move(*death_) : std::move(*own_exit_));

  // What it held goes first: whoever learns of the end, be it by noproc, finds nothing left of it.
  for (const auto& [timer, due] : process_.timers) scheduler_.timers.cancel(timer, due);
  std::uint64_t dropped = 0;
  process_.mailbox.hold_envelopes(false);
  while (!process_.mailbox.empty()) {
    const Mail mail = process_.mailbox.pop();
    if (const auto* received = std::get_if<message::Received>(&mail.message)) {
      dead_letter(DeadLetterCause::kNotRead, received->from, self(), received->envelope);
    } else if (const auto* cancelled = std::get_if<message::Cancelled>(&mail.message)) {
      if (!cancelled->taken) continue;
      dead_letter(DeadLetterCause::kNotRead, cancelled->from, self(), *cancelled->taken);
    } else if (std::holds_alternative<LocalMessagePtr>(mail.message)) {
      ++dropped;
    }
  }
  scheduler_.dropped_messages.fetch_add(dropped, std::memory_order_relaxed);
  process_.handler.reset();

  // From here on others answer for it; what came before is answered below.
  scheduler_.table.erase(self().serial);
  std::vector<Arrival> too_late = std::move(process_.batch);
  for (Arrival& arrival : process_.in_queue.close()) too_late.push_back(std::move(arrival));

  for (Arrival& arrival : too_late) scheduler_.answer_for_the_gone(std::move(arrival));
  for (const Pid& mailbox : process_.deferred_by) {
    scheduler_.route(signal::Withdraw{self(), mailbox, std::nullopt});
  }
  for (const auto& [peer, record] : process_.links.all()) {
    fault_point(FaultPoint::kExitFanOut);
    scheduler_.route(signal::Exit{self(), peer, reason, record.mine ? record.mine : record.theirs});
  }
  for (const auto& [watcher, monitor] : process_.watchers) {
    scheduler_.route(signal::Down{self(), watcher, monitor, reason});
  }
  for (const auto& [monitor, monitored] : process_.monitors) {
    if (!monitored.down_waits) {
      scheduler_.route(signal::Demonitor{self(), monitored.process, monitor});
    }
  }
}

}  // namespace liminal
