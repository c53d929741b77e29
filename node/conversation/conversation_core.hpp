// The state machine of a conversation: decides what every event means, and does nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "common/base/backoff.hpp"
#include "common/wire/envelope.hpp"
#include "common/wire/signal.hpp"
#include "node/conversation/conversation_types.hpp"
#include "node/dead_letters/dead_letter.hpp"

namespace liminal {

/// A call that waits for an outcome. Unique within its conversation, growing in order of the calls.
using WaiterId = StrongId<struct WaiterIdTag>;

/// What a call ends in: a reply (empty where the call is no receive) or a typed error.
using Outcome = Result<Payload>;

/// An index into ConversationConfig::participants.
using RoleIndex = std::size_t;

/// A reply on its way to a caller, as it must be put back if the caller gave up meanwhile.
struct HandedOut {
  MessageId request;
  ReplyMode mode;
  std::uint64_t arrival;  // its place in the inbox
  friend bool operator==(const HandedOut&, const HandedOut&) = default;
};

namespace input {

struct SendRequested {
  MessageId id;
  Payload payload;
  SendOptions options;
  std::optional<WaiterId> accepted;  // learns whether the request was taken
  std::optional<WaiterId> reply;     // receives the correlated reply at once, as in ask
};
/// Without a request: the next reply of the inbox.
struct ReceiveRequested {
  WaiterId waiter;
  std::optional<MessageId> request;
};
/// The caller gave up: out of time, or cancelled. With `forget` nobody will ask for that reply
/// again.
struct ReceiveAbandoned {
  WaiterId waiter;
  std::optional<MessageId> forget;
};
/// A reply that Complete was to hand out found its caller gone.
struct OfferRefused {
  HandedOut reply;
  Outcome outcome;
};
/// The answer to effect::Place: an instance that is linked. Exactly one of this and the next.
struct ParticipantReady {
  RoleIndex role;
  Pid pid;
};
struct ParticipantUnavailable {
  RoleIndex role;
  Error error;
};
/// A reply, done or expired.
struct Answered {
  Pid from;
  Envelope envelope;
};
struct ParticipantExited {
  Pid pid;
  ExitReason reason;
};
struct CloseRequested {
  std::optional<WaiterId> waiter;
};
/// Nobody holds a handle any more, for orphan_timeout.
struct Orphaned {};
/// Once too often: there is no actor any more. A crash within the intensity is no input.
struct ActorCrashed {
  ExitReason reason;
};
/// close_timeout passed since effect::StartEndTimer.
struct EndTimerFired {};
/// A request was not taken.
struct Refused {
  Pid by;
  MessageId message;
  signal::RefusalKind kind;
  std::string text;  // why, if rejected
};
/// effect::StartRepeatTimer's time passed.
struct RepeatTimerFired {
  RoleIndex role;
};

}  // namespace input

using Input = std::variant<input::SendRequested, input::ReceiveRequested, input::ReceiveAbandoned,
                           input::OfferRefused, input::ParticipantReady,
                           input::ParticipantUnavailable, input::Answered, input::ParticipantExited,
                           input::CloseRequested, input::Orphaned, input::ActorCrashed,
                           input::EndTimerFired, input::Refused, input::RepeatTimerFired>;

namespace effect {

/// Find a node for the role's service, and spawn an instance there, linked.
struct Place {
  RoleIndex role;
};
/// Not wanted any more; still answered, unless the answer is already under way.
struct AbandonPlacement {
  RoleIndex role;
};
struct Link {
  Pid pid;
};
struct Unlink {
  Pid pid;
};
struct Forward {
  Pid to;
  Envelope request;
};
/// Each waiter is completed at most once. Where `reply` is set and the caller is gone,
/// input::OfferRefused must follow before any other input.
struct Complete {
  WaiterId waiter;
  Outcome outcome;
  std::optional<HandedOut> reply;
};
/// exit(pid, reason).
struct End {
  Pid pid;
  ExitReason reason;
};
struct StartEndTimer {
  Duration after;
};
/// One for each role runs at a time.
struct StartRepeatTimer {
  RoleIndex role;
  Duration after;
};
/// What was deferred is not sent again.
struct Withdraw {
  Pid to;
  MessageId message;
};
/// Nobody gets this envelope: a request to `peer`, or an answer of its.
struct GiveUp {
  DeadLetterCause cause;
  Pid peer;
  Envelope envelope;
};
/// Over: what was not received yet, in order of arrival. No input changes anything after it.
struct Finish {
  std::map<MessageId, Outcome> correlated;
  std::vector<Outcome> inbox;
};

}  // namespace effect

using Effect =
    std::variant<effect::Place, effect::AbandonPlacement, effect::Link, effect::Unlink,
                 effect::Forward, effect::Complete, effect::End, effect::StartEndTimer,
                 effect::StartRepeatTimer, effect::Withdraw, effect::GiveUp, effect::Finish>;

/// Everything that a conversation knows. Bounded: by the participants, by requests_max, and by the
/// waiters that its process admits; a request is forgotten when its outcome was handed out.
struct ConversationState {
  struct Request {
    RoleIndex role;
    ReplyMode mode;
    WhenDeferred when_deferred = WhenDeferred::kRepeat;
    std::uint64_t number = 0;             // in the order of the sends
    std::optional<Envelope> unsent = {};  // until the participant is ready
    std::optional<Envelope> sent = {};    // then, until it is answered: it may have to go again
    std::uint64_t deferrals = 0;
    std::optional<Outcome> outcome = {};  // answered, and not yet received
    std::uint64_t arrival = 0;            // of the outcome, in the inbox
    std::optional<WaiterId> waiter = {};  // correlated ones only
  };
  struct Participant {
    ParticipantStatus status;
    std::size_t unanswered = 0;
    std::vector<MessageId> unsent = {};  // in the order of the sends
    /// To be sent again, by number; what is sent meanwhile waits behind.
    std::map<std::uint64_t, MessageId> deferred = {};
    Backoff repeat_after = {};
    bool repeat_timer_runs = false;
  };

