// Contracts 23 to 25: how participants come, what phases there are, what a request ends in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/conformance/stage.hpp"

namespace liminal::conformance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Participants : public Stage {};
INSTANTIATE_TEST_SUITE_P(, Participants, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);

// --- 23 ---

TEST_P(Participants, C23_AParticipantIsLinkedBeforeItsFirstRequest) {
  offer("bad", {.process = [](const auto&, const auto&) { return throwing("at once"); }});
  offer("stillborn", {.fails_to_start = true});
  start();
  Talk& crashes = open(CrashPolicy::kFail, {"bad"});
  const CallPtr told = crashes.ask("x");
  Talk& never_lives = open(CrashPolicy::kFail, {"stillborn"});
  const CallPtr told_too = never_lives.ask("x");
  ASSERT_TRUE(run_until_told(told) && run_until_told(told_too));
  EXPECT_EQ(said(told), "ParticipantCrashed");
  EXPECT_THAT(told->detail(), HasSubstr("at once"));
  EXPECT_EQ(said(told_too), "ParticipantCrashed");
  EXPECT_THAT(told_too->detail(), HasSubstr("does not start"));
  EXPECT_EQ(crashes.state().crashes.size(), 1U);
  EXPECT_EQ(never_lives.state().crashes.size(), 1U);
}

TEST_P(Participants, C23_AnActorsCrashTakesNoParticipantAlong) {
  offer("slow",
        {.process = [](const auto&, const auto&) { return reply("ok").in(1s); }, .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  const CallPtr asked = talk.ask("x");
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  const Pid participant = *talk.participant("slow").pid;
  for (int i = 0; i < 3; ++i) {
    crash_actor(talk);
    run_for(50ms);
  }
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "ok");
  EXPECT_EQ(talk.participant("slow").pid, participant);
  EXPECT_EQ(made("slow"), 1);
  EXPECT_THAT(talk.state().crashes, IsEmpty());
  EXPECT_EQ(talk.state().counters.actor_restarts, 3U);
}

TEST_P(Participants, C23_TheConversationAloneEndsOwnedParticipants) {
  offer("echo", {});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"echo"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  talk.give_up(talk.receive());
  const ConversationHandle copy = talk.handle();
  talk.drop();
  run_for(30s);
  EXPECT_EQ(copy.query_state().phase, Phase::kActive);
  EXPECT_EQ(live_participants(), 1U);
}

TEST_P(Participants, C23_AnAttachedParticipantLivesOn) {
  offer("echo", {});
  start();
  const Pid helper = attach("echo", "p1");
  for (int i = 0; i < 2; ++i) {
    Talk& talk = open({CrashPolicy::kFail, {ParticipantConfig::attached("helper", helper)}});
    const CallPtr asked = talk.ask("hello");
    ASSERT_TRUE(run_until_told(asked));
    EXPECT_EQ(said(asked), "hello");
    ASSERT_TRUE(run_until_told(talk.close()));
  }
  EXPECT_EQ(live_participants(), 1U);
  EXPECT_EQ(made("echo"), 1);
}

TEST_P(Participants, C23_EveryRoleHasItsOwnParticipantAndNotOnlyTheFirst) {
  offer("reserve", {.process = [](const auto&, const auto&) { return reply("reserved"); }});
  offer("charge", {.process = [](const auto&, const auto&) { return reply("charged"); }}, {"p2"});
  offer("ship", {.process = [](const auto&, const auto&) { return reply("shipped"); }}, {"p3"});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"reserve", "charge", "ship"});
  const CallPtr shipped = talk.ask("x", {.role = "ship"});
  const CallPtr reserved = talk.ask("x", {.role = "reserve"});
  const CallPtr charged = talk.ask("x", {.role = "charge"});
  ASSERT_TRUE(run_until_told(shipped) && run_until_told(reserved) && run_until_told(charged));
  EXPECT_EQ(said(reserved), "reserved");
  EXPECT_EQ(said(charged), "charged");
  EXPECT_EQ(said(shipped), "shipped");
  const CallPtr nobody = talk.ask("x");
  const CallPtr unknown = talk.ask("x", {.role = "refund"});
  ASSERT_TRUE(run_until_told(nobody) && run_until_told(unknown));
  EXPECT_EQ(said(nobody), "Usage") << "several roles: one has to be named";
  EXPECT_THAT(unknown->detail(), HasSubstr("'refund' is no role"));
  EXPECT_EQ(talk.phase(), Phase::kActive);
}

