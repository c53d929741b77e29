// Goal: a broker's death is no node's death. What a new broker takes over from the nodes, what it
// waits for, and what it declares when recovery ends.
#include "broker/recovery.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "broker_harness.hpp"

namespace liminal::broker {
namespace {

constexpr Duration kRecovery = 6s;
const Epoch kBefore{4242};
const Evidence kSilent{EvidenceSource::kHeartbeatsMissed, 3s, 3s, 0ms};

control::Peer peer(std::string_view node, std::uint64_t incarnation) {
  return {name(node), inc(incarnation), false, 60s};
}

class RecoveryTest : public BrokerCoreTest {
 protected:
  RecoveryTest() {
    BrokerCore::Settings settings = default_settings();
    settings.cluster.recovery = kRecovery;
    core = BrokerCore{settings, Random{7}, now};
  }

  static control::Join resume_frame(std::string_view node, std::uint64_t incarnation,
                                    std::vector<control::Peer> peers = {},
                                    std::vector<control::Verdict> verdicts = {}) {
    control::Join frame = join_frame(node, incarnation);
    frame.epoch = kBefore;
    frame.peers = std::move(peers);
    frame.verdicts = std::move(verdicts);
    return frame;
  }

  Joined resume(std::string_view node, std::uint64_t incarnation,
                std::vector<control::Peer> peers = {},
                std::vector<control::Verdict> verdicts = {}) {
    const ConnectionId at = conn(10 * incarnation);
    const auto welcomes = told_to<control::Welcome>(
        at, control(at, resume_frame(node, incarnation, std::move(peers), std::move(verdicts))));
    EXPECT_EQ(welcomes.size(), 1u) << node;
    Joined joined{std::string{node}, incarnation, at, conn(10 * incarnation + 1), welcomes.at(0)};
    (void)control(joined.data, control::Attach{joined.welcome.token});
    return joined;
  }

  // The states that `node` was told of `incarnation`, in order.
  static std::vector<MemberState> states_of(std::uint64_t incarnation, const Joined& node,
                                            const Effects& effects) {
    std::vector<MemberState> states;
    for (const auto& changes : told_to<control::Changes>(node.control, effects)) {
      for (const auto& change : changes.changes) {
        if (change.member.incarnation == inc(incarnation)) states.push_back(change.member.state);
      }
    }
    return states;
  }

