// A participant with a child of the operating system for its whole life.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "common/base/ids.hpp"
#include "node/participant/command_runner.hpp"
#include "node/participant/participant_process.hpp"

namespace liminal {

/// Starts `sh -c COMMAND` in its first turn, hands it each request's payload and takes its replies,
/// one at a time, as PipeCommand says. Requests are undone by a command of their own, which the
/// child hears nothing of. The child's exit is the participant's: `normal` with exit status 0 and
/// nothing unanswered, else a crash that says how. A participant that ends takes its
/// child with it.
///
/// A request that expires in the child's hands is answered at its deadline, one that is cancelled
/// there as the child answers it; the child, which knows
/// nothing of that, goes on, and gets no other request until it answered this one. Its late reply
/// is dropped, and the order of what follows is intact.
///
/// The child finds LIMINAL_CALL_CONVERSATION, _SERVICE and _NODE in its environment.
///
/// Lifetime: `runner` is used in turns only.
class PipeParticipant final : public ParticipantProcess {
 public:
  struct Settings {
    NodeName node;
    ServiceName service;
    ConversationId conversation;
    std::string command;
  };

  PipeParticipant(ParticipantSlot slot, PipeChildSlot child_slot, Settings settings,
                  CommandRunner& runner, PostLocal post, std::optional<ServiceCommand> undo = {});

  void on_start(Context& context) override;

 private:
  void begin(Context& context, const Request& request) override;
  bool on_local(Context& context, LocalMessage& message) override;
  void on_end(Context& context, std::optional<std::string> failure);

  PipeChildSlot child_slot_;
  Settings settings_;
  CommandRunner& runner_;
  PostLocal post_;
  std::optional<RunningPipe> child_;  // none before the first turn
};

}  // namespace liminal
