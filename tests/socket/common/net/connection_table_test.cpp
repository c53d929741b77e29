// Goal: each closing is told once, for the right connection and after its messages, although file
// descriptors are reused and messages of several of their generations wait at once.
#include "common/net/connection_table.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>

#include "common/base/random.hpp"

namespace liminal::net {
namespace {

using Ids = std::vector<ConnectionId>;

TEST(ConnectionTableTest, AClosingIsToldOnceAndOnlyWhenEverythingWasRead) {
  ConnectionTable table;
  table.accepted(7);
  const ConnectionId a = table.add(100, 7);
  EXPECT_EQ(table.find(100), a);
  EXPECT_EQ(table.routing(a), 100u);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{});

  table.disconnected(7);
  EXPECT_EQ(table.find(100), a) << "messages of it may wait";
  EXPECT_EQ(table.routing(a), std::nullopt) << "but it takes none";
  EXPECT_EQ(table.take_closed(), Ids{});
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{a});
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{});
  EXPECT_EQ(table.find(100), std::nullopt);
}

TEST(ConnectionTableTest, AConnectionThatWasOverBeforeItsFirstMessageWasReadIsTold) {
  ConnectionTable table;
  table.accepted(7);
  table.disconnected(7);
  const ConnectionId a = table.add(100, 7);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{a});
}

TEST(ConnectionTableTest, ADescriptorThatAnotherConnectionSpeaksWithHasLostTheFormerOne) {
  ConnectionTable table;
  table.accepted(7);
  table.disconnected(7);
  table.accepted(7);
  const ConnectionId former = table.add(100, 7);  // looks like the present one
  const ConnectionId present = table.add(101, 7);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{former});
  EXPECT_EQ(table.routing(present), 101u);
}

TEST(ConnectionTableTest, AFormerConnectionReadLateDoesNotEndThePresentOne) {
  for (const RoutingNumber first : {100u, 0xFFFFFFFFu}) {  // the numbers wrap around
    ConnectionTable table;
    table.accepted(7);
    table.disconnected(7);
    table.accepted(7);
    const ConnectionId present = table.add(first + 1, 7);
    const ConnectionId former = table.add(first, 7);
    table.ran_dry();
    EXPECT_EQ(table.take_closed(), Ids{former});
    EXPECT_EQ(table.routing(present), first + 1);
    table.disconnected(7);
    table.ran_dry();
    EXPECT_EQ(table.take_closed(), Ids{present});
  }
}

TEST(ConnectionTableTest, AFailedSendIsAClosingAndTheEventsAfterItTellNothingMore) {
  ConnectionTable table;
  table.accepted(7);
  const ConnectionId a = table.add(100, 7);
  table.unreachable(a);
  table.unreachable(a);
  table.disconnected(7);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{a});
  table.unreachable(a);
  table.accepted(7);
  const ConnectionId b = table.add(101, 7);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{});
  table.disconnected(7);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{b});
}

TEST(ConnectionTableTest, WithoutADescriptorOnlyAFailedSendShowsTheClosing) {
  ConnectionTable table;
  const ConnectionId a = table.add(100, -1);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{});
  table.unreachable(a);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{a});
}

// While others always have more to be read the table is never told that it ran dry.
TEST(ConnectionTableTest, AClosingIsToldWhenOthersWereReadForRoundsAndNothingOfIt) {
  ConnectionTable table;
  table.accepted(7);
  table.accepted(8);
  const ConnectionId flooder = table.add(100, 7);
  const ConnectionId a = table.add(101, 8);
  (void)table.read(a);
  table.disconnected(8);
  const std::uint64_t quiet = 2 * 2 + ConnectionTable::kQuietMin;
  for (std::uint64_t i = 0; i < quiet; ++i) (void)table.read(flooder);
  table.tell_quiet();
  EXPECT_EQ(table.take_closed(), Ids{}) << "one of its own may be the next";
  (void)table.read(a);
  for (std::uint64_t i = 0; i < quiet; ++i) (void)table.read(flooder);
  table.tell_quiet();
  EXPECT_EQ(table.take_closed(), Ids{}) << "it was";
  EXPECT_EQ(table.find(101), a);
  (void)table.read(flooder);
  table.tell_quiet();
  EXPECT_EQ(table.take_closed(), Ids{a});
  EXPECT_EQ(table.find(101), std::nullopt);
  EXPECT_FALSE(table.has_unread_closings());
  EXPECT_EQ(table.routing(flooder), 100u);
}

