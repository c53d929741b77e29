// What BrokerCore wants done: frames to send, a held frame to forward, and what is worth a log
// line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/liveness/failure_detector.hpp"
#include "common/wire/control.hpp"
#include "common/wire/exit_reason.hpp"

namespace liminal::broker {

/// Why a frame that stood where it may not, or says what it may not, was counted and not obeyed.
enum class BadFrameReason : std::uint8_t {
  kMalformed,   // does not decode
  kVersion,     // of another protocol version
  kOversized,   // a header beyond wire::kHeaderBytesMax, a frame beyond wire::kPartBytesMax
  kOutOfPlace,  // a frame of the broker's, a beat on a data connection, a second join, ...
  kBadEcho,     // echoes a beat that was never sent
};
inline constexpr std::size_t kBadFrameReasons = 5;
[[nodiscard]] std::string_view name_of(BadFrameReason reason);

namespace effect {

struct Send {
  ConnectionId connection;
  std::string bytes;       // a whole control message of one part
  bool is_answer = false;  // to a question that anybody may ask: need not be sent to who reads none
  friend bool operator==(const Send&, const Send&) = default;
};

/// Only from BrokerCore::on_data(): sends this header, then the frame that the caller holds.
struct Forward {
  ConnectionId connection;
  std::string header;
  friend bool operator==(const Forward&, const Forward&) = default;
};

/// Beats go over this connection from now on: it must not be the last to notice that a cut healed.
struct CarriesBeats {
  ConnectionId connection;
  friend bool operator==(const CarriesBeats&, const CarriesBeats&) = default;
};

/// Its node's control connection closed, and what this one delivered may not be read yet:
/// BrokerCore::on_read_out() is to be told when it is, unless it closes.
struct Watch {
  ConnectionId connection;
  friend bool operator==(const Watch&, const Watch&) = default;
};

// --- what happened, for the log; nothing is to be done ---

struct NodeJoined {  // both of its connections stand
  NodeName name;
  Incarnation incarnation;
  std::string address;
  bool light;
  friend bool operator==(const NodeJoined&, const NodeJoined&) = default;
};

struct ControlLost {  // the grace begins
  NodeName name;
  Incarnation incarnation;
  friend bool operator==(const ControlLost&, const ControlLost&) = default;
};

struct NodeResumed {
  NodeName name;
  Incarnation incarnation;
  std::string address;
  friend bool operator==(const NodeResumed&, const NodeResumed&) = default;
};

struct NodeSuspect {
  NodeName name;
  Incarnation incarnation;
  friend bool operator==(const NodeSuspect&, const NodeSuspect&) = default;
};

struct NodeRecovered {
  NodeName name;
  Incarnation incarnation;
  friend bool operator==(const NodeRecovered&, const NodeRecovered&) = default;
};

/// What the broker sees of many at once makes it doubt itself, or no longer does; it judges
/// accordingly (FailureDetector).
struct DoubtsItself {
  Doubt doubt;
  std::size_t suspects;  // at the moment
  std::size_t nodes;
  friend bool operator==(const DoubtsItself&, const DoubtsItself&) = default;
};

struct NodeDown {
  NodeName name;
  Incarnation incarnation;
  Evidence evidence;
  friend bool operator==(const NodeDown&, const NodeDown&) = default;
};

struct NodeLeft {
  NodeName name;
  Incarnation incarnation;
  friend bool operator==(const NodeLeft&, const NodeLeft&) = default;
};

struct JoinAbandoned {  // it was given a Welcome but was gone before it was announced
  NodeName name;
  Incarnation incarnation;
  friend bool operator==(const JoinAbandoned&, const JoinAbandoned&) = default;
};

struct ClaimWaits {  // until the holder of the name has answered or is judged
  NodeName name;
  Incarnation incarnation;
  std::string address;
  friend bool operator==(const ClaimWaits&, const ClaimWaits&) = default;
};

struct ClaimRefused {
  NodeName name;
  Incarnation incarnation;
  std::string address;
  std::string text;
  friend bool operator==(const ClaimRefused&, const ClaimRefused&) = default;
};

struct JoinRefused {  // for another reason than the name
  NodeName name;
  Incarnation incarnation;
  std::string text;
  friend bool operator==(const JoinRefused&, const JoinRefused&) = default;
};

struct RecoveryBegins {  // though it was over: one of an earlier epoch came, the first
  NodeName name;
  Incarnation incarnation;
  friend bool operator==(const RecoveryBegins&, const RecoveryBegins&) = default;
};

struct RecoveryEnded {
  std::size_t lost;  // incarnations that were expected and did not resume
  friend bool operator==(const RecoveryEnded&, const RecoveryEnded&) = default;
};

struct CancelOrdered {  // somebody asked for it, and the conversation's node was told
  ConversationId conversation;
  NodeName node;
  std::string address;
  friend bool operator==(const CancelOrdered&, const CancelOrdered&) = default;
};

struct BadFrame {
  ConnectionId connection;
  BadFrameReason reason;
  std::string detail;
  friend bool operator==(const BadFrame&, const BadFrame&) = default;
};

}  // namespace effect

using Effect =
    std::variant<effect::Send, effect::Forward, effect::CarriesBeats, effect::Watch,
                 effect::NodeJoined, effect::ControlLost, effect::NodeResumed, effect::NodeSuspect,
                 effect::NodeRecovered, effect::DoubtsItself, effect::NodeDown, effect::NodeLeft,
                 effect::JoinAbandoned, effect::ClaimWaits, effect::ClaimRefused,
                 effect::JoinRefused, effect::RecoveryBegins, effect::RecoveryEnded,
                 effect::CancelOrdered, effect::BadFrame>;
using Effects = std::vector<Effect>;  // to be carried out in this order

}  // namespace liminal::broker
