// Goal: who is welcomed, who is told what and in which order, and who is never taken back.
#include "broker_harness.hpp"

namespace liminal::broker {
namespace {

using MembershipTest = BrokerCoreTest;

std::vector<control::Change> states(const std::vector<control::Changes>& frames) {
  std::vector<control::Change> all;
  for (const auto& frame : frames)
    all.insert(all.end(), frame.changes.begin(), frame.changes.end());
  return all;
}

TEST_F(MembershipTest, AWelcomeTellsEpochSettingsTokenAndOtherAnnouncedNodes) {
  const Joined a = join("a", 1);
  EXPECT_EQ(a.welcome.epoch, core.epoch());
  EXPECT_EQ(a.welcome.settings, kCluster);
  EXPECT_TRUE(a.welcome.members.empty());
  const Joined b = join("b", 2);
  ASSERT_EQ(b.welcome.members.size(), 1u);
  EXPECT_EQ(b.welcome.members[0], (Member{name("a"),
                                          inc(1),
                                          MemberState::kJoined,
                                          false,
                                          {ServiceName{"upper"}},
                                          {{"zone", "a"}}}));
  EXPECT_NE(a.welcome.token, b.welcome.token);
}

TEST_F(MembershipTest, ANodeIsAnnouncedWhenBothOfItsConnectionsStandAndNotBefore) {
  const Joined a = join("a", 1);
  const Effects joining = control(conn(20), join_frame("b", 2));
  EXPECT_TRUE(told_to<control::Changes>(a.control, joining).empty());
  EXPECT_TRUE(among<effect::NodeJoined>(joining).empty());
  const auto welcome = told_to<control::Welcome>(conn(20), joining).at(0);

  const Effects attaching = control(conn(21), control::Attach{welcome.token});
  const auto changes = told_to<control::Changes>(a.control, attaching);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].version.value(), welcome.version.value() + 1);
  ASSERT_EQ(changes[0].changes.size(), 1u);
  EXPECT_EQ(changes[0].changes[0].member.name, name("b"));
  EXPECT_EQ(changes[0].changes[0].member.state, MemberState::kJoined);
  EXPECT_EQ(told_to<control::Attached>(conn(21), attaching).size(), 1u);
  EXPECT_EQ(among<effect::NodeJoined>(attaching).size(), 1u);
}

TEST_F(MembershipTest, ANodeIsNotToldOfItselfButSeesEveryVersion) {
  const Effects joining = control(conn(10), join_frame("a", 1));
  const auto welcome = told_to<control::Welcome>(conn(10), joining).at(0);
  const auto changes =
      told_to<control::Changes>(conn(10), control(conn(11), control::Attach{welcome.token}));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].version.value(), welcome.version.value() + 1);
  EXPECT_TRUE(changes[0].changes.empty());
}

TEST_F(MembershipTest, AResumeHasToKnowTheSecretOfItsIncarnation) {
  control::Join frame = join_frame("a", 1);
  frame.secret = 77;
  const auto welcome = told_to<control::Welcome>(conn(10), control(conn(10), frame)).at(0);
  (void)control(conn(11), control::Attach{welcome.token});

  control::Join thief = frame;
  thief.secret = 78;
  const Effects effects = control(conn(66), thief);
  EXPECT_EQ(told_to<control::Refused>(conn(66), effects).at(0).code,
            control::RefusalCode::kNameTaken);
  EXPECT_TRUE(told_to<control::Welcome>(conn(66), effects).empty());
  EXPECT_EQ(told_to<control::BrokerBeat>(conn(10), advance_by(kCluster.beat_interval)).size(), 1u)
      << "its connection is still the node's";
  EXPECT_EQ(told_to<control::Welcome>(conn(12), control(conn(12), frame)).size(), 1u);
}

TEST_F(MembershipTest, AResumeOfAJoiningNodeDoesNotAnnounceIt) {
  const Joined a = join("a", 1);
  (void)control(conn(20), join_frame("b", 2));
  const Effects resuming = control(conn(25), join_frame("b", 2));
  EXPECT_EQ(told_to<control::Welcome>(conn(25), resuming).size(), 1u);
  EXPECT_TRUE(told_to<control::Changes>(a.control, resuming).empty());
  EXPECT_EQ(core.members().size(), 1u);
}

