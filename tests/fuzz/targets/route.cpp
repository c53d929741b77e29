// Bytes as a routing header, in either direction.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/unit/common/wire/harmless.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  liminal::test::expect_harmless(bytes, liminal::test::decoders()[1]);
  liminal::test::expect_harmless(bytes, liminal::test::decoders()[2]);
  return 0;
}
