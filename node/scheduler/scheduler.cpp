#include "node/scheduler/scheduler.hpp"

#include <exception>
#include <map>
#include <utility>

#include "common/base/check.hpp"
#include "common/wire/limits.hpp"
#include "node/scheduler/in_turn.hpp"
#include "node/scheduler/scheduler_impl.hpp"
#include "node/scheduler/turn.hpp"

namespace liminal {

namespace {

// Of one process: neither its neighbours' nor any other seed's generator, shifted or not.
Random generator_of(std::uint64_t seed, std::uint64_t serial) {
  return Random{Random{seed}.next() ^ Random{~serial}.next()};
}

}  // namespace

std::string bounded_text(std::string text) {
  if (text.size() <= wire::kTextBytesMax) return text;
  std::size_t end = wire::kTextBytesMax;
  const auto continues = [&](std::size_t at) {
    return (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U;  // inside a UTF-8 character
  };
  while (end > 0 && continues(end)) --end;
  text.resize(end);
  return text;
}

// --- Impl ----------------------------------------------------------------------------------------

Scheduler::Impl::Impl(Settings own_settings, Forward forward)
    : settings(std::move(own_settings)),
      dead_letters(settings.dead_letters_max),
      forward_(std::move(forward)) {
  check(settings.turn_messages_max > 0, "a turn handles at least one message");
  check(settings.mailbox.messages_max > 0, "a mailbox holds at least one message");
  Random ids{settings.seed};
  messages_high_ = ids.next_id();
  conversations_high_ = ids.next_id();
}

void Scheduler::Impl::shut_down() {
  blocking.drop();
  while (run_queue.try_take()) continue;
  for (auto& [serial, process] : table.release()) {
    const std::vector<Arrival> never_received = process->in_queue.close();
    process.reset();
  }
}

ProcessPtr Scheduler::Impl::make(std::unique_ptr<Process> handler) {
  check(handler != nullptr, "a process has a handler");
  const std::uint64_t serial = serials_made_.fetch_add(1, std::memory_order_relaxed) + 1;
  return std::make_shared<ProcessControl>(Pid{settings.node, local_incarnation(), Serial{serial}},
                                          std::move(handler), generator_of(settings.seed, serial),
                                          settings.mailbox);
}

void Scheduler::Impl::route(Signal&& signal) {
  const Pid& to = to_of(signal);
  if (!to.is_local()) {
    forward_(std::move(signal));
    return;
  }
  if (const auto* request = std::get_if<signal::SpawnRequest>(&signal)) {
    spawn_on_request(*request);
    return;
  }
  if (const auto* withdraw = std::get_if<signal::Withdraw>(&signal)) {
    // Concerns the sender's place before the mailbox; the process itself hears nothing of it.
    if (const ProcessPtr process = table.find(to.serial)) {
      process->in_queue.withdraw(withdraw->from, withdraw->message);
    }
    return;
  }
  const Serial serial = to.serial;
  Arrival arrival{std::move(signal)};
  const auto refused = [&] { return std::get<signal::Send>(std::get<Signal>(std::move(arrival))); };
  switch (put(serial, std::move(arrival))) {
    case InQueue::Put::kTaken:
    case InQueue::Put::kTakenWake:
      return;
    case InQueue::Put::kClosed:
      return answer_for_the_gone(std::move(arrival));
    case InQueue::Put::kDeferred:
      return refuse(refused(), signal::RefusalKind::kDeferred, {});
    case InQueue::Put::kRejected:
      return refuse(refused(), signal::RefusalKind::kRejected,
                    "the mailbox is full, and too much that must come again waits before it "
                    "(mailbox-max " +
                        std::to_string(settings.mailbox.messages_max) + ")");
    case InQueue::Put::kDropped:  // made up: nobody is owed an answer
      return dead_letters.add_unseen(DeadLetterCause::kRejected, 1);
  }
}

InQueue::Put Scheduler::Impl::put(Serial serial, Arrival&& arrival) {
  ProcessPtr process = table.find(serial);
  if (!process) return InQueue::Put::kClosed;
  const InQueue::Put result = process->in_queue.put(std::move(arrival));
  if (result != InQueue::Put::kTakenWake) return result;
  make_runnable(std::move(process));
  return InQueue::Put::kTaken;
}

void Scheduler::Impl::refuse(signal::Send send, signal::RefusalKind kind, std::string text) {
  if (kind == signal::RefusalKind::kRejected) {
    dead_letter(DeadLetterCause::kRejected, send.from, send.to, send.envelope);
  }
  signal::Refusal refusal{send.to, send.from, send.envelope.id, kind, std::move(text)};
  if (send.from.is_local()) refusal.returned = std::move(send.envelope);
  route(std::move(refusal));
}

void Scheduler::Impl::answer_for_the_gone(Arrival arrival) {
  if (std::holds_alternative<LocalMessagePtr>(arrival)) {
    dropped_messages.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  auto* signal = std::get_if<Signal>(&arrival);
  if (!signal) return;  // its own timers and work: nobody else waits for them

  if (const auto* link = std::get_if<signal::Link>(signal)) {
    route(signal::Exit{link->to, link->from, ExitReason::noproc(), link->link});
  } else if (const auto* monitor = std::get_if<signal::Monitor>(signal)) {
    route(signal::Down{monitor->to, monitor->from, monitor->monitor, ExitReason::noproc()});
  } else if (const auto* reply = std::get_if<signal::SpawnReply>(signal)) {
    // Its requester is gone: the instance, which is linked to it, ends too.
    if (reply->link) {
      route(signal::Exit{reply->to, reply->from, ExitReason::noproc(), reply->link});
    }
  } else if (const auto* send = std::get_if<signal::Send>(signal)) {
    dead_letter(DeadLetterCause::kNoProcess, send->from, send->to, send->envelope);
  } else if (const auto* refusal = std::get_if<signal::Refusal>(signal);
             refusal != nullptr && refusal->kind == signal::RefusalKind::kDeferred) {
    route(signal::Withdraw{refusal->to, refusal->from, refusal->message});  // nobody sends it again
  }
  // To the others a process that is gone has nothing to say.
}

bool Scheduler::Impl::send_local(const Pid& to, LocalMessagePtr message) {
  check(to.is_local(), "a local message stays on its node");
  if (put(to.serial, Arrival{std::move(message)}) == InQueue::Put::kTaken) return true;
  dropped_messages.fetch_add(1, std::memory_order_relaxed);
  return false;
}

Result<Scheduler::Instance> Scheduler::Impl::make_service(const signal::SpawnRequest& request) {
  if (!factory) {
    return fail(Errc::kNoService, "this node offers no service " + request.service.value());
  }
  try {
    auto made = factory(request);
    if (made && !made->process) return fail(Errc::kInternal, "the service's factory made nothing");
    return made;
  } catch (const std::exception& thrown) {
    return fail(Errc::kInternal, thrown.what());
  } catch (...) {
    return fail(Errc::kInternal, "unknown exception");
  }
}

/// Only of what the factory makes: a peer that asks for anything else adds nothing.
const std::string* Scheduler::Impl::name_of_service(const ServiceName& service) {
  const std::lock_guard lock(service_names_mutex_);
  return &*service_names_.insert(service.value()).first;
}

void Scheduler::Impl::spawn_on_request(const signal::SpawnRequest& request) {
  Result<Instance> made = make_service(request);
  if (!made) {
    Error error{made.error().code, bounded_text(std::move(made.error().detail))};
    route(signal::SpawnReply{request.to, request.from, request.spawn, std::nullopt,
                             std::move(error)});
    return;
  }

  // Linked before anybody can reach it; reachable before the requester knows its pid; answered for
  // before it runs, so that nothing of its own overtakes the answer.
  ProcessPtr instance = make(std::move(made->process));
  instance->service = name_of_service(request.service);
  const auto link = instance->links.link(request.from);
  check(link.has_value(), "a new instance is linked to nobody");
  enlist(instance);
  route(signal::SpawnReply{.from = instance->pid,
                           .to = request.from,
                           .spawn = request.spawn,
                           .link = link,
                           .compensates = made->compensates});
  make_runnable(std::move(instance));
}

void Scheduler::Impl::run_turn(ProcessPtr process, TimePoint now, const Clock* clock) {
  const InTurn mark;
  now_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  Turn turn(*this, *process, now, clock);
  if (turn.run(settings.turn_messages_max) == Turn::After::kRunnable) {
    make_runnable(std::move(process));
  }
}

void Scheduler::Impl::fire_timers(TimePoint now) {
  timers.fire_due(now, [this](Serial owner, TimerId timer) {
    put(owner, arrival::TimerDue{timer});  // a gone owner wants no timer
  });
}

void Scheduler::Impl::run_job(BlockingWork::Job job) {
  Arrival outcome = arrival::WorkFailed{"unknown exception"};
  try {
    outcome = arrival::WorkDone{job.work()};
  } catch (const std::exception& thrown) {
    outcome = arrival::WorkFailed{thrown.what()};
  } catch (...) {
  }
  job.work = nullptr;  // what it holds is released before its owner hears of the outcome
  put(job.owner, std::move(outcome));  // a gone owner wants no result
}

// --- Scheduler -----------------------------------------------------------------------------------

Scheduler::Scheduler(Settings settings, Forward forward)
    : impl_(std::make_unique<Impl>(std::move(settings), std::move(forward))) {}

Scheduler::~Scheduler() { impl_->shut_down(); }

void Scheduler::set_service_factory(ServiceFactory factory) { impl_->factory = std::move(factory); }

Pid Scheduler::spawn(std::unique_ptr<Process> process) {
  ProcessPtr made = impl_->make(std::move(process));
  Pid pid = made->pid;
  impl_->enlist(made);
  impl_->make_runnable(std::move(made));
  return pid;
}

void Scheduler::deliver(Signal signal) {
  check(to_of(signal).is_local() && !from_of(signal).is_local(),
        "what is delivered comes from another node to this one");
  impl_->route(std::move(signal));
}

bool Scheduler::send_local(const Pid& to, LocalMessagePtr message) {
  return impl_->send_local(to, std::move(message));
}

void Scheduler::exit(const Pid& to, ExitReason reason) {
  impl_->route(signal::Exit{impl_->node(), to, bounded(std::move(reason)), std::nullopt});
}

MessageId Scheduler::new_message_id() { return impl_->new_message_id(); }
ConversationId Scheduler::new_conversation_id() { return impl_->new_conversation_id(); }

DeadLetters& Scheduler::dead_letters() { return impl_->dead_letters; }

Scheduler::MailboxLoad Scheduler::mailbox_load(const Pid& process) const {
  check(process.is_local(), "the mailboxes of other nodes are theirs to look at");
  const ProcessPtr found = impl_->table.find(process.serial);
  if (!found) return {};
  return {found->in_queue.room().messages(), found->in_queue.room().bytes()};
}

Scheduler::Counts Scheduler::counts() const {
  return {impl_->table.size(), impl_->timers.size(),
          impl_->dropped_messages.load(std::memory_order_relaxed)};
}

void Scheduler::run_until_idle(TimePoint now) {
  const InTurn mark;
  for (;;) {
    impl_->fire_timers(now);
    if (auto job = impl_->blocking.try_take()) {
      impl_->run_job(std::move(*job));
    } else if (ProcessPtr process = impl_->run_queue.try_take()) {
      impl_->run_turn(std::move(process), now, nullptr);
    } else if (const auto next = impl_->timers.next(); !next || *next > now) {
      return;
    }
  }
}

std::optional<TimePoint> Scheduler::next_deadline() const { return impl_->timers.next(); }

}  // namespace liminal
