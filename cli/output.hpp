// Bytes to stdout, with its errors seen.
#pragma once

#include <string_view>

#include "common/base/result.hpp"

namespace liminal::cli {

/// Errors: kInternal with the system's words (a closed pipe, a full disk). May block.
[[nodiscard]] Result<void> write_out(std::string_view bytes);

/// The same, with a way to stop a write that waits for its reader.
/// Thread-safety: stop() from any thread, the rest on one.
class StoppableOutput {
 public:
  StoppableOutput();
  ~StoppableOutput();
  StoppableOutput(const StoppableOutput&) = delete;
  StoppableOutput& operator=(const StoppableOutput&) = delete;

  /// Errors: as write_out; kConversationFailed when stopped, and some of the bytes may be written.
  [[nodiscard]] Result<void> write(std::string_view bytes);

  /// Has writes return that would wait for a reader, now and later.
  void stop() noexcept;

 private:
  int stop_fd_;
};

}  // namespace liminal::cli