TEST_F(MembershipTest, AJoiningNodeIsToldOfEveryChangeFromItsWelcomeOn) {
  Joined a = join("a", 1);
  const auto welcome =
      told_to<control::Welcome>(conn(20), control(conn(20), join_frame("b", 2))).at(0);
  const auto changes = told_to<control::Changes>(conn(20), control(a.control, control::Leave{}));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].version.value(), welcome.version.value() + 1);
  EXPECT_EQ(changes[0].changes.at(0).member.state, MemberState::kLeft);
}

// Its data connection may be late, as TCP is when a first packet is lost; but not for ever.
TEST_F(MembershipTest, ANodeThatAnswersBeatsAndNeverAttachesIsDroppedAtThreeTimesDownAfter) {
  Joined a = join("a", 1);
  Joined b{"b", 2, conn(20), conn(21),
           told_to<control::Welcome>(conn(20), control(conn(20), join_frame("b", 2))).at(0)};
  EXPECT_TRUE(among<effect::JoinAbandoned>(pass(3 * kCluster.down_after - 1ns, {&a, &b})).empty());
  EXPECT_EQ(core.next_deadline(), now + 1ns);
  const Effects late = advance_by(1ns);
  EXPECT_EQ(among<effect::JoinAbandoned>(late).size(), 1u);
  EXPECT_TRUE(told_to<control::Changes>(a.control, late).empty());
  EXPECT_EQ(told_to<control::Unknown>(conn(21), control(conn(21), control::Attach{b.welcome.token}))
                .size(),
            1u);
  (void)join("b", 3);  // the name is free
}

TEST_F(MembershipTest, ALeaveIsNoCrashAndEndsTheIncarnation) {
  Joined a = join("a", 1);
  const Joined b = join("b", 2);
  const Effects leaving = control(b.control, control::Leave{});
  const auto changes = states(told_to<control::Changes>(a.control, leaving));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].member.state, MemberState::kLeft);
  EXPECT_EQ(changes[0].evidence->source, EvidenceSource::kLeft);
  EXPECT_TRUE(told_to<control::Changes>(b.control, leaving).empty());
  EXPECT_TRUE(core.on_closed(b.control, now).empty());
  EXPECT_TRUE(among<effect::NodeDown>(pass(10s, {&a})).empty());
}

TEST_F(MembershipTest, FramesOfAnEndedIncarnationAreAnsweredByUnknownOncePerConnectionAndSecond) {
  const Joined a = join("a", 1);
  (void)control(a.control, control::Leave{});
  const control::NodeBeat beat{.number = 1, .echo = 0, .participants = 0, .conversations = 0};
  EXPECT_EQ(told_to<control::Unknown>(a.control, control(a.control, beat)).size(), 1u);
  EXPECT_TRUE(control(a.control, beat).empty());
  EXPECT_EQ(told_to<control::Unknown>(a.data, data(a.data, "a", 1)).size(), 1u);
  now += 1s - 1ns;
  EXPECT_TRUE(control(a.control, beat).empty());
  now += 1ns;
  EXPECT_EQ(told_to<control::Unknown>(a.control, control(a.control, beat)).size(), 1u);
}

TEST_F(MembershipTest, WhoIsJudgedOnAConnectionThatStandsIsToldWithTheVerdict) {
  Joined a = join("a", 1);
  const Joined b = join("b", 2);
  const Effects effects = pass(kCluster.down_after, {&a});
  EXPECT_EQ(among<effect::NodeDown>(effects).size(), 1u);
  EXPECT_EQ(told_to<control::Unknown>(b.control, effects).size(), 1u);
  EXPECT_TRUE(told_to<control::Unknown>(a.control, effects).empty());
}

TEST_F(MembershipTest, WhoLeavesIsNotToldThatItIsUnknown) {
  const Joined a = join("a", 1);
  EXPECT_TRUE(told_to<control::Unknown>(a.control, control(a.control, control::Leave{})).empty());
}

