// NodeCore alone: what it tells its broker, and what peers' signals and deaths mean to its
// processes.
#include "node/remote/node_core.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <vector>

#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

const Epoch kEpoch{77}, kNext{78};
const Incarnation kPeerIncarnation{500};
const NodeName kSelf{"self"}, kPeer{"peer"};
const ClusterSettings kCluster{250ms, 1250ms, 3s, 500ms, 16 << 20};
const Evidence kClosed{EvidenceSource::kConnectionClosed, 600ms, 500ms, 0ms};

Member member(const NodeName& name, Incarnation incarnation, MemberState state) {
  return {name, incarnation, state, false, {ServiceName{"upper"}}, {}};
}

Pid local(std::uint64_t serial) { return {kSelf, local_incarnation(), Serial{serial}}; }
Pid remote(std::uint64_t serial) { return {kPeer, kPeerIncarnation, Serial{serial}}; }

Envelope envelope(std::uint64_t number) {
  return {.kind = EnvelopeKind::kRequest, .id = {1, number}, .conversation = {2, 2}};
}

/// Plays the broker, and the peer behind it, to one NodeCore.
class NodeCoreTest : public ::testing::Test {
 protected:
  void note(NodeCore::Effects effects) {
    for (auto& effect : effects) effects_.push_back(std::move(effect));
  }

  // Effects of one kind since the last call, in order.
  template <class Effect>
  std::vector<Effect> take() {
    std::vector<Effect> found;
    for (auto& effect : effects_) {
      if (auto* e = std::get_if<Effect>(&effect)) found.push_back(std::move(*e));
    }
    std::erase_if(effects_, [](const auto& e) { return std::holds_alternative<Effect>(e); });
    return found;
  }

  template <class Frame>
  std::vector<Frame> take_control() {
    std::vector<Frame> found;
    for (const auto& sent : take<node_effect::SendControl>()) {
      const auto frame = wire::decode_control(sent.bytes);
      if (!frame) ADD_FAILURE() << frame.error().detail;
      if (const auto* wanted = std::get_if<Frame>(&*frame)) found.push_back(*wanted);
    }
    return found;
  }

  std::vector<Signal> delivered() {
    std::vector<Signal> signals;
    for (auto& deliver : take<node_effect::Deliver>()) signals.push_back(std::move(deliver.signal));
    return signals;
  }

  void control(const ControlFrame& frame) { note(core.on_control(wire::encode(frame), now)); }

  void join(std::vector<Member> members = {member(kPeer, kPeerIncarnation, MemberState::kJoined)}) {
    note(core.start(now));
    note(core.on_control_connected(now));
    control(control::Welcome{kEpoch, MembershipVersion{10}, 4711, kCluster, std::move(members)});
    note(core.on_data_connected(now));
    note(core.on_data_control(wire::encode(ControlFrame{control::Attached{}}), now));
    ASSERT_TRUE(core.joined());
    effects_.clear();
  }

  void peer_says(Signal signal, MembershipVersion version = MembershipVersion{10}) {
    std::visit([&](auto& s) { s.to.incarnation = core.incarnation(); }, signal);
    peer_session.send(std::move(signal));
    for (const auto& frame : peer_session.collect(now, 100)) {
      note(core.on_frame(wire::encode(RouteFrom{kPeer, kPeerIncarnation, kEpoch, version}),
                         wire::encode(frame, now), now));
    }
  }

  // What the peer reads from what the core sends now.
  std::vector<Signal> peer_reads() {
    note(core.flush(now));
    std::vector<Signal> signals;
    for (const auto& sent : take<node_effect::SendFrame>()) {
      const auto to = wire::decode_route_to(sent.header);
      EXPECT_TRUE(to && *to == (RouteTo{kPeer, kPeerIncarnation}));
      auto frame = wire::decode_session_frame(sent.frame, now);
      if (!frame) ADD_FAILURE() << frame.error().detail;
      auto received = peer_session.receive(std::move(*frame), now);
      if (!received) ADD_FAILURE() << received.error().detail;
      for (auto& signal : received->signals) {
        peer_session.returned(signal);
        signals.push_back(std::move(signal));
      }
    }
    return signals;
  }

  static std::string route() {
    return wire::encode(RouteFrom{kPeer, kPeerIncarnation, kEpoch, MembershipVersion{10}});
  }
  Pid at_core(std::uint64_t serial) { return {kSelf, core.incarnation(), Serial{serial}}; }

  // An empty frame of that session, changed by `change`.
  template <class Change>
  void frame_of(std::uint32_t number, Change change) {
    SessionFrame frame{SessionNumber{number}, 1, 4 * 1024 * 1024, false, 1, {}};
    change(frame);
    note(core.on_frame(route(), wire::encode(frame, now), now));
  }

  std::vector<Duration> refusals_until_final(control::RefusalCode code);

  void lose_broker() {
    note(core.on_control_closed(now));
    note(core.on_data_closed(now));
    note(core.on_control_connected(now));
  }

  void resume_at(Epoch epoch, std::vector<Member> members, bool recovering = false) {
    control(
        control::Welcome{epoch, MembershipVersion{1}, 1, kCluster, std::move(members), recovering});
    note(core.on_data_connected(now));
    note(core.on_data_control(wire::encode(ControlFrame{control::Attached{}}), now));
    EXPECT_TRUE(core.joined());
  }

  void beat() {
    note(core.advance(now));
    note(core.on_turn(0, 0, now));
  }

  void peer_dies(MembershipVersion version = MembershipVersion{11}) {
    control(control::Changes{version,
                             {{member(kPeer, kPeerIncarnation, MemberState::kDown), kClosed}}});
  }

  TimePoint now{100s};
  NodeCore core{{.name = kSelf}, Random{1}};
  Session peer_session{SessionNumber{1}, {}};
  std::vector<NodeEffect> effects_;
};

// So a broker knows one that comes late, from a connection that was given up.
TEST_F(NodeCoreTest, ItsJoinsAreCountedAcrossConnectionsAndIncarnations) {
  join();
  std::uint64_t number = 1;
  for (const bool fenced : {false, true}) {
    if (fenced) control(control::Unknown{kEpoch});
    lose_broker();
    const auto joins = take_control<control::Join>();
    ASSERT_FALSE(joins.empty());
    for (const control::Join& each : joins) EXPECT_EQ(each.number, ++number);
  }
}

TEST_F(NodeCoreTest, JoinsThenAttachesThenIsJoined) {
  note(core.start(now));
  EXPECT_EQ(take<node_effect::OpenControl>().size(), 1u);
  note(core.on_control_connected(now));
  const auto joins = take_control<control::Join>();
  ASSERT_EQ(joins.size(), 1u);
  EXPECT_EQ(joins[0].name, kSelf);
  EXPECT_EQ(joins[0].incarnation, core.incarnation());

  control(control::Welcome{kEpoch, MembershipVersion{1}, 4711, kCluster, {}});
  EXPECT_EQ(take<node_effect::OpenData>().size(), 1u);
  note(core.on_data_connected(now));
  const auto on_data = take<node_effect::SendOnData>();
  ASSERT_EQ(on_data.size(), 1u);
  EXPECT_EQ(wire::decode_control(on_data[0].bytes), (ControlFrame{control::Attach{4711, 1}}));
  EXPECT_FALSE(core.joined());

  note(core.on_data_control(wire::encode(ControlFrame{control::Attached{}}), now));
  EXPECT_TRUE(core.joined());
  const auto joined = take<node_effect::Joined>();
  ASSERT_EQ(joined.size(), 1u);
  EXPECT_EQ(joined[0].epoch, kEpoch);
  EXPECT_TRUE(take<node_effect::Publish>().back().snapshot.connected);
}

// Rejoins of a node that had joined before, each refused: the delays before them.
std::vector<Duration> NodeCoreTest::refusals_until_final(control::RefusalCode code) {
  std::vector<Duration> delays;
  for (int i = 0; i < 100; ++i) {
    control(control::Refused{code, "held by another"});
    const auto for_now = take<node_effect::RefusedForNow>();
    if (for_now.empty()) return delays;
    delays.push_back(for_now.at(0).again_in);
    EXPECT_EQ(core.next_deadline(), now + delays.back());
    note(core.advance(now + delays.back() - 1ns));
    EXPECT_TRUE(take_control<control::Join>().empty());
    note(core.advance(now += delays.back()));
    EXPECT_EQ(take_control<control::Join>().size(), 1u);
  }
  return delays;
}

TEST_F(NodeCoreTest, APeerThatIsDownStaysSoThoughAnotherBrokerListsIt) {
  join();
  peer_dies();
  lose_broker();
  effects_.clear();
  const Member back = member(kPeer, kPeerIncarnation, MemberState::kJoined);
  resume_at(kNext, {back});
  control(control::Changes{MembershipVersion{2}, {{back, std::nullopt}}});
  for (const auto& published : take<node_effect::Publish>()) {
    for (const Member& shown : published.snapshot.members) EXPECT_NE(shown.name, kPeer);
  }
  peer_session.send(signal::Send{remote(3), at_core(7), envelope(1)});
  for (const auto& frame : peer_session.collect(now, 100)) {
    note(
        core.on_frame(wire::encode(RouteFrom{kPeer, kPeerIncarnation, kNext, MembershipVersion{3}}),
                      wire::encode(frame, now), now));
  }
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.counters().foreign_frames, 1u);
  note(core.on_signal(signal::Monitor{local(1), remote(3), MonitorId{5}}, now));
  EXPECT_EQ(delivered().size(), 1u) << "noconnection at once";
}

