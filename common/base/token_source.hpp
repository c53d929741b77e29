// Numbers that nobody can guess from those that they were given.
#pragma once

#include <cstdint>

#include "common/base/random.hpp"

namespace liminal {

/// SipHash-2-4 (Aumasson, Bernstein 2012) of a counter under a key that never leaves. Random's own
/// output gives its state away: a node that knows its token would know the next node's, and could
/// attach in its name; and who knows a node's incarnation would know the secret that proves it.
class TokenSource {
 public:
  explicit TokenSource(Random random) : key0_(random.next()), key1_(random.next()) {}

  /// Never zero; not repeated within any time that matters.
  [[nodiscard]] std::uint64_t next();

 private:
  std::uint64_t key0_;
  std::uint64_t key1_;
  std::uint64_t counter_ = 0;
};

/// Of one 64-bit little-endian word.
[[nodiscard]] std::uint64_t siphash24(std::uint64_t key0, std::uint64_t key1, std::uint64_t word);

}  // namespace liminal