TEST_F(MembershipTest, AnEndedIncarnationIsNeverTakenBack) {
  const Joined a = join("a", 1);
  (void)core.on_closed(a.control, now);
  EXPECT_EQ(among<effect::NodeDown>(pass(kCluster.reconnect_grace)).size(), 1u);
  const Effects again = control(conn(12), join_frame("a", 1));
  EXPECT_EQ(told_to<control::Unknown>(conn(12), again).size(), 1u);
  EXPECT_TRUE(told_to<control::Welcome>(conn(12), again).empty());
  (void)join("a", 2);
}

// ---- resuming ----

TEST_F(MembershipTest, AResumeWithinTheGraceIsNoDeathAndTellsTheWholeLivingList) {
  Joined a = join("a", 1);
  Joined b = join("b", 2);
  (void)core.on_closed(b.control, now);
  (void)pass(kCluster.reconnect_grace - 1ns, {&a});
  const Effects resuming = control(conn(25), join_frame("b", 2));
  const auto welcome = told_to<control::Welcome>(conn(25), resuming).at(0);
  EXPECT_EQ(welcome.version, core.version());
  EXPECT_EQ(welcome.members, core.members().size() == 2 ? std::vector<Member>{core.members()[0]}
                                                        : std::vector<Member>{});
  EXPECT_NE(welcome.token, b.welcome.token);
  EXPECT_TRUE(told_to<control::Changes>(a.control, resuming).empty());
  b.control = conn(25);
  EXPECT_TRUE(among<effect::NodeDown>(pass(5s, {&a, &b})).empty());
}

TEST_F(MembershipTest, EachControlConnectionIsNamedAsTheOneThatCarriesBeatsAndNoOther) {
  const std::vector<effect::CarriesBeats> first{{conn(20)}}, next{{conn(25)}};
  const Effects joining = control(conn(20), join_frame("b", 2));
  EXPECT_EQ(among<effect::CarriesBeats>(joining), first);
  const auto welcome = told_to<control::Welcome>(conn(20), joining).at(0);
  const Effects attaching = control(conn(21), control::Attach{welcome.token});
  EXPECT_TRUE(among<effect::CarriesBeats>(attaching).empty());
  (void)core.on_closed(conn(20), now);
  EXPECT_EQ(among<effect::CarriesBeats>(control(conn(25), join_frame("b", 2))), next);
}

TEST_F(MembershipTest, AResumeOfASuspectNodeTellsItTheWelcomeBeforeTheChangeThatItCauses) {
  Joined a = join("a", 1);
  const Joined b = join("b", 2);
  (void)pass(kCluster.suspect_after, {&a});
  const MembershipVersion before = core.version();
  const Effects resuming = control(conn(25), join_frame("b", 2));
  std::vector<std::size_t> kinds;
  for (const Told& each : told(resuming)) {
    if (each.to == conn(25)) kinds.push_back(each.frame.index());
  }
  const control::Welcome welcome = told_to<control::Welcome>(conn(25), resuming).at(0);
  EXPECT_EQ(welcome.version, before);
  ASSERT_FALSE(kinds.empty());
  EXPECT_EQ(kinds.front(), ControlFrame{welcome}.index());
  const auto own = told_to<control::Changes>(conn(25), resuming);
  ASSERT_EQ(own.size(), 1u);
  EXPECT_EQ(own[0], (control::Changes{core.version(), {}}));
  const auto others = states(told_to<control::Changes>(a.control, resuming));
  ASSERT_EQ(others.size(), 1u);
  EXPECT_EQ(others[0].member.state, MemberState::kJoined);
}

TEST_F(MembershipTest, AClosingIsAVerdictExactlyAtTheEndOfTheGrace) {
  Joined a = join("a", 1);
  const Joined b = join("b", 2);
  (void)core.on_closed(b.control, now);
  EXPECT_TRUE(among<effect::NodeDown>(pass(kCluster.reconnect_grace - 1ns, {&a})).empty());
  const Effects verdict = advance_by(1ns);
  ASSERT_EQ(among<effect::NodeDown>(verdict).size(), 1u);
  EXPECT_EQ(among<effect::NodeDown>(verdict)[0].evidence.source, EvidenceSource::kConnectionClosed);
  const auto changes = states(told_to<control::Changes>(a.control, verdict));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].member.state, MemberState::kDown);
  EXPECT_EQ(changes[0].evidence->source, EvidenceSource::kConnectionClosed);
}

