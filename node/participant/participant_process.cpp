#include "node/participant/participant_process.hpp"

#include <algorithm>
#include <utility>

#include "common/base/fault_point.hpp"

namespace liminal {
namespace {

// Records of one participant; its conversation keeps to as many, and says what it left out.
constexpr std::size_t kToldMax = 2000;

// Whoever asked has room for the answer. One is refused for good where others took that room, and
// soon: answers before the newest of these are taken for delivered.
constexpr std::size_t kAnsweredMax = 128;

// How often what waits for the lease looks for it.
constexpr Duration kLeaseLook = std::chrono::milliseconds{50};

Request request_in(Envelope envelope) {
  return {.id = envelope.id,
          .conversation = envelope.conversation,
          .attempt = envelope.attempt,
          .schema = std::move(envelope.schema),
          .trace = std::move(envelope.trace),
          .deadline = envelope.deadline,
          .headers = std::move(envelope.headers),
          .payload = std::move(envelope.payload)};
}

// REQUIRES: it says which request is to be undone, and a reply within the payload.
Compensation compensation_in(Envelope envelope) {
  Compensation made{.request = {.id = *envelope.parent, .conversation = envelope.conversation},
                    .id = envelope.id,
                    .attempt = envelope.attempt,
                    .deadline = envelope.deadline};
  if (envelope.reply_at) {
    const std::string_view all = envelope.payload.view();
    const auto reply_at = static_cast<std::size_t>(*envelope.reply_at);
    made.reply = Payload{std::string{all.substr(reply_at)}};
    envelope.payload = Payload{std::string{all.substr(0, reply_at)}};
  }
  const MessageId undone = made.request.id;
  made.request = request_in(std::move(envelope));
  made.request.id = undone;
  return made;
}

bool is_whole(const Envelope& envelope) {
  return envelope.parent && envelope.reply_at.value_or(0) <= envelope.payload.size();
}

}  // namespace

ParticipantProcess::ParticipantProcess(ParticipantSlot slot, std::optional<ServiceCommand> undo)
    : slot_(std::move(slot)), undo_(std::move(undo)) {}

void ParticipantProcess::handle(Context& context, Message message) {
  if (crashed_) return;
  if (auto* received = std::get_if<message::Received>(&message)) {
    const Envelope& envelope = received->envelope;
    if (!is_work(envelope.kind)) return ignore();
    if (envelope.kind == EnvelopeKind::kCompensate && !is_whole(envelope)) return ignore();
    take(received->from, std::move(received->envelope));
  } else if (auto* cancelled = std::get_if<message::Cancelled>(&message)) {
    cancel(context, std::move(*cancelled));
  } else if (auto* refused = std::get_if<message::Refused>(&message)) {
    take_back(context, std::move(*refused));
  } else if (const auto* fired = std::get_if<message::TimerFired>(&message)) {
    if (!on_timer(context, fired->timer)) return ignore();
  } else if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
    if (!*local || !on_local_message(context, **local)) return ignore();
  } else {
    return ignore();
  }
  begin_next(context);
  context.take_envelopes(!current_ && !again_ && !leaving_);
  if (leaving_ && !current_ && !overdue_ && !again_ && !crashed_) {
    crashed_ = true;
    context.exit(ExitReason::normal());
  }
}

bool ParticipantProcess::on_timer(Context& context, TimerId timer) {
  if (timer == again_) {
    answer_again(context);
  } else if (timer == deadline_timer_) {
    expire(context);
  } else if (timer == lease_timer_) {
    lease_timer_.reset();
  } else {
    return on_own_timer(context, timer);
  }
  return true;
}

bool ParticipantProcess::on_local_message(Context& context, LocalMessage& message) {
  if (undo_) {
    if (auto outcome = undo_->take_outcome(message)) {
      conclude(context, *std::move(outcome));
      return true;
    }
  }
  return on_local(context, message);
}

void ParticipantProcess::take(const Pid& from, Envelope envelope) {
  Debt debt = debt_of(from, envelope);
  if (envelope.kind == EnvelopeKind::kCompensate) {
    current_.emplace(Asked{std::move(debt), compensation_in(std::move(envelope))});
  } else {
    current_.emplace(Asked{std::move(debt), request_in(std::move(envelope))});
  }
}

