// The first byte chooses one of the frames about conversations, the others are its fields.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/wire/parts.hpp"
#include "tests/unit/common/wire/harmless.hpp"

namespace {

using liminal::wire::FrameKind;

struct Begun {
  FrameKind kind;
  std::size_t fields;
};
constexpr Begun kFrames[] = {
    {FrameKind::kRecords, 5},       {FrameKind::kCancelAnswer, 2},
    {FrameKind::kTimelineQuery, 2}, {FrameKind::kConversationsQuery, 1},
    {FrameKind::kCancelQuery, 1},   {FrameKind::kLoads, 1},
    {FrameKind::kCancelOrder, 2},   {FrameKind::kTimelineReply, 5},
    {FrameKind::kCancelReply, 2},   {FrameKind::kConversationsReply, 3},
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Begun& begun = kFrames[data[0] % std::size(kFrames)];
  std::string bytes = liminal::wire::begin_frame(begun.kind, begun.fields, size + 16).take();
  bytes.append(reinterpret_cast<const char*>(data) + 1, size - 1);
  liminal::test::expect_harmless(bytes, liminal::test::decoders()[0]);
  return 0;
}
