// For codecs: the numbers of the protocol, and what several frames contain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/wire/exit_reason.hpp"
#include "common/wire/reader.hpp"
#include "common/wire/writer.hpp"

namespace liminal::wire {

/// The second element of every frame. Numbers are never given anew.
enum class FrameKind : std::uint8_t {
  // node to broker
  kJoin = 1,
  kAttach = 2,
  kNodeBeat = 3,
  kLeave = 4,
  kStatusQuery = 5,
  kRecords = 6,
  kCancelAnswer = 7,
  kTimelineQuery = 8,
  kConversationsQuery = 9,
  kCancelQuery = 10,
  // broker to node
  kWelcome = 16,
  kRefused = 17,
  kAttached = 18,
  kBrokerBeat = 19,
  kChanges = 20,
  kUnknown = 21,
  kStatusReply = 22,
  kLoads = 23,
  kCancelOrder = 24,
  kTimelineReply = 25,
  kConversationsReply = 26,
  kCancelReply = 27,
  // data connections
  kRouteTo = 32,
  kRouteFrom = 33,
  kSession = 34,
};

/// Begins a frame of this kind with so many fields after it.
[[nodiscard]] inline Writer begin_frame(FrameKind kind, std::size_t fields,
                                        std::size_t bytes_expected) {
  Writer w{bytes_expected};
  w.array(fields + 2).uint(kProtocolVersion).enumerator(kind);
  return w;
}

void write(Writer& w, const Evidence& evidence);
void write(Writer& w, const std::optional<Evidence>& evidence);
[[nodiscard]] std::optional<Evidence> read_evidence(Reader& r);

/// Its text is cut to `text_bytes_max`.
void write(Writer& w, const ExitReason& reason, std::size_t text_bytes_max);
[[nodiscard]] ExitReason read_exit_reason(Reader& r);

}  // namespace liminal::wire
