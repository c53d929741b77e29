#include "node/conversation/actor_process.hpp"

#include <type_traits>
#include <utility>

#include "common/base/fault_point.hpp"

namespace liminal {
namespace {

/// What throws while it is away loses it.
ConversationContext take_draft(ConversationRecord& record) {
  ConversationContext draft = *std::move(record.draft);
  record.draft.reset();
  return draft;
}

}  // namespace

void decide(ConversationRecord& record, std::uint64_t number, const Input& input, TimePoint now) {
  static_assert(std::is_nothrow_move_constructible_v<ConversationContext> &&
                    std::is_nothrow_move_assignable_v<ConversationContext> &&
                    std::is_nothrow_move_assignable_v<std::vector<Effect>>,
                "the second half of a decision must not throw");
  if (!record.draft) record.draft = record.state;
  ConversationContext draft = take_draft(record);
  Step decided = record.decide(std::move(draft), input, now);
  std::optional<ConversationState> shown;
  if (record.published != decided.next.revision) shown = snapshot_of(decided.next);

  record.draft.emplace(std::move(record.state));
  record.state = std::move(decided.next);
  record.effects = std::move(decided.effects);
  record.decided = number;
  record.published = record.state.revision;
  if (shown) {
    record.cell->publish(*std::move(shown));
  } else {
    record.cell->publish(record.state.counters);
  }
}

void catch_up(ConversationRecord& record, const Input& input, TimePoint now) {
  ConversationContext behind = take_draft(record);
  record.draft.emplace(record.decide(std::move(behind), input, now).next);
}

bool decide_without_actor(ConversationRecord& record, std::uint64_t number, const Input& input,
                          TimePoint now) {
  try {
    decide(record, number, input, now);
    catch_up(record, input, now);
    return true;
  } catch (...) {
    return record.decided == number;  // decided, if only the draft was lost
  }
}

void ActorProcess::handle(Context& context, Message message) {
  auto* local = std::get_if<LocalMessagePtr>(&message);
  if (local == nullptr) return;  // nobody knows this process but its conversation
  if (auto* order = dynamic_cast<DecideMessage*>(local->get())) {
    fault_point(FaultPoint::kActorTookInput);
    decide(*record_, order->number, *order->input, context.now());
    fault_point(FaultPoint::kActorRecorded);
    context.send_local(conversation_, std::make_unique<DecidedMessage>(order->number));
    fault_point(FaultPoint::kActorBehind);
    catch_up(*record_, *order->input, context.now());
  }
}

}  // namespace liminal
