// What can reach a process, all through one queue.
#pragma once

#include <string>
#include <variant>

#include "node/scheduler/process.hpp"

namespace liminal {

namespace arrival {

struct TimerDue {
  TimerId timer;
};
/// run_blocking()'s work returned this.
struct WorkDone {
  LocalMessagePtr result;
};
struct WorkFailed {
  std::string what;
};

}  // namespace arrival

using Arrival = std::variant<Signal, LocalMessagePtr, arrival::TimerDue, arrival::WorkDone,
                             arrival::WorkFailed>;

}  // namespace liminal
