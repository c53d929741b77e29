// Contract 35 as people meet it: requests that outlive the nodes that take them, and those that
// end whoever does.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

const std::vector<std::string> kNodes = {"a", "b", "c"};

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// The node where the request is at work; empty: none.
std::string at_work(Cluster& cluster, const std::vector<std::string>& nodes) {
  for (const std::string& node : nodes) {
    if (!cluster.below(node, "sleep").empty()) return node;
  }
  return {};
}

TEST(RouteToNext, TwoNodesAreKilledAtWorkAndOneAnswerComes) {
  Cluster cluster;
  for (const std::string& node : kNodes) {
    cluster.add_node(node, {"work=exec:test \"$LIMINAL_CALL_ATTEMPT\" -ge 3 || sleep 600; "
                            "echo done by attempt $LIMINAL_CALL_ATTEMPT"});
  }
  Process ask{cluster.command(
      {"ask", "work", "x", "--on-crash", "route-to-next", "--timeout", "60s", "--json"})};
  std::vector<std::string> left = kNodes;
  for (int i = 0; i < 2; ++i) {
    std::string victim;
    ASSERT_TRUE(eventually([&] { return !(victim = at_work(cluster, left)).empty(); }))
        << ask.log();
    cluster.node(victim).signal(SIGKILL);
    left.erase(std::find(left.begin(), left.end(), victim));
  }
  const auto ended = ask.finish();
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(count(ended.out, "done by attempt 3"), 1u) << ended.out;
  EXPECT_EQ(count(ended.out, "\n"), 1u) << ended.out;
  EXPECT_EQ(count(ended.out, "\"policy\":\"route-to-next\""), 2u) << ended.out;
  EXPECT_EQ(count(ended.out, "\"resent\":1"), 2u) << ended.out;
  EXPECT_EQ(count(ended.out, "\"source\":\"connection closed\""), 2u) << ended.out;
  EXPECT_NE(ended.out.find("\"to\":\"" + left[0] + "\""), std::string::npos) << ended.out;
}

// Where the broker dies between the two deaths, seen from the second one.
enum class Broker { kHasAllNodesBack, kIsBackAlone, kIsStillGone };

void kill_two_nodes_and_the_broker_between(Broker broker) {
  Cluster cluster;
  for (const std::string& node : kNodes) {
    cluster.add_node(node, {"work=exec:test \"$LIMINAL_CALL_ATTEMPT\" -ge 3 || sleep 600; "
                            "echo done by attempt $LIMINAL_CALL_ATTEMPT"});
  }
  Process ask{cluster.command(
      {"ask", "work", "x", "--on-crash", "route-to-next", "--timeout", "90s", "--json"})};
  std::vector<std::string> left = kNodes;
  const auto await_work = [&] {
    std::string node;
    EXPECT_TRUE(eventually([&] { return !(node = at_work(cluster, left)).empty(); }, 20s * kSlack))
        << ask.log();
    return node;
  };
  const auto kill = [&](const std::string& victim) {
    if (victim.empty()) return;
    cluster.node(victim).signal(SIGKILL);
    left.erase(std::find(left.begin(), left.end(), victim));
  };
  kill(await_work());
  const std::string second = await_work();
  cluster.kill_broker();
  if (broker == Broker::kIsStillGone) kill(second);
  cluster.restart_broker();
  if (broker == Broker::kHasAllNodesBack) {
    for (const std::string& node : left) {
      EXPECT_TRUE(printed(cluster.run({"wait", node, "--timeout", "30s"}), ""));
    }
  }
  if (broker != Broker::kIsStillGone) kill(second);

  const auto ended = ask.finish(90s);
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(count(ended.out, "done by attempt 3"), 1u) << ended.out;
  EXPECT_EQ(count(ended.out, "\n"), 1u) << ended.out;
  EXPECT_EQ(count(ended.out, "\"policy\":\"route-to-next\""), 2u) << ended.out;
  EXPECT_EQ(count(ended.out, "\"resent\":1"), 2u) << ended.out;
  EXPECT_NE(ended.out.find("\"to\":\"" + left.at(0) + "\""), std::string::npos) << ended.out;
}

TEST(RouteToNext, TwoNodesAreKilledAndTheBrokerBetweenThemWhenAllAreBack) {
  kill_two_nodes_and_the_broker_between(Broker::kHasAllNodesBack);
}

TEST(RouteToNext, TwoNodesAreKilledAndTheBrokerBetweenThemAsSoonAsItIsBack) {
  kill_two_nodes_and_the_broker_between(Broker::kIsBackAlone);
}

