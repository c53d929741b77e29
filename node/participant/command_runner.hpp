// Runs shell commands as children of the operating system, under a minder that they cannot outlive.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/payload.hpp"
#include "common/base/result.hpp"

namespace liminal {

/// Added to the environment of the node, replacing what has the same name there.
using CommandEnvironment = std::vector<std::pair<std::string, std::string>>;

/// One input, one output; and, where it is asked for, another input.
struct Command {
  std::string text;  // for sh -c
  CommandEnvironment environment = {};
  Payload input = {};
  std::size_t output_bytes_max;
  std::optional<Payload> extra_input = {};  // at descriptor 3, which is closed where there is none
};

/// Why a command is a failure, on one line: "exit status 3: tail of stderr", "signal 9 (SIGKILL)",
/// "output exceeds payload-max (16777216 bytes)", "cannot start: ...", "minder died".
struct CommandFailure {
  std::string text;
  bool was_begun = true;  // false: it certainly was not
};

/// What the command wrote to stdout if it ended with exit status 0.
using CommandOutcome = tl::expected<Payload, CommandFailure>;

/// A child that lives on, and answers each message on its stdin with one on its stdout: a length of
/// 4 bytes, big-endian, and the payload, both ways.
struct PipeCommand {
  std::string text;  // for sh -c
  CommandEnvironment environment = {};
};

/// Called on the runner's thread; they return soon and throw nothing.
struct PipeEvents {
  /// To the one request that was unanswered.
  std::function<void(Payload)> replied;
  /// Once, and the last. nullopt: it ended by itself, with exit status 0 and nothing unanswered.
  /// Else why that is a failure, on one line, with the end of stderr: "exit status 3", "exit status
  /// 0 with a request unanswered", "output that no request asked for, ...", "cannot start: ..."
  std::function<void(std::optional<std::string>)> ended;
};

namespace command_runner {
class Inbox;
class Ticket;
}  // namespace command_runner

/// Holds a child: destroying it kills the child, if it did not end before, its process group and
/// everything that descends from it, and drops what it would still tell. A call that has begun on
/// the runner's thread may still be running then.
///
/// Lifetime: may outlive its runner, whose end ends the child.
class [[nodiscard]] RunningChild {
 public:
  RunningChild(RunningChild&&) noexcept = default;
  RunningChild& operator=(RunningChild&& other) noexcept;
  ~RunningChild();

 protected:
  friend class CommandRunner;
  RunningChild(std::shared_ptr<command_runner::Inbox> inbox,
               std::shared_ptr<command_runner::Ticket> ticket);
  void drop() noexcept;

  // Both shared with the runner's thread, which this may outlive.
  std::shared_ptr<command_runner::Inbox> inbox_;
  std::shared_ptr<command_runner::Ticket> ticket_;  // null: moved from
};

class [[nodiscard]] RunningCommand : public RunningChild {
 public:
  /// Ends it as dropping does, but its completion is called when it is gone; or, where it waited
  /// for its turn, that it never began.
  void kill();

 private:
  using RunningChild::RunningChild;
  friend class CommandRunner;
};

class [[nodiscard]] RunningPipe : public RunningChild {
 public:
  /// Returns at once. A child that is gone drops it: its end was, or will be, told.
  /// `reply_bytes_max`: a longer reply is the child's failure.
  /// REQUIRES: the request before was answered; a payload's length fits into 32 bits.
  void ask(Payload request, std::size_t reply_bytes_max);

 private:
  using RunningChild::RunningChild;
  friend class CommandRunner;
};

/// Owns one minder process and one thread, which feeds stdin, reads stdout and stderr, and tells
/// ends. A child has ended when its main process has and what that had written by then is read; a
/// descendant that holds stdout open delays nothing, and is killed. A command's input left unread
/// is no failure. Of stderr the end is kept.
///
/// If the minder dies, so do all children ("minder died"); the next one gets a new minder.
///
/// Bound: `commands_max` commands run at once, more wait for their turn in order; pipes, which do
/// not end by themselves, are the caller's to bound. Each child takes three descriptors here, four
/// with an extra input.
///
/// Thread-safety: run() may be called from any thread.
/// Lifetime: the destructor blocks until every child and the minder are gone; what they would
/// tell is dropped. A completion must not destroy the runner.
class CommandRunner {
 public:
  struct Settings {
    std::string minder_path = {};  // empty: found as find_minder() (minder_link.hpp) says
    std::size_t commands_max = 256;
  };

  /// Called once, on the runner's thread; returns soon and throws nothing.
  using Completion = std::function<void(CommandOutcome)>;

  /// Errors: kUsage if there is no minder to be found, kInternal if it cannot be started.
  [[nodiscard]] static Result<std::unique_ptr<CommandRunner>> start(Settings settings);

  ~CommandRunner();
  CommandRunner(const CommandRunner&) = delete;
  CommandRunner& operator=(const CommandRunner&) = delete;

  /// Returns at once. Every failure comes through `completion`.
  RunningCommand run(Command command, Completion completion);
  /// Returns at once. Every failure comes through `events`. Cost: a request and its reply wake the
  /// runner's thread once each and spawn nothing.
  RunningPipe open(PipeCommand command, PipeEvents events);

 private:
  CommandRunner(std::shared_ptr<command_runner::Inbox> inbox, std::thread thread);

  std::shared_ptr<command_runner::Inbox> inbox_;  // shared with handles, which may outlive us
  std::thread thread_;
};

}  // namespace liminal
