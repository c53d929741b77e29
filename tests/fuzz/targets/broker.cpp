// Choices: a broker with honest nodes and others.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/broker/lying_nodes.hpp"
#include "tests/fuzz/choices.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  liminal::broker::LyingNodes{liminal::test::Choices{bytes}}.run(400);
  return 0;
}
