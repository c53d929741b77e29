// What a bad cable promises the tests that use it: delays that are never shorter than asked for,
// the shares asked for, order but for what is to be out of it, and the same again by the same seed.
#include "tests/support/delay_line.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace liminal::test {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{100s};
constexpr std::size_t kMany = 1'000'000;

struct Left {
  int frame;
  TimePoint at;
  friend bool operator==(const Left&, const Left&) = default;
};

/// All that leaves until nothing waits, each at its deadline.
std::vector<Left> drain(DelayLine& line) {
  std::vector<Left> all;
  while (const auto at = line.next_deadline()) {
    EXPECT_EQ(line.next(*at - 1ns), std::nullopt) << "before its time";
    const auto frame = line.next(*at);
    if (!frame) {
      ADD_FAILURE() << "nothing at its deadline";
      break;
    }
    all.push_back({std::stoi(*frame), *at});
  }
  return all;
}

/// Frames numbered from 0, a millisecond apart.
std::vector<Left> sent_through(DelayLine& line, int frames) {
  for (int i = 0; i < frames; ++i) line.take(std::to_string(i), kStart + i * 1ms);
  return drain(line);
}

TEST(DelayLineTest, AGoodCableLetsEachFrameLeaveAtOnceInOrder) {
  DelayLine line{1, kMany};
  EXPECT_EQ(line.next_deadline(), std::nullopt);
  for (int i = 0; i < 3; ++i) line.take(std::to_string(i), kStart);
  EXPECT_EQ(drain(line), (std::vector<Left>{{0, kStart}, {1, kStart}, {2, kStart}}));
}

TEST(DelayLineTest, ADelayIsExact) {
  DelayLine line{1, kMany};
  line.impair({.delay = 30ms});
  line.take("7", kStart);
  EXPECT_EQ(line.next(kStart + 30ms - 1ns), std::nullopt);
  EXPECT_EQ(line.next(kStart + 30ms), "7");
  EXPECT_EQ(line.next_deadline(), std::nullopt);
}

TEST(DelayLineTest, JitterAddsUpToItsLengthAndKeepsTheOrder) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    DelayLine line{seed, kMany};
    line.impair({.delay = 30ms, .jitter = 50ms});
    const auto left = sent_through(line, 1'000);
    ASSERT_EQ(left.size(), 1'000u);
    Duration longest{};
    for (int i = 0; i < 1'000; ++i) {
      const auto& each = left[static_cast<std::size_t>(i)];
      EXPECT_EQ(each.frame, i);
      const Duration took = each.at - (kStart + i * 1ms);
      EXPECT_GE(took, 30ms);
      EXPECT_LE(took, 80ms);
      longest = std::max(longest, took);
    }
    EXPECT_GT(longest, 75ms);
  }
}

TEST(DelayLineTest, SharesAreThoseAskedFor) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    DelayLine line{seed, kMany};
    line.impair({.loss_percent = 5, .reorder_percent = 10, .duplicate_percent = 20});
    const auto left = sent_through(line, 10'000);
    const auto& counts = line.counts();
    EXPECT_EQ(counts.taken, 10'000u);
    EXPECT_EQ(left.size(), counts.taken - counts.lost + counts.duplicated);
    EXPECT_EQ(counts.refused, 0u);
    // 6 standard deviations each.
    EXPECT_NEAR(static_cast<double>(counts.lost), 500, 131);
    EXPECT_NEAR(static_cast<double>(counts.duplicated), 1'900, 236);
    EXPECT_NEAR(static_cast<double>(counts.reordered), 1'140, 193);
  }
}

TEST(DelayLineTest, WhatIsReorderedIsOvertakenAndNobodyWaitsForIt) {
  DelayLine line{5, kMany};
  line.impair({.delay = 20ms, .reorder_percent = 10, .reorder_by = 3500us});
  const auto left = sent_through(line, 1'000);
  std::uint64_t late = 0;
  for (const auto& each : left) {
    const Duration took = each.at - (kStart + each.frame * 1ms);
    EXPECT_TRUE(took == 20ms || took == 23500us) << each.frame;
    late += took > 20ms ? 1 : 0;
  }
  EXPECT_EQ(late, line.counts().reordered);
  EXPECT_GT(late, 0u);
}

TEST(DelayLineTest, WhatIsLostHasNoCopyAndACopyHasNone) {
  DelayLine line{5, kMany};
  line.impair({.loss_percent = 100, .duplicate_percent = 100});
  EXPECT_TRUE(sent_through(line, 10).empty());
  line.impair({.duplicate_percent = 100});
  EXPECT_EQ(sent_through(line, 10).size(), 20u);
}

TEST(DelayLineTest, ACopysDelayIsDrawnForItself) {
  DelayLine line{5, kMany};
  line.impair({.reorder_percent = 50, .reorder_by = 3ms, .duplicate_percent = 100});
  std::map<int, std::set<TimePoint>> times;
  for (const auto& each : sent_through(line, 100)) times[each.frame].insert(each.at);
  const auto apart = std::count_if(times.begin(), times.end(),
                                   [](const auto& entry) { return entry.second.size() == 2; });
  EXPECT_GT(apart, 20);
  EXPECT_LT(apart, 80);
}

TEST(DelayLineTest, WhatWaitsKeepsItsTimeWhenTheCableChangesAndTheOrderHolds) {
  DelayLine line{1, kMany};
  line.impair({.delay = 1s});
  line.take("0", kStart);
  line.impair({});
  line.take("1", kStart + 1ms);
  EXPECT_EQ(drain(line), (std::vector<Left>{{0, kStart + 1s}, {1, kStart + 1s}}));
}

TEST(DelayLineTest, AtMostSoManyWaitAndTheRestIsCounted) {
  DelayLine line{1, 3};
  line.impair({.delay = 1s});
  for (int i = 0; i < 4; ++i) line.take(std::to_string(i), kStart);
  EXPECT_EQ(line.counts().refused, 1u);
  EXPECT_EQ(line.next(kStart + 1s), "0");
  line.take("4", kStart + 1s);
  EXPECT_EQ(line.counts().refused, 1u);
  EXPECT_EQ(drain(line), (std::vector<Left>{{1, kStart + 1s}, {2, kStart + 1s}, {4, kStart + 2s}}));
}

TEST(DelayLineTest, FatesFollowFromTheSeedAndTheFramesNumberAlone) {
  const auto frames_lost = [](std::uint64_t seed, const Impairment& more, Duration apart) {
    DelayLine line{seed, kMany};
    Impairment all = more;
    all.loss_percent = 10;
    line.impair(all);
    for (int i = 0; i < 500; ++i) line.take(std::to_string(i), kStart + i * apart);
    std::set<int> lost;
    for (int i = 0; i < 500; ++i) lost.insert(i);
    for (const auto& each : drain(line)) lost.erase(each.frame);
    return lost;
  };
  const auto lost = frames_lost(9, {}, 1ms);
  EXPECT_EQ(lost, frames_lost(9, {}, 7ms));
  EXPECT_EQ(lost, frames_lost(9, {.jitter = 5ms, .duplicate_percent = 50}, 1ms));
  EXPECT_NE(lost, frames_lost(10, {}, 1ms));
}

}  // namespace
}  // namespace liminal::test
