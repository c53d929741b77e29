// Requests and their replies: who gets them, who waits for them, what finds no room or no time.
#include <algorithm>
#include <utility>

#include "common/base/text.hpp"
#include "node/conversation/decision.hpp"

namespace liminal {
namespace {

// What one firing of the repeat timer sends again: enough to fill a mailbox that was emptied,
// without flooding one that was not.
constexpr std::size_t kRepeatedMax = 64;
constexpr std::size_t kRepeatedBytesMax = 1024 * 1024;

ReplyMode reply_mode(ConversationMode mode) {
  switch (mode) {
    case ConversationMode::kAsk:
      return ReplyMode::kCorrelated;
    case ConversationMode::kStream:
      return ReplyMode::kInbox;
    case ConversationMode::kDispatch:
      return ReplyMode::kNone;
  }
  return ReplyMode::kCorrelated;
}

}  // namespace

/// What a send gets that comes too late.
Error Decision::too_late_to_send() const {
  if (context_.phase == Phase::kCompensating) {
    return error_of(Errc::kConversationFailed,
                    "conversation compensates: " + context_.compensation->cause.detail);
  }
  return error_of(Errc::kConversationFailed,
                  context_.failure ? "conversation failed: " + context_.failure->detail
                                   : std::string{"conversation closed"});
}

/// What a receive gets when no reply will come any more.
Error Decision::too_late_to_receive() const {
  if (context_.phase == Phase::kCompensating) return context_.compensation->cause;
  return context_.failure.value_or(error_of(Errc::kConversationFailed, "conversation closed"));
}

Error Decision::left_error(const Participant& participant) const {
  return error_of(Errc::kParticipantLeft, participant.status.name + " on " +
                                              participant.status.pid->node.value() + " has left");
}

/// Whether somebody is there, or on the way, to whom a request could be sent.
bool Decision::may_still_reply() const {
  return std::any_of(context_.participants.begin(), context_.participants.end(),
                     [](const Participant& p) { return p.status.health != Health::kLeft; });
}

Result<RoleIndex> Decision::role_of(const std::string& role) const {
  std::string known;
  for (const Participant& participant : context_.participants) {
    if (participant.status.role == role) return index_of(participant);
    known += (known.empty() ? "" : ", ") + participant.status.role;
  }
  if (!role.empty()) {
    return fail(Errc::kUsage, "'" + escaped_tail(role, 63) +
                                  "' is no role of this conversation: write one of " + known);
  }
  if (context_.participants.size() > 1) {
    return fail(Errc::kUsage, "this conversation has several roles: name one of " + known);
  }
  return RoleIndex{0};
}

/// Under Compensate every request may have to be undone: then it must still be known.
bool Decision::has_room_to_undo(const Payload& payload) const {
  if (!compensates()) return true;
  std::size_t unanswered = 0;
  for (const Participant& participant : context_.participants) {
    unanswered += participant.unanswered;
  }
  return context_.undoable + unanswered < context_.config->steps_max &&
         context_.undoable_bytes + context_.unanswered_bytes + payload.size() <=
             context_.config->steps_bytes_max;
}

std::optional<Error> Decision::why_not_taken(const input::SendRequested& send,
                                             const Result<RoleIndex>& role) const {
  if (!takes_requests()) return too_late_to_send();
  if (!role) return role.error();
  const Participant& participant = context_.participants[*role];
  if (participant.status.health == Health::kLeft) return left_error(participant);
  if (context_.requests.size() >= context_.config->requests_max) {
    return error_of(Errc::kRejected, std::to_string(context_.requests.size()) +
                                         " requests are open, requests-max is " +
                                         std::to_string(context_.config->requests_max));
  }
  if (!has_room_to_undo(send.payload)) {
    return error_of(Errc::kRejected, std::to_string(context_.undoable) + " requests of " +
                                         std::to_string(context_.undoable_bytes) +
                                         " bytes are kept to be undone, steps-max is " +
                                         std::to_string(context_.config->steps_max) +
                                         " and steps-bytes-max " +
                                         std::to_string(context_.config->steps_bytes_max) +
                                         " with those that are unanswered");
  }
  if (is_compensation_id(send.id)) {
    return error_of(Errc::kRejected, to_string(send.id) + " is no id of a request");
  }
  if (context_.requests.contains(send.id)) {
    return error_of(Errc::kRejected, "request " + to_string(send.id) + " was sent before");
  }
  return std::nullopt;
}

Envelope Decision::envelope_of(const input::SendRequested& send, ReplyMode mode) const {
  Envelope envelope{.kind = EnvelopeKind::kRequest,
                    .id = send.id,
                    .conversation = context_.id,
                    .parent = send.options.cause,
                    .wants_reply = mode != ReplyMode::kNone,
                    .schema = send.options.schema,
                    .trace = send.options.trace,
                    .deadline = context_.ends_at,
                    .headers = send.options.headers,
                    .payload = send.payload};
  if (send.options.deadline) {
    const TimePoint own = now_ + *send.options.deadline;
    envelope.deadline = std::min(own, envelope.deadline.value_or(own));
  }
  return envelope;
}

void Decision::operator()(const input::SendRequested& send) {
  const auto role = role_of(send.options.role);
  if (const auto refusal = why_not_taken(send, role)) {
    ++context_.counters.refused;
    if (send.accepted) complete(*send.accepted, tl::unexpected{*refusal});
    if (send.reply) complete(*send.reply, tl::unexpected{*refusal});
    return;
  }
  const ReplyMode mode = send.options.reply.value_or(reply_mode(context_.config->mode));
  Request& request =
      context_.requests
          .emplace(send.id, Request{.role = *role,
                                    .mode = mode,
                                    .when_deferred = send.options.when_deferred,
                                    .number = context_.next_number++,
                                    .asked = send.reply.has_value(),
                                    .taken_for = send.reply ? send.reply : send.accepted})
          .first->second;
  if (send.reply) {
    request.waiter = send.reply;
    context_.receivers.emplace(*send.reply, send.id);
  }
  ++context_.participants[*role].unanswered;
  context_.unanswered_bytes += send.payload.size();
  ++context_.counters.sent;
  if (send.accepted) complete(*send.accepted, Payload{});

  Envelope envelope = envelope_of(send, mode);
  if (send.options.deadline) watch_deadline(send.id, *envelope.deadline);
  const bool first = context_.phase == Phase::kCreated;
  dispatch(send.id, request, std::move(envelope));
  if (first) activate();
}

void Decision::dispatch(MessageId id, Request& request, Envelope envelope) {
  Participant& participant = context_.participants[request.role];
  if (context_.assembled && participant.status.health == Health::kAlive) {
    forward(participant, id, request, std::move(envelope));
  } else {
    request.unsent = std::move(envelope);
    participant.unsent.push_back(id);
  }
}

void Decision::forward(Participant& participant, MessageId id, Request& request,
                       Envelope envelope) {
  if (!request.compensation) {
    note_routine(TimelineEvent::kSent, participant, id, envelope.attempt, envelope.parent);
  }
  request.sent = envelope;
  if (participant.deferred.empty()) {
    emit(effect::Forward{*participant.status.pid, std::move(envelope)});
  } else {
    defer(id, request);  // it would only be deferred there
  }
}

void Decision::send_unsent(Participant& participant) {
  for (const MessageId id : std::exchange(participant.unsent, {})) {
    Request& request = context_.requests.at(id);
    forward(participant, id, request, *std::exchange(request.unsent, std::nullopt));
  }
}

// --- requests that find no room ---

void Decision::operator()(const input::Refused& refused) {
  const auto found = context_.requests.find(refused.message);
  const bool open = found != context_.requests.end() && found->second.sent &&
                    !found->second.outcome && !is_deferred(found->second) &&
                    context_.participants[found->second.role].status.pid == refused.by;
  const bool deferred = refused.kind == signal::RefusalKind::kDeferred;
  if (!open) {
    if (deferred) emit(effect::Withdraw{refused.by, refused.message});  // nobody sends it again
    return;
  }
  Request& request = found->second;
  const MessageId id = found->first;
  if (deferred && !settles(id)) {
    if (++request.deferrals == 1) ++context_.counters.held_up;
    defer(id, request);
    return;
  }
  if (deferred) {
    emit(effect::Withdraw{refused.by, id});
  } else {
    ++context_.counters.rejected;
    withdraw(id, request);  // it may have been deferred before
  }
  if (request.compensation) {
    forget_compensation_request();
    decide_step(CompensationOutcome::kFailed, refused.text);
    undo_next();
  } else if (settles(id)) {  // it was not taken: there is nothing to undo
    close_account(id, request);
    context_.requests.erase(found);
    settled(id);
  } else {
    TimelineRecord told = record(TimelineEvent::kRefused, context_.participants[request.role]);
    told.message = id;
    told.text = refused.text;
    note(std::move(told));
    settle(id, request, fail(Errc::kRejected, refused.text), true);
  }
}

void Decision::defer(MessageId id, Request& request) {
  ++context_.counters.deferred;
  if (request.when_deferred == WhenDeferred::kTell) {
    withdraw(id, request);
    settle(id, request, fail(Errc::kDeferred, "the participant's mailbox is full"), true);
    return;
  }
  context_.participants[request.role].deferred.emplace(request.number, id);
  start_repeat_timer(request.role);
}

void Decision::start_repeat_timer(RoleIndex role) {
  Participant& participant = context_.participants[role];
  if (std::exchange(participant.repeat_timer_runs, true)) return;
  emit(effect::StartRepeatTimer{role, participant.repeat_after.next()});
}

void Decision::operator()(const input::RepeatTimerFired& fired) {
  Participant& participant = context_.participants[fired.role];
  participant.repeat_timer_runs = false;
  repeat(participant, kRepeatedMax);
  if (!participant.deferred.empty()) start_repeat_timer(fired.role);
}

void Decision::repeat(Participant& participant, std::size_t messages_max) {
  std::size_t bytes = 0;
  while (!participant.deferred.empty() && messages_max > 0 && bytes < kRepeatedBytesMax) {
    const MessageId id = participant.deferred.begin()->second;
    Request& request = context_.requests.at(id);
    if (!request.compensation && request.sent->deadline && *request.sent->deadline <= now_) {
      expire(id, request);
      continue;
    }
    participant.deferred.erase(participant.deferred.begin());
    emit(effect::Forward{*participant.status.pid, *request.sent});
    --messages_max;
    bytes += request.sent->payload.size();
  }
}

/// Whoever deferred it must not wait for it.
void Decision::withdraw(MessageId id, const Request& request) {
  if (request.deferrals == 0) return;  // it was never sent
  emit(effect::Withdraw{*context_.participants[request.role].status.pid, id});
}

// --- requests that are out of time ---

void Decision::watch_deadline(MessageId id, TimePoint deadline) {
  context_.deadlines.emplace(deadline, id);
  start_deadline_timer();
}

/// One that fires too early finds nothing, and starts the next.
void Decision::start_deadline_timer() {
  if (context_.deadlines.empty()) return;
  const TimePoint next = context_.deadlines.begin()->first;
  if (context_.deadline_timer_at && *context_.deadline_timer_at <= next) return;
  context_.deadline_timer_at = next;
  emit(effect::StartTimer{ConversationTimer::kRequestDeadline, ++context_.deadline_timers,
                          std::max(next - now_, Duration::zero())});
}

void Decision::expire_due() {
  while (!context_.deadlines.empty() && context_.deadlines.begin()->first <= now_) {
    const MessageId id = context_.deadlines.begin()->second;
    context_.deadlines.erase(context_.deadlines.begin());
    const auto found = context_.requests.find(id);
    if (found != context_.requests.end() && !found->second.outcome) expire(id, found->second);
  }
  start_deadline_timer();
}

/// Out of time, unanswered. Its participant knows of the deadline too, and ends what runs for it.
void Decision::expire(MessageId id, Request& request) {
  Participant& participant = context_.participants[request.role];
  ++context_.counters.expired;
  note_routine(TimelineEvent::kExpired, participant, id,
               (request.sent ? *request.sent : *request.unsent).attempt);
  std::string why = "request " + to_string(id) + " was out of time before it was done";
  const bool taken = request.sent && !is_deferred(request);
  if (request.sent) {
    emit(effect::GiveUp{DeadLetterCause::kExpired, *participant.status.pid, *request.sent});
  }
  if (is_deferred(request)) {
    withdraw(id, request);
    why += ": the participant's mailbox is full, deferred " + std::to_string(request.deferrals) +
           " times";
  } else if (request.unsent) {
    why += ": it was not sent, " + participant.status.name + " was not there";
  }
  if (taken && compensates()) doubt(request);
  settle(id, request, fail(Errc::kConversationTimeout, why), true);
  if (compensates()) fail_conversation(error_of(Errc::kConversationTimeout, std::move(why)));
}

void Decision::operator()(const input::TimerFired& fired) {
  switch (fired.which) {
    case ConversationTimer::kTimeout:
      if (!takes_requests()) return;
      fail_conversation(error_of(
          Errc::kConversationTimeout,
          "the conversation's timeout of " + to_string(*context_.config->timeout) + " has passed"));
      return;
    case ConversationTimer::kRequestDeadline:
      if (fired.number == context_.deadline_timers) context_.deadline_timer_at.reset();
      if (takes_requests()) expire_due();
      return;
    case ConversationTimer::kSettle:
      settle_timed_out();
      return;
    case ConversationTimer::kCompensation:
      compensation_timed_out(fired.number);
      return;
  }
}

// --- replies and those who wait for them ---

void Decision::hand_out(WaiterId waiter, MessageId id, Request& request) {
  const HandedOut reply{id, request.mode, request.arrival, request.role, request.taken_for};
  Outcome outcome = std::move(*request.outcome);
  if (request.mode == ReplyMode::kInbox) context_.inbox.erase(request.arrival);
  context_.requests.erase(id);
  complete(waiter, std::move(outcome), reply);
}

void Decision::operator()(const input::ReceiveRequested& receive) {
  receive.request ? receive_reply(receive.waiter, *receive.request) : receive_next(receive.waiter);
}

void Decision::receive_reply(WaiterId waiter, MessageId id) {
  const auto found = context_.requests.find(id);
  const bool correlated =
      found != context_.requests.end() && found->second.mode == ReplyMode::kCorrelated;
  if (correlated && found->second.outcome) {
    hand_out(waiter, id, found->second);
  } else if (!takes_requests()) {
    complete(waiter, tl::unexpected{too_late_to_receive()});
  } else if (!correlated) {
    complete(waiter,
             fail(Errc::kNoReply, "request " + to_string(id) +
                                      " has no reply of its own to wait for: it is unknown, "
                                      "its reply was received, or it goes elsewhere"));
  } else if (found->second.waiter) {
    complete(waiter,
             fail(Errc::kRejected, "somebody already waits for the reply to " + to_string(id)));
  } else {
    found->second.waiter = waiter;
    context_.receivers.emplace(waiter, id);
  }
}

void Decision::receive_next(WaiterId waiter) {
  if (!context_.inbox.empty()) {
    const MessageId id = context_.inbox.begin()->second;
    hand_out(waiter, id, context_.requests.at(id));
  } else if (!takes_requests()) {
    complete(waiter, tl::unexpected{too_late_to_receive()});
  } else if (!may_still_reply()) {
    complete(waiter, tl::unexpected{left_error(context_.participants.back())});
  } else {
    context_.receivers.emplace(waiter, std::nullopt);
    context_.inbox_receivers.insert(waiter);
  }
}

void Decision::operator()(const input::ReceiveAbandoned& abandoned) {
  const auto receiver = context_.receivers.find(abandoned.waiter);
  if (receiver != context_.receivers.end()) {
    if (receiver->second) context_.requests.at(*receiver->second).waiter.reset();
    context_.inbox_receivers.erase(abandoned.waiter);
    context_.receivers.erase(receiver);
  }
  std::erase(context_.closers, abandoned.waiter);
  if (!abandoned.forget) return;

  const auto found = context_.requests.find(*abandoned.forget);
  if (found == context_.requests.end() || found->second.taken_for != abandoned.waiter ||
      found->second.waiter || settles(found->first) || found->second.compensation) {
    return;
  }
  forget(found->first, found->second);
}

/// Nobody will ask for its reply. What runs for an ask ends by its deadline, if by anything; what
/// runs for a send is cancelled, unless what was begun would then have to be undone.
void Decision::forget(MessageId id, Request& request) {
  const Participant& participant = context_.participants[request.role];
  if (request.outcome) {
    ++context_.counters.answers_dropped;
    if (*request.outcome && participant.status.pid) {
      emit(effect::GiveUp{DeadLetterCause::kLateReply, *participant.status.pid,
                          Envelope{.kind = EnvelopeKind::kReply,
                                   .id = id,
                                   .conversation = context_.id,
                                   .parent = id,
                                   .payload = **request.outcome}});
    }
    if (request.mode == ReplyMode::kInbox) context_.inbox.erase(request.arrival);
    context_.requests.erase(id);
  } else if (!request.sent || is_deferred(request)) {
    if (request.sent) withdraw(id, request);
    close_account(id, request);
    context_.requests.erase(id);
  } else if (request.asked || compensates()) {
    request.mode = ReplyMode::kNone;
  } else {
    note_routine(TimelineEvent::kCancelled, participant, id, request.sent->attempt);
    emit(effect::Cancel{*participant.status.pid, id});
    close_account(id, request);
    context_.requests.erase(id);
  }
}

void Decision::operator()(const input::OfferRefused& refused) {
  if (context_.finished || context_.requests.contains(refused.reply.request)) return;
  --context_.counters.received;
  Request& request =
      context_.requests
          .emplace(refused.reply.request, Request{.role = refused.reply.role,
                                                  .mode = refused.reply.mode,
                                                  .taken_for = refused.reply.taken_for})
          .first->second;
  request.outcome = refused.outcome;
  if (refused.reply.mode == ReplyMode::kInbox) {
    put_into_inbox(refused.reply.request, request, refused.reply.arrival);
  }
}

void Decision::put_into_inbox(MessageId id, Request& request, std::uint64_t arrival) {
  request.arrival = arrival;
  context_.inbox.emplace(arrival, id);
  if (context_.inbox_receivers.empty()) return;
  const MessageId first = context_.inbox.begin()->second;
  hand_out(*context_.inbox_receivers.begin(), first, context_.requests.at(first));
}

void Decision::operator()(const input::Answered& answered) {
  const Envelope& envelope = answered.envelope;
  const auto found =
      envelope.parent ? context_.requests.find(*envelope.parent) : context_.requests.end();
  const bool owed = found != context_.requests.end() && !found->second.unsent &&
                    found->second.sent && !found->second.outcome && !is_deferred(found->second) &&
                    envelope.conversation == context_.id &&
                    context_.participants[found->second.role].status.pid == answered.from;
  if (!owed) {
    ++context_.counters.answers_dropped;
    // Whoever had a deadline, or cancelled, has settled it: what comes then tells nobody anything.
    if (envelope.kind == EnvelopeKind::kExpired || envelope.kind == EnvelopeKind::kCancelled)
      return;
    emit(effect::GiveUp{DeadLetterCause::kLateReply, answered.from, envelope});
    return;
  }
  if (is_asked(envelope.kind) || envelope.kind == EnvelopeKind::kOutcome) {
    ++context_.counters.answers_dropped;
    return;
  }
  Participant& participant = context_.participants[found->second.role];
  participant.repeat_after.reset();
  settle_answer(found->first, found->second, answered);
  // What was answered has made room for one.
  repeat(participant, 1);
}

void Decision::note_answer(const Participant& participant, MessageId id, const Request& request,
                           EnvelopeKind kind) {
  const TimelineEvent event = kind == EnvelopeKind::kReply       ? TimelineEvent::kReplied
                              : kind == EnvelopeKind::kCancelled ? TimelineEvent::kCancelled
                                                                 : TimelineEvent::kDone;
  note_routine(event, participant, id, request.sent->attempt);
}

void Decision::settle_answer(MessageId id, Request& request, const input::Answered& answered) {
  if (request.compensation) {
    compensation_answered(id, request, answered);
    return;
  }
  const Envelope& envelope = answered.envelope;
  const Participant& participant = context_.participants[request.role];
  switch (envelope.kind) {
    case EnvelopeKind::kReply:
      ++context_.counters.completed;
      note_answer(participant, id, request, envelope.kind);
      remember_done(request, envelope.payload);
      if (request.mode == ReplyMode::kNone && !settles(id)) {
        emit(effect::GiveUp{DeadLetterCause::kLateReply, answered.from, envelope});
      }
      settle(id, request, envelope.payload, true);
      return;
    case EnvelopeKind::kDone:
      ++context_.counters.completed;
      note_answer(participant, id, request, envelope.kind);
      remember_done(request, std::nullopt);
      settle(id, request,
             fail(Errc::kNoReply, "request " + to_string(id) + " was done without a reply"), false);
      return;
    case EnvelopeKind::kExpired:
      if (settles(id)) {
        doubt(request);
        settle(id, request, fail(Errc::kConversationTimeout, "ended unfinished"), true);
        return;
      }
      expire(id, request);
      return;
    case EnvelopeKind::kCancelled:
      note_answer(participant, id, request, envelope.kind);
      settle(id, request,
             fail(Errc::kConversationFailed,
                  "request " + to_string(id) + " was cancelled before it was begun"),
             true);
      return;
    case EnvelopeKind::kRequest:
    case EnvelopeKind::kCompensate:
    case EnvelopeKind::kCall:
    case EnvelopeKind::kOutcome:
      return;
  }
}

/// The participant owes it no answer any more.
void Decision::close_account(MessageId id, Request& request) {
  Participant& participant = context_.participants[request.role];
  --participant.unanswered;
  participant.deferred.erase(request.number);
  if (request.deferrals > 0) --context_.counters.held_up;
  const auto& envelope = request.sent ? request.sent : request.unsent;
  if (envelope && envelope->deadline) context_.deadlines.erase({*envelope->deadline, id});
  if (envelope && !request.compensation) context_.unanswered_bytes -= envelope->payload.size();
  if (request.unsent) std::erase(participant.unsent, id);
  request.sent.reset();
  request.unsent.reset();
}

void Decision::settle(MessageId id, Request& request, Outcome outcome, bool has_reply) {
  close_account(id, request);
  switch (request.mode) {
    case ReplyMode::kNone:
      if (has_reply && outcome && !settles(id)) ++context_.counters.answers_dropped;
      context_.requests.erase(id);
      break;
    case ReplyMode::kInbox:
      if (!has_reply) {
        context_.requests.erase(id);
        break;
      }
      request.outcome = std::move(outcome);
      put_into_inbox(id, request, context_.next_arrival++);
      break;
    case ReplyMode::kCorrelated:
      request.outcome = std::move(outcome);
      if (request.waiter) hand_out(*request.waiter, id, request);
      break;
  }
  if (settles(id)) settled(id);
}

}  // namespace liminal
