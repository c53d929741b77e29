// Goal: a call ends in exactly one way, and both of its ends know which.
#include "node/conversation/waiter.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace liminal {
namespace {

using namespace std::chrono_literals;

TEST(Waiter, TakesOneOutcomeAndNoSecond) {
  Waiter waiter;
  EXPECT_TRUE(waiter.offer(Payload{"first"}));
  EXPECT_FALSE(waiter.offer(Payload{"second"}));
  EXPECT_FALSE(waiter.abandon());
  EXPECT_EQ(waiter.wait_for(0s).value(), Outcome{Payload{"first"}});
}

TEST(Waiter, RefusesWhatComesAfterTheTimeout) {
  Waiter waiter;
  EXPECT_FALSE(waiter.wait_for(1ns).has_value());
  EXPECT_FALSE(waiter.offer(Payload{"late"}));
}

TEST(Waiter, RefusesWhatComesAfterItsCallerGaveUp) {
  int told = 0;
  Waiter waiter{[&told](const Outcome&) { ++told; }};
  EXPECT_TRUE(waiter.abandon());
  EXPECT_TRUE(waiter.abandon());
  EXPECT_FALSE(waiter.offer(Payload{"late"}));
  EXPECT_EQ(told, 0);
}

TEST(Waiter, WakesAThreadThatWaitsHoweverLongItWould) {
  Waiter waiter;
  std::thread other{[&waiter] { EXPECT_TRUE(waiter.offer(Payload{"x"})); }};
  EXPECT_EQ(waiter.wait_for(Duration::max()).value(), Outcome{Payload{"x"}});
  other.join();
}

}  // namespace
}  // namespace liminal
