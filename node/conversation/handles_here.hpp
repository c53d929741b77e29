// The handles of a conversation on its own node: the near counterpart of RemoteHandles.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "node/conversation/conversation_calls.hpp"
#include "node/conversation/conversation_core.hpp"

namespace liminal {

/// Turns the calls of handles into what the conversation is to decide, and keeps who waits for the
/// outcome.
///
/// Bounds: waiters_max calls that wait, those of other nodes counted; what is beyond is rejected. A
/// call that was given up before it was admitted is nothing to decide, nor is that it was; one that
/// was decided is at most one input more.
/// Lifetime: callers that still wait when it ends are answered by the cell.
/// Thread affinity: that of the conversation's process, which owns it.
class HandlesHere {
 public:
  explicit HandlesHere(std::shared_ptr<const ConversationConfig> config)
      : config_(std::move(config)) {}

  /// What is to be decided; nothing if the call was refused, or there is nothing to decide.
  /// `waiting_elsewhere`: calls of other nodes that wait.
  [[nodiscard]] std::optional<Input> on_call(Call call, std::size_t waiting_elsewhere);

  /// Whether the caller took the outcome; nullopt if no such call waits here.
  [[nodiscard]] std::optional<bool> complete(WaiterId waiter, const Outcome& outcome);

  [[nodiscard]] std::size_t waiting() const { return tickets_.size(); }
  /// Whether there is a handle.
  [[nodiscard]] bool held() const { return origins_ > 0; }
  /// Nothing is decided any more.
  void over() {
    tickets_.clear();
    found_gone_.clear();
  }

 private:
  using Waiting = std::optional<std::pair<WaiterId, Ticket>>;

  [[nodiscard]] std::optional<Input> take(call::Send send, std::size_t elsewhere);
  [[nodiscard]] std::optional<Input> take(call::Receive receive, std::size_t elsewhere);
  [[nodiscard]] std::optional<Input> take(call::Abandon abandon, std::size_t);
  [[nodiscard]] std::optional<Input> take(call::Close close, std::size_t elsewhere);
  [[nodiscard]] std::optional<Input> take(call::Cancel cancel, std::size_t);
  [[nodiscard]] std::optional<Input> take(call::Shutdown, std::size_t);
  [[nodiscard]] std::optional<Input> take(call::HandlesGone, std::size_t);
  [[nodiscard]] std::optional<Input> take(call::HandlesBack, std::size_t);
  [[nodiscard]] std::optional<Input> take(call::Retell, std::size_t) { return std::nullopt; }
  [[nodiscard]] bool admit(Waiting& waiting, std::size_t elsewhere);

  const std::shared_ptr<const ConversationConfig> config_;
  std::map<WaiterId, Ticket> tickets_;
  std::set<WaiterId> found_gone_;  // completed in vain; each is about to say that it gave up
  std::size_t origins_ = 1;        // of handles: the opening, and each reference that became one
};

}  // namespace liminal
