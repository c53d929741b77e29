// The sub-commands of `liminal`: their options, and what each runs.
#pragma once

#include <string>
#include <vector>

#include "cli/exit_codes.hpp"
#include "cli/light_node.hpp"

namespace liminal::cli {

/// Runs `liminal ARGUMENT...`. Nothing but what was asked for goes to stdout.
[[nodiscard]] ExitCode run(SignalWatch& signals, const std::vector<std::string>& arguments);

}  // namespace liminal::cli
