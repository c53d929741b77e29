// What travels on data connections: a routing header for the broker, a session frame for the node.
//
// A data message has exactly two parts, header and frame. The broker reads the header, replaces it,
// and moves the frame on without looking at it.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/payload.hpp"
#include "common/wire/signal.hpp"

namespace liminal {

/// From a node to its broker: where the frame is to go.
struct RouteTo {
  NodeName node;
  Incarnation incarnation;
  friend bool operator==(const RouteTo&, const RouteTo&) = default;
};

/// From the broker to a node: whose frame it is, as the sender's connection proved. `version` is
/// the broker's membership when it forwarded: a receiver whose own is not older, and lists no such
/// incarnation, knows that it was fenced.
struct RouteFrom {
  NodeName node;
  Incarnation incarnation;
  Epoch epoch;
  MembershipVersion version;
  friend bool operator==(const RouteFrom&, const RouteFrom&) = default;
};

/// A large payload on its way between two nodes. Unique within a session and direction.
using TransferId = StrongId<struct TransferIdTag>;

/// What a session carries: signals, and the parts of those whose payload is large.
namespace item {

/// "I have an envelope whose payload takes this many bytes: is there room?"
struct Offer {
  TransferId transfer;
  std::uint64_t payload_bytes;
  friend bool operator==(const Offer&, const Offer&) = default;
};

/// Room is reserved: send it.
struct Grant {
  TransferId transfer;
  friend bool operator==(const Grant&, const Grant&) = default;
};

/// A signal::Send whose payload (here empty) follows in chunks.
struct Begin {
  TransferId transfer;
  signal::Send send;
  friend bool operator==(const Begin&, const Begin&) = default;
};

/// The next bytes of the payload; the transfer is complete when all that were offered came.
struct Chunk {
  TransferId transfer;
  Payload bytes;
  friend bool operator==(const Chunk&, const Chunk&) = default;
};

}  // namespace item

using Item = std::variant<Signal, item::Offer, item::Grant, item::Begin, item::Chunk>;

/// Sequence numbers count items, from 1.
struct SessionFrame {
  SessionNumber session;
  std::uint64_t next_expected;   // acknowledges every item below it
  std::uint64_t credit_limit;    // the other may send envelopes up to this total of credit bytes
  bool resend;                   // something is missing: send again from next_expected
  std::uint64_t first_sequence;  // of items.front(); where there is none, of the next to be sent
  std::vector<Item> items;
  friend bool operator==(const SessionFrame&, const SessionFrame&) = default;
};

}  // namespace liminal