TEST_F(MembershipTest, TheClosingOfAReplacedConnectionMeansNothing) {
  Joined b = join("b", 2);
  (void)control(conn(25), join_frame("b", 2));
  EXPECT_TRUE(core.on_closed(b.control, now).empty());
  b.control = conn(25);
  EXPECT_TRUE(among<effect::NodeDown>(pass(5s, {&b})).empty());
}

TEST_F(MembershipTest, FramesOfReplacedConnectionsAreIgnoredWithoutFencingTheNode) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  const auto welcome =
      told_to<control::Welcome>(conn(25), control(conn(25), join_frame("b", 2))).at(0);
  (void)control(conn(26), control::Attach{welcome.token});
  EXPECT_TRUE(told(control(b.control, control::Leave{})).empty());
  EXPECT_TRUE(data(b.data, "a", 1).empty());
  EXPECT_EQ(dropped(DropCause::kReplacedConnection), 1u);
  EXPECT_EQ(core.members().size(), 2u);
  EXPECT_EQ(among<effect::Forward>(data(conn(26), "a", 1)).size(), 1u);
}

TEST_F(MembershipTest, TheOldDataConnectionStaysValidUntilAnotherIsAttached) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  (void)control(conn(25), join_frame("b", 2));
  EXPECT_EQ(among<effect::Forward>(data(b.data, "a", 1)).size(), 1u);
  EXPECT_EQ(among<effect::Forward>(data(a.data, "b", 2)).at(0).connection, b.data);
}

TEST_F(MembershipTest, AnAttachThatWasOvertakenDoesNotDisplaceTheLaterOne) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  const auto welcome =
      told_to<control::Welcome>(conn(25), control(conn(25), join_frame("b", 2))).at(0);
  (void)control(conn(26), control::Attach{welcome.token});
  EXPECT_TRUE(told(control(conn(27), control::Attach{b.welcome.token})).empty());
  EXPECT_EQ(among<effect::Forward>(data(a.data, "b", 2)).at(0).connection, conn(26));
}

TEST_F(MembershipTest, ALostDataConnectionIsAttachedAgainWithTheSameToken) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  (void)core.on_closed(b.data, now);
  EXPECT_TRUE(data(a.data, "b", 2).empty());
  EXPECT_EQ(dropped(DropCause::kDestinationDetached), 1u);
  EXPECT_EQ(
      told_to<control::Attached>(conn(22), control(conn(22), control::Attach{b.welcome.token}))
          .size(),
      1u);
  EXPECT_EQ(among<effect::Forward>(data(a.data, "b", 2)).at(0).connection, conn(22));
  EXPECT_EQ(core.counters().joins, 2u);  // not announced again
}

// So a node hears whether a connection on which nothing comes carries anything.
TEST_F(MembershipTest, AnAttachOfWhatIsAttachedIsAnsweredAgainAndChangesNothing) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  const auto version = core.version();
  for (int i = 0; i < 10; ++i) {
    const Effects effects = control(b.data, control::Attach{b.welcome.token});
    EXPECT_EQ(effects.size(), 1u);
    EXPECT_EQ(told_to<control::Attached>(b.data, effects).size(), 1u);
  }
  EXPECT_EQ(among<effect::Forward>(data(a.data, "b", 2)).at(0).connection, b.data);
  EXPECT_EQ(core.counters().joins, 2u);
  EXPECT_EQ(core.version(), version);
}

TEST_F(MembershipTest, ANodeThatAttachesWhileItsControlConnectionIsLostIsAnnouncedAtItsResume) {
  const Joined a = join("a", 1);
  const auto welcome =
      told_to<control::Welcome>(conn(20), control(conn(20), join_frame("b", 2))).at(0);
  (void)core.on_closed(conn(20), now);
  const Effects attaching = control(conn(21), control::Attach{welcome.token});
  EXPECT_TRUE(told_to<control::Changes>(a.control, attaching).empty());
  EXPECT_TRUE(data(conn(21), "a", 1).empty());
  const Effects resuming = control(conn(22), join_frame("b", 2));
  EXPECT_EQ(states(told_to<control::Changes>(a.control, resuming)).size(), 1u);
  EXPECT_EQ(told_to<control::Welcome>(conn(22), resuming).at(0).version.value() + 1,
            core.version().value());
}

