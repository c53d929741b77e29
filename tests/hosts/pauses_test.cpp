// A node's program stopped for lengths around the bound: shorter is forgiven, longer is a death.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <string>

#include "tests/hosts/host_cluster.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

class PausesTest : public HostsTest, public ::testing::WithParamInterface<int> {
 protected:
  struct Outcome {
    Finished ask;
    bool is_who_it_was;
    int fenced;
    int verdicts;
  };
  /// Stops node b for so long while it works on a request that takes `work`, where down-after is
  /// 4 s; with `until_down` not for less than until it is judged.
  static Outcome stop_for(Milliseconds pause, Milliseconds work, bool until_down) {
    HostCluster cluster{
        {"b"}, {"--down-after", "4s", "--suspect-after", "2s", "--beat-interval", "250ms"}};
    cluster.add_node("b",
                     {"late=exec:sleep " + std::to_string(to_ms(work) / 1000) + "; echo late"});
    const std::string before = cluster.told_of("b", "incarnation");
    Process ask{cluster.command({"ask", "late", "x", "--timeout", "60s"})};
    EXPECT_TRUE(eventually([&] { return !cluster.below("b", "sleep").empty(); })) << ask.log();
    cluster.node("b").signal(SIGSTOP);
    keep_it_so(pause);
    if (until_down) {
      EXPECT_TRUE(cluster.eventually_is("b", "down")) << cluster.broker().log();
    }
    cluster.node("b").signal(SIGCONT);
    Finished ended = ask.finish();
    EXPECT_TRUE(cluster.eventually_is("b", "joined")) << cluster.node("b").log();
    return {std::move(ended), cluster.told_of("b", "incarnation") == before,
            times_said(cluster.node("b"), "fenced: "), times_said(cluster.broker(), " is down: ")};
  }
};

using ShortPausesTest = PausesTest;
using LongPausesTest = PausesTest;

// The newest echo may be a beat old when the pause begins, and one more passes before the next.
TEST_P(ShortPausesTest, AreForgivenAndTheReplyComes) {
  EXPECT_TRUE(best_of_three([] {
    const Milliseconds pause{GetParam()};
    const auto outcome = stop_for(pause, pause + 2s, false);
    const bool forgiven = printed(outcome.ask, "late\n") && outcome.is_who_it_was &&
                          outcome.fenced == 0 && outcome.verdicts == 0;
    if (!forgiven) std::printf("a death: exit %d, %s\n", outcome.ask.code, outcome.ask.err.c_str());
    return forgiven;
  }));
}
INSTANTIATE_TEST_SUITE_P(Milliseconds, ShortPausesTest, ::testing::Values(100, 2000, 3000),
                         ::testing::PrintToStringParamName());

TEST_P(LongPausesTest, AreADeathAndTheReplyCountsForNothing) {
  // The work ends while the node is stopped for the longer one.
  const auto outcome = stop_for(Milliseconds{GetParam()}, 5s, true);
  EXPECT_TRUE(failed_with(outcome.ask, 6, {"error: ParticipantCrashed: ", "heartbeats missed"}));
  EXPECT_FALSE(outcome.is_who_it_was);
  EXPECT_EQ(outcome.fenced, 1);
  EXPECT_EQ(outcome.verdicts, 1);
}
INSTANTIATE_TEST_SUITE_P(Milliseconds, LongPausesTest, ::testing::Values(4100, 6000),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace liminal::test