  ConversationState(ConversationId id, std::shared_ptr<const ConversationConfig> config);

  ConversationId id;
  std::shared_ptr<const ConversationConfig> config;  // shared with its process; immutable
  ConversationPhase phase = ConversationPhase::kCreated;
  std::optional<Error> failure = {};
  std::vector<Participant> participants = {};
  std::vector<CrashRecord> crashes = {};
  std::map<MessageId, Request> requests = {};
  std::map<std::uint64_t, MessageId> inbox = {};  // by arrival
  std::uint64_t next_arrival = 0;
  std::map<WaiterId, std::optional<MessageId>> receivers = {};  // of a request; of the inbox
  std::set<WaiterId> inbox_receivers = {};
  std::vector<WaiterId> closers = {};
  bool finished = false;
  ConversationCounters counters = {};
  std::uint64_t revision = 0;  // grows with everything a snapshot shows, counters excepted
};

struct Step {
  ConversationState next;
  std::vector<Effect> effects;  // to be carried out in this order
};

/// Decides. Closed and Failed stay as they are, whatever comes. Inputs must be stepped one at a
/// time: the next only when the effects of the one before were carried out.
///
/// Cost: O(log open requests); O(open requests) once, where the conversation ends.
[[nodiscard]] Step step(ConversationState state, const Input& input, TimePoint now);

/// The diagnosis of a conversation whose actor crashed beyond its intensity, `last` the last time.
[[nodiscard]] Error too_many_crashes(const ConversationConfig& config, const ExitReason& last);

/// The end at once, for when deciding cannot be relied upon: nobody's exit is waited for. What was
/// answered can still be received. Whoever carries it out ends the instances that still run.
[[nodiscard]] Step end_by_force(ConversationState state, Error failure);

[[nodiscard]] ConversationSnapshot snapshot_of(const ConversationState& state);

}  // namespace liminal
