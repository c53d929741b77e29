// Goal: restarts are counted as Erlang's supervisors count them, to the nanosecond.
#include "node/conversation/restart_intensity.hpp"

#include <gtest/gtest.h>

namespace liminal {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kBegin{100s};

TEST(RestartIntensity, AsManyRestartsAsAllowedAndNoMore) {
  RestartIntensity intensity{3, 10s};
  EXPECT_TRUE(intensity.allows_restart(kBegin));
  EXPECT_TRUE(intensity.allows_restart(kBegin));
  EXPECT_TRUE(intensity.allows_restart(kBegin + 9s));
  EXPECT_FALSE(intensity.allows_restart(kBegin + 9s));
}

TEST(RestartIntensity, ACrashCountsUntilThePeriodHasPassed) {
  RestartIntensity at_the_limit{1, 10s}, beyond{1, 10s};
  EXPECT_TRUE(at_the_limit.allows_restart(kBegin));
  EXPECT_FALSE(at_the_limit.allows_restart(kBegin + 10s));
  EXPECT_TRUE(beyond.allows_restart(kBegin));
  EXPECT_TRUE(beyond.allows_restart(kBegin + 10s + 1ns));
}

TEST(RestartIntensity, OneThatWasRefusedCountsToo) {
  RestartIntensity intensity{1, 10s};
  EXPECT_TRUE(intensity.allows_restart(kBegin));
  EXPECT_FALSE(intensity.allows_restart(kBegin + 8s));
  EXPECT_FALSE(intensity.allows_restart(kBegin + 16s));
  EXPECT_TRUE(intensity.allows_restart(kBegin + 26s + 1ns));
}

TEST(RestartIntensity, ZeroAllowsNone) {
  RestartIntensity intensity{0, 10s};
  EXPECT_FALSE(intensity.allows_restart(kBegin));
  EXPECT_FALSE(intensity.allows_restart(kBegin + 1h));
}

}  // namespace
}  // namespace liminal
