#include "node/participant/behaviour_participant.hpp"

#include <utility>

namespace liminal {

namespace {

/// What the pool sends back.
class Processed final : public LocalMessage {
 public:
  explicit Processed(std::optional<Payload> reply) : reply_(std::move(reply)) {}
  [[nodiscard]] std::optional<Payload> take_reply() { return std::move(reply_); }

 private:
  std::optional<Payload> reply_;
};

}  // namespace

BehaviourParticipant::BehaviourParticipant(ParticipantSlot slot, BehaviourFactory factory)
    : ParticipantProcess(std::move(slot)), factory_(std::move(factory)) {}

void BehaviourParticipant::on_start(Context& context) {
  behaviour_ = factory_();
  if (!behaviour_) return crash(context, "the service's factory made no behaviour");
  blocking_ = behaviour_->blocking();
}

void BehaviourParticipant::begin(Context& context, const Request& request) {
  if (!blocking_) return finish(context, behaviour_->process(request));
  wanted_ = std::make_shared<std::atomic<bool>>(true);
  context.run_blocking([behaviour = behaviour_, request, wanted = wanted_]() -> LocalMessagePtr {
    if (!*wanted) return std::make_unique<Processed>(std::nullopt);
    return std::make_unique<Processed>(behaviour->process(request));
  });
}

bool BehaviourParticipant::on_local(Context& context, LocalMessage& message) {
  auto* processed = dynamic_cast<Processed*>(&message);
  if (processed == nullptr) return false;
  finish(context, processed->take_reply());
  return true;
}

}  // namespace liminal
