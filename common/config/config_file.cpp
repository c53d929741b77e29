#include "common/config/config_file.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>

#include "common/base/text.hpp"

namespace liminal::config {
namespace {

constexpr std::size_t kShownBytesMax = 200;
constexpr std::size_t kFileBytesMax = 4 * 1024 * 1024;  // anything longer is no configuration
constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// nullopt unless `text` is exactly one quoted string.
std::optional<std::string> unquoted(std::string_view text) {
  std::string out;
  for (std::size_t i = 1; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') return i + 1 == text.size() ? std::optional{out} : std::nullopt;
    if (c != '\\') {
      out += c;
      continue;
    }
    if (++i == text.size()) return std::nullopt;
    switch (text[i]) {
      case '\\':
      case '"':
        out += text[i];
        break;
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<Setting>> parse_settings(std::string_view text, const std::string& file) {
  std::vector<Setting> out;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const auto end = text.find('\n');
    std::string_view raw = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (raw.ends_with('\r')) raw.remove_suffix(1);
    raw = trimmed(raw);
    if (raw.empty() || raw.front() == '#') continue;

    const auto wrong = [&](const std::string& what) {
      return fail(Errc::kUsage, "'" + escaped_tail(raw, kShownBytesMax) + "' at " +
                                    escaped_tail(file, kShownBytesMax) + ":" +
                                    std::to_string(line) + ": " + what);
    };
    const auto equals = raw.find('=');
    if (equals == std::string_view::npos) return wrong("a line without '=': write key = value");
    const std::string_view key = trimmed(raw.substr(0, equals));
    const std::string_view value = trimmed(raw.substr(equals + 1));
    if (key.empty()) return wrong("a line without a key: write key = value");
    if (!value.starts_with('"')) {
      out.push_back(Setting{std::string{key}, std::string{value}, line});
      continue;
    }
    auto inner = unquoted(value);
    if (!inner) {
      return wrong(
          "a value that begins with a quote ends with the next one: write key = \"value\", with "
          "\\\" for a quote and \\\\ for a backslash in it");
    }
    out.push_back(Setting{std::string{key}, std::move(*inner), line});
  }
  return out;
}

std::string written(const std::string& value) {
  const bool plain = trimmed(value) == value && !value.starts_with('"') &&
                     value.find_first_of("\n\r") == std::string::npos;
  if (plain) return value;
  std::string out = "\"";
  for (const char c : value) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + '"';
}

Result<std::string> read_file(const std::string& file) {
  std::error_code ignored;  // what cannot be looked at cannot be opened either
  if (std::filesystem::is_directory(file, ignored)) {
    return fail(Errc::kUsage, "it is a directory");
  }
  errno = 0;
  std::ifstream in{file, std::ios::binary};
  if (!in) return fail(Errc::kUsage, std::strerror(errno != 0 ? errno : EIO));
  std::string out;
  char buffer[4096];
  while (in.read(buffer, sizeof buffer) || in.gcount() > 0) {
    out.append(buffer, static_cast<std::size_t>(in.gcount()));
    if (out.size() > kFileBytesMax) return fail(Errc::kUsage, "it is longer than 4 MiB");
  }
  if (in.bad()) return fail(Errc::kUsage, "it cannot be read");
  return out;
}

}  // namespace liminal::config
