// Goal: beats and verdicts at their limits, routing, and frames that nobody should have sent.
#include "broker/broker_core.hpp"

#include <limits>

#include "broker_harness.hpp"
#include "common/wire/limits.hpp"

namespace liminal::broker {
namespace {

TEST_F(BrokerCoreTest, BeatsGoOutAtJoinAndThenEveryBeatInterval) {
  const Effects joining = control(conn(10), join_frame("a", 1));
  ASSERT_EQ(told_to<control::BrokerBeat>(conn(10), joining).size(), 1u);
  EXPECT_EQ(core.next_deadline(), now + kCluster.beat_interval);
  EXPECT_TRUE(advance_by(kCluster.beat_interval - 1ns).empty());
  const auto beats = told_to<control::BrokerBeat>(conn(10), advance_by(1ns));
  ASSERT_EQ(beats.size(), 1u);
  EXPECT_EQ(beats[0], (control::BrokerBeat{.number = 2, .echo = 0}));
  EXPECT_EQ(told_to<control::BrokerBeat>(conn(10), control(conn(10), control::NodeBeat{5, 2, 0, 0}))
                .at(0),
            (control::BrokerBeat{.number = 3, .echo = 5}))
      << "the first one is echoed at once";
  EXPECT_TRUE(told(control(conn(10), control::NodeBeat{6, 2, 0, 0})).empty());
  EXPECT_EQ(told_to<control::BrokerBeat>(conn(10), advance_by(kCluster.beat_interval)).at(0),
            (control::BrokerBeat{.number = 4, .echo = 6}));
}

TEST_F(BrokerCoreTest, AfterAPauseOneBeatGoesOutNotAllThatWereMissed) {
  const Joined a = join("a", 1);
  EXPECT_EQ(told_to<control::BrokerBeat>(a.control, advance_by(1100ms)).size(), 1u);
  EXPECT_EQ(core.next_deadline(), now + 150ms);  // suspicion, of a beat sent at the start
}

TEST_F(BrokerCoreTest, WithoutNodesThereIsNothingToWaitFor) {
  EXPECT_EQ(core.next_deadline(), std::nullopt);
  const Joined a = join("a", 1);
  EXPECT_NE(core.next_deadline(), std::nullopt);
  (void)control(a.control, control::Leave{});
  EXPECT_EQ(core.next_deadline(), std::nullopt);
}

TEST_F(BrokerCoreTest, SilenceMakesSuspectThenDownExactlyAtTheLimits) {
  Joined watcher = join("w", 9);
  const Joined a = join("a", 1);
  EXPECT_TRUE(among<effect::NodeSuspect>(pass(kCluster.suspect_after - 1ns, {&watcher})).empty());
  const Effects suspecting = advance_by(1ns);
  ASSERT_EQ(among<effect::NodeSuspect>(suspecting).size(), 1u);
  const auto suspect = told_to<control::Changes>(watcher.control, suspecting).at(0);
  EXPECT_EQ(suspect.changes.at(0).member.state, MemberState::kSuspect);
  EXPECT_EQ(core.members().at(0).state, MemberState::kSuspect);

  const Duration rest = kCluster.down_after - kCluster.suspect_after;
  EXPECT_TRUE(among<effect::NodeDown>(pass(rest - 1ns, {&watcher})).empty());
  const Effects verdict = advance_by(1ns);
  ASSERT_EQ(among<effect::NodeDown>(verdict).size(), 1u);
  const auto down = told_to<control::Changes>(watcher.control, verdict).at(0);
  EXPECT_EQ(down.changes.at(0).member.state, MemberState::kDown);
  EXPECT_EQ(down.changes.at(0).evidence->source, EvidenceSource::kHeartbeatsMissed);
}

TEST_F(BrokerCoreTest, BeatsThatEchoNothingNewDoNotKeepANodeAlive) {
  Joined watcher = join("w", 9);
  const Joined a = join("a", 1);
  std::uint64_t number = 0;
  for (int i = 0; i < 11; ++i) {
    (void)control(a.control, control::NodeBeat{++number, 1, 0, 0});
    EXPECT_TRUE(among<effect::NodeDown>(pass(250ms, {&watcher})).empty());
  }
  EXPECT_EQ(among<effect::NodeDown>(pass(250ms, {&watcher})).size(), 1u);
}

TEST_F(BrokerCoreTest, ASuspectNodeThatEchoesARecentBeatIsJoinedAgainForAll) {
  Joined watcher = join("w", 9);
  const Joined a = join("a", 1);
  (void)pass(kCluster.suspect_after, {&watcher});
  const auto beat =
      told_to<control::BrokerBeat>(a.control, advance_by(kCluster.beat_interval)).at(0);
  const Effects effects = control(a.control, control::NodeBeat{1, beat.number, 0, 0});
  EXPECT_EQ(among<effect::NodeRecovered>(effects).size(), 1u);
  const auto changes = told_to<control::Changes>(watcher.control, effects).at(0);
  EXPECT_EQ(changes.changes.at(0).member.state, MemberState::kJoined);
  EXPECT_EQ(changes.changes.at(0).evidence, std::nullopt);
}

TEST_F(BrokerCoreTest, ANodeThatIsSuspectWhenItAttachesIsAnnouncedAndThenSuspect) {
  Joined watcher = join("w", 9);
  const auto welcome =
      told_to<control::Welcome>(conn(10), control(conn(10), join_frame("a", 1))).at(0);
  EXPECT_TRUE(among<effect::NodeSuspect>(pass(kCluster.suspect_after, {&watcher})).empty());
  const auto changes =
      told_to<control::Changes>(watcher.control, control(conn(11), control::Attach{welcome.token}));
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].changes.at(0).member.state, MemberState::kJoined);
  EXPECT_EQ(changes[1].changes.at(0).member.state, MemberState::kSuspect);
}

