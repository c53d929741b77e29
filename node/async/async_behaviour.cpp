#include "node/async/async_behaviour.hpp"

#include <stdexcept>
#include <utility>

#include "node/async/async_participant.hpp"

namespace liminal {

Task<> AsyncBehaviour::compensate(Compensation, ParticipantContext&) {
  throw std::logic_error("asked to undo a request, which this service cannot");
  co_return;
}

ParticipantMaker async_participants(ConversationSupervisor& conversations,
                                    AsyncBehaviourFactory factory, Undo undo) {
  return {
      ParticipantMaker::Make{[&conversations, factory = std::move(factory)](ParticipantSlot slot) {
        return std::make_unique<AsyncParticipant>(std::move(slot), factory, conversations);
      }},
      undo};
}

// --- ParticipantContext ---

Result<ConversationActor> ParticipantContext::spawn(ConversationConfig config) {
  auto actor = conversations_.spawn(std::move(config));
  if (!actor) return actor;
  std::erase_if(nested_, [](const auto& nested) { return nested.is_let_go(); });
  nested_.push_back(actor->handle().weak());
  return actor;
}

Task<Result<Payload>> ParticipantContext::ask(ServiceName service, Payload payload,
                                              Duration timeout, CrashPolicy on_crash) {
  auto actor = spawn({on_crash, {ParticipantConfig::owned(service)}});
  if (!actor) co_return tl::unexpected{std::move(actor.error())};
  ConversationHandle conversation = actor->handle();
  Result<Payload> reply = co_await conversation.ask_async(std::move(payload), timeout);
  if (!reply) conversation.cancel("ask: " + reply.error().detail);
  (void)co_await conversation.close_async(timeout);
  if (reply) co_return reply;
  co_return tl::unexpected{what_it_came_to(conversation.query_state(), std::move(reply.error()))};
}

void ParticipantContext::cancel_nested(const char* why) {
  for (const auto& nested : std::exchange(nested_, {})) {
    if (auto conversation = nested.lock()) conversation->cancel(why);
  }
}

}  // namespace liminal
