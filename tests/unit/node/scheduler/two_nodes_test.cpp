// Links, monitors and spawns between two schedulers that are joined by their `forward`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/unit/node/scheduler/troupe.hpp"

namespace liminal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const ConversationId kConversation{0, 1};

class TwoNodesTest : public ::testing::Test {
 protected:
  void spawn_there(std::size_t who, const char* service) {
    troupe.act(who, [=, this](Context& c) {
      static_cast<void>(
          c.spawn_service(troupe.node_seen_from(0, 1), ServiceName{service}, kConversation));
    });
  }

  test::Troupe troupe{2};
  std::size_t near = troupe.spawn_trapping(0);
  std::size_t far = troupe.spawn_trapping(1);
};

TEST_F(TwoNodesTest, ALinkBetweenNodesWorksBothWays) {
  troupe.act(near, [&](Context& c) { c.link(troupe.pid(near, far)); });
  troupe.act(far, [](Context& c) { c.exit(ExitReason::error("far")); });
  EXPECT_THAT(troupe.seen(near), ElementsAre("exited 1 error far"));

  const auto other = troupe.spawn(1);
  troupe.run();
  troupe.act(near, [&](Context& c) { c.link(troupe.pid(near, other)); });
  troupe.act(near, [](Context& c) { c.exit(ExitReason::error("near")); });
  EXPECT_FALSE(troupe.alive(other));
}

TEST_F(TwoNodesTest, LinksAndMonitorsToTheGoneAreAnsweredAcrossNodes) {
  troupe.act(far, [](Context& c) { c.exit(ExitReason::normal()); });
  troupe.act(near, [&](Context& c) {
    c.link(troupe.pid(near, far));
    static_cast<void>(c.monitor(troupe.pid(near, far)));
    c.send(troupe.pid(near, far), test::envelope(c, "lost"));
  });
  EXPECT_THAT(troupe.seen(near), ElementsAre("exited 1 noproc", "down 1 1 noproc"));
  EXPECT_EQ(troupe.dropped(1), 1U);
}

TEST_F(TwoNodesTest, LinksThatCrossAreOneLink) {
  troupe.run();
  troupe.post(near, [&](Context& c) { c.link(troupe.pid(near, far)); });
  troupe.post(far, [&](Context& c) { c.link(troupe.pid(far, near)); });
  troupe.run();
  troupe.act(far, [](Context& c) { c.exit(ExitReason::error("once")); });
  EXPECT_THAT(troupe.seen(near), ElementsAre("exited 1 error once"));
}

TEST_F(TwoNodesTest, AnUnlinkSparesTheLinkThatCrossesIt) {
  troupe.run();
  troupe.post(near, [&](Context& c) {
    c.link(troupe.pid(near, far));
    c.unlink(troupe.pid(near, far));
  });
  troupe.post(far, [&](Context& c) { c.link(troupe.pid(far, near)); });
  troupe.run_node(0);
  troupe.run_node(1);  // both have acted, nothing has been carried
  troupe.run();
  troupe.act(near, [](Context& c) { c.exit(ExitReason::error("linked")); });
  EXPECT_THAT(troupe.seen(far), ElementsAre("exited 0 error linked"));
}

TEST_F(TwoNodesTest, AnExitThatCrossesAnUnlinkIsDropped) {
  troupe.act(near, [&](Context& c) { c.link(troupe.pid(near, far)); });
  troupe.post(far, [](Context& c) { c.exit(ExitReason::error("crossing")); });
  troupe.run_node(1);  // its exit signal is on the wire
  troupe.post(near, [&](Context& c) { c.unlink(troupe.pid(near, far)); });
  troupe.run();
  EXPECT_THAT(troupe.seen(near), IsEmpty());
}

TEST_F(TwoNodesTest, AnExitThatCrossesAnUnlinkDoesNotCountForTheNextLink) {
  troupe.act(near, [&](Context& c) { c.link(troupe.pid(near, far)); });
  troupe.post(far, [](Context& c) { c.exit(ExitReason::error("crossing")); });
  troupe.run_node(1);
  troupe.post(near, [&](Context& c) {
    c.unlink(troupe.pid(near, far));
    c.link(troupe.pid(near, far));
  });
  troupe.run_node(0);
  troupe.run();
  EXPECT_THAT(troupe.seen(near), ElementsAre("exited 1 noproc"));
}

