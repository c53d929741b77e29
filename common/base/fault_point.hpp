// Named places in the code at which a simulator may have a node, or an actor, die.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace liminal {

/// Between what two steps something dies is what a protocol's promises hang on, and no fault from
/// outside meets such a moment on purpose. What is listed here is reached by fault_point().
enum class FaultPoint : std::uint8_t {
  kActorTookInput,       // an input is taken, and nothing decided
  kActorRecorded,        // a decision is recorded, and nobody told
  kActorBehind,          // a decision is told, and the second copy of the state is behind
  kConversationSending,  // a decision is recorded, and not all of its effects are carried out
  kPlacementChosen,      // a node is chosen for a role, and not asked
  kPlacementAnswered,    // an instance is linked, and the conversation does not know it
  kCompensationStep,     // a step is decided, and the next not begun
  kParticipantTook,      // a request is taken, and not begun
  kParticipantDone,      // a request is done, and not answered
  kExitFanOut,           // an exit is told to some of those who are linked
  kSessionAccepted,      // the session has a frame, and its signals are not delivered
  kSessionCollected,     // the session gave a frame away, and it is not sent
  kTiesBreaking,         // a peer is lost, and not all who were tied to it are told
  kJoinDecided,          // a join is decided, and not sent
  kWelcomed,             // a join or resume was granted, and nothing done about it
  kFencing,              // a fresh incarnation is taken, and the old one's ties are not broken
  kBrokerVerdict,        // a node is declared down, and nobody told
  kBrokerResume,         // a resume is granted, and the node not told
};
inline constexpr std::size_t kFaultPoints = 18;

[[nodiscard]] constexpr std::string_view name_of(FaultPoint point) {
  constexpr std::array<std::string_view, kFaultPoints> names{
      "actor-took-input", "actor-recorded",     "actor-behind",      "conversation-sending",
      "placement-chosen", "placement-answered", "compensation-step", "participant-took",
      "participant-done", "exit-fan-out",       "session-accepted",  "session-collected",
      "ties-breaking",    "join-decided",       "welcomed",          "fencing",
      "broker-verdict",   "broker-resume"};
  return names[static_cast<std::size_t>(point)];
}

/// Whoever simulates: hears of each point that its thread reaches.
class FaultListener {
 public:
  /// What it throws is a crash of the process whose turn it is.
  /// REQUIRES: throws at no point outside of a process's turn.
  virtual void reached(FaultPoint point) = 0;

 protected:
  ~FaultListener() = default;
};

/// Of this thread; null in every program but a simulator. The only variable of its kind: handed
/// through as an argument it would stand in the signature of everything that decides.
inline constinit thread_local FaultListener* fault_listener = nullptr;

/// Cost: one load and one branch that is never taken.
inline void fault_point(FaultPoint point) {
  if (fault_listener != nullptr) [[unlikely]]
    fault_listener->reached(point);
}

}  // namespace liminal
