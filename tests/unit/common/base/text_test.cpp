// Names, hex and what is shown of bytes that nobody checked.
#include "common/base/text.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "common/base/random.hpp"

namespace liminal {
namespace {

TEST(ValidName, IsOneTo63LettersDigitsDotsDashesUnderscores) {
  for (const std::string& name : {std::string{"a"}, std::string{"node-a"}, std::string{"A.b_c-9"},
                                  std::string{"."}, std::string(63, 'x')}) {
    EXPECT_TRUE(valid_name(name)) << name;
  }
  for (const std::string& name : {std::string{}, std::string(64, 'x'), std::string{"a b"},
                                  std::string{"a/b"}, std::string{"a\n"}, std::string{"a\0", 2},
                                  std::string{"ä"}, std::string{"a="}, std::string{"#a"}}) {
    EXPECT_FALSE(valid_name(name)) << name;
  }
}

TEST(ValidName, KnowsEachByte) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool expected = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                          (byte >= 'A' && byte <= 'Z') || byte == '.' || byte == '_' || byte == '-';
    EXPECT_EQ(valid_name(std::string(1, static_cast<char>(byte))), expected) << byte;
  }
}

TEST(Hex, Is16DigitsBothWays) {
  EXPECT_EQ(to_hex(0), "0000000000000000");
  EXPECT_EQ(to_hex(0x018f0a0000000001), "018f0a0000000001");
  EXPECT_EQ(to_hex(std::numeric_limits<std::uint64_t>::max()), "ffffffffffffffff");
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const std::uint64_t value = Random{seed}.next();
    ASSERT_EQ(from_hex(to_hex(value)), value) << "seed " << seed;
  }
  EXPECT_EQ(from_hex("018F0A0000000001"), 0x018f0a0000000001U);
}

TEST(Hex, RefusesWhatIsNotExactly16Digits) {
  for (const char* text :
       {"", "1", "018f0a000000001", "018f0a00000000011", "018f0a000000000g", "-18f0a0000000001",
        "0x8f0a0000000001", " 18f0a0000000001", "018f0a000000000 "}) {
    EXPECT_EQ(from_hex(text), std::nullopt) << text;
  }
}

TEST(IdText, OfWideIdsAndPids) {
  EXPECT_EQ(to_string(MessageId{1, 0xff}), "000000000000000100000000000000ff");
  const Pid pid{NodeName{"node-a"}, Incarnation{0x018f0a0000000001}, Serial{17}};
  EXPECT_EQ(to_string(pid), "node-a/018f0a0000000001/17");
  EXPECT_EQ(to_string(Pid{NodeName{"node-a"}, local_incarnation(), Serial{17}}), "node-a/17");
}

TEST(EscapedTail, LeavesPrintableTextAsItIs) {
  EXPECT_EQ(escaped_tail("", 10), "");
  EXPECT_EQ(escaped_tail("exit status 3: 'no' \"such\" ~", 100), "exit status 3: 'no' \"such\" ~");
  EXPECT_EQ(escaped_tail("grüße, 世界 🙂", 100), "grüße, 世界 🙂");
}

TEST(EscapedTail, EscapesWhatWouldBreakTheLineOrTheTerminal) {
  EXPECT_EQ(escaped_tail("a\nb\tc\rd\\e", 100), "a\\nb\\tc\\rd\\\\e");
  EXPECT_EQ(escaped_tail(std::string_view{"\0\x1b[31m\x7f", 7}, 100), "\\x00\\x1b[31m\\x7f");
  EXPECT_EQ(escaped_tail("\u0085", 100), "\\xc2\\x85") << "a C1 control";
  EXPECT_EQ(escaped_tail("\u2028\u2029\u2027", 100), "\\xe2\\x80\\xa8\\xe2\\x80\\xa9\u2027");
}

TEST(EscapedTail, EscapesEachByteOfInvalidUtf8) {
  for (const auto& [bytes, shown] : std::vector<std::pair<std::string, std::string>>{
           {"\xff", "\\xff"},
           {"\xc3", "\\xc3"},                             // cut short
           {"\xc3(", "\\xc3("},                           // no continuation
           {"\xa9", "\\xa9"},                             // a continuation alone
           {"\xc0\xaf", "\\xc0\\xaf"},                    // overlong
           {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},           // overlong
           {"\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf"},  // overlong
           {"\xed\xa0\x80", "\\xed\\xa0\\x80"},           // a surrogate
           {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // beyond U+10FFFF
           {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
           {"\xe4\xb8", "\\xe4\\xb8"},
           {"\xe4\xb8x", "\\xe4\\xb8x"},
           {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"}}) {  // U+10FFFF itself
    EXPECT_EQ(escaped_tail(bytes, 100), shown);
  }
}

TEST(EscapedTail, ShowsTheEnd) {
  EXPECT_EQ(escaped_tail("0123456789", 10), "0123456789");
  EXPECT_EQ(escaped_tail("0123456789", 9), "...123456789");
  EXPECT_EQ(escaped_tail("0123456789", 0), "...");
  EXPECT_EQ(escaped_tail("\n\n\n", 2), "...\\n\\n")
      << "bytes of the text count, not of the escapes";
}

TEST(EscapedTail, CutsNoCharacterInTwo) {
  EXPECT_EQ(escaped_tail("aäb", 3), "...äb");
  EXPECT_EQ(escaped_tail("aäb", 2), "...b");
  EXPECT_EQ(escaped_tail("世界", 5), "...界");
  EXPECT_EQ(escaped_tail("世界", 3), "...界");
  EXPECT_EQ(escaped_tail("a🙂b", 4), "...b");
  EXPECT_EQ(escaped_tail("\xa9\xa9\xa9", 2), "...\\xa9\\xa9") << "no character to spare";
}

// Random bytes: one printable line, and what is shown never depends on what was cut away.
TEST(EscapedTail, IsOnePrintableLineWhateverTheBytes) {
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    Random random{seed};
    std::string text;
    for (std::uint64_t size = random.below(24); size-- > 0;) {
      text += static_cast<char>(random.below(2) == 0 ? random.below(256) : 0x80 + random.below(64));
    }
    const std::string shown = escaped_tail(text, random.below(30));
    for (const char c : shown) {
      ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << "seed " << seed;
    }
    if (shown.find('\\') == std::string::npos && !shown.starts_with("...")) {
      ASSERT_EQ(shown, text) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace liminal
