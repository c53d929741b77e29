// The simulator's figures, for people and for programs.
#pragma once

#include <string>

#include "tests/sim/tally.hpp"

namespace liminal::sim {

/// `took` is real time.
[[nodiscard]] std::string report(const Tally& tally, Duration took);
/// One JSON object on one line.
[[nodiscard]] std::string report_json(const Tally& tally, Duration took);

}  // namespace liminal::sim
