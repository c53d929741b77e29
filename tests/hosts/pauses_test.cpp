// A node's program stopped for lengths around the bound: shorter is forgiven, longer is a death.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "tests/hosts/host_cluster.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

class PausesTest : public HostsTest, public ::testing::WithParamInterface<int> {
 protected:
  /// Stops node b for so long while it works on a request that takes 2 s.
  struct Outcome {
    Finished ask;
    bool is_who_it_was;
    int fenced;
    int verdicts;
  };
  static Outcome stop_for(Milliseconds pause) {
    HostCluster cluster{
        {"b"}, {"--down-after", "1s", "--suspect-after", "500ms", "--beat-interval", "100ms"}};
    cluster.add_node("b", {"late=exec:sleep 2; echo late"});
    const std::string before = cluster.told_of("b", "incarnation");
    Process ask{cluster.command({"ask", "late", "x", "--timeout", "60s"})};
    EXPECT_TRUE(eventually([&] { return !cluster.below("b", "sleep").empty(); })) << ask.log();
    cluster.node("b").signal(SIGSTOP);
    keep_it_so(pause);
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
  const auto outcome = stop_for(Milliseconds{GetParam()});
  EXPECT_TRUE(printed(outcome.ask, "late\n"));
  EXPECT_TRUE(outcome.is_who_it_was);
  EXPECT_EQ(outcome.fenced, 0);
  EXPECT_EQ(outcome.verdicts, 0);
}
INSTANTIATE_TEST_SUITE_P(Milliseconds, ShortPausesTest, ::testing::Values(100, 600, 750),
                         ::testing::PrintToStringParamName());

TEST_P(LongPausesTest, AreADeathAndTheReplyCountsForNothing) {
  const auto outcome = stop_for(Milliseconds{GetParam()});
  EXPECT_TRUE(failed_with(outcome.ask, 6, {"error: ParticipantCrashed: ", "heartbeats missed"}));
  EXPECT_FALSE(outcome.is_who_it_was);
  EXPECT_EQ(outcome.fenced, 1);
  EXPECT_EQ(outcome.verdicts, 1);
}
INSTANTIATE_TEST_SUITE_P(Milliseconds, LongPausesTest, ::testing::Values(1100, 3000),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace liminal::test
