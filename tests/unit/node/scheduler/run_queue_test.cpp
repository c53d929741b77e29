// When a turn is a long one, that it is told once, and how many workers are in one.
#include "node/scheduler/run_queue.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

namespace liminal {
namespace {

using namespace std::chrono_literals;

class Idle final : public Process {
 public:
  void handle(Context&, Message) override {}
};

class LongTurns : public ::testing::Test {
 protected:
  LongTurns() { queue.open(3); }

  /// Worker `number` begins a turn of process 10 + `number` at `now`.
  void begin(unsigned number, TimePoint now) {
    auto process = std::make_shared<ProcessControl>(
        Pid{NodeName{"n"}, local_incarnation(), Serial{10 + number}}, std::make_unique<Idle>(),
        Random{1}, bounds);
    if (number == 1) process->service = &service;
    queue.push(process);
    ASSERT_EQ(queue.take_or_sleep(number, now, std::nullopt), process);
  }
  /// Its turn ends: the worker asks again, at a time when it need not sleep.
  void end(unsigned number) { (void)queue.take_or_sleep(number, kStart, kStart); }

  static constexpr TimePoint kStart{100s};
  const MailboxBounds bounds;
  const std::string service = "slow";
  RunQueue queue;
};

TEST_F(LongTurns, AreThoseThatHaveLastedTurnMax) {
  begin(1, kStart);
  const auto before = queue.watch(kStart + 500ms - 1ns, 500ms);
  EXPECT_TRUE(before.fresh.empty());
  EXPECT_EQ(before.in_long_turns, 0u);

  const auto at = queue.watch(kStart + 500ms, 500ms);
  ASSERT_EQ(at.fresh.size(), 1u);
  EXPECT_EQ(at.fresh[0].process, Serial{11});
  EXPECT_EQ(at.fresh[0].service, "slow");
  EXPECT_EQ(at.fresh[0].lasted, 500ms);
  EXPECT_EQ(at.in_long_turns, 1u);
}

TEST_F(LongTurns, AreToldOnceAndCountedUntilTheyEnd) {
  begin(0, kStart);
  begin(1, kStart + 100ms);
  EXPECT_EQ(queue.watch(kStart + 500ms, 500ms).fresh.size(), 1u);
  const auto both = queue.watch(kStart + 600ms, 500ms);
  ASSERT_EQ(both.fresh.size(), 1u);
  EXPECT_EQ(both.fresh[0].process, Serial{11});
  EXPECT_EQ(both.in_long_turns, 2u);
  end(0);
  EXPECT_EQ(queue.watch(kStart + 1h, 500ms).in_long_turns, 1u);
  end(1);
  EXPECT_EQ(queue.watch(kStart + 1h, 500ms).in_long_turns, 0u);
}

TEST_F(LongTurns, EachTurnCountsFromItsOwnBeginning) {
  begin(0, kStart);
  ASSERT_EQ(queue.watch(kStart + 500ms, 500ms).fresh.size(), 1u);
  begin(0, kStart + 600ms);
  EXPECT_EQ(queue.watch(kStart + 1100ms - 1ns, 500ms).in_long_turns, 0u);
  const auto next = queue.watch(kStart + 1100ms, 500ms);
  ASSERT_EQ(next.fresh.size(), 1u) << "it is told anew";
  EXPECT_EQ(next.fresh[0].service, "");
}

}  // namespace
}  // namespace liminal
