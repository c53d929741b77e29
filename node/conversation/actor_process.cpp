#include "node/conversation/actor_process.hpp"

#include <utility>

namespace liminal {

std::vector<Effect> decide(ConversationRecord& record, const Input& input, TimePoint now) {
  record.deciding = true;
  Step decided = record.decide(std::move(record.state), input, now);
  record.state = std::move(decided.next);
  record.deciding = false;
  if (record.published == record.state.revision) {
    record.cell->publish(record.state.counters);
  } else {
    record.cell->publish(snapshot_of(record.state));
    record.published = record.state.revision;
  }
  return std::move(decided.effects);
}

void ActorProcess::handle(Context& context, Message message) {
  auto* local = std::get_if<LocalMessagePtr>(&message);
  if (local == nullptr) return;  // nobody knows this process but its conversation
  if (auto* order = dynamic_cast<DecideMessage*>(local->get())) {
    auto effects = decide(*record_, *order->input, context.now());
    context.send_local(conversation_,
                       std::make_unique<DecidedMessage>(order->number, std::move(effects)));
  }
}

}  // namespace liminal
