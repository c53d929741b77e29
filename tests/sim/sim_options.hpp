// What the simulator's program is asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.hpp"
#include "tests/sim/storm.hpp"

namespace liminal::sim {

struct SimOptions {
  std::uint64_t first = 0, seeds = 100;
  double minutes = 0.5;
  std::vector<std::string> nemeses = {};  // empty: all
  std::uint64_t hosts = 4;
  std::string trace_file = {};  // empty: none
  bool json = false, help = false, list = false;

  [[nodiscard]] Storm::Settings storm() const;
  /// What, after the program's name, replays a seed of this run.
  [[nodiscard]] std::string replay(std::uint64_t seed) const;
};

/// Errors: one line that names the option.
[[nodiscard]] Result<SimOptions> read_sim_options(int argc, const char* const* argv);

[[nodiscard]] std::string sim_usage();

}  // namespace liminal::sim