// ---- claims on a held name ----

enum class Holder { kWell, kSuspect, kClosed };
enum class Then { kNothing, kReturns, kDies, kLeaves };
struct ClaimCase {
  const char* title;
  Holder holder;
  Then then;
  bool refused_later;
  bool admitted_later;
};

class ClaimOnAHeldName : public BrokerCoreTest, public ::testing::WithParamInterface<ClaimCase> {};

TEST_P(ClaimOnAHeldName, IsDecidedByTheHoldersState) {
  const ClaimCase& expected = GetParam();
  Joined watcher = join("w", 9);
  Joined holder = join("a", 1);
  switch (expected.holder) {
    case Holder::kWell:
      break;
    case Holder::kSuspect:
      (void)pass(kCluster.suspect_after, {&watcher});
      break;
    case Holder::kClosed:
      (void)core.on_closed(holder.control, now);
      break;
  }
  const Effects claiming = control(conn(30), join_frame("a", 3));
  EXPECT_TRUE(told_to<control::Refused>(conn(30), claiming).empty());
  EXPECT_TRUE(told_to<control::Welcome>(conn(30), claiming).empty());

  Effects later;
  switch (expected.then) {
    case Then::kNothing:
      break;
    case Then::kReturns: {
      if (expected.holder == Holder::kClosed) {
        holder.control = conn(15);
        (void)control(holder.control, join_frame("a", 1));
      }
      const Effects beats = advance_by(kCluster.beat_interval);
      EXPECT_TRUE(told_to<control::Refused>(conn(30), beats).empty());
      const auto beat = told_to<control::BrokerBeat>(holder.control, beats).at(0);
      (void)control(holder.control, control::NodeBeat{1, beat.number, 0, 0});
      later = core.advance(now);
      break;
    }
    case Then::kDies:
      later = pass(kCluster.down_after, {&watcher});
      break;
    case Then::kLeaves:
      later = control(holder.control, control::Leave{});
      break;
  }
  const auto refused_later = told_to<control::Refused>(conn(30), later);
  EXPECT_EQ(refused_later.size(), expected.refused_later ? 1u : 0u);
  EXPECT_EQ(told_to<control::Welcome>(conn(30), later).size(), expected.admitted_later ? 1u : 0u);
  for (const auto& refusal : refused_later) {
    EXPECT_EQ(refusal.code, control::RefusalCode::kNameTaken);
  }
}

// clang-format off
INSTANTIATE_TEST_SUITE_P(Claims, ClaimOnAHeldName, ::testing::Values(
    //        name               holder            then            refused  admitted
    ClaimCase{"WellAnswers",     Holder::kWell,    Then::kReturns, true,    false},
    ClaimCase{"WellDies",        Holder::kWell,    Then::kDies,    false,   true},
    ClaimCase{"WellLeaves",      Holder::kWell,    Then::kLeaves,  false,   true},
    ClaimCase{"WellSaysNothing", Holder::kWell,    Then::kNothing, false,   false},
    ClaimCase{"SuspectReturns",  Holder::kSuspect, Then::kReturns, true,    false},
    ClaimCase{"SuspectDies",     Holder::kSuspect, Then::kDies,    false,   true},
    ClaimCase{"SuspectLeaves",   Holder::kSuspect, Then::kLeaves,  false,   true},
    ClaimCase{"SuspectWaits",    Holder::kSuspect, Then::kNothing, false,   false},
    ClaimCase{"ClosedReturns",   Holder::kClosed,  Then::kReturns, true,    false},
    ClaimCase{"ClosedDies",      Holder::kClosed,  Then::kDies,    false,   true},
    ClaimCase{"ClosedWaits",     Holder::kClosed,  Then::kNothing, false,   false}),
    [](const auto& test) { return std::string{test.param.title}; });
// clang-format on

