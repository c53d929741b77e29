// What was deferred is taken in the order in which it was deferred, and the book stays bounded.
#include "common/base/deferrals.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "common/base/random.hpp"

namespace liminal {
namespace {

using Book = Deferrals<int>;
using Verdict = Book::Verdict;

constexpr bool kRoom = true, kFull = false;
MessageId message(std::uint64_t number) { return {1, number}; }

TEST(Deferrals, TakeWhatFindsRoomAndRememberNothing) {
  Book book{10};
  EXPECT_EQ(book.judge(1, message(1), kRoom), Verdict::kTake);
  EXPECT_TRUE(book.empty());
  EXPECT_EQ(book.messages(), 0U);
}

TEST(Deferrals, NothingLaterIsTakenUntilTheDeferredOneCameAgain) {
  Book book{10};
  EXPECT_EQ(book.judge(1, message(1), kFull), Verdict::kDefer);
  EXPECT_EQ(book.judge(1, message(2), kRoom), Verdict::kDefer);
  EXPECT_EQ(book.judge(1, message(1), kRoom), Verdict::kTake);
  EXPECT_EQ(book.judge(1, message(3), kRoom), Verdict::kDefer);  // 2 was refused too
  EXPECT_EQ(book.judge(1, message(2), kRoom), Verdict::kTake);
  EXPECT_EQ(book.judge(1, message(3), kRoom), Verdict::kTake);
  EXPECT_TRUE(book.empty());
}

TEST(Deferrals, WhatComesAgainAndFindsNoRoomKeepsItsPlace) {
  Book book{10};
  for (const int n : {1, 2}) {
    EXPECT_EQ(book.judge(1, message(static_cast<std::uint64_t>(n)), kFull), Verdict::kDefer);
  }
  EXPECT_EQ(book.judge(1, message(1), kFull), Verdict::kDefer);
  EXPECT_EQ(book.judge(1, message(2), kRoom), Verdict::kDefer);
  EXPECT_EQ(book.messages(), 2U);
  EXPECT_EQ(book.judge(1, message(1), kRoom), Verdict::kTake);
  EXPECT_EQ(book.judge(1, message(2), kRoom), Verdict::kTake);
}

TEST(Deferrals, OneSenderDoesNotHoldUpAnother) {
  Book book{10};
  EXPECT_EQ(book.judge(1, message(1), kFull), Verdict::kDefer);
  EXPECT_EQ(book.judge(2, message(2), kRoom), Verdict::kTake);
}

TEST(Deferrals, BeyondTheBoundAMessageIsRejectedAndLeavesNothing) {
  Book book{2};
  EXPECT_EQ(book.judge(1, message(1), kFull), Verdict::kDefer);
  EXPECT_EQ(book.judge(2, message(2), kFull), Verdict::kDefer);
  EXPECT_EQ(book.judge(3, message(3), kFull), Verdict::kReject);
  EXPECT_EQ(book.judge(1, message(4), kFull), Verdict::kReject);
  EXPECT_EQ(book.judge(1, message(1), kFull), Verdict::kDefer);  // known already
  EXPECT_EQ(book.judge(1, message(1), kRoom), Verdict::kTake);
  EXPECT_EQ(book.judge(3, message(5), kRoom), Verdict::kTake);  // nothing of 3 is deferred
  EXPECT_EQ(book.judge(3, message(6), kFull), Verdict::kDefer);
  EXPECT_EQ(book.messages(), 2U);
}

TEST(Deferrals, WhatIsWithdrawnIsNotWaitedFor) {
  Book book{10};
  for (std::uint64_t n = 1; n <= 3; ++n) {
    EXPECT_EQ(book.judge(1, message(n), kFull), Verdict::kDefer);
  }
  book.withdraw(1, message(1));
  book.withdraw(1, message(9));
  book.withdraw(7, message(1));
  EXPECT_EQ(book.judge(1, message(3), kRoom), Verdict::kDefer);
  EXPECT_EQ(book.judge(1, message(2), kRoom), Verdict::kTake);
  book.withdraw(1, message(3));
  EXPECT_TRUE(book.empty());
  EXPECT_EQ(book.messages(), 0U);
}

TEST(Deferrals, ASenderThatIsGoneLeavesNothing) {
  Book book{2};
  EXPECT_EQ(book.judge(1, message(1), kFull), Verdict::kDefer);
  EXPECT_EQ(book.judge(1, message(2), kFull), Verdict::kDefer);
  book.forget(1);
  book.forget(2);
  EXPECT_TRUE(book.empty());
  EXPECT_EQ(book.judge(2, message(3), kFull), Verdict::kDefer);
}

// Senders that repeat what was deferred, in order, whenever they like, while they send on: each
// one's messages are taken in the order in which it first sent them. On failure the seed is
// printed.
TEST(Deferrals, AnyInterleavingKeepsEachSendersOrder) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    Book book{1 + random.below(12)};
    std::map<int, std::set<std::uint64_t>> deferred;
    std::map<int, std::uint64_t> newest_taken;
    std::uint64_t sent = 0;
    const auto arrives = [&](int sender, std::uint64_t number, bool room) {
      switch (book.judge(sender, message(number), room)) {
        case Verdict::kTake:
          EXPECT_GT(number, newest_taken[sender]);
          newest_taken[sender] = number;
          deferred[sender].erase(number);
          break;
        case Verdict::kDefer:
          deferred[sender].insert(number);
          break;
        case Verdict::kReject:
          EXPECT_FALSE(deferred[sender].contains(number));
          break;
      }
    };
    for (int i = 0; i < 200; ++i) {
      const int sender = static_cast<int>(random.below(3));
      const auto again = deferred[sender];
      if (random.below(2) == 0) {
        arrives(sender, ++sent, random.below(2) == 0);
      } else {
        for (const std::uint64_t number : again) arrives(sender, number, random.below(2) == 0);
      }
    }
    for (auto& [sender, waiting] : deferred) {
      for (const std::uint64_t number : std::set{waiting}) arrives(sender, number, kRoom);
      EXPECT_TRUE(waiting.empty());
    }
    EXPECT_TRUE(book.empty());
    EXPECT_EQ(book.messages(), 0U);
  }
}

}  // namespace
}  // namespace liminal
