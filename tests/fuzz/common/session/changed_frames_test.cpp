// By seed: changed_frames.hpp says what is explored.
#include "tests/fuzz/common/session/changed_frames.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/fuzz/fuzz.hpp"

namespace liminal::test {
namespace {

TEST(SessionFuzz, ARefusedFrameChangesNothing) {
  int refused = 0, unreadable = 0;
  for_each_seed(3000, [&](std::uint64_t seed) {
    ChangedFrames exploration{Choices{seed}};
    exploration.run();
    refused += exploration.refused();
    unreadable += exploration.unreadable();
  });
  if (std::getenv("LIMINAL_FUZZ_SEEDS") == nullptr) {  // the walk goes where it should
    EXPECT_GT(refused, 300);
    EXPECT_GT(unreadable, 300);
  }
}

TEST(SessionFuzz, NothingThatAPeerSaysBreaksIt) {
  for_each_seed(3000, [](std::uint64_t seed) {
    Choices choices{seed};
    say_anything(choices);
  });
}

}  // namespace
}  // namespace liminal::test