TEST_F(MembershipTest, ARefusedClaimIsToldWhoHoldsTheName) {
  (void)join("a", 1);
  now += 1s;
  const auto asked =
      told_to<control::BrokerBeat>(conn(10), control(conn(30), join_frame("a", 3))).at(0);
  now += 500ms;
  (void)control(conn(10), control::NodeBeat{1, asked.number, 0, 0});
  const auto refused = told_to<control::Refused>(conn(30), core.advance(now)).at(0);
  EXPECT_EQ(refused.code, control::RefusalCode::kNameTaken);
  EXPECT_EQ(refused.text,
            "the name is held by 'a' (incarnation 0000000000000001) from 10.0.0.1:4000, joined "
            "1500ms ago");
}

// What a node said before it fenced itself lies in the sockets of a broker that was stalled, and so
// may its attempt to resume; the closings are told last, or never.
TEST_F(MembershipTest, AfterAStallTheLastWordsOfAHolderDoNotRefuseItsOwnNodesClaim) {
  for (const bool closing_is_told : {true, false}) {
    for (const bool resume_is_read : {true, false}) {
      core = BrokerCore{default_settings(), Random{7}, now};
      Joined holder = join("a", 1);
      const auto beat =
          told_to<control::BrokerBeat>(holder.control, advance_by(kCluster.beat_interval)).at(0);
      now += 70s;
      (void)control(conn(30), join_frame("a", 3));
      (void)control(holder.control, control::NodeBeat{1, beat.number, 0, 0});
      if (resume_is_read) (void)control(conn(15), join_frame("a", 1));
      core.observer_late(70s, now);
      Effects effects = core.advance(now);
      if (closing_is_told) {
        (void)core.on_closed(holder.control, now);
        if (resume_is_read) (void)core.on_closed(conn(15), now);
      }
      const Effects later = pass(kCluster.down_after);
      effects.insert(effects.end(), later.begin(), later.end());
      EXPECT_TRUE(told_to<control::Refused>(conn(30), effects).empty());
      EXPECT_EQ(told_to<control::Welcome>(conn(30), effects).size(), 1u);
    }
  }
}

TEST_F(MembershipTest, AHolderIsAskedAtOnceAndWhoClaimsAgainAndAgainDoesNotFloodItWithBeats) {
  const Joined holder = join("a", 1);
  (void)pass(kCluster.beat_interval);
  std::size_t asked = 0;
  for (std::uint64_t i = 0; i < 10; ++i) {
    const Effects claiming = control(conn(100 + i), join_frame("a", 3 + i));
    asked += told_to<control::BrokerBeat>(holder.control, claiming).size();
    EXPECT_EQ(asked, 1u);
    (void)core.on_closed(conn(100 + i), now);
  }
  now += kCluster.beat_interval;
  const Effects claiming = control(conn(200), join_frame("a", 20));
  EXPECT_EQ(told_to<control::BrokerBeat>(holder.control, claiming).size(), 1u);
}

TEST_F(MembershipTest, TheHoldersDownIsToldBeforeTheClaimantIsWelcomedAndAnnounced) {
  Joined watcher = join("w", 9);
  const Joined holder = join("a", 1);
  (void)core.on_closed(holder.control, now);
  (void)control(conn(30), join_frame("a", 3));
  const Effects verdict = pass(kCluster.reconnect_grace, {&watcher});
  std::optional<std::size_t> down_at;
  std::optional<std::size_t> welcome_at;
  const auto frames = told(verdict);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (frames[i].to == watcher.control &&
        std::holds_alternative<control::Changes>(frames[i].frame))
      down_at = i;
    if (frames[i].to == conn(30) && std::holds_alternative<control::Welcome>(frames[i].frame))
      welcome_at = i;
  }
  ASSERT_TRUE(down_at && welcome_at);
  EXPECT_LT(*down_at, *welcome_at);
  EXPECT_EQ(told_to<control::Welcome>(conn(30), verdict).at(0).version, core.version());
}

TEST_F(MembershipTest, AClaimantThatClosesIsForgotten) {
  const Joined holder = join("a", 1);
  (void)core.on_closed(holder.control, now);
  (void)control(conn(30), join_frame("a", 3));
  (void)core.on_closed(conn(30), now);
  EXPECT_TRUE(told_to<control::Welcome>(conn(30), pass(5s)).empty());
  (void)join("a", 4);
}