TEST(RouteToNext, TwoNodesAreKilledAndTheBrokerBetweenThemWhileItIsGone) {
  kill_two_nodes_and_the_broker_between(Broker::kIsStillGone);
}

TEST(RouteToNext, OnOneNodeAFreshInstanceTakesOver) {
  Cluster cluster;
  cluster.add_node("a", {"work=exec:test \"$LIMINAL_CALL_ATTEMPT\" -ge 3 || exit 9; "
                         "echo done by attempt $LIMINAL_CALL_ATTEMPT"});
  EXPECT_TRUE(printed(cluster.run({"ask", "work", "x", "--on-crash", "route-to-next"}),
                      "done by attempt 3\n"));
}

TEST(RouteToNext, ARequestThatKillsWhoeverTakesItEndsItsConversationAndNoNode) {
  Cluster cluster;
  const Folder folder;
  const std::string log = folder.file("log", "");
  for (const std::string& node : kNodes) {
    cluster.add_node(node, {"work=exec:read x; echo taken >> " + log +
                            "; test \"$x\" != poison || kill -9 $$; echo \"$x\""});
  }
  Process bystander{cluster.command({"converse", "work", "--on-crash", "route-to-next"}),
                    {.more_input = true}};
  bystander.feed("before\n");
  EXPECT_EQ(bystander.line(), "before");
  const auto taken = [&] { return std::stoi(shell("wc -l < " + log).out); };
  for (const int budget : {1, 3, 5}) {
    const int before = taken();
    const auto ended = cluster.run({"ask", "work", "poison", "--on-crash", "route-to-next",
                                    "--max-attempts", std::to_string(budget)});
    EXPECT_TRUE(failed_with(ended, 6, {"error: ParticipantCrashed: ", "signal 9 (SIGKILL)"}));
    EXPECT_EQ(taken() - before, budget);
  }
  for (const std::string& node : kNodes) EXPECT_TRUE(cluster.node(node).running());
  bystander.feed("after\n");
  EXPECT_EQ(bystander.line(), "after");
  bystander.end_input();
  EXPECT_TRUE(printed(bystander.finish(), ""));
}

TEST(RouteToNext, WithNoNodeLeftTheReasonSaysSo) {
  Cluster cluster;
  cluster.add_node("a", {"work=exec:sleep 600"});
  Process ask{
      cluster.command({"ask", "work", "x", "--on-crash", "route-to-next", "--timeout", "60s"})};
  ASSERT_TRUE(eventually([&] { return !cluster.below("a", "sleep").empty(); })) << ask.log();
  cluster.node("a").signal(SIGKILL);
  EXPECT_TRUE(failed_with(ask.finish(60s), 6,
                          {"error: ParticipantCrashed: ", "work on a", "no candidate is left"}));
}

TEST(RouteToNext, RepliesOfAConversationComeOnceAndInOrderThoughNodesDie) {
  Cluster cluster;
  const Folder folder;
  // Line 30 is not answered before the first node is killed, line 80 not before the second.
  const auto held = [&](const std::string& number) {
    return "until test $n -lt " + number + " || test -e " + folder.path(number) +
           "; do sleep 0.02; done; ";
  };
  const std::string upper = "upper=exec:read line n; " + held("30") + held("80") + "echo LINE $n";
  for (const std::string& node : kNodes) cluster.add_node(node, {upper});
  Process converse{cluster.command({"converse", "upper", "--on-crash", "route-to-next", "--timeout",
                                    "60s", "--max-attempts", "5"}),
                   {.more_input = true}};
  std::string lines;
  for (int i = 0; i < 150; ++i) lines += "line " + std::to_string(i) + "\n";
  converse.feed(lines);
  converse.end_input();
  for (int i = 0; i < 150; ++i) {
    ASSERT_EQ(converse.line(), "LINE " + std::to_string(i));
    if (i != 20 && i != 70) continue;
    // Whoever has children beside its minder is at it.
    auto busy = kNodes.end();
    ASSERT_TRUE(eventually([&] {
      busy = std::find_if(kNodes.begin(), kNodes.end(), [&](const std::string& node) {
        return cluster.node(node).running() && cluster.below(node).size() > 1;
      });
      return busy != kNodes.end();
    }));
    cluster.node(*busy).signal(SIGKILL);
    (void)folder.file(std::to_string(i + 10), "");
  }
  EXPECT_TRUE(printed(converse.finish(), ""));
}

}  // namespace
}  // namespace liminal::test
