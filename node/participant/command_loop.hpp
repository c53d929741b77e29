// The command runner's thread: one epoll loop over the minder and the pipes of all commands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "node/participant/command_inbox.hpp"
#include "node/participant/minder_link.hpp"

namespace liminal {

/// See CommandRunner, which owns the thread.
///
/// Thread affinity: run() and the destructor on one thread, with all signals blocked: it writes
/// into pipes whose readers may be gone. Lifetime: the destructor ends all commands and blocks
/// until they and the minder are gone.
class CommandLoop {
 public:
  /// Errors: kInternal.
  [[nodiscard]] static Result<std::unique_ptr<CommandLoop>> make(
      std::shared_ptr<command_runner::Inbox> inbox, std::string minder_program, MinderLink minder,
      std::size_t commands_max);

  CommandLoop(const CommandLoop&) = delete;
  CommandLoop& operator=(const CommandLoop&) = delete;

  /// Until the inbox is closed.
  void run();

 private:
  /// A command that the minder was told to start.
  struct Active {
    std::shared_ptr<command_runner::Ticket> ticket;
    CommandRunner::Completion completion;
    Payload input;
    std::size_t output_bytes_max;
    Descriptor stdin_end;  // ours, all three; closed when there is nothing more to do with it
    Descriptor stdout_end;
    Descriptor stderr_end;
    std::size_t fed_bytes = 0;
    std::string output = {};
    std::string stderr_tail = {};
    pid_t group = 0;  // 0: not known yet
  };
  using ActiveCommands = std::map<std::uint64_t, Active>;

  CommandLoop(std::shared_ptr<command_runner::Inbox> inbox, std::string minder_program,
              Descriptor epoll, std::size_t commands_max);

  void obey(command_runner::Order order);
  void drop(std::uint64_t number);
  void start_waiting();
  void start(command_runner::Begin begin);
  void complete(ActiveCommands::iterator command, CommandOutcome outcome);

  [[nodiscard]] Result<void> ensure_minder();
  void adopt(MinderLink minder);
  void read_reports();
  void on_report(const minder::Message& report);
  void lose_minder();
  void watch_unsent();

  void on_stream(std::uint64_t tag);
  void feed(Active& active);
  /// Reads at most `bytes_max` bytes of stdout; false if the command was completed for them.
  bool read_output(ActiveCommands::iterator command, std::size_t bytes_max);
  void read_stderr(Active& active, std::size_t bytes_max);
  void on_exit(ActiveCommands::iterator command, int wait_status);

  [[nodiscard]] bool watch(int descriptor, std::uint32_t events, std::uint64_t tag);
  void close(Descriptor& descriptor);

  std::shared_ptr<command_runner::Inbox> inbox_;
  std::string minder_program_;
  Descriptor epoll_;
  std::size_t commands_max_;
  std::string buffer_;  // for reads
  std::deque<command_runner::Begin> waiting_;
  ActiveCommands active_;
  std::optional<MinderLink> minder_;
  bool unsent_is_watched_ = false;
};

}  // namespace liminal
