// What a conversation is to those who open one and look at it: configuration, phases, records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/payload.hpp"
#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/wire/exit_reason.hpp"

namespace liminal {

enum class ConversationPhase : std::uint8_t {
  kCreated,       // nothing was sent yet, nothing was started
  kActive,        // from the first send on
  kCompleting,    // closed by its user; owned participants are ending
  kCompensating,  // what was completed is being undone
  kClosed,        // terminal
  kFailed,        // terminal; the diagnosis says why
};

/// As DESIGN.md spells it: "Created", "Active", ...
[[nodiscard]] std::string_view name_of(ConversationPhase phase);
[[nodiscard]] inline constexpr bool is_terminal(ConversationPhase phase) {
  return phase == ConversationPhase::kClosed || phase == ConversationPhase::kFailed;
}

/// What a participant's crash means to the conversation. There is no default, since every choice is
/// wrong for somebody: whoever opens a conversation names it.
enum class CrashPolicy : std::uint8_t {
  kFail,         // the conversation fails; whoever waits gets ParticipantCrashed
  kRouteToNext,  // the next candidate takes over what is unanswered, within the budgets
  kCompensate,   // what was completed is undone in reverse order, then the conversation fails
};

/// As the command line spells it: "fail", "route-to-next", "compensate".
[[nodiscard]] std::string_view name_of(CrashPolicy policy);

/// Which of the nodes that offer a service gets the instance. None of these ever picks a suspect
/// node, and a node that was tried before comes after all others.
namespace placement_rule {

struct Any {  // at random
  friend bool operator==(const Any&, const Any&) = default;
};
struct LeastLoaded {  // the fewest participants, as the nodes told with their latest beats
  friend bool operator==(const LeastLoaded&, const LeastLoaded&) = default;
};
struct Spread {  // the fewest participants of this conversation
  friend bool operator==(const Spread&, const Spread&) = default;
};
struct ByLabel {  // only nodes that bear it; among them at random
  std::string key, value;
  friend bool operator==(const ByLabel&, const ByLabel&) = default;
};
struct ByNode {  // only this one
  NodeName node;
  friend bool operator==(const ByNode&, const ByNode&) = default;
};

}  // namespace placement_rule

using PlacementRule =
    std::variant<placement_rule::Any, placement_rule::LeastLoaded, placement_rule::Spread,
                 placement_rule::ByLabel, placement_rule::ByNode>;

/// "any", "least loaded", "spread", "label zone=east", "node a".
[[nodiscard]] std::string to_string(const PlacementRule& rule);

/// An instance of the service is made for the conversation and ends with it.
struct OwnedInstance {
  ServiceName service;
  PlacementRule placement = placement_rule::Any{};
  friend bool operator==(const OwnedInstance&, const OwnedInstance&) = default;
};

/// A process that was there before and lives on.
struct AttachedPid {
  Pid pid;
  std::vector<Pid> alternates = {};  // in this order, for RouteToNext and for compensations
  bool compensates = false;  // whether it and its alternates answer EnvelopeKind::kCompensate
  friend bool operator==(const AttachedPid&, const AttachedPid&) = default;
};

struct ParticipantConfig {
  std::string role;  // unique within the conversation; names it in crash records of attached pids
  std::variant<OwnedInstance, AttachedPid> who;

  /// A role that is called like its service.
  [[nodiscard]] static ParticipantConfig owned(const ServiceName& service,
                                               PlacementRule placement = placement_rule::Any{}) {
    return {service.value(), OwnedInstance{service, std::move(placement)}};
  }
  [[nodiscard]] static ParticipantConfig owned(std::string role, const ServiceName& service,
                                               PlacementRule placement = placement_rule::Any{}) {
    return {std::move(role), OwnedInstance{service, std::move(placement)}};
  }
  [[nodiscard]] static ParticipantConfig attached(std::string role, const Pid& pid,
                                                  std::vector<Pid> alternates = {},
                                                  bool compensates = false) {
    return {std::move(role), AttachedPid{pid, std::move(alternates), compensates}};
  }
};

/// Where the replies of a conversation go, unless a send says otherwise.
enum class ConversationMode : std::uint8_t {
  kAsk,       // each to receive(id), for its request only
  kStream,    // to whoever calls receive() next, in order of arrival
  kDispatch,  // none is wanted; the participant still reports that it is done
};

struct ConversationConfig {
  ConversationConfig(CrashPolicy policy, std::vector<ParticipantConfig> who)
      : on_crash(policy), participants(std::move(who)) {}
  /// For ConversationSupervisor::spawn_with_participant().
  explicit ConversationConfig(CrashPolicy policy) : on_crash(policy) {}

  CrashPolicy on_crash;
  std::vector<ParticipantConfig> participants;
  ConversationMode mode = ConversationMode::kAsk;

