// Echoes become the times at which beats were sent, however many are under way.
#include "common/liveness/beat_book.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace liminal {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{100s};

class BeatBookOfThree : public ::testing::Test {
 protected:
  /// Beats up to that number, a second apart.
  void send_until(std::uint64_t last) {
    while (book.newest() < last) {
      const auto next = static_cast<std::int64_t>(book.newest()) + 1;
      (void)book.record_sent(kStart + next * 1s);
    }
  }

  BeatBook book{3};
};

TEST_F(BeatBookOfThree, AnEchoTellsWhenItsBeatWasSentAndIsGoodOnce) {
  send_until(3);
  EXPECT_EQ(book.record_echo(2), kStart + 2s);
  EXPECT_EQ(book.record_echo(2), std::nullopt);
  EXPECT_EQ(book.record_echo(1), std::nullopt) << "older than one that came";
  EXPECT_EQ(book.record_echo(4), std::nullopt) << "never sent";
  EXPECT_EQ(book.unechoed(), 1u);
  EXPECT_EQ(book.unechoed_since(), kStart + 3s);
  EXPECT_EQ(book.record_echo(3), kStart + 3s);
  EXPECT_EQ(book.unechoed_since(), std::nullopt);
}

TEST_F(BeatBookOfThree, ForgetsTheOldestOfFourButNotSinceWhenNothingIsEchoed) {
  send_until(3);
  EXPECT_EQ(book.unechoed_since(), kStart + 1s);
  send_until(4);
  EXPECT_EQ(book.unechoed(), 3u);
  EXPECT_EQ(book.unechoed_since(), kStart + 1s);
  EXPECT_EQ(book.record_echo(1), std::nullopt) << "forgotten";
  EXPECT_EQ(book.unechoed_since(), kStart + 1s);
  EXPECT_EQ(book.record_echo(3), kStart + 3s);
  EXPECT_EQ(book.unechoed_since(), kStart + 4s);
}

}  // namespace
}  // namespace liminal
