// Choices: a session that is told anything.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/choices.hpp"
#include "tests/fuzz/common/session/changed_frames.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  liminal::test::Choices choices{bytes};
  liminal::test::say_anything(choices);
  return 0;
}
