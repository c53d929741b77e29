// Learns that a conversation ends, or begins to, while nobody waits for a reply of it.
#pragma once

#include <functional>
#include <memory>

#include "common/base/result.hpp"
#include "node/conversation/conversation_handle.hpp"
#include "node/scheduler/scheduler.hpp"

namespace liminal::cli {

/// Watches from its construction to its end, also where the participants have left and every
/// receive is refused.
///
/// Thread-safety: result() from any thread.
/// Lifetime: ends before the node.
class EndWatch {
 public:
  /// Calls `over` when the conversation has failed, closed or compensates, at once if it does so
  /// already; in some worker's turn, at most twice, and until the scheduler is destroyed.
  EndWatch(Scheduler& scheduler, const ConversationHandle& conversation,
           std::function<void()> over);
  ~EndWatch();
  EndWatch(const EndWatch&) = delete;
  EndWatch& operator=(const EndWatch&) = delete;

  /// The error that was learned first, if any.
  [[nodiscard]] Result<void> result() const;

 private:
  struct Learned;
  class Monitor;

  std::shared_ptr<Learned> learned_;  // with completions that may run later than this
  ConversationHandle::Pending receiving_;
  Scheduler& scheduler_;
  Pid monitor_;
};

}  // namespace liminal::cli
