// A participant whose requests coroutines carry out, and undo.
#pragma once

#include <memory>
#include <optional>

#include "node/async/async_behaviour.hpp"
#include "node/participant/participant_process.hpp"

namespace liminal {

/// Lets the coroutine of the request at hand go on in its own turns, when what it waits for comes.
/// Makes its behaviour in its first turn.
///
/// Lifetime: `conversations` is used in turns only.
class AsyncParticipant final : public ParticipantProcess {
 public:
  AsyncParticipant(ParticipantSlot slot, AsyncBehaviourFactory factory,
                   ConversationSupervisor& conversations);
  ~AsyncParticipant() override;

  void on_start(Context& context) override;

 private:
  using Work = Task<std::optional<Payload>>;

  void begin(Context& context, const Request& request) override;
  void begin_undo(Context& context, const Compensation& compensation) override;
  void interrupt(Context& context) override;
  bool on_local(Context& context, LocalMessage& message) override;
  bool on_own_timer(Context& context, TimerId timer) override;

  void start(Context& context, Work work, TaskHost::Origin origin);
  void look_whether_done(Context& context);

  AsyncBehaviourFactory factory_;
  TaskHost host_;  // outlives whatever may wait
  ParticipantContext own_context_;
  std::unique_ptr<AsyncBehaviour> behaviour_;
  Work work_;  // none: nothing is carried out
};

}  // namespace liminal
