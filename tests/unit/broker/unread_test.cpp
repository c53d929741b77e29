// Goal: who reads is answered without end, who does not costs a bounded number of bytes.
#include "broker/unread.hpp"

#include <gtest/gtest.h>

#include <map>
#include <optional>

namespace liminal::broker {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{1h};
constexpr ConnectionId kA{1}, kB{2};
constexpr std::size_t kHeader = 9;  // ZMTP's, of longer messages

class UnreadTest : public ::testing::Test {
 public:
  /// What its peer has taken.
  std::optional<std::uint64_t> operator()(ConnectionId connection) {
    ++looks;
    const auto found = taken.find(connection);
    if (found == taken.end()) return std::nullopt;
    return found->second;
  }

 protected:
  bool may_answer(ConnectionId connection) { return unread.may_answer(connection, *this); }
  std::optional<ConnectionId> worst(ConnectionId asker, TimePoint now = kStart) {
    return unread.worst(asker, now, *this);
  }
  bool send(ConnectionId connection, std::size_t bytes) {
    return unread.sent(connection, bytes - kHeader, *this);
  }

  Unread unread{{.answers_bytes_max = 1000, .all_answers_bytes_max = 2500, .bytes_max = 10'000}};
  std::map<ConnectionId, std::uint64_t> taken{{kA, 200}, {kB, 300}};
  int looks = 0;
};

TEST_F(UnreadTest, WhoTakesNothingIsAnsweredBelowTheBoundAndNotAtIt) {
  EXPECT_TRUE(may_answer(kA));
  EXPECT_TRUE(send(kA, 999));
  EXPECT_TRUE(may_answer(kA));
  EXPECT_TRUE(unread.sent(kA, 1 - 1, *this));  // two bytes of a header
  EXPECT_FALSE(may_answer(kA));
  EXPECT_TRUE(may_answer(kB)) << "another one";
  taken[kA] += 2;
  EXPECT_TRUE(may_answer(kA));
}

TEST_F(UnreadTest, WhoTakesEverythingIsAnsweredWithoutEnd) {
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(may_answer(kA)) << i;
    ASSERT_TRUE(send(kA, 700));
    taken[kA] += 700;
  }
  EXPECT_LT(looks, 1010) << "asked only when the bound seems passed";
}

// What was read before is no credit for what is not read now.
TEST_F(UnreadTest, NobodySavesUp) {
  ASSERT_TRUE(may_answer(kA));
  taken[kA] += 1'000'000;  // heartbeats of the transport and the like
  ASSERT_TRUE(send(kA, 1000));
  ASSERT_TRUE(may_answer(kA));
  ASSERT_TRUE(send(kA, 1000));
  EXPECT_FALSE(may_answer(kA));
}

TEST_F(UnreadTest, OfManyThatEachStayBelowTheirBoundTheWorstReaderHasToGo) {
  for (std::uint64_t i = 10; i < 14; ++i) {
    taken[ConnectionId{i}] = 0;
    ASSERT_TRUE(may_answer(ConnectionId{i}));
    ASSERT_TRUE(send(ConnectionId{i}, i == 12 ? 900 : 500));
    EXPECT_EQ(worst(kB), std::nullopt) << "below the bound of all";
  }
  ASSERT_TRUE(may_answer(kA));
  ASSERT_TRUE(send(kA, 99 + 7));  // a short one: a header of two bytes
  EXPECT_EQ(unread.of_askers(), 2499u);
  EXPECT_EQ(worst(kB), std::nullopt);
  ASSERT_TRUE(send(kA, kHeader));
  ASSERT_TRUE(may_answer(kB)) << "who has read what it asked for is answered in any case";
  EXPECT_EQ(worst(kB), ConnectionId{12});
  unread.forget(ConnectionId{12});
  EXPECT_EQ(worst(kB), std::nullopt);
}

TEST_F(UnreadTest, WhoReadsDoesNotHaveToGoForWhoDoesNot) {
  TimePoint now = kStart;
  for (const ConnectionId each : {kA, kB, ConnectionId{3}}) {
    taken.try_emplace(each, 0);
    ASSERT_TRUE(may_answer(each));
    ASSERT_TRUE(send(each, each == kA ? 900 : 700));
  }
  EXPECT_EQ(worst(ConnectionId{4}, now), std::nullopt) << "who reads is looked at from here on";
  taken[kA] += 10;  // most is unread of the one that reads
  taken[ConnectionId{3}] += 10;
  now += Unread::kLookAgain;
  ASSERT_TRUE(send(ConnectionId{3}, 300));
  EXPECT_EQ(worst(ConnectionId{4}, now), ConnectionId{kB});
  unread.forget(kB);
  ASSERT_TRUE(send(ConnectionId{3}, 900));
  EXPECT_EQ(worst(ConnectionId{4}, now + 1ms), ConnectionId{3}) << "the one with the most";
}

// Who is far away has not taken an answer that has just been sent; those who mean ill take a
// little.
TEST_F(UnreadTest, WhoHasJustBeenAnsweredDoesNotHaveToGoForThoseWhoReadALittle) {
  constexpr std::uint64_t kMany = 100, kFar = 500;
  Unread of_many{
      {.answers_bytes_max = 1000, .all_answers_bytes_max = kMany * 500, .bytes_max = 10'000}};
  taken[ConnectionId{kFar}] = 0;
  TimePoint now = kStart;
  const auto trickle = [&] {
    for (std::uint64_t i = 10; i < 10 + kMany; ++i) ++taken[ConnectionId{i}];
  };
  for (std::uint64_t i = 10; i < 10 + kMany; ++i) {
    taken[ConnectionId{i}] = 0;
    ASSERT_TRUE(of_many.may_answer(ConnectionId{i}, *this));
    ASSERT_TRUE(of_many.sent(ConnectionId{i}, 495, *this));
    (void)of_many.worst(kB, now, *this);
    trickle();
  }
  now += Unread::kLookAgain;
  ASSERT_TRUE(of_many.may_answer(ConnectionId{kFar}, *this));
  ASSERT_TRUE(of_many.sent(ConnectionId{kFar}, 300, *this));
  for (int cut = 0; cut < 20; ++cut) {
    trickle();
    for (std::uint64_t i = 10; i < 10 + kMany; ++i) {
      (void)of_many.sent(ConnectionId{i}, 100, *this);
    }
    looks = 0;
    const auto who = of_many.worst(kB, now += 1ms, [&](ConnectionId each) {
      trickle();  // all of them, whenever one is looked at
      return (*this)(each);
    });
    ASSERT_TRUE(who);
    EXPECT_NE(*who, ConnectionId{kFar});
    EXPECT_LE(looks, static_cast<int>(kMany) + 20);
    of_many.forget(*who);
    taken.erase(*who);
  }
}

TEST_F(UnreadTest, NobodyHasToGoForHavingBeenUnreadWhenEverybodyWasLookedAtBefore) {
  for (const ConnectionId each : {kA, kB, ConnectionId{3}}) {
    taken.try_emplace(each, 0);
    ASSERT_TRUE(may_answer(each));
    ASSERT_TRUE(send(each, 900));
    taken[each] += 900;  // read since
  }
  EXPECT_EQ(worst(ConnectionId{4}), std::nullopt);
  EXPECT_EQ(unread.of_askers(), 0u);
}

TEST_F(UnreadTest, NobodyHasToGoForWhatTheAskerHasReadMeanwhile) {
  ASSERT_TRUE(may_answer(kA));
  ASSERT_TRUE(send(kA, 900));
  EXPECT_EQ(worst(kB), std::nullopt);
  ASSERT_TRUE(may_answer(kB));
  ASSERT_TRUE(send(kB, 1700));
  taken[kB] += 1700;
  EXPECT_EQ(worst(kB), std::nullopt);
  EXPECT_EQ(unread.of_askers(), 900u);
}

TEST_F(UnreadTest, NobodyHasToGoForItself) {
  ASSERT_TRUE(may_answer(kA));
  ASSERT_TRUE(send(kA, 900));
  ASSERT_TRUE(may_answer(kA));
  ASSERT_TRUE(send(kA, 2000));
  EXPECT_EQ(worst(kA), std::nullopt);
  EXPECT_EQ(worst(kB), kA);
}

TEST_F(UnreadTest, WhoIsSentMoreThanItTakesIsGivenUpBeyondTheBound) {
  EXPECT_TRUE(send(kA, 10'000));
  EXPECT_FALSE(send(kA, 100));
  taken[kA] += 10'050;
  EXPECT_TRUE(send(kA, 100));
}

TEST_F(UnreadTest, NobodyIsGivenUpOrLeftUnansweredWhereNothingIsKnown) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(may_answer(ConnectionId{9}));
    EXPECT_TRUE(send(ConnectionId{9}, 1000));
  }
  EXPECT_EQ(unread.of_askers(), 0u) << "others are not made to wait for it";
}

TEST_F(UnreadTest, WhoIsForgottenLeavesNothing) {
  ASSERT_TRUE(may_answer(kA));
  ASSERT_TRUE(send(kA, 1000));
  unread.forget(kA);
  unread.forget(kA);
  EXPECT_EQ(unread.connections(), 0u);
  EXPECT_EQ(unread.of_askers(), 0u);
}

}  // namespace
}  // namespace liminal::broker
