#include "node/participant/wait_status.hpp"

#include <sys/wait.h>

#include <csignal>
#include <cstring>

#include "common/base/text.hpp"

namespace liminal {

namespace {

std::string signal_text(int number) {
  std::string text = "signal " + std::to_string(number);
  if (const char* name = ::sigabbrev_np(number)) text += " (SIG" + std::string{name} + ")";
  return text;
}

}  // namespace

std::optional<std::string> failure_of(int wait_status, std::string_view stderr_text) {
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return std::nullopt;

  return with_stderr(WIFEXITED(wait_status)
                         ? "exit status " + std::to_string(WEXITSTATUS(wait_status))
                         : signal_text(WTERMSIG(wait_status)),
                     stderr_text);
}

std::string with_stderr(std::string what, std::string_view stderr_text) {
  while (stderr_text.ends_with('\n') || stderr_text.ends_with('\r')) stderr_text.remove_suffix(1);
  if (!stderr_text.empty()) what += ": " + escaped_tail(stderr_text, kStderrShownBytes);
  return what;
}

}  // namespace liminal
