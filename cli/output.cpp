#include "cli/output.hpp"

#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "common/base/check.hpp"

namespace liminal::cli {
namespace {

// What is taken without waiting once anything is: by a pipe so much, by definition; a file never
// waits; a terminal says that it is ready with less room than that.
std::size_t part_bytes_max() {
  struct stat about {};
  const bool known = ::fstat(STDOUT_FILENO, &about) == 0;
  return known && (S_ISFIFO(about.st_mode) || S_ISREG(about.st_mode)) ? PIPE_BUF : 256;
}

}  // namespace

Result<void> write_out(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) {  // somebody made it non-blocking
      pollfd ready{STDOUT_FILENO, POLLOUT, 0};
      ::poll(&ready, 1, -1);
      continue;
    }
    if (written < 0) {
      return fail(Errc::kInternal, std::string{"cannot write to stdout: "} + std::strerror(errno));
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

StoppableOutput::StoppableOutput() : stop_fd_(::eventfd(0, EFD_CLOEXEC)) {
  check(stop_fd_ >= 0, "the system gives an eventfd");
}

StoppableOutput::~StoppableOutput() { ::close(stop_fd_); }

void StoppableOutput::stop() noexcept {
  const std::uint64_t one = 1;
  // fails only if the counter is full: it is set then
  [[maybe_unused]] const ssize_t written = ::write(stop_fd_, &one, sizeof one);
}

Result<void> StoppableOutput::write(std::string_view bytes) {
  const std::size_t part_max = part_bytes_max();
  while (!bytes.empty()) {
    pollfd waits[2] = {{STDOUT_FILENO, POLLOUT, 0}, {stop_fd_, POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0) continue;
    if (waits[0].revents == 0) {
      return fail(Errc::kConversationFailed, "interrupted while nobody read stdout");
    }
    const std::string_view part = bytes.substr(0, std::min(bytes.size(), part_max));
    if (auto written = write_out(part); !written) return written;
    bytes.remove_prefix(part.size());
  }
  return {};
}

}  // namespace liminal::cli
