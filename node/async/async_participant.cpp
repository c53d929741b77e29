#include "node/async/async_participant.hpp"

#include <utility>

namespace liminal {

AsyncParticipant::AsyncParticipant(ParticipantSlot slot, AsyncBehaviourFactory factory,
                                   ConversationSupervisor& conversations)
    : ParticipantProcess(std::move(slot)),
      factory_(std::move(factory)),
      own_context_(host_, conversations) {}

AsyncParticipant::~AsyncParticipant() {
  own_context_.cancel_nested("the participant that opened it ended");
}

void AsyncParticipant::on_start(Context& context) {
  behaviour_ = factory_();
  if (!behaviour_) crash(context, "the service's factory made no behaviour");
}

void AsyncParticipant::begin(Context& context, const Request& request) {
  start(context, behaviour_->process(request, own_context_),
        {.cause = request.id, .trace = request.trace, .deadline = request.deadline});
}

namespace {

Task<std::optional<Payload>> without_reply(Task<> work) {
  co_await std::move(work);
  co_return std::nullopt;
}

}  // namespace

void AsyncParticipant::begin_undo(Context& context, const Compensation& compensation) {
  start(context, without_reply(behaviour_->compensate(compensation, own_context_)),
        {.cause = compensation.id,
         .trace = compensation.request.trace,
         .deadline = compensation.deadline});
}

void AsyncParticipant::start(Context& context, Work work, TaskHost::Origin origin) {
  if (!work) return crash(context, "the behaviour returned no coroutine");
  work_ = std::move(work);
  host_.start(context, work_, std::move(origin));
  look_whether_done(context);
}

bool AsyncParticipant::on_local(Context& context, LocalMessage& message) {
  if (!host_.on_local(context, message)) {
    // of a call that was given up when its outcome was under way
    return dynamic_cast<ConversationOutcome*>(&message) != nullptr;
  }
  look_whether_done(context);
  return true;
}

bool AsyncParticipant::on_own_timer(Context& context, TimerId timer) {
  if (!host_.on_timer(context, timer)) return false;
  look_whether_done(context);
  return true;
}

void AsyncParticipant::look_whether_done(Context& context) {
  if (!work_.is_done()) return;
  Work done = std::move(work_);
  std::optional<Payload> reply = done.take();  // or throws: this participant's crash
  own_context_.nested_.clear();
  finish(context, std::move(reply));
}

void AsyncParticipant::interrupt(Context& context) {
  own_context_.cancel_nested("nobody waits for the request that it served");
  host_.stop(context, work_);
  conclude(context, tl::unexpected{CommandFailure{"ended where it waited"}});
}

}  // namespace liminal
