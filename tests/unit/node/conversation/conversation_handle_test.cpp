// Goal: handles work from threads that block, with workers, and never block beyond their timeout.
#include "node/conversation/conversation_handle.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "node/conversation/conversation_supervisor.hpp"
#include "node/scheduler/workers.hpp"
#include "tests/support/one_node.hpp"
#include "tests/support/toy.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;
using Phase = ConversationPhase;

constexpr Duration kLong = 60s;  // generous: reached only if something is broken

class ConversationHandleTest : public ::testing::Test {
 protected:
  ConversationHandleTest() {
    scheduler.set_service_factory(make_toy);
    directory.publish({{own_node({kToy})}, true, 1 << 20});
    workers.emplace(scheduler, clock, Workers::Settings{.workers = 2, .blocking = 1});
  }

  ConversationHandle open() {
    auto actor = supervisor.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}});
    EXPECT_TRUE(actor.has_value());
    return actor->handle();
  }

  SystemClock clock;
  // So small that much of what these tests send must be sent again.
  Scheduler scheduler{{.node = NodeName{"a"}, .seed = 7, .mailbox = {.messages_max = 4}},
                      [](const Signal&) {}};
  Directory directory;
  ConversationSupervisor supervisor{scheduler, directory};
  std::optional<Workers> workers;  // stops first
};

TEST_F(ConversationHandleTest, SendsReceivesAsksCloses) {
  auto handle = open();
  const auto one = handle.send(Payload{"one"}, {}, kLong);
  ASSERT_TRUE(one);
  ASSERT_TRUE(handle.send(Payload{"two"}, {.reply = ReplyMode::kInbox}, kLong));
  EXPECT_EQ(handle.ask(Payload{"three"}, kLong), Result<Payload>{Payload{"three"}});
  EXPECT_EQ(handle.receive(kLong), Result<Payload>{Payload{"two"}});
  EXPECT_EQ(handle.receive(*one, kLong), Result<Payload>{Payload{"one"}});
  EXPECT_TRUE(handle.close(kLong));
  EXPECT_TRUE(handle.close(kLong));
  EXPECT_EQ(handle.query_state().phase, Phase::kClosed);
  EXPECT_EQ(handle.send(Payload{"x"}).error().code, Errc::kConversationFailed);
  EXPECT_TRUE(supervisor.wait_until_none(kLong));
}

TEST_F(ConversationHandleTest, ACrashWakesAThreadThatWaits) {
  auto handle = open();
  const auto silent = handle.send(Payload{"silent"}, {}, kLong);
  ASSERT_TRUE(silent);
  std::thread killer{[handle]() mutable {
    EXPECT_EQ(handle.ask(Payload{"throw"}, kLong).error().code, Errc::kParticipantCrashed);
  }};
  EXPECT_EQ(handle.receive(*silent, kLong).error(),
            (Error{Errc::kParticipantCrashed, "toy on a: exit status 3"}));
  killer.join();
  EXPECT_EQ(handle.query_state().phase, Phase::kFailed);
}

TEST_F(ConversationHandleTest, ATimeoutSaysThatTheParticipantsMailboxIsFull) {
  auto handle = open();
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(handle.send(Payload{"stall"}, {.reply = ReplyMode::kNone}, kLong));
  }
  for (const TimePoint end = clock.now() + kLong; clock.now() < end;) {
    if (handle.query_state().counters.held_up > 0) break;
    std::this_thread::yield();
  }
  const auto reply = handle.ask(Payload{"x"}, 1ms);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Errc::kConversationTimeout);
  EXPECT_NE(reply.error().detail.find("the participant's mailbox is full, deferred "),
            std::string::npos)
      << reply.error().detail;
}

TEST_F(ConversationHandleTest, ATimedOutReceiveIsAnErrorAndSwallowsNothing) {
  auto handle = open();
  EXPECT_EQ(handle.receive(1ms).error().code, Errc::kConversationTimeout);
  EXPECT_EQ(handle.ask(Payload{"silent"}, 1ms).error().code, Errc::kConversationTimeout);
  ASSERT_TRUE(handle.send(Payload{"kept"}, {.reply = ReplyMode::kInbox}, kLong));
  EXPECT_EQ(handle.receive(kLong), Result<Payload>{Payload{"kept"}});
  EXPECT_NE(handle.query_state().phase, Phase::kFailed);
}

TEST_F(ConversationHandleTest, NothingBlocksBeyondItsTimeoutWhenTheDriversAreGone) {
  auto handle = open();
  ASSERT_TRUE(handle.ask(Payload{"x"}, kLong));
  workers.reset();
  EXPECT_EQ(handle.send(Payload{"x"}, {}, 1ms).error().code, Errc::kConversationTimeout);
  EXPECT_EQ(handle.receive(1ms).error().code, Errc::kConversationTimeout);
  EXPECT_EQ(handle.ask(Payload{"x"}, 1ms).error().code, Errc::kConversationTimeout);
  EXPECT_EQ(handle.close(1ms).error().code, Errc::kConversationTimeout);
  EXPECT_EQ(handle.query_state().phase, Phase::kActive);
}

TEST(ConversationHandle, OutlivesTheNode) {
  std::optional<ConversationHandle> handle;
  {
    Scheduler scheduler{{.node = NodeName{"a"}, .seed = 7}, [](const Signal&) {}};
    Directory directory;
    ConversationSupervisor supervisor{scheduler, directory};
    handle.emplace(
        supervisor.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}})->handle());
  }
  EXPECT_EQ(handle->receive(kLong).error().code, Errc::kConversationFailed);
  EXPECT_TRUE(handle->close(kLong));
  EXPECT_EQ(handle->query_state().phase, Phase::kFailed);
}

TEST_F(ConversationHandleTest, ManyThreadsShareOneConversation) {
  auto handle = open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([handle, t]() mutable {
      for (int i = 0; i < 50; ++i) {
        const std::string text = std::to_string(t) + "/" + std::to_string(i);
        EXPECT_EQ(handle.ask(Payload{text}, kLong), Result<Payload>{Payload{text}});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(handle.close(kLong));
  EXPECT_EQ(handle.query_state().counters.received, 200U);
}

// Receivers that keep timing out race with replies: each reply is received exactly once.
TEST_F(ConversationHandleTest, ImpatientReceiversLoseNoReply) {
  auto handle = open();
  constexpr int kReplies = 200;
  const TimePoint give_up_at = clock.now() + 30s;
  std::atomic<int> received = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([this, handle, &received, give_up_at]() mutable {
      Duration patience = 10us;  // from far too little to enough, whatever the machine's load
      while (received.load() < kReplies && clock.now() < give_up_at) {
        if (handle.receive(patience)) ++received;
        patience = patience < 50ms ? 2 * patience : 10us;
      }
    });
  }
  for (int i = 0; i < kReplies; ++i) {
    ASSERT_TRUE(handle.send(Payload{"x"}, {.reply = ReplyMode::kInbox}, kLong));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(received.load(), kReplies);
  EXPECT_EQ(handle.receive(1ms).error().code, Errc::kConversationTimeout);
  EXPECT_TRUE(handle.close(kLong));
}

TEST_F(ConversationHandleTest, ClosesFromManyThreadsAllReturn) {
  for (int round = 0; round < 20; ++round) {
    auto handle = open();
    ASSERT_TRUE(handle.send(Payload{"silent"}, {}, kLong));
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([handle]() mutable { EXPECT_TRUE(handle.close(kLong)); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(handle.query_state().phase, Phase::kClosed);
  }
  EXPECT_TRUE(supervisor.wait_until_none(kLong));
}

}  // namespace
}  // namespace liminal
