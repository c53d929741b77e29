// Compensate: what is unanswered is settled, then everything that was done or may have been is
// undone, one request at a time.
#include <algorithm>
#include <utility>

#include "common/base/fault_point.hpp"
#include "common/base/text.hpp"
#include "node/conversation/decision.hpp"

namespace liminal {
namespace {

// Requests that cannot be undone and are named all the same, of one role; the rest is counted.
constexpr std::size_t kNothingToUndoKept = 64;

Payload with_reply(const Payload& request, const Payload& reply) {
  std::string both{request.view()};
  both += reply.view();
  return Payload{std::move(both)};
}

}  // namespace

// --- what may have to be undone ---

void Decision::remember_done(const Request& request, std::optional<Payload> reply) {
  if (!compensates()) return;
  Participant& participant = context_.participants[request.role];
  if (!participant.compensates && ++participant.not_undoable > kNothingToUndoKept) return;
  Undoable done{.role = request.role,
                .request = *request.sent,
                .reply = std::move(reply),
                .in_doubt = false,
                .compensates = participant.compensates,
                .number = request.number};
  if (done.compensates) {
    ++context_.undoable;
    context_.undoable_bytes += done.request.payload.size() + (done.reply ? done.reply->size() : 0);
  } else {  // named in the record, and never sent again
    done.request.payload = {};
    done.reply.reset();
  }
  context_.completed.push_back(std::move(done));
}

void Decision::doubt(const Request& request) {
  if (!context_.compensation) context_.compensation.emplace();
  context_.compensation->steps.push_back(
      {.role = request.role,
       .request = *request.sent,
       .reply = std::nullopt,
       .in_doubt = true,
       .compensates = context_.participants[request.role].compensates,
       .number = request.number});
}

/// Of a participant that is gone: what it had taken may have been begun.
void Decision::doubt_unanswered(const Participant& participant) {
  const RoleIndex role = index_of(participant);
  for (auto it = context_.requests.begin(); it != context_.requests.end();) {
    const MessageId id = it->first;
    Request& request = it->second;
    ++it;  // call_off() may erase it
    if (request.role != role || request.outcome || request.compensation) continue;
    if (request.sent && !is_deferred(request)) doubt(request);
    call_off(id, request);
  }
}

/// Nobody waits for its answer any more. Whether all is settled now is the caller's to ask, when it
/// has called off all that it wants to: the answer may be the end of everything.
void Decision::call_off(MessageId id, Request& request) {
  if (is_deferred(request)) withdraw(id, request);
  close_account(id, request);
  context_.requests.erase(id);
  context_.compensation->settling.erase(id);
}

// --- settling ---

void Decision::begin_compensation(Error cause) {
  if (!context_.compensation) context_.compensation.emplace();
  context_.compensation->cause = cause;
  enter(Phase::kCompensating, cause.detail);
  context_.deadlines.clear();

  for (auto& [id, request] : context_.requests) {
    if (request.outcome) continue;  // stays, to be received
    if (request.waiter) complete(*std::exchange(request.waiter, {}), tl::unexpected{cause});
    request.mode = ReplyMode::kNone;
  }
  wake_inbox_receivers(cause);

  for (Participant& participant : context_.participants) {
    if (participant.status.health != Health::kAlive) doubt_unanswered(participant);
    if (participant.status.health == Health::kStarting) {
      emit(effect::AbandonPlacement{index_of(participant)});
    }
  }
  for (auto it = context_.requests.begin(); it != context_.requests.end();) {
    const MessageId id = it->first;
    Request& request = it->second;
    ++it;
    if (request.outcome) continue;
    if (!request.sent || is_deferred(request)) {
      call_off(id, request);  // never taken
      continue;
    }
    context_.compensation->settling.insert(id);
    emit(effect::Cancel{*context_.participants[request.role].status.pid, id});
  }
  if (!context_.compensation->settling.empty()) {
    emit(effect::StartTimer{ConversationTimer::kSettle, 0, context_.config->settle_timeout});
  }
  plan_if_settled();
}

void Decision::settled(MessageId id) {
  if (!context_.compensation || context_.compensation->settling.erase(id) == 0) return;
  plan_if_settled();
}

/// Whoever has not answered by now is ended, so that nothing of it runs while it is undone.
void Decision::settle_timed_out() {
  if (context_.phase != Phase::kCompensating || context_.compensation->undoing) return;
  for (Participant& participant : context_.participants) {
    if (participant.status.health != Health::kAlive) continue;
    const bool settles_still =
        std::any_of(context_.compensation->settling.begin(), context_.compensation->settling.end(),
                    [&](const MessageId& id) {
                      return context_.requests.at(id).role == index_of(participant);
                    });
    if (!settles_still) continue;
    end_now(participant);
    doubt_unanswered(participant);
  }
  plan_if_settled();
}

/// Not waited for; whoever takes its role does so at once.
void Decision::end_now(Participant& participant) {
  if (participant.status.owned) {
    emit(effect::End{*participant.status.pid, ExitReason::kill()});
    participant.killed = true;
  } else {
    emit(effect::Unlink{*participant.status.pid});
  }
  set_health(participant, Health::kEnded);
}

// --- the plan ---

void Decision::plan_if_settled() {
  Compensation& compensation = *context_.compensation;
  if (context_.phase != Phase::kCompensating || compensation.undoing ||
      !compensation.settling.empty()) {
    return;
  }
  plan();
  undo_next();
}

void Decision::plan() {
  Compensation& compensation = *context_.compensation;
  compensation.undoing = true;
  std::sort(compensation.steps.begin(), compensation.steps.end(),
            [](const Undoable& a, const Undoable& b) { return a.number > b.number; });
  compensation.steps.insert(compensation.steps.end(),
                            std::make_move_iterator(context_.completed.rbegin()),
                            std::make_move_iterator(context_.completed.rend()));
  context_.completed.clear();
  for (const Undoable& step : compensation.steps) {
    const ParticipantStatus& status = context_.participants[step.role].status;
    context_.compensations.push_back({.role = status.role,
                                      .name = status.name,
                                      .request = step.request.id,
                                      .in_doubt = step.in_doubt});
  }
  ++context_.revision;
}

/// There is nobody to undo anything: the record names what was not.
void Decision::give_up_undoing(const std::string& why) {
  if (context_.phase != Phase::kActive && context_.phase != Phase::kCompensating) return;
  if (!context_.compensation) context_.compensation.emplace();
  Compensation& compensation = *context_.compensation;
  if (!compensation.undoing) {
    for (const auto& [id, request] : context_.requests) {
      if (!request.outcome && request.sent && !is_deferred(request)) doubt(request);
    }
    plan();
  }
  while (compensation.step < compensation.steps.size()) {
    if (compensation.steps[compensation.step].compensates) {
      decide_step(CompensationOutcome::kFailed, why);
    } else {
      decide_step(CompensationOutcome::kNothingToUndo,
                  context_.compensations[compensation.step].name + " cannot compensate");
    }
    context_.compensations[compensation.step - 1].at.reset();  // it is given no time
  }
}

bool Decision::is_current_step(RoleIndex role) const {
  if (!context_.compensation) return false;
  const Compensation& compensation = *context_.compensation;
  return compensation.undoing && compensation.step < compensation.steps.size() &&
         compensation.steps[compensation.step].role == role;
}

void Decision::undo_next() {
  Compensation& compensation = *context_.compensation;
  while (compensation.step < compensation.steps.size() &&
         !compensation.steps[compensation.step].compensates) {
    const RoleIndex role = compensation.steps[compensation.step].role;
    const Participant& participant = context_.participants[role];
    std::string text = participant.status.name + " cannot compensate";
    if (participant.not_undoable > kNothingToUndoKept) {
      text += ", nor what " + std::to_string(participant.not_undoable - kNothingToUndoKept) +
              " more requests did";
    }
    decide_step(CompensationOutcome::kNothingToUndo, std::move(text));
  }
  if (compensation.step == compensation.steps.size()) {
    compensated();
    return;
  }
  fault_point(FaultPoint::kCompensationStep);
  compensation.step_until = now_ + context_.config->compensation_timeout;
  emit(effect::StartTimer{ConversationTimer::kCompensation, compensation.step,
                          context_.config->compensation_timeout});
  attempt_step();
}

/// At the participant, or at another that takes its role.
void Decision::attempt_step() {
  Compensation& compensation = *context_.compensation;
  compensation.placing = false;
  if (now_ >= compensation.step_until) {  // its timer may have fired: nothing would bound it
    decide_step(CompensationOutcome::kFailed,
                "not done within " + to_string(context_.config->compensation_timeout));
    undo_next();
    return;
  }
  Participant& participant = context_.participants[compensation.steps[compensation.step].role];
  if (participant.status.health == Health::kAlive && participant.compensates) {
    send_compensation(participant);
    return;
  }
  if (participant.status.health == Health::kStarting) return;  // an abandoned search is to end
  if (participant.status.health == Health::kAlive) end_now(participant);

  if (participant.status.pid && std::find(participant.tried.begin(), participant.tried.end(),
                                          *participant.status.pid) == participant.tried.end()) {
    participant.tried.push_back(*participant.status.pid);
  }
  if (const auto* attached =
          std::get_if<AttachedPid>(&context_.config->participants[index_of(participant)].who)) {
    if (participant.next_alternate >= attached->alternates.size()) {
      decide_step(CompensationOutcome::kFailed,
                  to_string(*participant.status.pid) + " is gone, and no alternate is left");
      undo_next();
      return;
    }
    start(participant);
    send_compensation(participant);
    return;
  }
  compensation.placing = true;
  set_health(participant, Health::kStarting);
  emit(effect::Place{index_of(participant), participant.tried,
                     std::max(compensation.step_until - now_, Duration::zero())});
}

void Decision::send_compensation(Participant& participant) {
  Compensation& compensation = *context_.compensation;
  const Undoable& step = compensation.steps[compensation.step];
  CompensationRecord& told = context_.compensations[compensation.step];
  ++told.attempts;
  told.by = participant.status.pid;
  ++context_.revision;

  const MessageId id = compensation_id(step.request.id);
  Envelope envelope = step.request;
  envelope.kind = EnvelopeKind::kCompensate;
  envelope.id = id;
  envelope.parent = step.request.id;
  envelope.attempt = told.attempts;
  envelope.wants_reply = false;
  envelope.deadline = compensation.step_until;
  if (step.reply) {
    envelope.reply_at = step.request.payload.size();
    envelope.payload = with_reply(step.request.payload, *step.reply);
  }
  TimelineRecord begun = record(TimelineEvent::kCompensating, participant);
  begun.message = id;
  begun.cause = step.request.id;
  begun.attempt = told.attempts;
  begun.text = step.in_doubt ? "in doubt" : "completed";
  note(std::move(begun));

  Request& request = context_.requests
                         .insert_or_assign(id, Request{.role = step.role,
                                                       .mode = ReplyMode::kNone,
                                                       .number = context_.next_number++,
                                                       .compensation = true})
                         .first->second;
  ++participant.unanswered;
  forward(participant, id, request, std::move(envelope));
}

/// Its answer, should it come, means nothing any more.
void Decision::forget_compensation_request() {
  const Compensation& compensation = *context_.compensation;
  const auto found =
      context_.requests.find(compensation_id(compensation.steps[compensation.step].request.id));
  if (found == context_.requests.end()) return;
  if (is_deferred(found->second)) withdraw(found->first, found->second);
  close_account(found->first, found->second);
  context_.requests.erase(found);
}

void Decision::compensation_answered(MessageId, Request& request, const input::Answered& answered) {
  Participant& participant = context_.participants[request.role];
  forget_compensation_request();
  switch (answered.envelope.kind) {
    case EnvelopeKind::kReply:
    case EnvelopeKind::kDone:
      decide_step(CompensationOutcome::kUndone, {});
      break;
    case EnvelopeKind::kExpired:
      end_now(participant);  // what runs for it must not meet the next
      decide_step(CompensationOutcome::kFailed,
                  "not done within " + to_string(context_.config->compensation_timeout));
      break;
    case EnvelopeKind::kCancelled:
    case EnvelopeKind::kRequest:
    case EnvelopeKind::kCompensate:
    case EnvelopeKind::kCall:
    case EnvelopeKind::kOutcome:
      decide_step(CompensationOutcome::kFailed, participant.status.name + " did not begin it");
      break;
  }
  undo_next();
}

void Decision::compensation_timed_out(std::uint64_t step) {
  if (context_.phase != Phase::kCompensating) return;
  Compensation& compensation = *context_.compensation;
  if (!compensation.undoing || compensation.step != step || compensation.placing) return;
  Participant& participant = context_.participants[compensation.steps[step].role];
  forget_compensation_request();
  if (participant.status.health == Health::kAlive) end_now(participant);
  decide_step(CompensationOutcome::kFailed,
              "not done within " + to_string(context_.config->compensation_timeout));
  undo_next();
}

void Decision::crashed_while_compensating(const std::vector<RoleIndex>& crashed) {
  const bool was_undoing = context_.compensation->undoing;
  for (const RoleIndex role : crashed) doubt_unanswered(context_.participants[role]);
  if (!was_undoing) {
    plan_if_settled();
    return;
  }
  for (const RoleIndex role : crashed) {
    if (!is_current_step(role)) continue;
    step_lost(to_string(latest_crash(context_.participants[role])));
    return;
  }
}

/// Whoever was undoing it crashed: elsewhere, if it may still be tried.
void Decision::step_lost(const std::string& why) {
  Compensation& compensation = *context_.compensation;
  const std::uint32_t attempts = context_.compensations[compensation.step].attempts;
  forget_compensation_request();
  if (attempts < context_.config->compensation_attempts && now_ < compensation.step_until) {
    attempt_step();
    return;
  }
  decide_step(CompensationOutcome::kFailed, why + ", at attempt " + std::to_string(attempts));
  undo_next();
}

void Decision::decide_step(CompensationOutcome outcome, std::string text) {
  Compensation& compensation = *context_.compensation;
  CompensationRecord& decided = context_.compensations[compensation.step];
  decided.outcome = outcome;
  decided.text = std::move(text);
  decided.at = now_;
  ++context_.revision;
  const Undoable& step = compensation.steps[compensation.step];
  TimelineRecord told =
      record(outcome == CompensationOutcome::kUndone   ? TimelineEvent::kCompensated
             : outcome == CompensationOutcome::kFailed ? TimelineEvent::kNotCompensated
                                                       : TimelineEvent::kNothingToUndo,
             context_.participants[step.role]);
  told.participant = decided.by;
  told.cause = step.request.id;
  told.attempt = decided.attempts;
  told.text = (step.in_doubt ? "in doubt" : "completed") +
              (decided.text.empty() ? std::string{} : ": " + decided.text);
  note(std::move(told));
  compensation.placing = false;
  ++compensation.step;
}

/// Every step is decided.
void Decision::compensated() {
  const Error& cause = context_.compensation->cause;
  if (context_.compensations.empty()) {  // nothing had been done
    enter_failed(cause);
    return;
  }
  std::string undone, failed;
  for (const CompensationRecord& compensation : context_.compensations) {
    if (compensation.outcome == CompensationOutcome::kFailed) {
      failed += (failed.empty() ? "" : "; ") + to_string(compensation);
    } else if (compensation.outcome == CompensationOutcome::kUndone) {
      undone += (undone.empty() ? "" : ", ") + compensation.role;
    }
  }
  const std::string done = undone.empty() ? "nothing was undone" : "undone: " + undone;
  if (failed.empty()) {
    enter_failed(error_of(Errc::kCompensated, cause.detail + "; " + done));
  } else {
    enter_failed(error_of(Errc::kCompensationFailed,
                          "not undone: " + failed + "; " + done + "; because " + cause.detail));
  }
}

}  // namespace liminal
