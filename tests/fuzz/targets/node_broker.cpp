// Choices: a node whose broker lies.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/choices.hpp"
#include "tests/fuzz/node/remote/lying_peers.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  liminal::test::LyingPeers{liminal::test::Choices{bytes}}.with_a_lying_broker();
  return 0;
}
