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
#include "common/wire/timeline.hpp"
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
  RoleIndex role = 0;
  std::optional<WaiterId> taken_for = {};  // see ConversationContext::Request
  friend bool operator==(const HandedOut&, const HandedOut&) = default;
};

enum class ConversationTimer : std::uint8_t {
  kTimeout,          // of the whole conversation
  kRequestDeadline,  // of the request whose is next
  kSettle,           // settle_timeout
  kCompensation,     // compensation_timeout; numbered like the steps
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
/// The caller gave up: out of time, or cancelled. With `forget`, the request of an ask or a send
/// whose caller is gone, nobody will ask for that reply again: what was not taken is not sent, and
/// a reply is a dead letter. Nothing of it is done to a request that was taken for another waiter.
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
  bool compensates = false;
  std::string placement = {};  // why its node was chosen
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
/// All that are known to have ended together: with one node's death all of that node's.
struct ParticipantsExited {
  struct Exit {
    Pid pid;
    ExitReason reason;
  };
  std::vector<Exit> exits;
};
struct CloseRequested {
  std::optional<WaiterId> waiter;
};
/// Nobody waits for it any more: it is cancelled if anything is unanswered or to be undone, closed
/// otherwise.
struct Abandoned {
  std::string why;
};
/// It shall end by its policy.
struct CancelRequested {
  std::string by;  // "no handle was left", "cancelled by ..."
};
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
/// effect::StartTimer's time passed; of the conversation's timeout too, which its process starts.
struct TimerFired {
  ConversationTimer which;
  std::uint64_t number;
};

}  // namespace input

using Input =
    std::variant<input::SendRequested, input::ReceiveRequested, input::ReceiveAbandoned,
                 input::OfferRefused, input::ParticipantReady, input::ParticipantUnavailable,
                 input::Answered, input::ParticipantsExited, input::CloseRequested,
                 input::Abandoned, input::CancelRequested, input::ActorCrashed,
                 input::EndTimerFired, input::Refused, input::RepeatTimerFired, input::TimerFired>;

namespace effect {

/// Find a node for the role's service, and spawn an instance there, linked.
struct Place {
  RoleIndex role;
  std::vector<Pid> tried;  // who held the role before: their nodes come last
  /// To undo requests: it must be able to, and is waited for all of this time, if need be.
  std::optional<Duration> to_compensate_within = {};
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
/// What was forwarded is not waited for any more; it is answered all the same.
struct Cancel {
  Pid to;
  MessageId message;
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
struct StartTimer {
  ConversationTimer which;
  std::uint64_t number;
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
/// For the timeline.
struct Note {
  TimelineRecord record;
};
/// Over: what was not received yet, in order of arrival. No input changes anything after it.
struct Finish {
  std::map<MessageId, Outcome> correlated;
  std::vector<std::pair<MessageId, Outcome>> inbox;  // of which request
  std::map<MessageId, WaiterId> taken_for = {};      // of these: whose calls sent them
};

}  // namespace effect

using Effect = std::variant<effect::Place, effect::AbandonPlacement, effect::Link, effect::Unlink,
                            effect::Forward, effect::Cancel, effect::Complete, effect::End,
                            effect::StartEndTimer, effect::StartRepeatTimer, effect::StartTimer,
                            effect::Withdraw, effect::GiveUp, effect::Note, effect::Finish>;

/// Everything that a conversation knows. Bounded: by the participants, by requests_max, steps_max
/// and the budgets, and by the waiters that its process admits; a request is forgotten when its
/// outcome was handed out, unless it may have to be undone.
struct ConversationContext {
  /// A request, or under its own id the compensation of one.
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
    bool compensation = false;            // of the step that is being undone
    bool asked = false;                   // who sent it waits for its reply, not for its acceptance
    std::optional<WaiterId> taken_for = {};  // the call that sent it: only that one can give it up
  };
  struct Participant {
    ParticipantStatus status;
    bool compensates = false;     // the one that holds the role
    bool killed = false;          // by the conversation
    std::vector<Pid> tried = {};  // who held the role before, in order
    std::size_t next_alternate = 0;
    std::size_t unanswered = 0;
    std::size_t not_undoable = 0;        // requests done by holders that cannot compensate
    std::vector<MessageId> unsent = {};  // in the order of the sends
    /// To be sent again, by number; what is sent meanwhile waits behind.
    std::map<std::uint64_t, MessageId> deferred = {};
    Backoff repeat_after = {};
    bool repeat_timer_runs = false;
  };
  /// A request that was done, or is in doubt, and may have to be undone.
  struct Undoable {
    RoleIndex role;
    Envelope request;
    std::optional<Payload> reply;
    bool in_doubt;
    bool compensates;      // whoever did it can undo it
    std::uint64_t number;  // in the order of the sends
  };
  /// What Compensate is about; there from the moment it begins.
  struct Compensation {
    Error cause;
    std::set<MessageId> settling;  // cancelled, and not answered yet
    std::vector<Undoable> steps;   // those in doubt; then all, in the order of the undoing
    std::size_t step = 0;          // that is being undone
    bool undoing = false;          // the steps are final
    bool placing = false;          // the step waits for an instance that was asked for
    TimePoint step_until = {};
  };

