#include "node/participant/exec_participant.hpp"

#include <memory>
#include <utility>

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

ExecParticipant::ExecParticipant(ParticipantSlot slot, Settings settings, CommandRunner& runner,
                                 PostLocal post)
    : ParticipantProcess(std::move(slot)),
      settings_(std::move(settings)),
      runner_(runner),
      post_(std::move(post)) {}

void ExecParticipant::begin(Context& context, const Request& request) {
  Command command{.text = settings_.command,
                  .environment = {{"LIMINAL_CALL_CONVERSATION", to_string(request.conversation)},
                                  {"LIMINAL_CALL_SERVICE", settings_.service.value()},
                                  {"LIMINAL_CALL_NODE", settings_.node.value()},
                                  {"LIMINAL_CALL_MESSAGE", to_string(request.id)},
                                  {"LIMINAL_CALL_ATTEMPT", std::to_string(request.attempt)},
                                  {"LIMINAL_CALL_ACTION", "process"}},
                  .input = request.payload,
                  .output_bytes_max = ledger().payload_bytes_max.load()};
  // One that ended meanwhile needs to hear nothing: what post_ returns does not matter.
  running_ = runner_.run(std::move(command),
                         [post = post_, self = context.self()](CommandOutcome outcome) {
                           post(self, std::make_unique<CommandEnded>(std::move(outcome)));
                         });
}

void ExecParticipant::interrupt(Context&) { running_->kill(); }

bool ExecParticipant::on_local(Context& context, LocalMessage& message) {
  auto* ended = dynamic_cast<CommandEnded*>(&message);
  if (ended == nullptr) return false;
  running_.reset();
  CommandOutcome outcome = ended->take_outcome();
  if (outcome) {
    finish(context, *std::move(outcome));
  } else if (is_overdue()) {
    finish(context, std::nullopt);  // killed for its deadline: nobody has crashed
  } else {
    crash(context, std::move(outcome.error()));
  }
  return true;
}

}  // namespace liminal
