// A participant whose requests a C++ behaviour carries out, and undoes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "node/participant/participant_process.hpp"

namespace liminal {

/// Makes its behaviour in its first turn, so that a factory that throws is a crash of this
/// participant like any other.
class BehaviourParticipant final : public ParticipantProcess {
 public:
  /// `undo`: does so in the behaviour's stead.
  BehaviourParticipant(ParticipantSlot slot, BehaviourFactory factory,
                       std::optional<ServiceCommand> undo = {});
  ~BehaviourParticipant() override { *wanted_ = false; }

  void on_start(Context& context) override;

 private:
  using Work = std::function<std::optional<Payload>(ParticipantBehaviour&)>;

  void begin(Context& context, const Request& request) override;
  void begin_undo(Context& context, const Compensation& compensation) override;
  void interrupt(Context&) override { *wanted_ = false; }
  bool on_local(Context& context, LocalMessage& message) override;
  void run(Context& context, Work work);

  BehaviourFactory factory_;
  // Shared with the work that runs on the pool, which a participant's end does not stop.
  std::shared_ptr<ParticipantBehaviour> behaviour_;
  bool blocking_ = false;
  // Shared with the work of the moment: what was not begun when nobody wants it any more never is.
  std::shared_ptr<std::atomic<bool>> wanted_ = std::make_shared<std::atomic<bool>>(true);
};

}  // namespace liminal
