// Opens the conversations of a node.
#pragma once

#include <cstddef>
#include <memory>

#include "node/conversation/conversation_handle.hpp"

namespace liminal {

/// Spawns conversations and hands out their handles; knows how many are open.
///
/// Thread-safety: all functions from any thread, handlers of processes included (wait_until_none()
/// excepted: it blocks).
/// Lifetime: scheduler and directory outlive it, and every handle's last call. It is destroyed
/// after the scheduler's drivers were stopped.
class ConversationSupervisor {
 public:
  struct Settings {
    std::size_t conversations_max = 10'000;
  };

  ConversationSupervisor(Scheduler& scheduler, const Directory& directory, Settings settings);
  ConversationSupervisor(Scheduler& scheduler, const Directory& directory)
      : ConversationSupervisor(scheduler, directory, Settings{}) {}
  ~ConversationSupervisor();
  ConversationSupervisor(const ConversationSupervisor&) = delete;
  ConversationSupervisor& operator=(const ConversationSupervisor&) = delete;

  /// Errors: kUnsupported and kUsage (see validate()), kRejected at conversations_max,
  /// kConversationFailed after shutdown().
  [[nodiscard]] Result<ConversationHandle> spawn(ConversationConfig config);

  /// Conversations whose process has not ended.
  [[nodiscard]] std::size_t open() const { return registry_->open(); }

  /// Refuses new ones and closes all; does not wait for it.
  void shutdown();
  /// Blocks until none is open, at most for `timeout`. False if some are.
  [[nodiscard]] bool wait_until_none(Duration timeout) {
    return registry_->wait_until_none(timeout);
  }

 private:
  Scheduler& scheduler_;
  const Directory& directory_;
  std::shared_ptr<ConversationRegistry> registry_;
};

}  // namespace liminal
