#include "node/conversation/conversation_core.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/text.hpp"

namespace liminal {
namespace {

using Participant = ConversationState::Participant;
using Request = ConversationState::Request;
using Phase = ConversationPhase;
using Health = ParticipantHealth;

// What one firing of the repeat timer sends again: enough to fill a mailbox that was emptied,
// without flooding one that was not.
constexpr std::size_t kRepeatedMax = 64;
constexpr std::size_t kRepeatedBytesMax = 1024 * 1024;

Error error_of(Errc code, std::string detail) { return Error{code, std::move(detail)}; }

/// One input on its way through the state: an overload for each kind.
class Decision {
 public:
  Decision(ConversationState& state, std::vector<Effect>& effects, TimePoint now)
      : state_(state), effects_(effects), now_(now) {}

  void operator()(const input::SendRequested& send);
  void operator()(const input::ReceiveRequested& receive);
  void operator()(const input::ReceiveAbandoned& abandoned);
  void operator()(const input::OfferRefused& refused);
  void operator()(const input::ParticipantReady& ready);
  void operator()(const input::ParticipantUnavailable& unavailable);
  void operator()(const input::Answered& answered);
  void operator()(const input::ParticipantExited& exited);
  void operator()(const input::CloseRequested& close);
  void operator()(const input::Orphaned&);
  void operator()(const input::ActorCrashed& crashed);
  void operator()(const input::EndTimerFired&);
  void operator()(const input::Refused& refused);
  void operator()(const input::RepeatTimerFired& fired);

  void end_by_force(Error failure);

 private:
  void emit(Effect effect) { effects_.push_back(std::move(effect)); }
  void enter(Phase phase);
  void set_health(Participant& participant, Health health);
  void complete(WaiterId waiter, Outcome outcome, std::optional<HandedOut> reply = {});

  [[nodiscard]] std::optional<Error> why_not_taken(const input::SendRequested& send) const;
  [[nodiscard]] Error too_late_to_send() const;
  [[nodiscard]] Error too_late_to_receive() const;
  [[nodiscard]] Error left_error(const Participant& participant) const;
  [[nodiscard]] bool takes_requests() const;
  void activate(RoleIndex role);
  void forward(Participant& participant, MessageId id, Request& request, Envelope envelope);
  void repeat(Participant& participant, std::size_t messages_max);
  void defer(MessageId id, Request& request);
  [[nodiscard]] bool is_deferred(const Request& request) const {
    return state_.participants[request.role].deferred.contains(request.number);
  }
  void start_repeat_timer(RoleIndex role);
  void withdraw(MessageId id, const Request& request);

  void receive_reply(WaiterId waiter, MessageId id);
  void receive_next(WaiterId waiter);
  void hand_out(WaiterId waiter, MessageId id, Request& request);
  void settle(MessageId id, Request& request, Outcome outcome, bool has_reply);
  void close_account(Request& request);
  void settle_answer(MessageId id, Request& request, const input::Answered& answered);
  void put_into_inbox(MessageId id, Request& request, std::uint64_t arrival);
  void leave(Participant& participant);
  void record_crash(Participant& participant);

  void begin_close(const Error& for_waiters);
  void fail_conversation(Error failure);
  void wake_unanswered(const Error& error);
  void end_participants();
  void end(Participant& participant, ExitReason reason);
  void finish_if_gone();
  void finish();

