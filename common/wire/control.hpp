// What node and broker say to each other about themselves: joining, beats, membership, status.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/wire/exit_reason.hpp"
#include "common/wire/timeline_frames.hpp"

namespace liminal {

enum class MemberState : std::uint8_t {
  kJoined = 0,
  kSuspect = 1,
  kDown = 2,
  kLeft = 3,
  kExpected =
      4,  // known of another broker's time, not seen by this one yet: neither living nor gone
};

/// As SURFACE spells it: "joined", "suspect", "down", "left"; "expected".
[[nodiscard]] std::string_view name_of(MemberState state);

/// A node as others see it.
struct Member {
  NodeName name;
  Incarnation incarnation;
  MemberState state;
  bool light;                                               // offers nothing, comes and goes
  std::vector<ServiceName> services;                        // sorted
  std::vector<std::pair<std::string, std::string>> labels;  // sorted by key
  /// So long without a broker it fences itself; a verdict on it is remembered for twice that.
  Duration isolation_timeout = Duration::zero();
  friend bool operator==(const Member&, const Member&) = default;
};

/// What the broker decides for everybody, told at join.
struct ClusterSettings {
  Duration beat_interval;
  Duration suspect_after;
  Duration down_after;
  Duration reconnect_grace;
  std::uint64_t payload_bytes_max;
  /// A node starts work for others only until so long before its silence could be judged.
  Duration lease_margin = std::chrono::milliseconds{500};
  /// After its start a broker judges nobody for so long that it has not seen itself. Zero: nodes of
  /// another broker's time are fenced.
  Duration recovery = Duration::zero();
  /// Of one conversation's timeline the broker keeps so many; 0: none, and nodes tell none.
  std::uint32_t timeline_records_max = 0;
  friend bool operator==(const ClusterSettings&, const ClusterSettings&) = default;
};

namespace control {

// --- node to broker ---

/// An incarnation of another node that the sender shares state with.
struct Peer {
  NodeName name;
  Incarnation incarnation;
  bool light;
  Duration isolation_timeout;  // as it told at its own join; zero: not known
  friend bool operator==(const Peer&, const Peer&) = default;
};

/// A death that the sender was told of.
struct Verdict {
  Peer peer;
  std::optional<Evidence> evidence;
  friend bool operator==(const Verdict&, const Verdict&) = default;
};

/// A join by an incarnation that lives or is expected is its resume: it gets a Welcome again.
struct Join {
  NodeName name;
  Incarnation incarnation;
  bool light;
  std::vector<ServiceName> services;
  std::vector<std::pair<std::string, std::string>> labels;
  Duration isolation_timeout = Duration::zero();
  std::optional<Epoch> epoch = {};  // of its latest join or resume; none: this incarnation is new
  /// Told to the broker alone: a resume of this incarnation has to know it.
  std::uint64_t secret = 0;
  // For a broker in recovery:
  std::vector<Peer> peers = {};
  std::vector<Verdict> verdicts = {};
  /// Counts the joins of the node, from 1: one that was overtaken on its way, by a later one on
  /// another connection, is known by it. 0: not told.
  std::uint64_t number = 0;
  friend bool operator==(const Join&, const Join&) = default;
};

/// First on a data connection: binds it to the incarnation that was given the token. The node is
/// announced to others when both of its connections stand.
struct Attach {
  std::uint64_t token;
  /// Counts the node's data connections, from 1, as Join::number its joins. An Attach that is
  /// repeated on the same connection bears the same number.
  std::uint64_t number = 0;
  friend bool operator==(const Attach&, const Attach&) = default;
};

struct NodeBeat {
  std::uint64_t number;  // counts from 1 in each incarnation
  std::uint64_t echo;    // number of the newest broker's beat that was read; 0: none
  std::uint32_t participants;
  std::uint32_t conversations;
  friend bool operator==(const NodeBeat&, const NodeBeat&) = default;
};

struct Leave {
  friend bool operator==(const Leave&, const Leave&) = default;
};

/// May come from anybody, without a join.
struct StatusQuery {
  friend bool operator==(const StatusQuery&, const StatusQuery&) = default;
};

// --- broker to node ---

struct Welcome {
  Epoch epoch;
  MembershipVersion version;
  std::uint64_t token;  // for the data connection
  ClusterSettings settings;
  std::vector<Member> members;  // all that live or are expected, the joining node excepted
  bool recovering = false;      // a service that nobody offers may yet appear
  friend bool operator==(const Welcome&, const Welcome&) = default;
};

enum class RefusalCode : std::uint8_t { kNameTaken = 0, kMalformed = 1, kVersion = 2, kLimit = 3 };

struct Refused {
  RefusalCode code;
  std::string text;
  friend bool operator==(const Refused&, const Refused&) = default;
};

/// On the data connection: from now on envelopes go this way.
struct Attached {
  friend bool operator==(const Attached&, const Attached&) = default;
};

struct BrokerBeat {
  std::uint64_t number;
  std::uint64_t echo;
  friend bool operator==(const BrokerBeat&, const BrokerBeat&) = default;
};

/// One change of the membership. `member.state` is the new state; `evidence` tells of kDown and
/// kLeft. An expected member has no services and labels yet.
struct Change {
  Member member;
  std::optional<Evidence> evidence;
  friend bool operator==(const Change&, const Change&) = default;
};

/// Changes that lead from version - 1 to version, in order.
struct Changes {
  MembershipVersion version;
  std::vector<Change> changes;
  bool recovering = false;  // from this version on
  friend bool operator==(const Changes&, const Changes&) = default;
};

/// The sender of a frame is nobody here: its incarnation was declared down, or the broker is
/// another one and no longer in recovery. Its node is fenced and joins anew.
struct Unknown {
  Epoch epoch;
  friend bool operator==(const Unknown&, const Unknown&) = default;
};

struct NodeStatus {
  Member member;
  std::uint32_t participants;
  std::uint32_t conversations;
  std::optional<Evidence> evidence;
  friend bool operator==(const NodeStatus&, const NodeStatus&) = default;
};

struct StatusReply {
  Epoch epoch;
  Duration uptime;
  std::vector<NodeStatus> nodes;  // light ones excepted; sorted by name
  friend bool operator==(const StatusReply&, const StatusReply&) = default;
};

}  // namespace control

/// In the order of who sends them: up to CancelQuery nodes and askers, from Welcome on brokers.
using ControlFrame =
    std::variant<control::Join, control::Attach, control::NodeBeat, control::Leave,
                 control::StatusQuery, control::Records, control::CancelAnswer,
                 control::TimelineQuery, control::ConversationsQuery, control::CancelQuery,
                 control::Welcome, control::Refused, control::Attached, control::BrokerBeat,
                 control::Changes, control::Unknown, control::StatusReply, control::Loads,
                 control::CancelOrder, control::TimelineReply, control::ConversationsReply,
                 control::CancelReply>;

}  // namespace liminal
