// Choices, by which a valid frame is changed: for each decoder.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/choices.hpp"
#include "tests/support/hostile_bytes.hpp"
#include "tests/unit/common/wire/harmless.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  liminal::test::Choices choices{bytes};
  const auto& frames = liminal::test::valid_frames();
  liminal::test::expect_harmless(
      liminal::test::mutated(frames[choices.below(frames.size())], frames, choices));
  return 0;
}
