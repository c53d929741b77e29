// Bytes as the state of a conversation elsewhere.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "node/conversation/remote_state.hpp"
#include "tests/support/expect.hpp"
#include "tests/unit/common/wire/harmless.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using liminal::test::expect;
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  const liminal::TimePoint now = liminal::test::kNow;
  const liminal::Viewpoint seen_from{liminal::test::pid_a(17), liminal::NodeName{"node-b"},
                                     liminal::test::pid_b(1).incarnation};
  liminal::ClockDifference clocks;
  const auto state = liminal::decode_state(bytes, seen_from, now, clocks);
  if (!state) {
    expect(liminal::test::is_refusal(state.error()), "refused without saying why");
    return 0;
  }
  // the same bytes later, by the clock that is known now: the same instants
  const auto again = liminal::decode_state(bytes, seen_from, now + std::chrono::seconds{5}, clocks);
  expect(again && *again == *state, "an instant moved");
  return 0;
}
