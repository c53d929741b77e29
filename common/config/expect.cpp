#include "common/config/expect.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "common/base/text.hpp"

namespace liminal::config {
namespace {

constexpr std::array<std::pair<std::string_view, unsigned>, 4> kSizeUnits{{
    {"GiB", 30},
    {"MiB", 20},
    {"KiB", 10},
    {"B", 0},
}};

template <class Number>
std::optional<Number> whole_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value);
  if (error != std::errc{} || end != text.end()) return std::nullopt;
  return value;
}

std::string written_size(std::uint64_t bytes) {
  for (const auto& [unit, shift] : kSizeUnits) {
    if (bytes != 0 && bytes % (std::uint64_t{1} << shift) == 0) {
      return std::to_string(bytes >> shift) + std::string{unit};
    }
  }
  return std::to_string(bytes);
}

// " from A to B", or less where a limit says nothing.
std::string range(const std::optional<std::string>& at_least,
                  const std::optional<std::string>& at_most) {
  if (at_least && at_most) return " from " + *at_least + " to " + *at_most;
  if (at_least) return " of at least " + *at_least;
  if (at_most) return " of at most " + *at_most;
  return "";
}

bool is_port(std::string_view text, int at_least) {
  const auto port = whole_number<int>(text);
  return port && *port >= at_least && *port <= 65535;
}

// A name, an IPv4 address, * or, in brackets, an IPv6 address; whether it exists shows later.
bool is_host(std::string_view text) {
  if (text.empty()) return false;
  const bool bracketed = text.starts_with('[');
  if (bracketed) {
    if (!text.ends_with(']') || text.size() < 4) return false;
    text = text.substr(1, text.size() - 2);
  }
  return std::all_of(text.begin(), text.end(), [&](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return letter || c == '.' || c == '-' || c == '_' || c == '*' ||
           (bracketed && (c == ':' || c == '%'));
  });
}

bool is_endpoint(std::string_view text, bool listening) {
  constexpr std::string_view kTcp = "tcp://";
  constexpr std::string_view kIpc = "ipc://";
  constexpr std::size_t kPathBytesMax = 107;  // sockaddr_un's
  if (text.starts_with(kIpc)) {
    const std::string_view path = text.substr(kIpc.size());
    return !path.empty() && path.size() <= kPathBytesMax &&
           path.find('\0') == std::string_view::npos;
  }
  if (!text.starts_with(kTcp)) return false;
  text.remove_prefix(kTcp.size());
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (!is_host(host)) return false;
  if (listening) return port == "*" || is_port(port, 0);
  return host != "*" && is_port(port, 1);
}

Wrong endpoint(bool listening, bool or_none) {
  return [=](const std::string& value) -> std::optional<std::string> {
    if (is_endpoint(value, listening) || (or_none && value == "none")) return std::nullopt;
    return std::string{"tcp://HOST:PORT (e.g. tcp://127.0.0.1:7411) or ipc://PATH"} +
           (or_none ? ", or none" : "");
  };
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  std::string_view digits = text;
  unsigned shift = 0;
  for (const auto& [unit, unit_shift] : kSizeUnits) {
    if (!text.ends_with(unit)) continue;
    digits.remove_suffix(unit.size());
    shift = unit_shift;
    break;
  }
  const auto number = whole_number<std::uint64_t>(digits);
  if (!number || *number > (std::numeric_limits<std::uint64_t>::max() >> shift)) {
    return fail(Errc::kUsage, "'" + escaped_tail(text, 100) +
                                  "' is not a size: write e.g. 16MiB, 64KiB or a number of bytes");
  }
  return *number << shift;
}

namespace expect {

Wrong duration(Duration at_least, Duration at_most) {
  return [=](const std::string& value) -> std::optional<std::string> {
    const auto parsed = parse_duration(value);
    if (parsed && *parsed >= at_least && *parsed <= at_most) return std::nullopt;
    const auto low =
        at_least > Duration::zero() ? std::optional{to_string(at_least)} : std::nullopt;
    const bool bounded = at_most < kDurationMax || (parsed && *parsed > at_most);
    const auto high = bounded ? std::optional{to_string(at_most)} : std::nullopt;
    return "a duration" + range(low, high) + ", such as 250ms, 5s or 1m";
  };
}

Wrong number(std::int64_t at_least, std::int64_t at_most) {
  return [=](const std::string& value) -> std::optional<std::string> {
    const auto parsed = whole_number<std::int64_t>(value);
    if (parsed && *parsed >= at_least && *parsed <= at_most) return std::nullopt;
    const bool bounded = at_most < std::numeric_limits<std::int64_t>::max();
    const auto high = bounded ? std::optional{std::to_string(at_most)} : std::nullopt;
    return "a whole number" + range(std::to_string(at_least), high);
  };
}

Wrong size(std::uint64_t at_least, std::uint64_t at_most) {
  return [=](const std::string& value) -> std::optional<std::string> {
    const auto parsed = parse_size(value);
    if (parsed && *parsed >= at_least && *parsed <= at_most) return std::nullopt;
    const bool bounded = at_most < std::numeric_limits<std::int64_t>::max();
    const auto high = bounded ? std::optional{written_size(at_most)} : std::nullopt;
    return "a size" + range(written_size(at_least), high) +
           ", such as 16MiB, 64KiB or a number of bytes";
  };
}

Wrong name() {
  return [](const std::string& value) -> std::optional<std::string> {
    if (valid_name(value)) return std::nullopt;
    return "1 to 63 of the characters A-Z a-z 0-9 . _ -";
  };
}

Wrong label() {
  return [](const std::string& value) -> std::optional<std::string> {
    const auto equals = value.find('=');
    if (equals != std::string::npos && valid_name(std::string_view{value}.substr(0, equals)) &&
        valid_name(std::string_view{value}.substr(equals + 1))) {
      return std::nullopt;
    }
    return "KEY=VALUE, each 1 to 63 of the characters A-Z a-z 0-9 . _ -";
  };
}

Wrong one_of(std::vector<std::string> words) {
  return [words = std::move(words)](const std::string& value) -> std::optional<std::string> {
    if (std::find(words.begin(), words.end(), value) != words.end()) return std::nullopt;
    std::string out = "one of";
    for (std::size_t i = 0; i < words.size(); ++i) out += (i == 0 ? " " : ", ") + words[i];
    return out;
  };
}

Wrong host_port() {
  return [](const std::string& value) -> std::optional<std::string> {
    const auto colon = value.rfind(':');
    if (colon != std::string::npos && is_host(std::string_view{value}.substr(0, colon)) &&
        is_port(std::string_view{value}.substr(colon + 1), 0)) {
      return std::nullopt;
    }
    return "HOST:PORT, e.g. 127.0.0.1:7412";
  };
}

Wrong text() {
  return [](const std::string& value) -> std::optional<std::string> {
    if (!value.empty()) return std::nullopt;
    return "something: it must not be empty";
  };
}

Wrong listen_endpoint() { return endpoint(true, false); }
Wrong connect_endpoint() { return endpoint(false, false); }
Wrong connect_endpoint_or_none() { return endpoint(false, true); }

}  // namespace expect
}  // namespace liminal::config
