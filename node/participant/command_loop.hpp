// The command runner's thread: one epoll loop over the minder and the streams of all children.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "common/base/time.hpp"
#include "node/participant/child_streams.hpp"
#include "node/participant/command_inbox.hpp"
#include "node/participant/command_task.hpp"
#include "node/participant/minder_link.hpp"
#include "node/participant/pipe_task.hpp"

namespace liminal {

/// See CommandRunner, which owns the thread. What a child's bytes mean is its task's; this knows
/// the minder, and which child an event is about.
///
/// A child whose end is due, as its task says, and does not come for kEndPatience is ended.
///
/// Thread affinity: run() and the destructor on one thread, with all signals blocked: it writes
/// into pipes whose readers may be gone. Lifetime: the destructor ends all children and blocks
/// until they and the minder are gone.
class CommandLoop {
 public:
  /// Long beside the moment between a process's last words and the news of its end.
  static constexpr Duration kEndPatience = std::chrono::seconds{1};

  /// Errors: kInternal.
  [[nodiscard]] static Result<std::unique_ptr<CommandLoop>> make(
      std::shared_ptr<command_runner::Inbox> inbox, std::string minder_program, MinderLink minder,
      std::size_t commands_max);

  CommandLoop(const CommandLoop&) = delete;
  CommandLoop& operator=(const CommandLoop&) = delete;

  /// Until the inbox is closed.
  void run();

 private:
  /// A child that the minder was told to start.
  struct Child {
    std::variant<CommandTask, PipeTask> task;
    pid_t group = 0;  // 0: not known yet
    std::optional<TimePoint> end_due_since = {};
  };
  using Children = std::map<std::uint64_t, Child>;

  CommandLoop(std::shared_ptr<command_runner::Inbox> inbox, std::string minder_program,
              StreamPoll poll, std::size_t commands_max);

  void obey(command_runner::Begin begin);
  void obey(command_runner::Open open);
  void obey(command_runner::Ask ask);
  void obey(command_runner::Kill kill);
  void obey(command_runner::Drop drop);
  void start_waiting();
  void start(command_runner::Begin begin);
  /// Has the minder start one. Errors: why it cannot, for people.
  [[nodiscard]] tl::expected<ChildStreams, std::string> start_child(
      std::uint64_t number, const std::string& text, const CommandEnvironment& environment,
      bool with_extra);
  [[nodiscard]] bool kill_waiting(std::uint64_t number);
  void tell_minder_to_kill(std::uint64_t number);
  void erase(Children::iterator child);

  [[nodiscard]] Result<void> ensure_minder();
  void adopt(MinderLink minder);
  void read_reports();
  void on_report(const minder::Message& report);
  void lose_minder();
  void watch_unsent();

  void on_stream(std::uint64_t tag, std::uint32_t events);
  void follow(Children::iterator child, ChildNext next);
  void end_overstayers();
  [[nodiscard]] int timeout_ms() const;

  std::shared_ptr<command_runner::Inbox> inbox_;
  std::string minder_program_;
  StreamPoll poll_;
  std::size_t commands_max_;
  std::deque<command_runner::Begin> waiting_;
  Children children_;
  std::size_t commands_ = 0;  // of the children
  std::size_t ends_due_ = 0;  // of the children
  std::optional<MinderLink> minder_;
  bool unsent_is_watched_ = false;
};

}  // namespace liminal
