// Whatever bytes a peer sends, each decoder says what is wrong or reads a frame of ours, and takes
// no more memory than a small multiple of the bytes.
#include <cstdlib>
#include <new>

#include "tests/fuzz/fuzz.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace {

// Allocated by this program since the last reset, never counting what was freed.
std::size_t allocated_bytes = 0;

}  // namespace

// not inlined: g++ would see one of a pair without the other and warn
[[gnu::noinline]] void* operator new(std::size_t size) {
  allocated_bytes += size;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace liminal::test {
namespace {

// What a value of one byte becomes, with the growth of the arrays that it is collected in; and what
// an error's text and the fixed parts take.
constexpr std::size_t kAllocatedPerByte = 150;
constexpr std::size_t kAllocatedAtLeast = 8 * 1024;

void expect_harmless(const std::string& bytes) {
  for (const Decoder& decoder : decoders()) {
    allocated_bytes = 0;
    const auto once = decoder.reencode(bytes);
    ASSERT_LE(allocated_bytes, kAllocatedAtLeast + kAllocatedPerByte * bytes.size())
        << decoder.name << ": " << hex(bytes);
    if (once) {
      ASSERT_EQ(decoder.reencode(*once), once) << decoder.name << ": " << hex(bytes);
    } else {
      ASSERT_TRUE(once.error().code == Errc::kMalformed ||
                  once.error().code == Errc::kUnsupportedVersion);
      ASSERT_FALSE(once.error().detail.empty());
    }
  }
}

std::vector<std::string> all_frames() {
  std::vector<std::string> all;
  for (Encoded& frame : encoded_frames()) all.push_back(std::move(frame.bytes));
  return all;
}

TEST(WireFuzz, ChangedFramesAreHarmless) {
  const std::vector<std::string> frames = all_frames();
  for_each_seed(400'000, [&](std::uint64_t seed) {
    Random random{seed};
    expect_harmless(mutated(frames[random.below(frames.size())], frames, random));
  });
}

TEST(WireFuzz, RandomBytesAreHarmless) {
  for_each_seed(400'000, [](std::uint64_t seed) {
    Random random{seed};
    std::string bytes;
    // most begin as a frame does, so that the fields are reached
    if (random.below(4) > 0) {
      bytes = {static_cast<char>(0x90 + random.below(16)), '\x01',
               static_cast<char>(random.below(36))};
    }
    expect_harmless(bytes + random_bytes(random.below(20) == 0 ? 2000 : 60, random));
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
