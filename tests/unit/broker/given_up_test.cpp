// Goal: a connection that the broker itself ended does not make its node dead sooner than silence.
#include "tests/unit/broker/broker_harness.hpp"

namespace liminal::broker {
namespace {

using GivenUpTest = BrokerCoreTest;

TEST_F(GivenUpTest, ANodeWhoseConnectionTheBrokerEndedHasDownAfterToResume) {
  Joined a = join("a", 1);
  const Joined b = join("b", 2);
  pass(kCluster.beat_interval, {&a});
  const Effects lost = core.on_given_up(b.control, now);
  EXPECT_EQ(among<effect::ControlLost>(lost).size(), 1u);
  EXPECT_TRUE(
      among<effect::NodeDown>(pass(kCluster.down_after - kCluster.beat_interval - 1ns, {&a}))
          .empty());
  const auto resumed = control(conn(90), join_frame("b", 2));
  EXPECT_EQ(told_to<control::Welcome>(conn(90), resumed).size(), 1u);
}

TEST_F(GivenUpTest, OfNobodyOrOfADataConnectionItIsAClosing) {
  Joined a = join("a", 1);
  EXPECT_TRUE(core.on_given_up(conn(77), now).empty());
  EXPECT_TRUE(core.on_given_up(a.data, now).empty());
  EXPECT_TRUE(among<effect::NodeDown>(pass(kCluster.down_after * 2, {&a})).empty());
  EXPECT_EQ(core.members().size(), 1u);
}

}  // namespace
}  // namespace liminal::broker