TEST_F(TwoNodesTest, ADownThatCrossesADemonitorIsDropped) {
  troupe.act(near, [&](Context& c) { static_cast<void>(c.monitor(troupe.pid(near, far))); });
  troupe.post(far, [](Context& c) { c.exit(ExitReason::normal()); });
  troupe.run_node(1);
  troupe.post(near, [](Context& c) { c.demonitor(MonitorId{1}); });
  troupe.run();
  EXPECT_THAT(troupe.seen(near), IsEmpty());
}

TEST_F(TwoNodesTest, ADownFromSomebodyElseIsNoneOfTheMonitored) {
  const auto liar = troupe.spawn(1);
  troupe.run();
  troupe.act(near, [&](Context& c) { static_cast<void>(c.monitor(troupe.pid(near, far))); });
  troupe.node(0).deliver(signal::Down{troupe.pid(near, liar), troupe.pid(near), MonitorId{1},
                                      ExitReason::error("forged")});
  troupe.run();
  EXPECT_THAT(troupe.seen(near), IsEmpty());
}

TEST_F(TwoNodesTest, NoconnectionFiresLinkAndMonitorOnceAndWhatComesLaterIsStale) {
  test::Troupe one(1);
  const auto a = one.spawn_trapping();
  const Pid lost{NodeName{"lost"}, Incarnation{9}, Serial{4}};
  const Pid self = one.pid(a);
  one.act(a, [&](Context& c) {
    c.link(lost);
    static_cast<void>(c.monitor(lost));
  });
  const auto noconnection = ExitReason::noconnection(std::nullopt);
  const LinkId made{self > lost ? 3U : 2U};  // its first
  for (int twice = 0; twice < 2; ++twice) {
    one.node().deliver(signal::Exit{lost, self, noconnection, made});
    one.node().deliver(signal::Down{lost, self, MonitorId{1}, noconnection});
    one.run();
  }
  EXPECT_THAT(one.seen(a), ElementsAre("exited ? noconnection", "down 1 ? noconnection"));
}

TEST_F(TwoNodesTest, ARemoteInstanceIsLinkedToItsRequester) {
  spawn_there(near, "puppet");
  ASSERT_THAT(troupe.seen(near), ElementsAre("spawned 1 serial 2"));
  troupe.act(2, [](Context& c) { c.exit(ExitReason::error("instance")); });
  EXPECT_EQ(troupe.seen(near).back(), "exited 2 error instance");

  spawn_there(near, "puppet");
  troupe.act(near, [](Context& c) { c.exit(ExitReason::error("requester")); });
  EXPECT_FALSE(troupe.alive(3));
}

TEST_F(TwoNodesTest, ASpawnTellsWhetherTheInstanceCompensatesHereAndThere) {
  spawn_there(near, "undoing");
  EXPECT_THAT(troupe.seen(near), ElementsAre("spawned 1 serial 2 compensates"));
  troupe.act(near, [&](Context& c) {
    static_cast<void>(
        c.spawn_service(troupe.node_seen_from(0, 0), ServiceName{"undoing"}, kConversation));
  });
  EXPECT_EQ(troupe.seen(near).back(), "spawned 2 serial 2 compensates");
}

TEST_F(TwoNodesTest, ACancellingFollowsWhatItCancelsToAnotherNode) {
  troupe.act(far, [](Context& c) { c.take_envelopes(false); });
  troupe.act(near, [&](Context& c) {
    const Pid to = troupe.pid(near, far);
    Envelope first = test::envelope(c, "first");
    const MessageId id = first.id;
    c.send(to, std::move(first));
    c.send(to, test::envelope(c, "second"));
    c.cancel(to, id);
    c.cancel(to, id);
  });
  EXPECT_THAT(troupe.seen(far), ElementsAre("cancelled by 0 first", "cancelled by 0 nothing"));
  troupe.act(far, [](Context& c) { c.take_envelopes(true); });
  EXPECT_EQ(troupe.seen(far).back(), "got 0 second");
}

