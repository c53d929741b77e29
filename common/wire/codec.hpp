// Frames to MessagePack bytes and back. docs/protocol.md shows the bytes.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/wire/control.hpp"
#include "common/wire/data.hpp"

/// Every frame is one MessagePack array that begins with the protocol version. Decoders accept
/// exactly what encoders write: the right number of elements, known kinds, names that are valid,
/// limits kept, nothing behind the end. They allocate no more than a small multiple of the bytes
/// they are given. Services and labels come out sorted.
///
/// Encoders require of all that they are given what decoders require of a peer: valid names, no
/// local incarnation, no negative duration (deadlines excepted), sizes within limits.hpp. Only the
/// texts of exit reasons, errors and refusals, which operators and programs make, are cut.
///
/// Thread-safety: functions of values.
/// Errors: decoders: kMalformed, saying where; kUnsupportedVersion.
namespace liminal::wire {

[[nodiscard]] std::string encode(const ControlFrame& frame);
[[nodiscard]] Result<ControlFrame> decode_control(std::string_view bytes);

[[nodiscard]] std::string encode(const RouteTo& header);
[[nodiscard]] Result<RouteTo> decode_route_to(std::string_view bytes);

[[nodiscard]] std::string encode(const RouteFrom& header);
[[nodiscard]] Result<RouteFrom> decode_route_from(std::string_view bytes);

/// Deadlines are written as the time that remains at `now`, never less than zero.
/// REQUIRES: no pid in it is local; all `from` are of one incarnation and all `to` of another one,
/// since both are written once; serial 0 only in SpawnRequest::to (always), in the `from` of a
/// SpawnReply with an error (always) and in Exit::from; payloads are at most kChunkBytesMax, that
/// of a Begin is empty; all envelopes and chunks but one take at most kFrameFillBytes of credit.
/// The result is never longer than kPartBytesMax: where many items carry long texts, those are cut.
[[nodiscard]] std::string encode(const SessionFrame& frame, TimePoint now);
/// Deadlines become `now` plus the time that remained. No pid in the result is local: incarnation 0
/// is malformed.
[[nodiscard]] Result<SessionFrame> decode_session_frame(std::string_view bytes, TimePoint now);

/// Whether an envelope of an application may travel: number of headers and length of texts within
/// limits.hpp, which encode() requires. The payload is not looked at.
/// Errors: kTooLarge, naming what is.
[[nodiscard]] Result<void> fits(const Envelope& envelope);

/// What an item takes of the credit: sizes of payload and headers and a constant for the rest.
/// Zero for everything but envelopes and chunks. Both ends compute it alike, from the decoded item.
[[nodiscard]] std::size_t credit_bytes(const Item& item);
/// Of a Send that carries it.
[[nodiscard]] std::size_t credit_bytes(const Envelope& envelope);
/// What a signal takes of the memory and of the frames of whoever passes it on: an envelope what it
/// takes of the credit, any other the constant and its text.
[[nodiscard]] std::size_t weight_bytes(const Signal& signal);
/// The constant: for the rest of an item, its ids, flags and lengths, and what a receiver keeps.
inline constexpr std::size_t kItemCreditBytes = 128;

}  // namespace liminal::wire
