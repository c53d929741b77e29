// Where a node's log lines go.
#pragma once

#include <string>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "node/scheduler/long_turn.hpp"

namespace liminal {

/// To stderr, from `level` on ("debug", "info", "warning", "error", "off"), each line with the
/// node's name. Call once, before there are threads.
void set_up_node_log(const NodeName& name, const std::string& level);

/// A turn has lasted `turn_max` and goes on. From any thread.
void log_long_turn(const LongTurn& turn, Duration turn_max);

/// Nowhere: for commands, which say what they have to say in one line of their own.
void silence_node_log();

}  // namespace liminal
