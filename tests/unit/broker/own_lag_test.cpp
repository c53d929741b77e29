// Goal: a loop that was late notices, and is given time to read before it judges.
#include "broker/own_lag.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace liminal::broker {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{1h};

TEST(OwnLag, LatenessBeginsJustBeyondWhatIsTolerated) {
  OwnLag lag{250ms, 100ms};
  lag.woke(kStart);  // nothing was expected yet
  lag.will_wake_by(kStart + 10ms);
  lag.woke(kStart + 260ms);
  EXPECT_EQ(lag.judge_after(), std::nullopt);
  lag.will_wake_by(kStart + 260ms);
  lag.woke(kStart + 510ms + 1ns);
  EXPECT_EQ(lag.judge_after(), kStart + 610ms + 1ns);
}

TEST(OwnLag, IsHandedOutOnceAndOnlyWhenItHasSettled) {
  OwnLag lag{250ms, 100ms};
  lag.will_wake_by(kStart);
  lag.woke(kStart + 1s);
  EXPECT_EQ(lag.take(kStart + 1100ms - 1ns), std::nullopt);
  EXPECT_EQ(lag.take(kStart + 1100ms), 1s);
  EXPECT_EQ(lag.take(kStart + 1100ms), std::nullopt);
  EXPECT_EQ(lag.judge_after(), std::nullopt);
}

TEST(OwnLag, OfSeveralWhileItSettlesTheLongestCounts) {
  OwnLag lag{250ms, 100ms};
  lag.will_wake_by(kStart);
  lag.woke(kStart + 2s);
  lag.will_wake_by(kStart + 2s);
  lag.woke(kStart + 2500ms);
  EXPECT_EQ(lag.take(kStart + 2100ms), std::nullopt);
  EXPECT_EQ(lag.take(kStart + 2600ms), 2s);
}

}  // namespace
}  // namespace liminal::broker
