// The identities of the system: nodes, incarnations, processes, messages, conversations, ties.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

#include "common/base/strong_id.hpp"

namespace liminal {

/// Chosen by the user, e.g. "node-a"; valid_name() in text.hpp says what it may contain.
using NodeName = StrongId<struct NodeNameTag, std::string>;
/// A service that nodes offer, e.g. "upper".
using ServiceName = StrongId<struct ServiceNameTag, std::string>;

/// 64 random bits, new at each start of a node and after each fencing; only equality means
/// anything. Zero is never drawn: it is local(), "this node, whatever its incarnation of the moment".
using Incarnation = StrongId<struct IncarnationTag>;
[[nodiscard]] inline constexpr Incarnation local_incarnation() { return Incarnation{0}; }

/// 64 random bits, new at each start of a broker.
using Epoch = StrongId<struct EpochTag>;
/// Counts the changes of the membership within an epoch.
using MembershipVersion = StrongId<struct MembershipVersionTag>;
/// Never used twice in the life of an OS process. Zero names no process: it is the node itself.
using Serial = StrongId<struct SerialTag>;

/// One activation of a link. Unique between the two processes it ties: the lowest bit says which of
/// them made it (1: the greater pid), so both may number on their own.
using LinkId = StrongId<struct LinkIdTag>;
/// One monitor. Unique among those of the watching process.
using MonitorId = StrongId<struct MonitorIdTag>;
/// One request for a spawn. Unique among those of the requesting process.
using SpawnId = StrongId<struct SpawnIdTag>;
using TimerId = StrongId<struct TimerIdTag>;

/// One connection that a broker's socket has; never used twice in the life of the socket.
using ConnectionId = StrongId<struct ConnectionIdTag>;

/// Which session between two incarnations; grows with each reset.
using SessionNumber = StrongId<struct SessionNumberTag, std::uint32_t>;

/// Names a process for as long as the world stands: a pid is never given to another process.
///
/// A process on the node that looks at the pid has local_incarnation(); NodeCore puts in the real
/// one where the pid leaves the node and takes it out where it returns, so that local processes
/// live on when their node is fenced.
struct Pid {
  NodeName node;
  Incarnation incarnation;
  Serial serial;

  [[nodiscard]] bool is_local() const noexcept { return incarnation == local_incarnation(); }

  friend auto operator<=>(const Pid&, const Pid&) = default;
};

/// 128 bits: a random half for each scheduler, and a counter. Written as 32 hex digits.
template <class Tag>
struct WideId {
  std::uint64_t high;
  std::uint64_t low;

  friend constexpr auto operator<=>(const WideId&, const WideId&) = default;
};

/// The same on every attempt to have one request done: the idempotence key.
using MessageId = WideId<struct MessageIdTag>;
using ConversationId = WideId<struct ConversationIdTag>;

}  // namespace liminal
