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

namespace liminal {

enum class MemberState : std::uint8_t { kJoined = 0, kSuspect = 1, kDown = 2, kLeft = 3 };

/// As SURFACE spells it: "joined", "suspect", "down", "left".
[[nodiscard]] std::string_view name_of(MemberState state);

/// A node as others see it.
struct Member {
  NodeName name;
  Incarnation incarnation;
  MemberState state;
  bool light;                                               // offers nothing, comes and goes
  std::vector<ServiceName> services;                        // sorted
  std::vector<std::pair<std::string, std::string>> labels;  // sorted by key
  friend bool operator==(const Member&, const Member&) = default;
};

/// What the broker decides for everybody, told at join.
struct ClusterSettings {
  Duration beat_interval;
  Duration suspect_after;
  Duration down_after;
  Duration reconnect_grace;
  std::uint64_t payload_bytes_max;
  friend bool operator==(const ClusterSettings&, const ClusterSettings&) = default;
};

namespace control {

// --- node to broker ---

/// A join by an incarnation that lives is its resume: it gets a Welcome again.
struct Join {
  NodeName name;
  Incarnation incarnation;
  bool light;
  std::vector<ServiceName> services;
  std::vector<std::pair<std::string, std::string>> labels;
  friend bool operator==(const Join&, const Join&) = default;
};

/// First on a data connection: binds it to the incarnation that was given the token. The node is
/// announced to others when both of its connections stand.
struct Attach {
  std::uint64_t token;
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
  std::vector<Member> members;  // all that live, the joining node excepted
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
/// kLeft.
struct Change {
  Member member;
  std::optional<Evidence> evidence;
  friend bool operator==(const Change&, const Change&) = default;
};

/// Changes that lead from version - 1 to version, in order.
struct Changes {
  MembershipVersion version;
  std::vector<Change> changes;
  friend bool operator==(const Changes&, const Changes&) = default;
};

/// The sender of a frame is nobody here: its incarnation was declared down, or the broker is new.
/// Its node is fenced and joins anew.
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

using ControlFrame =
    std::variant<control::Join, control::Attach, control::NodeBeat, control::Leave,
                 control::StatusQuery, control::Welcome, control::Refused, control::Attached,
                 control::BrokerBeat, control::Changes, control::Unknown, control::StatusReply>;

}  // namespace liminal
