#include "node/participant/participant_process.hpp"

#include <utility>

namespace liminal {

ParticipantProcess::ParticipantProcess(ParticipantSlot slot, std::size_t requests_max)
    : slot_(std::move(slot)), requests_max_(requests_max) {}

void ParticipantProcess::handle(Context& context, Message message) {
  if (crashed_) return;
  if (auto* received = std::get_if<message::Received>(&message)) {
    if (received->envelope.kind != EnvelopeKind::kRequest) return ignore();
    take(context, received->from, std::move(received->envelope));
  } else if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
    if (!*local || !on_local(context, **local)) return ignore();
  } else if (auto* fired = std::get_if<message::TimerFired>(&message)) {
    if (!deadline_timer_ || fired->timer != *deadline_timer_) return ignore();
    expire(context);
  } else {
    return ignore();
  }
  begin_next(context);
}

void ParticipantProcess::take(Context& context, const Pid& from, Envelope envelope) {
  if (current_ && waiting_.size() >= requests_max_) {
    crash(context, "more than " + std::to_string(requests_max_) + " requests waiting");
    return;
  }
  waiting_.push_back({from, envelope.wants_reply,
                      Request{.id = envelope.id,
                              .conversation = envelope.conversation,
                              .attempt = envelope.attempt,
                              .schema = std::move(envelope.schema),
                              .trace = std::move(envelope.trace),
                              .deadline = envelope.deadline,
                              .headers = std::move(envelope.headers),
                              .payload = std::move(envelope.payload)}});
}

void ParticipantProcess::begin_next(Context& context) {
  while (!crashed_ && !begun_ && (current_ || !waiting_.empty())) {
    if (!current_) {
      current_ = std::move(waiting_.front());
      waiting_.pop_front();
    }
    const auto& deadline = current_->request.deadline;
    if (deadline && *deadline <= context.now()) {
      expire(context);
      continue;
    }
    if (overdue_) break;
    begun_ = true;
    begin(context, current_->request);
  }
  if (crashed_ || !current_ || !current_->request.deadline || deadline_timer_) return;
  deadline_timer_ = context.start_timer(*current_->request.deadline - context.now());
}

void ParticipantProcess::expire(Context& context) {
  answer(context, take_current(context), EnvelopeKind::kExpired, {});
  if (!std::exchange(begun_, false)) return;
  overdue_ = true;
  interrupt(context);
}

ParticipantProcess::Waiting ParticipantProcess::take_current(Context& context) {
  if (deadline_timer_) context.cancel_timer(*deadline_timer_);
  deadline_timer_.reset();
  return *std::exchange(current_, std::nullopt);
}

void ParticipantProcess::finish(Context& context, std::optional<Payload> reply) {
  if (std::exchange(overdue_, false)) {
    if (reply) ++ledger().late_replies;
    return;
  }
  begun_ = false;
  const Waiting asked = take_current(context);
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

void ParticipantProcess::answer(Context& context, const Waiting& asked, EnvelopeKind kind,
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
