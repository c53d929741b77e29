// Random numbers that are handed in, so that a seed decides everything.
#pragma once

#include <cstdint>

namespace liminal {

/// splitmix64 (Steele, Lea, Flood 2014): small, fast, every seed is good. Not for secrets that must
/// resist an attacker who sees its output.
class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) : state_(seed) {}

  constexpr std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }

  /// Never zero: zero means "none" or "local" where ids are concerned.
  constexpr std::uint64_t next_id() {
    std::uint64_t id = next();
    while (id == 0) id = next();
    return id;
  }

  /// In [0, bound). REQUIRES: bound > 0. The bias is below bound / 2^64.
  constexpr std::uint64_t below(std::uint64_t bound) { return next() % bound; }

  /// An independent generator.
  constexpr Random fork() { return Random{next()}; }

 private:
  std::uint64_t state_;
};

/// A seed from the kernel (getrandom); blocks only before the kernel's pool was ever filled.
[[nodiscard]] std::uint64_t random_seed();

}  // namespace liminal
