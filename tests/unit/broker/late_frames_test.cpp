// Goal: what is read of a connection after it closed, or after the broker gave it up, displaces
// nobody and kills nobody, and what it says of before counts.
#include "tests/unit/broker/broker_harness.hpp"

namespace liminal::broker {
namespace {

class LateFramesTest : public BrokerCoreTest {
 protected:
  Effects late(ConnectionId from, const ControlFrame& frame) {
    return core.on_control(from, "10.0.0.1:4000", wire::encode(frame), now, Line::kClosed);
  }
  static std::vector<control::Change> told_of(ConnectionId to, const Effects& effects) {
    std::vector<control::Change> all;
    for (const auto& frame : told_to<control::Changes>(to, effects)) {
      all.insert(all.end(), frame.changes.begin(), frame.changes.end());
    }
    return all;
  }
};

TEST_F(LateFramesTest, AJoinReadLateDoesNotDisplaceTheLivingConnection) {
  Joined a = join("a", 1);
  Joined b = join("b", 2);
  EXPECT_TRUE(told(late(conn(15), join_frame("b", 2))).empty());
  EXPECT_TRUE(core.on_closed(conn(15), now).empty());
  EXPECT_TRUE(among<effect::NodeDown>(pass(3 * kCluster.down_after, {&a, &b})).empty());
  EXPECT_EQ(core.counters().resumes, 0u);
  EXPECT_TRUE(told_to<control::Unknown>(b.control,
                                        control(b.control, control::NodeBeat{++b.beats, 1, 0, 0}))
                  .empty());
}

// It resumed and lost that connection too, while nobody read: it has the grace to come back.
TEST_F(LateFramesTest, AJoinReadLateWhileTheGraceRunsGivesDownAfterFromThenOn) {
  Joined a = join("a", 1);
  const Joined b = join("b", 2);
  (void)core.on_closed(b.control, now);
  (void)pass(kCluster.reconnect_grace - 1ns, {&a});
  EXPECT_TRUE(told(late(conn(25), join_frame("b", 2))).empty());
  (void)core.on_closed(conn(25), now);
  EXPECT_TRUE(among<effect::NodeDown>(pass(kCluster.down_after - 1ns, {&a})).empty());
  EXPECT_EQ(among<effect::NodeDown>(pass(1ns, {&a})).size(), 1u);
}

// A third connection's join waits in the flood.
TEST_F(LateFramesTest, AJoinReadLateCutsNoLongerGraceShort) {
  Joined a = join("a", 1);
  const Joined b = join("b", 2);
  (void)core.on_given_up(b.control, now);
  (void)pass(250ms, {&a});
  (void)late(conn(25), join_frame("b", 2));
  EXPECT_TRUE(among<effect::NodeDown>(pass(kCluster.down_after - 1ns, {&a})).empty());
}

TEST_F(LateFramesTest, ALeaveBehindAJoinReadLateIsALeave) {
  for (const bool lives : {true, false}) {
    core = BrokerCore{default_settings(), Random{7}, now};
    Joined a = join("a", 1);
    const Joined b = join("b", 2);
    if (!lives) (void)core.on_closed(b.control, now);
    (void)late(conn(25), join_frame("b", 2));
    const auto changes = told_of(a.control, late(conn(25), control::Leave{}));
    ASSERT_EQ(changes.size(), 1u);
    EXPECT_EQ(changes[0].member.state, MemberState::kLeft);
    EXPECT_TRUE(core.on_closed(conn(25), now).empty());
    EXPECT_TRUE(core.on_closed(b.control, now).empty());
    EXPECT_EQ(core.counters().downs, 0u);
  }
}

TEST_F(LateFramesTest, WhoDoesNotKnowTheSecretCannotLeaveForAnother) {
  (void)join("a", 1);
  auto forged = join_frame("a", 1);
  forged.secret = 4711;
  (void)late(conn(15), forged);
  (void)late(conn(15), control::Leave{});
  (void)late(conn(16), control::Leave{});
  EXPECT_EQ(core.members().size(), 1u);
}

TEST_F(LateFramesTest, ABeatReadLateProvesThatItsNodeLivedAndIsNotItsAnswerToAClaim) {
  Joined a = join("a", 1);
  const Joined b = join("b", 2);
  (void)pass(kCluster.suspect_after, {&a});
  const auto beat = told_to<control::BrokerBeat>(b.control, pass(kCluster.beat_interval, {&a}));
  (void)control(conn(40), join_frame("b", 4));
  const auto asked = beat.back().number + 1;  // with the claim
  const Effects heard = late(b.control, control::NodeBeat{1, asked, 0, 0});
  EXPECT_EQ(among<effect::NodeRecovered>(heard).size(), 1u);
  EXPECT_TRUE(told(late(b.control, control::NodeBeat{1, asked, 0, 0})).empty());
  EXPECT_TRUE(told_to<control::Refused>(conn(40), core.advance(now)).empty());
  (void)core.on_closed(b.control, now);
  const Effects verdict = pass(kCluster.reconnect_grace, {&a});
  EXPECT_EQ(told_to<control::Welcome>(conn(40), verdict).size(), 1u);
}

TEST_F(LateFramesTest, AnAttachReadLateDisplacesNoLivingConnectionAndAnnouncesNobody) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  EXPECT_TRUE(late(conn(25), control::Attach{b.welcome.token}).empty());
  EXPECT_EQ(among<effect::Forward>(data(a.data, "b", 2)).at(0).connection, b.data);
  (void)core.on_closed(conn(25), now);
  EXPECT_EQ(among<effect::Forward>(data(b.data, "a", 1)).size(), 1u);

