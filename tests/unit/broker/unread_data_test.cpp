// Goal: the grace of a closing begins when what the node's data connection delivered is read, and
// in bounded time; where everything is read, at once.
#include "tests/unit/broker/broker_harness.hpp"

namespace liminal::broker {
namespace {

class UnreadDataTest : public BrokerCoreTest {
 protected:
  Effects closes_in_a_flood(const Joined& node) {
    return core.on_closed(node.control, now, Others::kUnread);
  }
  static std::size_t downs(const Effects& effects) {
    return among<effect::NodeDown>(effects).size();
  }

  Joined a = join("a", 1);
  Joined b = join("b", 2);
};

TEST_F(UnreadDataTest, TheGraceBeginsWhenTheDataConnectionIsReadOut) {
  EXPECT_EQ(among<effect::Watch>(closes_in_a_flood(b)), (std::vector<effect::Watch>{{b.data}}));
  EXPECT_EQ(downs(pass(700ms, {&a})), 0u);
  EXPECT_EQ(among<effect::Forward>(data(b.data, "a", 1)).size(), 1u) << "its answer";
  (void)core.on_read_out(b.data, now);
  EXPECT_EQ(downs(pass(kCluster.reconnect_grace - 1ns, {&a})), 0u);
  EXPECT_EQ(downs(pass(1ns, {&a})), 1u);
}

TEST_F(UnreadDataTest, OrWhenItHasClosedWhichIsToldWhenItIsReadOut) {
  (void)closes_in_a_flood(b);
  (void)pass(700ms, {&a});
  (void)core.on_closed(b.data, now, Others::kUnread);
  EXPECT_EQ(downs(pass(kCluster.reconnect_grace - 1ns, {&a})), 0u);
  EXPECT_EQ(downs(pass(1ns, {&a})), 1u);
}

TEST_F(UnreadDataTest, AndAfterSuspectAfterWhateverTheNodeDelivers) {
  (void)pass(kCluster.beat_interval, {&a, &b});
  const TimePoint closed = now;
  (void)closes_in_a_flood(b);
  Effects effects;
  std::size_t frames = 0;
  while (downs(effects) == 0) {
    ++frames;
    ASSERT_EQ(among<effect::Forward>(data(b.data, "a", 1)).size(), 1u);
    effects = pass(10ms, {&a});
    ASSERT_LE(now - closed, kCluster.suspect_after + kCluster.reconnect_grace);
  }
  EXPECT_EQ(now - closed, kCluster.suspect_after + kCluster.reconnect_grace);
  EXPECT_GT(frames, 100u);
}

TEST_F(UnreadDataTest, WithNothingUnreadOrWithoutADataConnectionItBeginsAtOnce) {
  (void)core.on_closed(b.control, now);
  EXPECT_EQ(downs(pass(kCluster.reconnect_grace, {&a})), 1u);

  Joined c = join("c", 3);
  (void)core.on_closed(c.data, now);
  EXPECT_TRUE(among<effect::Watch>(closes_in_a_flood(c)).empty());
  EXPECT_EQ(downs(pass(kCluster.reconnect_grace, {&a})), 1u);
}

TEST_F(UnreadDataTest, WhoResumesMeanwhileIsNotJudgedByTheClosingOfBefore) {
  (void)closes_in_a_flood(b);
  (void)pass(700ms, {&a});
  (void)control(conn(25), join_frame("b", 2));
  b.control = conn(25);
  EXPECT_TRUE(core.on_read_out(b.data, now).empty());
  EXPECT_TRUE(core.on_closed(b.data, now).empty());
  EXPECT_EQ(downs(pass(2 * kCluster.down_after, {&a, &b})), 0u);
}

TEST_F(UnreadDataTest, WhoOpensDataAnewHasLostWhatTheFormerOneDelivered) {
  (void)closes_in_a_flood(b);
  (void)control(conn(27), control::Attach{b.welcome.token, 2});
  EXPECT_EQ(downs(pass(kCluster.reconnect_grace - 1ns, {&a})), 0u);
  EXPECT_EQ(downs(pass(1ns, {&a})), 1u);
}

TEST_F(UnreadDataTest, WhoseLaterJoinIsReadLateHasDownAfterWhateverIsReadOutMeanwhile) {
  (void)closes_in_a_flood(b);
  (void)core.on_control(conn(25), "late", wire::encode(ControlFrame{join_frame("b", 2)}), now,
                        Line::kClosed);
  (void)core.on_read_out(b.data, now);
  EXPECT_EQ(downs(pass(kCluster.down_after - 1ns, {&a})), 0u);
  EXPECT_EQ(downs(pass(1ns, {&a})), 1u);
}

TEST_F(UnreadDataTest, InAMomentInWhichTheBrokerWasLateTheLongerGraceBeginsAtOnce) {
  now += 2s;
  core.observer_late(2s, now);
  EXPECT_TRUE(among<effect::Watch>(closes_in_a_flood(b)).empty());
  (void)core.on_read_out(b.data, now);
  EXPECT_EQ(downs(pass(kCluster.down_after - 1ns, {&a})), 0u);
  EXPECT_EQ(downs(pass(1ns, {&a})), 1u);
}

TEST_F(UnreadDataTest, ALeaveReadMeanwhileIsALeave) {
  (void)closes_in_a_flood(b);
  (void)control(conn(25), join_frame("b", 2));
  (void)core.on_control(conn(25), "10.0.0.1:4000", wire::encode(ControlFrame{control::Leave{}}),
                        now, Line::kClosed);
  EXPECT_TRUE(core.on_read_out(b.data, now).empty());
  EXPECT_EQ(downs(pass(kCluster.down_after, {&a})), 0u);
  EXPECT_EQ(core.counters().leaves, 1u);
}

}  // namespace
}  // namespace liminal::broker
