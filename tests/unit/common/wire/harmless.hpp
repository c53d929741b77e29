// What hostile bytes may bring about in a decoder, whoever made them up.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string_view>

#include "tests/support/counted_allocations.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {

/// What a value of one byte becomes, with the growth of the arrays that it is collected in; and
/// what an error's text and the fixed parts take.
inline constexpr std::size_t kAllocatedPerByte = 150;
inline constexpr std::size_t kAllocatedAtLeast = 8 * 1024;

/// An error that says why, or a frame of ours: it encodes, and that decodes to the same. Neither
/// takes more memory than a small multiple of the bytes.
inline void expect_harmless(std::string_view bytes, const Decoder& decoder) {
  allocated_bytes = 0;
  const auto once = decoder.reencode(bytes);
  ASSERT_LE(allocated_bytes, kAllocatedAtLeast + kAllocatedPerByte * bytes.size())
      << decoder.name << ": " << hex(bytes);
  if (once) {
    ASSERT_EQ(decoder.reencode(*once), once) << decoder.name << ": " << hex(bytes);
    return;
  }
  ASSERT_TRUE(once.error().code == Errc::kMalformed ||
              once.error().code == Errc::kUnsupportedVersion);
  ASSERT_FALSE(once.error().detail.empty());
}

inline void expect_harmless(std::string_view bytes) {
  for (const Decoder& decoder : decoders()) expect_harmless(bytes, decoder);
}

inline std::vector<std::string> bytes_of_all_frames() {
  std::vector<std::string> all;
  for (Encoded& frame : encoded_frames()) all.push_back(std::move(frame.bytes));
  return all;
}

}  // namespace liminal::test