TEST_F(MembershipTest, OfTwoClaimsOnOneNameTheNewerIsRefused) {
  const Joined holder = join("a", 1);
  (void)core.on_closed(holder.control, now);
  EXPECT_TRUE(told(control(conn(30), join_frame("a", 3))).empty());
  EXPECT_EQ(told_to<control::Refused>(conn(40), control(conn(40), join_frame("a", 4))).size(), 1u);
  // the same claimant on a new connection takes its own place
  EXPECT_TRUE(told(control(conn(35), join_frame("a", 3))).empty());
  const Effects verdict = pass(kCluster.reconnect_grace);
  EXPECT_EQ(told_to<control::Welcome>(conn(35), verdict).size(), 1u);
  EXPECT_TRUE(told_to<control::Welcome>(conn(30), verdict).empty());
}

TEST_F(MembershipTest, AnIncarnationOfAnotherLivingNodeIsRefused) {
  (void)join("a", 1);
  const auto refused = told_to<control::Refused>(conn(30), control(conn(30), join_frame("b", 1)));
  EXPECT_EQ(refused.size(), 1u);
  EXPECT_EQ(core.members().size(), 1u);
}

// ---- bounds ----

TEST_F(MembershipTest, BeyondNodesMaxAJoinIsRefused) {
  auto settings = default_settings();
  settings.nodes_max = 2;
  core = BrokerCore{settings, Random{7}, now};
  (void)join("a", 1);
  const Joined b = join("b", 2);
  const auto refused = told_to<control::Refused>(conn(30), control(conn(30), join_frame("c", 3)));
  EXPECT_EQ(refused.at(0).code, control::RefusalCode::kLimit);
  (void)control(b.control, control::Leave{});
  (void)join("c", 4);
}

TEST_F(MembershipTest, BeyondWhatNodesMaySayOfThemselvesAJoinIsRefused) {
  auto settings = default_settings();
  settings.node_bytes_max = 1000;
  settings.all_nodes_bytes_max = 2000;
  core = BrokerCore{settings, Random{7}, now};
  auto large = join_frame("a", 1);
  large.labels = {{"key", std::string(900, 'x')}};
  EXPECT_EQ(told_to<control::Refused>(conn(10), control(conn(10), large)).at(0).code,
            control::RefusalCode::kLimit);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    auto medium = join_frame("n" + std::to_string(i), i);
    medium.labels = {{"key", std::string(700, 'x')}};
    const Effects effects = control(conn(10 * i), medium);
    EXPECT_EQ(told_to<control::Welcome>(conn(10 * i), effects).size(), i < 3 ? 1u : 0u) << i;
  }
}

TEST_F(MembershipTest, BeyondClaimsMaxAClaimIsRefused) {
  auto settings = default_settings();
  settings.claims_max = 1;
  core = BrokerCore{settings, Random{7}, now};
  (void)core.on_closed(join("a", 1).control, now);
  (void)core.on_closed(join("b", 2).control, now);
  EXPECT_TRUE(told(control(conn(30), join_frame("a", 3))).empty());
  EXPECT_EQ(told_to<control::Refused>(conn(40), control(conn(40), join_frame("b", 4))).at(0).code,
            control::RefusalCode::kLimit);
}

