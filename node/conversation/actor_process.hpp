// The actor of a conversation: decides, in a process of its own, so that deciding may crash.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "node/conversation/conversation_cell.hpp"
#include "node/conversation/conversation_core.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

/// What actors of one conversation hand on to each other.
///
/// `state` is whole at every moment, wherever an actor dies: a decision is made on a second copy of
/// it, the draft, and the two change places once the decision is complete. The draft, then one
/// input behind, makes the same decision again to catch up; its effects are discarded. So a
/// decision costs two steps and never a copy of the state, except the one after a crash.
///
/// Ownership: shared by the conversation's process and its actor, since either may end first.
/// Touched by the actor of the moment, except `effects`, which the conversation's process takes
/// when it is told that they are there; while there is no actor, all of it is that process's.
struct ConversationRecord {
  /// Pure, as step() is: called twice with the same arguments it decides the same.
  using Decide = std::function<Step(ConversationContext&&, const Input&, TimePoint)>;

  ConversationContext state;
  std::shared_ptr<ConversationCell> cell;
  Decide decide = step;
  std::optional<ConversationContext> draft = {};  // equal to `state`; made from it after a crash
  std::uint64_t decided = 0;                      // the number of the last decision
  std::vector<Effect> effects = {};               // of that decision, until they are taken
  std::uint64_t published = 0;                    // revision of the snapshot in the cell
};

/// Makes decision `number`: `state`, `decided` and `effects` change together, and the cell shows
/// them before it returns. What throws leaves all of them as they were.
void decide(ConversationRecord& record, std::uint64_t number, const Input& input, TimePoint now);

/// Has the draft make the decision that decide() just made. What throws loses the draft alone.
void catch_up(ConversationRecord& record, const Input& input, TimePoint now);

/// decide() by the conversation's process, for a conversation that has no actor any more: what
/// would be that actor's crash ends here. False if it threw; all is then as it was.
[[nodiscard]] bool decide_without_actor(ConversationRecord& record, std::uint64_t number,
                                        const Input& input, TimePoint now);

/// To the actor: decide this. The input is shared with the conversation's inbox, where it stays
/// until it is decided.
struct DecideMessage final : LocalMessage {
  DecideMessage(std::uint64_t the_number, std::shared_ptr<const Input> the_input)
      : number(the_number), input(std::move(the_input)) {}
  std::uint64_t number;
  std::shared_ptr<const Input> input;
};

/// And back: the effects are in the record.
struct DecidedMessage final : LocalMessage {
  explicit DecidedMessage(std::uint64_t the_number) : number(the_number) {}
  std::uint64_t number;
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
