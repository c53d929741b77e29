// By seed: tests/fuzz/broker/lying_nodes.hpp says what is explored.
#include "tests/fuzz/broker/lying_nodes.hpp"

#include <gtest/gtest.h>

#include "tests/fuzz/fuzz.hpp"

namespace liminal::broker {
namespace {

TEST(BrokerFuzz, LiarsHarmNobodyElse) {
  std::uint64_t rejected = 0, dropped = 0, forwarded = 0, refusals = 0;
  std::size_t joins = 0;
  test::for_each_seed(2000, [&](std::uint64_t seed) {
    LyingNodes exploration{test::Choices{seed}};
    exploration.run(400);
    for (const auto count : exploration.counters().rejected) rejected += count;
    for (const auto count : exploration.counters().dropped) dropped += count;
    forwarded += exploration.counters().forwarded;
    refusals += exploration.counters().refusals;
    joins += exploration.hostile_joins();
  });
  if (std::getenv("LIMINAL_FUZZ_SEEDS") == nullptr) {  // the walk goes where it should
    for (const std::uint64_t count : {rejected, dropped, forwarded, refusals})
      EXPECT_GT(count, 100u);
    EXPECT_GT(joins, 20u);
  }
}

}  // namespace
}  // namespace liminal::broker