TEST_F(BrokerCoreTest, ALateObserverStartsTheDeadlinesAnewAndGivesClosingsDownAfter) {
  const Joined a = join("a", 1);
  Joined b = join("b", 2);
  now += 10s;  // the broker was stopped
  core.observer_late(10s, now);
  (void)core.on_closed(a.control, now);
  EXPECT_TRUE(among<effect::NodeDown>(advance_by(0s)).empty());
  EXPECT_TRUE(among<effect::NodeDown>(pass(kCluster.down_after - 1ns, {&b})).empty());
  EXPECT_EQ(among<effect::NodeDown>(pass(1ns, {&b})).size(), 1u);
}

std::size_t suspects(const Effects& effects) { return among<effect::NodeSuspect>(effects).size(); }
std::size_t downs(const Effects& effects) { return among<effect::NodeDown>(effects).size(); }

TEST_F(BrokerCoreTest, WhenManyTurnSuspectTogetherTheVerdictsWaitOneMoreBoundAndTheLogSaysSo) {
  (void)join("a", 1);
  (void)join("b", 2);
  (void)join("c", 3);
  Joined d = join("d", 4);
  Joined cli = join("cli", 5, true);
  const Effects first = pass(kCluster.suspect_after, {&d, &cli});
  EXPECT_EQ(suspects(first), 3u);
  EXPECT_EQ(among<effect::DoubtsItself>(first),
            (std::vector<effect::DoubtsItself>{{Doubt::kMany, 3, 5}}));
  EXPECT_EQ(downs(pass(2 * kCluster.down_after - kCluster.suspect_after - 1ns, {&d, &cli})), 0u);
  const Effects last = pass(1ns, {&d, &cli});
  EXPECT_EQ(downs(last), 3u);
  EXPECT_EQ(among<effect::DoubtsItself>(last),
            (std::vector<effect::DoubtsItself>{{Doubt::kNone, 0, 2}}));
}

