// Goal: what threads leave in the inbox ends the loop's wait, and costs no wake while it runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include "node/node_loop.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

Signal any_signal() {
  const Pid pid{NodeName{"a"}, Incarnation{1}, Serial{1}};
  return signal::Link{pid, pid, LinkId{1}};
}

/// Whether a wait of the loop ends at once.
bool is_woken(NodeInbox& inbox) {
  const SystemClock clock;
  const TimePoint before = clock.now();
  net::wait({}, inbox.waker(), 500ms);
  return clock.now() - before < 400ms;
}

TEST(NodeInboxTest, WhatComesWhileTheLoopSleepsWakesItOnce) {
  for (const auto& bring : std::initializer_list<std::function<void(NodeInbox&)>>{
           [](NodeInbox& inbox) { inbox.push(any_signal()); },
           [](NodeInbox& inbox) { inbox.turn_done(); },
           [](NodeInbox& inbox) { inbox.records_wait(); },
           [](NodeInbox& inbox) { inbox.leave(); }}) {
    NodeInbox inbox;
    EXPECT_TRUE(inbox.may_sleep());
    bring(inbox);
    bring(inbox);
    EXPECT_TRUE(is_woken(inbox));
    EXPECT_FALSE(is_woken(inbox));
    const auto taken = inbox.take();
    EXPECT_TRUE(taken.signals.size() == 2 || taken.turn_done || taken.records_wait || taken.leave);
  }
}

TEST(NodeInboxTest, WhatComesWhileTheLoopRunsKeepsItFromSleepingAndWakesNobody) {
  NodeInbox inbox;
  EXPECT_TRUE(inbox.may_sleep());
  inbox.push(any_signal());
  EXPECT_TRUE(is_woken(inbox));
  EXPECT_EQ(inbox.take().signals.size(), 1u);
  inbox.push(any_signal());  // behind the take() of this turn
  EXPECT_FALSE(inbox.may_sleep());
  EXPECT_FALSE(is_woken(inbox));
  EXPECT_EQ(inbox.take().signals.size(), 1u);
  EXPECT_TRUE(inbox.may_sleep());
}

/// The longest of the loop's turns while a thread brings it thousands of signals.
Duration longest_turn() {
  constexpr std::size_t kSignals = 20'000;
  NodeInbox inbox;
  const std::jthread bringing{[&] {
    for (std::size_t i = 0; i < kSignals; ++i) inbox.push(any_signal());
  }};
  const SystemClock clock;
  Duration longest{};
  for (std::size_t taken = 0; taken < kSignals;) {
    const TimePoint before = clock.now();
    if (inbox.may_sleep()) net::wait({}, inbox.waker(), 1s);
    longest = std::max(longest, clock.now() - before);
    taken += inbox.take().signals.size();
  }
  return longest;
}

// Up to three trials: a busy machine may hold up one of thousands of turns.
TEST(NodeInboxTest, NothingIsSleptOver) {
  Duration longest = longest_turn();
  for (int again = 0; again < 2 && longest >= 900ms; ++again) longest = longest_turn();
  EXPECT_LT(longest, 900ms);
}

}  // namespace
}  // namespace liminal
