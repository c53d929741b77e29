#include "cli/stdin_reader.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "common/base/check.hpp"

namespace liminal::cli {

StdinReader::StdinReader() : stop_fd_(::eventfd(0, EFD_CLOEXEC)) {
  check(stop_fd_ >= 0, "the system gives an eventfd");
}

StdinReader::~StdinReader() { ::close(stop_fd_); }

void StdinReader::stop() noexcept {
  stopped_ = true;  // before any read returns for it
  const std::uint64_t one = 1;
  // fails only if the counter is full: it is set then
  [[maybe_unused]] const ssize_t written = ::write(stop_fd_, &one, sizeof one);
}

Result<std::optional<std::string>> StdinReader::read_some() {
  std::string chunk(65536, '\0');
  for (;;) {
    pollfd waits[2] = {{STDIN_FILENO, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno == EINTR) continue;
    if (waits[1].revents != 0) return std::nullopt;
    const ssize_t got = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) {
      return fail(Errc::kUsage, std::string{"cannot read stdin: "} + std::strerror(errno));
    }
    if (got == 0) return std::nullopt;
    chunk.resize(static_cast<std::size_t>(got));
    return chunk;
  }
}

Result<std::string> StdinReader::read_all(std::size_t bytes_max) {
  std::string all;
  for (;;) {
    auto chunk = read_some();
    if (!chunk) return tl::unexpected<Error>(std::move(chunk.error()));
    if (!chunk->has_value()) return all;
    all += **chunk;
    if (all.size() > bytes_max) {
      return fail(Errc::kTooLarge, "the payload on stdin exceeds payload-max (" +
                                       std::to_string(bytes_max) + " bytes)");
    }
  }
}

Result<std::optional<std::string>> LineReader::next() {
  for (;;) {
    if (in_.stopped()) return std::nullopt;
    const auto newline = buffer_.find('\n', scanned_);
    scanned_ = buffer_.size();
    const std::size_t end = newline == std::string::npos ? buffer_.size() : newline;
    if (end - begin_ > line_bytes_max_) {
      return fail(Errc::kTooLarge, "line " + std::to_string(line_number_ + 1) +
                                       " of stdin exceeds payload-max (" +
                                       std::to_string(line_bytes_max_) + " bytes)");
    }
    if (newline != std::string::npos || (ended_ && end > begin_)) {
      std::string line = buffer_.substr(begin_, end - begin_);
      begin_ = newline == std::string::npos ? end : end + 1;
      scanned_ = begin_;
      ++line_number_;
      return line;
    }
    if (ended_) return std::nullopt;
    buffer_.erase(0, std::exchange(begin_, 0));
    scanned_ = buffer_.size();
    auto chunk = in_.read_some();
    if (!chunk) return tl::unexpected<Error>(std::move(chunk.error()));
    if (chunk->has_value()) buffer_ += **chunk;
    ended_ = !chunk->has_value();
  }
}

}  // namespace liminal::cli
