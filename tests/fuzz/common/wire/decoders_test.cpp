// Whatever bytes a peer sends, each decoder says what is wrong or reads a frame of ours, and takes
// no more memory than a small multiple of the bytes.
#include "tests/fuzz/fuzz.hpp"
#include "tests/unit/common/wire/harmless.hpp"

namespace liminal::test {
namespace {

TEST(WireFuzz, ChangedFramesAreHarmless) {
  const std::vector<std::string> frames = bytes_of_all_frames();
  for_each_seed(400'000, [&](std::uint64_t seed) {
    Random random{seed};
    expect_harmless(mutated(frames[random.below(frames.size())], frames, random));
  });
}

TEST(WireFuzz, RandomBytesAreHarmless) {
  for_each_seed(400'000, [](std::uint64_t seed) {
    Random random{seed};
    expect_harmless(random_frame(random.below(20) == 0 ? 2000 : 60, random));
  });
}

// As many of the smallest items as fit: what grows with their number is bounded by their bytes.
TEST(WireFuzz, ManySmallThingsAreHarmless) {
  for_each_seed(300, [](std::uint64_t seed) {
    Random random{seed};
    const char small = static_cast<char>(random.below(256));
    std::string bytes{static_cast<char>(0x90 + random.below(16)), '\x01',
                      static_cast<char>(random.below(36))};
    for (std::uint64_t fields = random.below(6); fields-- > 0;) bytes += '\x01';
    const std::uint32_t count = static_cast<std::uint32_t>(random.below(50'000));
    bytes += '\xdd';
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(count >> shift);
    bytes += std::string(count, small);
    expect_harmless(bytes);
  });
}

}  // namespace
}  // namespace liminal::test