  /// How long the whole conversation may take, from its opening; then it ends by its policy with
  /// kConversationTimeout. Compensation is not bounded by it. None: no limit.
  std::optional<Duration> timeout = {};

  /// How long a placement or a policy waits while there is hope of a candidate: the node is not
  /// joined, the broker is in recovery, or every usable node is suspect. Longer than the cluster's
  /// recovery plus twice its down-after, or a broker's death may cost the conversation.
  Duration policy_timeout = std::chrono::seconds{15};
  /// RouteToNext: how often participants of this conversation may be replaced, all roles together.
  std::size_t max_reroutes = 8;
  /// RouteToNext: to how many participants, one after the other, one request may be given.
  std::uint32_t max_attempts = 3;
  /// Compensate: how long participants that live have to answer what is cancelled.
  Duration settle_timeout = std::chrono::seconds{2};
  /// Compensate: how long the undoing of one request may take, its waiting for a candidate and its
  /// further attempts included.
  Duration compensation_timeout = std::chrono::seconds{15};
  /// Compensate: how often the undoing of one request is begun at most.
  std::uint32_t compensation_attempts = 3;
  /// Compensate: requests that are kept to be undone, and the bytes of them and their replies.
  /// Beyond either a send is kRejected.
  std::size_t steps_max = 1024;
  std::size_t steps_bytes_max = std::size_t{64} * 1024 * 1024;

