// Runs scripts on our scheduler: two nodes and a broker of the simulator, on virtual time.
#pragma once

#include <cstdint>

#include "tests/oracle/script.hpp"
#include "tests/oracle/trace.hpp"

namespace liminal::oracle {

/// `seed` decides delays and the order in which what stands together begins.
[[nodiscard]] Trace run_on_ours(const Script& script, std::uint64_t seed);

}  // namespace liminal::oracle