  ConversationState& state_;
  std::vector<Effect>& effects_;
  TimePoint now_;
};

// --- helpers ---

void Decision::enter(Phase phase) {
  state_.phase = phase;
  ++state_.revision;
}

void Decision::set_health(Participant& participant, Health health) {
  participant.status.health = health;
  ++state_.revision;
}

void Decision::complete(WaiterId waiter, Outcome outcome, std::optional<HandedOut> reply) {
  state_.receivers.erase(waiter);
  state_.inbox_receivers.erase(waiter);
  if (reply) ++state_.counters.received;
  emit(effect::Complete{waiter, std::move(outcome), reply});
}

/// What a send gets that comes too late.
Error Decision::too_late_to_send() const {
  return error_of(Errc::kConversationFailed, state_.failure
                                                 ? "conversation failed: " + state_.failure->detail
                                                 : std::string{"conversation closed"});
}

/// What a receive gets when no reply will come any more.
Error Decision::too_late_to_receive() const {
  return state_.failure.value_or(error_of(Errc::kConversationFailed, "conversation closed"));
}

Error Decision::left_error(const Participant& participant) const {
  return error_of(Errc::kParticipantLeft, participant.status.name + " on " +
                                              participant.status.pid->node.value() + " has left");
}

bool Decision::takes_requests() const {
  switch (state_.phase) {
    case Phase::kCreated:
    case Phase::kActive:
      return true;
    case Phase::kCompleting:
    case Phase::kCompensating:
    case Phase::kClosed:
    case Phase::kFailed:
      return false;
  }
  return false;
}

// --- requests ---

std::optional<Error> Decision::why_not_taken(const input::SendRequested& send) const {
  if (!takes_requests()) return too_late_to_send();
  const Participant& participant = state_.participants.front();
  if (participant.status.health == Health::kLeft) return left_error(participant);
  if (state_.requests.size() >= state_.config->requests_max) {
    return error_of(Errc::kRejected, std::to_string(state_.requests.size()) +
                                         " requests are open, requests-max is " +
                                         std::to_string(state_.config->requests_max));
  }
  if (state_.requests.contains(send.id)) {
    return error_of(Errc::kRejected, "request " + to_string(send.id) + " was sent before");
  }
  return std::nullopt;
}

void Decision::operator()(const input::SendRequested& send) {
  if (const auto refusal = why_not_taken(send)) {
    ++state_.counters.refused;
    if (send.accepted) complete(*send.accepted, tl::unexpected{*refusal});
    if (send.reply) complete(*send.reply, tl::unexpected{*refusal});
    return;
  }
  const RoleIndex role = 0;
  if (state_.phase == Phase::kCreated) {
    enter(Phase::kActive);
    activate(role);
  }
  Participant& participant = state_.participants[role];
  Request& request = state_.requests
                         .emplace(send.id, Request{.role = role,
                                                   .mode = send.options.reply,
                                                   .when_deferred = send.options.when_deferred,
                                                   .number = state_.counters.sent})
                         .first->second;
  if (send.reply) {
    request.waiter = send.reply;
    state_.receivers.emplace(*send.reply, send.id);
  }
  ++participant.unanswered;
  ++state_.counters.sent;

  Envelope envelope{.kind = EnvelopeKind::kRequest,
                    .id = send.id,
                    .conversation = state_.id,
                    .parent = send.options.cause,
                    .wants_reply = send.options.reply != ReplyMode::kNone,
                    .schema = send.options.schema,
                    .trace = send.options.trace,
                    .headers = send.options.headers,
                    .payload = send.payload};
  if (send.options.deadline) envelope.deadline = now_ + *send.options.deadline;
  if (send.accepted) complete(*send.accepted, Payload{});
  if (participant.status.health == Health::kAlive) {
    forward(participant, send.id, request, std::move(envelope));
  } else {
    request.unsent = std::move(envelope);
    participant.unsent.push_back(send.id);
  }
}

/// A link to an attached pid is ready at once: signals to one process arrive in the order sent.
void Decision::activate(RoleIndex role) {
  Participant& participant = state_.participants[role];
  if (const auto* attached = std::get_if<AttachedPid>(&state_.config->participants[role].who)) {
    participant.status.pid = attached->pid;
    set_health(participant, Health::kAlive);
    emit(effect::Link{attached->pid});
    return;
  }
  set_health(participant, Health::kStarting);
  emit(effect::Place{role});
}

void Decision::forward(Participant& participant, MessageId id, Request& request,
                       Envelope envelope) {
  request.sent = envelope;
  if (participant.deferred.empty()) {
    emit(effect::Forward{*participant.status.pid, std::move(envelope)});
  } else {
    defer(id, request);  // it would only be deferred there
  }
}

// --- requests that find no room ---

void Decision::operator()(const input::Refused& refused) {
  const auto found = state_.requests.find(refused.message);
  const bool open = found != state_.requests.end() && found->second.sent &&
                    !found->second.outcome && !is_deferred(found->second) &&
                    state_.participants[found->second.role].status.pid == refused.by;
  const bool deferred = refused.kind == signal::RefusalKind::kDeferred;
  if (!open) {
    if (deferred) emit(effect::Withdraw{refused.by, refused.message});  // nobody sends it again
    return;
  }
  if (!deferred) {
    ++state_.counters.rejected;
    withdraw(found->first, found->second);  // it may have been deferred before
    settle(found->first, found->second, fail(Errc::kRejected, refused.text), true);
    return;
  }
  Request& request = found->second;
  if (++request.deferrals == 1) ++state_.counters.held_up;
  defer(found->first, request);
}

void Decision::defer(MessageId id, Request& request) {
  ++state_.counters.deferred;
  if (request.when_deferred == WhenDeferred::kTell) {
    withdraw(id, request);
    settle(id, request, fail(Errc::kDeferred, "the participant's mailbox is full"), true);
    return;
  }
  state_.participants[request.role].deferred.emplace(request.number, id);
  start_repeat_timer(request.role);
}

void Decision::start_repeat_timer(RoleIndex role) {
  Participant& participant = state_.participants[role];
  if (std::exchange(participant.repeat_timer_runs, true)) return;
  emit(effect::StartRepeatTimer{role, participant.repeat_after.next()});
}

void Decision::operator()(const input::RepeatTimerFired& fired) {
  Participant& participant = state_.participants[fired.role];
  participant.repeat_timer_runs = false;
  repeat(participant, kRepeatedMax);
  if (!participant.deferred.empty()) start_repeat_timer(fired.role);
}

void Decision::repeat(Participant& participant, std::size_t messages_max) {
  std::size_t bytes = 0;
  while (!participant.deferred.empty() && messages_max > 0 && bytes < kRepeatedBytesMax) {
    const MessageId id = participant.deferred.begin()->second;
    participant.deferred.erase(participant.deferred.begin());
    Request& request = state_.requests.at(id);
    if (request.sent->deadline && *request.sent->deadline <= now_) {
      withdraw(id, request);
      emit(effect::GiveUp{DeadLetterCause::kExpired, *participant.status.pid, *request.sent});
      settle(id, request,
             fail(Errc::kConversationTimeout,
                  "request " + to_string(id) +
                      " was out of time: the participant's mailbox is full, deferred " +
                      std::to_string(request.deferrals) + " times"),
             true);
      continue;
    }
    emit(effect::Forward{*participant.status.pid, *request.sent});
    --messages_max;
    bytes += request.sent->payload.size();
  }
}

/// Whoever deferred it must not wait for it.
void Decision::withdraw(MessageId id, const Request& request) {
  if (request.deferrals == 0) return;  // it was never sent
  emit(effect::Withdraw{*state_.participants[request.role].status.pid, id});
}

// --- replies and those who wait for them ---

void Decision::hand_out(WaiterId waiter, MessageId id, Request& request) {
  const HandedOut reply{id, request.mode, request.arrival};
  Outcome outcome = std::move(*request.outcome);
  if (request.mode == ReplyMode::kInbox) state_.inbox.erase(request.arrival);
  state_.requests.erase(id);
  complete(waiter, std::move(outcome), reply);
}

void Decision::operator()(const input::ReceiveRequested& receive) {
  receive.request ? receive_reply(receive.waiter, *receive.request) : receive_next(receive.waiter);
}

void Decision::receive_reply(WaiterId waiter, MessageId id) {
  const auto found = state_.requests.find(id);
  const bool correlated =
      found != state_.requests.end() && found->second.mode == ReplyMode::kCorrelated;
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
    state_.receivers.emplace(waiter, id);
  }
}

void Decision::receive_next(WaiterId waiter) {
  const Participant& participant = state_.participants.front();
  if (!state_.inbox.empty()) {
    const MessageId id = state_.inbox.begin()->second;
    hand_out(waiter, id, state_.requests.at(id));
  } else if (!takes_requests()) {
    complete(waiter, tl::unexpected{too_late_to_receive()});
  } else if (participant.status.health == Health::kLeft) {
    complete(waiter, tl::unexpected{left_error(participant)});
  } else {
    state_.receivers.emplace(waiter, std::nullopt);
    state_.inbox_receivers.insert(waiter);
  }
}

void Decision::operator()(const input::ReceiveAbandoned& abandoned) {
  const auto receiver = state_.receivers.find(abandoned.waiter);
  if (receiver != state_.receivers.end()) {
    if (receiver->second) state_.requests.at(*receiver->second).waiter.reset();
    state_.inbox_receivers.erase(abandoned.waiter);
    state_.receivers.erase(receiver);
  }
  std::erase(state_.closers, abandoned.waiter);
  if (!abandoned.forget) return;

  const auto found = state_.requests.find(*abandoned.forget);
  if (found == state_.requests.end() || found->second.mode != ReplyMode::kCorrelated ||
      found->second.waiter) {
    return;
  }
  if (found->second.outcome) {
    state_.requests.erase(found);
  } else if (is_deferred(found->second)) {
    withdraw(found->first, found->second);  // not taken, and not wanted any more
    close_account(found->second);
    state_.requests.erase(found);
  } else {
    found->second.mode = ReplyMode::kNone;
  }
}

void Decision::operator()(const input::OfferRefused& refused) {
  if (state_.finished || state_.requests.contains(refused.reply.request)) return;
  --state_.counters.received;
  Request& request =
      state_.requests.emplace(refused.reply.request, Request{.role = 0, .mode = refused.reply.mode})
          .first->second;
  request.outcome = refused.outcome;
  if (refused.reply.mode == ReplyMode::kInbox) {
    put_into_inbox(refused.reply.request, request, refused.reply.arrival);
  }
}

void Decision::put_into_inbox(MessageId id, Request& request, std::uint64_t arrival) {
  request.arrival = arrival;
  state_.inbox.emplace(arrival, id);
  if (state_.inbox_receivers.empty()) return;
  const MessageId first = state_.inbox.begin()->second;
  hand_out(*state_.inbox_receivers.begin(), first, state_.requests.at(first));
}

void Decision::operator()(const input::Answered& answered) {
  const Envelope& envelope = answered.envelope;
  const auto found =
      envelope.parent ? state_.requests.find(*envelope.parent) : state_.requests.end();
  const bool owed = found != state_.requests.end() && !found->second.unsent &&
                    !found->second.outcome && !is_deferred(found->second) &&
                    envelope.conversation == state_.id &&
                    state_.participants[found->second.role].status.pid == answered.from;
  if (!owed) {
    ++state_.counters.answers_dropped;
    emit(effect::GiveUp{DeadLetterCause::kLateReply, answered.from, envelope});
    return;
  }
  if (is_asked(envelope.kind) || envelope.kind == EnvelopeKind::kCancelled) {
    ++state_.counters.answers_dropped;
    return;
  }
  ++state_.counters.completed;
  Participant& participant = state_.participants[found->second.role];
  participant.repeat_after.reset();
  settle_answer(found->first, found->second, answered);
  // What was answered has made room for one.
  repeat(participant, 1);
}

void Decision::settle_answer(MessageId id, Request& request, const input::Answered& answered) {
  const Envelope& envelope = answered.envelope;
  switch (envelope.kind) {
    case EnvelopeKind::kReply:
      settle(id, request, envelope.payload, true);
      return;
    case EnvelopeKind::kDone:
      settle(id, request,
             fail(Errc::kNoReply, "request " + to_string(id) + " was done without a reply"), false);
      return;
    case EnvelopeKind::kExpired:
      emit(effect::GiveUp{DeadLetterCause::kExpired, answered.from, *request.sent});
      settle(id, request,
             fail(Errc::kConversationTimeout,
                  "request " + to_string(id) + " was out of time before it was done"),
             true);
      return;
    case EnvelopeKind::kRequest:
    case EnvelopeKind::kCompensate:
    case EnvelopeKind::kCancelled:
      return;
  }
}

/// The participant owes it no answer any more.
void Decision::close_account(Request& request) {
  Participant& participant = state_.participants[request.role];
  --participant.unanswered;
  participant.deferred.erase(request.number);
  if (request.deferrals > 0) --state_.counters.held_up;
  request.sent.reset();
}

void Decision::settle(MessageId id, Request& request, Outcome outcome, bool has_reply) {
  close_account(request);
  switch (request.mode) {
    case ReplyMode::kNone:
      if (has_reply && outcome) ++state_.counters.answers_dropped;
      state_.requests.erase(id);
      return;
    case ReplyMode::kInbox:
      if (!has_reply) {
        state_.requests.erase(id);
        return;
      }
      request.outcome = std::move(outcome);
      put_into_inbox(id, request, state_.next_arrival++);
      return;
    case ReplyMode::kCorrelated:
      request.outcome = std::move(outcome);
      if (request.waiter) hand_out(*request.waiter, id, request);
      return;
  }
}

// --- participants ---

void Decision::operator()(const input::ParticipantReady& ready) {
  Participant& participant = state_.participants[ready.role];
  participant.status.pid = ready.pid;
  if (!takes_requests()) {
    end(participant, ExitReason::shutdown());  // it came too late
    return;
  }
  set_health(participant, Health::kAlive);
  for (const MessageId id : std::exchange(participant.unsent, {})) {
    Request& request = state_.requests.at(id);
    forward(participant, id, request, *std::exchange(request.unsent, std::nullopt));
  }
}

void Decision::operator()(const input::ParticipantUnavailable& unavailable) {
  Participant& participant = state_.participants[unavailable.role];
  if (!takes_requests()) {
    set_health(participant, Health::kEnded);
    finish_if_gone();
    return;
  }
  set_health(participant, Health::kUnavailable);
  fail_conversation(unavailable.error);
}

void Decision::operator()(const input::ParticipantExited& exited) {
  const auto found = std::find_if(state_.participants.begin(), state_.participants.end(),
                                  [&](const Participant& p) { return p.status.pid == exited.pid; });
  if (found == state_.participants.end() || found->status.reason || state_.finished) {
    ++state_.counters.exits_ignored;
    return;
  }
  found->status.reason = exited.reason;
  found->status.exited_at = now_;
  const bool normal = exited.reason.kind == ExitKind::kNormal;

  switch (found->status.health) {
    case Health::kAlive:
      if (normal && found->unanswered == 0) {
        leave(*found);
        return;
      }
      record_crash(*found);
      // other policies are refused when the conversation is opened
      fail_conversation(error_of(Errc::kParticipantCrashed, to_string(state_.crashes.back())));
      return;
    case Health::kEnding:
    case Health::kEnded:
      // we caused it, or it raced our doing so: no change of phase
      if (normal || exited.reason.kind == ExitKind::kShutdown) {
        set_health(*found, Health::kEnded);
      } else {
        record_crash(*found);
      }
      finish_if_gone();
      return;
    case Health::kAwaited:
    case Health::kStarting:
    case Health::kLeft:
    case Health::kCrashed:
    case Health::kUnavailable:
      return;  // without a pid, or told before
  }
}

void Decision::leave(Participant& participant) {
  set_health(participant, Health::kLeft);
  const Error left = left_error(participant);
  while (!state_.inbox_receivers.empty()) {
    complete(*state_.inbox_receivers.begin(), tl::unexpected{left});
  }
}

void Decision::record_crash(Participant& participant) {
  const ParticipantStatus& status = participant.status;
  state_.crashes.push_back({status.role, status.name, *status.pid, *status.reason,
                            participant.unanswered, state_.config->on_crash, now_});
  set_health(participant, Health::kCrashed);
}

// --- the end ---

void Decision::operator()(const input::CloseRequested& close) {
  if (close.waiter) {
    if (state_.finished) {
      complete(*close.waiter, Payload{});
      return;
    }
    state_.closers.push_back(*close.waiter);
  }
  switch (state_.phase) {
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

void Decision::operator()(const input::Orphaned&) {
  switch (state_.phase) {
    case Phase::kCreated:
      begin_close(error_of(Errc::kConversationFailed, "conversation closed"));
      return;
    case Phase::kActive: {
      const bool idle = std::all_of(state_.participants.begin(), state_.participants.end(),
                                    [](const Participant& p) { return p.unanswered == 0; });
      const Error orphaned = error_of(Errc::kConversationFailed, "no handle was left");
      idle ? begin_close(orphaned) : fail_conversation(orphaned);
      return;
    }
    case Phase::kCompleting:
    case Phase::kCompensating:
    case Phase::kClosed:
    case Phase::kFailed:
      return;
  }
}

void Decision::operator()(const input::ActorCrashed& crashed) {
  switch (state_.phase) {
    case Phase::kCreated:
    case Phase::kActive:
      fail_conversation(too_many_crashes(*state_.config, crashed.reason));
      return;
    case Phase::kCompleting:
    case Phase::kCompensating:
    case Phase::kClosed:
    case Phase::kFailed:
      return;  // what is left to do needs no actor
  }
}

void Decision::operator()(const input::EndTimerFired&) {
  if (state_.finished) return;
  if (takes_requests()) return;  // nobody started it
  for (Participant& participant : state_.participants) {
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

void Decision::fail_conversation(Error failure) {
  enter(Phase::kFailed);
  state_.failure = std::move(failure);
  wake_unanswered(*state_.failure);
  end_participants();
}

/// What was answered stays, to be received; nothing else will be.
void Decision::wake_unanswered(const Error& error) {
  for (auto it = state_.requests.begin(); it != state_.requests.end();) {
    if (it->second.outcome) {
      ++it;
      continue;
    }
    if (it->second.waiter) complete(*it->second.waiter, tl::unexpected{error});
    it = state_.requests.erase(it);
  }
  while (!state_.inbox_receivers.empty()) {
    complete(*state_.inbox_receivers.begin(), tl::unexpected{error});
  }
  for (Participant& participant : state_.participants) {
    participant.unanswered = 0;
    participant.unsent.clear();
    participant.deferred.clear();  // the conversation's end withdraws it
  }
  state_.counters.held_up = 0;
}

void Decision::end_participants() {
  bool waiting = false;
  for (RoleIndex role = 0; role < state_.participants.size(); ++role) {
    Participant& participant = state_.participants[role];
    switch (participant.status.health) {
      case Health::kAwaited:
        set_health(participant, Health::kEnded);
        break;
      case Health::kStarting:
        emit(effect::AbandonPlacement{role});
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
  if (waiting) emit(effect::StartEndTimer{state_.config->close_timeout});
  finish_if_gone();
}

void Decision::end(Participant& participant, ExitReason reason) {
  set_health(participant, Health::kEnding);
  emit(effect::End{*participant.status.pid, std::move(reason)});
}

void Decision::finish_if_gone() {
  const bool ending = state_.phase == Phase::kCompleting || state_.phase == Phase::kFailed;
  const bool gone = std::none_of(
      state_.participants.begin(), state_.participants.end(), [](const Participant& p) {
        return p.status.health == Health::kStarting || p.status.health == Health::kEnding;
      });
  if (state_.finished || !ending || !gone) return;
  finish();
}

void Decision::end_by_force(Error failure) {
  if (state_.finished) return;
  wake_unanswered(failure);
  if (state_.phase != Phase::kCompleting && !is_terminal(state_.phase)) {
    enter(Phase::kFailed);
    state_.failure = std::move(failure);
  }
  for (Participant& participant : state_.participants) {
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
  if (state_.phase == Phase::kCompleting) enter(Phase::kClosed);
  state_.finished = true;
  ++state_.revision;

  effect::Finish over;
  for (const auto& [arrival, id] : state_.inbox) {
    over.inbox.push_back(std::move(*state_.requests.at(id).outcome));
  }
  for (auto& [id, request] : state_.requests) {
    if (request.mode == ReplyMode::kCorrelated) {
      over.correlated.emplace(id, std::move(*request.outcome));
    }
  }
  state_.inbox.clear();
  state_.requests.clear();
  emit(std::move(over));
  for (const WaiterId closer : std::exchange(state_.closers, {})) complete(closer, Payload{});
}

}  // namespace

ConversationState::ConversationState(ConversationId the_id,
                                     std::shared_ptr<const ConversationConfig> the_config)
    : id(the_id), config(std::move(the_config)) {
  for (const ParticipantConfig& participant : config->participants) {
    const auto* owned = std::get_if<OwnedInstance>(&participant.who);
    participants.push_back(
        Participant{.status = {.role = participant.role,
                               .name = owned ? owned->service.value() : participant.role,
                               .owned = owned != nullptr}});
  }
}

Step step(ConversationState state, const Input& input, TimePoint now) {
  std::vector<Effect> effects;
  std::visit(Decision{state, effects, now}, input);
  return {std::move(state), std::move(effects)};
}

Error too_many_crashes(const ConversationConfig& config, const ExitReason& last) {
  return error_of(Errc::kConversationFailed, "actor crashed: " + to_string(last) + ", beyond " +
                                                 std::to_string(config.actor_restarts_max) +
                                                 " restarts within " +
                                                 to_string(config.actor_restart_period));
}

Step end_by_force(ConversationState state, Error failure) {
  std::vector<Effect> effects;
  Decision{state, effects, TimePoint::min()}.end_by_force(std::move(failure));
  return {std::move(state), std::move(effects)};
}

ConversationSnapshot snapshot_of(const ConversationState& state) {
  ConversationSnapshot snapshot{.id = state.id,
                                .phase = state.phase,
                                .failure = state.failure,
                                .crashes = state.crashes,
                                .counters = state.counters,
                                .ended = state.finished};
  for (const auto& participant : state.participants) {
    snapshot.participants.push_back(participant.status);
  }
  return snapshot;
}

}  // namespace liminal
