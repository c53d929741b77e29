// `liminal status` and `liminal wait`: what the broker knows.
#pragma once

#include <string>

#include "cli/exit_codes.hpp"
#include "cli/light_node.hpp"
#include "common/base/time.hpp"

namespace liminal::cli {

ExitCode status(const std::string& endpoint, Duration timeout, bool json);

/// Until a joined node is called `name`, or offers a service of that name. A broker that is not
/// there yet is waited for as well.
ExitCode wait(SignalWatch& signals, const std::string& endpoint, const std::string& name,
              Duration timeout);

}  // namespace liminal::cli
