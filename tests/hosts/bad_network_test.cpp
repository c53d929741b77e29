// Networks that lose frames and reset connections: nobody dies of it, and nothing is lost or
// doubled.
#include <gtest/gtest.h>

#include <string>

#include "tests/hosts/host_cluster.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

class BadNetworkTest : public HostsTest {
 protected:
  void expect_nobody_lost(HostCluster& cluster, const std::string& incarnation) {
    EXPECT_EQ(cluster.told_of("b", "incarnation"), incarnation) << cluster.node("b").log();
    EXPECT_EQ(times_said(cluster.node("b"), "fenced"), 0) << cluster.node("b").log();
    EXPECT_EQ(times_said(cluster.broker(), " down"), 0) << cluster.broker().log();
  }

  /// Ten conversations go on for longer than the default bounds.
  void expect_conversations_go_on_at(double loss_percent) {
    HostCluster cluster{{"b"}};
    cluster.add_node("b", {"echo=echo", "slow=exec:sleep 600"});
    const std::string incarnation = cluster.told_of("b", "incarnation");
    const auto waiting = cluster.ask_slow("b");
    std::vector<std::unique_ptr<EchoTalk>> talks;
    for (int i = 0; i < 10; ++i) talks.push_back(std::make_unique<EchoTalk>(cluster));
    cluster.network().lose(loss_percent);
    const auto until = SteadyClock::now() + 4s;  // a verdict would come after 3 s
    do {
      for (const auto& talk : talks) talk->say(20);
      for (const auto& talk : talks) talk->read_all();
    } while (SteadyClock::now() < until && !HasFatalFailure());
    int said = 0;
    for (const auto& talk : talks) said += talk->said();
    std::printf("%d requests at a loss of %g %%\n", said, loss_percent);
    cluster.network().lose(0);
    for (const auto& talk : talks) talk->finish();
    EXPECT_TRUE(waiting->running()) << waiting->log();
    expect_nobody_lost(cluster, incarnation);
  }
};

TEST_F(BadNetworkTest, AtOnePercentLossNobodyDiesAndAllConversationsGoOn) {
  expect_conversations_go_on_at(1);
}

TEST_F(BadNetworkTest, AtFivePercentLossNobodyDiesAndAllConversationsGoOn) {
  expect_conversations_go_on_at(5);
}

TEST_F(BadNetworkTest, ConnectionsThatAreResetResumeAndNothingIsLostOrDoubled) {
  HostCluster cluster{{"b"}};
  cluster.add_node("b", {"echo=echo", "slow=exec:sleep 600"});
  const std::string incarnation = cluster.told_of("b", "incarnation");
  const auto waiting = cluster.ask_slow("b");
  EchoTalk talk{cluster};
  // The node's, the receiver's, all of the broker's, each with requests under way.
  for (const std::string host : {"b", "desk", "hub", "b", "hub"}) {
    talk.say(1'000);
    cluster.network().reset_connections(host);
    talk.say(500);
    talk.read_all();
  }
  EXPECT_GE(times_said(cluster.broker(), "connection"), 1) << "there was something to reset";
  talk.finish();
  EXPECT_TRUE(waiting->running()) << waiting->log();
  expect_nobody_lost(cluster, incarnation);
}

}  // namespace
}  // namespace liminal::test
