// Where an exploration's decisions come from: a seed, or bytes that a fuzzer makes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/base/random.hpp"

namespace liminal::test {

/// Decides whatever an exploration has to decide, so that one exploration serves both: by seed, as
/// a test, and by bytes, as a libFuzzer target whose input grows towards what is not covered yet.
///
/// From bytes each decision takes as few of them as its bound needs, so that a change of one byte
/// is the change of one decision. When they are used up every further decision is 0 and over() says
/// so; from a seed it is never over.
///
/// Lifetime: the bytes outlive it.
class Choices {
 public:
  explicit Choices(std::uint64_t seed) : random_(Random{seed}) {}
  explicit Choices(std::string_view bytes) : bytes_(bytes) {}

  [[nodiscard]] bool over() const { return !random_ && bytes_.empty(); }

  std::uint64_t next() { return random_ ? random_->next() : take(8); }

  /// In [0, bound). REQUIRES: bound > 0.
  std::uint64_t below(std::uint64_t bound) {
    if (random_) return random_->below(bound);
    std::size_t bytes = 0;
    for (std::uint64_t most = bound - 1; most > 0; most >>= 8) ++bytes;
    return take(bytes) % bound;
  }

 private:
  std::uint64_t take(std::size_t count) {
    std::uint64_t value = 0;
    for (; count > 0 && !bytes_.empty(); --count) {
      value = value << 8 | static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
    }
    return value;
  }

  std::optional<Random> random_ = {};
  std::string_view bytes_ = {};
};

}  // namespace liminal::test
