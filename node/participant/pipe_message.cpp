#include "node/participant/pipe_message.hpp"

#include <algorithm>
#include <utility>

namespace liminal {

namespace {

constexpr std::size_t kReservedBytesMax = 64 * 1024;  // before any of it came

}  // namespace

std::string length_prefix(std::size_t size) {
  std::string prefix(kLengthPrefixBytes, '\0');
  for (std::size_t i = kLengthPrefixBytes; i-- > 0; size >>= 8) {
    prefix[i] = static_cast<char>(size & 0xff);
  }
  return prefix;
}

PipeMessageReader::Status PipeMessageReader::read(std::string_view& bytes,
                                                  std::size_t payload_bytes_max) {
  if (prefix_bytes_ < kLengthPrefixBytes) {
    const std::size_t count = std::min(bytes.size(), kLengthPrefixBytes - prefix_bytes_);
    std::copy_n(bytes.begin(), count, prefix_.begin() + static_cast<std::ptrdiff_t>(prefix_bytes_));
    prefix_bytes_ += count;
    bytes.remove_prefix(count);
    if (prefix_bytes_ < kLengthPrefixBytes) return Status::kNeedsMore;
    if (promised_bytes() > payload_bytes_max) return Status::kTooLong;
    message_.reserve(std::min(promised_bytes(), kReservedBytesMax));
  }
  const std::size_t count = std::min(bytes.size(), promised_bytes() - message_.size());
  message_.append(bytes.substr(0, count));
  bytes.remove_prefix(count);
  return message_.size() == promised_bytes() ? Status::kMessage : Status::kNeedsMore;
}

std::string PipeMessageReader::take_message() {
  prefix_bytes_ = 0;
  return std::exchange(message_, {});
}

std::string PipeMessageReader::progress() const {
  if (prefix_bytes_ < kLengthPrefixBytes) {
    return std::to_string(prefix_bytes_) + " of " + std::to_string(kLengthPrefixBytes) +
           " bytes of a length prefix";
  }
  return std::to_string(message_.size()) + " of " + std::to_string(promised_bytes()) + " bytes";
}

std::size_t PipeMessageReader::promised_bytes() const {
  std::size_t size = 0;
  for (const char byte : prefix_) size = size << 8 | static_cast<unsigned char>(byte);
  return size;
}

}  // namespace liminal
