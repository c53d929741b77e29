// What values of options may look like: checks that say what would be right.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.hpp"
#include "common/base/time.hpp"

namespace liminal::config {

/// Given a value, what would be right instead, e.g. "a number from 1 to 9"; nullopt if it is fine.
using Wrong = std::function<std::optional<std::string>(const std::string& value)>;

/// Reads "16MiB", "64KiB", "1GiB", "100B" or a plain number of bytes. Errors: kUsage.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);

namespace expect {

/// What is longer, added to a time, would not be a time any more; nobody waits for a year.
inline constexpr Duration kDurationMax = std::chrono::hours{24 * 365};

/// 250ms, 5s, 1m; within the limits. REQUIRES: at_most <= kDurationMax.
[[nodiscard]] Wrong duration(Duration at_least = Duration::zero(), Duration at_most = kDurationMax);
/// A whole number.
[[nodiscard]] Wrong number(std::int64_t at_least = 0,
                           std::int64_t at_most = std::numeric_limits<std::int64_t>::max());
/// 16MiB, 64KiB; within the limits.
[[nodiscard]] Wrong size(std::uint64_t at_least = 1,
                         std::uint64_t at_most = std::numeric_limits<std::int64_t>::max());
/// [A-Za-z0-9._-]{1,63}.
[[nodiscard]] Wrong name();
/// KEY=VALUE, both names.
[[nodiscard]] Wrong label();
/// One of these words.
[[nodiscard]] Wrong one_of(std::vector<std::string> words);
/// HOST:PORT with port 0 to 65535; 0 is for a port of the kernel's choice.
[[nodiscard]] Wrong host_port();
/// Not empty.
[[nodiscard]] Wrong text();

/// tcp://HOST:PORT or ipc://PATH to listen on: PORT may be * (a port of the kernel's choice).
[[nodiscard]] Wrong listen_endpoint();
/// tcp://HOST:PORT or ipc://PATH to connect to.
[[nodiscard]] Wrong connect_endpoint();
/// As connect_endpoint(), or the word none.
[[nodiscard]] Wrong connect_endpoint_or_none();

}  // namespace expect
}  // namespace liminal::config