TEST_F(TwoNodesTest, ARemoteSpawnThatFailsSaysWhy) {
  spawn_there(near, "unheard-of");
  EXPECT_THAT(troupe.seen(near), ElementsAre("spawned 1 error no unheard-of"));
}

TEST_F(TwoNodesTest, AnInstanceThatEndsAtOnceIsFirstSpawnedThenExited) {
  troupe.run();
  // A factory whose instance throws in its first turn.
  struct Doomed final : Process {
    void on_start(Context&) override { throw std::runtime_error("stillborn"); }
    void handle(Context&, Message) override {}
  };
  troupe.node(1).set_service_factory(
      [](const signal::SpawnRequest&) -> Result<std::unique_ptr<Process>> {
        return std::make_unique<Doomed>();
      });
  spawn_there(near, "doomed");
  EXPECT_THAT(troupe.seen(near), ElementsAre("spawned 1 serial 2", "exited ? error stillborn"));
}

TEST_F(TwoNodesTest, AnAbandonedRemoteSpawnEndsItsInstance) {
  for (const bool answered_before : {false, true}) {
    test::Troupe pair(2);
    const auto a = pair.spawn(0);
    pair.run();
    pair.post(a, [&](Context& c) {
      static_cast<void>(
          c.spawn_service(pair.node_seen_from(0, 1), ServiceName{"trapping"}, kConversation));
    });
    pair.run_node(0);
    while (pair.carry(0, 1)) continue;
    pair.run_node(1);
    if (answered_before) {
      // In one batch: the abandoning first, then the answer; the answer finds nobody waiting.
      pair.post(a, [](Context& c) { c.abandon_spawn(SpawnId{1}); });
      while (pair.carry(1, 0)) continue;
    } else {
      pair.act(a, [](Context& c) { c.abandon_spawn(SpawnId{1}); });
    }
    pair.run();
    EXPECT_THAT(pair.seen(a), IsEmpty());
    EXPECT_THAT(pair.seen(1), ElementsAre("exited 0 shutdown"));
  }
}

TEST_F(TwoNodesTest, ARemoteInstanceWhoseRequesterIsGoneEndsWithNoproc) {
  troupe.post(near, [&](Context& c) {
    static_cast<void>(
        c.spawn_service(troupe.node_seen_from(0, 1), ServiceName{"trapping"}, kConversation));
    c.exit(ExitReason::normal());
  });
  troupe.run();
  EXPECT_THAT(troupe.seen(2), ElementsAre("exited 0 noproc"));
}

TEST_F(TwoNodesTest, ASpawnAnsweredByAnotherNodeThanAskedIsNotTaken) {
  troupe.run();
  troupe.post(near, [&](Context& c) {
    static_cast<void>(c.spawn_service(Pid{NodeName{"n9"}, Incarnation{9}, Serial{0}},
                                      ServiceName{"s"}, kConversation));
  });
  troupe.run();
  troupe.node(0).deliver(
      signal::SpawnReply{troupe.pid(near, far), troupe.pid(near), SpawnId{1}, LinkId{77}});
  troupe.run();
  EXPECT_THAT(troupe.seen(near), IsEmpty());
}

TEST_F(TwoNodesTest, WhatTheEndedLeaveBehindAtOthersIsTakenBack) {
  // The monitor of one that ended is taken back, so that nothing piles up at the watched.
  std::vector<Signal> left;
  Scheduler scheduler({NodeName{"n"}, 1}, [&](Signal signal) { left.push_back(signal); });
  struct Watcher final : Process {
    void on_start(Context& c) override {
      static_cast<void>(c.monitor(Pid{NodeName{"m"}, Incarnation{5}, Serial{6}}));
      c.exit(ExitReason::normal());
    }
    void handle(Context&, Message) override {}
  };
  scheduler.spawn(std::make_unique<Watcher>());
  scheduler.run_until_idle(TimePoint{});
  ASSERT_EQ(left.size(), 2U);
  EXPECT_TRUE(std::holds_alternative<signal::Monitor>(left[0]));
  EXPECT_TRUE(std::holds_alternative<signal::Demonitor>(left[1]));
}

}  // namespace
}  // namespace liminal
