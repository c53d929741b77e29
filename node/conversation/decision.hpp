// Internal to node/conversation: one input on its way through a conversation's state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "node/conversation/conversation_core.hpp"

namespace liminal {

/// The id under which a request is undone: the same on every attempt. Ids are a random half and a
/// counter, which never comes so far.
[[nodiscard]] inline MessageId compensation_id(const MessageId& request) {
  return {request.high, request.low | (std::uint64_t{1} << 63)};
}
[[nodiscard]] inline bool is_compensation_id(const MessageId& id) { return id.low >> 63 != 0; }

/// What step() does: an overload for each input. Its parts stand in files of their own: requests
/// and replies (decision_requests.cpp), participants and what their exits mean
/// (decision_participants.cpp), Compensate (decision_compensation.cpp), the end
/// (decision_ending.cpp).
class Decision {
 public:
  Decision(ConversationContext& context, std::vector<Effect>& effects, TimePoint now)
      : context_(context), effects_(effects), now_(now) {}

  void operator()(const input::SendRequested& send);
  void operator()(const input::ReceiveRequested& receive);
  void operator()(const input::ReceiveAbandoned& abandoned);
  void operator()(const input::OfferRefused& refused);
  void operator()(const input::ParticipantReady& ready);
  void operator()(const input::ParticipantUnavailable& unavailable);
  void operator()(const input::Answered& answered);
  void operator()(const input::ParticipantsExited& exited);
  void operator()(const input::CloseRequested& close);
  void operator()(const input::Abandoned& abandoned);
  void operator()(const input::CancelRequested& cancel);
  void operator()(const input::ActorCrashed& crashed);
  void operator()(const input::EndTimerFired&);
  void operator()(const input::Refused& refused);
  void operator()(const input::RepeatTimerFired& fired);
  void operator()(const input::TimerFired& fired);

  void end_by_force(Error failure);

 private:
  using Participant = ConversationContext::Participant;
  using Request = ConversationContext::Request;
  using Undoable = ConversationContext::Undoable;
  using Compensation = ConversationContext::Compensation;
  using Phase = ConversationPhase;
  using Health = ParticipantHealth;

  [[nodiscard]] static Error error_of(Errc code, std::string detail) {
    return {code, std::move(detail)};
  }

  // --- of all parts ---
  void emit(Effect effect) { effects_.push_back(std::move(effect)); }
  void enter(Phase phase, const std::string& why = {});
  void set_health(Participant& participant, Health health);
  void complete(WaiterId waiter, Outcome outcome, std::optional<HandedOut> reply = {});
  [[nodiscard]] bool takes_requests() const;
  [[nodiscard]] bool compensates() const {
    return context_.config->on_crash == CrashPolicy::kCompensate;
  }
  [[nodiscard]] RoleIndex index_of(const Participant& participant) const {
    return static_cast<RoleIndex>(&participant - context_.participants.data());
  }

  // --- the timeline ---
  [[nodiscard]] TimelineRecord record(TimelineEvent event) const;
  [[nodiscard]] TimelineRecord record(TimelineEvent event, const Participant& participant) const;
  void note(TimelineRecord record) { emit(effect::Note{std::move(record)}); }
  /// Of sends and answers: there may be very many.
  void note_routine(TimelineEvent event, const Participant& participant, const MessageId& message,
                    std::uint32_t attempt, std::optional<MessageId> cause = {});

