// Goal: a file means what its reader would expect, and every value survives being written and read.
#include "common/config/config_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/random.hpp"

namespace liminal::config {
namespace {

using ::testing::HasSubstr;

std::string value_of(const std::string& line) {
  const auto settings = parse_settings(line, "f");
  if (!settings) return "error: " + settings.error().detail;
  return settings->size() == 1 ? settings->front().value : "no single setting";
}

TEST(ConfigFileTest, ReadsKeysAndValuesWithTheirLines) {
  const auto settings = parse_settings(
      "# a comment\n"
      "\n"
      "  \t# another\n"
      "listen = tcp://127.0.0.1:1\r\n"
      "\t listen=tcp://127.0.0.1:2 \t\n"
      "empty =\n"
      "last = no newline",
      "f");
  ASSERT_TRUE(settings) << settings.error().detail;
  EXPECT_EQ(*settings, (std::vector<Setting>{{"listen", "tcp://127.0.0.1:1", 4},
                                             {"listen", "tcp://127.0.0.1:2", 5},
                                             {"empty", "", 6},
                                             {"last", "no newline", 7}}));
}

TEST(ConfigFileTest, HashAndEqualsInAValueAreItsOwn) {
  EXPECT_EQ(value_of("k = a # b"), "a # b");
  EXPECT_EQ(value_of("k = #a"), "#a");
  EXPECT_EQ(value_of("k = up=exec:x='1'; y=$x"), "up=exec:x='1'; y=$x");
  EXPECT_EQ(value_of("k = say \"hi\" \\n"), "say \"hi\" \\n") << "no quote in front: as it stands";
}

TEST(ConfigFileTest, QuotesKeepBlanksAndKnowEscapes) {
  EXPECT_EQ(value_of("k =   \"  a  \"  "), "  a  ");
  EXPECT_EQ(value_of(R"(k = "a\"b\\c\nd\re")"), "a\"b\\c\nd\re");
  EXPECT_EQ(value_of("k = \"\""), "");
}

TEST(ConfigFileTest, WhatIsNoSettingIsAnErrorWithItsPlace) {
  for (const char* wrong :
       {"x\ny", "= v", "just words", "k = \"open", "k = \"a\" b", "k = \"a\\x\"", "k = \"a\\"}) {
    const auto settings = parse_settings(wrong, "dir/f.conf");
    ASSERT_FALSE(settings) << wrong;
    EXPECT_EQ(settings.error().code, Errc::kUsage);
    EXPECT_THAT(settings.error().detail, HasSubstr("at dir/f.conf:1: "));
    EXPECT_THAT(settings.error().detail, HasSubstr("write key = "));
  }
  EXPECT_EQ(parse_settings("a = b\n\nlisten\n", "f").error().detail,
            "'listen' at f:3: a line without '=': write key = value");
}

TEST(ConfigFileTest, AnyBytesAreReadWithoutHarmAndShownOnOneLine) {
  const std::string bytes("\0\xFF\x1B[2J no equals", 17);
  const auto settings = parse_settings(bytes, "f");
  ASSERT_FALSE(settings);
  EXPECT_THAT(settings.error().detail, HasSubstr("\\x00\\xff\\x1b[2J"));
  EXPECT_EQ(value_of(std::string("k = a\0b", 7)), std::string("a\0b", 3));
}

TEST(ConfigFileTest, WhatIsWrittenIsReadBack) {
  const std::string alphabet("ab#=\"\\ \t\n\r\0\xFFnr", 14);
  for (std::uint64_t seed = 0; seed < 5000; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    std::string value;
    for (std::uint64_t n = random.below(8); n > 0; --n) value += alphabet[random.below(14)];
    const std::string line = "k = " + written(value);
    ASSERT_EQ(value_of(line + "\n"), value) << line;
    ASSERT_EQ(line.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace liminal::config
