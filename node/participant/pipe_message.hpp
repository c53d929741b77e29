// How messages follow each other in the pipes of a long-lived child: a length, then the payload.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace liminal {

inline constexpr std::size_t kLengthPrefixBytes = 4;

/// Big-endian. REQUIRES: `size` fits into 32 bits.
[[nodiscard]] std::string length_prefix(std::size_t size);

/// Takes one message after the other out of a stream of bytes that comes in pieces.
/// Bound: holds one message; memory grows with what came of it, not with what its prefix promises.
class PipeMessageReader {
 public:
  enum class Status {
    kNeedsMore,  // all bytes were taken
    kMessage,    // take_message() has it; bytes behind it were left
    kTooLong,    // its prefix is over the limit: nothing further can be made of this stream
  };

  /// Takes bytes from the front of `bytes`, at most to the end of a message.
  /// REQUIRES: it never said kTooLong; the message before was taken.
  [[nodiscard]] Status read(std::string_view& bytes, std::size_t payload_bytes_max);

  [[nodiscard]] std::string take_message();

  /// Whether the stream may end here.
  [[nodiscard]] bool is_between_messages() const { return prefix_bytes_ == 0; }
  /// What came of the message that is not complete: "2 of 4 bytes of a length prefix",
  /// "10 of 100 bytes".
  [[nodiscard]] std::string progress() const;

  /// What the prefix says. REQUIRES: it is complete.
  [[nodiscard]] std::size_t promised_bytes() const;
  /// The prefix as it came.
  [[nodiscard]] std::string_view prefix() const { return {prefix_.data(), prefix_bytes_}; }

 private:
  std::array<char, kLengthPrefixBytes> prefix_{};
  std::size_t prefix_bytes_ = 0;
  std::string message_;
};

}  // namespace liminal
