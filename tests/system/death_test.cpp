// What a node's death comes to: how soon it is known elsewhere, and what is left of the node.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <string>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

constexpr double kGraceMs = 500;  // reconnect-grace's default
constexpr double kPromisedMs = 100 * kSlack;

TEST(Death, AKilledNodeIsNamedOnOneLineLongBeforeTheTimeout) {
  Cluster cluster;
  cluster.add_node("b", {"slow=exec:sleep 600"});
  WaitingAsk ask{cluster};
  const auto killed = cluster.node("b").signal(SIGKILL);
  const auto ended = ask->finish();
  EXPECT_TRUE(
      failed_with(ended, 6, {"error: ParticipantCrashed: ", "connection closed", "conversation "}));
  EXPECT_LT(ms_between(killed, ended.at), 10'000);
}

TEST(Death, AKilledNodeIsKnownToTheReceiverAfterTheGrace) {
  Cluster cluster;
  const bool held = best_of_ten([&] {
    cluster.add_node("b", {"slow=exec:sleep 600"});
    WaitingAsk ask{cluster, {"--json"}};
    const auto killed = cluster.node("b").signal(SIGKILL);
    const auto ended = ask->finish();
    const double took = ms_between(killed, ended.at);
    const double detection = number_after(ended.out, "detection_ms");
    std::printf("kill to the end of ask: %.1f ms, detection_ms %.1f\n", took, detection);
    EXPECT_EQ(ended.code, 6) << ended.err;
    EXPECT_NE(ended.out.find("\"source\":\"connection closed\""), std::string::npos) << ended.out;
    EXPECT_GE(detection, kGraceMs);
    EXPECT_GE(took, kGraceMs) << "nobody is declared dead before the grace is over";
    return detection <= kGraceMs + kPromisedMs && took <= kGraceMs + kPromisedMs;
  });
  EXPECT_TRUE(held) << "within " << kGraceMs << " ms and " << kPromisedMs << " ms";
}

void expect_a_stopped_node_known(const Cluster::Words& broker_options, double down_after_ms) {
  Cluster cluster{broker_options};
  const auto trial = [&] {
    cluster.add_node("b", {"slow=exec:sleep 600"});
    WaitingAsk ask{cluster, {"--json"}};
    const auto stopped = cluster.node("b").signal(SIGSTOP);
    const auto ended = ask->finish();
    const double took = ms_between(stopped, ended.at);
    const double detection = number_after(ended.out, "detection_ms");
    std::printf("stop to the end of ask: %.1f ms, detection_ms %.1f\n", took, detection);
    EXPECT_EQ(ended.code, 6) << ended.err;
    EXPECT_NE(ended.out.find("\"source\":\"heartbeats missed\""), std::string::npos) << ended.out;
    EXPECT_GE(detection, down_after_ms);
    EXPECT_GE(took, down_after_ms / 2) << "it was heard some beats before it was stopped";
    const double bound = down_after_ms * (1 + 0.1 * kSlack);
    return detection <= bound && took <= bound;
  };
  EXPECT_TRUE(best_of_ten(trial)) << "within down-after and a tenth";
}

TEST(Death, AStoppedNodeIsKnownToTheReceiverAfterDownAfter) {
  expect_a_stopped_node_known(
      {"--down-after", "2s", "--suspect-after", "800ms", "--beat-interval", "200ms"}, 2000);
}

TEST(Death, AStoppedNodeIsKnownWithTheDefaultsToo) { expect_a_stopped_node_known({}, 3000); }

TEST(Death, ANodeStoppedForLessThanDownAfterIsForgiven) {
  Cluster cluster{{"--suspect-after", "500ms", "--down-after", "20s"}};
  cluster.add_node("b", {"slow=exec:sleep 600"});
  WaitingAsk ask{cluster};
  const auto state_is = [&](const std::string& state) {
    const auto status = cluster.run({"status", "--json"});
    return status.out.find("\"state\":\"" + state + "\"") != std::string::npos;
  };
  cluster.node("b").signal(SIGSTOP);
  EXPECT_TRUE(eventually([&] { return state_is("suspect"); }));
  cluster.node("b").signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return state_is("joined"); }));
  EXPECT_TRUE(ask->running()) << ask->log();
}

TEST(Death, NothingThatAKilledNodeStartedOutlivesIt) {
  Cluster cluster;
  const bool held = best_of_ten([&] {
    // a grandchild in a session of its own, and one that holds on to nothing of its parent
    cluster.add_node("b",
                     {"slow=exec:setsid sleep 601 & (trap '' HUP TERM; sleep 602) & sleep 600"});
    Process ask{cluster.command({"ask", "slow", "x", "--timeout", "60s"})};
    EXPECT_TRUE(eventually([&] { return cluster.below("b", "sleep").size() == 3; }));
    const auto killed = cluster.node("b").signal(SIGKILL);
    EXPECT_TRUE(eventually([&] { return cluster.below("b").empty(); }));
    const double took = ms_between(killed, SteadyClock::now());
    std::printf("kill to the end of all below the node: %.1f ms\n", took);
    return took <= kPromisedMs;
  });
  EXPECT_TRUE(held);
}

TEST(Death, ANodeThatComesBackWithinTheGraceIsAnotherOne) {
  Cluster cluster;
  cluster.add_node("b", {"slow=exec:sleep 600", "echo=echo"});
  WaitingAsk ask{cluster};
  cluster.node("b").signal(SIGKILL);
  cluster.add_node("b", {"slow=exec:sleep 600", "echo=echo"});
  EXPECT_TRUE(failed_with(ask->finish(), 6, {"error: ParticipantCrashed: "}));
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

TEST(Death, AConversationOfAnotherNodeDoesNotNotice) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  cluster.add_node("b", {"slow=exec:sleep 600"});
  Process converse{cluster.command({"converse", "echo"}), {.more_input = true}};
  converse.feed("before\n");
  EXPECT_EQ(converse.line(), "before");
  WaitingAsk ask{cluster};
  cluster.node("b").signal(SIGKILL);
  EXPECT_EQ(ask->finish().code, 6);
  converse.feed("after\n");
  EXPECT_EQ(converse.line(), "after");
  converse.end_input();
  EXPECT_TRUE(printed(converse.finish(), ""));
}

TEST(Death, OfTheAskingCommandEndsItsWork) {
  Cluster cluster;
  cluster.add_node("b", {"slow=exec:sleep 600"});
  WaitingAsk ask{cluster};
  ask->signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return cluster.below("b", "sleep").empty(); }));
  EXPECT_TRUE(cluster.node("b").running());
}

}  // namespace
}  // namespace liminal::test
