// What the `liminal` command's exit status means, and the one line that says why.
#pragma once

#include <string>

#include "common/base/result.hpp"

namespace liminal::cli {

enum class ExitCode : int {
  kDone = 0,
  kInternal = 1,
  kUsage = 2,
  kNoBroker = 3,  // or it refused this node
  kNoService = 4,
  kTimeout = 5,
  kFailed = 6,
  kCompensated = 7,
  kCompensationFailed = 8,
  kRejected = 9,
  kInterrupted = 130,
};

[[nodiscard]] ExitCode exit_code_of(Errc code);

/// "error: NAME: detail" and a newline. The detail may hold another's words, a broker's or a
/// participant's: what would end the line or move a terminal's cursor is escaped.
[[nodiscard]] std::string error_line(const Error& error);

/// Writes error_line() to stderr and returns the exit code.
ExitCode report(const Error& error);

}  // namespace liminal::cli
