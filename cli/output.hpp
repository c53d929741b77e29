// Bytes to stdout, with its errors seen.
#pragma once

#include <string_view>

#include "common/base/result.hpp"

namespace liminal::cli {

/// Errors: kInternal with the system's words (a closed pipe, a full disk). May block.
[[nodiscard]] Result<void> write_out(std::string_view bytes);

/// The same, with a way to stop a write that waits for its reader.
///
/// It writes no more at once than a pipe or a terminal takes that takes anything. Where others
/// write to the same one, they may fill it in between; then a write may go on waiting beyond
/// stop().
///
/// Cost: two system calls for each 4 KiB of a pipe or a file, for each 256 bytes of anything else.
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
