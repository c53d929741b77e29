// A conversation's state on its way to handles on other nodes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/wire/envelope.hpp"
#include "node/conversation/conversation_types.hpp"

namespace liminal {

struct RemoteState {
  ConversationState state;
  CrashPolicy on_crash;
  std::optional<Pid> actor;
  friend bool operator==(const RemoteState&, const RemoteState&) = default;
};

/// Instants travel with the writer's own, by its clock. At most kStateBytesMax bytes: where there
/// is more to tell, texts are cut, then only the newest crashes, reroutes and compensations are
/// told. nullopt if not even the participants fit, some hundreds of them.
[[nodiscard]] std::optional<std::string> encode_state(const RemoteState& told, TimePoint now);

/// Where pids are looked at from.
struct Viewpoint {
  Pid home;                                // the conversation's process: whose local pids these are
  NodeName node;                           // the one that looks
  std::optional<Incarnation> incarnation;  // of it
};

/// By how much the reader's clock is ahead of the writer's, modulo 2^64 ns; none until a first
/// state was read. Kept, so that one instant is the same in every state.
using ClockDifference = std::optional<std::uint64_t>;

/// Errors: kMalformed, for anything that encode_state() would not have written;
/// kUnsupportedVersion.
[[nodiscard]] Result<RemoteState> decode_state(std::string_view bytes, const Viewpoint& seen_from,
                                               TimePoint now, ClockDifference& clocks);

}  // namespace liminal
