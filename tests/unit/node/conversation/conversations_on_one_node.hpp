// Conversations with toys on a node of their own, and the calls of one who holds a handle.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "node/conversation/conversation_supervisor.hpp"
#include "tests/support/one_node.hpp"
#include "tests/support/outcomes.hpp"
#include "tests/support/toy.hpp"

namespace liminal::test {

inline ConversationConfig one_toy() {
  return {CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
}

/// Whatever a test did, nothing but `bystanders` may be left of it.
class ConversationsOnOneNode : public OneNode {
 protected:
  ConversationsOnOneNode() {
    scheduler.set_service_factory([this](const signal::SpawnRequest& request) {
      auto toy = make_toy(request);
      if (toy) ++made;
      return toy;
    });
    publish({own_node({kToy})});
  }
  ~ConversationsOnOneNode() override {
    supervisor.shutdown();
    run_for(std::chrono::seconds{20});
    EXPECT_EQ(scheduler.counts().processes, bystanders);
    EXPECT_EQ(scheduler.counts().timers, 0U);
    EXPECT_EQ(supervisor.open(), 0U);
  }

  ConversationHandle open(ConversationConfig config = one_toy()) {
    auto actor = supervisor.spawn(std::move(config));
    EXPECT_TRUE(actor.has_value());
    return actor->handle();
  }

  MessageId send(ConversationHandle& handle, const char* text, SendOptions options = {}) {
    const Told told = nothing();
    const MessageId id = handle.start_send(Payload{text}, std::move(options), into(told));
    run();
    EXPECT_EQ(*told, "ok ");
    return id;
  }
  std::string send_refused(ConversationHandle& handle, std::string text) {
    const Told told = nothing();
    handle.start_send(Payload{std::move(text)}, {}, into(told));
    run();
    return *told;
  }
  /// What is there: it does not wait.
  std::string receive(ConversationHandle& handle, std::optional<MessageId> id = {}) {
    const Told told = nothing();
    auto pending = handle.start_receive(id, into(told));
    run();
    pending.cancel();
    run();
    return *told;
  }
  /// "" if it was not answered at once.
  std::string ask(ConversationHandle& handle, const char* text, SendOptions options = {}) {
    const Told told = nothing();
    static_cast<void>(handle.start_ask(Payload{text}, std::move(options), into(told)));
    run();
    return *told;
  }
  std::string close(ConversationHandle& handle) {
    const Told told = nothing();
    static_cast<void>(handle.start_close(into(told)));
    run();
    return *told;
  }

  ConversationSupervisor supervisor{scheduler, directory};
  std::size_t made = 0;  // toys, at a conversation's request
  std::size_t bystanders = 0;
};

}  // namespace liminal::test
