// Goal: what was asked for happens in order, once, and is gone after it, however large it is.
#include "tests/sim/event_queue.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

TEST(EventQueue, RunsInOrderOfTimeAndOfAskingWhereTimesAreEqual) {
  EventQueue events;
  std::string order;
  events.after(2ms, [&] { order += 'c'; });
  events.after(1ms, [&] { order += 'a'; });
  events.after(1ms, [&] { order += 'b'; });
  events.run_until(events.now() + 2ms - 1ns);
  EXPECT_EQ(order, "ab");
  events.run_until(events.now() + 1ns);
  EXPECT_EQ(order, "abc");
}

TEST(EventQueue, WhatRunsMayAskForMoreAtTheSameInstant) {
  EventQueue events;
  int run = 0;
  events.after(1ms, [&] {
    for (int i = 0; i < 100; ++i)
      events.after(0ns, [&run, held = std::make_unique<int>(i)] { run += *held >= 0; });
  });
  events.run_until(events.now() + 1ms);
  EXPECT_EQ(run, 100);
  EXPECT_EQ(events.events_run(), 101);
}

TEST(EventQueue, WhatRanOrNeverWillIsDestroyed) {
  const auto held = std::make_shared<int>(0);
  {
    EventQueue events;
    events.after(1ms, [held] { ++*held; });
    events.after(2ms, [held] { ++*held; });
    EXPECT_EQ(held.use_count(), 3);
    events.run_until(events.now() + 1ms);
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(*held, 1);
}

template <std::size_t kBytes>
void is_called_and_destroyed_once() {
  const auto held = std::make_shared<int>(0);
  {
    Action action{[held, room = std::array<char, kBytes>{}] { *held += 1 + room[0]; }};
    std::vector<Action> moved;
    moved.push_back(std::move(action));
    moved.push_back(Action{[] {}});
    std::swap(moved[0], moved[1]);
    EXPECT_EQ(held.use_count(), 2);
    moved[1]();
    EXPECT_EQ(*held, 1);
    moved[1] = Action{[] {}};
    EXPECT_EQ(held.use_count(), 1);
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST(Action, OfAnySizeIsMovedCalledAndDestroyedOnce) {
  constexpr std::size_t kFits = Action::kInlineBytes - sizeof(std::shared_ptr<int>);
  is_called_and_destroyed_once<1>();
  is_called_and_destroyed_once<kFits>();
  is_called_and_destroyed_once<kFits + 1>();
  is_called_and_destroyed_once<1000>();
}

}  // namespace
}  // namespace liminal::sim