TEST_F(BrokerCoreTest, LightNodesDoNotCountAmongTheMany) {
  (void)join("a", 1);
  (void)join("b", 2);
  (void)join("cli-1", 3, true);
  Joined d = join("d", 4);
  EXPECT_EQ(downs(pass(kCluster.down_after - 1ns, {&d})), 0u);
  EXPECT_EQ(downs(pass(1ns, {&d})), 3u);
}

TEST_F(BrokerCoreTest, WhenAllAreSilentNobodyIsJudgedUntilOneIsHeard) {
  (void)join("a", 1);
  Joined b = join("b", 2);
  const Effects silence = pass(1min);
  EXPECT_EQ(suspects(silence), 2u);
  EXPECT_EQ(downs(silence), 0u);
  EXPECT_EQ(among<effect::DoubtsItself>(silence),
            (std::vector<effect::DoubtsItself>{{Doubt::kAll, 2, 2}}));
  const Effects heard = pass(kCluster.beat_interval, {&b});
  EXPECT_EQ(among<effect::NodeRecovered>(heard).size(), 1u);
  (void)advance_by(0s);
  EXPECT_EQ(downs(pass(kCluster.down_after - 1ns, {&b})), 0u);
  EXPECT_EQ(downs(pass(1ns, {&b})), 1u);
}

// Both hosts lost their power and are up again: who claims the names cannot wait for ever.
TEST_F(BrokerCoreTest, WhoClaimsTheNamesOfAllSilentNodesGetsThemWithinOneMoreBound) {
  (void)join("a", 1);
  (void)join("b", 2);
  (void)pass(10s);
  EXPECT_TRUE(told_to<control::Refused>(conn(30), control(conn(30), join_frame("a", 3))).empty());
  (void)advance_by(0s);
  EXPECT_EQ(downs(pass(kCluster.down_after - 1ns)), 0u);
  const Effects verdicts = pass(1ns);
  EXPECT_EQ(downs(verdicts), 2u);
  EXPECT_EQ(told_to<control::Welcome>(conn(30), verdicts).size(), 1u);
}

TEST_F(BrokerCoreTest, ALateObserverAbandonsNoJoinForTheTimeThatItWasAway) {
  const auto welcome = told_to<control::Welcome>(conn(10), control(conn(10), join_frame("a", 1)));
  (void)advance_by(1s);
  now += 10s;  // the broker was stopped
  core.observer_late(10s, now);
  EXPECT_TRUE(among<effect::JoinAbandoned>(advance_by(0s)).empty());
  EXPECT_TRUE(among<effect::JoinAbandoned>(advance_by(kCluster.down_after - 1s - 1ns)).empty());
  EXPECT_EQ(
      told_to<control::Attached>(conn(11), control(conn(11), control::Attach{welcome.at(0).token}))
          .size(),
      1u);
  (void)control(conn(20), join_frame("b", 2));
  (void)advance_by(1s);
  core.observer_late(2s, now += 2s);
  EXPECT_EQ(among<effect::JoinAbandoned>(advance_by(kCluster.down_after - 1s)).size(), 1u)
      << "and no longer";
}

TEST_F(BrokerCoreTest, TimeThatGoesBackCountsAsTheLatest) {
  const Joined a = join("a", 1);
  (void)advance_by(1s);
  EXPECT_TRUE(among<effect::NodeDown>(core.advance(now - 1h)).empty());
  EXPECT_EQ(core.status(now - 1h).uptime, 1s);
}

// ---- routing ----

TEST_F(BrokerCoreTest, AFrameGoesToItsDestinationBehindAHeaderThatNamesTheProvenSender) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  const auto forwards = among<effect::Forward>(data(a.data, "b", 2));
  ASSERT_EQ(forwards.size(), 1u);
  EXPECT_EQ(forwards[0].connection, b.data);
  EXPECT_EQ(wire::decode_route_from(forwards[0].header),
            (RouteFrom{name("a"), inc(1), core.epoch(), core.version()}));
  EXPECT_EQ(core.counters().forwarded, 1u);
  EXPECT_EQ(core.counters().forwarded_bytes, 100u);
}

