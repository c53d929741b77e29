// Names, hex and one-line escapes: what is shown to people and read from them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/ids.hpp"

namespace liminal {

/// Whether `text` can name a node, service, role or label: [A-Za-z0-9._-]{1,63}.
[[nodiscard]] bool valid_name(std::string_view text);

/// 16 hex digits.
[[nodiscard]] std::string to_hex(std::uint64_t value);
/// Reads exactly 16 hex digits.
[[nodiscard]] std::optional<std::uint64_t> from_hex(std::string_view text);

/// 32 hex digits.
template <class Tag>
[[nodiscard]] std::string to_string(const WideId<Tag>& id) {
  return to_hex(id.high) + to_hex(id.low);
}
/// "node-a/018f0a.../17"; "node-a/17" for a local pid.
[[nodiscard]] std::string to_string(const Pid& pid);

/// `text` on one line of printable ASCII or valid UTF-8: newline, tab, backslash and everything
/// unprintable escaped (\n, \t, \\, \x1b). At most `bytes_max` bytes of `text` are shown, its END,
/// with "..." in front of what was cut.
[[nodiscard]] std::string escaped_tail(std::string_view text, std::size_t bytes_max);

}  // namespace liminal
