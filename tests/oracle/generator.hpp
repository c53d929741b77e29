// Scripts that nobody thought of, by seed.
#pragma once

#include <cstdint>

#include "tests/oracle/script.hpp"

namespace liminal::oracle {

/// Some twenty steps of two to seven processes. Every second script stays on one node; of the
/// others one in eight loses node two. Every third leaves no order open.
[[nodiscard]] Script generate(std::uint64_t seed);

}  // namespace liminal::oracle
