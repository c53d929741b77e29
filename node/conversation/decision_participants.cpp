// Participants: how they come, and what their exits mean. Fail and RouteToNext.
#include <algorithm>
#include <utility>

#include "common/base/text.hpp"
#include "node/conversation/decision.hpp"

namespace liminal {

// --- how they come ---

void Decision::activate() {
  enter(Phase::kActive);
  for (Participant& participant : context_.participants) start(participant);
  assemble();
}

/// The first holder of the role, or the next one: whoever held it is in `tried`. REQUIRES: of an
/// attached pid that was tried, that an alternate is left.
void Decision::start(Participant& participant) {
  const RoleIndex role = index_of(participant);
  const auto* attached = std::get_if<AttachedPid>(&context_.config->participants[role].who);
  if (attached == nullptr) {
    set_health(participant, Health::kStarting);
    emit(effect::Place{role, participant.tried});
    return;
  }
  const bool is_first = participant.tried.empty();
  const Pid& pid = is_first ? attached->pid : attached->alternates[participant.next_alternate++];
  emit(effect::Link{pid});
  take_role(participant, pid, attached->compensates,
            is_first ? "named" : "alternate " + std::to_string(participant.next_alternate));
}

/// A link to an attached pid is ready at once: signals to one process arrive in the order sent.
void Decision::take_role(Participant& participant, const Pid& pid, bool can_compensate,
                         std::string placement) {
  participant.status.pid = pid;
  participant.status.placement = std::move(placement);
  ++participant.status.incumbent;
  participant.compensates = can_compensate;
  participant.killed = false;
  set_health(participant, Health::kAlive);
  TimelineRecord placed = record(TimelineEvent::kPlaced, participant);
  placed.text = participant.status.placement;
  note(std::move(placed));
  for (auto it = context_.reroutes.rbegin(); it != context_.reroutes.rend(); ++it) {
    if (it->role != participant.status.role) continue;
    if (!it->to) it->to = pid;
    break;
  }
}

void Decision::operator()(const input::ParticipantReady& ready) {
  Participant& participant = context_.participants[ready.role];
  take_role(participant, ready.pid, ready.compensates, ready.placement);
  if (context_.phase == Phase::kCompensating) {
    if (is_current_step(ready.role)) attempt_step();  // else it may be of use for another
    return;
  }
  if (!takes_requests()) {
    end(participant, ExitReason::shutdown());  // it came too late
    return;
  }
  if (context_.assembled) {
    send_unsent(participant);
  } else {
    assemble();
  }
}

/// Sends what waited, in the order of the sends, once nobody is awaited any more.
void Decision::assemble() {
  const bool all = std::all_of(
      context_.participants.begin(), context_.participants.end(), [](const Participant& p) {
        return p.status.health != Health::kAwaited && p.status.health != Health::kStarting;
      });
  if (context_.assembled || !all) return;
  context_.assembled = true;
  std::vector<std::pair<std::uint64_t, MessageId>> waiting;
  for (Participant& participant : context_.participants) {
    if (participant.status.health != Health::kAlive) continue;
    for (const MessageId& id : std::exchange(participant.unsent, {})) {
      waiting.emplace_back(context_.requests.at(id).number, id);
    }
  }
  std::sort(waiting.begin(), waiting.end());
  for (const auto& [number, id] : waiting) {
    Request& request = context_.requests.at(id);
    forward(context_.participants[request.role], id, request,
            *std::exchange(request.unsent, std::nullopt));
  }
}

void Decision::operator()(const input::ParticipantUnavailable& unavailable) {
  Participant& participant = context_.participants[unavailable.role];
  if (context_.phase == Phase::kCompensating) {
    set_health(participant, Health::kUnavailable);
    if (!is_current_step(unavailable.role)) return;
    Compensation& compensation = *context_.compensation;
    if (std::exchange(compensation.placing, false)) {
      decide_step(CompensationOutcome::kFailed, unavailable.error.detail);
      undo_next();
    } else {
      attempt_step();  // that was the search for somebody to go on
    }
    return;
  }
  if (!takes_requests()) {
    set_health(participant, Health::kEnded);
    finish_if_gone();
    return;
  }
  set_health(participant, Health::kUnavailable);
  TimelineRecord told = record(TimelineEvent::kUnplaced, participant);
  told.participant.reset();
  told.text = unavailable.error.detail;
  note(std::move(told));
  if (participant.tried.empty()) {
    const bool says_all = participant.status.role == participant.status.name;
    fail_conversation(says_all
                          ? unavailable.error
                          : error_of(unavailable.error.code, "role '" + participant.status.role +
                                                                 "': " + unavailable.error.detail));
  } else {
    fail_conversation(error_of(Errc::kParticipantCrashed,
                               to_string(latest_crash(participant)) +
                                   "; no candidate is left: " + unavailable.error.detail));
  }
}

// --- their exits ---

/// All are recorded before the policy runs.
void Decision::operator()(const input::ParticipantsExited& exited) {
  std::vector<RoleIndex> crashed;
  bool known = false;
  for (const auto& exit : exited.exits) known |= record_exit(exit, crashed);
  if (!known) return;
  if (!crashed.empty()) carry_out_policy(crashed);
  if (takes_requests() && !context_.assembled) assemble();
  finish_if_gone();
}

/// False if it says nothing new. A crash that the policy is to act upon goes to `crashed`.
bool Decision::record_exit(const input::ParticipantsExited::Exit& exit,
                           std::vector<RoleIndex>& crashed) {
  const auto found = std::find_if(context_.participants.begin(), context_.participants.end(),
                                  [&](const Participant& p) { return p.status.pid == exit.pid; });
  if (found == context_.participants.end() || found->status.exited == exit.pid ||
      context_.finished) {
    ++context_.counters.exits_ignored;
    return false;
  }
  Participant& participant = *found;
  const bool normal = exit.reason.kind == ExitKind::kNormal;
  const bool was_alive = participant.status.health == Health::kAlive;
  participant.status.exited = exit.pid;
  participant.status.reason = exit.reason;
  participant.status.exited_at = now_;
  participant.status.crashed = false;

  switch (participant.status.health) {
    case Health::kAlive:
      if (normal && participant.unanswered == 0) {
        leave(participant);
        return true;
      }
      break;
    case Health::kEnding:
    case Health::kEnded:
      // we caused it, or it raced our doing so: no change of phase
      if (normal || exit.reason.kind == ExitKind::kShutdown ||
          (participant.killed && exit.reason.kind == ExitKind::kKilled)) {
        set_health(participant, Health::kEnded);
        TimelineRecord told = record(TimelineEvent::kEnded, participant);
        told.reason = exit.reason;
        note(std::move(told));
        return true;
      }
      break;
    case Health::kAwaited:
    case Health::kStarting:
    case Health::kLeft:
    case Health::kCrashed:
    case Health::kUnavailable:
      return true;  // without a pid of its own, or told before
  }
  record_crash(participant);
  if (was_alive) crashed.push_back(index_of(participant));
  return true;
}

void Decision::leave(Participant& participant) {
  set_health(participant, Health::kLeft);
  TimelineRecord told = record(TimelineEvent::kLeft, participant);
  told.reason = participant.status.reason;
  note(std::move(told));
  if (!may_still_reply()) wake_inbox_receivers(left_error(participant));
}

void Decision::record_crash(Participant& participant) {
  ParticipantStatus& status = participant.status;
  context_.crashes.push_back({status.role, status.name, *status.pid, *status.reason,
                              participant.unanswered, context_.config->on_crash, now_});
  status.crashed = true;
  set_health(participant, Health::kCrashed);
  TimelineRecord told = record(TimelineEvent::kCrashed, participant);
  told.reason = status.reason;
  told.text = std::to_string(participant.unanswered) + " unanswered";
  note(std::move(told));
}

const CrashRecord& Decision::latest_crash(const Participant& participant) const {
  return *std::find_if(context_.crashes.rbegin(), context_.crashes.rend(),
                       [&](const CrashRecord& c) { return c.role == participant.status.role; });
}

/// "upper on node-b: exit status 3; lower on node-b: ...".
std::string Decision::latest_crashes(std::size_t count) const {
  std::string text;
  for (std::size_t i = context_.crashes.size() - count; i < context_.crashes.size(); ++i) {
    text += (text.empty() ? "" : "; ") + to_string(context_.crashes[i]);
  }
  return text;
}

// --- what they mean ---

void Decision::carry_out_policy(const std::vector<RoleIndex>& crashed) {
  if (context_.phase == Phase::kCompensating) {
    crashed_while_compensating(crashed);
    return;
  }
  if (!takes_requests()) return;
  switch (context_.config->on_crash) {
    case CrashPolicy::kFail:
    case CrashPolicy::kCompensate:
      fail_conversation(error_of(Errc::kParticipantCrashed, latest_crashes(crashed.size())));
      return;
    case CrashPolicy::kRouteToNext:
      for (const RoleIndex role : crashed) {
        if (takes_requests()) reroute(context_.participants[role]);
      }
      return;
  }
}

/// The next candidate, if there is one, gets all that is unanswered, in order.
void Decision::reroute(Participant& participant) {
  if (const auto refusal = why_not_rerouted(participant)) {
    fail_conversation(*refusal);
    return;
  }
  const std::size_t resent = take_back_unanswered(participant);
  context_.counters.resent += resent;
  participant.tried.push_back(*participant.status.pid);
  context_.reroutes.push_back(
      {participant.status.role, *participant.status.pid, std::nullopt, resent, now_});
  TimelineRecord told = record(TimelineEvent::kRerouted, participant);
  told.text = "to the next candidate, " + std::to_string(resent) + " requests go again";
  note(std::move(told));
  start(participant);
  if (participant.status.health == Health::kAlive && context_.assembled) send_unsent(participant);
}

std::optional<Error> Decision::why_not_rerouted(const Participant& participant) const {
  const ConversationConfig& config = *context_.config;
  const std::string crash = to_string(latest_crash(participant));
  if (context_.reroutes.size() >= config.max_reroutes) {
    return error_of(Errc::kParticipantCrashed, crash + "; the conversation was rerouted " +
                                                   std::to_string(context_.reroutes.size()) +
                                                   " times (max_reroutes)");
  }
  for (const auto& [id, request] : context_.requests) {
    const bool at_it = request.role == index_of(participant) && request.sent && !request.outcome &&
                       !is_deferred(request);
    if (!at_it || request.sent->attempt < config.max_attempts) continue;
    return error_of(Errc::kParticipantCrashed,
                    crash + "; request " + to_string(id) + " was given to " +
                        std::to_string(request.sent->attempt) +
                        " participants, and none answered it (max_attempts)");
  }
  const auto* attached = std::get_if<AttachedPid>(&config.participants[index_of(participant)].who);
  if (attached != nullptr && participant.next_alternate >= attached->alternates.size()) {
    return error_of(Errc::kParticipantCrashed,
                    crash + "; no alternate of role '" + participant.status.role + "' is left");
  }
  return std::nullopt;
}

/// What was sent and not answered is to be sent again, as another attempt: it may have been begun.
/// What was deferred was never taken. Returns how many were sent.
std::size_t Decision::take_back_unanswered(Participant& participant) {
  std::vector<std::pair<std::uint64_t, MessageId>> again;
  std::size_t resent = 0;
  for (auto& [id, request] : context_.requests) {
    if (request.role != index_of(participant) || request.outcome) continue;
    again.emplace_back(request.number, id);
    if (!request.sent) continue;
    request.unsent = std::exchange(request.sent, std::nullopt);
    if (is_deferred(request)) continue;
    ++request.unsent->attempt;
    ++resent;
  }
  for (const auto& [number, id] : again) {
    Request& request = context_.requests.at(id);
    if (std::exchange(request.deferrals, 0) > 0) --context_.counters.held_up;
  }
  participant.deferred.clear();
  participant.repeat_after.reset();
  std::sort(again.begin(), again.end());
  participant.unsent.clear();
  for (const auto& [number, id] : again) participant.unsent.push_back(id);
  return resent;
}

}  // namespace liminal
