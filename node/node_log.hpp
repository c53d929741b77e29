// Where a node's log lines go.
#pragma once

#include <string>

#include "common/base/ids.hpp"

namespace liminal {

/// To stderr, from `level` on ("debug", "info", "warning", "error", "off"), each line with the
/// node's name. Call once, before there are threads.
void set_up_node_log(const NodeName& name, const std::string& level);

/// Nowhere: for commands, which say what they have to say in one line of their own.
void silence_node_log();

}  // namespace liminal
