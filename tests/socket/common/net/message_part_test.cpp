// Goal: a part has the bytes that were put in, wherever it is moved, and long ones are not copied.
#include "common/net/message_part.hpp"

#include <gtest/gtest.h>

#include <string>
#include <type_traits>
#include <utility>

namespace liminal::net {
namespace {

static_assert(!std::is_copy_constructible_v<MessagePart>);
static_assert(std::is_nothrow_move_constructible_v<MessagePart>);

TEST(MessagePartTest, KeepsItsBytesWhateverTheirNumber) {
  for (const std::size_t size : {0u, 1u, 33u, 34u, 256u, 257u, 3'000'000u}) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7);
    const MessagePart part{bytes};
    EXPECT_EQ(part.view(), bytes) << size;
  }
  EXPECT_EQ(MessagePart{}.view(), "");
}

TEST(MessagePartTest, DoesNotCopyALongString) {
  std::string bytes(257, 'x');
  const char* data = bytes.data();
  MessagePart part{std::move(bytes)};
  EXPECT_EQ(part.view().data(), data);
  const MessagePart moved{std::move(part)};
  EXPECT_EQ(moved.view().data(), data);
}

TEST(MessagePartTest, IsEmptyAfterItWasMovedAndCanBeUsedAgain) {
  MessagePart a{std::string(1000, 'a')};
  MessagePart b{std::string("short")};
  b = std::move(a);
  EXPECT_EQ(b.view(), std::string(1000, 'a'));
  EXPECT_EQ(a.view(), "");  // NOLINT: what a moved-from part is, is part of the contract
  a = MessagePart{std::string("again")};
  EXPECT_EQ(a.view(), "again");
  MessagePart& same = a;
  a = std::move(same);
  EXPECT_EQ(a.view(), "again");
}

}  // namespace
}  // namespace liminal::net
