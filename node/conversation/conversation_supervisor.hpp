// Opens the conversations of a node.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "node/conversation/conversation_handle.hpp"
#include "node/timeline/timeline_recorder.hpp"

namespace liminal {

/// Spawns conversations and hands out their handles; knows how many are open.
///
/// Thread-safety: all functions from any thread, handlers of processes included (wait_until_none()
/// excepted: it blocks).
/// Lifetime: scheduler, directory and recorder outlive it, and every handle's last call. It is
/// destroyed after the scheduler's drivers were stopped.
class ConversationSupervisor {
 public:
  struct Settings {
    std::size_t conversations_max = 10'000;
    TimelineRecorder* timeline = nullptr;  // told what happens in them; null: nobody keeps it
  };

  ConversationSupervisor(Scheduler& scheduler, const Directory& directory, Settings settings);
  ConversationSupervisor(Scheduler& scheduler, const Directory& directory)
      : ConversationSupervisor(scheduler, directory, Settings{}) {}
  ~ConversationSupervisor();
  ConversationSupervisor(const ConversationSupervisor&) = delete;
  ConversationSupervisor& operator=(const ConversationSupervisor&) = delete;

  /// Errors: kUsage (see validate()), kRejected at conversations_max,
  /// kConversationFailed after shutdown().
  [[nodiscard]] Result<ConversationHandle> spawn(ConversationConfig config);

  /// Conversations whose process has not ended.
  [[nodiscard]] std::size_t open() const { return registry_->open(); }

  /// Has a conversation end by its policy; does not wait for it. False if it is not open here. `by`
  /// says who wants it, for people.
  bool cancel(const ConversationId& id, std::string by);

  /// Refuses new ones and closes all, those under Compensate by undoing what they did; does not
  /// wait for it.
  void shutdown();
  /// Blocks until none is open, at most for `timeout`. False if some are.
  [[nodiscard]] bool wait_until_none(Duration timeout) {
    return registry_->wait_until_none(timeout);
  }

 private:
  Scheduler& scheduler_;
  const Directory& directory_;
  TimelineRecorder* const timeline_;
  std::shared_ptr<ConversationRegistry> registry_;
};

}  // namespace liminal