TEST_F(NodeCoreTest, ANodeThatHadJoinedBeforeJoinsAgainAfterARefusalForTheIsolationTimeout) {
  for (const auto code : {control::RefusalCode::kNameTaken, control::RefusalCode::kLimit}) {
    core = NodeCore{{.name = kSelf}, Random{7}};
    join();
    control(control::Unknown{kEpoch});
    note(core.on_control_connected(now));
    effects_.clear();
    const TimePoint refused_first = now;
    EXPECT_EQ(refusals_until_final(code),
              (std::vector<Duration>{1s, 2s, 4s, 8s, 8s, 8s, 8s, 8s, 8s, 5s}));
    EXPECT_EQ(now - refused_first, NodeCore::Settings{kSelf}.isolation_timeout);
    EXPECT_EQ(take<node_effect::Refused>().size(), 1u);
    EXPECT_EQ(core.next_deadline(), std::nullopt);
  }
}

TEST_F(NodeCoreTest, AWelcomeEndsThePatienceWithRefusals) {
  join();
  control(control::Unknown{kEpoch});
  note(core.on_control_connected(now));
  control(control::Refused{control::RefusalCode::kNameTaken, "held by another"});
  note(core.advance(now += 1s));
  control(control::Welcome{kEpoch, MembershipVersion{10}, 4711, kCluster, {}});
  now += 30s;
  control(control::Unknown{kEpoch});
  note(core.on_control_connected(now));
  effects_.clear();
  EXPECT_EQ(refusals_until_final(control::RefusalCode::kNameTaken).size(), 10u);
}

TEST_F(NodeCoreTest, AConnectionThatClosesWhileARefusedNodeWaitsIsReplacedAndTheJoinNotRepeated) {
  join();
  control(control::Unknown{kEpoch});
  note(core.on_control_connected(now));
  control(control::Refused{control::RefusalCode::kNameTaken, "held by another"});
  effects_.clear();
  note(core.on_control_closed(now));
  EXPECT_EQ(take<node_effect::OpenControl>().size(), 1u);
  note(core.on_control_connected(now));
  EXPECT_EQ(take_control<control::Join>().size(), 1u);
  note(core.advance(now + 1s));
  EXPECT_TRUE(take_control<control::Join>().empty());
}

TEST_F(NodeCoreTest, ARefusalOfWhatTheNodeSaysIsFinalThoughItHadJoinedBefore) {
  join();
  control(control::Unknown{kEpoch});
  note(core.on_control_connected(now));
  control(control::Refused{control::RefusalCode::kMalformed, "no"});
  EXPECT_EQ(take<node_effect::Refused>().size(), 1u);
}

TEST_F(NodeCoreTest, ARefusalOfAFirstJoinIsFinal) {
  note(core.start(now));
  note(core.on_control_connected(now));
  control(control::Refused{control::RefusalCode::kNameTaken, "held by another"});
  ASSERT_EQ(take<node_effect::Refused>().size(), 1u);
  EXPECT_TRUE(core.on_control_closed(now).empty());
  EXPECT_EQ(core.next_deadline(), std::nullopt);
}

TEST_F(NodeCoreTest, WhatABrokerSaysWhenItRefusesIsToldOnOneLine) {
  note(core.start(now));
  note(core.on_control_connected(now));
  control(control::Refused{control::RefusalCode::kMalformed, "no\nready node forged\x1b[2J"});
  const auto refused = take<node_effect::Refused>();
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused.front().text, "no\\nready node forged\\x1b[2J");
}

TEST_F(NodeCoreTest, ABeatIsReleasedByATurnAndEchoesTheBrokersNewest) {
  join();
  note(core.advance(now));
  EXPECT_EQ(take<node_effect::CertifyTurn>().size(), 1u);
  note(core.advance(now + 10s));
  EXPECT_TRUE(take<node_effect::CertifyTurn>().empty()) << "one turn at a time";
  EXPECT_TRUE(take_control<control::NodeBeat>().empty()) << "a hung scheduler does not beat";

  control(control::BrokerBeat{9, 0});
  note(core.on_turn(3, 4, now));
  EXPECT_EQ(take_control<control::NodeBeat>(),
            (std::vector<control::NodeBeat>{
                {.number = 1, .echo = 9, .participants = 3, .conversations = 4}}));
  EXPECT_EQ(core.next_deadline(), now + kCluster.beat_interval);
  note(core.advance(now + kCluster.beat_interval - 1ns));
  EXPECT_TRUE(take<node_effect::CertifyTurn>().empty());
  note(core.advance(now + kCluster.beat_interval));
  EXPECT_EQ(take<node_effect::CertifyTurn>().size(), 1u);
}

TEST_F(NodeCoreTest, LocalPidsLeaveWithTheIncarnationOfTheMoment) {
  join();
  note(core.on_signal(signal::Send{local(7), remote(3), envelope(1)}, now));
  const auto signals = peer_reads();
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_EQ(from_of(signals[0]), (Pid{kSelf, core.incarnation(), Serial{7}}));
}

TEST_F(NodeCoreTest, PidsThatComeBackAreLocalAgain) {
  join();
  note(core.on_signal(signal::Send{local(7), {kSelf, core.incarnation(), Serial{8}}, envelope(1)},
                      now));
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_EQ(to_of(signals[0]), local(8));
  EXPECT_EQ(from_of(signals[0]), (Pid{kSelf, core.incarnation(), Serial{7}}))
      << "a scheduler takes nothing from outside that is not";
}

TEST_F(NodeCoreTest, AnIncarnationThatIsNotThereAnswersNoconnection) {
  join();
  const Pid nobody{NodeName{"gone"}, Incarnation{9}, Serial{1}};
  note(core.on_signal(signal::Link{local(7), nobody, LinkId{2}}, now));
  note(core.on_signal(signal::Monitor{local(7), nobody, MonitorId{3}}, now));
  note(core.on_signal(
      signal::SpawnRequest{local(7), nobody, SpawnId{4}, ServiceName{"upper"}, {1, 1}}, now));
  note(core.on_signal(signal::Send{local(7), nobody, envelope(1)}, now));
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 3u);
  EXPECT_EQ(signals[0],
            Signal(signal::Exit{nobody, local(7), ExitReason::noconnection({}), LinkId{2}}));
  EXPECT_EQ(signals[1],
            Signal(signal::Down{nobody, local(7), MonitorId{3}, ExitReason::noconnection({})}));
  ASSERT_TRUE(std::holds_alternative<signal::SpawnReply>(signals[2]));
  EXPECT_EQ(std::get<signal::SpawnReply>(signals[2]).error->code, Errc::kPeerUnreachable);
  const auto dead = take<node_effect::Undeliverable>();
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_EQ(dead[0].cause, DeadLetterCause::kNodeGone);
}

TEST_F(NodeCoreTest, APeersDeathBreaksEveryTieOnceAndKeepsTheEvidence) {
  join();
  note(core.on_signal(signal::Link{local(1), remote(1), LinkId{11}}, now));
  note(core.on_signal(signal::Monitor{local(2), remote(1), MonitorId{12}}, now));
  note(core.on_signal(
      signal::SpawnRequest{local(3), remote(0), SpawnId{13}, ServiceName{"upper"}, {1, 1}}, now));
  peer_says(signal::Link{remote(4), {kSelf, local_incarnation(), Serial{4}}, LinkId{14}});
  peer_says(signal::Monitor{remote(5), {kSelf, local_incarnation(), Serial{5}}, MonitorId{15}});
  delivered();
  EXPECT_EQ(core.ties(), 5u);

  peer_dies();
  const auto lost = ExitReason::noconnection(kClosed);
  const auto signals = delivered();
  const auto told = [&](const Signal& wanted) {
    return std::count(signals.begin(), signals.end(), wanted);
  };
  EXPECT_EQ(told(signal::Exit{remote(1), local(1), lost, LinkId{11}}), 1);
  EXPECT_EQ(told(signal::Down{remote(1), local(2), MonitorId{12}, lost}), 1);
  EXPECT_EQ(told(signal::Exit{remote(4), local(4), lost, LinkId{14}}), 1);
  EXPECT_EQ(told(signal::Demonitor{remote(5), local(5), MonitorId{15}}), 1);
  EXPECT_EQ(signals.size(), 5u);
  EXPECT_EQ(core.ties(), 0u);
  EXPECT_EQ(core.sessions(), 0u);

  // who asks later is told why as well
  note(core.on_signal(signal::Link{local(9), remote(1), LinkId{99}}, now));
  EXPECT_EQ(delivered(),
            (std::vector<Signal>{signal::Exit{remote(1), local(9), lost, LinkId{99}}}));
}

TEST_F(NodeCoreTest, TheDirectoryForgetsTheDeadBeforeTheirExitsAreDelivered) {
  join();
  note(core.on_signal(signal::Link{local(1), remote(1), LinkId{11}}, now));
  effects_.clear();
  peer_dies();
  const auto is_publish = [](const auto& e) {
    return std::holds_alternative<node_effect::Publish>(e);
  };
  const auto is_deliver = [](const auto& e) {
    return std::holds_alternative<node_effect::Deliver>(e);
  };
  const auto published = std::find_if(effects_.begin(), effects_.end(), is_publish);
  const auto exit = std::find_if(effects_.begin(), effects_.end(), is_deliver);
  ASSERT_NE(published, effects_.end());
  ASSERT_LT(published, exit);
  const auto& members = std::get<node_effect::Publish>(*published).snapshot.members;
  EXPECT_TRUE(std::none_of(members.begin(), members.end(),
                           [](const Member& m) { return m.name == kPeer; }));
}

