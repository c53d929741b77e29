#include "node/participant/service_command.hpp"

#include <utility>

#include "common/base/check.hpp"
#include "common/base/text.hpp"

namespace liminal {

namespace {

/// What the runner's thread sends.
class CommandEnded final : public LocalMessage {
 public:
  explicit CommandEnded(CommandOutcome outcome) : outcome_(std::move(outcome)) {}
  [[nodiscard]] CommandOutcome take_outcome() { return std::move(outcome_); }

 private:
  CommandOutcome outcome_;
};

}  // namespace

void ServiceCommand::process(const Pid& self, const Request& request,
                             std::size_t output_bytes_max) {
  run(self, command_for(request, request.attempt, "process", output_bytes_max));
}

void ServiceCommand::compensate(const Pid& self, const Compensation& compensation,
                                std::size_t output_bytes_max) {
  Command command =
      command_for(compensation.request, compensation.attempt, "compensate", output_bytes_max);
  command.extra_input = compensation.reply.value_or(Payload{});
  run(self, std::move(command));
}

Command ServiceCommand::command_for(const Request& request, std::uint32_t attempt,
                                    std::string action, std::size_t output_bytes_max) const {
  return {.text = settings_.command,
          .environment = {{"LIMINAL_CALL_CONVERSATION", to_string(request.conversation)},
                          {"LIMINAL_CALL_SERVICE", settings_.service.value()},
                          {"LIMINAL_CALL_NODE", settings_.node.value()},
                          {"LIMINAL_CALL_MESSAGE", to_string(request.id)},
                          {"LIMINAL_CALL_ATTEMPT", std::to_string(attempt)},
                          {"LIMINAL_CALL_ACTION", std::move(action)}},
          .input = request.payload,
          .output_bytes_max = output_bytes_max};
}

void ServiceCommand::run(const Pid& self, Command command) {
  check(!running_, "a participant has one command at a time");
  // One that ended meanwhile needs to hear nothing: what post_ returns does not matter.
  running_ = runner_.run(std::move(command), [post = post_, self](CommandOutcome outcome) {
    post(self, std::make_unique<CommandEnded>(std::move(outcome)));
  });
}

std::optional<CommandOutcome> ServiceCommand::take_outcome(LocalMessage& message) {
  auto* ended = running_ ? dynamic_cast<CommandEnded*>(&message) : nullptr;
  if (ended == nullptr) return std::nullopt;
  running_.reset();
  return ended->take_outcome();
}

}  // namespace liminal
