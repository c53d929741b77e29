// What a cut of the network comes to: how soon a waiting receiver knows, which cuts kill nobody,
// and what becomes of a node that was cut off for too long.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <functional>
#include <string>

#include "tests/hosts/host_cluster.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

constexpr double kDownAfterMs = 1000;
constexpr double kBeatMs = 100;
const HostCluster::Words kQuick{"--down-after",    "1s",   "--suspect-after", "500ms",
                                "--beat-interval", "100ms"};
const HostCluster::Words kServices{"slow=exec:sleep 600", "echo=echo"};

class CutsTest : public HostsTest {
 protected:
  /// Has `fault` befall node b while a receiver waits for it: known by its heartbeats alone, not
  /// before the bound, and within a tenth of it. The last echo may have come two beats before.
  void expect_known(const std::function<void(HostNetwork&)>& fault,
                    const std::function<void(HostNetwork&)>& repair) {
    HostCluster cluster{{"b"}, kQuick};
    const auto trial = [&] {
      cluster.add_node("b", kServices);
      const auto ask = cluster.ask_slow("b");
      const auto before = SteadyClock::now();
      fault(cluster.network());
      const auto after = SteadyClock::now();
      const auto ended = ask->finish();
      const double detection = number_after(ended.out, "detection_ms");
      std::printf("detection_ms %.1f\n", detection);
      EXPECT_EQ(ended.code, 6) << ended.err;
      EXPECT_NE(ended.out.find("\"source\":\"heartbeats missed\""), std::string::npos) << ended.out;
      EXPECT_GE(detection, kDownAfterMs);
      repair(cluster.network());
      return detection <= kDownAfterMs * (1 + 0.1 * kSlack) &&
             known_within(before, after, ended, kDownAfterMs, 2 * kBeatMs, 0);
    };
    EXPECT_TRUE(best_of_three(trial)) << "within down-after and a tenth";
  }

  /// An ask ended `bound_ms` after a cut that took effect at some time from `before` to `after`:
  /// not earlier by more than `early_ms`, not later by more than a tenth and `late_ms`.
  static bool known_within(SteadyClock::time_point before, SteadyClock::time_point after,
                           const Finished& ended, double bound_ms, double early_ms,
                           double late_ms) {
    std::printf("the end of ask: %.1f ms after the cut, which took %.1f ms\n",
                ms_between(after, ended.at), ms_between(before, after));
    return ms_between(before, ended.at) >= bound_ms - early_ms &&
           ms_between(after, ended.at) <= bound_ms * (1 + 0.1 * kSlack) + late_ms;
  }

  /// Nobody was declared dead, and node b is who it was.
  static bool nobody_lost(HostCluster& cluster, const std::string& incarnation) {
    const bool lost = cluster.told_of("b", "incarnation") != incarnation ||
                      cluster.told_of("b", "state") != "joined" ||
                      times_said(cluster.node("b"), "fenced") != 0 ||
                      times_said(cluster.broker(), " down") != 0;
    if (lost) {
      std::printf("somebody was lost.\nnode b: %s\nbroker: %s\n", cluster.node("b").log().c_str(),
                  cluster.broker().log().c_str());
    }
    return !lost;
  }

  /// Does what disturbs the cluster while node b works on a request. A conversation in it that
  /// cannot go on is a failure of the test unless somebody was lost.
  template <class Disturb>
  static bool nobody_is_lost_by(HostCluster& cluster, const Disturb& disturb) {
    const std::string incarnation = cluster.told_of("b", "incarnation");
    const auto ask = cluster.ask_slow("b");
    return test::nobody_is_lost_by(disturb, [&] { return nobody_lost(cluster, incarnation); }) &&
           ask->running();
  }
};

void heal(HostNetwork& network) { network.heal(); }

TEST_F(CutsTest, ASilentCutIsKnownToTheReceiverAfterDownAfter) {
  expect_known([](HostNetwork& network) { network.cut("b"); }, heal);
}

TEST_F(CutsTest, ACutOfWhatTheNodeSendsIsKnownAsSoon) {
  expect_known([](HostNetwork& network) { network.cut_one_way("b", "hub"); }, heal);
}

// Its beats arrive for some tenths of a second more, until TCP, which gets no acknowledgement,
// stops sending: silence counts from the last echo, not from the last beat.
TEST_F(CutsTest, ACutOfWhatTheNodeHearsIsKnownAsSoonByTheMissingEcho) {
  expect_known([](HostNetwork& network) { network.cut_one_way("hub", "b"); }, heal);
}