/// Begins what was taken out of the mailbox, unless something speaks against its starting now.
void ParticipantProcess::begin_next(Context& context) {
  if (crashed_ || begun_ || !current_) return;
  const auto deadline = current_->deadline();
  if (deadline && *deadline <= context.now()) return expire(context);
  if (!overdue_ && !again_ && may_begin(context)) begin_current(context);
  if (crashed_ || !current_ || !deadline || deadline_timer_) return;
  deadline_timer_ = context.start_timer(*deadline - context.now());
}

void ParticipantProcess::begin_current(Context& context) {
  fault_point(FaultPoint::kParticipantTook);
  begun_ = true;
  tell(context, TimelineEvent::kBegun, current_->debt, {});
  const auto* compensation = std::get_if<Compensation>(&current_->work);
  if (compensation == nullptr) {
    begin(context, std::get<Request>(current_->work));
  } else if (undo_) {
    undo_->compensate(context.self(), *compensation, ledger().payload_bytes_max.load());
  } else {
    begin_undo(context, *compensation);
  }
}

void ParticipantProcess::begin_undo(Context& context, const Compensation&) {
  crash(context, "asked to undo a request, which this service cannot");
}

/// Without a lease the broker may have declared this node down, and another may be doing the work.
bool ParticipantProcess::may_begin(Context& context) {
  if (current_->debt.to.is_local() || context.now() < ledger().lease_until.load()) return true;
  if (!lease_timer_) lease_timer_ = context.start_timer(kLeaseLook);
  return false;
}

void ParticipantProcess::expire(Context& context) {
  const bool was_begun = begun_;
  const bool was_interrupted = interrupted_;
  Debt debt = end_current(context);
  answer(context, debt, EnvelopeKind::kExpired, {});
  if (!was_begun) return;
  overdue_ = std::move(debt);
  interrupted_ = was_interrupted;
  interrupt_current(context);
}

void ParticipantProcess::cancel(Context& context, message::Cancelled cancelled) {
  if (cancelled.taken) {
    if (!is_work(cancelled.taken->kind)) return;  // who answers waits for nothing
    answer(context, debt_of(cancelled.from, *cancelled.taken), EnvelopeKind::kCancelled, {});
    return;
  }
  if (!current_ || current_->debt.asked != cancelled.message ||
      current_->debt.to != cancelled.from) {
    return;  // it was answered before
  }
  if (begun_) return interrupt_current(context);
  answer(context, end_current(context), EnvelopeKind::kCancelled, {});
}

void ParticipantProcess::interrupt_current(Context& context) {
  if (std::exchange(interrupted_, true)) return;
  if (undo_ && undo_->is_running()) return undo_->kill();
  interrupt(context);
}

ParticipantProcess::Debt ParticipantProcess::end_current(Context& context) {
  if (deadline_timer_) context.cancel_timer(*deadline_timer_);
  deadline_timer_.reset();
  if (std::exchange(begun_, false)) interrupted_ = false;
  return std::move(std::exchange(current_, std::nullopt)->debt);
}

/// Answers come back in the order in which they were sent.
void ParticipantProcess::take_back(Context& context, message::Refused refused) {
  // what left this node is refused by whom it was sent to, or by nobody: any node may say so
  const bool mine = refused.returned ||
                    std::any_of(answered_.begin(), answered_.end(), [&](const Answered& each) {
                      return each.to == refused.by && each.id == refused.message;
                    });
  if (!mine) return ignore();
  if (refused.kind == signal::RefusalKind::kRejected) {
    crash(context, "its answer was refused: " + refused.text);
    return;
  }
  if (!refused.returned) return ignore();  // the other end has room for every answer it is owed
  unanswered_.push_back({std::move(refused.by), *std::move(refused.returned)});
  if (!again_) again_ = context.start_timer(again_after_.next());
}

