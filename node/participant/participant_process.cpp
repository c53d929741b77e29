#include "node/participant/participant_process.hpp"

#include <utility>

namespace liminal {
namespace {

// How often a request that waits for the lease looks for it.
constexpr Duration kLeaseLook = std::chrono::milliseconds{50};

}  // namespace

void ParticipantProcess::handle(Context& context, Message message) {
  if (crashed_) return;
  if (auto* received = std::get_if<message::Received>(&message)) {
    if (received->envelope.kind != EnvelopeKind::kRequest) return ignore();
    take(received->from, std::move(received->envelope));
  } else if (auto* refused = std::get_if<message::Refused>(&message)) {
    take_back(context, std::move(*refused));
  } else if (const auto* fired = std::get_if<message::TimerFired>(&message)) {
    if (!on_timer(context, fired->timer)) return ignore();
  } else if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
    if (!*local || !on_local(context, **local)) return ignore();
  } else {
    return ignore();
  }
  begin_next(context);
  context.take_envelopes(!current_ && !again_);
}

bool ParticipantProcess::on_timer(Context& context, TimerId timer) {
  if (timer == again_) {
    answer_again(context);
  } else if (timer == deadline_timer_) {
    expire(context);
  } else if (timer == lease_timer_) {
    lease_timer_.reset();
  } else {
    return false;
  }
  return true;
}

void ParticipantProcess::take(const Pid& from, Envelope envelope) {
  current_.emplace(Asked{from, envelope.wants_reply,
                         Request{.id = envelope.id,
                                 .conversation = envelope.conversation,
                                 .attempt = envelope.attempt,
                                 .schema = std::move(envelope.schema),
                                 .trace = std::move(envelope.trace),
                                 .deadline = envelope.deadline,
                                 .headers = std::move(envelope.headers),
                                 .payload = std::move(envelope.payload)}});
}

/// Begins what was taken out of the mailbox, unless something speaks against its starting now.
void ParticipantProcess::begin_next(Context& context) {
  if (crashed_ || begun_ || !current_) return;
  const auto& deadline = current_->request.deadline;
  if (deadline && *deadline <= context.now()) return expire(context);
  if (!overdue_ && !again_ && may_begin(context)) {
    begun_ = true;
    begin(context, current_->request);
  }
  if (crashed_ || !current_ || !current_->request.deadline || deadline_timer_) return;
  deadline_timer_ = context.start_timer(*current_->request.deadline - context.now());
}

/// Without a lease the broker may have declared this node down, and another may be doing the work.
bool ParticipantProcess::may_begin(Context& context) {
  if (current_->from.is_local() || context.now() < ledger().lease_until.load()) return true;
  if (!lease_timer_) lease_timer_ = context.start_timer(kLeaseLook);
  return false;
}

void ParticipantProcess::expire(Context& context) {
  answer(context, take_current(context), EnvelopeKind::kExpired, {});
  if (!std::exchange(begun_, false)) return;
  overdue_ = true;
  interrupt(context);
}

ParticipantProcess::Asked ParticipantProcess::take_current(Context& context) {
  if (deadline_timer_) context.cancel_timer(*deadline_timer_);
  deadline_timer_.reset();
  return *std::exchange(current_, std::nullopt);
}

/// Answers come back in the order in which they were sent.
void ParticipantProcess::take_back(Context& context, message::Refused refused) {
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
  if (std::exchange(overdue_, false)) {
    if (reply) ++ledger().late_replies;
    return;
  }
  begun_ = false;
  const Asked asked = take_current(context);
  const std::size_t bytes_max = ledger().payload_bytes_max.load();
  if (asked.wants_reply && reply && reply->size() > bytes_max) {
    crash(context, "reply of " + std::to_string(reply->size()) + " bytes exceeds payload-max (" +
                       std::to_string(bytes_max) + " bytes)");
    return;
  }
  if (asked.wants_reply && reply) {
    answer(context, asked, EnvelopeKind::kReply, *std::move(reply));
  } else {
    answer(context, asked, EnvelopeKind::kDone, {});  // a reply that nobody wanted ends here
  }
}

void ParticipantProcess::crash(Context& context, std::string text) {
  crashed_ = true;
  context.exit(ExitReason::error(std::move(text)));
}

void ParticipantProcess::leave(Context& context) {
  crashed_ = true;
  context.exit(ExitReason::normal());
}

void ParticipantProcess::answer(Context& context, const Asked& asked, EnvelopeKind kind,
                                Payload payload) {
  context.send(asked.from, Envelope{.kind = kind,
                                    .id = context.new_message_id(),
                                    .conversation = asked.request.conversation,
                                    .parent = asked.request.id,
                                    .attempt = asked.request.attempt,
                                    .trace = asked.request.trace,
                                    .payload = std::move(payload)});
}

}  // namespace liminal
