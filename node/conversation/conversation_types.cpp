#include "node/conversation/conversation_types.hpp"

#include <algorithm>
#include <set>

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

std::string_view name_of(CompensationOutcome outcome) {
  switch (outcome) {
    case CompensationOutcome::kPending:
      return "pending";
    case CompensationOutcome::kUndone:
      return "undone";
    case CompensationOutcome::kNothingToUndo:
      return "nothing to undo";
    case CompensationOutcome::kFailed:
      return "failed";
  }
  return "?";
}

std::string to_string(const PlacementRule& rule) {
  struct Namer {
    std::string operator()(const placement_rule::Any&) const { return "any"; }
    std::string operator()(const placement_rule::LeastLoaded&) const { return "least loaded"; }
    std::string operator()(const placement_rule::Spread&) const { return "spread"; }
    std::string operator()(const placement_rule::ByLabel& label) const {
      return "label " + label.key + "=" + label.value;
    }
    std::string operator()(const placement_rule::ByNode& by) const {
      return "node " + by.node.value();
    }
  };
  return std::visit(Namer{}, rule);
}

namespace {

std::string quoted(const std::string& text) { return "'" + escaped_tail(text, 63) + "'"; }

Result<void> validate(const std::string& role, const OwnedInstance& owned) {
  if (!valid_name(owned.service.value())) {
    return fail(Errc::kUsage, "role " + quoted(role) + ": " + quoted(owned.service.value()) +
                                  " cannot name a service");
  }
  const auto* label = std::get_if<placement_rule::ByLabel>(&owned.placement);
  if (label != nullptr && !valid_name(label->key)) {
    return fail(Errc::kUsage,
                "role " + quoted(role) + ": " + quoted(label->key) + " cannot name a label");
  }
  const auto* by = std::get_if<placement_rule::ByNode>(&owned.placement);
  if (by != nullptr && !valid_name(by->node.value())) {
    return fail(Errc::kUsage,
                "role " + quoted(role) + ": " + quoted(by->node.value()) + " cannot name a node");
  }
  return {};
}

Result<void> validate(const std::string& role, const AttachedPid& attached) {
  std::vector<Pid> all{attached.pid};
  all.insert(all.end(), attached.alternates.begin(), attached.alternates.end());
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].serial == Serial{0} || !valid_name(all[i].node.value())) {
      return fail(Errc::kUsage, "role " + quoted(role) + ": a node is no participant: " +
                                    escaped_tail(to_string(all[i]), 200));
    }
    if (std::find(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(i), all[i]) !=
        all.begin() + static_cast<std::ptrdiff_t>(i)) {
      return fail(Errc::kUsage,
                  "role " + quoted(role) + ": " + to_string(all[i]) + " is named twice");
    }
  }
  return {};
}

struct Bound {
  const char* name;
  bool positive;
};

}  // namespace

Result<void> validate(const ConversationConfig& config) {
  if (config.participants.empty()) {
    return fail(Errc::kUsage, "a conversation needs a participant");
  }
  std::set<std::string> roles;
  std::set<Pid> pids;
  for (const ParticipantConfig& participant : config.participants) {
    if (!valid_name(participant.role)) {
      return fail(Errc::kUsage, quoted(participant.role) + " cannot name a role");
    }
    if (!roles.insert(participant.role).second) {
      return fail(Errc::kUsage, "role " + quoted(participant.role) + " is named twice");
    }
    const auto valid = std::visit([&](const auto& who) { return validate(participant.role, who); },
                                  participant.who);
    if (!valid) return valid;
    const auto* attached = std::get_if<AttachedPid>(&participant.who);
    if (attached == nullptr) continue;
    std::vector<Pid> all{attached->pid};
    all.insert(all.end(), attached->alternates.begin(), attached->alternates.end());
    for (const Pid& pid : all) {
      if (pids.insert(pid).second) continue;
      return fail(Errc::kUsage,
                  to_string(pid) + " has two roles, the second is " + quoted(participant.role));
    }
  }
  const Duration zero = Duration::zero();
  const Bound bounds[] = {
      {"timeout", !config.timeout || *config.timeout > zero},
      {"policy_timeout", config.policy_timeout > zero},
      {"max_reroutes", config.max_reroutes > 0},
      {"max_attempts", config.max_attempts > 0},
      {"settle_timeout", config.settle_timeout > zero},
      {"compensation_timeout", config.compensation_timeout > zero},
      {"compensation_attempts", config.compensation_attempts > 0},
      {"steps_max", config.steps_max > 0},
      {"steps_bytes_max", config.steps_bytes_max > 0},
      {"close_timeout", config.close_timeout > zero},
      {"orphan_timeout", config.orphan_timeout >= zero},
      {"requests_max", config.requests_max > 0},
      {"waiters_max", config.waiters_max > 0},
      {"actor_restart_period", config.actor_restart_period > zero},
      {"exit_notifiers_max", config.exit_notifiers_max > 0},
  };
  for (const Bound& bound : bounds) {
    if (bound.positive) continue;
    return fail(Errc::kUsage, "a conversation's " + std::string{bound.name} + " must be positive");
  }
  return {};
}

ParticipantExit exit_of(const ParticipantStatus& participant, CrashPolicy policy) {
  return {participant.role,
          participant.name,
          participant.exited ? participant.exited : participant.pid,
          participant.reason,
          participant.exited_at,
          policy,
          participant.crashed};
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

std::string to_string(const CompensationRecord& compensation) {
  std::string text = compensation.name;
  if (compensation.role != compensation.name) text = compensation.role + " (" + text + ")";
  if (compensation.in_doubt) text += ", in doubt";
  if (compensation.text.empty()) return text + ": " + std::string{name_of(compensation.outcome)};
  return text + ": " + compensation.text;
}

}  // namespace liminal
