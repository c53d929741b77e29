#include "node/conversation/conversation_actor.hpp"

#include "node/conversation/conversation_shared.hpp"

namespace liminal {

void ConversationActor::receive_timeout(Duration timeout) {
  handle_.shared_->receive_timeout.store(timeout);
}

Result<void> ConversationActor::notify_on_participant_exit(const std::string& role,
                                                           ExitNotifier notifier) {
  return handle_.on_exit(role, std::move(notifier));
}

}  // namespace liminal
