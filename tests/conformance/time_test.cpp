// Contracts 31 and 32: deadlines, cancellation, and conversations that nobody holds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/conformance/stage.hpp"

namespace liminal::conformance {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class Time : public Stage {
 protected:
  std::uint64_t dead_letters(DeadLetterCause cause) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < world().nodes(); ++i) {
      count += world().node(i).scheduler().dead_letters().count(cause);
    }
    return count;
  }
};
INSTANTIATE_TEST_SUITE_P(, Time, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);

// --- 31 ---

TEST_P(Time, C31_AnExpiredRequestIsNotStarted) {
  offer("slow",
        {.process = [](const auto&, const auto&) { return reply("ok").in(2s); }, .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  const CallPtr first = talk.ask("first");
  const CallPtr second = talk.ask("second", {.deadline = 1s});
  const TimePoint sent = world().now();
  ASSERT_TRUE(run_until_told(second));
  EXPECT_EQ(said(second), "ConversationTimeout");
  EXPECT_GE(second->at - sent, 1s);
  EXPECT_LE(second->at - sent, 1050ms);
  ASSERT_TRUE(run_until_told(first));
  run_for(5s);
  EXPECT_EQ(said(first), "ok");
  EXPECT_THAT(deeds(), ElementsAre("process slow"));
  EXPECT_GE(dead_letters(DeadLetterCause::kExpired), 1U);
}

TEST_P(Time, C31_WhatRunsForAnExpiredRequestIsEnded) {
  offer("slow", {.process =
                     [](const Request& request, const auto&) {
                       return request.deadline ? reply("late").in(1h) : reply("ok");
                     },
                 .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  const CallPtr expired = talk.ask("x", {.deadline = 1s});
  const CallPtr next = talk.ask("y");
  run_for(990ms);
  EXPECT_THAT(deeds(), ElementsAre("process slow"));
  ASSERT_TRUE(run_until_told(expired) && run_until_told(next));
  EXPECT_EQ(said(expired), "ConversationTimeout");
  EXPECT_EQ(said(next), "ok") << "at the same participant";
  EXPECT_THAT(deeds(), ElementsAre("process slow", "interrupt slow", "process slow"));
  EXPECT_EQ(made("slow"), 1);
}

TEST_P(Time, C31_ALateReplyIsADeadLetter) {
  offer("stubborn", {.process =
                         [](const auto&, const auto&) {
                           Doing doing = reply("late").in(3s);
                           doing.stubborn = true;
                           return doing;
                         },
                     .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"stubborn"});
  const CallPtr asked = talk.ask("x", {.deadline = 1s});
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "ConversationTimeout");
  EXPECT_EQ(dead_letters(DeadLetterCause::kLateReply), 0U);
  run_for(5s);
  EXPECT_EQ(dead_letters(DeadLetterCause::kLateReply), 1U);
  EXPECT_EQ(node("p1").scheduler().dead_letters().count(DeadLetterCause::kLateReply), 1U)
      << "given up where it was made";
  EXPECT_EQ(asked->told, 1);
}

TEST_P(Time, C31_TheCallersOwnTimerIsAuthoritative) {
  offer("slow",
        {.process = [](const auto&, const auto&) { return reply("late").in(2s); }, .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  const CallPtr asked = talk.ask("x");
  run_for(1s);
  talk.give_up(asked);
  EXPECT_TRUE(asked->given_up);
  run_for(5s);
  EXPECT_EQ(asked->told, 0) << "nothing comes after it gave up";
  const CallPtr inbox = talk.receive();
  run_for(1s);
  EXPECT_EQ(said(inbox), "(waiting)") << "nor does anybody else get that reply";
}

// Known mistake: the deadline is stored and never read.
TEST_P(Time, C31_TheConversationsTimeoutEndsItByItsPolicy) {
  offer("reserve", {.compensates = true});
  offer("slow", {.process = [](const auto&, const auto&) { return never(); }, .waits = true},
        {"p2"});
  start();
  for (const CrashPolicy policy :
       {CrashPolicy::kFail, CrashPolicy::kRouteToNext, CrashPolicy::kCompensate}) {
    SCOPED_TRACE(name_of(policy));
    const auto before = deeds("reserve").size();
    ConversationConfig configured = config(policy, {"reserve", "slow"});
    configured.timeout = 3s;
    const TimePoint opened = world().now();
    Talk& talk = open(configured);
    ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "reserve"})));
    const CallPtr asked = talk.ask("x", {.role = "slow"});
    run_for(opened + 3s - 1ms - world().now());
    EXPECT_EQ(talk.phase(), Phase::kActive);
    EXPECT_EQ(said(asked), "(waiting)");
    run_for(2ms);
    EXPECT_NE(talk.phase(), Phase::kActive);
    run_for(20ms);  // to the caller
    EXPECT_EQ(said(asked), "ConversationTimeout");
    ASSERT_TRUE(run_until_ended(talk));
    EXPECT_EQ(talk.phase(), Phase::kFailed);
    EXPECT_THAT(talk.state().crashes, IsEmpty());
    if (policy == CrashPolicy::kCompensate) {
      EXPECT_EQ(deeds("reserve").size(), before + 2) << "undone";
      EXPECT_EQ(talk.state().failure->code, Errc::kCompensated);
    } else {
      EXPECT_EQ(talk.state().failure->code, Errc::kConversationTimeout);
    }
  }
}

TEST_P(Time, C31_TheConversationsTimeoutIsKeptAtTheParticipantToo) {
  offer("slow", {.process = [](const auto&, const auto&) { return never(); },
                 .waits = true,
                 .ignores_shutdown = true});
  start();
  ConversationConfig configured = config(CrashPolicy::kFail, {"slow"});
  configured.timeout = 2s;
  Talk& talk = open(configured);
  (void)talk.send("x");
  run_for(1900ms);
  EXPECT_THAT(deeds(), ElementsAre("process slow"));
  run_for(200ms);
  EXPECT_THAT(deeds(), ElementsAre("process slow", "interrupt slow"));
}

TEST_P(Time, C31_CancellationWorksAsAnExpiryDoes) {
  offer("slow", {.process = [](const auto&, const auto&) { return never(); },
                 .compensates = true,
                 .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"slow"});
  const CallPtr running = talk.ask("running");
  const CallPtr waiting = talk.ask("waiting");
  ASSERT_TRUE(run_until([&] { return deeds().size() == 1; }));
  talk.cancel("a test");
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_EQ(said(running), "ConversationFailed");
  EXPECT_EQ(said(waiting), "ConversationFailed");
  EXPECT_THAT(running->detail(), HasSubstr("cancelled by a test"));
  // The one that waited was never begun; what ran was ended, and is undone.
  EXPECT_THAT(deeds(), ElementsAre("process slow", "interrupt slow", "undo slow"));
  EXPECT_THAT(talk.compensations(), ElementsAre("slow undone in doubt"));
  EXPECT_THAT(talk.state().crashes, IsEmpty());
}

class TimeAcross : public AcrossNodes {};
INSTANTIATE_TEST_SUITE_P(, TimeAcross, ::testing::Values(Where::kThreeNodes), name_of_where);

// The clocks of the two nodes agree here, so the participant's deadline shows what was taken off.
TEST_P(TimeAcross, C31_TimeHeldOnTheWayIsTakenOffWhatRemains) {
  auto deadline = std::make_shared<std::optional<TimePoint>>();
  offer("echo", {.process = [deadline](const Request& request, const auto&) {
          *deadline = request.deadline;
          return done();
        }});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"echo"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  deadline->reset();
  world().kill_broker();
  const TimePoint sent = world().now();
  const CallPtr asked = talk.ask("y", {.deadline = 10s});
  run_for(4s);
  world().start_broker();
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_GE(world().now() - sent, 4s);
  ASSERT_TRUE(*deadline);
  EXPECT_GE(**deadline, sent + 10s);
  EXPECT_LE(**deadline, sent + 10s + 50ms) << "the hop's own time is all that is forgiven";
}

// --- 32 ---

class Orphan : public Stage {};
INSTANTIATE_TEST_SUITE_P(, Orphan, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);

TEST_P(Orphan, C32_AConversationThatNobodyHoldsCarriesOutItsPolicyAfterOrphanTimeout) {
  offer("reserve", {.compensates = true});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"reserve"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  const TimePoint dropped = world().now();
  talk.drop();
  run_for(dropped + 5s - 1ms - world().now());
  EXPECT_EQ(live_participants(), 1U);
  EXPECT_EQ(node("c").supervisor().open(), 1U);
  EXPECT_THAT(deeds(), ElementsAre("process reserve"));
  run_for(200ms);
  EXPECT_THAT(deeds(), ElementsAre("process reserve", "undo reserve"));
  EXPECT_EQ(node("c").supervisor().open(), 0U);
}

TEST_P(Orphan, C32_ACallUnderWayHoldsItsConversation) {
  offer("slow",
        {.process = [](const auto&, const auto&) { return reply("ok").in(10s); }, .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  const CallPtr asked = talk.ask("x");
  talk.drop();
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "ok");
  asked->pending = {};
  run_for(10s);
  EXPECT_EQ(node("c").supervisor().open(), 0U);
}

TEST_P(TimeAcross, C32_WithItsNodeAConversationsParticipantsEnd) {
  offer("slow", {.process = [](const auto&, const auto&) { return never(); }, .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  (void)talk.send("x");
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  EXPECT_EQ(live_participants(), 1U);
  talk.drop();
  kill_node("c");
  run_for(2s);
  EXPECT_EQ(live_participants(), 0U);
}

}  // namespace
}  // namespace liminal::conformance
