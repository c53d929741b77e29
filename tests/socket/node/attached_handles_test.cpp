// Goal: a handle on another node does its work from many threads that block, over a real broker and
// with workers; nobody hangs and nothing is lost or doubled, also when the conversation's node
// goes.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/socket/node/participant/proc.hpp"
#include "tests/socket/node/start_node.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::start_node;

constexpr unsigned kWorkers = 2;
constexpr Duration kLong = 60s;  // generous: reached only if something is broken

/// The conversation is on `home`, its handle on `away`.
class AttachedHandles : public ::testing::Test {
 protected:
  ConversationHandle open(std::size_t requests_max = 1024) {
    ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(ServiceName{"echo"})}};
    config.requests_max = requests_max;
    auto actor = home->conversations().spawn(config);
    if (!actor) throw std::runtime_error{actor.error().detail};
    return actor->handle();
  }
  ConversationHandle attach(const ConversationHandle& handle) {
    const auto ref = handle.ref();
    if (!ref) throw std::runtime_error{ref.error().detail};
    auto attached = away->conversations().attach(*ref);
    if (!attached) throw std::runtime_error{attached.error().detail};
    return *std::move(attached);
  }
  void expect_rest() {
    const auto rests = [](const Node& node) {
      const auto counts = node.counts();
      return counts.participants == 0 && counts.conversations == 0 && counts.processes <= 1 &&
             counts.timers == 0 && counts.ties == 0;
    };
    EXPECT_TRUE(eventually([&] { return rests(*home) && rests(*away); }, 20s))
        << home->counts().conversations << " conversations, " << home->counts().processes << " and "
        << away->counts().processes << " processes, " << home->counts().timers << " and "
        << away->counts().timers << " timers";
  }

  test::RunningBroker broker;
  std::unique_ptr<Node> home = start_node(broker, "home", false, kWorkers);
  std::unique_ptr<Node> away = start_node(broker, "away", true, kWorkers);
};

TEST_F(AttachedHandles, AThousandRequestsAreAnsweredInOrder) {
  {
    auto here = open();
    auto there = attach(here);
    constexpr int kMany = 1000;
    std::thread sender{[there]() mutable {
      for (int i = 0; i < kMany; ++i) {
        const auto sent =
            there.send(Payload{std::to_string(i)}, {.reply = ReplyMode::kInbox}, kLong);
        ASSERT_TRUE(sent) << sent.error().detail;
      }
    }};
    for (int i = 0; i < kMany; ++i) {
      const auto reply = there.receive(kLong);
      EXPECT_EQ(reply, Result<Payload>{Payload{std::to_string(i)}});
      if (!reply) break;
    }
    sender.join();
    EXPECT_EQ(there.receive(1ms).error().code, Errc::kConversationTimeout);
    EXPECT_TRUE(there.close(kLong));
    EXPECT_EQ(here.query_state().phase, ConversationPhase::kClosed);
  }
  expect_rest();
}

// Askers, senders, receivers that keep losing patience, and lookers-on, at once.
TEST_F(AttachedHandles, ManyThreadsShareOne) {
  {
    auto here = open();
    auto there = attach(here);
    constexpr int kEach = 100, kSenders = 2;
    std::atomic<int> received = 0, exits = 0;
    std::atomic<bool> done = false;
    ASSERT_TRUE(there.on_exit("echo", [&](const ParticipantExit&) { ++exits; }));
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([there, t]() mutable {
        for (int i = 0; i < kEach; ++i) {
          const std::string text = std::to_string(t) + "/" + std::to_string(i);
          EXPECT_EQ(there.ask(Payload{text}, kLong), Result<Payload>{Payload{text}});
        }
      });
    }
    for (int t = 0; t < kSenders; ++t) {
      threads.emplace_back([there]() mutable {
        for (int i = 0; i < kEach; ++i) {
          EXPECT_TRUE(there.send(Payload{"x"}, {.reply = ReplyMode::kInbox}, kLong));
        }
      });
    }
    const auto end = std::chrono::steady_clock::now() + kLong;
    std::vector<std::thread> receivers;
    for (int t = 0; t < 2; ++t) {
      receivers.emplace_back([there, &received, end]() mutable {
        Duration patience = 10us;  // from far too little to enough, whatever the machine's load
        while (received < kSenders * kEach && std::chrono::steady_clock::now() < end) {
          if (there.receive(patience)) ++received;
          patience = patience < 200ms ? 2 * patience : 10us;
        }
      });
    }
    std::thread looker{[there, &done]() mutable {
      while (!done) {
        EXPECT_EQ(there.query_state().id, there.id());
        static_cast<void>(there.actor_pid());
        std::this_thread::yield();
      }
    }};
    for (std::thread& thread : threads) thread.join();
    for (std::thread& thread : receivers) thread.join();
    done = true;
    looker.join();
    EXPECT_EQ(received, kSenders * kEach);
    EXPECT_EQ(there.receive(1ms).error().code, Errc::kConversationTimeout) << "none twice";
    EXPECT_EQ(exits, 0);
    std::vector<std::thread> closers;
    for (int t = 0; t < 3; ++t) {
      closers.emplace_back([there]() mutable { EXPECT_TRUE(there.close(kLong)); });
    }
    for (std::thread& thread : closers) thread.join();
    EXPECT_EQ(exits, 1) << "before the close returned";
  }
  expect_rest();
}

