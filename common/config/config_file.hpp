// The format of a configuration file: `key = value` lines, read and written.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.hpp"

namespace liminal::config {

struct Setting {
  std::string key;
  std::string value;
  std::size_t line;  // from 1

  friend bool operator==(const Setting&, const Setting&) = default;
};

/// The settings of a file, in its order; a key may come several times.
///
/// A line is blank, a comment ('#' as its first character after blanks), or `key = value`. Blanks
/// around key and value do not count; '#' and '=' in a value are part of it. A value that begins
/// with a double quote is written in double quotes, and means what stands between them, blanks
/// included, with the escapes \\ \" \n \r. Lines may end in CR LF.
///
/// Errors: kUsage, naming `file`, the line and what would be right.
[[nodiscard]] Result<std::vector<Setting>> parse_settings(std::string_view text,
                                                          const std::string& file);

/// The value as a line of a file has to spell it: as it is, or in quotes where that would not do.
[[nodiscard]] std::string written(const std::string& value);

/// The content of a file. Errors: kUsage, with the reason and without the file's name.
[[nodiscard]] Result<std::string> read_file(const std::string& file);

}  // namespace liminal::config
