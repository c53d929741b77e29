// The actor of a conversation: decides, in a process of its own, so that deciding may crash.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "node/conversation/conversation_cell.hpp"
#include "node/conversation/conversation_core.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

/// What actors of one conversation hand on to each other.
///
/// Ownership: shared by the conversation's process and its actor, since either may end first;
/// touched by the actor of the moment, by the conversation's process only while there is none.
struct ConversationRecord {
  using Decide = std::function<Step(ConversationState, const Input&, TimePoint)>;

  ConversationState state;
  std::shared_ptr<ConversationCell> cell;
  Decide decide = step;
  bool deciding = false;        // still true: the last decision threw, and `state` is lost
  std::uint64_t published = 0;  // revision of the snapshot in the cell
};

/// One step on the record; the cell shows it before it returns.
[[nodiscard]] std::vector<Effect> decide(ConversationRecord& record, const Input& input,
                                         TimePoint now);

/// To the actor: decide this. The input is shared with the conversation's inbox, where it stays
/// until it is decided.
struct DecideMessage final : LocalMessage {
  DecideMessage(std::uint64_t the_number, std::shared_ptr<const Input> the_input)
      : number(the_number), input(std::move(the_input)) {}
  std::uint64_t number;
  std::shared_ptr<const Input> input;
};

/// And back.
struct DecidedMessage final : LocalMessage {
  DecidedMessage(std::uint64_t the_number, std::vector<Effect> the_effects)
      : number(the_number), effects(std::move(the_effects)) {}
  std::uint64_t number;
  std::vector<Effect> effects;
};

class ActorProcess final : public Process {
 public:
  ActorProcess(std::shared_ptr<ConversationRecord> record, Pid conversation)
      : record_(std::move(record)), conversation_(std::move(conversation)) {}

  void handle(Context& context, Message message) override;

 private:
  std::shared_ptr<ConversationRecord> record_;
  Pid conversation_;
};

}  // namespace liminal