TEST_F(BrokerCoreTest, FramesThatCannotGoOnAreDroppedAndCountedByCause) {
  const Joined a = join("a", 1);
  (void)join("b", 2);
  (void)control(conn(30), join_frame("c", 3));  // not announced
  EXPECT_TRUE(data(a.data, "b", 99).empty());   // another incarnation
  EXPECT_TRUE(data(a.data, "nobody", 1).empty());
  EXPECT_TRUE(data(a.data, "c", 3).empty());
  EXPECT_EQ(dropped(DropCause::kDestinationGone), 3u);
  EXPECT_EQ(told_to<control::Unknown>(conn(77), data(conn(77), "a", 1)).size(), 1u);
  EXPECT_TRUE(data(conn(77), "a", 1).empty());  // answered once a second
  EXPECT_EQ(dropped(DropCause::kUnknownSender), 2u);
  EXPECT_EQ(core.counters().forwarded, 0u);
}

TEST_F(BrokerCoreTest, ASuspectNodeStillSendsAndReceives) {
  Joined b = join("b", 2);
  const Joined a = join("a", 1);
  (void)pass(kCluster.suspect_after, {&b});
  EXPECT_EQ(among<effect::Forward>(data(a.data, "b", 2)).size(), 1u);
  EXPECT_EQ(among<effect::Forward>(data(b.data, "a", 1)).size(), 1u);
}

TEST_F(BrokerCoreTest, NoFrameOfAnEndedIncarnationIsForwardedNorOneTowardIt) {
  Joined a = join("a", 1);
  const Joined b = join("b", 2);
  (void)pass(kCluster.down_after, {&a});
  EXPECT_EQ(told_to<control::Unknown>(b.data, data(b.data, "a", 1)).size(), 1u);
  EXPECT_TRUE(data(a.data, "b", 2).empty());
  EXPECT_EQ(core.counters().forwarded, 0u);
}

// ---- hostile frames ----

TEST_F(BrokerCoreTest, AMalformedFrameOfAStrangerIsRefusedOncePerSecondAndCountedEachTime) {
  const Effects first = core.on_control(conn(5), "peer", "\x01\x02garbage", now);
  EXPECT_EQ(told_to<control::Refused>(conn(5), first).at(0).code, control::RefusalCode::kMalformed);
  ASSERT_EQ(among<effect::BadFrame>(first).size(), 1u);
  EXPECT_EQ(among<effect::BadFrame>(first)[0].reason, BadFrameReason::kMalformed);
  EXPECT_TRUE(told(core.on_control(conn(5), "peer", "", now)).empty());
  EXPECT_EQ(rejected(BadFrameReason::kMalformed), 2u);
}

TEST_F(BrokerCoreTest, AMalformedFrameOfANodeIsCountedAndTheNodeStays) {
  Joined a = join("a", 1);
  const Effects effects = core.on_control(a.control, "peer", "garbage", now);
  EXPECT_TRUE(told(effects).empty());
  EXPECT_EQ(among<effect::BadFrame>(effects).size(), 1u);
  EXPECT_EQ(among<effect::BadFrame>(core.on_data(a.data, "garbage", 5, now)).size(), 1u);
  EXPECT_EQ(core.members().size(), 1u);
}

TEST_F(BrokerCoreTest, AnotherProtocolVersionIsRefusedNamingBothVersions) {
  std::string bytes = wire::encode(ControlFrame{join_frame("a", 1)});
  ASSERT_EQ(bytes.at(1), wire::kProtocolVersion);
  bytes[1] = 42;
  const auto refused =
      told_to<control::Refused>(conn(5), core.on_control(conn(5), "peer", bytes, now)).at(0);
  EXPECT_EQ(refused.code, control::RefusalCode::kVersion);
  EXPECT_NE(refused.text.find("42"), std::string::npos) << refused.text;
  EXPECT_NE(refused.text.find("version 1"), std::string::npos) << refused.text;
}