TEST_F(NodeCoreTest, TiesThatWereTakenBackAreNotBroken) {
  join();
  note(core.on_signal(signal::Link{local(1), remote(1), LinkId{11}}, now));
  note(core.on_signal(signal::Unlink{local(1), remote(1), LinkId{11}, std::nullopt}, now));
  note(core.on_signal(signal::Monitor{local(1), remote(1), MonitorId{1}}, now));
  note(core.on_signal(signal::Demonitor{local(1), remote(1), MonitorId{1}}, now));
  note(core.on_signal(signal::Link{local(2), remote(2), LinkId{21}}, now));
  note(core.on_signal(signal::Exit{local(2), remote(2), ExitReason::normal(), LinkId{21}}, now));
  EXPECT_EQ(core.ties(), 0u);
  peer_dies();
  EXPECT_TRUE(delivered().empty());
}

TEST_F(NodeCoreTest, ALinkThatCrossedAnUnlinkIsStillBroken) {
  join();
  note(core.on_signal(signal::Link{local(1), remote(1), LinkId{11}}, now));
  peer_says(signal::Link{remote(1), local(1), LinkId{14}});
  note(core.on_signal(signal::Unlink{local(1), remote(1), LinkId{11}, std::nullopt}, now));
  delivered();
  peer_dies();
  EXPECT_EQ(delivered(), (std::vector<Signal>{signal::Exit{
                             remote(1), local(1), ExitReason::noconnection(kClosed), LinkId{14}}}));
}

TEST_F(NodeCoreTest, NothingOfAFencedIncarnationIsAccepted) {
  join();
  peer_dies();
  delivered();
  peer_says(signal::Send{remote(1), local(1), envelope(1)});
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.counters().foreign_frames, 1u);
  EXPECT_EQ(core.sessions(), 0u);
}

TEST_F(NodeCoreTest, NothingOfAFencedIncarnationIsAcceptedWhateverVersionItsFrameBears) {
  join();
  peer_dies();
  delivered();
  peer_says(signal::Send{remote(1), local(1), envelope(1)}, MembershipVersion{12});
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.counters().foreign_frames, 1u);
  EXPECT_EQ(core.sessions(), 0u);
}

TEST_F(NodeCoreTest, AnotherBrokerBringsNothingOfAnIncarnationThatWasDownToo) {
  join();
  peer_dies();
  lose_broker();
  resume_at(kNext, {}, true);
  delivered();
  peer_session.send(signal::Send{remote(1), at_core(1), envelope(1)});
  for (const auto& frame : peer_session.collect(now, 100)) {
    note(
        core.on_frame(wire::encode(RouteFrom{kPeer, kPeerIncarnation, kNext, MembershipVersion{2}}),
                      wire::encode(frame, now), now));
  }
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.counters().foreign_frames, 1u);
  EXPECT_EQ(core.sessions(), 0u);
}

TEST_F(NodeCoreTest, APeerHeardBeforeItsJoiningIsToldIsAcceptedAndThenJudgedByTheList) {
  join({});
  peer_says(signal::Link{remote(1), local(1), LinkId{14}}, MembershipVersion{11});
  EXPECT_EQ(delivered().size(), 1u);
  control(control::Changes{MembershipVersion{11},
                           {{member(kPeer, kPeerIncarnation, MemberState::kJoined), {}}}});
  EXPECT_TRUE(delivered().empty());
  peer_dies(MembershipVersion{12});
  EXPECT_EQ(delivered().size(), 1u);
}

TEST_F(NodeCoreTest, AFrameWithAForgedSenderOrAnotherEpochIsDropped) {
  join();
  Session forger{SessionNumber{1}, {}};
  forger.send(signal::Send{{NodeName{"other"}, Incarnation{3}, Serial{1}},
                           {kSelf, core.incarnation(), Serial{1}},
                           envelope(1)});
  const auto frames = forger.collect(now, 1);
  ASSERT_EQ(frames.size(), 1u);
  const std::string bytes = wire::encode(frames[0], now);
  note(core.on_frame(
      wire::encode(RouteFrom{kPeer, kPeerIncarnation, kEpoch, MembershipVersion{10}}), bytes, now));
  note(core.on_frame(
      wire::encode(RouteFrom{NodeName{"other"}, Incarnation{3}, Epoch{78}, MembershipVersion{99}}),
      bytes, now));
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.counters().foreign_frames, 2u);
}

TEST_F(NodeCoreTest, AControlConnectionThatIsResumedLosesNothing) {
  join();
  note(core.on_signal(signal::Link{local(1), remote(1), LinkId{11}}, now));
  const Incarnation before = core.incarnation();
  note(core.on_control_closed(now));
  EXPECT_EQ(take<node_effect::OpenControl>().size(), 1u);
  note(core.on_control_connected(now));
  ASSERT_EQ(take_control<control::Join>().at(0).incarnation, before);
  control(control::Welcome{kEpoch,
                           MembershipVersion{30},
                           4712,
                           kCluster,
                           {member(kPeer, kPeerIncarnation, MemberState::kJoined)}});
  EXPECT_TRUE(core.joined()) << "the data connection had stood all the time";
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.ties(), 1u);
}

TEST_F(NodeCoreTest, WhoIsNotOnTheListAfterAResumeIsDown) {
  join();
  note(core.on_signal(signal::Link{local(1), remote(1), LinkId{11}}, now));
  note(core.on_control_closed(now));
  note(core.on_control_connected(now));
  control(control::Welcome{kEpoch, MembershipVersion{30}, 4712, kCluster, {}});
  EXPECT_EQ(delivered(), (std::vector<Signal>{signal::Exit{
                             remote(1), local(1), ExitReason::noconnection({}), LinkId{11}}}));
}

TEST_F(NodeCoreTest, ALostDataConnectionIsReopenedAndTheSessionsSendAgain) {
  join();
  note(core.on_signal(signal::Send{local(7), remote(3), envelope(1)}, now));
  note(core.flush(now));
  EXPECT_EQ(take<node_effect::SendFrame>().size(), 1u);  // and lost
  note(core.on_data_closed(now));
  EXPECT_EQ(take<node_effect::OpenData>().size(), 1u);
  EXPECT_TRUE(peer_reads().empty()) << "nothing is sent while there is no connection";
  note(core.on_data_connected(now));
  note(core.on_data_control(wire::encode(ControlFrame{control::Attached{}}), now));
  EXPECT_TRUE(core.joined());
  EXPECT_EQ(peer_reads().size(), 1u);
}

TEST_F(NodeCoreTest, AFencedNodeBreaksItsRemoteLinksAndJoinsAnew) {
  join();
  note(core.on_signal(signal::Link{local(1), remote(1), LinkId{11}}, now));
  const Incarnation before = core.incarnation();
  control(control::Unknown{kEpoch});
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_EQ(std::get<signal::Exit>(signals[0]).reason.evidence->source, EvidenceSource::kIsolated);
  EXPECT_EQ(take<node_effect::OpenControl>().size(), 1u)
      << "answers to old frames must not reach it";
  note(core.on_control_connected(now));
  const auto joins = take_control<control::Join>();
  ASSERT_EQ(joins.size(), 1u);
  EXPECT_NE(joins[0].incarnation, before);
  EXPECT_EQ(joins[0].incarnation, core.incarnation());
  EXPECT_EQ(core.sessions(), 0u);
}

TEST_F(NodeCoreTest, AResumeThatComesTooLateFencesTheNode) {
  join();
  const Incarnation before = core.incarnation();
  note(core.on_control_closed(now));
  note(core.on_control_connected(now));
  control(control::Unknown{kEpoch});
  EXPECT_EQ(take<node_effect::Fenced>().size(), 1u);
  take_control<control::Join>();
  note(core.on_control_connected(now));
  EXPECT_NE(take_control<control::Join>().at(0).incarnation, before);
}

// --- sessions that cannot go on ---

TEST_F(NodeCoreTest, AViolationResetsTheSessionAndNobodyIsDown) {
  join();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  (void)peer_reads();
  frame_of(1, [](SessionFrame& frame) { frame.next_expected = 1000; });
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_EQ(std::get<signal::Down>(signals[0]).reason.evidence->source, EvidenceSource::kReset);
  EXPECT_EQ(core.ties(), 0u);
  EXPECT_EQ(core.counters().session_violations, 1u);
  EXPECT_TRUE(core.joined());

  // The other end is told, until it answers.
  for (int i = 0; i < 3; ++i) {
    note(core.flush(now));
    const auto sent = take<node_effect::SendFrame>();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(wire::decode_session_frame(sent[0].frame, now)->session, SessionNumber{2});
    now += 3s;
    note(core.advance(now));
  }

  peer_session = Session{SessionNumber{2}, {}};
  peer_says(signal::Send{remote(2), local(1), envelope(1)});
  EXPECT_EQ(delivered().size(), 1u);
  note(core.on_signal(signal::Send{local(1), remote(2), envelope(2)}, now));
  EXPECT_EQ(peer_reads().size(), 1u);
}

TEST_F(NodeCoreTest, ASessionThatThePeerHasResetIsResetHereToo) {
  join();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  (void)peer_reads();
  peer_session = Session{SessionNumber{2}, {}};
  peer_says(signal::Send{remote(2), local(1), envelope(1)});
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<signal::Down>(signals[0])) << "first the end of what was";
  EXPECT_TRUE(std::holds_alternative<signal::Send>(signals[1]));
}

