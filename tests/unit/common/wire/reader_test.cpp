// Goal: of any bytes the reader takes what msgpack's own parser takes, and refuses what no frame
// contains, for the reason that comes first.
#include "common/wire/reader.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <msgpack.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/random.hpp"
#include "common/base/text.hpp"

namespace liminal::wire {
namespace {

using namespace std::string_literals;

/// Reads what is meant to be there, in the reader's own words.
using Read = std::function<bool(Reader&)>;

/// What msgpack::parse() tells of bytes, by the rules of frames.
class Expected : public msgpack::null_visitor {
 public:
  explicit Expected(std::string_view bytes) : size_(bytes.size()) {
    std::size_t end = 0;
    if (msgpack::parse(bytes.data(), bytes.size(), end, *this)) {
      why = end == size_ ? "" : "bytes behind the end";
    }
  }

  std::string why = "not complete MessagePack";  // empty: all is well
  std::vector<Read> reads;
  // taken apart by both, and then refused by the reader alone
  bool has_kind = false;
  bool has_long_text = false;

  bool visit_nil() {
    return add('n', [](Reader& r) { return r.nil(); });
  }
  bool visit_boolean(bool value) {
    return add('b', [=](Reader& r) { return r.boolean("b") == value; });
  }
  bool visit_positive_integer(std::uint64_t value) {
    if (reads.size() == 1 && value != kProtocolVersion) return stop("another protocol version");
    if (reads.size() == 2) has_kind = value <= 255;
    return add('u', [=](Reader& r) { return r.uint("u") == value; });
  }
  bool visit_negative_integer(std::int64_t value) {
    if (value < 0) return stop("a negative number");
    return visit_positive_integer(static_cast<std::uint64_t>(value));
  }
  bool visit_float32(float) { return stop("a float"); }
  bool visit_float64(double) { return stop("a float"); }
  bool visit_str(const char* data, std::uint32_t size) {
    has_long_text = has_long_text || size > kTextBytesMax;
    return add('t', [=](Reader& r) { return r.text("t") == std::string_view{data, size}; });
  }
  bool visit_bin(const char* data, std::uint32_t size) {
    return add('x', [=](Reader& r) { return r.bin("x", size) == std::string_view{data, size}; });
  }
  bool visit_ext(const char*, std::uint32_t) { return stop("an extension"); }
  bool start_array(std::uint32_t size) {
    if (size > size_) return stop("an array larger than the frame");
    if (++depth_ > kDepthMax) return stop("nested too deep");
    return add('a', [=](Reader& r) { return r.array("a") == size; });
  }
  bool end_array() {
    --depth_;
    return true;
  }
  bool start_map(std::uint32_t) { return stop("a map"); }

 private:
  bool add(char type, Read read) {
    if (reads.empty() && type != 'a') return stop("not an array");
    if (reads.size() == 1 && type != 'u') return stop("no protocol version");
    reads.push_back(std::move(read));
    return true;
  }
  bool stop(const char* reason) {
    why = reason;
    return false;
  }

