// A participant that runs a shell command for each request.
#pragma once

#include "node/participant/participant_process.hpp"
#include "node/participant/service_command.hpp"

namespace liminal {

/// The payload is the command's stdin, its stdout the reply. A command that fails is this
/// participant's crash; a participant that ends takes its command with it. The command of a request
/// that expires or is cancelled is killed, which is no crash; the next one starts when it is gone.
class ExecParticipant final : public ParticipantProcess {
 public:
  ExecParticipant(ParticipantSlot slot, ServiceCommand command, std::optional<ServiceCommand> undo)
      : ParticipantProcess(std::move(slot), std::move(undo)), command_(std::move(command)) {}

 private:
  void begin(Context& context, const Request& request) override {
    command_.process(context.self(), request, ledger().payload_bytes_max.load());
  }
  void interrupt(Context&) override { command_.kill(); }
  bool on_local(Context& context, LocalMessage& message) override {
    auto outcome = command_.take_outcome(message);
    if (!outcome) return false;
    conclude(context, *std::move(outcome));
    return true;
  }

  ServiceCommand command_;
};

}  // namespace liminal