// What were left behind would take one of a few places for ever.
TEST_F(AttachedHandles, SendsThatLosePatienceLeaveNothing) {
  {
    auto here = open(4);
    auto there = attach(here);
    ASSERT_TRUE(there.ask(Payload{"x"}, kLong));
    int given_up = 0;
    Duration patience = 10us;
    for (int i = 0; i < 300; ++i) {
      const auto sent = there.send(Payload{"x"}, {}, patience);
      patience = patience < 5ms ? patience * 5 / 4 : 10us;
      if (sent) {
        EXPECT_TRUE(there.receive(*sent, kLong));
      } else {
        ASSERT_EQ(sent.error().code, Errc::kConversationTimeout) << sent.error().detail;
        ++given_up;
      }
    }
    EXPECT_GT(given_up, 0);
    std::vector<MessageId> all;
    for (int i = 0; i < 4; ++i) {
      const auto sent = there.send(Payload{"x"}, {}, kLong);
      ASSERT_TRUE(sent) << sent.error().detail << " after " << given_up;
      all.push_back(*sent);
    }
    for (const MessageId& id : all) EXPECT_TRUE(there.receive(id, kLong));
    EXPECT_TRUE(there.close(kLong));
  }
  expect_rest();
}

TEST_F(AttachedHandles, WhenTheConversationsNodeStopsEverybodyIsToldAndNobodyHangs) {
  auto here = std::optional{open()};
  auto there = attach(*here);
  ASSERT_TRUE(there.ask(Payload{"x"}, kLong));
  std::atomic<int> asked = 0, exits = 0;
  ASSERT_TRUE(there.on_exit("echo", [&](const ParticipantExit&) { ++exits; }));
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([there, &asked]() mutable {
      for (;;) {
        const auto reply = there.ask(Payload{"x"}, kLong);
        if (!reply) {
          EXPECT_EQ(reply.error().code, Errc::kConversationFailed) << reply.error().detail;
          return;
        }
        ++asked;
      }
    });
  }
  threads.emplace_back([there]() mutable {
    const auto reply = there.receive(kLong);  // that never comes
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, Errc::kConversationFailed) << reply.error().detail;
  });
  EXPECT_TRUE(eventually([&] { return asked > 20; }, 20s));
  here.reset();
  home->stop();
  home.reset();
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return exits == 1; }, 20s));
  EXPECT_TRUE(there.query_state().ended);
  EXPECT_EQ(there.send(Payload{"x"}, {}, kLong).error().code, Errc::kConversationFailed);
  EXPECT_TRUE(eventually([&] { return away->conversations().attachments() == 0; }, 20s));
}

TEST_F(AttachedHandles, ACopyOutlivesItsOwnNode) {
  auto here = open();
  auto there = attach(here);
  ASSERT_TRUE(there.ask(Payload{"x"}, kLong));
  std::thread waiting{[copy = there]() mutable {
    EXPECT_EQ(copy.receive(kLong).error().code, Errc::kConversationFailed);
  }};
  EXPECT_TRUE(eventually([&] { return away->counts().processes > 0; }, 20s));
  away->stop();
  waiting.join();  // at once, not when its time is over
  away.reset();
  EXPECT_EQ(there.ask(Payload{"x"}, kLong).error().code, Errc::kConversationFailed);
  EXPECT_EQ(there.receive(kLong).error().code, Errc::kConversationFailed);
  EXPECT_TRUE(there.query_state().ended);
  EXPECT_TRUE(here.ask(Payload{"y"}, kLong)) << "it has a handle of its own";
  EXPECT_TRUE(here.close(kLong));
}

}  // namespace
}  // namespace liminal
