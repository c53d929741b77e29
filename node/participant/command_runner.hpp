// Runs shell commands as children of the operating system, under a minder that they cannot outlive.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/payload.hpp"
#include "common/base/result.hpp"

namespace liminal {

struct Command {
  std::string text;  // for sh -c
  // Added to the environment of the node, replacing what has the same name there.
  std::vector<std::pair<std::string, std::string>> environment = {};
  Payload input = {};
  std::size_t output_bytes_max;
};

/// What the command wrote to stdout if it ended with exit status 0, else why it is a failure, on
/// one line: "exit status 3: tail of stderr", "signal 9 (SIGKILL)", "output exceeds payload-max
/// (16777216 bytes)", "cannot start: ...", "minder died".
using CommandOutcome = tl::expected<Payload, std::string>;

namespace command_runner {
class Inbox;
class Ticket;
}  // namespace command_runner

/// Holds a command: destroying it before the command ended kills the command, its process group and
/// everything that descends from it, and drops the completion. A completion that has begun on the
/// runner's thread may still be running then.
///
/// Lifetime: may outlive its runner, whose end ends the command.
class [[nodiscard]] RunningCommand {
 public:
  RunningCommand(RunningCommand&&) noexcept = default;
  RunningCommand& operator=(RunningCommand&& other) noexcept;
  ~RunningCommand();

 private:
  friend class CommandRunner;
  RunningCommand(std::shared_ptr<command_runner::Inbox> inbox,
                 std::shared_ptr<command_runner::Ticket> ticket);
  void drop() noexcept;

  // Both shared with the runner's thread, which this may outlive.
  std::shared_ptr<command_runner::Inbox> inbox_;
  std::shared_ptr<command_runner::Ticket> ticket_;  // null: moved from
};

/// Owns one minder process and one thread, which feeds stdin, reads stdout and stderr, and
/// completes commands. A command is complete when its main process ended and what it had written by
/// then is read; a descendant that holds stdout open delays nothing, and is killed. Stdin left
/// unread is no failure. Of stderr the end is kept.
///
/// If the minder dies, so do all commands ("minder died"); the next command gets a new one.
///
/// Bound: `commands_max` run at once, each of which takes three descriptors here; more wait for
/// their turn in order.
///
/// Thread-safety: run() may be called from any thread.
/// Lifetime: the destructor blocks until every command and the minder are gone; their completions
/// are dropped. A completion must not destroy the runner.
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

 private:
  CommandRunner(std::shared_ptr<command_runner::Inbox> inbox, std::thread thread);

  std::shared_ptr<command_runner::Inbox> inbox_;  // shared with handles, which may outlive us
  std::thread thread_;
};

}  // namespace liminal