TEST_F(NodeCoreTest, FramesOfBeforeAResetAreDropped) {
  join();
  peer_session.send(signal::Send{remote(2), at_core(1), envelope(1)});
  const auto late = peer_session.collect(now, 100);
  peer_session = Session{SessionNumber{2}, {}};
  peer_says(signal::Send{remote(2), local(1), envelope(2)});
  EXPECT_EQ(delivered().size(), 1u);
  for (const auto& frame : late) note(core.on_frame(route(), wire::encode(frame, now), now));
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.counters().session_violations, 0u);
}

TEST_F(NodeCoreTest, OfAFrameThatDoesNotDecodeOrIsForgedTheSessionIsReset) {
  join();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  note(core.on_frame(route(), "rubbish", now));
  EXPECT_EQ(delivered().size(), 1u);
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{2}}, now));
  Session forger{SessionNumber{2}, {}};
  forger.send(
      signal::Send{{NodeName{"other"}, Incarnation{9}, Serial{1}}, at_core(1), envelope(1)});
  for (const auto& frame : forger.collect(now, 100)) {
    note(core.on_frame(route(), wire::encode(frame, now), now));
  }
  EXPECT_EQ(delivered().size(), 1u);
  EXPECT_EQ(core.counters().sessions_reset, 2u);
}

TEST_F(NodeCoreTest, AnInstanceEndsWithTheSessionItWasAskedForThrough) {
  join();
  peer_says(signal::SpawnRequest{remote(1), local(0), SpawnId{1}, ServiceName{"upper"}, {1, 1}});
  note(core.on_signal(signal::SpawnReply{local(5), remote(1), SpawnId{1}, LinkId{2}}, now));
  effects_.clear();
  frame_of(1, [](SessionFrame& frame) { frame.next_expected = 1000; });
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_EQ(std::get<signal::Exit>(signals[0]).to, local(5));
}

TEST_F(NodeCoreTest, AtTheLastSessionNumberAViolationIsOnlyCounted) {
  join();
  const std::uint32_t last = std::numeric_limits<std::uint32_t>::max();
  peer_session = Session{SessionNumber{last}, {}};
  peer_says(signal::Send{remote(2), local(1), envelope(1)});
  EXPECT_EQ(delivered().size(), 1u);
  frame_of(last, [](SessionFrame& frame) { frame.next_expected = 1000; });
  EXPECT_EQ(core.counters().session_violations, 1u);
  EXPECT_EQ(core.counters().sessions_reset, 1u) << "the one to that number";
}

// --- another broker ---

TEST_F(NodeCoreTest, ResumesWithAnotherBrokerAndReportsWhatItKnows) {
  join({member(kPeer, kPeerIncarnation, MemberState::kJoined),
        member(NodeName{"gone"}, Incarnation{600}, MemberState::kJoined)});
  const Incarnation before = core.incarnation();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  Member gone = member(NodeName{"gone"}, Incarnation{600}, MemberState::kDown);
  gone.isolation_timeout = 60s;
  control(control::Changes{MembershipVersion{11}, {{gone, kClosed}}});

  lose_broker();
  const auto joins = take_control<control::Join>();
  ASSERT_EQ(joins.size(), 1u);
  EXPECT_EQ(joins[0].incarnation, before);
  EXPECT_EQ(joins[0].epoch, kEpoch);
  ASSERT_EQ(joins[0].peers.size(), 1u);
  EXPECT_EQ(joins[0].peers[0].incarnation, kPeerIncarnation);
  ASSERT_EQ(joins[0].verdicts.size(), 1u);
  EXPECT_EQ(joins[0].verdicts[0].peer.incarnation, Incarnation{600});
  EXPECT_EQ(joins[0].verdicts[0].evidence, kClosed);

  resume_at(kNext, {member(kPeer, kPeerIncarnation, MemberState::kJoined)});
  EXPECT_EQ(core.incarnation(), before);
  EXPECT_TRUE(take<node_effect::Fenced>().empty());
  EXPECT_TRUE(delivered().empty());
  EXPECT_TRUE(take<node_effect::Joined>().at(0).resumed);
  EXPECT_EQ(core.ties(), 1u);
}

TEST_F(NodeCoreTest, ADeathThatAWelcomeToldIsReportedToo) {
  join();
  note(core.on_control_closed(now));
  note(core.on_control_connected(now));
  control(control::Welcome{kEpoch, MembershipVersion{11}, 1, kCluster, {}});
  lose_broker();
  const auto verdicts = take_control<control::Join>().back().verdicts;
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_EQ(verdicts[0].peer.incarnation, kPeerIncarnation);
}

TEST_F(NodeCoreTest, WhoHasNotBeenSeenByANewBrokerIsNotTakenForDead) {
  join();  // the peer is listed, and shares nothing with us
  lose_broker();
  resume_at(kNext, {}, true);
  lose_broker();
  EXPECT_TRUE(take_control<control::Join>().back().verdicts.empty());
}

TEST_F(NodeCoreTest, InRecoveryNobodyIsCalledGoneWhileAReportIsUnderWay) {
  join({});
  lose_broker();
  resume_at(kNext, {}, true);
  effects_.clear();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  const Pid third{NodeName{"third"}, Incarnation{700}, Serial{1}};
  note(core.on_signal(signal::Monitor{local(1), third, MonitorId{2}}, now));
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(take_control<control::Join>().size(), 1u);
  note(core.advance(now));
  EXPECT_TRUE(take<node_effect::CertifyTurn>().empty()) << "no beats before the welcome";
  control(control::Welcome{kNext,
                           MembershipVersion{2},
                           2,
                           kCluster,
                           {member(kPeer, kPeerIncarnation, MemberState::kExpected)},
                           true});
  const auto joins = take_control<control::Join>();
  ASSERT_EQ(joins.size(), 1u);
  EXPECT_EQ(joins[0].peers.size(), 2u);
  EXPECT_TRUE(delivered().empty());
}

TEST_F(NodeCoreTest, OfANewIncarnationNothingIsTakenBeforeTheEndOfTheOneBefore) {
  join();
  const Incarnation next{501};
  Session session{SessionNumber{1}, {}};
  session.send(signal::Send{{kPeer, next, Serial{1}}, at_core(1), envelope(1)});
  const auto frames = session.collect(now, 10);
  const std::string header = wire::encode(RouteFrom{kPeer, next, kEpoch, MembershipVersion{12}});
  for (const auto& frame : frames) note(core.on_frame(header, wire::encode(frame, now), now));
  EXPECT_TRUE(delivered().empty());
  peer_dies(MembershipVersion{11});
  for (const auto& frame : frames) note(core.on_frame(header, wire::encode(frame, now), now));
  EXPECT_EQ(delivered().size(), 1u);
}

TEST_F(NodeCoreTest, ASecretBelongsToAnIncarnation) {
  note(core.start(now));
  note(core.on_control_connected(now));
  const auto first = take_control<control::Join>().at(0);
  control(control::Welcome{kEpoch, MembershipVersion{10}, 4711, kCluster, {}});
  lose_broker();
  EXPECT_EQ(take_control<control::Join>().at(0).secret, first.secret);
  control(control::Unknown{kEpoch});
  note(core.on_control_connected(now));
  const auto fresh = take_control<control::Join>().at(0);
  EXPECT_NE(fresh.incarnation, first.incarnation);
  EXPECT_NE(fresh.secret, first.secret);
}

TEST_F(NodeCoreTest, ADeathIsReportedForTwiceTheIsolationTimeoutOfTheDead) {
  join();
  Member dead = member(kPeer, kPeerIncarnation, MemberState::kDown);
  dead.isolation_timeout = 10s;
  control(control::Changes{MembershipVersion{11}, {{dead, kClosed}}});
  now += 20s - 1ns;
  lose_broker();
  EXPECT_EQ(take_control<control::Join>().at(0).verdicts.size(), 1u);
  now += 1ns;
  lose_broker();
  EXPECT_TRUE(take_control<control::Join>().at(0).verdicts.empty());
}

TEST_F(NodeCoreTest, WhatWasSentWhileThereWasNoBrokerArrivesOnceAndInOrder) {
  join();
  note(core.on_signal(signal::Send{local(1), remote(2), envelope(1)}, now));
  note(core.flush(now));
  effects_.clear();  // lost on its way
  note(core.on_control_closed(now));
  note(core.on_data_closed(now));
  note(core.on_signal(signal::Send{local(1), remote(2), envelope(2)}, now));
  note(core.on_control_connected(now));
  resume_at(kNext, {member(kPeer, kPeerIncarnation, MemberState::kJoined)});
  const auto signals = peer_reads();
  ASSERT_EQ(signals.size(), 2u);
  EXPECT_EQ(std::get<signal::Send>(signals[0]).envelope.id.low, 1u);
  EXPECT_EQ(std::get<signal::Send>(signals[1]).envelope.id.low, 2u);
}

TEST_F(NodeCoreTest, AReportedPeerThatTheNewBrokerDoesNotListIsDown) {
  join();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  lose_broker();
  resume_at(kNext, {});
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  const auto& reason = std::get<signal::Down>(signals[0]).reason;
  EXPECT_EQ(reason.kind, ExitKind::kNoConnection);
  EXPECT_EQ(reason.evidence->source, EvidenceSource::kRecovery);
}

TEST_F(NodeCoreTest, AnExpectedPeerIsWaitedForAndNotOffered) {
  join();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  lose_broker();
  resume_at(kNext, {member(kPeer, kPeerIncarnation, MemberState::kExpected)}, true);
  EXPECT_TRUE(delivered().empty());
  const auto snapshot = take<node_effect::Publish>().back().snapshot;
  EXPECT_TRUE(snapshot.recovering);
  EXPECT_EQ(snapshot.members.size(), 1u) << "nobody but ourselves";
  note(core.on_signal(signal::Send{local(1), remote(2), envelope(1)}, now));
  EXPECT_TRUE(delivered().empty());

  // What was sent meanwhile is lost; when the peer is there it goes out again at once.
  note(core.flush(now));
  effects_.clear();
  control(control::Changes{
      MembershipVersion{2}, {{member(kPeer, kPeerIncarnation, MemberState::kJoined), {}}}, true});
  EXPECT_FALSE(peer_reads().empty());
}

