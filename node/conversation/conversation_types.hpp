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
  kRouteToNext,  // the next candidate takes over what is unanswered
  kCompensate,   // what was completed is undone in reverse order, then the conversation fails
};

/// As the command line spells it: "fail", "route-to-next", "compensate".
[[nodiscard]] std::string_view name_of(CrashPolicy policy);

/// An instance of the service is made for the conversation and ends with it.
struct OwnedInstance {
  ServiceName service;
  friend bool operator==(const OwnedInstance&, const OwnedInstance&) = default;
};

/// A process that was there before and lives on.
struct AttachedPid {
  Pid pid;
  friend bool operator==(const AttachedPid&, const AttachedPid&) = default;
};

struct ParticipantConfig {
  std::string role;  // unique within the conversation; names it in crash records of attached pids
  std::variant<OwnedInstance, AttachedPid> who;

  /// A role that is called like its service.
  [[nodiscard]] static ParticipantConfig owned(const ServiceName& service) {
    return {service.value(), OwnedInstance{service}};
  }
  [[nodiscard]] static ParticipantConfig attached(std::string role, const Pid& pid) {
    return {std::move(role), AttachedPid{pid}};
  }
};

struct ConversationConfig {
  ConversationConfig(CrashPolicy policy, std::vector<ParticipantConfig> who)
      : on_crash(policy), participants(std::move(who)) {}

  CrashPolicy on_crash;
  std::vector<ParticipantConfig> participants;

  /// How long the search for a node may take while there is hope that one appears.
  Duration placement_timeout = std::chrono::seconds{5};
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
};

/// Whether this version can carry out `config`. Errors: kUnsupported (a policy other than Fail,
/// more than one participant), kUsage (no participant, a bad name, a bound that is not positive).
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
  ReplyMode reply = ReplyMode::kCorrelated;
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

struct ParticipantStatus {
  std::string role;
  std::string name;  // its service; of an attached pid its role
  bool owned;
  ParticipantHealth health = ParticipantHealth::kAwaited;
  std::optional<Pid> pid = {};
  std::optional<TimePoint> exited_at = {};
  std::optional<ExitReason> reason = {};  // of its exit
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
  std::uint64_t notifiers_thrown = 0;  // exit notifiers that an exception left
  std::uint64_t deferred = 0;          // times that a request found no room
  std::uint64_t rejected = 0;          // requests that were refused for good
  std::uint64_t held_up = 0;           // requests that were deferred and are not answered yet
  friend bool operator==(const ConversationCounters&, const ConversationCounters&) = default;
};

/// A conversation as it was at some moment.
struct ConversationSnapshot {
  ConversationId id;
  ConversationPhase phase = ConversationPhase::kCreated;
  std::optional<Error> failure = {};  // the diagnosis of a Failed conversation
  std::vector<CrashRecord> crashes = {};
  std::vector<ParticipantStatus> participants = {};
  ConversationCounters counters = {};
  bool ended = false;  // its process is gone, or about to be
};

}  // namespace liminal