TEST_P(Participants, C23_WhatIsWrongWithAConversationIsSaidBeforeAnythingStarts) {
  offer("echo", {});
  start();
  const auto refusal = [&](const ConversationConfig& configured) {
    const auto opened = node("c").supervisor().spawn(configured);
    return opened ? "(opened)"
                  : std::string{name_of(opened.error().code)} + ": " + opened.error().detail;
  };
  const Pid none{NodeName{"no such name!"}, Incarnation{1}, Serial{1}};
  ConversationConfig no_budget = config(CrashPolicy::kRouteToNext, {"echo"});
  no_budget.max_attempts = 0;
  EXPECT_THAT(refusal({CrashPolicy::kFail, {}}), HasSubstr("Usage: "));
  EXPECT_THAT(refusal(config(CrashPolicy::kFail, {"echo", "echo"})), HasSubstr("'echo'"));
  EXPECT_THAT(refusal(no_budget), HasSubstr("max_attempts"));
  EXPECT_THAT(refusal({CrashPolicy::kFail, {ParticipantConfig::attached("helper", none)}}),
              HasSubstr("helper"));
  EXPECT_EQ(node("c").supervisor().open(), 0U);
  EXPECT_EQ(made("echo"), 0);
}

TEST_P(Participants, C23_AnAttachedPidThatIsDeadIsACrashThatSaysSo) {
  offer("echo", {});
  start();
  const Pid dead = attach("echo", "p1");
  exit(dead, ExitReason::kill());
  Talk& talk = open({CrashPolicy::kFail, {ParticipantConfig::attached("helper", dead)}});
  const CallPtr asked = talk.ask("x");
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "ParticipantCrashed");
  EXPECT_EQ(talk.state().crashes.at(0).reason, ExitReason::noproc());
}

// --- 24 ---

TEST_P(Participants, C24_TheFirstSendActivatesACreatedConversation) {
  offer("echo", {});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"echo"});
  run_for(5s);
  EXPECT_EQ(talk.phase(), Phase::kCreated);
  EXPECT_EQ(made("echo"), 0);
  EXPECT_EQ(talk.participant("echo").health, ParticipantHealth::kAwaited);
  ASSERT_TRUE(run_until_told(talk.send("x").taken));
  EXPECT_EQ(talk.phase(), Phase::kActive);
}

TEST_P(Participants, C24_ClosedIsTerminal) {
  offer("echo", {});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"echo"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  ASSERT_TRUE(run_until_told(talk.close()));
  EXPECT_EQ(talk.phase(), Phase::kClosed);
  talk.cancel("somebody");
  const auto sent = talk.send("y");
  const CallPtr received = talk.receive();
  run_for(5s);
  EXPECT_EQ(said(sent.taken), "ConversationFailed");
  EXPECT_EQ(said(received), "ConversationFailed");
  EXPECT_EQ(talk.phase(), Phase::kClosed);
  EXPECT_EQ(deeds().size(), 1U);
}

TEST_P(Participants, C24_FailedStaysFailedThroughALaterClose) {
  offer("bad", {.process = [](const auto&, const auto&) { return throwing("broken"); }});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"bad"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  const CallPtr closed = talk.close();
  ASSERT_TRUE(run_until_told(closed));
  EXPECT_EQ(said(closed), "") << "no error";
  EXPECT_EQ(talk.phase(), Phase::kFailed);
  EXPECT_EQ(talk.state().failure->code, Errc::kParticipantCrashed);
}

TEST_P(Participants, C24_FailedEndsOwnedParticipantsAtOnce) {
  offer("bad", {.process = [](const auto&, const auto&) { return throwing("broken"); }});
  offer("echo", {}, {"p2"});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"bad", "echo"});
  ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "echo"})));
  EXPECT_EQ(live_participants(), 2U);
  ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "bad"})));
  EXPECT_EQ(talk.phase(), Phase::kFailed);
  run_for(100ms);
  EXPECT_EQ(live_participants(), 0U);
}

