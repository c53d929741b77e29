// Bytes as the first header of an envelope from another node's handle, or from its conversation.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "node/conversation/remote_calls.hpp"
#include "tests/support/expect.hpp"
#include "tests/unit/common/wire/harmless.hpp"

namespace {

/// What is accepted can be put into an envelope, and is then taken out again as the same.
template <class Said>
void expect_harmless(liminal::Envelope envelope,
                     liminal::Result<Said> (*take)(liminal::Envelope& envelope)) {
  using liminal::test::expect;
  const liminal::Result<Said> once = take(envelope);
  if (!once) {
    return expect(liminal::test::is_refusal(once.error()), "refused without saying why");
  }
  liminal::put(envelope, *once);
  const auto twice = take(envelope);
  expect(twice && *twice == *once, "what was accepted is read as something else");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes{reinterpret_cast<const char*>(data), size};
  for (const bool is_first : {true, false}) {
    liminal::Envelope envelope = liminal::test::full_envelope();
    if (is_first) envelope.headers.insert(envelope.headers.begin(), {std::string{}, bytes});
    if (!is_first) envelope.headers.front() = {bytes, bytes};
    expect_harmless(envelope, &liminal::take_call);
    expect_harmless(std::move(envelope), &liminal::take_outcome);
  }
  return 0;
}
