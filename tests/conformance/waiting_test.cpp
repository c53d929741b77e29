// Contracts 37 and 38: what placement and policies wait for, and what can be seen of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/conformance/stage.hpp"

namespace liminal::conformance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Waiting : public Stage {};
INSTANTIATE_TEST_SUITE_P(, Waiting, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);
class WaitingAcross : public AcrossNodes {};
INSTANTIATE_TEST_SUITE_P(, WaitingAcross, ::testing::Values(Where::kThreeNodes), name_of_where);

// --- 37 ---

TEST_P(Waiting, C37_AServiceThatNobodyOffersFailsAtOnceWhereTheDirectoryIsCurrent) {
  offer("echo", {});
  start();
  run_for(6s);  // until then the broker is new, and somebody may come back who offers it
  Talk& talk = open(CrashPolicy::kFail, {"nobody"});
  const CallPtr asked = talk.ask("x");
  const TimePoint at = world().now();
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "NoService");
  EXPECT_LE(asked->at - at, 100ms);
  EXPECT_EQ(talk.phase(), Phase::kFailed);
}

TEST_P(WaitingAcross, C37_PlacementWaitsWhileTheNodeHasNoBrokerAndWhileThatRecovers) {
  offer("echo", {});
  start();
  world().kill_broker();
  run_for(100ms);
  Talk& talk = open_here(config(CrashPolicy::kFail, {"echo"}));
  const CallPtr asked = talk.ask("x");
  run_for(8s);
  EXPECT_EQ(said(asked), "(waiting)");
  world().start_broker();
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "x");
}

TEST_P(WaitingAcross, C37_AfterPolicyTimeoutItFailsAsWithNoCandidate) {
  offer("echo", {});
  start();
  // Nobody resumes with another broker: the node that looks for a candidate has none.
  world().kill_broker();
  run_for(100ms);
  ConversationConfig configured = config(CrashPolicy::kFail, {"echo"});
  configured.policy_timeout = 4s;
  Talk& talk = open_here(configured);
  const TimePoint at = world().now();
  const CallPtr asked = talk.ask("x");
  run_for(at + 4s - 1ms - world().now());
  EXPECT_EQ(said(asked), "(waiting)");
  run_for(100ms);
  EXPECT_EQ(said(asked), "NoService");
  EXPECT_EQ(talk.phase(), Phase::kFailed);
  world().start_broker();
}

TEST_P(WaitingAcross, C37_ItWaitsWhileEveryUsableCandidateIsSuspect) {
  offer("work",
        {.process = [](const Request& request,
                       const auto&) { return request.attempt == 1 ? never() : reply("ok"); },
         .waits = true},
        {"p1", "p2"});
  start();
  ConversationConfig configured = config(CrashPolicy::kRouteToNext, {"work"});
  Talk& talk = open(configured);
  const CallPtr asked = talk.ask("x");
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  const std::string holder = talk.participant("work").pid->node.value();
  const std::string other = holder == "p1" ? "p2" : "p1";
  pause_node(other);
  run_for(1500ms);
  kill_node(holder);
  run_for(700ms);
  ASSERT_THAT(talk.state().crashes, SizeIs(1));
  EXPECT_EQ(said(asked), "(waiting)");
  EXPECT_EQ(talk.participant("work").health, ParticipantHealth::kStarting);
  resume_node(other);
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "ok");
}

TEST_P(WaitingAcross, C37_TheConversationsDeadlineBoundsTheWaitingToo) {
  offer("echo", {});
  start();
  world().kill_broker();
  run_for(100ms);
  ConversationConfig configured = config(CrashPolicy::kRouteToNext, {"echo"});
  configured.timeout = 2s;
  Talk& talk = open_here(configured);
  const CallPtr asked = talk.ask("x");
  run_for(1990ms);
  EXPECT_EQ(said(asked), "(waiting)");
  run_for(20ms);
  EXPECT_EQ(said(asked), "ConversationTimeout");
  EXPECT_EQ(talk.phase(), Phase::kFailed);
  world().start_broker();
}

// --- 38 ---

TEST_P(Waiting, C38_WhyAParticipantIsWhereItIsCanBeSeen) {
  offer("echo", {});
  start();
  ConversationConfig configured{CrashPolicy::kFail, {}};
  const NodeName host{across() ? "p1" : "solo"};
  configured.participants.push_back(
      ParticipantConfig::owned("here", ServiceName{"echo"}, placement_rule::ByNode{host}));
  configured.participants.push_back(
      ParticipantConfig::owned("any", ServiceName{"echo"}, placement_rule::Any{}));
  Talk& talk = open(configured);
  ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "here"})));
  EXPECT_EQ(talk.participant("here").pid->node, host);
  EXPECT_THAT(talk.participant("here").placement, HasSubstr("node " + host.value()));
  EXPECT_THAT(talk.participant("any").placement, HasSubstr("any"));
}

TEST_P(Waiting, C38_WhatAPolicyDidCanBeSeenAfterTheEnd) {
  offer(
      "work",
      {.process = [](const Request& request,
                     const auto&) { return request.attempt < 3 ? throwing("hit") : reply("ok"); }},
      {"p1", "p2", "p3"});
  offer("reserve", {.compensates = true});
  start();
  Talk& rerouted = open(CrashPolicy::kRouteToNext, {"work"});
  const CallPtr asked = rerouted.ask("x");
  ASSERT_TRUE(run_until_told(asked) && run_until_told(rerouted.close()));
  const auto state = rerouted.state();
  EXPECT_EQ(said(asked), "ok");
  ASSERT_THAT(state.crashes, SizeIs(2));
  ASSERT_THAT(state.reroutes, SizeIs(2));
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(state.crashes[i].policy, CrashPolicy::kRouteToNext);
    EXPECT_EQ(state.reroutes[i].from, state.crashes[i].pid);
    EXPECT_EQ(state.reroutes[i].resent, 1U);
  }
  EXPECT_EQ(state.reroutes[0].to, state.crashes[1].pid);
  EXPECT_EQ(state.counters.resent, 2U);

  Talk& compensated = open(CrashPolicy::kCompensate, {"reserve"});
  ASSERT_TRUE(run_until_told(compensated.ask("x")));
  compensated.cancel("a test");
  ASSERT_TRUE(run_until_ended(compensated));
  const auto compensations = compensated.state().compensations;
  ASSERT_THAT(compensations, SizeIs(1));
  EXPECT_EQ(compensations[0].name, "reserve");
  EXPECT_EQ(compensations[0].outcome, CompensationOutcome::kUndone);
  EXPECT_TRUE(compensations[0].by && compensations[0].at);
}

}  // namespace
}  // namespace liminal::conformance