TEST(ConnectionTableTest, AClosingThatIsStillThereAtTheNextLookIsTold) {
  ConnectionTable table;
  table.accepted(7);
  const ConnectionId a = table.add(100, 7);
  table.tell_overdue();
  table.disconnected(7);
  table.tell_overdue();
  EXPECT_EQ(table.take_closed(), Ids{});
  table.tell_overdue();
  EXPECT_EQ(table.take_closed(), Ids{a});
  const ConnectionId late = table.add(100, 7);  // more of it comes to be read
  EXPECT_NE(late, a);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{late}) << "nobody takes it for alive";
}

TEST(ConnectionTableTest, WhatIsReadOfAConnectionThatClosedIsKnownToBe) {
  ConnectionTable table;
  table.accepted(7);
  const ConnectionId a = table.add(100, 7);
  EXPECT_FALSE(table.read(a));
  table.disconnected(7);
  EXPECT_TRUE(table.read(a));
  table.accepted(7);
  const ConnectionId b = table.add(101, 7);
  EXPECT_FALSE(table.read(b));
  EXPECT_TRUE(table.read(a));
}

// Its descriptor was free again and is another's by now, who has not spoken yet; but that one came
// after a connection which is younger than this.
TEST(ConnectionTableTest, WhoIsOlderThanOneThatSpokeBeforeItsDescriptorWasOpenedHadItBefore) {
  for (const RoutingNumber first : {100u, 0xFFFFFFFEu}) {  // the numbers wrap around
    ConnectionTable table;
    table.accepted(7);
    table.disconnected(7);
    table.accepted(8);
    const ConnectionId younger = table.add(first + 1, 8);
    table.accepted(7);
    const ConnectionId former = table.add(first, 7);
    EXPECT_TRUE(table.read(former));
    table.ran_dry();
    EXPECT_EQ(table.take_closed(), Ids{former});
    const ConnectionId present = table.add(first + 2, 7);
    EXPECT_FALSE(table.read(present));
    EXPECT_FALSE(table.read(younger));
  }
}

// What a closed connection left is bounded, and each look finds less of it.
TEST(ConnectionTableTest, AClosingOfWhichMoreIsReadBetweenTwoLooksIsNotToldYet) {
  ConnectionTable table;
  table.accepted(7);
  const ConnectionId a = table.add(100, 7);
  table.disconnected(7);
  for (int look = 0; look < 5; ++look) {
    table.tell_overdue();
    EXPECT_EQ(table.take_closed(), Ids{});
    EXPECT_TRUE(table.read(a));
  }
  table.tell_overdue();
  EXPECT_EQ(table.take_closed(), Ids{});
  table.tell_overdue();
  EXPECT_EQ(table.take_closed(), Ids{a});
}

TEST(ConnectionTableTest, AWatchedConnectionIsToldOnceWhenItIsReadOut) {
  ConnectionTable table;
  table.accepted(7);
  table.accepted(8);
  const ConnectionId flooder = table.add(100, 7);
  const ConnectionId a = table.add(101, 8);
  const std::uint64_t quiet = 2 * 2 + ConnectionTable::kQuietMin;
  for (std::uint64_t i = 0; i <= quiet; ++i) (void)table.read(flooder);
  table.watch(a);
  for (std::uint64_t i = 0; i < quiet; ++i) (void)table.read(flooder);
  table.tell_quiet();
  EXPECT_EQ(table.take_read_out(), Ids{}) << "what was read before the watch does not count";
  EXPECT_FALSE(table.read(a));
  for (std::uint64_t i = 0; i < quiet; ++i) (void)table.read(flooder);
  table.tell_quiet();
  EXPECT_EQ(table.take_read_out(), Ids{});
  (void)table.read(flooder);
  table.tell_quiet();
  EXPECT_EQ(table.take_read_out(), Ids{a});
  table.ran_dry();
  EXPECT_EQ(table.take_read_out(), Ids{});

  table.watch(a);
  table.watch(a);
  table.ran_dry();
  EXPECT_EQ(table.take_read_out(), Ids{a}) << "nothing waits any more";
}

