// How programs end when told to, what a broker's replacement changes, and that nothing piles up.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <string>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

TEST(Ending, BrokerAndNodeEndWithZeroWhenTold) {
  for (const int number : {SIGTERM, SIGINT}) {
    Cluster cluster;
    auto& node = cluster.add_node("a", {"cat=exec:cat"});
    EXPECT_TRUE(printed(cluster.run({"ask", "cat", "x"}), "x"));
    node.signal(number);
    EXPECT_EQ(node.finish().code, 0) << node.log();
    EXPECT_TRUE(eventually([&] { return cluster.below("a").empty(); })) << "the minder ends";
    EXPECT_NE(cluster.run({"status", "--json"}).out.find("\"state\":\"left\""), std::string::npos);
    cluster.broker().signal(number);
    EXPECT_EQ(cluster.broker().finish().code, 0) << cluster.broker().log();
  }
}

TEST(Ending, ANodeStillEndsWithZeroWhenItsBrokerIsGone) {
  Cluster cluster;
  auto& node = cluster.add_node("a", {"echo=echo"});
  cluster.broker().signal(SIGKILL);
  cluster.broker().finish();
  node.signal(SIGTERM);
  EXPECT_EQ(node.finish(15s).code, 0) << node.log();
}

TEST(Ending, ANodeToldToEndWhileItLooksForABrokerDoes) {
  Cluster cluster;
  cluster.broker().signal(SIGKILL);
  cluster.broker().finish();
  auto& node = cluster.start_node("a", {"cat=exec:cat"});
  ASSERT_TRUE(eventually([&] { return !cluster.below("a").empty(); })) << "its minder runs";
  node.signal(SIGTERM);
  EXPECT_EQ(node.finish(15s).code, 0) << node.log();
}

TEST(Ending, ANodeToldToEndWhileItWorksIsACrashWithReasonShutdown) {
  Cluster cluster;
  auto& node = cluster.add_node("a", {"slow=exec:sleep 600"});
  Process ask{cluster.command({"ask", "slow", "x", "--timeout", "60s"})};
  ASSERT_TRUE(eventually([&] { return !cluster.below("a", "sleep").empty(); })) << ask.log();
  node.signal(SIGTERM);
  EXPECT_TRUE(failed_with(ask.finish(), 6, {"error: ParticipantCrashed: ", "shutdown"}));
  EXPECT_EQ(node.finish().code, 0) << node.log();
  EXPECT_TRUE(eventually([&] { return cluster.below("a").empty(); }));
}

TEST(Ending, ANodeFindsTheBrokersSuccessorAndServesAgain) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo", "cat=exec:cat"});
  for (int i = 0; i < 2; ++i) {
    cluster.replace_broker();
    EXPECT_TRUE(printed(cluster.run({"wait", "a", "--timeout", "20s"}), ""));
    EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
    EXPECT_TRUE(printed(cluster.run({"ask", "cat", "x"}), "x"));
  }
  EXPECT_TRUE(cluster.node("a").running());
}

std::size_t open_descriptors_of(pid_t pid) {
  std::size_t count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator{"/proc/" + std::to_string(pid) + "/fd"}) {
    (void)entry;
    ++count;
  }
  return count;
}

TEST(Ending, FiftyConversationsLeaveTheNodeAsItWas) {
  Cluster cluster;
  auto& node = cluster.add_node("a", {"cat=exec:cat"});
  EXPECT_TRUE(printed(cluster.run({"ask", "cat", "x"}), "x"));
  const auto settled = [&] { return cluster.below("a").size() == 1; };  // the minder alone
  ASSERT_TRUE(eventually(settled));
  const auto node_before = open_descriptors_of(node.pid());
  const auto broker_before = open_descriptors_of(cluster.broker().pid());
  for (int i = 0; i < 50; ++i) {
    const std::string payload = "request " + std::to_string(i);
    ASSERT_TRUE(printed(cluster.run({"ask", "cat", payload}), payload));
  }
  EXPECT_TRUE(eventually(settled));
  EXPECT_EQ(children_of(node.pid()).size(), 1u);
  EXPECT_TRUE(eventually([&] { return open_descriptors_of(node.pid()) <= node_before + 2; }))
      << node_before << " before, " << open_descriptors_of(node.pid()) << " after";
  EXPECT_TRUE(eventually([&] {
    return open_descriptors_of(cluster.broker().pid()) <= broker_before + 2;
  })) << broker_before
      << " before, " << open_descriptors_of(cluster.broker().pid()) << " after";
  const auto status = cluster.run({"status", "--json"});
  EXPECT_TRUE(eventually([&] {
    return cluster.run({"status", "--json"}).out.find("\"participants\":0") != std::string::npos;
  })) << status.out;
}

}  // namespace
}  // namespace liminal::test
