// Goal: a wait ends when something comes, whatever was called before it. libzmq's descriptors tell
// each piece of news once, and any call may be the one that takes it in.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "net_test_support.hpp"

namespace liminal::net::test {
namespace {

// The longest a wait may be; one that took nearly as long although something came, slept over it.
constexpr Duration kWait = 1s;
constexpr Duration kOverslept = 900ms;

Duration duration_of(const std::function<void()>& call) {
  const SystemClock clock;
  const TimePoint before = clock.now();
  call();
  return clock.now() - before;
}

// Time for libzmq to look for news in its next send: it does so once in 3,000,000 ticks.
void let_a_look_be_due() {
  const SystemClock clock;
  for (const TimePoint end = clock.now() + 10ms; clock.now() < end;) {
  }
}

TEST(WakingTest, NewsThatASendTookInEndsTheWait) {
  NetContext context;
  Door door{context};
  Caller sender{context, door.endpoint()}, other{context, door.endpoint()};
  ASSERT_TRUE(sender.send(parts_of("sender")));
  ASSERT_TRUE(door.until_received(1));
  ASSERT_TRUE(other.send(parts_of("other")));
  ASSERT_TRUE(door.until_received(2));
  for (std::size_t i = 1; i <= 20; ++i) {
    sender.turn();
    wait({&sender.dealer}, sender.waker, 0s);
    Parts first = parts_of("news"), second = parts_of("after the news");
    ASSERT_TRUE(door.router.send(door.received[0].connection, first));
    ASSERT_TRUE(door.router.send(door.received[1].connection, second));
    ASSERT_TRUE(other.until([&] { return other.received.size() == i; }));
    let_a_look_be_due();
    Parts anything = parts_of("anything");
    ASSERT_TRUE(sender.dealer.send(anything));
    EXPECT_LT(duration_of([&] { wait({&sender.dealer}, sender.waker, kWait); }), kOverslept);
    ASSERT_TRUE(sender.until([&] { return sender.received.size() == i; }));
  }
}

TEST(WakingTest, NewsThatTheRoutersSendTookInEndsTheWait) {
  NetContext context;
  Door door{context};
  Caller sender{context, door.endpoint()}, other{context, door.endpoint()};
  ASSERT_TRUE(other.send(parts_of("other")));
  ASSERT_TRUE(door.until_received(1));
  for (std::size_t i = 2; i <= 20; ++i) {
    door.turn();
    door.router.wait(door.waker, 0s);
    ASSERT_TRUE(sender.send(parts_of("news")));
    let_a_look_be_due();
    Parts anything = parts_of("anything");
    ASSERT_TRUE(door.router.send(door.received[0].connection, anything));
    EXPECT_LT(duration_of([&] { door.router.wait(door.waker, kWait); }), kOverslept);
    ASSERT_TRUE(door.until_received(i));
  }
}

/// The longest wait of two loops that sleep as long as they may between messages.
void note_longest_wait(Duration& longest) {
  constexpr std::size_t kRounds = 5000;
  NetContext context;
  Door door{context};
  Caller caller{context, door.endpoint()};
  ASSERT_TRUE(caller.send(parts_of("0")));
  ASSERT_TRUE(door.until_received(1));
  Duration longest_of_router = 0s;
  longest = 0s;
  std::thread thread{[&] {
    door.router.adopt();
    for (std::size_t answered = 0; answered < kRounds;) {
      for (; answered < door.received.size(); ++answered) {
        Parts reply = parts_of("reply", "to it");
        if (!door.router.send(door.received[answered].connection, reply)) return;
      }
      longest_of_router =
          std::max(longest_of_router, duration_of([&] { door.router.wait(door.waker, kWait); }));
      door.turn();
    }
  }};
  for (std::size_t i = 1; i <= kRounds; ++i) {
    while (caller.received.size() < i) {
      longest =
          std::max(longest, duration_of([&] { wait({&caller.dealer}, caller.waker, kWait); }));
      caller.turn();
    }
    Parts next = parts_of("next");
    ASSERT_TRUE(caller.dealer.send(next));
  }
  thread.join();
  door.router.adopt();
  longest = std::max(longest, longest_of_router);
}

// Up to three trials: a busy machine may hold up one of thousands of waits.
TEST(WakingTest, AConversationNeverSleepsOverAMessage) {
  Duration longest = kWait;
  for (int trial = 0; trial < 3 && longest >= kOverslept; ++trial) {
    ASSERT_NO_FATAL_FAILURE(note_longest_wait(longest));
  }
  EXPECT_LT(longest, kOverslept);
}

}  // namespace
}  // namespace liminal::net::test
