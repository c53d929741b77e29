// By seed: harmless.hpp says what is asked of a decoder.
#include <gtest/gtest.h>

#include <cstdint>

#include "tests/fuzz/choices.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/support/hostile_bytes.hpp"
#include "tests/unit/common/wire/harmless.hpp"

namespace liminal::test {
namespace {

TEST(WireFuzz, ChangedFramesAreHarmless) {
  const std::vector<std::string>& frames = valid_frames();
  for_each_seed(400'000, [&](std::uint64_t seed) {
    Choices choices{seed};
    expect_harmless(mutated(frames[choices.below(frames.size())], frames, choices));
  });
}

TEST(WireFuzz, RandomBytesAreHarmless) {
  for_each_seed(400'000, [](std::uint64_t seed) {
    Choices choices{seed};
    expect_harmless(any_frame(choices.below(20) == 0 ? 2000 : 60, choices));
  });
}

// As many of the smallest items as fit: what grows with their number is bounded by their bytes.
TEST(WireFuzz, ManySmallThingsAreHarmless) {
  for_each_seed(300, [](std::uint64_t seed) {
    Choices choices{seed};
    const char small = static_cast<char>(choices.below(256));
    std::string bytes{static_cast<char>(0x90 + choices.below(16)), '\x01',
                      static_cast<char>(choices.below(36))};
    for (std::uint64_t fields = choices.below(6); fields-- > 0;) bytes += '\x01';
    const std::uint32_t count = static_cast<std::uint32_t>(choices.below(50'000));
    bytes += '\xdd';
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(count >> shift);
    bytes += std::string(count, small);
    expect_harmless(bytes);
  });
}

}  // namespace
}  // namespace liminal::test