TEST_F(NodeCoreTest, OneThatABrokerDoesNotSuitReachesNobodyAnyMore) {
  join();
  lose_broker();
  auto settings = kCluster;
  settings.beat_interval = settings.down_after;
  control(control::Welcome{kNext,
                           MembershipVersion{1},
                           1,
                           settings,
                           {member(kPeer, kPeerIncarnation, MemberState::kJoined)}});
  ASSERT_EQ(take<node_effect::Unsuitable>().size(), 1u);
  EXPECT_EQ(take<node_effect::Publish>().back().snapshot.members.size(), 1u) << "but itself";

  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  EXPECT_EQ(core.sessions(), 0u);
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_EQ(std::get<signal::Down>(signals[0]).reason.kind, ExitKind::kNoConnection);
}

TEST_F(NodeCoreTest, WhoMightHaveAppearedIsWaitedForAsLongAsABrokerWhereNoneTakesTheNode) {
  join();
  lose_broker();
  resume_at(kNext, {}, true);
  control(control::Unknown{kNext});  // fenced, while the broker is in recovery
  const TimePoint fenced = now;
  const Incarnation fresh = core.incarnation();
  const Duration isolation_timeout = NodeCore::Settings{.name = kSelf}.isolation_timeout;
  now += 2 * isolation_timeout;
  note(core.on_control_connected(now));
  const TimePoint waits_since = now;
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  note(core.advance(now));
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.ties(), 1u) << "it may yet appear";

  note(core.on_control_closed(now += 1s));
  note(core.advance(now = waits_since + isolation_timeout - 1ns));
  EXPECT_TRUE(delivered().empty()) << "a broker may come yet";
  EXPECT_EQ(core.next_deadline(), now + 1ns);
  note(core.advance(now += 1ns));
  EXPECT_EQ(core.sessions(), 0u);
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  const auto& reason = std::get<signal::Down>(signals[0]).reason;
  EXPECT_EQ(reason.kind, ExitKind::kNoConnection);
  EXPECT_EQ(reason.evidence->source, EvidenceSource::kIsolated);
  EXPECT_EQ(reason.evidence->last_heard, now - fenced);
  EXPECT_EQ(core.incarnation(), fresh) << "nobody knows it yet";
}

TEST_F(NodeCoreTest, AnExpectedPeerThatDoesNotComeIsDownWhenTheBrokerSaysSo) {
  join();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  lose_broker();
  resume_at(kNext, {member(kPeer, kPeerIncarnation, MemberState::kExpected)}, true);
  peer_dies(MembershipVersion{2});
  EXPECT_EQ(delivered().size(), 1u);
}

TEST_F(NodeCoreTest, APeerThatCameUpSinceTheReportIsReportedNext) {
  join();
  lose_broker();
  EXPECT_TRUE(take_control<control::Join>().at(0).peers.empty());
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  control(control::Welcome{kNext, MembershipVersion{1}, 1, kCluster, {}, true});
  EXPECT_TRUE(delivered().empty());
  const auto joins = take_control<control::Join>();
  ASSERT_EQ(joins.size(), 1u);
  EXPECT_EQ(joins[0].peers.at(0).incarnation, kPeerIncarnation);
  resume_at(kNext, {});
  EXPECT_EQ(delivered().size(), 1u) << "now it was reported, and is not there";
}

TEST_F(NodeCoreTest, InRecoveryAPeerThatNobodyNamedYetIsReported) {
  join({});
  lose_broker();
  resume_at(kNext, {}, true);
  effects_.clear();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(take_control<control::Join>().at(0).peers.at(0).incarnation, kPeerIncarnation);
}

TEST_F(NodeCoreTest, AfterRecoveryAPeerThatIsNotListedIsGone) {
  join({});
  lose_broker();
  resume_at(kNext, {}, false);
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  EXPECT_EQ(delivered().size(), 1u);
}

TEST_F(NodeCoreTest, TheExitsOfAnIncarnationComeBeforeItsNamesNextIsShown) {
  join();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  lose_broker();
  control(control::Welcome{kNext,
                           MembershipVersion{1},
                           1,
                           kCluster,
                           {member(kPeer, Incarnation{501}, MemberState::kJoined)}});
  bool told = false;
  for (const auto& effect : effects_) {
    if (std::holds_alternative<node_effect::Deliver>(effect)) told = true;
    if (const auto* publish = std::get_if<node_effect::Publish>(&effect)) {
      const auto& members = publish->snapshot.members;
      const bool shown = std::any_of(members.begin(), members.end(), [](const Member& m) {
        return m.incarnation == Incarnation{501};
      });
      EXPECT_EQ(shown, told);
    }
  }
  EXPECT_TRUE(told);
}

TEST_F(NodeCoreTest, FramesThatTheOldBrokerForwardedAreNotTakenFromTheNewOne) {
  join();
  lose_broker();
  resume_at(kNext, {member(kPeer, kPeerIncarnation, MemberState::kJoined)});
  peer_says(signal::Send{remote(2), local(1), envelope(1)});  // of kEpoch
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.counters().foreign_frames, 1u);
}

// --- the lease, and isolation ---

TEST_F(NodeCoreTest, ALeaseLastsFromWhatTheBrokerIsKnownToHaveHeardWhenItsBeatWasSent) {
  const TimePoint asked = now;
  join();
  now += 20ms;
  beat();
  const TimePoint first = now;
  now += 100ms;
  control(control::BrokerBeat{1, 1});
  EXPECT_EQ(take<node_effect::Lease>().at(0).until,
            asked + kCluster.down_after - kCluster.lease_margin);
  control(control::BrokerBeat{2, 1});
  EXPECT_TRUE(take<node_effect::Lease>().empty()) << "the same echo says nothing new";
  control(control::BrokerBeat{3, 7});
  EXPECT_TRUE(take<node_effect::Lease>().empty()) << "nor does one of a beat that was never sent";

  now += 150ms;
  beat();
  now += 100ms;
  control(control::BrokerBeat{4, 2});
  EXPECT_EQ(take<node_effect::Lease>().at(0).until,
            first + kCluster.down_after - kCluster.lease_margin);
}

// The broker's beats to this node waited on the network, its own came through: when they arrive,
// the broker's verdict is near, and no fresh echo in them says that it heard so.
TEST_F(NodeCoreTest, BeatsOfTheBrokerThatWereLongUnderWayGiveNoLeaseBeyondItsVerdict) {
  join();
  beat();
  const TimePoint known = now;  // to the broker as well, by what follows
  control(control::BrokerBeat{1, 1});
  now += 250ms;
  beat();
  control(control::BrokerBeat{2, 2});
  take<node_effect::Lease>();
  // beat 2 of the broker is the newest that it knows to have arrived, and was sent after `known`
  for (int i = 0; i < 10; ++i) {
    now += 250ms;
    beat();
  }
  control(control::BrokerBeat{12, 12});
  EXPECT_LE(take<node_effect::Lease>().at(0).until,
            known + 250ms + kCluster.down_after - kCluster.lease_margin);
}

TEST_F(NodeCoreTest, ALeaseEndsWithItsEpochAndWithTheIncarnation) {
  join();
  lose_broker();
  (void)take<node_effect::Lease>();
  resume_at(kNext, {});
  EXPECT_EQ(take<node_effect::Lease>().at(0).until, TimePoint::min());
  control(control::Unknown{kNext});
  EXPECT_EQ(take<node_effect::Lease>().at(0).until, TimePoint::min());
}

TEST_F(NodeCoreTest, WithoutABrokerForTheIsolationTimeoutItFencesItself) {
  join();
  beat();
  control(control::BrokerBeat{1, 1});
  const TimePoint heard = now;
  const Incarnation before = core.incarnation();
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  lose_broker();
  effects_.clear();
  now = heard + 60s - 1ns;
  note(core.advance(now));
  EXPECT_TRUE(take<node_effect::Fenced>().empty());
  effects_.clear();
  note(core.advance(now += 1ns));
  ASSERT_EQ(take<node_effect::Fenced>().size(), 1u);
  EXPECT_NE(core.incarnation(), before);
  EXPECT_EQ(take<node_effect::OpenControl>().size(), 1u);
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_EQ(std::get<signal::Down>(signals[0]).reason.evidence->source, EvidenceSource::kIsolated);
  EXPECT_EQ(core.next_deadline(), std::nullopt) << "an incarnation that nobody knows can wait";
  note(core.on_control_connected(now));
  EXPECT_EQ(take_control<control::Join>().at(0).epoch, std::nullopt);
}

TEST_F(NodeCoreTest, ItsOwnEndIsToldWithHowLongItsBrokerHadBeenSilent) {
  join();
  beat();
  control(control::BrokerBeat{1, 1});
  note(core.on_signal(signal::Monitor{local(1), remote(2), MonitorId{1}}, now));
  now += 1700ms;
  control(control::Unknown{kEpoch});
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_EQ(std::get<signal::Down>(signals[0]).reason.evidence,
            (Evidence{EvidenceSource::kIsolated, 1700ms, 1700ms, 0ms}));
}

// --- a control connection that stands, and on which nothing comes ---