TEST(ConnectionTableTest, AWatchedConnectionThatClosesIsToldAsClosedAlone) {
  ConnectionTable table;
  table.accepted(7);
  const ConnectionId a = table.add(100, 7);
  table.watch(a);
  table.disconnected(7);
  table.ran_dry();
  EXPECT_EQ(table.take_closed(), Ids{a});
  table.watch(a);
  table.ran_dry();
  EXPECT_EQ(table.take_read_out(), Ids{});
  EXPECT_FALSE(table.is_counting());
}

// A world of connections that open, speak and close on few descriptors, with a reader that lags by
// whole generations and reads the connections' queues in any order. A closing is told at most once
// and never for a live connection; when all is closed and read, all were told.
TEST(ConnectionTableTest, TellsEachClosingOnceAndNoneOfTheLivingInAnyInterleaving) {
  struct Event {
    int fd;
    bool accepted;
  };
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    ConnectionTable table;
    RoutingNumber next = static_cast<RoutingNumber>(0) - 5;
    std::deque<Event> events;
    std::map<RoutingNumber, int> unread;  // messages waiting
    std::map<RoutingNumber, int> fd_of;
    std::map<int, RoutingNumber> open;  // by fd
    std::map<ConnectionId, RoutingNumber> known;
    std::set<ConnectionId> told;

    const auto drain = [&] {
      for (; !events.empty(); events.pop_front()) {
        if (events.front().accepted) {
          table.accepted(events.front().fd);
        } else {
          table.disconnected(events.front().fd);
        }
      }
    };
    const auto read_one = [&] {
      auto at = unread.begin();
      std::advance(at, static_cast<long>(random.below(unread.size())));
      const RoutingNumber routing = at->first;
      if (--at->second == 0) unread.erase(at);
      std::optional<ConnectionId> id = table.find(routing);
      if (!id) {
        drain();
        id = table.add(routing, fd_of.at(routing));
        EXPECT_TRUE(known.emplace(*id, routing).second);
      }
      const auto living = open.find(fd_of.at(routing));
      const bool lives = living != open.end() && living->second == routing;
      EXPECT_FALSE(table.read(*id) && lives) << "called closed while it is alive";
    };
    const auto read_dry = [&] {
      drain();
      while (!unread.empty()) read_one();
      table.ran_dry();
      for (const ConnectionId id : table.take_closed()) {
        EXPECT_TRUE(told.insert(id).second);
        const auto living = open.find(fd_of.at(known.at(id)));
        EXPECT_FALSE(living != open.end() && living->second == known.at(id)) << "alive";
      }
    };

    for (int step = 0; step < 200; ++step) {
      const int fd = static_cast<int>(random.below(3));
      switch (random.below(5)) {
        case 0:
          if (open.contains(fd)) break;
          open.emplace(fd, next);
          fd_of.emplace(next++, fd);
          events.push_back({fd, true});
          break;
        case 1:
          if (open.erase(fd) > 0) events.push_back({fd, false});
          break;
        case 2:
          if (open.contains(fd)) ++unread[open.at(fd)];
          break;
        case 3:
          if (!unread.empty()) read_one();
          break;
        default:
          if (random.below(4) == 0) read_dry();
      }
    }
    for (const auto& [fd, routing] : std::exchange(open, {})) events.push_back({fd, false});
    read_dry();
    EXPECT_EQ(told.size(), known.size());
  }
}

}  // namespace
}  // namespace liminal::net
