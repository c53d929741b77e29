// Where two promises cross: a policy at work when something else happens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/conformance/stage.hpp"

namespace liminal::conformance {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Crossing : public Stage {
 protected:
  static Service slow(Duration takes) {
    return {.process =
                [takes](const Request& request, const auto&) {
                  return reply(std::string{request.payload.view()}).in(takes);
                },
            .waits = true};
  }
};
INSTANTIATE_TEST_SUITE_P(, Crossing, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);
class CrossingAcross : public Crossing {};
INSTANTIATE_TEST_SUITE_P(, CrossingAcross, ::testing::Values(Where::kThreeNodes), name_of_where);

TEST_P(Crossing, C27_ANotifierIsToldOfTheFirstExitAndNotOfASuccessors) {
  offer("echo", {}, {"p1", "p2", "p3"});
  start();
  Talk& talk = open(CrashPolicy::kRouteToNext, {"echo"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  auto told = std::make_shared<std::vector<ParticipantExit>>();
  const auto listen = [&] {
    return talk.handle().on_exit("echo", [told](const auto& exit) { told->push_back(exit); });
  };
  ASSERT_TRUE(listen());
  for (std::uint32_t holder = 1; holder <= 2; ++holder) {
    ASSERT_TRUE(run_until([&] { return talk.participant("echo").incumbent == holder; }));
    exit(*talk.participant("echo").pid, ExitReason::error("hit"));
  }
  ASSERT_TRUE(run_until([&] { return talk.participant("echo").incumbent == 3; }));
  const auto crashes = talk.state().crashes;
  ASSERT_THAT(crashes, SizeIs(2));
  ASSERT_THAT(*told, SizeIs(1));
  EXPECT_LE(*told->at(0).at - crashes[0].at, 20ms) << "and what the way here takes";
  run_for(50ms);
  ASSERT_TRUE(listen());
  run_for(50ms);
  ASSERT_THAT(*told, SizeIs(2)) << "replayed";
  EXPECT_LE(*told->at(1).at - crashes[1].at, 20ms);
  EXPECT_GE(*told->at(1).at, crashes[1].at);
}

TEST_P(Crossing, C28_ActorsThatCrashWhileItIsUndoneRepeatNoStep) {
  offer("step", {.undo = [](const auto&, const auto&) { return done().in(40ms); },
                 .compensates = true,
                 .waits = true});
  start();
  ConversationConfig configured = config(CrashPolicy::kCompensate, {"step"});
  configured.actor_restarts_max = 1000;
  Talk& talk = open(configured);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(run_until_told(talk.ask(std::to_string(i))));
  talk.cancel("a test");
  for (int i = 0; i < 12; ++i) {
    crash_actor(talk);
    run_for(30ms);
  }
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.compensations(), Each("step undone"));
  EXPECT_THAT(talk.state().compensations, SizeIs(10));
  EXPECT_EQ(deeds().size(), 20U) << "each done once, undone once";
  EXPECT_GE(talk.state().counters.actor_restarts, 12U);
}

TEST_P(Crossing, C29_ACloseWhileItIsUndoneWaitsForThat) {
  offer("step", {.undo = [](const auto&, const auto&) { return done().in(3s); },
                 .compensates = true,
                 .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"step"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  talk.cancel("a test");
  ASSERT_TRUE(run_until([&] { return deeds().size() == 2; }));
  const CallPtr closed = talk.close();
  run_for(2900ms);
  EXPECT_EQ(said(closed), "(waiting)");
  EXPECT_EQ(talk.phase(), Phase::kCompensating);
  ASSERT_TRUE(run_until_told(closed));
  EXPECT_EQ(said(closed), "");
  EXPECT_EQ(talk.state().failure->code, Errc::kCompensated);
}

TEST_P(Crossing, C31_AnotherAttemptGetsNoNewTime) {
  auto deadlines = std::make_shared<std::vector<TimePoint>>();
  offer("slow",
        {.process =
             [deadlines](const Request& request, const auto&) {
               deadlines->push_back(*request.deadline);
               return never();
             },
         .waits = true},
        {"p1", "p2"});
  start();
  Talk& talk = open(CrashPolicy::kRouteToNext, {"slow"});
  const TimePoint sent = world().now();
  const CallPtr asked = talk.ask("x", {.deadline = 5s});
  ASSERT_TRUE(run_until([&] { return deadlines->size() == 1; }));
  run_for(2s);
  exit(*talk.participant("slow").pid, ExitReason::error("hit"));
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "ConversationTimeout");
  EXPECT_LE(asked->at - sent, 5050ms);
  ASSERT_THAT(*deadlines, SizeIs(2));
  EXPECT_LE(deadlines->at(1), sent + 5050ms);
}

TEST_P(Crossing, C31_ARequestMayExpireWhileNobodyIsThereToTakeIt) {
  offer("work", slow(1s), {"p1"});
  start();
  for (const CrashPolicy policy : {CrashPolicy::kFail, CrashPolicy::kCompensate}) {
    SCOPED_TRACE(name_of(policy));
    if (across()) {
      pause_node("p1");
      run_for(1500ms);
    }
    Talk& talk = open(policy, {"work"});
    const CallPtr asked = talk.ask("x", {.deadline = 500ms});
    ASSERT_TRUE(run_until_told(asked));
    EXPECT_EQ(said(asked), "ConversationTimeout");
    run_for(1s);
    if (across()) {
      EXPECT_THAT(deeds(), IsEmpty());
      EXPECT_THAT(talk.compensations(), IsEmpty()) << "it was never sent";
      resume_node("p1");
    }
    (void)talk.close();
    run_for(3s);
  }
}

TEST_P(Crossing, C32_ACancelDuringPlacementLeavesNobodyBehind) {
  offer("reserve", {.compensates = true});
  offer("charge", {.compensates = true}, {"p2"});
  start();
  std::size_t before_compensate = 0;
  for (const CrashPolicy policy :
       {CrashPolicy::kFail, CrashPolicy::kRouteToNext, CrashPolicy::kCompensate}) {
    SCOPED_TRACE(name_of(policy));
    before_compensate = ledger().size();
    for (int i = 0; i < 12; ++i) {
      Talk& talk = open(policy, {"reserve", "charge"});
      const CallPtr asked = talk.ask("x", {.role = "reserve"});
      run_for(i * 2ms);
      talk.cancel("a test");
      ASSERT_TRUE(run_until_told(asked) && run_until_ended(talk));
      EXPECT_EQ(asked->told, 1);
      EXPECT_EQ(talk.phase(), Phase::kFailed);
      run_for(50ms);
      EXPECT_EQ(live_participants(), 0U);
    }
  }
  std::map<MessageId, int> done;  // under Compensate
  for (std::size_t i = before_compensate; i < ledger().size(); ++i) {
    done[ledger()[i].message] += ledger()[i].action == "process" ? 1 : -1;
  }
  for (const auto& [message, balance] : done) EXPECT_EQ(balance, 0) << "begun, and not undone";
}

TEST_P(Crossing, C34_ACrashBeforeAllAreThereEndsItAsAnyOther) {
  offer("reserve", {});
  offer("stillborn", {.fails_to_start = true}, {"p2"});
  start();
  for (const CrashPolicy policy :
       {CrashPolicy::kFail, CrashPolicy::kRouteToNext, CrashPolicy::kCompensate}) {
    SCOPED_TRACE(name_of(policy));
    Talk& talk = open(policy, {"reserve", "stillborn"});
    const CallPtr asked = talk.ask("x", {.role = "reserve"});
    ASSERT_TRUE(run_until_told(asked) && run_until_ended(talk));
    EXPECT_EQ(talk.phase(), Phase::kFailed);
    EXPECT_THAT(talk.state().failure->detail, HasSubstr("does not start"));
    EXPECT_THAT(talk.state().crashes, ::testing::Not(IsEmpty()));
  }
}

TEST_P(Crossing, C36_AttachedPidsAreUndoneAtTheirAlternates) {
  offer("step", {.compensates = true}, {"p1", "p2"});
  start();
  const Pid first = attach("step", "p1"), second = attach("step", "p2");
  Talk& talk = open(
      {CrashPolicy::kCompensate, {ParticipantConfig::attached("helper", first, {second}, true)}});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  exit(first, ExitReason::error("hit"));
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.compensations(), ElementsAre("helper undone"));
  EXPECT_EQ(talk.state().compensations[0].by, second);
  EXPECT_EQ(live_participants(), 1U) << "who was attached lives on";
}

TEST_P(Crossing, C36_WhatIsKeptToBeUndoneHasABound) {
  offer("step", {.compensates = true});
  start();
  ConversationConfig configured = config(CrashPolicy::kCompensate, {"step"});
  configured.steps_max = 5;
  Talk& talk = open(configured);
  for (int i = 0; i < 5; ++i) {
    const CallPtr asked = talk.ask(std::to_string(i));
    ASSERT_TRUE(run_until_told(asked));
    EXPECT_EQ(said(asked), std::to_string(i));
  }
  const CallPtr beyond = talk.ask("one too many");
  ASSERT_TRUE(run_until_told(beyond));
  EXPECT_EQ(said(beyond), "Rejected");
  EXPECT_THAT(beyond->detail(), HasSubstr("steps-max is 5"));
  talk.cancel("a test");
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.state().compensations, SizeIs(5));
  EXPECT_THAT(talk.compensations(), Each("step undone"));
}

// Its node sleeps, is given up, and wakes with the work done: the reply of the one that took over
// is the only one.
TEST_P(CrossingAcross, C35_TheReplyOfWhoWasGivenUpReachesNobody) {
  offer("work", slow(500ms), {"p1", "p2"});
  start();
  for (const ConversationMode mode : {ConversationMode::kAsk, ConversationMode::kStream}) {
    ConversationConfig configured = config(CrashPolicy::kRouteToNext, {"work"});
    configured.mode = mode;
    Talk& talk = open(configured);
    const auto begun = deeds().size();
    const auto sent = talk.send("x");
    const bool ask = mode == ConversationMode::kAsk;
    const CallPtr received = talk.receive(ask ? std::optional{sent.id} : std::nullopt);
    ASSERT_TRUE(run_until([&] { return deeds().size() > begun; }));
    const std::string sleeper = talk.participant("work").pid->node.value();
    pause_node(sleeper);
    ASSERT_TRUE(run_until_told(received));
    EXPECT_EQ(said(received), "x");
    EXPECT_EQ(deeds().size(), begun + 2);
    const CallPtr another = talk.receive();
    resume_node(sleeper);
    run_for(10s);
    EXPECT_EQ(said(another), "(waiting)");
    EXPECT_EQ(received->told, 1);
    EXPECT_EQ(talk.state().counters.completed, 1U);
    EXPECT_THAT(talk.state().crashes, SizeIs(1));
    ASSERT_TRUE(run_until_told(talk.close()));
  }
}

TEST_P(CrossingAcross, C36_ABrokersDeathCostsNoStep) {
  offer("reserve", {.undo = [](const auto&, const auto&) { return done().in(1s); },
                    .compensates = true,
                    .waits = true});
  offer("charge",
        {.undo = [](const auto&, const auto&) { return done().in(1s); },
         .compensates = true,
         .waits = true},
        {"p2"});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"reserve", "charge"});
  ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "reserve"})));
  ASSERT_TRUE(run_until_told(talk.ask("y", {.role = "charge"})));
  talk.cancel("a test");
  ASSERT_TRUE(run_until([&] { return deeds().size() == 3; }));
  world().kill_broker();
  run_for(5s);
  world().start_broker();
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.compensations(), ElementsAre("charge undone", "reserve undone"));
  EXPECT_EQ(deeds().size(), 4U);
  EXPECT_THAT(talk.state().crashes, IsEmpty());
}

TEST_P(CrossingAcross, C36_WhoDiesWithItsDoneStepsIsUndoneThoughItsRoleWasIdle) {
  offer("reserve", {.compensates = true}, {"p1", "p2"});
  offer("ship",
        {.process =
             [](const auto&, const auto&) {
               Doing doing = never();
               doing.stubborn = true;
               return doing;
             },
         .compensates = true,
         .waits = true},
        {"p3"});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"reserve", "ship"});
  ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "reserve"})));
  (void)talk.ask("y", {.role = "ship"});
  ASSERT_TRUE(run_until([&] { return deeds().size() == 2; }));
  const std::string host = talk.participant("reserve").pid->node.value();
  talk.cancel("a test");
  run_for(500ms);
  kill_node(host);  // known only after ship was ended, while it is undone or before
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.compensations(), ElementsAre("ship undone in doubt", "reserve undone"));
  EXPECT_NE(talk.state().compensations[1].by->node, NodeName{host});
}

}  // namespace
}  // namespace liminal::conformance
