// Goal: records, cancellation and loads as BrokerCore passes them on.
#include <algorithm>

#include "tests/unit/broker/broker_harness.hpp"

namespace liminal::broker {
namespace {

const ConversationId kConversation{7, 1};
const ConnectionId kAsker = conn(900);

class ConversationsAtTheBroker : public BrokerCoreTest {
 protected:
  ConversationsAtTheBroker() {
    auto settings = default_settings();
    settings.cluster.timeline_records_max = 10;
    settings.cancels_max = 2;
    settings.timelines_max = 3;
    core = BrokerCore{settings, Random{7}, now};
  }
  static control::Records records(TimelineEvent event, std::string text = {},
                                  ConversationId id = kConversation) {
    return {{{.conversation = id, .event = event, .text = std::move(text)}}};
  }
  void opens(const Joined& node, ConversationId id = kConversation) {
    control(node.control, records(TimelineEvent::kOpened, "fail: upper", id));
  }
  control::TimelineReply timeline() {
    const auto replies = told_to<control::TimelineReply>(
        kAsker, control(kAsker, control::TimelineQuery{kConversation}));
    EXPECT_EQ(replies.size(), 1u);
    return replies.at(0);
  }
  static std::vector<control::CancelOutcome> outcomes(const Effects& effects,
                                                      ConnectionId asker = kAsker) {
    std::vector<control::CancelOutcome> all;
    for (const auto& reply : told_to<control::CancelReply>(asker, effects)) {
      all.push_back(reply.outcome);
    }
    return all;
  }
  Effects cancel(ConnectionId asker = kAsker, ConversationId id = kConversation) {
    return control(asker, control::CancelQuery{id});
  }
  static std::size_t orders(const Effects& effects, const ConnectionId& node) {
    return told_to<control::CancelOrder>(node, effects).size();
  }
};

using Outcomes = std::vector<control::CancelOutcome>;
using enum control::CancelOutcome;
using control::ConversationStanding;

TEST_F(ConversationsAtTheBroker, WhatNodesToldAnybodyMayAsk) {
  EXPECT_EQ(timeline().summary, std::nullopt);
  const Joined a = join("a", 1), b = join("b", 2);
  EXPECT_EQ(a.welcome.settings.timeline_records_max, 10u);
  opens(a);
  control(b.control, records(TimelineEvent::kBegun));
  const auto reply = timeline();
  EXPECT_EQ(reply.summary->node, name("a"));
  ASSERT_EQ(reply.told.size(), 2u);
  EXPECT_EQ(reply.told[1].teller, name("b"));
  const auto list =
      told_to<control::ConversationsReply>(kAsker, control(kAsker, control::ConversationsQuery{}));
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].summaries.at(0).conversation, kConversation);
}

TEST_F(ConversationsAtTheBroker, RecordsOfStrangersAndOnDataConnectionsAreNotTaken) {
  const auto answer = control(kAsker, records(TimelineEvent::kOpened));
  EXPECT_EQ(told_to<control::Unknown>(kAsker, answer).size(), 1u);
  const Joined a = join("a", 1);
  control(a.data, records(TimelineEvent::kOpened));
  EXPECT_EQ(rejected(BadFrameReason::kOutOfPlace), 1u);
  EXPECT_EQ(core.timelines().conversations(), 0u);
}

TEST_F(ConversationsAtTheBroker, AConversationIsLostWithItsNodeAndStaysReadable) {
  Joined a = join("a", 1), b = join("b", 2);
  opens(a);
  opens(b, {7, 2});
  control(b.control, control::Leave{});
  EXPECT_EQ(core.timelines().find({7, 2})->standing, ConversationStanding::kNodeLost);
  EXPECT_EQ(timeline().summary->standing, ConversationStanding::kOpen);
  pass(kCluster.down_after + 1s);
  EXPECT_EQ(timeline().summary->standing, ConversationStanding::kNodeLost);
  EXPECT_EQ(timeline().told.size(), 1u);
}

