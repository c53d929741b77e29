// By seed: lying_peers.hpp says what is explored.
#include "tests/fuzz/node/remote/lying_peers.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/fuzz/fuzz.hpp"

namespace liminal::test {
namespace {

TEST(NodeFuzz, APeerThatLiesHarmsNeitherTheNodeNorItsOtherPeers) {
  NodeCore::Counters seen;
  std::uint64_t delivered = 0;
  for_each_seed(3000, [&](std::uint64_t seed) {
    LyingPeers exploration{Choices{seed}};
    exploration.with_a_lying_peer();
    seen.malformed_frames += exploration.counters().malformed_frames;
    seen.foreign_frames += exploration.counters().foreign_frames;
    seen.session_violations += exploration.counters().session_violations;
    delivered += exploration.delivered_of_liar();
  });
  if (std::getenv("LIMINAL_FUZZ_SEEDS") == nullptr) {  // the walk goes where it should
    for (const std::uint64_t count :
         {seen.malformed_frames, seen.foreign_frames, seen.session_violations, delivered}) {
      EXPECT_GT(count, 100u);
    }
  }
}

TEST(NodeFuzz, ABrokerThatLiesDoesNotBreakTheNode) {
  for_each_seed(3000, [](std::uint64_t seed) {
    LyingPeers exploration{Choices{seed}};
    exploration.with_a_lying_broker();
  });
}

}  // namespace
}  // namespace liminal::test