TEST_F(BrokerCoreTest, FramesOutOfPlaceAreCountedAndChangeNothing) {
  const Joined a = join("a", 1);
  const Joined b = join("b", 2);
  const auto before = core.members();
  const control::NodeBeat beat{1, 0, 0, 0};
  const std::vector<std::pair<ConnectionId, ControlFrame>> frames{
      {a.data, beat},
      {a.data, control::Leave{}},
      {a.data, join_frame("a", 1)},
      {a.control, join_frame("c", 3)},
      {a.control, join_frame("a", 3)},
      {a.control, control::Attach{a.welcome.token}},
      {b.data, control::Attach{a.welcome.token}},
      {b.data, control::Attach{12345}},
      {a.control, control::Unknown{core.epoch()}},
      {a.control, control::Changes{MembershipVersion{9}, {}}},
      {conn(99), control::Attached{}}};
  for (const auto& [from, frame] : frames) {
    const Effects effects = control(from, frame);
    ASSERT_EQ(effects.size(), 1u) << frame.index();
    EXPECT_TRUE(std::holds_alternative<effect::BadFrame>(effects[0]));
  }
  EXPECT_EQ(among<effect::BadFrame>(data(a.control, "b", 2)).size(), 1u);
  EXPECT_EQ(rejected(BadFrameReason::kOutOfPlace), frames.size() + 1);
  EXPECT_EQ(core.members(), before);
}

TEST_F(BrokerCoreTest, AnEchoOfABeatNeverSentIsABadFrameAndNoSignOfLife) {
  Joined watcher = join("w", 9);
  const Joined a = join("a", 1);
  (void)pass(2s, {&watcher});
  for (const std::uint64_t echo :
       {std::uint64_t{1000}, std::numeric_limits<std::uint64_t>::max()}) {
    const Effects effects = control(a.control, control::NodeBeat{1, echo, 0, 0});
    EXPECT_EQ(among<effect::BadFrame>(effects).at(0).reason, BadFrameReason::kBadEcho);
  }
  EXPECT_EQ(among<effect::NodeDown>(pass(1s, {&watcher})).size(), 1u);
}

TEST_F(BrokerCoreTest, ATokenThatWasNeverGivenAttachesNobody) {
  (void)join("a", 1);
  const Effects effects = control(conn(66), control::Attach{4711});
  EXPECT_EQ(told_to<control::Unknown>(conn(66), effects).size(), 1u);
  EXPECT_TRUE(told_to<control::Attached>(conn(66), effects).empty());
}

TEST_F(BrokerCoreTest, OversizedHeadersAndFramesAreRejected) {
  const Joined a = join("a", 1);
  (void)join("b", 2);
  const std::string header = wire::encode(RouteTo{name("b"), inc(2)});
  const std::string large(wire::kHeaderBytesMax + 1, 'x');
  EXPECT_EQ(among<effect::BadFrame>(core.on_data(a.data, large, 1, now)).at(0).reason,
            BadFrameReason::kOversized);
  EXPECT_EQ(among<effect::Forward>(core.on_data(a.data, header, wire::kPartBytesMax, now)).size(),
            1u);
  EXPECT_EQ(
      among<effect::Forward>(core.on_data(a.data, header, wire::kPartBytesMax + 1, now)).size(),
      0u);
}

TEST_F(BrokerCoreTest, TheTokensOfANodeGiveThoseOfOthersNotAway) {
  // the first test vector of eight bytes from the authors of SipHash
  EXPECT_EQ(liminal::siphash24(0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL, 0x0706050403020100ULL),
            0x93f5f5799a932462ULL);
  Random same_seed{7};
  std::vector<std::uint64_t> raw;
  for (int i = 0; i < 100; ++i) raw.push_back(same_seed.next());
  EXPECT_EQ(std::count(raw.begin(), raw.end(), join("a", 1).welcome.token), 0);
}

}  // namespace
}  // namespace liminal::broker
