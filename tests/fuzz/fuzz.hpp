// Explorations by seed: how many seeds, how long, and what is printed when one of them fails.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>

#include "tests/support/expect.hpp"

namespace liminal::test {

/// Calls `explore` with one seed after the other until one fails; the seed is then printed.
///
/// Without anything in the environment: `seeds` of them, or as many as 10 s allow.
/// LIMINAL_FUZZ_SEEDS=N: N of them, however long it takes. LIMINAL_FUZZ_FIRST=N: from that seed on,
/// so that LIMINAL_FUZZ_FIRST=4711 LIMINAL_FUZZ_SEEDS=1 repeats what failed.
template <class Explore>
void for_each_seed(std::uint64_t seeds, Explore&& explore) {
  using Steady = std::chrono::steady_clock;
  const auto number = [](const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
  };
  const bool bounded = std::getenv("LIMINAL_FUZZ_SEEDS") == nullptr;
  const auto end = Steady::now() + std::chrono::seconds{10};
  const std::uint64_t first = number("LIMINAL_FUZZ_FIRST", 0);
  seeds = number("LIMINAL_FUZZ_SEEDS", seeds);
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    if (bounded && Steady::now() >= end) break;
    SCOPED_TRACE(::testing::Message() << "LIMINAL_FUZZ_FIRST=" << seed << " LIMINAL_FUZZ_SEEDS=1");
    try {
      explore(seed);
    } catch (const BrokenPromise& broken) {
      ADD_FAILURE() << broken.what();
    }
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace liminal::test
