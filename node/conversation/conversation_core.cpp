#include "node/conversation/conversation_core.hpp"

#include <string>
#include <utility>

#include "node/conversation/decision.hpp"

namespace liminal {
namespace {

// Sends and answers that one conversation tells its timeline of; the rest is counted.
constexpr std::uint64_t kRoutineNotesMax = 1000;
// Few inputs have more.
constexpr std::size_t kEffectsReserved = 3;

}  // namespace

// --- what all parts of a decision use ---

void Decision::enter(Phase phase, const std::string& why) {
  context_.phase = phase;
  ++context_.revision;
  TimelineRecord entered = record(TimelineEvent::kPhase);
  entered.text = std::string{name_of(phase)} + (why.empty() ? "" : ": " + why);
  if (is_terminal(phase) && context_.counters.not_noted > 0) {
    entered.text +=
        "; " + std::to_string(context_.counters.not_noted) + " sends and answers were not noted";
  }
  note(std::move(entered));
}

void Decision::set_health(Participant& participant, Health health) {
  participant.status.health = health;
  ++context_.revision;
}

void Decision::complete(WaiterId waiter, Outcome outcome, std::optional<HandedOut> reply) {
  context_.receivers.erase(waiter);
  context_.inbox_receivers.erase(waiter);
  if (reply) ++context_.counters.received;
  emit(effect::Complete{waiter, std::move(outcome), reply});
}

bool Decision::takes_requests() const {
  switch (context_.phase) {
    case Phase::kCreated:
    case Phase::kActive:
      return true;
    case Phase::kCompleting:
    case Phase::kCompensating:
    case Phase::kClosed:
    case Phase::kFailed:
      return false;
  }
  return false;
}

TimelineRecord Decision::record(TimelineEvent event) const {
  return {.conversation = context_.id, .event = event};
}

TimelineRecord Decision::record(TimelineEvent event, const Participant& participant) const {
  TimelineRecord told = record(event);
  told.role = participant.status.role;
  told.participant = participant.status.pid;
  return told;
}

void Decision::note_routine(TimelineEvent event, const Participant& participant,
                            const MessageId& message, std::uint32_t attempt,
                            std::optional<MessageId> cause) {
  if (context_.noted >= kRoutineNotesMax) {
    ++context_.counters.not_noted;
    return;
  }
  ++context_.noted;
  TimelineRecord told = record(event, participant);
  told.message = message;
  told.attempt = attempt;
  told.cause = cause;
  note(std::move(told));
}

// --- the interface ---

ConversationContext::ConversationContext(ConversationId the_id,
                                         std::shared_ptr<const ConversationConfig> the_config)
    : id(the_id), config(std::move(the_config)) {
  for (const ParticipantConfig& participant : config->participants) {
    const auto* owned = std::get_if<OwnedInstance>(&participant.who);
    participants.push_back(
        Participant{.status = {.role = participant.role,
                               .name = owned ? owned->service.value() : participant.role,
                               .owned = owned != nullptr}});
  }
}

Step step(ConversationContext context, const Input& input, TimePoint now) {
  std::vector<Effect> effects;
  effects.reserve(kEffectsReserved);
  std::visit(Decision{context, effects, now}, input);
  return {std::move(context), std::move(effects)};
}

Error too_many_crashes(const ConversationConfig& config, const ExitReason& last) {
  return {Errc::kConversationFailed, "actor crashed: " + to_string(last) + ", beyond " +
                                         std::to_string(config.actor_restarts_max) +
                                         " restarts within " +
                                         to_string(config.actor_restart_period)};
}

Step end_by_force(ConversationContext context, Error failure) {
  std::vector<Effect> effects;
  Decision{context, effects, TimePoint::min()}.end_by_force(std::move(failure));
  return {std::move(context), std::move(effects)};
}

ConversationState snapshot_of(const ConversationContext& context) {
  ConversationState shown{.id = context.id,
                          .phase = context.phase,
                          .failure = context.failure,
                          .crashes = context.crashes,
                          .reroutes = context.reroutes,
                          .compensations = context.compensations,
                          .counters = context.counters,
                          .ended = context.finished};
  for (const auto& participant : context.participants) {
    shown.participants.push_back(participant.status);
  }
  return shown;
}

}  // namespace liminal