class HalfOpen : public NodeCoreTest {
 protected:
  /// Beats that nobody echoes, until just before `end`.
  void beat_until(TimePoint end) {
    for (; now < end; now += kCluster.beat_interval) beat();
    now = end;
  }
};

TEST_F(HalfOpen, IsGivenUpExactlyAtDownAfterAndResumedWithNothingLost) {
  join();
  beat();
  control(control::BrokerBeat{1, 1});
  note(core.on_signal(signal::Link{local(1), remote(1), LinkId{11}}, now));
  const Incarnation before = core.incarnation();
  now += 250ms;
  const TimePoint first = now;  // of the beats that nobody echoes
  beat_until(first + 3s - 1ns);
  note(core.advance(now));
  EXPECT_TRUE(take<node_effect::OpenControl>().empty());
  effects_.clear();
  note(core.advance(now += 1ns));
  EXPECT_EQ(take<node_effect::OpenControl>().size(), 1u);
  EXPECT_EQ(take<node_effect::CloseData>().size(), 1u) << "it went the same way";
  EXPECT_EQ(take<node_effect::Interrupted>().size(), 1u);
  EXPECT_EQ(take<node_effect::BrokerSilent>().at(0).last_heard, 3250ms);
  EXPECT_EQ(take<node_effect::Lease>().at(0).until, TimePoint::min());
  EXPECT_TRUE(delivered().empty()) << "nobody is dead for it";

  note(core.on_control_connected(now));
  const auto joins = take_control<control::Join>();
  EXPECT_EQ(joins.at(0).incarnation, before);
  EXPECT_EQ(joins.at(0).epoch, kEpoch);
  control(control::Welcome{kEpoch,
                           MembershipVersion{30},
                           4712,
                           kCluster,
                           {member(kPeer, kPeerIncarnation, MemberState::kJoined)}});
  EXPECT_EQ(take<node_effect::OpenData>().size(), 1u);
  note(core.on_data_connected(now));
  note(core.on_data_control(wire::encode(ControlFrame{control::Attached{}}), now));
  EXPECT_TRUE(core.joined());
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(core.ties(), 1u);
}

TEST_F(HalfOpen, AnEchoStartsTheSilenceAnew) {
  join();
  const TimePoint end = now + 20s;
  for (std::uint64_t number = 1; now < end; ++number) {
    beat();
    if (number % 10 == 0) control(control::BrokerBeat{number, number});  // every 2.5 s
    now += 250ms;
  }
  EXPECT_TRUE(take<node_effect::OpenControl>().empty());
}

TEST_F(HalfOpen, ANodeThatWasStoppedOrHangsBlamesItselfAndNotTheConnection) {
  join();
  beat();
  now += 30s;  // neither beats nor turns
  beat();
  now += 10s;
  note(core.advance(now));
  EXPECT_TRUE(take<node_effect::OpenControl>().empty());
}

TEST_F(HalfOpen, TheConnectionThatFollowsGetsItsOwnDownAfter) {
  join();
  beat_until(now + 3s);
  note(core.advance(now));
  ASSERT_EQ(take<node_effect::OpenControl>().size(), 1u);
  now += 1s;
  note(core.on_control_connected(now));
  const TimePoint welcomed = now;
  resume_at(kEpoch, {member(kPeer, kPeerIncarnation, MemberState::kJoined)});
  beat_until(welcomed + 3s - 1ns);
  EXPECT_EQ(core.next_deadline(), now + 1ns);
  EXPECT_TRUE(take<node_effect::OpenControl>().empty());
  note(core.advance(now += 1ns));
  EXPECT_EQ(take<node_effect::OpenControl>().size(), 1u);
}

TEST_F(HalfOpen, AResumeThatNobodyAnswersIsTriedOnAnotherConnectionMoreAndMoreRarely) {
  join();
  note(core.on_control_closed(now));
  effects_.clear();
  for (const Duration patience : {3s, 6s, 12s, 24s}) {
    note(core.on_control_connected(now));
    EXPECT_EQ(take_control<control::Join>().size(), 1u);
    EXPECT_EQ(core.next_deadline(), std::min(now + patience, TimePoint{100s} + 60s));
    note(core.advance(now + patience - 1ns));
    EXPECT_TRUE(take<node_effect::OpenControl>().empty());
    note(core.advance(now += patience));
    EXPECT_EQ(take<node_effect::OpenControl>().size(), 1u);
  }
}

TEST_F(HalfOpen, AFirstJoinIsWaitedFor) {
  note(core.start(now));
  note(core.on_control_connected(now));
  EXPECT_EQ(core.next_deadline(), std::nullopt) << "nobody has told it a bound yet";
}

TEST_F(NodeCoreTest, ALeaseEndsWhenTheControlConnectionCloses) {
  join();
  beat();
  control(control::BrokerBeat{1, 1});
  (void)take<node_effect::Lease>();
  note(core.on_control_closed(now));
  EXPECT_EQ(take<node_effect::Lease>().at(0).until, TimePoint::min());
  note(core.on_control_connected(now));
  resume_at(kEpoch, {});
  EXPECT_TRUE(take<node_effect::Lease>().empty()) << "a welcome alone is no lease";
  beat();
  control(control::BrokerBeat{2, 2});
  EXPECT_EQ(take<node_effect::Lease>().at(0).until,
            now + kCluster.down_after - kCluster.lease_margin);
}

TEST_F(NodeCoreTest, BeatsWithoutEchoesDoNotKeepIsolationAway) {
  join();
  const TimePoint welcomed = now;
  const TimePoint end = now + 60s;
  for (std::uint64_t number = 1; now + 250ms < end; ++number) {
    beat();
    control(control::BrokerBeat{number, 0});
    now += 250ms;
  }
  EXPECT_TRUE(take<node_effect::Fenced>().empty());
  note(core.advance(welcomed + 60s));
  EXPECT_EQ(take<node_effect::Fenced>().size(), 1u);
}

TEST_F(NodeCoreTest, AnIsolationTimeoutThatTheClusterCannotBearEndsTheNode) {
  note(core.start(now));
  note(core.on_control_connected(now));
  ClusterSettings slow = kCluster;
  slow.down_after = 30s;
  slow.recovery = 30s;
  control(control::Welcome{kEpoch, MembershipVersion{1}, 1, slow, {}});
  const auto unsuitable = take<node_effect::Unsuitable>();
  ASSERT_EQ(unsuitable.size(), 1u);
  EXPECT_NE(unsuitable[0].text.find("isolation-timeout is 1m"), std::string::npos)
      << unsuitable[0].text;
  EXPECT_EQ(take_control<control::Leave>().size(), 1u);
}

TEST_F(NodeCoreTest, BoundsThatDoNotGoWithTheClustersEndTheNodeNamingBoth) {
  struct Case {
    Duration turn_max, reap_after, isolation_timeout;
    const char* wrong;  // nullptr: nothing
  };
  for (const Case& each :
       {Case{3s - 1ns, 6s + 1ns, 3s + 1ns, nullptr}, Case{3s, 6s + 1ns, 3s + 1ns, "turn-max is 3s"},
        Case{3s - 1ns, 6s, 3s + 1ns, "silent connections after 6s"},
        Case{3s - 1ns, 6s + 1ns, 3s, "isolation-timeout is 3s"}}) {
    NodeCore::Settings settings{.name = kSelf};
    settings.turn_max = each.turn_max;
    settings.reap_after = each.reap_after;
    settings.isolation_timeout = each.isolation_timeout;
    core = NodeCore{settings, Random{1}};
    note(core.start(now));
    note(core.on_control_connected(now));
    ClusterSettings cluster = kCluster;
    cluster.recovery = 0s;
    control(control::Welcome{kEpoch, MembershipVersion{1}, 1, cluster, {}});
    const auto unsuitable = take<node_effect::Unsuitable>();
    ASSERT_EQ(unsuitable.size(), each.wrong == nullptr ? 0u : 1u);
    if (each.wrong == nullptr) continue;
    EXPECT_NE(unsuitable[0].text.find(each.wrong), std::string::npos) << unsuitable[0].text;
    EXPECT_NE(unsuitable[0].text.find("down-after (3s)"), std::string::npos);
  }
}

TEST_F(NodeCoreTest, ALeavingNodeEndsWhatItOwnsAndWaitsForAcknowledgements) {
  join();
  peer_says(signal::SpawnRequest{remote(1), local(0), SpawnId{1}, ServiceName{"upper"}, {1, 1}});
  note(core.on_signal(signal::SpawnReply{local(5), remote(1), SpawnId{1}, LinkId{8}}, now));
  delivered();
  note(core.leave(now));
  const auto ended = delivered();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(to_of(ended[0]), local(5));
  EXPECT_EQ(std::get<signal::Exit>(ended[0]).reason, ExitReason::shutdown());
  EXPECT_TRUE(take<node_effect::Left>().empty());

  note(core.on_signal(signal::Exit{local(5), remote(1), ExitReason::shutdown(), LinkId{8}}, now));
  EXPECT_EQ(peer_reads().size(), 2u);
  note(core.advance(now + 1ms));
  EXPECT_TRUE(take<node_effect::Left>().empty()) << "not acknowledged yet";
  now += 20ms;
  for (const auto& frame : peer_session.collect(now, 10)) {
    note(core.on_frame(
        wire::encode(RouteFrom{kPeer, kPeerIncarnation, kEpoch, MembershipVersion{10}}),
        wire::encode(frame, now), now));
  }
  note(core.advance(now));
  EXPECT_EQ(take_control<control::Leave>().size(), 1u);
  EXPECT_EQ(take<node_effect::Left>().size(), 1u);
}