TEST_F(CutsTest, AnUnpluggedCableIsKnownAsSoon) {
  expect_known([](HostNetwork& network) { network.unplug("b"); },
               [](HostNetwork& network) { network.plug_in("b"); });
}

TEST_F(CutsTest, WithTheDefaultsASilentCutIsKnownAfterThreeSeconds) {
  EXPECT_TRUE(best_of_three([] {
    HostCluster cluster{{"b"}};
    cluster.add_node("b", kServices);
    const auto ask = cluster.ask_slow("b");
    const auto before = SteadyClock::now();
    cluster.network().cut("b");
    const auto after = SteadyClock::now();
    const auto ended = ask->finish();
    EXPECT_EQ(ended.code, 6) << ended.err;
    EXPECT_NE(ended.out.find("\"source\":\"heartbeats missed\""), std::string::npos) << ended.out;
    EXPECT_GE(number_after(ended.out, "detection_ms"), 3'000);
    return known_within(before, after, ended, 3'000, 500, 300);
  })) << "after down-after, and within a tenth of it";
}

TEST_F(CutsTest, ShorterThanTheBoundAgainAndAgainKillNobody) {
  EXPECT_TRUE(best_of_three([] {
    HostCluster cluster{
        {"b"}, {"--down-after", "4s", "--suspect-after", "1s", "--beat-interval", "100ms"}};
    cluster.add_node("b", kServices);
    return nobody_is_lost_by(cluster, [&] {
      EchoTalk talk{cluster};
      for (int i = 0; i < 3; ++i) {
        talk.say(500);
        cluster.network().cut("b");
        keep_it_so(1'200ms);
        cluster.network().heal();
        talk.say(500);
        talk.read_all();
      }
      talk.finish();
    });
  }));
}

/// How long cuts may be that kill nobody. TCP by itself doubles its wait at each try: 0.2 s, 0.6 s,
/// 1.4 s, 3 s after the first loss. Connections that carry beats try steadily for longer.
struct ForgivenCut {
  const char* name;
  HostCluster::Words options;
  Milliseconds lasts;
};

class ForgivenCutsTest : public CutsTest, public ::testing::WithParamInterface<ForgivenCut> {};

TEST_P(ForgivenCutsTest, KillNobody) {
  EXPECT_TRUE(best_of_three([] {
    HostCluster cluster{{"b"}, GetParam().options};
    cluster.add_node("b", kServices);
    return nobody_is_lost_by(cluster, [&] {
      for (int i = 0; i < 2; ++i) {
        cluster.network().cut("b");
        keep_it_so(GetParam().lasts);
        cluster.network().heal();
        EXPECT_TRUE(cluster.eventually_is("b", "joined"));
        EchoTalk talk{cluster};
        talk.say(100);
        talk.finish();
      }
    });
  }));
}
INSTANTIATE_TEST_SUITE_P(Of, ForgivenCutsTest,
                         ::testing::Values(ForgivenCut{"HalfOfTheDefaultBound", {}, 1'500ms},
                                           ForgivenCut{"ThreeQuartersOfAShortBound",
                                                       {"--down-after", "1500ms", "--suspect-after",
                                                        "500ms", "--beat-interval", "100ms"},
                                                       1'100ms}),
                         [](const auto& each) { return std::string{each.param.name}; });

TEST_F(CutsTest, BetweenTwoHostsThatTalkThroughTheBrokersAreNone) {
  HostCluster cluster{{"b"}, kQuick};
  cluster.add_node("b", kServices);
  const std::string incarnation = cluster.told_of("b", "incarnation");
  cluster.network().cut_one_way("desk", "b");
  cluster.network().cut_one_way("b", "desk");
  EchoTalk talk{cluster};
  const auto until = SteadyClock::now() + 2s;
  do {
    talk.say(200);
    talk.read_all();
  } while (SteadyClock::now() < until && !HasFatalFailure());
  talk.finish();
  EXPECT_TRUE(nobody_lost(cluster, incarnation));
}

TEST_F(CutsTest, LongerThanTheBoundFenceTheNodeAndItsOldWorkCountsForNothing) {
  HostCluster cluster{{"b"}, kQuick};
  Folder folder;
  const std::string done = folder.file("done", "");
  cluster.add_node(
      "b",
      {"late=exec:sleep 15 && echo $LIMINAL_CALL_MESSAGE >>" + done + "; echo late", "echo=echo"});
  const std::string before = cluster.told_of("b", "incarnation");
  Process ask{cluster.command({"ask", "late", "x", "--timeout", "60s"})};
  ASSERT_TRUE(eventually([&] { return !cluster.below("b", "sleep").empty(); })) << ask.log();
  cluster.network().cut("b");
  EXPECT_TRUE(failed_with(ask.finish(), 6, {"error: ParticipantCrashed: ", "heartbeats missed"}));
  cluster.network().heal();  // some milliseconds after the bound
  EXPECT_TRUE(eventually([&] {
    const std::string now = cluster.told_of("b", "incarnation");
    return !now.empty() && now != before && cluster.told_of("b", "state") == "joined";
  })) << cluster.node("b").log();
  EXPECT_TRUE(eventually([&] { return times_said(cluster.node("b"), "fenced") == 1; }))
      << cluster.node("b").log();
  EXPECT_TRUE(eventually([&] { return cluster.below("b", "sleep").empty(); }));
  EXPECT_EQ(contents(done), "") << "it was ended, it did not come to its end";
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
  // Nobody took it for a second death.
  EXPECT_EQ(times_said(cluster.broker(), "heartbeats missed"), 1) << cluster.broker().log();
}

TEST_F(CutsTest, OfTheReceiversHostEndTheWorkThatIsDoneForIt) {
  HostCluster cluster{{"b"}, kQuick};
  cluster.add_node("b", kServices);
  const std::string incarnation = cluster.told_of("b", "incarnation");
  const auto ask = cluster.ask_slow("b");
  const auto before = SteadyClock::now();
  cluster.network().cut("desk");
  EXPECT_TRUE(eventually([&] { return cluster.below("b", "sleep").empty(); }));
  EXPECT_GE(ms_between(before, SteadyClock::now()), kDownAfterMs - 2 * kBeatMs);
  cluster.network().heal();
  EXPECT_EQ(ask->finish().code, 6);
  EXPECT_EQ(cluster.told_of("b", "incarnation"), incarnation);
}

// When it heals each deadline starts anew, and TCP's tries are up to 0.8 s apart.
TEST_F(CutsTest, OfTheBrokersOwnHostDeclareNobodyDead) {
  EXPECT_TRUE(best_of_three([] {
    HostCluster cluster{
        {"b", "c"}, {"--down-after", "2s", "--suspect-after", "1s", "--beat-interval", "100ms"}};
    cluster.add_node("b", kServices);
    cluster.add_node("c", {"other=echo"});
    return nobody_is_lost_by(cluster, [&] {
      EchoTalk talk{cluster};
      talk.say(100);
      talk.read_all();
      cluster.network().cut("hub");
      talk.say(100);
      keep_it_so(3s);
      cluster.network().heal();
      talk.finish();
    });
  }));
}

// A third and more of the nodes silent at once says more of the network than of them: they get the
// bound once more. The receiver is told all the same.
TEST_F(CutsTest, OfMostHostsAtOnceAreBelievedAfterTwiceTheBound) {
  EXPECT_TRUE(best_of_three([] {
    HostCluster cluster{{"a", "b", "c", "d"}, kQuick};
    cluster.add_node("a", {"other=echo"});
    for (const std::string name : {"b", "c", "d"}) {
      cluster.add_node(name, {name == "b" ? "slow=exec:sleep 600" : "idle=echo"});
    }
    const auto ask = cluster.ask_slow("b");
    const auto before = SteadyClock::now();
    cluster.network().cut_all({"b", "c", "d"});
    const auto after = SteadyClock::now();
    const auto ended = ask->finish();
    EXPECT_EQ(ended.code, 6) << ended.err;
    return known_within(before, after, ended, 2 * kDownAfterMs, 2 * kBeatMs + 100, kBeatMs) &&
           cluster.told_of("a", "state") == "joined";
  }));
}

TEST_F(CutsTest, OfOneHostAreNotNoticedByConversationsOfAnother) {
  HostCluster cluster{{"b", "c"}, kQuick};
  cluster.add_node("b", kServices);
  cluster.add_node("c", {"other=echo"});
  const auto ask = cluster.ask_slow("b");
  EchoTalk talk{cluster, "other"};
  cluster.network().cut("b");
  while (ask->running() && !HasFatalFailure()) {
    talk.say(50);
    talk.read_all();
  }
  EXPECT_EQ(ask->finish().code, 6);
  talk.finish();
  EXPECT_EQ(cluster.told_of("c", "state"), "joined");
}

}  // namespace
}  // namespace liminal::test
