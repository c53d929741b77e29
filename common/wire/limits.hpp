// The sizes beyond which a frame is not one of ours.
#pragma once

#include <cstddef>

namespace liminal::wire {

inline constexpr int kProtocolVersion = 1;

/// Payloads above this travel in chunks of at most this many bytes.
inline constexpr std::size_t kChunkBytesMax = 64 * 1024;

/// What each end of a session may send before it is told its credit limit, and the most that one
/// item takes of it: the same for all, whatever windows they give.
inline constexpr std::size_t kFirstCreditBytes = 256 * 1024;

/// A session stops adding items to a frame when their credit bytes pass this.
inline constexpr std::size_t kFrameFillBytes = 128 * 1024;
inline constexpr std::size_t kFrameItemsMax = 1024;

/// No message part is longer; sockets refuse such (ZMQ_MAXMSGSIZE), decoders too.
inline constexpr std::size_t kPartBytesMax = 4 * 1024 * 1024;
inline constexpr std::size_t kHeaderBytesMax = 512;  // of a routing header

inline constexpr std::size_t kServicesMax = 1024;  // of one node
inline constexpr std::size_t kLabelsMax = 64;      // of one node
inline constexpr std::size_t kPeersMax = 4096;     // that a join reports; of verdicts as many
inline constexpr std::size_t kEnvelopeHeadersMax =
    64;  // of one envelope; a call's or outcome's own stands before them
inline constexpr std::size_t kTextBytesMax =
    16 * 1024;                                   // of one text: a reason, a header, a schema
inline constexpr std::size_t kRecordsMax = 128;  // of timelines, in one frame
inline constexpr std::size_t kRecordsFillBytes = 256 * 1024;  // a sender adds none beyond
inline constexpr std::size_t kSummariesMax = 256;             // of conversations, in one frame
inline constexpr std::size_t kSummaryBytesMax = 1024;         // of each of its texts
inline constexpr std::size_t kLoadsMax = 16384;               // in one frame
inline constexpr unsigned kDepthMax = 6;                      // of nested arrays

}  // namespace liminal::wire