  static std::optional<MemberState> listed(std::uint64_t incarnation,
                                           const control::Welcome& welcome) {
    for (const Member& member : welcome.members) {
      if (member.incarnation == inc(incarnation)) return member.state;
    }
    return std::nullopt;
  }
};

using States = std::vector<MemberState>;

TEST_F(RecoveryTest, ANodeResumesWithTheIncarnationItHas) {
  const Effects effects = control(conn(10), resume_frame("a", 1));
  const auto welcomes = told_to<control::Welcome>(conn(10), effects);
  ASSERT_EQ(welcomes.size(), 1u);
  EXPECT_NE(welcomes[0].epoch, kBefore);
  EXPECT_TRUE(welcomes[0].recovering);
  const auto attached = control(conn(11), control::Attach{welcomes[0].token});
  EXPECT_EQ(among<effect::NodeResumed>(attached).size(), 1u);
  EXPECT_TRUE(among<effect::NodeJoined>(attached).empty());
}

TEST_F(RecoveryTest, AReportedPeerIsExpectedAndLivesWhenItResumes) {
  const Joined a = resume("a", 1, {peer("b", 2)});
  EXPECT_EQ(listed(2, a.welcome), MemberState::kExpected);
  const Effects joining = control(conn(20), resume_frame("b", 2, {peer("a", 1)}));
  const auto welcome = told_to<control::Welcome>(conn(20), joining).at(0);
  EXPECT_EQ(listed(1, welcome), MemberState::kJoined);
  EXPECT_TRUE(states_of(2, a, joining).empty()) << "it is expected until both connections stand";
  const Effects attaching = control(conn(21), control::Attach{welcome.token});
  EXPECT_EQ(states_of(2, a, attaching), States{MemberState::kJoined});
}

TEST_F(RecoveryTest, WhoIsHereAndNotYetAnnouncedIsExpectedToo) {
  (void)control(conn(20), resume_frame("b", 2));
  const Joined a = resume("a", 1, {peer("b", 2)});
  EXPECT_EQ(listed(2, a.welcome), MemberState::kExpected);
}

TEST_F(RecoveryTest, WhoIsExpectedAndNeverAttachesIsDownForThoseWhoWait) {
  (void)control(conn(20), resume_frame("b", 2));
  Joined a = resume("a", 1, {peer("b", 2)});
  const Effects effects = pass(kCluster.down_after, {&a});
  EXPECT_EQ(states_of(2, a, effects), States{MemberState::kDown});
}

TEST_F(RecoveryTest, AnExpectedPeerIsDownWhenRecoveryEndsAndNotBefore) {
  Joined a = resume("a", 1, {peer("b", 2)});
  Effects effects = pass(kRecovery - 1ns, {&a});
  EXPECT_TRUE(states_of(2, a, effects).empty());
  effects = advance_by(1ns);
  ASSERT_EQ(states_of(2, a, effects), States{MemberState::kDown});
  const auto changes = told_to<control::Changes>(a.control, effects);
  EXPECT_FALSE(changes.back().recovering);
  EXPECT_EQ(changes.front().changes.at(0).evidence->source, EvidenceSource::kRecovery);
  EXPECT_EQ(among<effect::RecoveryEnded>(effects).at(0).lost, 1u);
  EXPECT_EQ(told_to<control::Unknown>(conn(20), control(conn(20), resume_frame("b", 2))).size(), 1u)
      << "down is final";
}

TEST_F(RecoveryTest, ItsEndIsToldThoughNobodyIsLost) {
  Joined a = resume("a", 1);
  const auto changes = told_to<control::Changes>(a.control, pass(kRecovery, {&a}));
  ASSERT_FALSE(changes.empty());
  EXPECT_FALSE(changes.back().recovering);
  EXPECT_FALSE(join("b", 2).welcome.recovering);
}

TEST_F(RecoveryTest, WhoComesAfterItsEndIsFenced) {
  Joined b = resume("b", 2);
  (void)pass(kRecovery, {&b});
  EXPECT_EQ(told_to<control::Unknown>(conn(10), control(conn(10), resume_frame("a", 1))).size(),
            1u);
  EXPECT_EQ(join("a", 3).welcome.members.size(), 1u) << "and joins anew";
}

TEST_F(RecoveryTest, ItBeginsAnewWhenTheFirstOfAnEarlierEpochComes) {
  now += kRecovery - 1ns;
  Joined a = resume("a", 1, {peer("b", 2)});
  EXPECT_TRUE(among<effect::RecoveryEnded>(pass(kRecovery - 1ns, {&a})).empty());
  EXPECT_EQ(among<effect::RecoveryEnded>(advance_by(1ns)).size(), 1u);
}

TEST_F(RecoveryTest, ABrokerThatNobodyReachedInItTakesItsNodesBackAllTheSame) {
  Joined fresh = join("fresh", 9);
  (void)pass(kRecovery, {&fresh});
  ASSERT_FALSE(join("x", 8).welcome.recovering);
  const Effects coming = control(conn(10), resume_frame("a", 1, {peer("b", 2)}));
  EXPECT_EQ(among<effect::RecoveryBegins>(coming).size(), 1u);
  EXPECT_EQ(told_to<control::Welcome>(conn(10), coming).at(0).recovering, true);
  const auto told_fresh = told_to<control::Changes>(fresh.control, coming);
  ASSERT_FALSE(told_fresh.empty());
  EXPECT_TRUE(told_fresh.back().recovering);
  now += kRecovery - 1ns;
  EXPECT_EQ(told_to<control::Welcome>(conn(20), control(conn(20), resume_frame("b", 2))).size(),
            1u);
  (void)advance_by(1ns);
  EXPECT_EQ(told_to<control::Unknown>(conn(30), control(conn(30), resume_frame("c", 3))).size(), 1u)
      << "it begins once";
}

TEST_F(RecoveryTest, WhoCannotResumeAnywayDoesNotMakeItBegin) {
  Joined b = join("b", 9);
  (void)pass(kRecovery, {&b});
  const Effects coming = control(conn(20), resume_frame("b", 2));
  EXPECT_EQ(told_to<control::Unknown>(conn(20), coming).size(), 1u) << "its name was seen";
  EXPECT_TRUE(among<effect::RecoveryBegins>(coming).empty());
  control::Join own = join_frame("c", 3);
  own.epoch = core.epoch();
  EXPECT_EQ(told_to<control::Unknown>(conn(30), control(conn(30), own)).size(), 1u);
}

TEST_F(RecoveryTest, FreshNodesDoNotMakeItLast) {
  now += kRecovery / 2;
  Joined a = join("a", 1);
  EXPECT_EQ(among<effect::RecoveryEnded>(pass(kRecovery / 2, {&a})).size(), 1u);
  EXPECT_FALSE(join("b", 2).welcome.recovering);
}

TEST_F(RecoveryTest, ItDoesNotEndWhileAllAreSilentAndThenGivesTheExpectedTheirTimeAnew) {
  Joined a = resume("a", 1, {peer("c", 3)}), b = resume("b", 2, {peer("c", 3)});
  Effects cut = pass(10 * kRecovery);
  EXPECT_TRUE(among<effect::NodeDown>(cut).empty());
  EXPECT_TRUE(among<effect::RecoveryEnded>(cut).empty());
  const auto deadline = core.next_deadline();
  ASSERT_TRUE(deadline);
  EXPECT_GT(*deadline, now) << "it is not due all the time";

  (void)pass(kCluster.beat_interval, {&a, &b});
  (void)core.advance(now);  // hears them
  EXPECT_TRUE(among<effect::RecoveryEnded>(pass(kRecovery - 1ns, {&a, &b})).empty());
  EXPECT_EQ(among<effect::RecoveryEnded>(advance_by(1ns)).at(0).lost, 1u);
}

TEST_F(RecoveryTest, WhoComesBackFromAnotherBrokerCountsItsBeatsAnew) {
  Joined a = join("a", 1);
  (void)pass(2s, {&a});
  const Effects back = control(conn(12), resume_frame("a", 1));
  EXPECT_EQ(told_to<control::BrokerBeat>(conn(12), back).at(0).echo, 0u);
  const Effects first = control(conn(12), control::NodeBeat{1, 0, 0, 0});
  EXPECT_EQ(told_to<control::BrokerBeat>(conn(12), first).at(0).echo, 1u);
}

TEST_F(RecoveryTest, OneThatWasWithAnotherBrokerMeanwhileMakesItBegin) {
  Joined a = join("a", 1);
  (void)pass(kRecovery, {&a});
  const Effects back = control(conn(12), resume_frame("a", 1, {peer("b", 2)}));
  EXPECT_EQ(among<effect::RecoveryBegins>(back).size(), 1u);
  EXPECT_EQ(listed(2, told_to<control::Welcome>(conn(12), back).at(0)), MemberState::kExpected);
}

TEST_F(RecoveryTest, AVerdictThatIsToldBeforeItBeginsKeepsItsIncarnationOut) {
  Joined fresh = join("fresh", 9);
  (void)pass(kRecovery, {&fresh});
  control::Join told = join_frame("a", 3);
  told.verdicts = {{peer("b", 2), kSilent}};
  (void)control(conn(30), told);
  EXPECT_EQ(told_to<control::Unknown>(conn(20), control(conn(20), resume_frame("b", 2))).size(),
            1u);
}

TEST_F(RecoveryTest, WhatAClaimThatWaitedForItsEndReportsCounts) {
  Joined b = resume("b", 2, {peer("a", 1)});
  control::Join claim = join_frame("a", 3);
  claim.verdicts = {{peer("b", 2), kSilent}};
  (void)control(conn(30), claim);
  const Effects ended = pass(kRecovery, {&b});
  EXPECT_EQ(told_to<control::Unknown>(b.control, ended).size(), 1u);
  EXPECT_EQ(told_to<control::Welcome>(conn(30), ended).size(), 1u);
}

TEST_F(RecoveryTest, AResumeWithinTheEpochGoesOnCounting) {
  Joined a = join("a", 1);
  (void)pass(2s, {&a});
  control::Join frame = join_frame("a", 1);
  frame.epoch = core.epoch();
  const Effects back = control(conn(12), frame);
  EXPECT_EQ(told_to<control::BrokerBeat>(conn(12), back).at(0).echo, a.beats);
}

TEST_F(RecoveryTest, ABrokerThatWasAwayItselfWaitsSoMuchLonger) {
  Joined a = resume("a", 1, {peer("b", 2)});
  now += 10s;
  core.observer_late(10s, now);
  EXPECT_TRUE(states_of(2, a, core.advance(now)).empty());
}

TEST_F(RecoveryTest, AReportedDeathWinsOverAResumeThatWasGranted) {
  Joined b = resume("b", 2);
  const Effects effects =
      control(conn(10), resume_frame("a", 1, {peer("b", 2)}, {{peer("b", 2), kSilent}}));
  EXPECT_EQ(among<effect::NodeDown>(effects).at(0).evidence, kSilent);
  EXPECT_EQ(listed(2, told_to<control::Welcome>(conn(10), effects).at(0)), std::nullopt);
  EXPECT_EQ(told_to<control::Unknown>(b.control, control(b.control, control::NodeBeat{1, 0, 0, 0}))
                .size(),
            1u);
}

TEST_F(RecoveryTest, WhoResumedAndIsReportedDeadIsToldSoAtOnce) {
  Joined b = resume("b", 2);
  const Effects effects = control(conn(10), resume_frame("a", 1, {}, {{peer("b", 2), kSilent}}));
  EXPECT_EQ(told_to<control::Unknown>(b.control, effects).size(), 1u);
}

TEST_F(RecoveryTest, AReportedDeathWinsOverAnExpectation) {
  const Joined c = resume("c", 3, {peer("b", 2)});
  const Effects effects = control(conn(10), resume_frame("a", 1, {}, {{peer("b", 2), kSilent}}));
  EXPECT_EQ(states_of(2, c, effects), States{MemberState::kDown});
}

TEST_F(RecoveryTest, AReportedDeathKeepsItOutWhenItComesLater) {
  (void)resume("a", 1, {}, {{peer("b", 2), kSilent}});
  EXPECT_EQ(told_to<control::Unknown>(conn(20), control(conn(20), resume_frame("b", 2))).size(),
            1u);
}

TEST_F(RecoveryTest, ADeathOfOneWhoJoinedThisBrokerCannotBeReported) {
  const Joined b = join("b", 2);
  const Effects effects = control(conn(10), resume_frame("a", 1, {}, {{peer("b", 2), kSilent}}));
  EXPECT_TRUE(among<effect::NodeDown>(effects).empty());
  EXPECT_EQ(rejected(BadFrameReason::kOutOfPlace), 1u);
}

TEST_F(RecoveryTest, AfterItsEndNothingThatIsReportedCounts) {
  Joined b = resume("b", 2);
  (void)pass(kRecovery, {&b});
  control::Join frame = join_frame("a", 1);
  frame.verdicts = {{peer("b", 2), kSilent}};
  frame.peers = {peer("c", 3)};
  const Effects effects = control(conn(10), frame);
  EXPECT_TRUE(among<effect::NodeDown>(effects).empty());
  EXPECT_EQ(listed(3, told_to<control::Welcome>(conn(10), effects).at(0)), std::nullopt);
}

TEST_F(RecoveryTest, WithinAnEpochOnlyTheLivingResume) {
  control::Join frame = join_frame("a", 1);
  frame.epoch = core.epoch();
  EXPECT_EQ(told_to<control::Unknown>(conn(10), control(conn(10), frame)).size(), 1u);
}

// --- one name, one node ---

TEST_F(RecoveryTest, ANewNodeWaitsForTheVerdictOnTheExpectedHolderOfItsName) {
  Joined a = resume("a", 1, {peer("b", 2)});
  const Effects claiming = control(conn(30), join_frame("b", 3));
  EXPECT_EQ(among<effect::ClaimWaits>(claiming).size(), 1u);
  Effects effects = pass(kRecovery, {&a});
  EXPECT_EQ(states_of(2, a, effects), States{MemberState::kDown});
  const auto welcomes = told_to<control::Welcome>(conn(30), effects);
  ASSERT_EQ(welcomes.size(), 1u);
  effects = control(conn(31), control::Attach{welcomes[0].token});
  EXPECT_EQ(states_of(3, a, effects), States{MemberState::kJoined});
}

TEST_F(RecoveryTest, TheReturnOfTheExpectedHolderRefusesTheClaimWhenItAnswersABeat) {
  (void)resume("a", 1, {peer("b", 2)});
  (void)control(conn(30), join_frame("b", 3));
  const Effects effects = control(conn(20), resume_frame("b", 2));
  EXPECT_EQ(told_to<control::Welcome>(conn(20), effects).size(), 1u);
  const auto first = told_to<control::BrokerBeat>(conn(20), effects).at(0);
  const auto asked = told_to<control::BrokerBeat>(conn(20), core.advance(now)).at(0);
  (void)control(conn(20), control::NodeBeat{1, first.number, 0, 0});
  EXPECT_TRUE(told_to<control::Refused>(conn(30), core.advance(now)).empty());
  (void)control(conn(20), control::NodeBeat{2, asked.number, 0, 0});
  EXPECT_EQ(told_to<control::Refused>(conn(30), core.advance(now)).size(), 1u);
}

TEST_F(RecoveryTest, WhereANewNodeBearsTheNameAnOlderIncarnationIsDown) {
  const Joined fresh = join("b", 3);
  const Joined a = resume("a", 1, {peer("b", 2)});
  EXPECT_EQ(listed(2, a.welcome), std::nullopt);
  EXPECT_EQ(listed(3, a.welcome), MemberState::kJoined);
  EXPECT_EQ(told_to<control::Unknown>(conn(20), control(conn(20), resume_frame("b", 2))).size(),
            1u);
}

TEST_F(RecoveryTest, WhoIsBackInPersonEndsTheExpectationOfAnotherIncarnation) {
  const Joined a = resume("a", 1, {peer("b", 2)});
  const Effects joining = control(conn(30), resume_frame("b", 3));
  EXPECT_EQ(states_of(2, a, joining), States{MemberState::kDown});
  const auto welcome = told_to<control::Welcome>(conn(30), joining).at(0);
  EXPECT_EQ(states_of(3, a, control(conn(31), control::Attach{welcome.token})),
            States{MemberState::kJoined});
}

TEST_F(RecoveryTest, AnExpectedIncarnationUnderAnotherNameIsRefused) {
  (void)resume("a", 1, {peer("b", 2)});
  const Effects effects = control(conn(20), resume_frame("thief", 2));
  EXPECT_EQ(told_to<control::Refused>(conn(20), effects).at(0).code,
            control::RefusalCode::kNameTaken);
}

TEST_F(RecoveryTest, ANodeCannotHaveAnotherIncarnationOfItsOwnNameExpected) {
  (void)control(conn(10), resume_frame("n", 1, {peer("n", 3)}));
  EXPECT_EQ(core.counters().expected, 0u);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(told_to<control::Unknown>(conn(30), control(conn(30), join_frame("n", 3))).size(),
              1u);
  }
  (void)control(conn(30), control::Leave{});
  (void)control(conn(10), control::Leave{});
  EXPECT_TRUE(core.members().empty());
}

TEST_F(RecoveryTest, WhatAClaimReportsCountsWhenItIsAdmittedAndEndsNobodyInTheMiddleOfAReport) {
  Joined n = resume("n", 1, {peer("x", 21)});
  Joined m = resume("m", 5);
  control::Join claim = join_frame("x", 22);
  claim.verdicts = {{peer("m", 5), kSilent}, {peer("n", 1), kSilent}};
  EXPECT_TRUE(among<effect::NodeDown>(control(conn(220), claim)).empty());

  // The verdict on the holder that the claim waits for, from a node that the claim would end.
  (void)control(n.control, resume_frame("n", 1, {}, {{peer("x", 21), kSilent}}));
  const Effects effects = core.advance(now);
  EXPECT_EQ(told_to<control::Welcome>(conn(220), effects).size(), 1u) << "the name is free";
  EXPECT_EQ(among<effect::NodeDown>(effects).size(), 2u);
}

TEST_F(RecoveryTest, NothingThatARefusedJoinReportsCounts) {
  Joined a = resume("a", 1), b = resume("b", 2);
  for (std::uint64_t i = 0; i < 20; ++i) {
    control::Join liar = join_frame("a", 100 + i);
    liar.peers = {peer("p" + std::to_string(i), 1000 + i)};
    liar.verdicts = {{peer("b", 2), kSilent}, {peer("c", 3), kSilent}};
    Effects effects = control(conn(5000 + i), liar);
    const auto beat = told_to<control::BrokerBeat>(a.control, pass(kCluster.beat_interval, {&b}));
    (void)control(a.control, control::NodeBeat{++a.beats, beat.at(0).number, 0, 0});
    EXPECT_EQ(told_to<control::Refused>(conn(5000 + i), core.advance(now)).size(), 1u);
  }
  EXPECT_EQ(core.counters().expected, 0u);
  EXPECT_EQ(core.counters().downs, 0u);
  EXPECT_EQ(told_to<control::Welcome>(conn(30), control(conn(30), resume_frame("c", 3))).size(),
            1u);
}

TEST_F(RecoveryTest, NothingThatAJoinBeyondALimitReportsCounts) {
  auto settings = default_settings();
  settings.cluster.recovery = kRecovery;
  settings.nodes_max = 1;
  core = BrokerCore{settings, Random{7}, now};
  const Joined b = resume("b", 2);
  EXPECT_EQ(told_to<control::Refused>(
                conn(10), control(conn(10), resume_frame("a", 1, {}, {{peer("b", 2), kSilent}})))
                .size(),
            1u);
  EXPECT_EQ(core.members().size(), 1u);
}

TEST_F(RecoveryTest, RepeatedReportsDoNotUseUpWhatANodeMayReport) {
  std::vector<control::Peer> peers;
  for (std::uint64_t i = 0; i < 1000; ++i) peers.push_back(peer("p" + std::to_string(i), 1000 + i));
  Joined a = resume("a", 1, peers);
  for (int i = 0; i < 20; ++i) (void)control(a.control, resume_frame("a", 1, peers));
  peers.push_back(peer("late", 5));
  const Effects effects = control(a.control, resume_frame("a", 1, peers));
  EXPECT_EQ(listed(5, told_to<control::Welcome>(a.control, effects).at(0)), MemberState::kExpected);
}

TEST_F(RecoveryTest, AReportOfTheReporterItselfMeansNothing) {
  const Joined a = resume("a", 1, {peer("a", 1)}, {{peer("a", 1), kSilent}});
  EXPECT_EQ(core.members().size(), 1u);
}

TEST_F(RecoveryTest, FramesToAnExpectedPeerAreDroppedAndSentAgainBySessions) {
  const Joined a = resume("a", 1, {peer("b", 2)});
  EXPECT_TRUE(among<effect::Forward>(data(a.data, "b", 2)).empty());
  EXPECT_EQ(dropped(DropCause::kDestinationGone), 1u);
}

TEST_F(RecoveryTest, AReportAgainOnTheSameConnectionAddsToTheFirst) {
  Joined a = resume("a", 1);
  const Effects effects = control(a.control, resume_frame("a", 1, {peer("b", 2)}));
  EXPECT_EQ(listed(2, told_to<control::Welcome>(a.control, effects).at(0)), MemberState::kExpected);
}

TEST(Recovery, ExpectsNoMoreThanItsBound) {
  Recovery recovery{1s, {2, 100, 10, 10}, TimePoint{}};
  EXPECT_TRUE(recovery.expect(peer("a", 1)));
  EXPECT_TRUE(recovery.expect(peer("b", 2)));
  EXPECT_FALSE(recovery.expect(peer("c", 3)));
  EXPECT_TRUE(recovery.forget(inc(1)));
  EXPECT_TRUE(recovery.expect(peer("c", 3)));
}

TEST(Recovery, OneReporterIsHeardSoOften) {
  Recovery recovery{1s, {2, 3, 2, 10}, TimePoint{}};
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(recovery.may_report(inc(1)));
  EXPECT_FALSE(recovery.may_report(inc(1)));
  EXPECT_TRUE(recovery.may_report(inc(2)));
  EXPECT_FALSE(recovery.may_report(inc(3))) << "too many have spoken";
  EXPECT_TRUE(recovery.may_report(inc(2)));
}

TEST(Recovery, RemembersNamesWhileItMayBeginAnewAndNoMoreThanItsBound) {
  Recovery recovery{1s, {2, 3, 2, 2}, TimePoint{}};
  recovery.name_was_seen(name("a"));
  recovery.end();
  recovery.name_was_seen(name("b"));
  EXPECT_TRUE(recovery.saw_name(name("a")));
  recovery.name_was_seen(name("c"));
  EXPECT_FALSE(recovery.saw_name(name("a"))) << "the oldest is forgotten";
  EXPECT_TRUE(recovery.saw_name(name("b")));
  EXPECT_TRUE(recovery.took_back(TimePoint{5s}));
  EXPECT_FALSE(recovery.took_back(TimePoint{5s}));
  recovery.end();
  EXPECT_FALSE(recovery.takes_back());
  EXPECT_FALSE(recovery.saw_name(name("b")));
}

TEST(Recovery, StartsAnewAtMostThreeTimesAndNeverWhenItIsOver) {
  Recovery recovery{1s, {2, 3, 2, 2}, TimePoint{}};
  for (int i = 1; i <= 4; ++i) recovery.start_anew(TimePoint{i * 1s});
  EXPECT_EQ(recovery.ends(), TimePoint{4s});
  recovery.end();
  recovery.start_anew(TimePoint{9s});
  EXPECT_FALSE(recovery.is_running());
}

TEST_F(RecoveryTest, AWelcomeHoldsAllThatCanBeExpected) {
  BrokerCore::Settings settings = default_settings();
  settings.cluster.recovery = kRecovery;
  core = BrokerCore{settings, Random{7}, now};
  const std::string longest(59, 'x');
  std::uint64_t next = 1'000'000'000'000;
  for (std::uint64_t node = 1; node <= 6; ++node) {
    std::vector<control::Peer> peers;
    for (std::size_t i = 0; i < wire::kPeersMax; ++i) peers.push_back(peer(longest, ++next));
    (void)resume("n" + std::to_string(node), node, std::move(peers));
  }
  const Joined last = resume("last", 99);
  EXPECT_EQ(std::count_if(last.welcome.members.begin(), last.welcome.members.end(),
                          [](const Member& m) { return m.state == MemberState::kExpected; }),
            static_cast<std::ptrdiff_t>(settings.expected_max));
  for (const Told& each : told(advance_by(kRecovery))) (void)each;  // each decodes
}

TEST(Recovery, OfNoLengthIsOverBeforeItBegan) {
  Recovery recovery{0s, {2, 100, 10, 10}, TimePoint{}};
  EXPECT_FALSE(recovery.is_running());
  recovery.extend(5s);
  EXPECT_FALSE(recovery.is_running());
  EXPECT_FALSE(recovery.takes_back());
  EXPECT_FALSE(recovery.took_back(TimePoint{5s}));
}

}  // namespace
}  // namespace liminal::broker