  /// How long participants may take to end; then they are killed and no longer waited for.
  Duration close_timeout = std::chrono::seconds{2};
  /// How long a conversation goes on when its last handle is gone.
  Duration orphan_timeout = std::chrono::seconds{5};
  /// Requests unanswered, or answered and not yet received. Beyond it a send is kRejected.
  std::size_t requests_max = 4096;
  /// Calls that wait at the same time. Beyond it one is kRejected.
  std::size_t waiters_max = 65536;
  /// More crashes of the conversation's actor than this within the period fail the conversation.
  /// Zero: the first one does.
  std::size_t actor_restarts_max = 5;
  Duration actor_restart_period = std::chrono::seconds{10};
  /// Notifiers that wait for an exit at the same time. Beyond it one is kRejected.
  std::size_t exit_notifiers_max = 1024;
  /// Attachments by other nodes at the same time (ConversationSupervisor::attach). Beyond it one is
  /// kRejected. Zero: nobody elsewhere.
  std::size_t remote_handles_max = 64;
};

/// Errors: kUsage, naming what and where: no participant, a bad name, a role twice, a pid that is
/// none, an alternate twice, a timeout or a bound that is not positive.
[[nodiscard]] Result<void> validate(const ConversationConfig& config);

/// Where the reply to a request goes.
enum class ReplyMode : std::uint8_t {
  kNone,        // none is wanted; the participant still reports that it is done
  kInbox,       // to whoever calls receive() next, in order of arrival
  kCorrelated,  // to receive(id) only
};

/// What becomes of a request that the participant's mailbox, or the way to it, has no room for.
enum class WhenDeferred : std::uint8_t {
  kRepeat,  // it is sent again until it is taken, in order with the others
  kTell,    // its outcome is kDeferred; with ReplyMode::kNone only the counters tell
};

struct SendOptions {
  std::string role = {};                // to whom; empty: to the only participant
  std::optional<ReplyMode> reply = {};  // none: as the conversation's mode says
  WhenDeferred when_deferred = WhenDeferred::kRepeat;
  std::optional<Duration> deadline = {};  // not started later than this after the send
  std::optional<MessageId> cause = {};    // what made the caller send it
  std::string schema = {};
  std::string trace = {};
  std::vector<std::pair<std::string, std::string>> headers = {};
};

enum class ParticipantHealth : std::uint8_t {
  kAwaited,      // nothing was sent to it yet: not started
  kStarting,     // a node for it is being found
  kAlive,        // linked
  kEnding,       // told to end by the conversation
  kLeft,         // ended normally with nothing unanswered
  kEnded,        // ended by the conversation, or let go of (attached)
  kCrashed,      // every other end
  kUnavailable,  // no node could be found for it
};

/// "awaited", "starting", "alive", "ending", "left", "ended", "crashed", "unavailable".
[[nodiscard]] std::string_view name_of(ParticipantHealth health);

/// Of one role. A participant that was replaced is in the crash records; its exit is told here
/// until its successor's.
struct ParticipantStatus {
  std::string role;
  std::string name;  // its service; of an attached pid its role
  bool owned;
  ParticipantHealth health = ParticipantHealth::kAwaited;
  std::optional<Pid> pid = {};              // of the one that holds the role, or held it last
  std::string placement = {};               // why its node was chosen
  std::uint32_t incumbent = 0;              // the how-manieth holder of the role it is, from 1
  std::optional<Pid> exited = {};           // who held the role at the latest exit
  std::optional<TimePoint> exited_at = {};  // instant and reason of that exit
  std::optional<ExitReason> reason = {};
  bool crashed = false;  // that exit was a crash
  friend bool operator==(const ParticipantStatus&, const ParticipantStatus&) = default;
};

struct CrashRecord {
  std::string role;
  std::string name;
  Pid pid;
  ExitReason reason;
  std::size_t unanswered;  // requests it owed an answer at that moment
  CrashPolicy policy;
  TimePoint at;  // when the conversation decided on it
  friend bool operator==(const CrashRecord&, const CrashRecord&) = default;
};

/// "upper on node-b: exit status 3".
[[nodiscard]] std::string to_string(const CrashRecord& crash);

/// A role passed on by RouteToNext.
struct RerouteRecord {
  std::string role;
  Pid from;               // who crashed
  std::optional<Pid> to;  // its successor; none (yet)
  std::size_t resent;     // requests that went to the successor again
  TimePoint at;           // of the decision
  friend bool operator==(const RerouteRecord&, const RerouteRecord&) = default;
};

enum class CompensationOutcome : std::uint8_t {
  kPending,  // not yet
  kUndone,
  kNothingToUndo,  // its service cannot compensate
  kFailed,         // the text says why
};

/// "pending", "undone", "nothing to undo", "failed".
[[nodiscard]] std::string_view name_of(CompensationOutcome outcome);

/// The undoing of one request.
struct CompensationRecord {
  std::string role;
  std::string name;
  MessageId request;
  bool in_doubt;  // it was sent and never done, or expired: it may have had effects or none
  CompensationOutcome outcome = CompensationOutcome::kPending;
  std::uint32_t attempts = 0;  // to undo it
  std::optional<Pid> by = {};  // who undid it, or tried last
  std::string text = {};
  std::optional<TimePoint> at = {};  // when it was decided
  friend bool operator==(const CompensationRecord&, const CompensationRecord&) = default;
};

/// "ship (in doubt): no node offers service 'ship'...".
[[nodiscard]] std::string to_string(const CompensationRecord& compensation);

/// How a participant's part in a conversation ended, as an exit notifier is told.
struct ParticipantExit {
  std::string role;
  std::string name;                  // its service; of an attached pid its role
  std::optional<Pid> pid;            // none: it was never started
  std::optional<ExitReason> reason;  // none: the conversation ended, and no exit was seen before
  std::optional<TimePoint> at;  // when the conversation decided on the exit; with a reason only
  CrashPolicy policy;
  bool crash;  // recorded as one
  friend bool operator==(const ParticipantExit&, const ParticipantExit&) = default;
};

[[nodiscard]] ParticipantExit exit_of(const ParticipantStatus& participant, CrashPolicy policy);

/// "upper on node-b crashed: exit status 3", "upper on node-b exited: normal", "upper was never
/// started", "helper on node-b: no exit was seen".
[[nodiscard]] std::string to_string(const ParticipantExit& exit);

struct ConversationCounters {
  std::uint64_t sent = 0;             // requests taken
  std::uint64_t refused = 0;          // sends not taken
  std::uint64_t completed = 0;        // requests whose done arrived
  std::uint64_t received = 0;         // replies (and NoReply and the like) handed to a caller
  std::uint64_t answers_dropped = 0;  // to no open request, or from somebody else
  std::uint64_t exits_ignored = 0;    // signals of processes that are no participants, or repeated
  std::uint64_t actor_restarts = 0;
  std::uint64_t undecided = 0;  // inputs given up: deciding them threw, and no actor was left
  std::uint64_t notifiers_thrown = 0;  // notifiers, completions that an exception left
  std::uint64_t deferred = 0;          // times that a request found no room
  std::uint64_t rejected = 0;          // requests that were refused for good
  std::uint64_t held_up = 0;           // requests that were deferred and are not answered yet
  std::uint64_t expired = 0;           // requests that were out of time
  std::uint64_t resent = 0;            // requests given to another participant
  std::uint64_t not_noted = 0;         // sends and answers left out of the timeline
  std::uint64_t calls_ignored = 0;     // of handles elsewhere: unreadable, or not theirs to make
  friend bool operator==(const ConversationCounters&, const ConversationCounters&) = default;
};

/// A conversation as it was at some moment.
struct ConversationState {
  ConversationId id;
  ConversationPhase phase = ConversationPhase::kCreated;
  std::optional<Error> failure = {};  // the diagnosis of a Failed conversation
  std::vector<CrashRecord> crashes = {};
  std::vector<RerouteRecord> reroutes = {};
  std::vector<CompensationRecord> compensations = {};  // in the order of the undoing
  std::vector<ParticipantStatus> participants = {};
  ConversationCounters counters = {};
  bool ended = false;  // its process is gone, or about to be
  friend bool operator==(const ConversationState&, const ConversationState&) = default;
};

}  // namespace liminal
