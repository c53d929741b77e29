// Contracts 28 to 30: crashing actors, closing, and what counts as a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/conformance/stage.hpp"

namespace liminal::conformance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Ending : public Stage {};
INSTANTIATE_TEST_SUITE_P(, Ending, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);

// --- 28 ---

TEST_P(Ending, C28_AnActorThatCrashesIsRestartedAtOnceAndAlone) {
  offer("echo", {});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"echo"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  const auto before = talk.here().actor_pid();
  const Pid conversation = talk.here().pid();
  const auto participant = talk.participant("echo").pid;
  crash_actor(talk);
  EXPECT_NE(talk.here().actor_pid(), before) << "in the same instant";
  EXPECT_TRUE(talk.here().actor_pid());
  const CallPtr asked = talk.ask("still there");
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "still there") << "its handles go on working";
  EXPECT_EQ(talk.here().pid(), conversation);
  EXPECT_EQ(talk.participant("echo").pid, participant);
  EXPECT_EQ(talk.state().counters.actor_restarts, 1U);
  EXPECT_EQ(talk.phase(), Phase::kActive);
}

TEST_P(Ending, C28_NothingIsLostOrDoneTwiceWhenActorsCrash) {
  offer("slow",
        {.process = [](const Request& request,
                       const auto&) { return reply(std::string{request.payload.view()}).in(3ms); },
         .waits = true});
  start();
  ConversationConfig configured = config(CrashPolicy::kFail, {"slow"});
  configured.actor_restarts_max = 1000;
  Talk& talk = open(configured);
  std::vector<CallPtr> asked;
  for (int i = 0; i < 60; ++i) {
    asked.push_back(talk.ask(std::to_string(i)));
    if (i % 3 == 0) crash_actor(talk);
    run_for(2ms);
  }
  for (std::size_t i = 0; i < asked.size(); ++i) {
    ASSERT_TRUE(run_until_told(asked[i]));
    EXPECT_EQ(said(asked[i]), std::to_string(i));
    EXPECT_EQ(asked[i]->told, 1);
  }
  EXPECT_EQ(deeds().size(), 60U);
  EXPECT_EQ(talk.state().counters.actor_restarts, 20U);
  EXPECT_EQ(made("slow"), 1);
}

TEST_P(Ending, C28_BeyondTheIntensityTheConversationFails) {
  offer("echo", {});
  start();
  ConversationConfig configured = config(CrashPolicy::kFail, {"echo"});
  configured.actor_restarts_max = 2;
  Talk& talk = open(configured);
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  crash_actor(talk);
  crash_actor(talk);
  run_for(1s);
  EXPECT_EQ(talk.phase(), Phase::kActive) << "at the limit";
  const CallPtr waiting = talk.receive();
  crash_actor(talk);
  ASSERT_TRUE(run_until_told(waiting));
  EXPECT_EQ(said(waiting), "ConversationFailed");
  EXPECT_EQ(talk.phase(), Phase::kFailed);
  EXPECT_THAT(talk.state().failure->detail, HasSubstr("actor crashed"));
  run_for(1s);
  EXPECT_EQ(live_participants(), 0U);
}

TEST_P(Ending, C28_BeyondTheIntensityThePolicyIsCarriedOutAllTheSame) {
  offer("reserve", {.compensates = true});
  start();
  ConversationConfig configured = config(CrashPolicy::kCompensate, {"reserve"});
  configured.actor_restarts_max = 0;
  Talk& talk = open(configured);
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  crash_actor(talk);
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(deeds(), ElementsAre("process reserve", "undo reserve"));
  EXPECT_EQ(talk.state().failure->code, Errc::kCompensated);
}

// --- 29 ---

TEST_P(Ending, C29_CloseEndsTheOwnedParticipantsAndLeavesNothingBehind) {
  offer("echo", {});
  offer("slow", {.process = [](const auto&, const auto&) { return never(); }, .waits = true},
        {"p2"});
  start();
  for (int i = 0; i < 50; ++i) {
    Talk& talk = open(CrashPolicy::kFail, {"echo", "slow"});
    ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "echo"})));
    (void)talk.send("x", {.role = "slow", .deadline = 1h});
    (void)talk.send("unread", {.role = "echo", .reply = ReplyMode::kInbox});
    ASSERT_TRUE(run_until_told(talk.close()));
    EXPECT_EQ(talk.phase(), Phase::kClosed);
    EXPECT_TRUE(talk.state().ended);
  }
  run_for(1s);
  expect_rest();
}