  std::size_t size_;
  std::size_t depth_ = 0;
};

/// The reader and msgpack agree on these bytes.
testing::AssertionResult agrees(const std::string& bytes) {
  Expected expected{bytes};
  Reader reader{bytes, kPartBytesMax, "frame"};
  if (expected.why.empty() && (!expected.has_kind || expected.has_long_text)) {
    return testing::AssertionSuccess();
  }
  if (!expected.why.empty()) {
    const auto error = reader.finish(0);
    if (error) return testing::AssertionFailure() << "taken, though " << expected.why;
    const std::string& text = error.error().detail;
    const std::string place = "frame, value " + std::to_string(expected.reads.size()) + " (frame)";
    if (text == place + ": " + expected.why) return testing::AssertionSuccess();
    return testing::AssertionFailure() << text << " instead of " << place << " " << expected.why;
  }
  // the constructor read the array, the version and the kind
  for (std::size_t i = 3; i < expected.reads.size(); ++i) {
    if (!reader.ok() || !expected.reads[i](reader)) {
      return testing::AssertionFailure() << "value " << i << " is another";
    }
  }
  const auto finished = reader.finish(0);
  if (finished) return testing::AssertionSuccess();
  return testing::AssertionFailure() << finished.error().detail;
}

void pack_some(msgpack::packer<msgpack::sbuffer>& packer, Random& random, std::size_t depth) {
  const auto size = static_cast<std::uint32_t>(random.below(random.below(8) == 0 ? 70000 : 40));
  const std::string text(size, 'x');
  switch (random.below(9)) {
    case 0:
      packer.pack_nil();
      return;
    case 1:
      random.below(2) == 0 ? packer.pack_true() : packer.pack_false();
      return;
    case 2:
      packer.pack_str(size).pack_str_body(text.data(), size);
      return;
    case 3:
      packer.pack_bin(size).pack_bin_body(text.data(), size);
      return;
    case 4:
      packer.pack_fix_int64(static_cast<std::int64_t>(random.below(1000)));
      return;
    case 5:
      packer.pack_fix_int16(static_cast<std::int16_t>(random.below(1000)));
      return;
    case 6:
      if (depth == 0) return void(packer.pack_nil());
      packer.pack_array(size % 20);
      for (std::uint32_t i = 0; i < size % 20; ++i) pack_some(packer, random, depth - 1);
      return;
    default:
      packer.pack_uint64(random.next() >> random.below(64));
      return;
  }
}

/// A frame's beginning, and then anything.
std::string some_frame(Random& random) {
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> packer{buffer};
  const auto fields = static_cast<std::uint32_t>(random.below(20));
  packer.pack_array(fields + 2);
  packer.pack_uint8(kProtocolVersion);
  packer.pack_uint8(static_cast<std::uint8_t>(random.below(256)));
  for (std::uint32_t i = 0; i < fields; ++i) pack_some(packer, random, random.below(4));
  return {buffer.data(), buffer.size()};
}

TEST(Reader, TakesOfAnyFrameWhatMsgpackTakes) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random{seed};
    EXPECT_TRUE(agrees(some_frame(random)));
  }
}

TEST(Reader, RefusesOfBrokenFramesWhatMsgpackRefuses) {
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random{seed};
    std::string bytes = some_frame(random);
    for (std::uint64_t changes = random.below(3); changes > 0; --changes) {
      const std::size_t near =
          random.below(2) == 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 30);
      bytes[random.below(near)] = static_cast<char>(random.below(256));
    }
    if (random.below(2) == 0) bytes.resize(random.below(bytes.size() + 1));
    if (random.below(4) == 0) bytes.push_back(static_cast<char>(random.below(256)));
    EXPECT_TRUE(agrees(bytes)) << "of " << bytes.size() << " bytes";
  }
}

TEST(Reader, ReadsEveryFirstByteAsMsgpackDoesWithAnyNumberOfBytesBehindIt) {
  for (unsigned first = 0; first < 256; ++first) {
    for (std::size_t behind = 0; behind < 40; ++behind) {
      for (const char filler : {'\x00', '\x01', '\x10', '\x7f', '\xff'}) {
        const std::string tail = static_cast<char>(first) + std::string(behind, filler);
        EXPECT_TRUE(agrees("\x93\x01\x07"s + tail))
            << first << ", " << behind << " times " << +filler;
        EXPECT_TRUE(agrees("\x92\x01\x07"s + tail))
            << first << ", " << behind << " times " << +filler;
        EXPECT_TRUE(agrees(tail)) << first << ", " << behind << " times " << +filler;
      }
    }
  }
}

TEST(Reader, ArraysNestAsDeepAsFramesMayAndNoDeeper) {
  const auto nested = [](std::size_t depth) {
    return "\x93\x01\x07"s + std::string(depth - 1, '\x91') + "\xC0";
  };
  EXPECT_TRUE(agrees(nested(kDepthMax)));
  EXPECT_TRUE(agrees(nested(kDepthMax + 1)));
  const std::string bytes = nested(kDepthMax + 1);
  EXPECT_FALSE((Reader{bytes, kPartBytesMax, "frame"}.ok()));
}

}  // namespace
}  // namespace liminal::wire
