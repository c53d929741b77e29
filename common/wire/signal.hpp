// The signals that processes send each other, on one node and between nodes alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "common/base/ids.hpp"
#include "common/base/result.hpp"
#include "common/wire/envelope.hpp"
#include "common/wire/exit_reason.hpp"

namespace liminal {

namespace signal {

struct Send {
  Pid from, to;
  Envelope envelope;
  friend bool operator==(const Send&, const Send&) = default;
};

struct Link {
  Pid from, to;
  LinkId link;
  friend bool operator==(const Link&, const Link&) = default;
};

/// Takes back every activation of the link that the sender knew: the one it made and the one that
/// the other made. One that crosses this signal on its way is another activation and stays.
struct Unlink {
  Pid from, to;
  std::optional<LinkId> made_by_sender, made_by_receiver;
  friend bool operator==(const Unlink&, const Unlink&) = default;
};

/// With `link`: the sender ended and this link carries it; dropped where that activation is not
/// known (any more). Without: exit(pid, reason).
struct Exit {
  Pid from, to;
  ExitReason reason;
  std::optional<LinkId> link;
  friend bool operator==(const Exit&, const Exit&) = default;
};

struct Monitor {
  Pid from, to;
  MonitorId monitor;
  friend bool operator==(const Monitor&, const Monitor&) = default;
};

struct Demonitor {
  Pid from, to;
  MonitorId monitor;
  friend bool operator==(const Demonitor&, const Demonitor&) = default;
};

struct Down {
  Pid from, to;
  MonitorId monitor;
  ExitReason reason;
  friend bool operator==(const Down&, const Down&) = default;
};

/// Asks the node `to` (its serial is 0) for an instance of a service, linked to the requester from
/// its first moment.
struct SpawnRequest {
  Pid from, to;
  SpawnId spawn;
  ServiceName service;
  ConversationId conversation;
  friend bool operator==(const SpawnRequest&, const SpawnRequest&) = default;
};

/// From the new instance, which made the link; or from the node itself (serial 0), with an error.
struct SpawnReply {
  Pid from, to;
  SpawnId spawn;
  std::optional<LinkId> link;       // set when there is an instance
  std::optional<Error> error = {};  // set when there is none
  bool compensates = false;         // whether the instance can undo requests
  friend bool operator==(const SpawnReply&, const SpawnReply&) = default;
};

enum class RefusalKind : std::uint8_t {
  kDeferred = 0,  // send it again: until then nothing later of that sender is taken there
  kRejected = 1,  // never: `text` says why
};

/// The envelope `message`, which `to` had sent to `from`, was not taken.
struct Refusal {
  Pid from, to;
  MessageId message;
  RefusalKind kind;
  std::string text = {};
  /// The envelope itself, where it was refused before it left its sender's node: never on the wire.
  std::optional<Envelope> returned = {};
  friend bool operator==(const Refusal&, const Refusal&) = default;
};

/// The sender will not send again what was deferred: `message`, or all of it. Whoever deferred it
/// waits for it no longer.
struct Withdraw {
  Pid from, to;
  std::optional<MessageId> message;
  friend bool operator==(const Withdraw&, const Withdraw&) = default;
};

/// The answer to the request `message` is not waited for: if it was not begun it shall not be, and
/// what runs for it shall end. It is answered in any case, as what became of it.
struct Cancel {
  Pid from, to;
  MessageId message;
  friend bool operator==(const Cancel&, const Cancel&) = default;
};

}  // namespace signal

using Signal = std::variant<signal::Send, signal::Link, signal::Unlink, signal::Exit,
                            signal::Monitor, signal::Demonitor, signal::Down, signal::SpawnRequest,
                            signal::SpawnReply, signal::Refusal, signal::Withdraw, signal::Cancel>;

[[nodiscard]] inline const Pid& from_of(const Signal& signal) {
  return std::visit([](const auto& s) -> const Pid& { return s.from; }, signal);
}
[[nodiscard]] inline const Pid& to_of(const Signal& signal) {
  return std::visit([](const auto& s) -> const Pid& { return s.to; }, signal);
}

}  // namespace liminal
