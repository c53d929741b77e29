// What the explorations by seed share: how many seeds, how long, and bytes that nobody sends on
// purpose.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/random.hpp"

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
    explore(seed);
    if (::testing::Test::HasFailure()) return;
  }
}

/// Changes bytes here and there; pieces of `others` get in. May leave them as they are.
inline std::string mutated(std::string bytes, const std::vector<std::string>& others,
                           Random& random) {
  for (std::uint64_t change = random.below(5); change-- > 0;) {
    if (bytes.empty()) bytes = std::string(1, '\x93');
    const std::size_t at = random.below(bytes.size());
    const std::string& other = others[random.below(others.size())];
    switch (random.below(8)) {
      case 0:
        bytes[at] = static_cast<char>(random.below(256));
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
        break;
      case 2:
        bytes.insert(at, 1, static_cast<char>(random.below(256)));
        break;
      case 3:
        bytes.erase(at, 1 + random.below(4));
        break;
      case 4:  // cut
        bytes.resize(at);
        break;
      case 5:  // the end is another's
        bytes.replace(at, std::string::npos, other.substr(random.below(other.size())));
        break;
      case 6:
        bytes.insert(at, other.substr(random.below(other.size()), random.below(20)));
        break;
      case 7: {  // a length or number far too great
        static const std::string kGreat[] = {
            std::string("\xdd\xff\xff\xff\xff", 5), std::string("\xdb\x7f\xff\xff\xff", 5),
            std::string("\xc6\xff\xff\xff\xf0", 5), std::string("\xdf\xff\xff\xff\xff", 5),
            std::string("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9)};
        bytes.replace(at, 1, kGreat[random.below(std::size(kGreat))]);
        break;
      }
    }
  }
  return bytes;
}

inline std::string random_bytes(std::uint64_t bytes_max, Random& random) {
  std::string bytes(random.below(bytes_max + 1), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.below(256));
  return bytes;
}

}  // namespace liminal::test