void ParticipantProcess::answer_again(Context& context) {
  again_.reset();
  if (unanswered_.empty()) return again_after_.reset();
  again_ = context.start_timer(again_after_.next());
  for (Answer& answer : std::exchange(unanswered_, {})) {
    context.send(answer.to, std::move(answer.envelope));
  }
}

void ParticipantProcess::finish(Context& context, std::optional<Payload> reply) {
  if (const auto late = std::exchange(overdue_, std::nullopt)) {
    interrupted_ = false;
    if (!reply) return;
    ++ledger().late_replies;
    if (!late->wants_reply) return;
    context.dead_letter(
        DeadLetterCause::kLateReply, context.self(), late->to,
        answer_to(*late, context.new_message_id(), EnvelopeKind::kReply, *std::move(reply)));
    return;
  }
  fault_point(FaultPoint::kParticipantDone);
  const Debt debt = end_current(context);
  const bool replies = debt.wants_reply && reply && !debt.undoes;
  const std::size_t bytes_max = ledger().payload_bytes_max.load();
  if (replies && reply->size() > bytes_max) {
    crash(context, "reply of " + std::to_string(reply->size()) + " bytes exceeds payload-max (" +
                       std::to_string(bytes_max) + " bytes)");
    return;
  }
  // A reply that nobody wanted ends here.
  answer(context, debt, replies ? EnvelopeKind::kReply : EnvelopeKind::kDone,
         replies ? *std::move(reply) : Payload{});
}

void ParticipantProcess::conclude(Context& context, CommandOutcome outcome) {
  if (outcome) return finish(context, *std::move(outcome));
  if (!interrupted_) return crash(context, std::move(outcome.error().text));
  if (!outcome.error().was_begun) return never_began(context);
  interrupted_ = false;
  if (std::exchange(overdue_, std::nullopt)) return;  // answered at its deadline
  answer(context, end_current(context), EnvelopeKind::kExpired, {});
}

void ParticipantProcess::never_began(Context& context) {
  interrupted_ = false;
  if (std::exchange(overdue_, std::nullopt)) return;
  answer(context, end_current(context), EnvelopeKind::kCancelled, {});
}

void ParticipantProcess::crash(Context& context, std::string text) {
  crashed_ = true;
  context.exit(ExitReason::error(std::move(text)));
}

void ParticipantProcess::leave(Context& context) {
  leaving_ = true;
  // The last answer may come back yet, for want of room; the end would be lost on it.
  if (!answered_.empty() && !again_) again_ = context.start_timer(again_after_.next());
}

ParticipantProcess::Debt ParticipantProcess::debt_of(const Pid& from, const Envelope& envelope) {
  return {from,
          envelope.id,
          envelope.kind == EnvelopeKind::kCompensate,
          envelope.wants_reply,
          envelope.conversation,
          envelope.attempt,
          envelope.trace};
}

Envelope ParticipantProcess::answer_to(const Debt& debt, MessageId id, EnvelopeKind kind,
                                       Payload payload) {
  return {.kind = kind,
          .id = id,
          .conversation = debt.conversation,
          .parent = debt.asked,
          .attempt = debt.attempt,
          .trace = debt.trace,
          .payload = std::move(payload)};
}

void ParticipantProcess::tell(Context& context, TimelineEvent event, const Debt& debt,
                              std::string_view text) {
  TimelineRecorder* const timeline = ledger().timeline;
  if (timeline == nullptr || !timeline->wanted() || told_ >= kToldMax) return;
  ++told_;
  timeline->record({.conversation = debt.conversation,
                    .event = event,
                    .at = context.now().time_since_epoch(),
                    .participant = context.self(),
                    .message = debt.asked,
                    .attempt = debt.attempt,
                    .text = std::string{text}});
}

void ParticipantProcess::answer(Context& context, const Debt& debt, EnvelopeKind kind,
                                Payload payload) {
  tell(context, TimelineEvent::kAnswered, debt, name_of(kind));
  answered_.push_back({debt.to, context.new_message_id()});
  if (answered_.size() > kAnsweredMax) answered_.pop_front();
  context.send(debt.to, answer_to(debt, answered_.back().id, kind, std::move(payload)));
}

}  // namespace liminal