TEST_F(NodeCoreTest, ALeavingNodeMakesNoNewInstances) {
  join();
  note(core.on_signal(signal::Send{local(7), remote(3), envelope(1)}, now));  // something unsettled
  note(core.leave(now));
  delivered();
  peer_says(signal::SpawnRequest{remote(1), local(0), SpawnId{1}, ServiceName{"upper"}, {1, 1}});
  EXPECT_TRUE(delivered().empty());
  const auto signals = peer_reads();
  ASSERT_EQ(signals.size(), 2u);
  EXPECT_EQ(std::get<signal::SpawnReply>(signals[1]).error->code, Errc::kPeerUnreachable);
}

TEST_F(NodeCoreTest, ARefusalAfterAnInterruptionBreaksTheRemoteTies) {
  join();
  note(core.on_signal(signal::Link{local(1), remote(1), LinkId{11}}, now));
  note(core.on_control_closed(now));
  note(core.on_control_connected(now));
  control(control::Refused{control::RefusalCode::kVersion, "another version"});
  EXPECT_EQ(delivered().size(), 1u);
  EXPECT_EQ(core.ties(), 0u);
}

TEST_F(NodeCoreTest, ANodeThatWasNeverWelcomedLeavesAtOnce) {
  note(core.start(now));
  note(core.on_control_connected(now));
  note(core.leave(now));
  EXPECT_EQ(take<node_effect::Left>().size(), 1u);
  EXPECT_TRUE(take_control<control::Leave>().empty());
}

TEST_F(NodeCoreTest, ALeavingNodeWaitsNoLongerThanItsBound) {
  join();
  note(core.on_signal(signal::Send{local(7), remote(3), envelope(1)}, now));
  note(core.leave(now));
  note(core.advance(now + 2s - 1ns));
  EXPECT_TRUE(take<node_effect::Left>().empty());
  note(core.advance(now + 2s));
  EXPECT_EQ(take<node_effect::Left>().size(), 1u);
}

TEST_F(NodeCoreTest, AnEnvelopeBeyondTheLimitsIsRejectedAndItsSenderTold) {
  join();
  Envelope large = envelope(1);
  large.payload = Payload{std::string(kCluster.payload_bytes_max + 1, 'x')};
  Envelope chatty = envelope(2);
  chatty.headers.resize(wire::kEnvelopeHeadersMax + 1, {"key", "value"});
  note(core.on_signal(signal::Send{local(7), remote(3), large}, now));
  note(core.on_signal(signal::Send{local(7), remote(3), chatty}, now));
  note(core.on_signal(signal::Send{local(7), remote(3), envelope(3)}, now));
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 2u);
  const auto& refusal = std::get<signal::Refusal>(signals[0]);
  EXPECT_EQ(refusal.from, remote(3));
  EXPECT_EQ(refusal.to, local(7));
  EXPECT_EQ(refusal.message, (MessageId{1, 1}));
  EXPECT_EQ(refusal.kind, signal::RefusalKind::kRejected);
  EXPECT_EQ(refusal.text, "payload of 16777217 bytes exceeds payload-max (16777216 bytes)");
  EXPECT_EQ(std::get<signal::Refusal>(signals[1]).text,
            "the number of headers is over the limit of an envelope");
  const auto dead = take<node_effect::Undeliverable>();
  ASSERT_EQ(dead.size(), 2u);
  EXPECT_EQ(dead[1].cause, DeadLetterCause::kRejected);
  EXPECT_EQ(dead[1].send.envelope.id, (MessageId{1, 2}));
  EXPECT_EQ(peer_reads().size(), 1u);
}

TEST_F(NodeCoreTest, ACompensationMayBeAsLargeAsARequestAndItsReply) {
  join();
  Envelope undo = envelope(1);
  undo.kind = EnvelopeKind::kCompensate;
  undo.reply_at = kCluster.payload_bytes_max;
  undo.payload = Payload{std::string(2 * kCluster.payload_bytes_max, 'x')};
  note(core.on_signal(signal::Send{local(7), remote(3), undo}, now));
  EXPECT_TRUE(delivered().empty());
  undo.payload = Payload{std::string(2 * kCluster.payload_bytes_max + 1, 'x')};
  note(core.on_signal(signal::Send{local(7), remote(3), undo}, now));
  const auto signals = delivered();
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_EQ(std::get<signal::Refusal>(signals[0]).text,
            "payload of 33554433 bytes exceeds payload-max (16777216 bytes)");
}

TEST_F(NodeCoreTest, AReplyOutsideOfACompensationsPayloadDoesNotTravel) {
  join();
  const auto refused = [&](EnvelopeKind kind, std::uint64_t reply_at) {
    Envelope sent = envelope(1);
    sent.kind = kind;
    sent.payload = Payload{"five5"};
    sent.reply_at = reply_at;
    note(core.on_signal(signal::Send{local(7), remote(3), sent}, now));
    return delivered().size() == 1;
  };
  EXPECT_FALSE(refused(EnvelopeKind::kCompensate, 5));
  EXPECT_TRUE(refused(EnvelopeKind::kCompensate, 6));
  EXPECT_TRUE(refused(EnvelopeKind::kRequest, 0));
}

class OutboxTest : public NodeCoreTest {
 protected:
  OutboxTest() {
    NodeCore::Settings settings{.name = kSelf};
    settings.outbox_bytes_max = kOutboxMax;
    core = NodeCore{settings, Random{1}};
  }
  Envelope sized(std::uint64_t number, std::size_t bytes) {
    Envelope made = envelope(number);
    made.payload = Payload{std::string(bytes - wire::kItemCreditBytes, 'x')};
    return made;
  }
  void send(std::uint64_t from, Envelope what, std::uint64_t to = 3) {
    note(core.on_signal(signal::Send{local(from), remote(to), std::move(what)}, now));
  }
  // The numbers of the envelopes that were refused since the last call.
  std::vector<std::uint64_t> deferred() {
    std::vector<std::uint64_t> numbers;
    for (const Signal& signal : delivered()) {
      const auto& refusal = std::get<signal::Refusal>(signal);
      EXPECT_EQ(refusal.kind, signal::RefusalKind::kDeferred);
      EXPECT_EQ(refusal.returned->id, refusal.message);
      numbers.push_back(refusal.message.low);
    }
    return numbers;
  }
  std::vector<std::uint64_t> peer_gets() {
    std::vector<std::uint64_t> numbers;
    for (const Signal& signal : peer_reads()) {
      numbers.push_back(std::get<signal::Send>(signal).envelope.id.low);
    }
    return numbers;
  }
  void peer_acknowledges() {
    now += 1s;
    for (const auto& frame : peer_session.collect(now, 100)) {
      note(core.on_frame(
          wire::encode(RouteFrom{kPeer, kPeerIncarnation, kEpoch, MembershipVersion{10}}),
          wire::encode(frame, now), now));
    }
  }

  static constexpr std::size_t kOutboxMax = 1000;
};

TEST_F(OutboxTest, WhatWaitsForAPeerIsBoundedAtTheBoundAndOneByteBeyond) {
  join();
  send(7, sized(1, 600));
  send(8, sized(2, 401));
  EXPECT_EQ(deferred(), (std::vector<std::uint64_t>{2}));
  send(9, sized(3, 400));
  EXPECT_TRUE(deferred().empty());
  EXPECT_EQ(core.counters().deferred, 1u);
  EXPECT_EQ(peer_gets(), (std::vector<std::uint64_t>{1, 3}));
}

TEST_F(OutboxTest, OneThatIsTooLargePassesAlone) {
  join();
  send(7, sized(1, 5000));
  send(8, sized(2, 200));
  EXPECT_EQ(deferred(), (std::vector<std::uint64_t>{2}));
}

TEST_F(OutboxTest, WhatWasDeferredKeepsItsOrderForItsReceiver) {
  join();
  send(7, sized(1, 900));
  send(7, sized(2, 200));
  EXPECT_EQ(deferred(), (std::vector<std::uint64_t>{2}));
  EXPECT_EQ(peer_gets(), (std::vector<std::uint64_t>{1}));
  peer_acknowledges();
  send(7, sized(3, 200));     // after 2
  send(7, sized(4, 200), 5);  // to another process
  EXPECT_EQ(deferred(), (std::vector<std::uint64_t>{3}));
  send(7, sized(2, 200));
  send(7, sized(3, 200));
  EXPECT_TRUE(deferred().empty());
  EXPECT_EQ(peer_gets(), (std::vector<std::uint64_t>{4, 2, 3}));
}

TEST_F(OutboxTest, WhatIsWithdrawnIsNotWaitedForHereNorThere) {
  join();
  send(7, sized(1, 900));
  send(7, sized(2, 200));
  EXPECT_EQ(deferred(), (std::vector<std::uint64_t>{2}));
  (void)peer_gets();
  peer_acknowledges();
  note(core.on_signal(signal::Withdraw{local(7), remote(3), MessageId{1, 2}}, now));
  send(7, sized(3, 200));
  EXPECT_TRUE(deferred().empty());
  const auto signals = peer_reads();
  ASSERT_EQ(signals.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<signal::Withdraw>(signals[0]));
}

TEST_F(OutboxTest, SignalsOtherThanEnvelopesAreNeverRefused) {
  join();
  send(7, sized(1, 1000));
  note(core.on_signal(signal::Link{local(7), remote(3), LinkId{2}}, now));
  note(core.on_signal(
      signal::Refusal{local(8), remote(3), MessageId{5, 5}, signal::RefusalKind::kDeferred}, now));
  EXPECT_TRUE(deferred().empty());
  EXPECT_EQ(peer_reads().size(), 3u);
}

