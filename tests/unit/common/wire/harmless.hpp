// What hostile bytes may bring about in a decoder, whoever made them up.
#pragma once

#include <cstddef>
#include <string_view>

#include "tests/support/counted_allocations.hpp"
#include "tests/support/expect.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {

/// What a value of one byte becomes, with the growth of the arrays that it is collected in; and
/// what an error's text and the fixed parts take.
inline constexpr std::size_t kAllocatedPerByte = 150;
inline constexpr std::size_t kAllocatedAtLeast = 8 * 1024;

/// Whether a decoder may say so of bytes that it does not take.
inline bool is_refusal(const Error& error) {
  return (error.code == Errc::kMalformed || error.code == Errc::kUnsupportedVersion) &&
         !error.detail.empty();
}

/// A refusal, or a frame of ours: it encodes, and that decodes to the same. Neither takes more
/// memory than a small multiple of the bytes. Otherwise throws BrokenPromise, which names the
/// decoder and the bytes.
inline void expect_harmless(std::string_view bytes, const Decoder& decoder) {
  allocated_bytes = 0;
  const auto once = decoder.reencode(bytes);
  const std::size_t allocated = allocated_bytes;
  const auto promised = [&](bool holds, const char* promise) {
    if (!holds) throw BrokenPromise{std::string{decoder.name} + " " + promise + ": " + hex(bytes)};
  };
  promised(allocated <= kAllocatedAtLeast + kAllocatedPerByte * bytes.size(),
           "takes no more memory than a small multiple of the bytes");
  if (once) {
    promised(decoder.reencode(*once) == once, "reads again what it accepted");
    return;
  }
  promised(is_refusal(once.error()), "says why it refuses");
}

inline void expect_harmless(std::string_view bytes) {
  for (const Decoder& decoder : decoders()) expect_harmless(bytes, decoder);
}

}  // namespace liminal::test