TEST_F(ConversationsAtTheBroker, ACancellationIsAnsweredByTheConversationsNode) {
  const Joined a = join("a", 1), b = join("b", 2);
  opens(a);
  const auto asked = cancel();
  EXPECT_EQ(outcomes(asked), Outcomes{});
  const auto order = told_to<control::CancelOrder>(a.control, asked);
  ASSERT_EQ(order.size(), 1u);
  EXPECT_EQ(order[0].conversation, kConversation);
  EXPECT_NE(order[0].by.find("10.0.0.1:4000"), std::string::npos) << order[0].by;
  EXPECT_EQ(among<effect::CancelOrdered>(asked).size(), 1u);

  const auto lie = control(b.control, control::CancelAnswer{kConversation, true});
  EXPECT_EQ(outcomes(lie), Outcomes{});
  EXPECT_EQ(rejected(BadFrameReason::kOutOfPlace), 1u);

  EXPECT_EQ(outcomes(control(a.control, control::CancelAnswer{kConversation, true})),
            Outcomes{kAccepted});
  EXPECT_EQ(core.cancels_waiting(), 0u);
  EXPECT_EQ(outcomes(control(a.control, control::CancelAnswer{kConversation, true})), Outcomes{});
}

TEST_F(ConversationsAtTheBroker, WhoseConnectionWasGivenUpIsToldNothingMore) {
  const Joined a = join("a", 1), b = join("b", 2);
  opens(a);
  (void)control(b.control, control::CancelQuery{kConversation});
  ASSERT_EQ(core.cancels_waiting(), 1u);
  (void)core.on_given_up(b.control, now);
  EXPECT_EQ(core.cancels_waiting(), 0u);
  const auto told = control(a.control, control::CancelAnswer{kConversation, true});
  EXPECT_TRUE(told_to<control::CancelReply>(b.control, told).empty());
}

TEST_F(ConversationsAtTheBroker, ANodeThatKnowsItNoMoreSaysSo) {
  const Joined a = join("a", 1);
  opens(a);
  cancel();
  EXPECT_EQ(outcomes(control(a.control, control::CancelAnswer{kConversation, false})),
            Outcomes{kEnded});
}

TEST_F(ConversationsAtTheBroker, WithoutItsNodeTheBrokerAnswers) {
  EXPECT_EQ(outcomes(cancel()), Outcomes{kUnknown});
  const Joined a = join("a", 1);
  opens(a);
  opens(a, {7, 2});
  control(a.control, records(TimelineEvent::kPhase, "Closed"));
  EXPECT_EQ(outcomes(cancel()), Outcomes{kEnded});
  cancel(kAsker, {7, 2});
  EXPECT_EQ(outcomes(control(a.control, control::Leave{})), Outcomes{kNodeGone});
  EXPECT_EQ(outcomes(cancel(kAsker, {7, 2})), Outcomes{kNodeGone});
  EXPECT_EQ(core.cancels_waiting(), 0u);
}

TEST_F(ConversationsAtTheBroker, OneOrderForAllWhoAskAndEachIsAnswered) {
  const Joined a = join("a", 1);
  opens(a);
  EXPECT_EQ(orders(cancel(), a.control), 1u);
  EXPECT_EQ(orders(cancel(), a.control), 0u) << "the same asker again";
  EXPECT_EQ(core.cancels_waiting(), 1u);
  EXPECT_EQ(orders(cancel(conn(901)), a.control), 0u);
  EXPECT_EQ(outcomes(cancel(conn(902)), conn(902)), Outcomes{kTooMany}) << "two may wait";
  const auto answered = control(a.control, control::CancelAnswer{kConversation, true});
  EXPECT_EQ(outcomes(answered), Outcomes{kAccepted});
  EXPECT_EQ(outcomes(answered, conn(901)), Outcomes{kAccepted});
}

TEST_F(ConversationsAtTheBroker, WhoeverWentIsNotAnswered) {
  const Joined a = join("a", 1);
  opens(a);
  cancel();
  static_cast<void>(core.on_closed(kAsker, now));
  EXPECT_EQ(core.cancels_waiting(), 0u);
  EXPECT_EQ(outcomes(control(a.control, control::CancelAnswer{kConversation, true})), Outcomes{});
}

TEST_F(ConversationsAtTheBroker, ANodeThatIsBackIsOrderedAgain) {
  const Joined a = join("a", 1);
  opens(a);
  cancel();
  static_cast<void>(core.on_closed(a.control, now));
  EXPECT_EQ(orders(cancel(conn(901)), a.control), 0u) << "it has no connection";
  const auto resumed = control(conn(77), join_frame("a", 1));
  EXPECT_EQ(orders(resumed, conn(77)), 1u);
  const auto answered = control(conn(77), control::CancelAnswer{kConversation, true});
  EXPECT_EQ(outcomes(answered), Outcomes{kAccepted});
}

