// The seed decides everything.
#include "common/base/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace liminal {
namespace {

TEST(RandomTest, IsSplitmix64) {
  // the first outputs for seed 1234567, as published with the algorithm
  Random random{1234567};
  EXPECT_EQ(random.next(), 6457827717110365317U);
  EXPECT_EQ(random.next(), 3203168211198807973U);
  EXPECT_EQ(random.next(), 9817491932198370423U);
}

TEST(RandomTest, TheSameSeedGivesTheSameNumbers) {
  Random a{7};
  Random b{7};
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(a.next(), b.next());
    ASSERT_EQ(a.below(10), b.below(10));
  }
  EXPECT_EQ(a.fork().next(), b.fork().next());
  EXPECT_NE(Random{7}.next(), Random{8}.next());
}

TEST(RandomTest, AForkGoesItsOwnWay) {
  Random random{7};
  Random fork = random.fork();
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    seen.insert(random.next());
    seen.insert(fork.next());
  }
  EXPECT_EQ(seen.size(), 2000U);
}

TEST(RandomTest, BelowReachesAllAndOnlyWhatIsBelow) {
  Random random{1};
  std::array<int, 6> hits{};
  for (int i = 0; i < 6000; ++i) ++hits.at(random.below(6));
  for (const int count : hits) EXPECT_GT(count, 800);
  EXPECT_EQ(random.below(1), 0U);
}

TEST(RandomTest, AnIdIsNeverZero) {
  // splitmix64 yields zero exactly where its state becomes zero
  Random random{0 - 0x9E3779B97F4A7C15ULL};
  EXPECT_EQ(Random{random}.next(), 0U);
  EXPECT_NE(random.next_id(), 0U);
}

TEST(RandomTest, SeedsOfTheKernelDiffer) { EXPECT_NE(random_seed(), random_seed()); }

}  // namespace
}  // namespace liminal
