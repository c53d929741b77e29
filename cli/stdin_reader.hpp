// Stdin as bytes and as lines, with a way to stop a read that waits.
#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>

#include "common/base/result.hpp"

namespace liminal::cli {

/// Thread-safety: stop() from any thread, the rest on one.
class StdinReader {
 public:
  StdinReader();
  ~StdinReader();
  StdinReader(const StdinReader&) = delete;
  StdinReader& operator=(const StdinReader&) = delete;

  /// What is there next, at most 64 KiB; nullopt at the end, or when stopped. Blocks. Errors:
  /// kUsage when stdin cannot be read.
  [[nodiscard]] Result<std::optional<std::string>> read_some();

  /// Everything to the end. Errors: as above; kTooLarge beyond `bytes_max`.
  [[nodiscard]] Result<std::string> read_all(std::size_t bytes_max);

  /// Has reads return, now and later. Also from a signal's thread.
  void stop() noexcept;
  [[nodiscard]] bool stopped() const noexcept { return stopped_.load(); }

 private:
  int stop_fd_;
  std::atomic<bool> stopped_ = false;
};

/// Lines of stdin, without their newlines; the last one may lack its own.
/// Lifetime: the reader outlives it. Thread-safety: none.
class LineReader {
 public:
  /// A line longer than `line_bytes_max` is an error.
  LineReader(StdinReader& in, std::size_t line_bytes_max)
      : in_(in), line_bytes_max_(line_bytes_max) {}

  /// nullopt at the end; or when the reader was stopped, whatever it had read by then: half a line
  /// is no line. Blocks. Errors: kUsage, kTooLarge naming the line.
  [[nodiscard]] Result<std::optional<std::string>> next();

 private:
  StdinReader& in_;
  std::size_t line_bytes_max_;
  std::size_t line_number_ = 0;
  std::string buffer_;
  std::size_t begin_ = 0;    // of the next line
  std::size_t scanned_ = 0;  // no newline from begin_ to here
  bool ended_ = false;
};

}  // namespace liminal::cli
