// What all copies of a handle share.
#pragma once

#include <atomic>
#include <memory>

#include "node/conversation/conversation_handle.hpp"

namespace liminal {

/// Tells the conversation, or its proxy, when the last handle is gone.
struct ConversationHandle::Shared {
  Shared(std::shared_ptr<ConversationRegistry> the_registry, const Directory& the_directory,
         std::shared_ptr<ConversationCell> the_cell,
         std::shared_ptr<const ConversationConfig> the_config, ConversationId the_id, Pid the_pid,
         Pid takes_calls)
      : registry(std::move(the_registry)),
        directory(the_directory),
        cell(std::move(the_cell)),
        config(std::move(the_config)),
        id(the_id),
        pid(std::move(the_pid)),
        callee(std::move(takes_calls)) {}
  ~Shared();
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  /// When the scheduler is out of reach the request is refused, and its id means nothing.
  [[nodiscard]] MessageId new_message_id() const {
    Scheduler* const scheduler = registry->scheduler();
    return scheduler != nullptr ? scheduler->new_message_id() : MessageId{0, 0};
  }

  /// Of receives that name none.
  std::atomic<Duration> receive_timeout{ConversationHandle::kCallTimeout};

  const std::shared_ptr<ConversationRegistry> registry;
  const Directory& directory;
  const std::shared_ptr<ConversationCell> cell;
  const std::shared_ptr<const ConversationConfig> config;  // null if it is elsewhere
  const ConversationId id;
  const Pid pid;
  const Pid callee;  // pid, or its proxy
};

}  // namespace liminal
