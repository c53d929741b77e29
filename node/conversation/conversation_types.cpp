#include "node/conversation/conversation_types.hpp"

#include "common/base/text.hpp"

namespace liminal {

std::string_view name_of(ConversationPhase phase) {
  switch (phase) {
    case ConversationPhase::kCreated:
      return "Created";
    case ConversationPhase::kActive:
      return "Active";
    case ConversationPhase::kCompleting:
      return "Completing";
    case ConversationPhase::kCompensating:
      return "Compensating";
    case ConversationPhase::kClosed:
      return "Closed";
    case ConversationPhase::kFailed:
      return "Failed";
  }
  return "?";
}

std::string_view name_of(CrashPolicy policy) {
  switch (policy) {
    case CrashPolicy::kFail:
      return "fail";
    case CrashPolicy::kRouteToNext:
      return "route-to-next";
    case CrashPolicy::kCompensate:
      return "compensate";
  }
  return "?";
}

std::string_view name_of(ParticipantHealth health) {
  switch (health) {
    case ParticipantHealth::kAwaited:
      return "awaited";
    case ParticipantHealth::kStarting:
      return "starting";
    case ParticipantHealth::kAlive:
      return "alive";
    case ParticipantHealth::kEnding:
      return "ending";
    case ParticipantHealth::kLeft:
      return "left";
    case ParticipantHealth::kEnded:
      return "ended";
    case ParticipantHealth::kCrashed:
      return "crashed";
    case ParticipantHealth::kUnavailable:
      return "unavailable";
  }
  return "?";
}

Result<void> validate(const ConversationConfig& config) {
  if (config.on_crash != CrashPolicy::kFail) {
    return fail(Errc::kUnsupported, "crash policy '" + std::string{name_of(config.on_crash)} +
                                        "' is not supported yet: choose 'fail'");
  }
  if (config.participants.empty()) {
    return fail(Errc::kUsage, "a conversation needs a participant");
  }
  if (config.participants.size() > 1) {
    return fail(Errc::kUnsupported, "a conversation with " +
                                        std::to_string(config.participants.size()) +
                                        " participants is not supported yet: name exactly one");
  }
  for (const ParticipantConfig& participant : config.participants) {
    if (!valid_name(participant.role)) {
      return fail(Errc::kUsage, "'" + escaped_tail(participant.role, 63) + "' cannot name a role");
    }
    const auto* owned = std::get_if<OwnedInstance>(&participant.who);
    if (owned != nullptr && !valid_name(owned->service.value())) {
      return fail(Errc::kUsage,
                  "'" + escaped_tail(owned->service.value(), 63) + "' cannot name a service");
    }
    const auto* attached = std::get_if<AttachedPid>(&participant.who);
    if (attached != nullptr && attached->pid.serial == Serial{0}) {
      return fail(Errc::kUsage, "a node is no participant: " + to_string(attached->pid));
    }
  }
  if (config.placement_timeout <= Duration::zero() || config.close_timeout <= Duration::zero() ||
      config.orphan_timeout < Duration::zero() || config.requests_max == 0 ||
      config.waiters_max == 0 || config.actor_restart_period <= Duration::zero() ||
      config.exit_notifiers_max == 0) {
    return fail(Errc::kUsage, "a conversation's timeouts and bounds must be positive");
  }
  return {};
}

ParticipantExit exit_of(const ParticipantStatus& participant, CrashPolicy policy) {
  return {participant.role,
          participant.name,
          participant.pid,
          participant.reason,
          participant.exited_at,
          policy,
          participant.health == ParticipantHealth::kCrashed};
}

std::string to_string(const ParticipantExit& exit) {
  if (!exit.pid) return exit.name + " was never started";
  const std::string who = exit.name + " on " + exit.pid->node.value();
  if (!exit.reason) return who + ": no exit was seen";
  return who + (exit.crash ? " crashed: " : " exited: ") + to_string(*exit.reason);
}

std::string to_string(const CrashRecord& crash) {
  std::string text = crash.name + " on " + crash.pid.node.value() + ": " + to_string(crash.reason);
  if (crash.reason.kind == ExitKind::kNormal) {
    text += ", with " + std::to_string(crash.unanswered) + " unanswered";
  }
  return text;
}

}  // namespace liminal
