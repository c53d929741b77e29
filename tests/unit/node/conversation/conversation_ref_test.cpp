// Goal: a reference survives being text, and no other text is taken for one.
#include "node/conversation/conversation_ref.hpp"

#include <gtest/gtest.h>

#include <cctype>
#include <string>

#include "common/base/random.hpp"

namespace liminal {
namespace {

const ConversationRef kRef{ConversationId{0x0123456789abcdef, 0xfedcba9876543210},
                           Pid{NodeName{"node-a"}, Incarnation{0x18}, Serial{17}}};
constexpr const char* kText = "0123456789abcdeffedcba9876543210@node-a/0000000000000018/17";

TEST(ConversationRef, IsOneLineThatReadsBack) {
  EXPECT_EQ(kRef.to_string(), kText);
  const auto parsed = ConversationRef::parse(kText);
  ASSERT_TRUE(parsed) << parsed.error().detail;
  EXPECT_EQ(*parsed, kRef);
}

TEST(ConversationRef, NoOtherTextIsTaken) {
  const std::string text = kText;
  const std::string id = text.substr(0, 32);
  for (const std::string& wrong :
       {std::string{}, id, id + "@", id + "@node-a", id + "@node-a/", text + " ", " " + text,
        id + "@node-a/0000000000000018/", id + "@node-a/0000000000000018/0",
        id + "@node-a/0000000000000018/017", id + "@node-a/0000000000000018/-1",
        id + "@node-a/0000000000000018/18446744073709551616", id + "@node-a/0000000000000000/17",
        id + "@node a/0000000000000018/17", id + "@/0000000000000018/17", id + "@node-a/18/17",
        text.substr(1), text + "/1", id.substr(0, 31) + "g@node-a/0000000000000018/17"}) {
    const auto parsed = ConversationRef::parse(wrong);
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_EQ(parsed.error().code, Errc::kUsage);
  }
  EXPECT_TRUE(ConversationRef::parse(id + "@node-a/0000000000000018/18446744073709551615"));
}

TEST(ConversationRef, ChangedBytesAreRefusedOrReadBackAsWritten) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    std::string text = kText;
    for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    }
    const auto parsed = ConversationRef::parse(text);
    if (parsed && parsed->to_string() != text) {
      // hex digits may be written in capitals
      std::string lower = text;
      for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      std::string written = parsed->to_string();
      for (char& c : written) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      EXPECT_EQ(written, lower);
    }
  }
}

}  // namespace
}  // namespace liminal
