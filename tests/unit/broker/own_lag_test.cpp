// Goal: a loop that was late notices, and is given time to read before it judges.
#include "broker/own_lag.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

namespace liminal::broker {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{1h};

TEST(OwnLag, LatenessBeginsJustBeyondWhatIsTolerated) {
  OwnLag lag{250ms, 100ms, 1s};
  lag.woke(kStart);  // nothing was expected yet
  lag.will_wake_by(kStart + 10ms);
  lag.woke(kStart + 260ms);
  EXPECT_EQ(lag.judge_after(), std::nullopt);
  lag.will_wake_by(kStart + 260ms);
  lag.woke(kStart + 510ms + 1ns);
  EXPECT_EQ(lag.judge_after(), kStart + 610ms + 1ns);
}

TEST(OwnLag, IsHandedOutOnceAndOnlyWhenItHasSettled) {
  OwnLag lag{250ms, 100ms, 1s};
  lag.will_wake_by(kStart);
  lag.woke(kStart + 1s);
  EXPECT_EQ(lag.take(kStart + 1100ms - 1ns), std::nullopt);
  EXPECT_EQ(lag.take(kStart + 1100ms), 1s);
  EXPECT_EQ(lag.take(kStart + 1100ms), std::nullopt);
  EXPECT_EQ(lag.judge_after(), std::nullopt);
}

TEST(OwnLag, OfSeveralWhileItSettlesTheLongestCounts) {
  OwnLag lag{250ms, 100ms, 1s};
  lag.will_wake_by(kStart);
  lag.woke(kStart + 2s);
  lag.will_wake_by(kStart + 2s);
  lag.woke(kStart + 2500ms);
  EXPECT_EQ(lag.take(kStart + 2100ms), std::nullopt);
  EXPECT_EQ(lag.take(kStart + 2600ms), 2s);
}

// Each lateness within the settling of the one before: a process that gets little of its processor.
TEST(OwnLag, LateAgainAndAgainIsHandedOutAllTheSame) {
  OwnLag lag{250ms, 100ms, 1s};
  int taken = 0;
  std::optional<TimePoint> first;
  for (TimePoint now = kStart; now < kStart + 10s; now += 90ms) {  // runs so long,
    lag.will_wake_by(now);
    now += 300ms;  // and is stopped so long
    lag.woke(now);
    if (!first) first = now;
    for (const Duration ran : {0ms, 45ms, 89ms}) {
      if (!lag.take(now + ran)) continue;
      ++taken;
      EXPECT_LE(now + ran, *first + 1s + 100ms + 2 * 390ms);
      first.reset();
      break;
    }
  }
  EXPECT_GE(taken, 5);
}

TEST(OwnLag, SettlesNoLongerThanTheMostAfterTheFirst) {
  OwnLag lag{250ms, 100ms, 1s};
  for (const Duration at : {0ms, 300ms, 600ms, 900ms, 999ms}) {
    lag.will_wake_by(kStart + at - 251ms);
    lag.woke(kStart + at);
  }
  EXPECT_EQ(lag.judge_by(), kStart + 1s);
  EXPECT_EQ(lag.take(kStart + 1s - 1ns), std::nullopt);
  EXPECT_EQ(lag.take(kStart + 1s), 251ms);
  EXPECT_EQ(lag.judge_by(), std::nullopt);
  lag.will_wake_by(kStart + 1s);
  lag.woke(kStart + 2s);
  EXPECT_EQ(lag.judge_by(), kStart + 3s) << "the next counts for itself";
}

// What came while it was stopped is unread, however long ago the first lateness was.
TEST(OwnLag, StoppedBeyondTheMostItSettlesOnceMore) {
  OwnLag lag{250ms, 100ms, 1s};
  lag.will_wake_by(kStart - 1s);
  lag.woke(kStart);
  lag.will_wake_by(kStart + 50ms);
  lag.woke(kStart + 5s);
  EXPECT_EQ(lag.take(kStart + 5100ms - 1ns), std::nullopt);
  lag.will_wake_by(kStart + 5s);
  lag.woke(kStart + 6s);
  EXPECT_EQ(lag.take(kStart + 6s), 4950ms) << "once";
}

}  // namespace
}  // namespace liminal::broker
