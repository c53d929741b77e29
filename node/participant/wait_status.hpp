// How a child ended, as a line for people.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace liminal {

/// So much of the end of stderr is shown; a little more is kept, so that it can be seen that
/// something was cut, and that line breaks at the end cost nothing.
inline constexpr std::size_t kStderrShownBytes = 1000;
inline constexpr std::size_t kStderrKeptBytes = 2 * kStderrShownBytes;

/// nullopt for exit status 0; else "exit status 3" or "signal 9 (SIGKILL)", and, if there is any,
/// ": " and the end of `stderr_text`, without its last line break, escaped onto the line.
[[nodiscard]] std::optional<std::string> failure_of(int wait_status, std::string_view stderr_text);

/// `what`, followed by the end of `stderr_text` as above.
[[nodiscard]] std::string with_stderr(std::string what, std::string_view stderr_text);

}  // namespace liminal