TEST_F(MembershipTest, AHundredNodesMayClaimTheirOwnNamesAtOnce) {
  constexpr std::uint64_t kNodes = 100;
  for (std::uint64_t i = 1; i <= kNodes; ++i) (void)join("n" + std::to_string(i), i);
  now += 70s;
  for (std::uint64_t i = 1; i <= kNodes; ++i) {
    const Effects claiming =
        control(conn(100'000 + i), join_frame("n" + std::to_string(i), 5000 + i));
    EXPECT_TRUE(told_to<control::Refused>(conn(100'000 + i), claiming).empty()) << i;
  }
  core.observer_late(70s, now);
  std::size_t welcomed = 0;
  for (const TimePoint end = now + 2 * kCluster.down_after; now < end;) {
    for (const Told& each : told(advance_by(kCluster.beat_interval))) {
      welcomed += std::holds_alternative<control::Welcome>(each.frame);
      EXPECT_FALSE(std::holds_alternative<control::Refused>(each.frame));
    }
  }
  EXPECT_EQ(welcomed, kNodes);
}

TEST_F(MembershipTest, BeyondClaimsBytesMaxAClaimIsRefusedAndWhatWentMakesRoom) {
  auto settings = default_settings();
  settings.claims_bytes_max = 2000;
  core = BrokerCore{settings, Random{7}, now};
  (void)core.on_closed(join("a", 1).control, now);
  (void)core.on_closed(join("b", 2).control, now);
  auto large = join_frame("a", 3);
  large.verdicts.assign(10, {{name("x"), inc(99), false, 60s}, std::nullopt});
  EXPECT_TRUE(told_to<control::Refused>(conn(30), control(conn(30), large)).empty());
  auto other = large;
  other.name = name("b");
  other.incarnation = inc(4);
  EXPECT_EQ(told_to<control::Refused>(conn(40), control(conn(40), other)).at(0).code,
            control::RefusalCode::kLimit);
  EXPECT_TRUE(told(control(conn(31), large)).empty()) << "it takes its own place";
  (void)core.on_closed(conn(31), now);
  EXPECT_TRUE(told_to<control::Refused>(conn(41), control(conn(41), other)).empty());
}

TEST_F(MembershipTest, AClaimThatCouldNeverBeAdmittedIsRefusedAtOnce) {
  auto settings = default_settings();
  settings.node_bytes_max = 1000;
  core = BrokerCore{settings, Random{7}, now};
  (void)join("a", 1);
  auto large = join_frame("a", 3);
  large.labels = {{"key", std::string(900, 'x')}};
  EXPECT_EQ(told_to<control::Refused>(conn(30), control(conn(30), large)).at(0).code,
            control::RefusalCode::kLimit);
}

// ---- status ----

TEST_F(MembershipTest, StatusListsFullNodesAndThoseThatEndedButNoLightOnes) {
  Joined b = join("b", 2);
  (void)join("cli", 5, /*light=*/true);
  const Joined a = join("a", 1);
  (void)control(conn(50), join_frame("unattached", 6));
  (void)pass(kCluster.beat_interval, {&b});
  (void)control(a.control, control::Leave{});

  const Effects effects = control(conn(99), control::StatusQuery{});  // from a stranger
  const auto reply = told_to<control::StatusReply>(conn(99), effects).at(0);
  EXPECT_EQ(reply.epoch, core.epoch());
  EXPECT_EQ(reply.uptime, kCluster.beat_interval);
  ASSERT_EQ(reply.nodes.size(), 2u);
  EXPECT_EQ(reply.nodes[0].member.name, name("a"));
  EXPECT_EQ(reply.nodes[0].member.state, MemberState::kLeft);
  EXPECT_EQ(reply.nodes[0].evidence->source, EvidenceSource::kLeft);
  EXPECT_EQ(reply.nodes[1].member.name, name("b"));
  EXPECT_EQ(reply.nodes[1].participants, 1u);
  EXPECT_EQ(reply.nodes[1].conversations, 2u);
  EXPECT_EQ(reply.nodes[1].evidence, std::nullopt);
}

TEST_F(MembershipTest, ANodeThatJoinedAgainIsListedOnce) {
  (void)control(join("a", 1).control, control::Leave{});
  (void)join("a", 2);
  const auto status = core.status(now);
  ASSERT_EQ(status.nodes.size(), 1u);
  EXPECT_EQ(status.nodes[0].member.incarnation, inc(2));
}

TEST_F(MembershipTest, WhatEndedIsListedForHistoryKeptAndAtMostHistoryMax) {
  auto settings = default_settings();
  settings.history_max = 2;
  core = BrokerCore{settings, Random{7}, now};
  for (std::uint64_t i = 1; i <= 3; ++i) {
    (void)control(join("n" + std::to_string(i), i).control, control::Leave{});
    now += 1s;
  }
  ASSERT_EQ(core.status(now).nodes.size(), 2u);
  EXPECT_EQ(core.status(now).nodes[0].member.name, name("n2"));  // the oldest went
  now += settings.history_kept - 2s;
  EXPECT_EQ(core.status(now - 1ns).nodes.size(), 2u);
  EXPECT_EQ(core.status(now).nodes.size(), 1u);
}

}  // namespace
}  // namespace liminal::broker