  // --- requests ---
  [[nodiscard]] Result<RoleIndex> role_of(const std::string& role) const;
  [[nodiscard]] std::optional<Error> why_not_taken(const input::SendRequested& send,
                                                   const Result<RoleIndex>& role) const;
  [[nodiscard]] bool has_room_to_undo(const Payload& payload) const;
  [[nodiscard]] Error too_late_to_send() const;
  [[nodiscard]] Error too_late_to_receive() const;
  [[nodiscard]] Error left_error(const Participant& participant) const;
  [[nodiscard]] bool may_still_reply() const;
  [[nodiscard]] Envelope envelope_of(const input::SendRequested& send, ReplyMode mode) const;
  void dispatch(MessageId id, Request& request, Envelope envelope);
  void forward(Participant& participant, MessageId id, Request& request, Envelope envelope);
  void send_unsent(Participant& participant);
  void receive_reply(WaiterId waiter, MessageId id);
  void receive_next(WaiterId waiter);
  void hand_out(WaiterId waiter, MessageId id, Request& request);
  void settle(MessageId id, Request& request, Outcome outcome, bool has_reply);
  void close_account(MessageId id, Request& request);
  void settle_answer(MessageId id, Request& request, const input::Answered& answered);
  void put_into_inbox(MessageId id, Request& request, std::uint64_t arrival);
  void note_answer(const Participant& participant, MessageId id, const Request& request,
                   EnvelopeKind kind);

  // --- requests that find no room, or no time ---
  void repeat(Participant& participant, std::size_t messages_max);
  void defer(MessageId id, Request& request);
  [[nodiscard]] bool is_deferred(const Request& request) const {
    return context_.participants[request.role].deferred.contains(request.number);
  }
  void start_repeat_timer(RoleIndex role);
  void withdraw(MessageId id, const Request& request);
  void forget(MessageId id, Request& request);
  void watch_deadline(MessageId id, TimePoint deadline);
  void start_deadline_timer();
  void expire_due();
  void expire(MessageId id, Request& request);

  // --- participants and policies ---
  void activate();
  void start(Participant& participant);
  void take_role(Participant& participant, const Pid& pid, bool can_compensate,
                 std::string placement);
  void assemble();
  [[nodiscard]] bool record_exit(const input::ParticipantsExited::Exit& exit,
                                 std::vector<RoleIndex>& crashed);
  void leave(Participant& participant);
  void record_crash(Participant& participant);
  [[nodiscard]] std::string latest_crashes(std::size_t count) const;
  void carry_out_policy(const std::vector<RoleIndex>& crashed);
  void reroute(Participant& participant);
  [[nodiscard]] std::optional<Error> why_not_rerouted(const Participant& participant) const;
  [[nodiscard]] std::size_t take_back_unanswered(Participant& participant);
  [[nodiscard]] const CrashRecord& latest_crash(const Participant& participant) const;

  // --- Compensate ---
  void remember_done(const Request& request, std::optional<Payload> reply);
  void begin_compensation(Error cause);
  void call_off(MessageId id, Request& request);
  void doubt_unanswered(const Participant& participant);
  void doubt(const Request& request);
  [[nodiscard]] bool settles(const MessageId& id) const {
    return context_.compensation && context_.compensation->settling.contains(id);
  }
  void settled(MessageId id);
  void settle_timed_out();
  void plan_if_settled();
  void plan();
  void give_up_undoing(const std::string& why);
  void undo_next();
  void attempt_step();
  void send_compensation(Participant& participant);
  void forget_compensation_request();
  void compensation_answered(MessageId id, Request& request, const input::Answered& answered);
  void compensation_timed_out(std::uint64_t step);
  void step_lost(const std::string& why);
  void decide_step(CompensationOutcome outcome, std::string text);
  [[nodiscard]] bool is_current_step(RoleIndex role) const;
  void crashed_while_compensating(const std::vector<RoleIndex>& crashed);
  void end_now(Participant& participant);
  void compensated();

  // --- the end ---
  void begin_close(const Error& for_waiters);
  void fail_conversation(Error failure);
  void enter_failed(Error failure);
  void wake_unanswered(const Error& error);
  void wake_inbox_receivers(const Error& error);
  void end_participants();
  void end(Participant& participant, ExitReason reason);
  void finish_if_gone();
  void finish();

  ConversationContext& context_;
  std::vector<Effect>& effects_;
  TimePoint now_;
};

}  // namespace liminal