TEST_P(Ending, C29_WhoIgnoresItsEndIsKilled) {
  offer("deaf", {.waits = true, .ignores_shutdown = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"deaf"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  const TimePoint at = world().now();
  const CallPtr closed = talk.close();
  run_for(1999ms);
  EXPECT_EQ(said(closed), "(waiting)");
  EXPECT_EQ(live_participants(), 1U);
  ASSERT_TRUE(run_until_told(closed));
  EXPECT_LE(closed->at - at, 2100ms);
  run_for(50ms);
  EXPECT_EQ(live_participants(), 0U);
  EXPECT_EQ(talk.phase(), Phase::kClosed);
  EXPECT_THAT(talk.state().crashes, IsEmpty());
}

TEST_P(Ending, C29_AFinalizedConversationNeverSpawnsAgain) {
  offer("echo", {});
  start();
  Talk& at_once = open(CrashPolicy::kFail, {"echo"});
  (void)at_once.close();
  const auto sent = at_once.send("x");
  run_for(5s);
  EXPECT_EQ(said(sent.taken), "ConversationFailed");
  EXPECT_EQ(made("echo"), 0);

  // Closed while its participant is being made: that one ends, and no other comes.
  Talk& midway = open(CrashPolicy::kRouteToNext, {"echo"});
  (void)midway.send("x");
  (void)midway.close();
  run_for(5s);
  EXPECT_LE(made("echo"), 1);
  EXPECT_EQ(live_participants(), 0U);
  EXPECT_EQ(midway.phase(), Phase::kClosed);
}

TEST_P(Ending, C29_WhoeverWaitedIsWokenWithAnError) {
  offer("slow", {.process = [](const auto&, const auto&) { return never(); }, .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  const CallPtr asked = talk.ask("x");
  const CallPtr inbox = talk.receive();
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  ASSERT_TRUE(run_until_told(talk.close()));
  EXPECT_EQ(said(asked), "ConversationFailed");
  EXPECT_EQ(said(inbox), "ConversationFailed");
  const CallPtr late = talk.receive();
  ASSERT_TRUE(run_until_told(late));
  EXPECT_EQ(said(late), "ConversationFailed");
}

TEST_P(Ending, C29_AnAbnormalExitThatRacesACloseIsRecordedAndChangesNoPhase) {
  offer("slow", {.process = [](const auto&, const auto&) { return never(); }, .waits = true});
  start();
  for (const CrashPolicy policy :
       {CrashPolicy::kFail, CrashPolicy::kRouteToNext, CrashPolicy::kCompensate}) {
    SCOPED_TRACE(name_of(policy));
    const auto begun = deeds().size();
    Talk& talk = open(policy, {"slow"});
    (void)talk.send("x");
    ASSERT_TRUE(run_until([&] { return deeds().size() > begun; }));
    const Pid pid = *talk.participant("slow").pid;
    exit(pid, ExitReason::error("at the last moment"));
    (void)talk.here().start_close([](const Outcome&) {});
    node("c").poke();
    const CallPtr closed = talk.close();
    ASSERT_TRUE(run_until_told(closed));
    run_for(1s);
    const auto state = talk.state();
    // On one node the exit was there first, and the close came too late.
    if (!across()) continue;
    EXPECT_EQ(state.phase, Phase::kClosed);
    ASSERT_THAT(state.crashes, SizeIs(1));
    EXPECT_EQ(state.crashes[0].reason, ExitReason::error("at the last moment"));
    EXPECT_THAT(state.reroutes, IsEmpty());
    EXPECT_THAT(state.compensations, IsEmpty());
  }
}

// Known mistake: context and inbox grow without bound.
TEST_P(Ending, C29_ContextAndInboxStayWithinTheirBound) {
  offer("echo", {});
  start();
  ConversationConfig configured = config(CrashPolicy::kFail, {"echo"});
  configured.requests_max = 8;
  Talk& talk = open(configured);
  for (int i = 0; i < 500; ++i) {  // what was received is forgotten
    const CallPtr asked = talk.ask("x");
    ASSERT_TRUE(run_until_told(asked));
    ASSERT_EQ(said(asked), "x") << i;
  }
  for (int i = 0; i < 500; ++i) {  // what nobody waits for is not kept
    (void)talk.send("y", {.reply = ReplyMode::kNone});
    run_for(15ms);
  }
  run_for(1s);
  EXPECT_EQ(talk.state().counters.refused, 0U);
  EXPECT_EQ(talk.state().counters.completed, 1000U);
  for (int i = 0; i < 7; ++i) (void)talk.send(std::to_string(i), {.reply = ReplyMode::kInbox});
  run_for(1s);
  const auto at_the_limit = talk.send("7", {.reply = ReplyMode::kInbox});
  const auto beyond = talk.send("8", {.reply = ReplyMode::kInbox});
  ASSERT_TRUE(run_until_told(at_the_limit.taken) && run_until_told(beyond.taken));
  EXPECT_EQ(said(at_the_limit.taken), "");
  EXPECT_EQ(said(beyond.taken), "Rejected");
  EXPECT_THAT(beyond.taken->detail(), HasSubstr("requests-max is 8"));
  for (int i = 0; i < 8; ++i) {
    const CallPtr received = talk.receive();
    ASSERT_TRUE(run_until_told(received));
    EXPECT_EQ(said(received), std::to_string(i));
  }
}

// --- 30 ---

// Known mistake: a participant's own normal exit counts as a crash.
TEST_P(Ending, C30_ANormalExitWithNothingUnansweredHasLeft) {
  offer("once", {.process = [](const auto&, const auto&) { return reply_and_leave("bye"); },
                 .waits = true});
  start();
  for (const CrashPolicy policy :
       {CrashPolicy::kFail, CrashPolicy::kRouteToNext, CrashPolicy::kCompensate}) {
    SCOPED_TRACE(name_of(policy));
    Talk& talk = open(policy, {"once"});
    const CallPtr asked = talk.ask("x");
    ASSERT_TRUE(run_until_told(asked));
    EXPECT_EQ(said(asked), "bye");
    run_for(1s);
    EXPECT_EQ(talk.participant("once").health, ParticipantHealth::kLeft);
    EXPECT_THAT(talk.state().crashes, IsEmpty());
    EXPECT_EQ(talk.phase(), Phase::kActive);
    const auto sent = talk.send("y");
    const CallPtr received = talk.receive();
    ASSERT_TRUE(run_until_told(sent.taken) && run_until_told(received));
    EXPECT_EQ(said(sent.taken), "ParticipantLeft");
    EXPECT_EQ(said(received), "ParticipantLeft");
    (void)talk.close();
    run_for(100ms);
    EXPECT_EQ(talk.phase(), Phase::kClosed);
  }
}

TEST_P(Ending, C30_ANormalExitWithSomethingUnansweredIsACrash) {
  offer("faithless",
        {.process = [](const auto&, const auto&) { return exiting(ExitReason::normal()); },
         .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"faithless"});
  const CallPtr asked = talk.ask("x");
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "ParticipantCrashed");
  ASSERT_THAT(talk.state().crashes, SizeIs(1));
  EXPECT_EQ(talk.state().crashes[0].reason, ExitReason::normal());
}

TEST_P(Ending, C30_EveryOtherExitThatTheConversationDidNotCauseIsACrash) {
  offer("echo", {});
  start();
  struct Case {
    ExitReason told, seen;
  };
  for (const Case& each : {Case{ExitReason::error("hit"), ExitReason::error("hit")},
                           Case{ExitReason::shutdown(), ExitReason::shutdown()},
                           Case{ExitReason::kill(), ExitReason::killed()}}) {
    SCOPED_TRACE(to_string(each.seen));
    Talk& talk = open(CrashPolicy::kFail, {"echo"});
    ASSERT_TRUE(run_until_told(talk.ask("x")));
    exit(*talk.participant("echo").pid, each.told);
    ASSERT_TRUE(run_until_ended(talk));
    EXPECT_EQ(talk.phase(), Phase::kFailed);
    ASSERT_THAT(talk.state().crashes, SizeIs(1));
    EXPECT_EQ(talk.state().crashes[0].reason, each.seen);
    EXPECT_EQ(talk.state().crashes[0].unanswered, 0U);
  }
}

TEST_P(Ending, C30_WhatCloseDeadlineOrCancelEndedHasNotCrashed) {
  offer("slow", {.process = [](const auto&, const auto&) { return never(); }, .waits = true});
  offer("echo", {}, {"p2"});
  start();
  Talk& closed = open(CrashPolicy::kFail, {"slow"});
  (void)closed.send("x");
  Talk& late = open(CrashPolicy::kFail, {"slow"});
  const CallPtr expired = late.ask("x", {.deadline = 1s});
  Talk& cancelled = open(CrashPolicy::kFail, {"slow"});
  const CallPtr given_up = cancelled.ask("x");
  run_for(2s);
  (void)closed.close();
  cancelled.cancel("a test");
  run_for(5s);
  EXPECT_EQ(said(expired), "ConversationTimeout");
  EXPECT_EQ(said(given_up), "ConversationFailed");
  EXPECT_EQ(closed.phase(), Phase::kClosed);
  EXPECT_EQ(late.phase(), Phase::kActive) << "a request's deadline is no end";
  EXPECT_EQ(cancelled.phase(), Phase::kFailed);
  for (const Talk* talk : {&closed, &late, &cancelled}) {
    EXPECT_THAT(talk->state().crashes, IsEmpty());
  }
}

}  // namespace
}  // namespace liminal::conformance
