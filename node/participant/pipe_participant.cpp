#include "node/participant/pipe_participant.hpp"

#include <memory>
#include <utility>

#include "common/base/text.hpp"

namespace liminal {

namespace {

// What the runner's thread sends.
class Replied final : public LocalMessage {
 public:
  explicit Replied(Payload payload) : payload_(std::move(payload)) {}
  [[nodiscard]] Payload take_payload() { return std::move(payload_); }

 private:
  Payload payload_;
};

class ChildEnded final : public LocalMessage {
 public:
  explicit ChildEnded(std::optional<std::string> failure) : failure_(std::move(failure)) {}
  [[nodiscard]] std::optional<std::string> take_failure() { return std::move(failure_); }

 private:
  std::optional<std::string> failure_;
};

}  // namespace

PipeParticipant::PipeParticipant(ParticipantSlot slot, PipeChildSlot child_slot, Settings settings,
                                 CommandRunner& runner, PostLocal post,
                                 std::optional<ServiceCommand> undo)
    : ParticipantProcess(std::move(slot), std::move(undo)),
      child_slot_(std::move(child_slot)),
      settings_(std::move(settings)),
      runner_(runner),
      post_(std::move(post)) {}

void PipeParticipant::on_start(Context& context) {
  // One that ended meanwhile needs to hear nothing: what post_ returns does not matter.
  child_ = runner_.open(
      {.text = settings_.command,
       .environment = {{"LIMINAL_CALL_CONVERSATION", to_string(settings_.conversation)},
                       {"LIMINAL_CALL_SERVICE", settings_.service.value()},
                       {"LIMINAL_CALL_NODE", settings_.node.value()}}},
      {.replied =
           [post = post_, self = context.self()](Payload payload) {
             post(self, std::make_unique<Replied>(std::move(payload)));
           },
       .ended =
           [post = post_, self = context.self()](std::optional<std::string> failure) {
             post(self, std::make_unique<ChildEnded>(std::move(failure)));
           }});
}

void PipeParticipant::begin(Context&, const Request& request) {
  child_->ask(request.payload, ledger().payload_bytes_max.load());
}

bool PipeParticipant::on_local(Context& context, LocalMessage& message) {
  if (auto* replied = dynamic_cast<Replied*>(&message)) {
    finish(context, replied->take_payload());
  } else if (auto* ended = dynamic_cast<ChildEnded*>(&message)) {
    on_end(context, ended->take_failure());
  } else {
    return false;
  }
  return true;
}

void PipeParticipant::on_end(Context& context, std::optional<std::string> failure) {
  if (!failure && owes_work()) {
    // It ended well, and this request had just missed it.
    failure = "exit status 0 with a request unanswered";
  }
  if (failure) {
    crash(context, *std::move(failure));
  } else {
    leave(context);
  }
}

}  // namespace liminal
