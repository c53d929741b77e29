// Waits double from 5 ms up to 500 ms, and begin anew after a success.
#include "common/base/backoff.hpp"

#include <gtest/gtest.h>

namespace liminal {
namespace {

using namespace std::chrono_literals;

TEST(Backoff, DoublesUpToItsMost) {
  Backoff backoff;
  for (const Duration wait : {5ms, 10ms, 20ms, 40ms, 80ms, 160ms, 320ms, 500ms, 500ms}) {
    EXPECT_EQ(backoff.next(), wait);
  }
  backoff.reset();
  EXPECT_EQ(backoff.next(), 5ms);
}

}  // namespace
}  // namespace liminal