TEST_F(ConversationsAtTheBroker, AnAnswerAboutOneThatWasForgottenMeanwhileIsAnAnswer) {
  const Joined a = join("a", 1), b = join("b", 2);
  opens(a);
  opens(a, {7, 2});
  cancel();
  cancel(kAsker, {7, 2});
  opens(b, {8, 1});  // three are kept
  opens(join("c", 3), {8, 2});
  opens(join("d", 4), {8, 3});
  ASSERT_EQ(core.timelines().find(kConversation), std::nullopt);
  ASSERT_EQ(core.timelines().find({7, 2}), std::nullopt);

  EXPECT_EQ(outcomes(control(b.control, control::CancelAnswer{kConversation, true})), Outcomes{});
  EXPECT_EQ(rejected(BadFrameReason::kOutOfPlace), 1u) << "it was not asked";
  EXPECT_EQ(outcomes(control(a.control, control::CancelAnswer{kConversation, true})),
            Outcomes{kAccepted});
  EXPECT_EQ(rejected(BadFrameReason::kOutOfPlace), 1u);
  EXPECT_EQ(core.cancels_waiting(), 1u);

  static_cast<void>(core.on_closed(a.control, now));
  const auto resumed = control(conn(77), join_frame("a", 1));
  EXPECT_EQ(orders(resumed, conn(77)), 1u) << "and it is ordered again";
  EXPECT_EQ(outcomes(control(b.control, control::Leave{})), Outcomes{}) << "not its node";
  EXPECT_EQ(core.cancels_waiting(), 1u);
  EXPECT_EQ(outcomes(control(conn(77), control::Leave{})), Outcomes{kNodeGone});
  EXPECT_EQ(core.cancels_waiting(), 0u);
}

// ---- loads ----

std::vector<control::Loads::Load> loads_to(ConnectionId connection, const Effects& effects) {
  std::vector<control::Loads::Load> all;
  for (const auto& frame : told_to<control::Loads>(connection, effects)) {
    all.insert(all.end(), frame.loads.begin(), frame.loads.end());
  }
  return all;
}
using Loads = std::vector<control::Loads::Load>;

TEST_F(ConversationsAtTheBroker, LoadsThatChangedAreToldOnceABeat) {
  Joined a = join("a", 1), b = join("b", 2);
  const auto beat = [&](Joined& node, std::uint32_t participants) {
    return control(node.control, control::NodeBeat{++node.beats, 0, participants, 0});
  };
  EXPECT_EQ(loads_to(a.control, beat(b, 3)), Loads{}) << "not before the broker's beat";
  const auto tick = pass(kCluster.beat_interval, {&a});  // a echoes, with one participant
  EXPECT_EQ(loads_to(a.control, tick), (Loads{{inc(2), 3}}));
  EXPECT_EQ(loads_to(b.control, tick), (Loads{{inc(2), 3}}));
  const auto next = pass(kCluster.beat_interval);
  EXPECT_EQ(loads_to(b.control, next), (Loads{{inc(1), 1}})) << "only what changed";
  EXPECT_EQ(loads_to(b.control, pass(kCluster.beat_interval)), Loads{});
  beat(b, 4);
  beat(b, 3);
  EXPECT_EQ(loads_to(a.control, pass(kCluster.beat_interval)), Loads{}) << "as it was told";
}

TEST_F(ConversationsAtTheBroker, WhoComesIsToldAllLoadsBehindTheWelcome) {
  Joined a = join("a", 1), b = join("b", 2);
  pass(kCluster.beat_interval, {&a, &b});
  pass(kCluster.beat_interval, {&a, &b});
  const auto effects = control(conn(30), join_frame("c", 3));
  const auto frames = told(effects);
  const auto is_welcome = [](const Told& each) {
    return std::holds_alternative<control::Welcome>(each.frame);
  };
  const auto is_loads = [](const Told& each) {
    return std::holds_alternative<control::Loads>(each.frame);
  };
  const auto welcome = std::find_if(frames.begin(), frames.end(), is_welcome);
  EXPECT_LT(welcome, std::find_if(frames.begin(), frames.end(), is_loads));
  EXPECT_EQ(loads_to(conn(30), effects), (Loads{{inc(1), 1}, {inc(2), 1}}));
}

}  // namespace
}  // namespace liminal::broker