TEST_F(OutboxTest, WhatALostPeerDidNotAcknowledgeIsDeadLetters) {
  join();
  send(7, sized(1, 200));
  (void)peer_gets();
  send(7, sized(2, 200));
  control(control::Changes{MembershipVersion{11},
                           {{member(kPeer, kPeerIncarnation, MemberState::kDown), kClosed}}});
  const auto dead = take<node_effect::Undeliverable>();
  ASSERT_EQ(dead.size(), 2u);
  EXPECT_EQ(dead[0].cause, DeadLetterCause::kSessionLost);
  EXPECT_EQ(dead[0].send.envelope.id, (MessageId{1, 1}));
  EXPECT_EQ(dead[1].send.from, local(7));
  EXPECT_EQ(dead[1].send.to, remote(3));
}

TEST_F(NodeCoreTest, GarbageIsCountedAndChangesNothing) {
  join();
  note(core.on_control("\xc1garbage", now));
  note(core.on_data_control("", now));
  note(core.on_frame("x", "y", now));
  note(core.on_frame(
      wire::encode(RouteFrom{kPeer, kPeerIncarnation, kEpoch, MembershipVersion{10}}), "y", now));
  EXPECT_EQ(core.counters().malformed_frames, 4u);
  EXPECT_TRUE(core.joined());
  EXPECT_EQ(core.sessions(), 0u);
}

// --- records, cancellation, loads ---

class NodeCoreTimelines : public NodeCoreTest {
 protected:
  static constexpr std::uint32_t kKept = 7;
  static ClusterSettings keeping(std::uint32_t records) {
    ClusterSettings cluster = kCluster;
    cluster.timeline_records_max = records;
    return cluster;
  }
  void join_one_that_keeps(std::uint32_t records) {
    note(core.start(now));
    note(core.on_control_connected(now));
    control(control::Welcome{kEpoch,
                             MembershipVersion{10},
                             4711,
                             keeping(records),
                             {member(kPeer, kPeerIncarnation, MemberState::kJoined)}});
    note(core.on_data_connected(now));
    note(core.on_data_control(wire::encode(ControlFrame{control::Attached{}}), now));
    ASSERT_TRUE(core.joined());
  }
  /// Has one sent; its number.
  std::uint64_t beat() {
    now += kCluster.beat_interval;
    note(core.advance(now));
    note(core.on_turn(0, 0, now));
    return take_control<control::NodeBeat>().back().number;
  }
  static TimelineRecord record(std::optional<Pid> participant) {
    return {.conversation = {2, 2},
            .event = TimelineEvent::kPlaced,
            .participant = std::move(participant)};
  }
};

TEST_F(NodeCoreTimelines, AreToldOnlyToABrokerThatKeepsThem) {
  EXPECT_FALSE(core.takes_records());
  join_one_that_keeps(0);
  EXPECT_FALSE(core.takes_records());
  const auto told = take<node_effect::KeepRecords>();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].records_max, 0u);
}

TEST_F(NodeCoreTimelines, LocalPidsLeaveWithTheIncarnationOfTheMoment) {
  join_one_that_keeps(kKept);
  EXPECT_EQ(take<node_effect::KeepRecords>().at(0).records_max, kKept);
  ASSERT_TRUE(core.takes_records());
  note(core.on_records({{record(local(3)), record(remote(4)), record({})}, {{{2, 2}, 1, 0}}, 5}));
  auto sent = take_control<control::Records>();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].records[0].participant, at_core(3));
  EXPECT_EQ(sent[0].records[1].participant, remote(4));
  EXPECT_EQ(sent[0].records[2].participant, std::nullopt);
  EXPECT_EQ(sent[0].left_out.size(), 1u);
  EXPECT_EQ(sent[0].lost, 5u);

  const Incarnation before = core.incarnation();
  control(control::Unknown{kEpoch});
  EXPECT_FALSE(core.takes_records()) << "they wait while it is fenced";
  join_one_that_keeps(kKept);
  note(core.on_records({{record(local(3))}}));
  sent = take_control<control::Records>();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].records[0].participant, at_core(3));
  EXPECT_NE(core.incarnation(), before);
}

TEST_F(NodeCoreTimelines, HaveArrivedWhenABeatBehindThemIsEchoed) {
  join_one_that_keeps(kKept);
  const auto tell = [&](std::uint64_t first) {
    note(core.on_records({{record({}), record({})}, {{{2, 2}, 1, 0}}, 5, 0, first}));
  };
  const auto arrived = [&] {
    std::vector<std::uint64_t> numbers;
    for (const auto& each : take<node_effect::RecordsArrived>()) numbers.push_back(each.up_to);
    return numbers;
  };
  using Numbers = std::vector<std::uint64_t>;
  const std::uint64_t first_beat = beat();
  tell(1);
  control(control::BrokerBeat{1, first_beat});
  EXPECT_EQ(arrived(), Numbers{}) << "that beat went before them";
  const std::uint64_t behind = beat();
  tell(5);
  control(control::BrokerBeat{2, behind});
  EXPECT_EQ(arrived(), Numbers{4});
  const std::uint64_t next = beat();
  control(control::BrokerBeat{3, next + 1});
  EXPECT_EQ(arrived(), Numbers{}) << "a beat that was never sent";
  control(control::BrokerBeat{4, next});
  EXPECT_EQ(arrived(), Numbers{8});
}

TEST_F(NodeCoreTimelines, ABeatOnALaterConnectionProvesNothingOfThoseOnAnEarlierOne) {
  join_one_that_keeps(kKept);
  note(core.on_records({{record({})}}));
  note(core.on_control_closed(now));
  join_one_that_keeps(kKept);
  control(control::BrokerBeat{1, beat()});
  EXPECT_TRUE(take<node_effect::RecordsArrived>().empty());
  note(core.on_records({{record({})}}));
  control(control::BrokerBeat{2, beat()});
  EXPECT_EQ(take<node_effect::RecordsArrived>().size(), 1u);
}

TEST_F(NodeCoreTimelines, AreOneStreamWhateverTheIncarnation) {
  join_one_that_keeps(kKept);
  note(core.on_records({{record({})}}));
  control(control::Unknown{kEpoch});
  join_one_that_keeps(kKept);
  note(core.on_records({{record({})}}));
  const auto sent = take_control<control::Records>();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].stream, sent[1].stream);
  EXPECT_NE(sent[0].stream, 0u);
}

TEST_F(NodeCoreTimelines, AreTakenUntilItLeft) {
  join_one_that_keeps(kKept);
  EXPECT_FALSE(core.leaving());
  note(core.on_signal(signal::Link{local(1), remote(2), LinkId{1}}, now));  // to wait for
  note(core.leave(now));
  EXPECT_TRUE(core.leaving());
  EXPECT_TRUE(core.takes_records());
  now += 3s;
  note(core.advance(now));
  EXPECT_EQ(take<node_effect::Left>().size(), 1u);
  EXPECT_FALSE(core.takes_records());
}

TEST_F(NodeCoreTimelines, ACancellationIsPassedOnAndItsOutcomeTold) {
  join_one_that_keeps(kKept);
  control(control::CancelOrder{{2, 2}, "somebody"});
  const auto asked = take<node_effect::CancelConversation>();
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].conversation, (ConversationId{2, 2}));
  EXPECT_EQ(asked[0].by, "somebody");
  note(core.on_cancelled({2, 2}, true));
  note(core.on_cancelled({2, 3}, false));
  EXPECT_EQ(take_control<control::CancelAnswer>(),
            (std::vector<control::CancelAnswer>{{{2, 2}, true}, {{2, 3}, false}}));
  note(core.on_control_closed(now));
  note(core.on_cancelled({2, 2}, true));
  EXPECT_TRUE(take_control<control::CancelAnswer>().empty()) << "it will be ordered again";
}

TEST_F(NodeCoreTimelines, LoadsArePublishedBesideTheMembers) {
  join_one_that_keeps(kKept);
  effects_.clear();
  const auto published = [&] {
    const auto all = take<node_effect::Publish>();
    EXPECT_EQ(all.size(), 1u) << "once for a frame";
    return all.empty() ? Directory::Snapshot{} : all.back().snapshot;
  };
  control(control::Loads{{{kPeerIncarnation, 3}, {Incarnation{999}, 8}}});
  auto snapshot = published();
  EXPECT_EQ(snapshot.participants_of(kPeerIncarnation), 3u);
  EXPECT_EQ(snapshot.participants_of(Incarnation{999}), 0u) << "no member";
  EXPECT_EQ(snapshot.participants_of(local_incarnation()), 0u);

  now += kCluster.beat_interval;
  note(core.advance(now));
  note(core.on_turn(5, 0, now));
  EXPECT_TRUE(take<node_effect::Publish>().empty()) << "no more often than the broker's beats";
  control(control::Loads{{{core.incarnation(), 5}}});
  snapshot = published();
  EXPECT_EQ(snapshot.participants_of(local_incarnation()), 5u);
  EXPECT_EQ(snapshot.participants_of(kPeerIncarnation), 3u);

  control(control::Loads{{{kPeerIncarnation, 0}}});
  EXPECT_EQ(published().participants_of(kPeerIncarnation), 0u);
  control(control::Loads{{{kPeerIncarnation, 2}}});
  EXPECT_EQ(published().participants_of(kPeerIncarnation), 2u);
  control(control::Changes{MembershipVersion{11},
                           {{member(kPeer, kPeerIncarnation, MemberState::kDown), kClosed}}});
  EXPECT_EQ(published().participants.size(), 1u) << "gone with its member: this node is left";
}

}  // namespace
}  // namespace liminal
