// A run's trace, and what of it concerns a violation.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "common/base/time.hpp"

namespace liminal::sim {

/// A line as it is written: the virtual time, what happened.
[[nodiscard]] std::string trace_line(TimePoint now, const std::string& what);

/// Of `lines`: all that tells of faults, verdicts and lives of nodes, and of those that name a
/// conversation that a violation names the last `told_max`. What was left out is counted in place.
[[nodiscard]] std::vector<std::string> shortened(const std::vector<std::string>& lines,
                                                 const std::vector<std::string>& violations,
                                                 std::size_t told_max = 60);

}  // namespace liminal::sim
