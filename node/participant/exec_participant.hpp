// A participant that runs a shell command for each request.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "common/base/ids.hpp"
#include "node/participant/command_runner.hpp"
#include "node/participant/participant_process.hpp"

namespace liminal {

/// How what happened on another thread reaches a process: Scheduler::send_local().
using PostLocal = std::function<bool(const Pid& to, LocalMessagePtr message)>;

/// The payload is the command's stdin, its stdout the reply. A command that fails is this
/// participant's crash; a participant that ends takes its command with it. The command of a request
/// that expires is killed, which is no crash; the next one starts when it is gone.
///
/// The command finds LIMINAL_CALL_CONVERSATION, _SERVICE, _NODE, _MESSAGE (the idempotence key),
/// _ATTEMPT and _ACTION (process) in its environment.
///
/// Lifetime: `runner` is used in turns only.
class ExecParticipant final : public ParticipantProcess {
 public:
  struct Settings {
    NodeName node;
    ServiceName service;
    std::string command;
  };

  ExecParticipant(ParticipantSlot slot, Settings settings, CommandRunner& runner, PostLocal post);

 private:
  void begin(Context& context, const Request& request) override;
  void interrupt(Context& context) override;
  bool on_local(Context& context, LocalMessage& message) override;

  Settings settings_;
  CommandRunner& runner_;
  PostLocal post_;
  std::optional<RunningCommand> running_;
};

}  // namespace liminal
