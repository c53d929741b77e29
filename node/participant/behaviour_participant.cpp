#include "node/participant/behaviour_participant.hpp"

#include <utility>

namespace liminal {

namespace {

/// What the pool sends back.
class Processed final : public LocalMessage {
 public:
  Processed(bool begun, std::optional<Payload> reply) : begun_(begun), reply_(std::move(reply)) {}
  [[nodiscard]] bool was_begun() const { return begun_; }
  [[nodiscard]] std::optional<Payload> take_reply() { return std::move(reply_); }

 private:
  bool begun_;
  std::optional<Payload> reply_;
};

}  // namespace

BehaviourParticipant::BehaviourParticipant(ParticipantSlot slot, BehaviourFactory factory,
                                           std::optional<ServiceCommand> undo)
    : ParticipantProcess(std::move(slot), std::move(undo)), factory_(std::move(factory)) {}

void BehaviourParticipant::on_start(Context& context) {
  behaviour_ = factory_();
  if (!behaviour_) return crash(context, "the service's factory made no behaviour");
  blocking_ = behaviour_->blocking();
}

void BehaviourParticipant::begin(Context& context, const Request& request) {
  if (!blocking_) return finish(context, behaviour_->process(request));
  run(context, [request](ParticipantBehaviour& behaviour) { return behaviour.process(request); });
}

void BehaviourParticipant::begin_undo(Context& context, const Compensation& compensation) {
  if (!blocking_) {
    behaviour_->compensate(compensation);
    return finish(context, std::nullopt);
  }
  run(context, [compensation](ParticipantBehaviour& behaviour) -> std::optional<Payload> {
    behaviour.compensate(compensation);
    return std::nullopt;
  });
}

void BehaviourParticipant::run(Context& context, Work work) {
  wanted_ = std::make_shared<std::atomic<bool>>(true);
  context.run_blocking(
      [behaviour = behaviour_, work = std::move(work), wanted = wanted_]() -> LocalMessagePtr {
        if (!*wanted) return std::make_unique<Processed>(false, std::nullopt);
        return std::make_unique<Processed>(true, work(*behaviour));
      });
}

bool BehaviourParticipant::on_local(Context& context, LocalMessage& message) {
  auto* processed = dynamic_cast<Processed*>(&message);
  if (processed == nullptr) return false;
  if (processed->was_begun()) {
    finish(context, processed->take_reply());
  } else {
    never_began(context);
  }
  return true;
}

}  // namespace liminal
