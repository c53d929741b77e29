// How a conversation ends: closed, failed, given up.
#include <algorithm>
#include <utility>

#include "node/conversation/decision.hpp"

namespace liminal {

void Decision::operator()(const input::CloseRequested& close) {
  if (close.waiter) {
    if (context_.finished) {
      complete(*close.waiter, Payload{});
      return;
    }
    context_.closers.push_back(*close.waiter);
  }
  switch (context_.phase) {
    case Phase::kCreated:
    case Phase::kActive:
      begin_close(error_of(Errc::kConversationFailed, "conversation closed"));
      return;
    case Phase::kCompleting:
    case Phase::kCompensating:
    case Phase::kClosed:
    case Phase::kFailed:
      return;  // on its way, or over: the closer is told with the others
  }
}

void Decision::operator()(const input::Abandoned& abandoned) {
  if (!takes_requests()) return;
  const bool idle = context_.completed.empty() &&
                    std::all_of(context_.participants.begin(), context_.participants.end(),
                                [](const Participant& p) { return p.unanswered == 0; });
  const Error why = error_of(Errc::kConversationFailed, abandoned.why);
  idle ? begin_close(why) : fail_conversation(why);
}

void Decision::operator()(const input::CancelRequested& cancel) {
  if (!takes_requests()) return;
  TimelineRecord told = record(TimelineEvent::kCancelRequested);
  told.text = cancel.by;
  note(std::move(told));
  fail_conversation(error_of(Errc::kConversationFailed, "cancelled by " + cancel.by));
}

void Decision::operator()(const input::ActorCrashed& crashed) {
  if (!takes_requests()) return;  // what is left to do needs no actor
  fail_conversation(too_many_crashes(*context_.config, crashed.reason));
}

void Decision::operator()(const input::EndTimerFired&) {
  if (context_.finished) return;
  if (context_.phase != Phase::kCompleting && context_.phase != Phase::kFailed) {
    return;  // nobody started it
  }
  for (Participant& participant : context_.participants) {
    if (participant.status.health == Health::kEnding) {
      emit(effect::End{*participant.status.pid, ExitReason::kill()});
      set_health(participant, Health::kEnded);
    }
    if (participant.status.health == Health::kStarting) {
      set_health(participant, Health::kEnded);
    }
  }
  finish_if_gone();
}

void Decision::begin_close(const Error& for_waiters) {
  enter(Phase::kCompleting);
  wake_unanswered(for_waiters);
  end_participants();
}

/// Under Compensate what was done is undone first.
void Decision::fail_conversation(Error failure) {
  if (!takes_requests()) return;
  if (compensates() && context_.phase == Phase::kActive) {
    begin_compensation(std::move(failure));
  } else {
    enter_failed(std::move(failure));
  }
}

void Decision::enter_failed(Error failure) {
  enter(Phase::kFailed, std::string{name_of(failure.code)} + ": " + failure.detail);
  context_.failure = std::move(failure);
  wake_unanswered(*context_.failure);
  end_participants();
}

/// What was answered stays, to be received; nothing else will be.
void Decision::wake_unanswered(const Error& error) {
  for (auto it = context_.requests.begin(); it != context_.requests.end();) {
    if (it->second.outcome) {
      ++it;
      continue;
    }
    if (it->second.waiter) complete(*it->second.waiter, tl::unexpected{error});
    it = context_.requests.erase(it);
  }
  wake_inbox_receivers(error);
  for (Participant& participant : context_.participants) {
    participant.unanswered = 0;
    participant.unsent.clear();
    participant.deferred.clear();  // the conversation's end withdraws it
  }
  context_.unanswered_bytes = 0;
  context_.deadlines.clear();
  context_.counters.held_up = 0;
}

void Decision::wake_inbox_receivers(const Error& error) {
  while (!context_.inbox_receivers.empty()) {
    complete(*context_.inbox_receivers.begin(), tl::unexpected{error});
  }
}

void Decision::end_participants() {
  bool waiting = false;
  for (Participant& participant : context_.participants) {
    switch (participant.status.health) {
      case Health::kAwaited:
        set_health(participant, Health::kEnded);
        break;
      case Health::kStarting:
        emit(effect::AbandonPlacement{index_of(participant)});
        waiting = true;
        break;
      case Health::kAlive:
        if (participant.status.owned) {
          end(participant, ExitReason::shutdown());
          waiting = true;
        } else {
          emit(effect::Unlink{*participant.status.pid});
          set_health(participant, Health::kEnded);
        }
        break;
      case Health::kEnding:
        waiting = true;
        break;
      case Health::kLeft:
      case Health::kEnded:
      case Health::kCrashed:
      case Health::kUnavailable:
        break;
    }
  }
  if (waiting) emit(effect::StartEndTimer{context_.config->close_timeout});
  finish_if_gone();
}

void Decision::end(Participant& participant, ExitReason reason) {
  set_health(participant, Health::kEnding);
  emit(effect::End{*participant.status.pid, std::move(reason)});
}

void Decision::finish_if_gone() {
  const bool ending = context_.phase == Phase::kCompleting || context_.phase == Phase::kFailed;
  const bool gone = std::none_of(
      context_.participants.begin(), context_.participants.end(), [](const Participant& p) {
        return p.status.health == Health::kStarting || p.status.health == Health::kEnding;
      });
  if (context_.finished || !ending || !gone) return;
  finish();
}

void Decision::end_by_force(Error failure) {
  if (context_.finished) return;
  if (compensates()) give_up_undoing(failure.detail);
  wake_unanswered(failure);
  const bool not_undone =
      std::any_of(context_.compensations.begin(), context_.compensations.end(),
                  [](const auto& c) { return c.outcome == CompensationOutcome::kFailed; });
  if (not_undone) failure.code = Errc::kCompensationFailed;
  if (context_.phase != Phase::kCompleting && !is_terminal(context_.phase)) {
    enter(Phase::kFailed, std::string{name_of(failure.code)} + ": " + failure.detail);
    context_.failure = std::move(failure);
  }
  for (Participant& participant : context_.participants) {
    switch (participant.status.health) {
      case Health::kAwaited:
      case Health::kStarting:
      case Health::kAlive:
      case Health::kEnding:
        set_health(participant, Health::kEnded);
        break;
      case Health::kLeft:
      case Health::kEnded:
      case Health::kCrashed:
      case Health::kUnavailable:
        break;
    }
  }
  finish();
}

void Decision::finish() {
  if (context_.phase == Phase::kCompleting) enter(Phase::kClosed);
  context_.finished = true;
  ++context_.revision;

  effect::Finish over;
  for (const auto& [id, request] : context_.requests) {
    if (request.taken_for) over.taken_for.emplace(id, *request.taken_for);
  }
  for (const auto& [arrival, id] : context_.inbox) {
    over.inbox.emplace_back(id, std::move(*context_.requests.at(id).outcome));
  }
  for (auto& [id, request] : context_.requests) {
    if (request.mode == ReplyMode::kCorrelated) {
      over.correlated.emplace(id, std::move(*request.outcome));
    }
  }
  context_.inbox.clear();
  context_.requests.clear();
  emit(std::move(over));
  for (const WaiterId closer : std::exchange(context_.closers, {})) complete(closer, Payload{});
}

}  // namespace liminal
