// Durations as people write them, read exactly, and the one clock.
#include "common/base/time.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "common/base/random.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

TEST(ParseDuration, ReadsEveryUnit) {
  EXPECT_EQ(parse_duration("7ns"), Duration{7ns});
  EXPECT_EQ(parse_duration("10us"), Duration{10us});
  EXPECT_EQ(parse_duration("250ms"), Duration{250ms});
  EXPECT_EQ(parse_duration("5s"), Duration{5s});
  EXPECT_EQ(parse_duration("1m"), Duration{1min});
  EXPECT_EQ(parse_duration("2h"), Duration{2h});
  EXPECT_EQ(parse_duration("0s"), Duration::zero());
}

TEST(ParseDuration, ReadsFractions) {
  EXPECT_EQ(parse_duration("1.5s"), Duration{1500ms});
  EXPECT_EQ(parse_duration("0.1s"), Duration{100ms});
  EXPECT_EQ(parse_duration("1.25ms"), Duration{1250us});
  EXPECT_EQ(parse_duration("0.000000001h"), Duration{3600ns});
}

TEST(ParseDuration, RefusesEverythingElseAndNamesIt) {
  for (const char* text : {"",     "5",    "s",   "ms",  ".",    ".s",   "..s", "1.2.3s", "1.s",
                           ".5s",  "-5s",  "+5s", " 5s", "5 s",  "5s ",  "5S",  "5sec",   "1e3s",
                           "0x5s", "5,5s", "inf", "nan", "nans", "5m5s", "1d"}) {
    const auto result = parse_duration(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().code, Errc::kUsage);
    EXPECT_NE(result.error().detail.find("'" + std::string{text} + "'"), std::string::npos);
    EXPECT_NE(result.error().detail.find("250ms"), std::string::npos) << "says what would be right";
  }
}

TEST(ParseDuration, SaysOnOneLineWhatItRefuses) {
  const auto parsed = parse_duration("5\ns\x1b[2J");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().detail,
            "'5\\ns\\x1b[2J' is not a duration: write e.g. 250ms, 5s or 1m");
}

TEST(ParseDuration, IsExactUpToTheLargestAndRefusesMore) {
  EXPECT_EQ(parse_duration("9007199254740993ns"), Duration{9007199254740993}) << "no double";
  EXPECT_EQ(parse_duration("9223372036854775807ns"), Duration::max());
  EXPECT_FALSE(parse_duration("9223372036854775808ns"));
  EXPECT_TRUE(parse_duration("9223372036s"));
  EXPECT_FALSE(parse_duration("9223372037s"));
  EXPECT_TRUE(parse_duration("9223372036.8s"));
  EXPECT_FALSE(parse_duration("9223372036.9s"));
  EXPECT_FALSE(parse_duration("99999999999999999999999h"));
}

TEST(DurationText, IsInTheLargestWholeUnit) {
  EXPECT_EQ(to_string(Duration{0s}), "0s");
  EXPECT_EQ(to_string(Duration{250ms}), "250ms");
  EXPECT_EQ(to_string(Duration{1250ms}), "1250ms");
  EXPECT_EQ(to_string(Duration{60s}), "1m");
  EXPECT_EQ(to_string(Duration{90s}), "90s");
  EXPECT_EQ(to_string(Duration{7200s}), "2h");
  EXPECT_EQ(to_string(Duration{1ns}), "1ns");
  EXPECT_EQ(to_string(Duration{-1500us}), "-1500us");
}

TEST(DurationText, IsReadBackExactly) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Random random{seed};
    const Duration duration{static_cast<Duration::rep>(random.next() >> (1 + random.below(63)))};
    ASSERT_EQ(parse_duration(to_string(duration)), duration) << "seed " << seed;
  }
  EXPECT_EQ(parse_duration(to_string(Duration::max())), Duration::max());
}

TEST(Milliseconds, HaveAFraction) {
  EXPECT_DOUBLE_EQ(to_ms(1500us), 1.5);
  EXPECT_DOUBLE_EQ(to_ms(-2ms), -2.0);
}

TEST(SystemClockTest, NeverGoesBack) {
  const SystemClock clock;
  TimePoint last = clock.now();
  for (int i = 0; i < 1000; ++i) {
    const TimePoint now = clock.now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TimePoint boot_time() {
  timespec ts{};
  EXPECT_EQ(::clock_gettime(CLOCK_BOOTTIME, &ts), 0);
  return TimePoint{std::chrono::seconds{ts.tv_sec} + std::chrono::nanoseconds{ts.tv_nsec}};
}

TEST(SystemClockTest, IsTheTimeSinceBoot) {
  const SystemClock clock;
  const TimePoint before = boot_time();
  const TimePoint now = clock.now();
  EXPECT_LE(before, now);
  EXPECT_LE(now, boot_time());
}

// In a time namespace whose host slept for ten minutes more: CLOCK_MONOTONIC knows nothing of it.
TEST(SystemClockTest, GoesOnWhileTheHostSleeps) {
  enum Exit : int { kFollows = 0, kDoesNot = 1, kCannotTell = 2 };
  const TimePoint before = SystemClock{}.now();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::unshare(CLONE_NEWTIME) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWTIME) != 0) {
      ::_exit(kCannotTell);
    }
    const std::string slept = "boottime 600 0";
    const int offsets = ::open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (::write(offsets, slept.data(), slept.size()) != static_cast<ssize_t>(slept.size())) {
      ::_exit(kCannotTell);
    }
    const pid_t sleeper = ::fork();  // the first process that is in it
    if (sleeper < 0) ::_exit(kCannotTell);
    if (sleeper == 0) ::_exit(SystemClock{}.now() - before >= 600s ? kFollows : kDoesNot);
    int status = 0;
    ::waitpid(sleeper, &status, 0);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(kDoesNot));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kCannotTell) GTEST_SKIP() << "no time namespace can be had here";
  EXPECT_EQ(WEXITSTATUS(status), kFollows);
}

}  // namespace
}  // namespace liminal
