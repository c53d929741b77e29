// Goal: messages wait in order, within a bound, and go when the socket takes them.
#include "broker/outbox.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace liminal::broker {
namespace {

net::Parts message(const std::string& text) {
  net::Parts parts;
  parts.emplace_back(text);
  return parts;
}

/// Takes so many messages, then would block.
struct Taker {
  int room;
  std::vector<std::string> taken = {};

  Result<void> operator()(net::Parts& parts) {
    if (room-- <= 0) return fail(Errc::kWouldBlock, "full");
    taken.emplace_back(parts.at(0).view());
    return {};
  }
};

TEST(Outbox, FlushesInOrderAsFarAsTheSocketTakes) {
  Outbox outbox{10'000};
  for (const char* text : {"a", "b", "c"}) {
    auto parts = message(text);
    ASSERT_TRUE(outbox.push(parts));
  }
  Taker two{2};
  EXPECT_EQ(outbox.flush(two), std::nullopt);
  EXPECT_EQ(two.taken, (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(outbox.empty());
  Taker all{9};
  EXPECT_EQ(outbox.flush(all), std::nullopt);
  EXPECT_EQ(all.taken, std::vector<std::string>{"c"});
  EXPECT_TRUE(outbox.empty());
  EXPECT_EQ(outbox.bytes(), 0u);
}

TEST(Outbox, RefusesWhatWouldPassItsBoundAndLeavesItWhole) {
  Outbox probe{1'000'000};
  auto first = message(std::string(1000, 'x'));
  ASSERT_TRUE(probe.push(first));
  const std::size_t one = probe.bytes();

  Outbox outbox{2 * one};
  for (int i = 0; i < 2; ++i) {
    auto parts = message(std::string(1000, 'x'));
    ASSERT_TRUE(outbox.push(parts));
  }
  auto third = message("z");
  EXPECT_FALSE(outbox.push(third));
  EXPECT_EQ(third.at(0).view(), "z");
}

TEST(Outbox, TellsOfAnErrorThatIsNoFullQueue) {
  Outbox outbox{10'000};
  auto parts = message("a");
  ASSERT_TRUE(outbox.push(parts));
  const auto error = outbox.flush(
      [](net::Parts&) -> Result<void> { return fail(Errc::kPeerUnreachable, "gone"); });
  EXPECT_EQ(error->code, Errc::kPeerUnreachable);
}

}  // namespace
}  // namespace liminal::broker
