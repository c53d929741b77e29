// What a handle on one node and its conversation on another say to each other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/wire/envelope.hpp"
#include "node/conversation/conversation_types.hpp"

namespace liminal {

/// EnvelopeKind::kCall, from a proxy (ConversationProxy) to its conversation's process. Each is
/// answered exactly once, by an outcome whose parent is the call's id.
namespace remote_call {

/// Tell the next state that was not told here yet. The first one attaches; without it every other
/// call is refused.
struct Watch {
  friend bool operator==(const Watch&, const Watch&) = default;
};
/// The envelope carries the request: its id, payload, headers, schema, trace and deadline, and as
/// its parent the cause. Answered when it was taken, or with its reply if `waits_for_reply`.
struct Send {
  std::string role;
  std::optional<ReplyMode> reply;
  WhenDeferred when_deferred;
  bool waits_for_reply;
  friend bool operator==(const Send&, const Send&) = default;
};
struct Receive {
  std::optional<MessageId> request;  // none: the next of the inbox
  friend bool operator==(const Receive&, const Receive&) = default;
};
/// Nobody waits for the outcome of `call` any more: the reply in it, sent or not, stays with the
/// conversation for whoever asks next; with `forget` nobody will.
struct Abandon {
  MessageId call;
  bool forget;
  friend bool operator==(const Abandon&, const Abandon&) = default;
};
struct Close {
  friend bool operator==(const Close&, const Close&) = default;
};
struct Cancel {
  std::string by;
  friend bool operator==(const Cancel&, const Cancel&) = default;
};
/// The replies in the outcomes of these calls reached their callers.
struct Received {
  std::vector<MessageId> calls;  // at most kReceivedMax
  friend bool operator==(const Received&, const Received&) = default;
};
/// The last handle is gone; what was called is still to be answered.
struct Detach {
  friend bool operator==(const Detach&, const Detach&) = default;
};

inline constexpr std::size_t kReceivedMax = 256;

}  // namespace remote_call

using RemoteCall = std::variant<remote_call::Watch, remote_call::Send, remote_call::Receive,
                                remote_call::Abandon, remote_call::Close, remote_call::Cancel,
                                remote_call::Received, remote_call::Detach>;

/// EnvelopeKind::kOutcome, the other way.
namespace remote_outcome {

/// Done; there is nothing to hand out. Here and in Failed: `has_state` says that the payload is the
/// newest state (remote_state.hpp), so that whoever is told of a crash finds it.
struct Taken {
  bool has_state = false;
  friend bool operator==(const Taken&, const Taken&) = default;
};
/// The envelope's payload is a reply. It is the proxy's once it says Received, and the
/// conversation's again once it says Abandon.
struct Reply {
  friend bool operator==(const Reply&, const Reply&) = default;
};
struct Failed {
  Error error;
  bool instead_of_reply;  // as NoReply is: then it is handed on like a Reply
  bool has_state = false;
  friend bool operator==(const Failed&, const Failed&) = default;
};
/// The answer to Watch, with the state in the payload.
struct State {
  friend bool operator==(const State&, const State&) = default;
};

}  // namespace remote_outcome

using RemoteOutcome = std::variant<remote_outcome::Taken, remote_outcome::Reply,
                                   remote_outcome::Failed, remote_outcome::State>;

/// Put what the envelope says into a header of its own, before all others: payload and headers of
/// an application stay what they are.
/// Bounds: texts are cut to kCallTextBytesMax.
void put(Envelope& envelope, const RemoteCall& call);
void put(Envelope& envelope, const RemoteOutcome& outcome);

inline constexpr std::size_t kCallTextBytesMax = 8 * 1024;

/// Take it out again. Errors: kMalformed, for anything that put() would not have written, and
/// kUnsupportedVersion; the envelope is then as it was, or without its first header.
[[nodiscard]] Result<RemoteCall> take_call(Envelope& envelope);
[[nodiscard]] Result<RemoteOutcome> take_outcome(Envelope& envelope);

}  // namespace liminal
