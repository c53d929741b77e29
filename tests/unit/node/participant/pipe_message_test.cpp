// A stream of bytes is the same messages however it is cut into pieces.
#include "node/participant/pipe_message.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/random.hpp"

namespace liminal {
namespace {

using Status = PipeMessageReader::Status;
using ::testing::ElementsAre;

constexpr std::size_t kBytesMax = 1000;

std::string framed(const std::string& payload) { return length_prefix(payload.size()) + payload; }

TEST(PipeMessageTest, ALengthIsFourBytesBigEndian) {
  EXPECT_EQ(length_prefix(0), std::string(4, '\0'));
  EXPECT_EQ(length_prefix(0x01020304), "\x01\x02\x03\x04");
  EXPECT_EQ(length_prefix(0xfffffffe), "\xff\xff\xff\xfe");
}

TEST(PipeMessageTest, OneMessageIsTakenAtATimeAndTheRestIsLeft) {
  PipeMessageReader reader;
  const std::string stream = framed("ab") + framed("") + framed("c");
  std::string_view bytes = stream;
  std::vector<std::string> messages;
  while (!bytes.empty()) {
    ASSERT_EQ(reader.read(bytes, kBytesMax), Status::kMessage);
    messages.push_back(reader.take_message());
    EXPECT_TRUE(reader.is_between_messages());
  }
  EXPECT_THAT(messages, ElementsAre("ab", "", "c"));
}

TEST(PipeMessageTest, TheLimitIsExactAndKnownFromThePrefixAlone) {
  for (const std::size_t size : {kBytesMax - 1, kBytesMax}) {
    PipeMessageReader reader;
    const std::string stream = framed(std::string(size, 'x'));
    std::string_view bytes = stream;
    ASSERT_EQ(reader.read(bytes, kBytesMax), Status::kMessage);
    EXPECT_EQ(reader.take_message().size(), size);
  }
  PipeMessageReader reader;
  const std::string prefix = length_prefix(kBytesMax + 1);
  std::string_view bytes = prefix;
  EXPECT_EQ(reader.read(bytes, kBytesMax), Status::kTooLong);
  EXPECT_EQ(reader.promised_bytes(), kBytesMax + 1);
  EXPECT_EQ(reader.prefix(), prefix);

  PipeMessageReader other;
  bytes = "\xff\xff\xff\xff";
  EXPECT_EQ(other.read(bytes, kBytesMax), Status::kTooLong);
  EXPECT_EQ(other.promised_bytes(), 4294967295u);
}

TEST(PipeMessageTest, ItSaysHowFarAMessageCame) {
  PipeMessageReader reader;
  EXPECT_TRUE(reader.is_between_messages());
  const std::string stream = framed("0123456789");
  const auto give = [&](std::size_t from, std::size_t to) {
    std::string_view bytes = std::string_view{stream}.substr(from, to - from);
    EXPECT_EQ(reader.read(bytes, kBytesMax), Status::kNeedsMore);
    EXPECT_TRUE(bytes.empty());
    EXPECT_FALSE(reader.is_between_messages());
    return reader.progress();
  };
  EXPECT_EQ(give(0, 1), "1 of 4 bytes of a length prefix");
  EXPECT_EQ(give(1, 3), "3 of 4 bytes of a length prefix");
  EXPECT_EQ(give(3, 4), "0 of 10 bytes");
  EXPECT_EQ(give(4, 13), "9 of 10 bytes");
}

// On failure the seed is printed.
TEST(PipeMessageTest, AnyCutOfAStreamGivesTheSameMessages) {
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    std::vector<std::string> sent;
    std::string stream;
    for (int i = 0; i < 20; ++i) {
      std::string payload(random.below(random.below(2) == 0 ? 4 : 300), '\0');
      for (char& byte : payload) byte = static_cast<char>(random.below(256));
      stream += framed(payload);
      sent.push_back(std::move(payload));
    }
    PipeMessageReader reader;
    std::vector<std::string> got;
    for (std::size_t at = 0; at < stream.size();) {
      const std::size_t piece = std::min<std::size_t>(
          1 + random.below(random.below(2) == 0 ? 3 : 400), stream.size() - at);
      std::string_view bytes = std::string_view{stream}.substr(at, piece);
      at += piece;
      while (!bytes.empty()) {
        const Status status = reader.read(bytes, kBytesMax);
        ASSERT_NE(status, Status::kTooLong);
        if (status == Status::kMessage) got.push_back(reader.take_message());
      }
    }
    EXPECT_EQ(got, sent);
    EXPECT_TRUE(reader.is_between_messages());
  }
}

}  // namespace
}  // namespace liminal