  const auto welcome =
      told_to<control::Welcome>(conn(30), control(conn(30), join_frame("c", 3))).at(0);
  EXPECT_TRUE(late(conn(31), control::Attach{welcome.token}).empty());
  EXPECT_EQ(core.members().size(), 2u);
}

TEST_F(LateFramesTest, FramesThatADataConnectionDeliveredAreForwardedThoughItClosed) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  const std::string header = wire::encode(RouteTo{name("a"), inc(1)});
  EXPECT_EQ(among<effect::Forward>(core.on_data(b.data, header, 100, now, Line::kClosed)).size(),
            1u);
  EXPECT_TRUE(core.on_data(conn(77), header, 100, now, Line::kClosed).empty()) << "a stranger's";
  EXPECT_EQ(core.counters().unknown_replies, 0u);
}

TEST_F(LateFramesTest, AClaimReadLateWaitsForNobodyAndTakesNoPlace) {
  const Joined holder = join("a", 1);
  (void)core.on_closed(holder.control, now);
  EXPECT_TRUE(told(control(conn(30), join_frame("a", 3))).empty());
  (void)late(conn(40), join_frame("a", 3));
  (void)core.on_closed(conn(40), now);
  EXPECT_EQ(told_to<control::Welcome>(conn(30), pass(kCluster.reconnect_grace)).size(), 1u)
      << "on the connection that stands";
}

TEST_F(LateFramesTest, AFreshJoinReadLateHoldsNoName) {
  (void)late(conn(10), join_frame("a", 1));
  (void)core.on_closed(conn(10), now);
  EXPECT_EQ(core.next_deadline(), std::nullopt);
  (void)join("a", 2);
}

TEST_F(LateFramesTest, NoQuestionReadLateIsAnswered) {
  EXPECT_TRUE(late(conn(5), control::StatusQuery{}).empty());
  EXPECT_TRUE(late(conn(5), control::TimelineQuery{ConversationId{}, 0}).empty());
  EXPECT_TRUE(late(conn(5), control::CancelQuery{ConversationId{}}).empty());
  EXPECT_EQ(
      among<effect::Send>(core.on_control(conn(5), "peer", "garbage", now, Line::kClosed)).size(),
      0u);
  EXPECT_EQ(control(conn(5), control::StatusQuery{}).size(), 1u) << "that call alone was late";
}

// Its connection was full of what it did not take: what it had sent is still to be read.
TEST_F(LateFramesTest, ALeaveOnAConnectionThatTheBrokerGaveUpIsALeave) {
  Joined a = join("a", 1);
  Joined b = join("b", 2);
  (void)core.on_given_up(b.control, now);
  EXPECT_TRUE(told(late(b.control, control::NodeBeat{1, 1, 0, 0})).empty());
  EXPECT_TRUE(told(late(b.control, join_frame("b", 2))).empty());
  const auto changes = told_of(a.control, late(b.control, control::Leave{}));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].member.state, MemberState::kLeft);
  EXPECT_TRUE(core.on_closed(b.control, now).empty());
  EXPECT_EQ(core.counters().downs, 0u);
}

TEST_F(LateFramesTest, WhoWasGivenUpAndResumedIsNotTouchedByItsOldConnectionsClosing) {
  Joined a = join("a", 1);
  Joined b = join("b", 2);
  (void)core.on_given_up(b.control, now);
  (void)control(conn(25), join_frame("b", 2));
  EXPECT_TRUE(told(late(b.control, join_frame("b", 2))).empty());
  EXPECT_TRUE(core.on_closed(b.control, now).empty());
  b.control = conn(25);
  EXPECT_TRUE(among<effect::NodeDown>(pass(2 * kCluster.down_after, {&a, &b})).empty());
}

