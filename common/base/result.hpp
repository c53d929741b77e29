// What can go wrong through a peer, the network or an operator, as a value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace liminal {

/// What the caller can decide on. Add a value only when some caller acts differently on it.
enum class Errc : std::uint8_t {
  kUsage,                // the operator's command line or configuration is wrong
  kMalformed,            // bytes that do not follow the protocol: drop them and count it
  kUnsupportedVersion,   // well-formed so far, but of a protocol version we do not speak
  kTooLarge,             // over a limit that has a name in the configuration
  kAddressInUse,         // fatal at start-up: the operator must pick another endpoint
  kWouldBlock,           // a bounded queue is full; shed or try on a later turn
  kPeerUnreachable,      // the peer is not connected; failure detection will say so too
  kTransport,            // anything else from libzmq; `detail` holds its text
  kNoBroker,             // nothing that speaks our protocol answered at the endpoint
  kRefused,              // the broker refused this node
  kNoService,            // no node offers the service
  kConversationTimeout,  // out of time; the outcome is unknown
  kParticipantCrashed,   // the participant that should have answered died
  kParticipantLeft,      // the participant ended normally and takes nothing more
  kNoReply,              // the request was done, without a reply
  kConversationFailed,   // the conversation ended, or cannot take this any more
  kRejected,             // refused at a limit
  kUnsupported,          // named in the design, not built yet
  kInternal,             // a defect of our own that could be reported instead of crashing
  kDeferred,             // not taken for now: a mailbox or an outbox is full; may be sent again
  kCompensated,          // the conversation failed, and everything it had done was undone
  kCompensationFailed,   // the conversation failed, and not everything could be undone
};

/// The name that SURFACE gives the error, e.g. "ParticipantCrashed"; "Internal" where it has none.
[[nodiscard]] std::string_view name_of(Errc code);

struct [[nodiscard]] Error {
  Errc code;
  std::string detail;  // for people: what, where, why, on one line; never parsed

  friend bool operator==(const Error&, const Error&) = default;
};

/// tl::expected is not [[nodiscard]] itself, so each function that returns a Result says so.
template <class T>
using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> fail(Errc code, std::string detail) {
  return tl::unexpected<Error>(Error{code, std::move(detail)});
}

}  // namespace liminal
