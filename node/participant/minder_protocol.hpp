// What CommandRunner and liminal-minder say to each other, over a SOCK_SEQPACKET pair.
#pragma once

#include <cstdint>

namespace liminal::minder {

/// The descriptor on which the minder finds its end of the pair.
inline constexpr int kSocket = 3;

/// What comes with kStart as SCM_RIGHTS, in this order. `text` is a memory file, because commands
/// and environments may be longer than a datagram: the shell's command, then each NAME=VALUE to be
/// added to the environment, every one of them ended by a zero byte. kExtra comes only with a
/// command that is to have it, as its descriptor 3; any other has none there.
enum Descriptor : int {
  kText = 0,
  kStdin = 1,
  kStdout = 2,
  kStderr = 3,
  kExtra = 4,
  kDescriptorsMax = 5,
};

/// Where a command finds its kExtra.
inline constexpr int kExtraTarget = 3;

enum class Kind : std::uint32_t {
  // to the minder
  kStart = 1,  // value: how many descriptors come with it
  kKill = 2,   // an unknown command is one that ended: fine
  // to the runner
  kStarted = 3,  // value: the pid, which is its process group's too
  kExited = 4,   // value: the wait status
  kFailed = 5,   // value: an errno; never started
  kLost = 6,     // whoever watched over it was killed, and it with them
};

/// Every datagram is one of these, in the machine's byte order.
struct Message {
  Kind kind;
  std::int32_t value;
  std::uint64_t command;  // the runner's number, never used twice
};
static_assert(sizeof(Message) == 16);

}  // namespace liminal::minder