// The first to come back to a new broker, read when its connection was over already.
TEST_F(LateFramesTest, AResumeOfBeforeThatIsReadLateHasDownAfterToComeAndItsLeaveIsALeave) {
  auto settings = default_settings();
  settings.cluster.recovery = 6s;
  for (const bool leaves : {false, true}) {
    core = BrokerCore{settings, Random{7}, now};
    auto a = join_frame("a", 1);
    a.epoch = Epoch{5};
    a.peers = {{name("b"), inc(2), false, 60s}};
    const auto welcome = told_to<control::Welcome>(conn(10), control(conn(10), a)).at(0);
    (void)control(conn(11), control::Attach{welcome.token});
    auto b = join_frame("b", 2);
    b.epoch = Epoch{5};
    EXPECT_TRUE(told_to<control::Welcome>(conn(20), late(conn(20), b)).empty());
    if (leaves) {
      const auto changes = told_of(conn(10), late(conn(20), control::Leave{}));
      ASSERT_EQ(changes.size(), 1u);
      EXPECT_EQ(changes[0].member.state, MemberState::kLeft);
    }
    (void)core.on_closed(conn(20), now);
    if (leaves) continue;
    const Effects waiting = advance_by(kCluster.down_after - 1ns);
    EXPECT_TRUE(among<effect::JoinAbandoned>(waiting).empty());
    EXPECT_EQ(told_to<control::Welcome>(conn(25), control(conn(25), b)).size(), 1u);
  }
}

// ---- what is late although its connection still seems to stand ----

TEST_F(LateFramesTest, AnEarlierJoinThatComesLaterDoesNotDisplaceTheLaterOne) {
  Joined a = join("a", 1);
  auto first = join_frame("b", 2), second = join_frame("b", 2);
  first.number = 1;
  second.number = 2;
  const auto welcome = told_to<control::Welcome>(conn(25), control(conn(25), second)).at(0);
  Joined b{"b", 2, conn(25), conn(26), welcome};
  (void)control(conn(26), control::Attach{welcome.token, 1});
  EXPECT_TRUE(told(control(conn(24), first)).empty());
  EXPECT_TRUE(told(control(conn(24), control::NodeBeat{1, 1, 0, 0})).empty());
  EXPECT_TRUE(told(control(conn(24), first)).empty()) << "again";
  EXPECT_TRUE(core.on_closed(conn(24), now).empty());
  EXPECT_TRUE(among<effect::NodeDown>(pass(2 * kCluster.down_after, {&a, &b})).empty());

  (void)control(conn(23), first);
  (void)control(conn(23), control::Leave{});
  EXPECT_EQ(core.counters().leaves, 1u) << "nothing comes behind a leave";
}

TEST_F(LateFramesTest, ALaterJoinDisplacesAnEarlierOneAndOneOnTheSameConnectionIsObeyed) {
  auto frame = join_frame("a", 1);
  for (frame.number = 1; frame.number <= 3; ++frame.number) {
    const ConnectionId at = conn(10 + frame.number);
    EXPECT_EQ(told_to<control::Welcome>(at, control(at, frame)).size(), 1u);
    EXPECT_EQ(told_to<control::Welcome>(at, control(at, frame)).size(), 1u);
  }
}

TEST_F(LateFramesTest, AnEarlierClaimThatComesLaterDoesNotTakeThePlaceOfTheLaterOne) {
  const Joined holder = join("a", 1);
  (void)core.on_closed(holder.control, now);
  auto first = join_frame("a", 3), second = join_frame("a", 3);
  first.number = 1;
  second.number = 2;
  (void)control(conn(31), second);
  EXPECT_TRUE(told(control(conn(30), first)).empty());
  (void)core.on_closed(conn(30), now);
  EXPECT_EQ(told_to<control::Welcome>(conn(31), pass(kCluster.reconnect_grace)).size(), 1u);
}

// Its node has given that connection up, and opened another one with the same token.
TEST_F(LateFramesTest, AnEarlierAttachThatComesLaterDoesNotTakeOver) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  const std::uint64_t token = b.welcome.token;
  EXPECT_EQ(
      told_to<control::Attached>(conn(27), control(conn(27), control::Attach{token, 3})).size(),
      1u);
  EXPECT_TRUE(told(control(conn(26), control::Attach{token, 2})).empty());
  EXPECT_EQ(among<effect::Forward>(data(a.data, "b", 2)).at(0).connection, conn(27));
  EXPECT_EQ(among<effect::Forward>(data(conn(27), "a", 1)).size(), 1u);
  EXPECT_TRUE(data(conn(26), "a", 1).empty());
  (void)core.on_closed(conn(26), now);
  EXPECT_EQ(among<effect::Forward>(data(a.data, "b", 2)).at(0).connection, conn(27));

  (void)core.on_closed(conn(27), now);
  EXPECT_TRUE(told(control(conn(28), control::Attach{token, 2})).empty()) << "nor when it is lost";
  EXPECT_EQ(
      told_to<control::Attached>(conn(29), control(conn(29), control::Attach{token, 4})).size(),
      1u);
  EXPECT_EQ(
      told_to<control::Attached>(conn(29), control(conn(29), control::Attach{token, 4})).size(), 1u)
      << "a question";
}

}  // namespace
}  // namespace liminal::broker