TEST_P(Participants, C24_ASecondCloseIsNoError) {
  offer("echo", {});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"echo"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  const CallPtr first = talk.close();
  const CallPtr at_once = talk.close();
  ASSERT_TRUE(run_until_told(first) && run_until_told(at_once));
  const CallPtr later = talk.close();
  ASSERT_TRUE(run_until_told(later));
  for (const CallPtr& closed : {first, at_once, later}) {
    EXPECT_EQ(said(closed), "");
    EXPECT_EQ(closed->told, 1);
  }
  Talk& unused = open(CrashPolicy::kFail, {"echo"});
  const CallPtr closed_unused = unused.close();
  ASSERT_TRUE(run_until_told(closed_unused));
  EXPECT_EQ(said(closed_unused), "");
  EXPECT_EQ(unused.phase(), Phase::kClosed);
}

// --- 25 ---

TEST_P(Participants, C25_DoneWithoutAReplyWakesItsWaiterWithNoReply) {
  offer("quiet", {.process = [](const auto&, const auto&) { return done(); }});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"quiet"});
  const CallPtr asked = talk.ask("x");
  const auto sent = talk.send("y", {.reply = ReplyMode::kCorrelated});
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "NoReply");
  const CallPtr late = talk.receive(sent.id);
  ASSERT_TRUE(run_until_told(late));
  EXPECT_EQ(said(late), "NoReply");
  EXPECT_EQ(talk.state().counters.completed, 2U);
  EXPECT_EQ(talk.phase(), Phase::kActive);
}

TEST_P(Participants, C25_CompletedMeansThatDoneReachedTheConversation) {
  offer("slow", {.process = [](const auto&, const auto&) { return done().in(1s); }, .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  (void)talk.send("x", {.reply = ReplyMode::kNone});
  ASSERT_TRUE(run_until([&] { return deeds().size() == 1; }));
  run_for(900ms);
  EXPECT_EQ(talk.state().counters.completed, 0U);
  run_for(200ms);
  EXPECT_EQ(talk.state().counters.completed, 1U) << "wanted or not, done is told";
}

TEST_P(Participants, C25_AReplyThatNobodyWantedIsDroppedAtTheParticipant) {
  offer("echo", {});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"echo"});
  const CallPtr inbox = talk.receive();
  const auto sent = talk.send("unwanted", {.reply = ReplyMode::kNone});
  ASSERT_TRUE(run_until([&] { return talk.state().counters.completed == 1; }));
  EXPECT_EQ(said(inbox), "(waiting)");
  EXPECT_EQ(talk.state().counters.answers_dropped, 0U) << "it never came so far";
  const CallPtr received = talk.receive(sent.id);
  ASSERT_TRUE(run_until_told(received));
  EXPECT_EQ(said(received), "NoReply");
}

TEST_P(Participants, C25_ACorrelatedReplyReachesItsOwnWaiterOnly) {
  offer("echo", {});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"echo"});
  const CallPtr inbox = talk.receive();
  const auto first = talk.send("first", {.reply = ReplyMode::kCorrelated});
  const auto second = talk.send("second", {.reply = ReplyMode::kCorrelated});
  const CallPtr of_second = talk.receive(second.id);
  ASSERT_TRUE(run_until_told(of_second));
  EXPECT_EQ(said(of_second), "second");
  const CallPtr of_first = talk.receive(first.id);
  ASSERT_TRUE(run_until_told(of_first));
  EXPECT_EQ(said(of_first), "first");
  EXPECT_EQ(said(inbox), "(waiting)");
  (void)talk.send("third", {.reply = ReplyMode::kInbox});
  ASSERT_TRUE(run_until_told(inbox));
  EXPECT_EQ(said(inbox), "third");
}

TEST_P(Participants, C25_AnExceptionInABehaviourEndsItsParticipantAndNothingElse) {
  offer("bad", {.process = [](const auto&, const auto&) { return throwing("its own fault"); }});
  offer("echo", {});
  start();
  Talk& bystander = open(CrashPolicy::kFail, {"echo"});
  ASSERT_TRUE(run_until_told(bystander.ask("x")));
  Talk& talk = open(CrashPolicy::kFail, {"bad"});
  const CallPtr asked = talk.ask("x");
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "ParticipantCrashed");
  EXPECT_EQ(talk.state().crashes.at(0).reason, ExitReason::error("its own fault"));
  const CallPtr again = bystander.ask("still there");
  ASSERT_TRUE(run_until_told(again));
  EXPECT_EQ(said(again), "still there");
  Talk& another = open(CrashPolicy::kFail, {"bad"});
  ASSERT_TRUE(run_until_told(another.ask("x"))) << "the service is offered as before";
}

}  // namespace
}  // namespace liminal::conformance