  ConversationContext(ConversationId id, std::shared_ptr<const ConversationConfig> config);

  ConversationId id;
  std::shared_ptr<const ConversationConfig> config;  // shared with its process; immutable
  ConversationPhase phase = ConversationPhase::kCreated;
  std::optional<Error> failure = {};
  std::vector<Participant> participants = {};
  /// Every role had its participant: until then nothing is sent, so that a service that nobody
  /// offers costs no half-done work.
  bool assembled = false;
  std::vector<CrashRecord> crashes = {};
  std::vector<RerouteRecord> reroutes = {};
  std::vector<CompensationRecord> compensations = {};
  std::vector<Undoable> completed = {};  // under Compensate, in this order
  std::size_t undoable = 0;              // of them, by participants that can undo them; their bytes
  std::size_t undoable_bytes = 0;
  std::size_t unanswered_bytes = 0;  // payloads of requests that are
  std::optional<Compensation> compensation = {};
  std::map<MessageId, Request> requests = {};
  std::set<std::pair<TimePoint, MessageId>> deadlines = {};  // of unanswered requests
  std::optional<TimePoint> deadline_timer_at = {};           // the earliest that runs
  std::uint64_t deadline_timers = 0;
  std::optional<TimePoint> ends_at = {};  // the whole conversation, by its timeout
  std::uint64_t next_number = 0;
  std::map<std::uint64_t, MessageId> inbox = {};  // by arrival
  std::uint64_t next_arrival = 0;
  std::map<WaiterId, std::optional<MessageId>> receivers = {};  // of a request; of the inbox
  std::set<WaiterId> inbox_receivers = {};
  std::vector<WaiterId> closers = {};
  bool finished = false;
  ConversationCounters counters = {};
  std::uint64_t noted = 0;     // sends and answers, in the timeline
  std::uint64_t revision = 0;  // grows with everything a snapshot shows, counters excepted
};

struct Step {
  ConversationContext next;
  std::vector<Effect> effects;  // to be carried out in this order
};

/// Decides. Closed and Failed stay as they are, whatever comes. Inputs must be stepped one at a
/// time: the next only when the effects of the one before were carried out.
///
/// Cost: O(log open requests); O(open requests) once, where the conversation ends.
[[nodiscard]] Step step(ConversationContext context, const Input& input, TimePoint now);

/// The diagnosis of a conversation whose actor crashed beyond its intensity, `last` the last time.
[[nodiscard]] Error too_many_crashes(const ConversationConfig& config, const ExitReason& last);

/// The end at once, for when deciding cannot be relied upon: nobody's exit is waited for. What was
/// answered can still be received. Whoever carries it out ends the instances that still run.
[[nodiscard]] Step end_by_force(ConversationContext context, Error failure);

[[nodiscard]] ConversationState snapshot_of(const ConversationContext& state);

}  // namespace liminal
