// Many nodes silent at once, and all of them: the broker doubts itself first, and is right to.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tests/hosts/host_cluster.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

using ManySilentTest = HostsTest;

constexpr double kDownAfterMs = 1000;
constexpr double kBeatMs = 100;
// So long before a cut may silence begin. It counts from the last echo, which is up to a beat older
// than the node's last word, that is up to a beat old, and the broker may send a beat late.
constexpr double kEarlyMs = 3 * kBeatMs;
const HostCluster::Words kQuick{"--down-after",    "1s",   "--suspect-after", "500ms",
                                "--beat-interval", "100ms"};
const HostCluster::Words kSix{"a", "b", "c", "d", "e", "f"};

/// Of a node that is down, as `status` has it: milliseconds, or -1.
double told_detection_ms(const HostCluster& cluster, const std::string& node) {
  const std::string status = cluster.run({"status", "--json"}).out;
  const auto name = status.find("{\"name\":\"" + node + "\"");
  return name == std::string::npos ? -1 : number_after(status.substr(name), "detection_ms");
}

/// Cuts off those of six nodes at one instant, and waits until each is told to be down; whether
/// that was `bounds` times down-after later, and cost no other node its life.
bool all_told_after(const HostCluster::Words& gone, int bounds) {
  HostCluster cluster{kSix, kQuick};
  for (const auto& name : kSix) {
    cluster.add_node(name, {name == "b" ? "slow=exec:sleep 600" : "idle=echo"});
  }
  const auto ask = cluster.ask_slow("b");
  const auto before = SteadyClock::now();
  cluster.network().cut_all(gone);
  const auto after = SteadyClock::now();
  const auto ended = ask->finish();  // b is among them
  EXPECT_EQ(ended.code, 6) << ended.err;
  EXPECT_NE(ended.out.find("\"source\":\"heartbeats missed\""), std::string::npos) << ended.out;
  bool soon = ms_between(after, ended.at) <= bounds * kDownAfterMs * (1 + 0.1 * kSlack) + kBeatMs;
  const bool late_enough = ms_between(before, ended.at) >= bounds * kDownAfterMs - kEarlyMs;
  std::printf("told after %.0f ms\n", ms_between(after, ended.at));
  for (const auto& name : gone) {
    EXPECT_TRUE(cluster.eventually_is(name, "down")) << cluster.broker().log();
    EXPECT_EQ(cluster.told_of(name, "source"), "heartbeats missed") << name;
    const double detection = told_detection_ms(cluster, name);
    EXPECT_GE(detection, bounds * kDownAfterMs) << name;
    soon = soon && detection <= bounds * kDownAfterMs * (1 + 0.1 * kSlack);
  }
  const auto verdicts = static_cast<std::size_t>(times_said(cluster.broker(), " is down: "));
  const bool right = verdicts == gone.size() &&
                     (times_said(cluster.broker(), "many at once") != 0) == (bounds == 2);
  if (!right || !late_enough || !soon) std::printf("%s\n", cluster.broker().log().c_str());
  return right && late_enough && soon;
}

TEST_F(ManySilentTest, MoreThanAThirdOfSixAreToldOneBoundLater) {
  EXPECT_TRUE(best_of_three([] { return all_told_after({"b", "d", "f"}, 2); }));
}

TEST_F(ManySilentTest, AThirdOfSixAreToldAfterTheBound) {
  EXPECT_TRUE(best_of_three([] { return all_told_after({"b", "d"}, 1); }));
}

TEST_F(ManySilentTest, MoreThanAThirdThatComeBackWhileVerdictsWaitAreForgiven) {
  EXPECT_TRUE(best_of_three([] {
    // So long a bound that a connection which tried in vain for 1.25 of it can be back in the rest.
    HostCluster cluster{
        kSix, {"--down-after", "2s", "--suspect-after", "1s", "--beat-interval", "100ms"}};
    std::map<std::string, std::string> incarnations;
    for (const auto& name : kSix) {
      cluster.add_node(name, {"idle=echo"});
      incarnations[name] = cluster.told_of(name, "incarnation");
    }
    cluster.network().cut_all({"b", "d", "f"});
    keep_it_so(2'500ms);
    cluster.network().heal();
    bool all_back = true;
    for (const auto& name : kSix) {
      EXPECT_TRUE(cluster.eventually_is(name, "joined")) << cluster.broker().log();
      all_back = all_back && cluster.told_of(name, "incarnation") == incarnations[name];
    }
    const bool right = all_back && times_said(cluster.broker(), " is down: ") == 0 &&
                       times_said(cluster.broker(), "many at once") >= 1;
    if (!right) std::printf("%s\n", cluster.broker().log().c_str());
    return right;
  }));
}

/// The broker's cable is taken out, which silences all; for shorter and longer than down-after.
class AllSilentHostsTest : public HostsTest, public ::testing::WithParamInterface<int> {};

TEST_P(AllSilentHostsTest, NobodyIsDeadWhenTheCableIsInAgainAndWhatWaitedGoesOn) {
  EXPECT_TRUE(best_of_three([] {
    const HostCluster::Words names{"a", "b", "c"};
    HostCluster cluster{
        names, {"--down-after", "2s", "--suspect-after", "1s", "--beat-interval", "100ms"}};
    std::map<std::string, std::string> incarnations;
    for (const auto& name : names) {
      cluster.add_node(name, {name == "b" ? "slow=exec:sleep 600" : "echo=echo"});
      incarnations[name] = cluster.told_of(name, "incarnation");
    }
    const auto ask = cluster.ask_slow("b");
    EchoTalk talk{cluster};
    const auto nobody_lost = [&] {
      bool same = true;
      for (const auto& name : names) {
        EXPECT_TRUE(cluster.eventually_is(name, "joined")) << cluster.broker().log();
        same = same && cluster.told_of(name, "incarnation") == incarnations[name];
      }
      const bool right = same && times_said(cluster.broker(), " is down: ") == 0 && ask->running();
      if (!right) std::printf("%s\n", cluster.broker().log().c_str());
      return right;
    };
    const auto talk_on = [&] {
      talk.say(100);
      talk.read_all();
      cluster.network().unplug("hub");
      talk.say(100);
      keep_it_so(Milliseconds{GetParam()});
      cluster.network().plug_in("hub");
      talk.finish();
    };
    if (!nobody_is_lost_by(talk_on, nobody_lost)) return false;
    if (GetParam() > 2'000) {
      EXPECT_GE(times_said(cluster.broker(), "nobody is judged until one is heard"), 1);
    }
    return true;
  }));
}
INSTANTIATE_TEST_SUITE_P(Milliseconds, AllSilentHostsTest, ::testing::Values(1'300, 2'500),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace liminal::test
