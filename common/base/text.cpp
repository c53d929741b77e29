#include "common/base/text.hpp"

#include <algorithm>
#include <charconv>

namespace liminal {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

bool name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

// The length of the valid UTF-8 sequence of two bytes or more that `text` begins with, else 0.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
  if (length == 0 || lead > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  if (lead == 0xE0 && second < 0xA0) return 0;  // overlong
  if (lead == 0xED && second > 0x9F) return 0;  // surrogates
  if (lead == 0xF0 && second < 0x90) return 0;  // overlong
  if (lead == 0xF4 && second > 0x8F) return 0;  // beyond U+10FFFF
  if (lead == 0xC2 && second < 0xA0) return 0;  // C1 controls
  // line and paragraph separators: some readers of logs begin a new line there
  if (lead == 0xE2 && second == 0x80 && (byte(2) == 0xA8 || byte(2) == 0xA9)) return 0;
  return length;
}

// Where to begin so that no character is cut in two: `at`, or just behind the one that spans it.
std::size_t character_boundary(std::string_view text, std::size_t at) {
  for (std::size_t back = 1; back <= 3 && back <= at; ++back) {
    const std::size_t length = utf8_length(text.substr(at - back));
    if (length > back) return at - back + length;
  }
  return at;
}

}  // namespace

bool valid_name(std::string_view text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), name_char);
}

std::string to_hex(std::uint64_t value) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = kDigits[value & 15];
  return text;
}

std::optional<std::uint64_t> from_hex(std::string_view text) {
  if (text.size() != 16) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string to_string(const Pid& pid) {
  const std::string serial = "/" + std::to_string(pid.serial.value());
  if (pid.is_local()) return pid.node.value() + serial;
  return pid.node.value() + "/" + to_hex(pid.incarnation.value()) + serial;
}

std::string escaped_tail(std::string_view text, std::size_t bytes_max) {
  std::string out;
  if (text.size() > bytes_max) {
    text.remove_prefix(character_boundary(text, text.size() - bytes_max));
    out = "...";
  }
  while (!text.empty()) {
    const char c = text.front();
    std::size_t taken = 1;
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\\') {
      out += "\\\\";
    } else if (c >= 0x20 && c < 0x7F) {
      out += c;
    } else if (const std::size_t length = utf8_length(text); length > 0) {
      out += text.substr(0, length);
      taken = length;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += "\\x";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
    text.remove_prefix(taken);
  }
  return out;
}

}  // namespace liminal
