// A child that gets one input, or two, and is asked for one output.
#pragma once

#include <memory>
#include <string>

#include "node/participant/child_streams.hpp"
#include "node/participant/command_inbox.hpp"
#include "node/participant/command_runner.hpp"

namespace liminal {

/// Feeds a command and gathers what it says; completes it once, unless its holder dropped it.
/// Thread affinity: its StreamPoll's thread.
class CommandTask {
 public:
  CommandTask(ChildStreams streams, command_runner::Begin begin);

  /// Stdin has room, or nobody reads it any more.
  ChildNext on_stdin(bool is_broken);
  /// The same for the extra input.
  ChildNext on_extra(bool is_broken);
  ChildNext on_stdout(std::size_t bytes_max);
  void on_stderr(std::size_t bytes_max) { streams_.read_stderr(bytes_max); }

  /// Its main process ended; what it wrote by then is read now.
  void on_exit(int wait_status);
  /// It ends without a status: `why` is its outcome.
  void on_lost(const std::string& why) { fail(why); }
  /// An end that was due did not come; of this one none ever is.
  void on_overstay() {}

 private:
  void fail(std::string why) { complete(tl::unexpected(CommandFailure{std::move(why)})); }
  void complete(CommandOutcome outcome);

  ChildStreams streams_;
  std::shared_ptr<command_runner::Ticket> ticket_;  // shared with the holder, on another thread
  CommandRunner::Completion completion_;
  Feed input_;
  Feed extra_input_;
  std::size_t output_bytes_max_;
  std::string output_;
};

}  // namespace liminal
