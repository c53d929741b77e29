// A shell command that carries out what a participant is asked for: one run at a time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/base/ids.hpp"
#include "node/participant/behaviour.hpp"
#include "node/participant/command_runner.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

/// How what happened on another thread reaches a process: Scheduler::send_local().
using PostLocal = std::function<bool(const Pid& to, LocalMessagePtr message)>;

/// `sh -c COMMAND` with the request on its stdin. It finds LIMINAL_CALL_CONVERSATION, _SERVICE,
/// _NODE, _MESSAGE (the idempotence key: the request's id, to do and to undo it), _ATTEMPT and
/// _ACTION (process, compensate) in its environment. To undo, it gets the request's reply on
/// descriptor 3, which is at its end at once where there was none.
///
/// Thread affinity: its participant's turns. Lifetime: `runner` outlives the turns; what still runs
/// when this is destroyed is killed.
class ServiceCommand {
 public:
  struct Settings {
    NodeName node;
    ServiceName service;
    std::string command;
  };

  ServiceCommand(Settings settings, CommandRunner& runner, PostLocal post)
      : settings_(std::move(settings)), runner_(runner), post_(std::move(post)) {}

  /// REQUIRES of both: nothing runs. What becomes of it comes to `self` as a local message, which
  /// take_outcome() knows.
  void process(const Pid& self, const Request& request, std::size_t output_bytes_max);
  void compensate(const Pid& self, const Compensation& compensation, std::size_t output_bytes_max);

  [[nodiscard]] bool is_running() const { return running_.has_value(); }
  /// Ends what runs; its outcome comes as always. REQUIRES: is_running().
  void kill() { running_->kill(); }

  /// What became of what ran; nullopt if `message` does not say that. Nothing runs afterwards.
  [[nodiscard]] std::optional<CommandOutcome> take_outcome(LocalMessage& message);

 private:
  [[nodiscard]] Command command_for(const Request& request, std::uint32_t attempt,
                                    std::string action, std::size_t output_bytes_max) const;
  void run(const Pid& self, Command command);

  Settings settings_;
  CommandRunner& runner_;
  PostLocal post_;
  std::optional<RunningCommand> running_;
};

}  // namespace liminal
