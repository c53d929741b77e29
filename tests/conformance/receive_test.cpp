// Contracts 26 and 27: what a receive ends in, and how a crash is known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/conformance/stage.hpp"

namespace liminal::conformance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr CrashPolicy kPolicies[] = {CrashPolicy::kFail, CrashPolicy::kRouteToNext,
                                     CrashPolicy::kCompensate};

class Receive : public Stage {
 protected:
  Service slow(Duration takes) {
    return {.process =
                [takes](const Request& request, const auto&) {
                  return reply(std::string{request.payload.view()}).in(takes);
                },
            .waits = true};
  }
};
INSTANTIATE_TEST_SUITE_P(, Receive, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);

// --- 26 ---

TEST_P(Receive, C26_ATimedOutReceiveChangesNoPhase) {
  offer("slow", slow(2s));
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  const auto sent = talk.send("x");
  const CallPtr received = talk.receive(sent.id);
  run_for(1s);
  talk.give_up(received);
  run_for(100ms);
  EXPECT_EQ(said(received), "(given up)");
  EXPECT_EQ(talk.phase(), Phase::kActive);
  EXPECT_FALSE(talk.state().failure);
  EXPECT_EQ(talk.participant("slow").health, ParticipantHealth::kAlive);
}

TEST_P(Receive, C26_ATimedOutReceiveSwallowsNoLaterReply) {
  offer("slow", slow(2s));
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  const auto own = talk.send("own", {.reply = ReplyMode::kCorrelated});
  (void)talk.send("inbox", {.reply = ReplyMode::kInbox});
  const CallPtr own_timed_out = talk.receive(own.id);
  const CallPtr inbox_timed_out = talk.receive();
  run_for(1s);
  talk.give_up(own_timed_out);
  talk.give_up(inbox_timed_out);
  run_for(10s);
  EXPECT_EQ(own_timed_out->told + inbox_timed_out->told, 0);
  const CallPtr own_received = talk.receive(own.id);
  const CallPtr inbox_received = talk.receive();
  ASSERT_TRUE(run_until_told(own_received) && run_until_told(inbox_received));
  EXPECT_EQ(said(own_received), "own");
  EXPECT_EQ(said(inbox_received), "inbox");
}

// The caller gives up at the very moment at which the reply comes: it is his or the next one's.
TEST_P(Receive, C26_AReplyThatRacesATimeoutIsNeverLost) {
  offer("slow", slow(1s));
  start();
  for (int i = 0; i < 30; ++i) {
    Talk& talk = open(CrashPolicy::kFail, {"slow"});
    const auto sent = talk.send("x");
    const CallPtr first = talk.receive(sent.id);
    ASSERT_TRUE(run_until([&] { return deeds().size() == static_cast<std::size_t>(i) + 1; }));
    run_for(995ms + i * 500us);
    talk.give_up(first);
    const CallPtr second = talk.receive(sent.id);
    ASSERT_TRUE(run_until_told(second));
    EXPECT_TRUE((said(first) == "(given up)" && said(second) == "x") ||
                (said(first) == "x" && said(second) == "NoReply"))
        << i << ": " << said(first) << ", " << said(second);
    (void)talk.close();
  }
}

// Known mistake: receivers hang under the policies other than Fail.
TEST_P(Receive, C26_ACrashWakesAWaitingReceiverAtOnceUnderEveryPolicy) {
  offer("slow", slow(30s));
  start();
  for (const CrashPolicy policy : kPolicies) {
    SCOPED_TRACE(name_of(policy));
    ConversationConfig configured = config(policy, {"slow"});
    configured.max_attempts = 1;  // nobody else may take it
    Talk& talk = open(configured);
    const auto begun = deeds().size();
    const CallPtr asked = talk.ask("x");
    const CallPtr inbox = talk.receive();
    ASSERT_TRUE(run_until([&] { return deeds().size() == begun + 1; }));
    const TimePoint at = world().now();
    exit(*talk.participant("slow").pid, ExitReason::error("hit"));
    ASSERT_TRUE(run_until_told(asked) && run_until_told(inbox));
    EXPECT_EQ(said(asked), "ParticipantCrashed");
    EXPECT_EQ(said(inbox), "ParticipantCrashed");
    EXPECT_THAT(asked->detail(), HasSubstr("hit"));
    EXPECT_LE(asked->at - at, 50ms);
    EXPECT_LE(inbox->at - at, 50ms);
  }
}

// Known mistake: a reply buffered before a crash is lost.
TEST_P(Receive, C26_RepliesBufferedBeforeTheCrashAreStillHandedOut) {
  offer("picky", {.process = [](const Request& request, const auto&) {
          const std::string text{request.payload.view()};
          return text == "bad" ? throwing("bad") : reply(text);
        }});
  start();
  for (const CrashPolicy policy : kPolicies) {
    SCOPED_TRACE(name_of(policy));
    Talk& talk = open(policy, {"picky"});
    const auto own = talk.send("own", {.reply = ReplyMode::kCorrelated});
    (void)talk.send("1", {.reply = ReplyMode::kInbox});
    (void)talk.send("2", {.reply = ReplyMode::kInbox});
    (void)talk.send("bad");
    ASSERT_TRUE(run_until_ended(talk));
    EXPECT_EQ(talk.phase(), Phase::kFailed);
    const CallPtr of_own = talk.receive(own.id), first = talk.receive(), second = talk.receive(),
                  none = talk.receive();
    ASSERT_TRUE(run_until_told(of_own) && run_until_told(none));
    EXPECT_EQ(said(of_own), "own");
    EXPECT_EQ(said(first), "1");
    EXPECT_EQ(said(second), "2");
    EXPECT_NE(said(none), "(waiting)");
    EXPECT_FALSE(none->outcome->has_value());
  }
}

TEST_P(Receive, C26_AnOutcomeIsToldOnceAndIsAReplyOrOneError) {
  offer("slow", slow(1s));
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  const auto sent = talk.send("x");
  const CallPtr first = talk.receive(sent.id);
  const CallPtr rival = talk.receive(sent.id);
  ASSERT_TRUE(run_until_told(first) && run_until_told(rival));
  EXPECT_EQ(said(first), "x");
  EXPECT_EQ(said(rival), "Rejected") << "somebody waits for it already";
  const CallPtr again = talk.receive(sent.id);
  ASSERT_TRUE(run_until_told(again));
  EXPECT_EQ(said(again), "NoReply") << "it was received";
  run_for(5s);
  EXPECT_EQ(first->told + rival->told + again->told, 3);
}

// --- 27 ---

TEST_P(Receive, C27_ACrashIsRecordedOnceWithAllThatIsKnown) {
  offer("slow", slow(30s));
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  (void)talk.send("x");
  (void)talk.send("y");
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  const Pid pid = *talk.participant("slow").pid;
  lose(talk, "slow");
  ASSERT_TRUE(run_until_ended(talk));
  const TimePoint seen = world().now();
  run_for(10s);
  const ConversationState state = talk.state();
  ASSERT_THAT(state.crashes, SizeIs(1));
  const CrashRecord& crash = state.crashes[0];
  EXPECT_EQ(crash.role, "slow");
  EXPECT_EQ(crash.pid, pid);
  EXPECT_EQ(crash.unanswered, 2U);
  EXPECT_EQ(crash.policy, CrashPolicy::kFail);
  EXPECT_LE(seen - crash.at, 5ms);
  EXPECT_EQ(talk.participant("slow").exited_at, crash.at);
  EXPECT_EQ(talk.participant("slow").reason, crash.reason);
  if (across()) {
    EXPECT_EQ(crash.reason.kind, ExitKind::kNoConnection);
    ASSERT_TRUE(crash.reason.evidence);
    EXPECT_EQ(crash.reason.evidence->source, EvidenceSource::kConnectionClosed);
  } else {
    EXPECT_EQ(crash.reason, ExitReason::killed());
  }
}

TEST_P(Receive, C27_ANotifierRegisteredLaterGetsTheRecordedInstantReplayed) {
  offer("slow", slow(30s));
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  (void)talk.send("x");
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  lose(talk, "slow");
  ASSERT_TRUE(run_until_ended(talk));
  run_for(10s);
  auto told = std::make_shared<std::vector<ParticipantExit>>();
  ASSERT_TRUE(talk.handle().on_exit(
      "slow", [told](const ParticipantExit& exit) { told->push_back(exit); }));
  run_for(1s);
  ASSERT_THAT(*told, SizeIs(1)) << "it fires, and not twice";
  const CrashRecord crash = talk.state().crashes.at(0);
  EXPECT_GE(told->at(0).at, crash.at);
  EXPECT_LE(*told->at(0).at - crash.at, 20ms) << "that instant, and what the way here takes";
  EXPECT_EQ(told->at(0).reason, crash.reason);
  EXPECT_EQ(told->at(0).pid, crash.pid);
  EXPECT_EQ(told->at(0).policy, CrashPolicy::kFail);
  EXPECT_TRUE(told->at(0).crash);
}

TEST_P(Receive, C27_EveryNotifierFiresExactlyOnce) {
  offer("slow", slow(30s));
  offer("idle", {}, {"p2"});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow", "idle"});
  auto told = std::make_shared<std::map<std::string, int>>();
  const auto count = [&](const std::string& name, const std::string& role) {
    ASSERT_TRUE(talk.handle().on_exit(role, [told, name](const auto&) { ++(*told)[name]; }));
  };
  count("before the first send", "slow");
  (void)talk.send("x", {.role = "slow"});
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  count("while it runs", "slow");
  count("of another role", "idle");
  ASSERT_TRUE(talk.handle().on_exit("slow", [told](const auto&) {
    ++(*told)["one that throws"];
    throw std::runtime_error{"a notifier's fault"};
  }));
  crash_actor(talk);
  exit(*talk.participant("slow").pid, ExitReason::error("hit"));
  crash_actor(talk);
  run_for(10s);
  crash_actor(talk);  // there is none any more, or another
  count("after the end", "slow");
  run_for(1s);
  EXPECT_EQ(*told, (std::map<std::string, int>{{"before the first send", 1},
                                               {"while it runs", 1},
                                               {"of another role", 1},
                                               {"one that throws", 1},
                                               {"after the end", 1}}));
  EXPECT_EQ(talk.handle().on_exit("nobody", [](const auto&) {}).error().code, Errc::kUsage);
}

class Death : public AcrossNodes {};
INSTANTIATE_TEST_SUITE_P(, Death, ::testing::Values(Where::kThreeNodes), name_of_where);

TEST_P(Death, C27_AllExitsOfOneNodesDeathAreRecordedBeforeThePolicyRuns) {
  offer("reserve", {.compensates = true}, {"p1", "p2"});
  offer("charge", {.compensates = true}, {"p1", "p2"});
  offer("ship", {.compensates = true}, {"p1", "p2"});
  start();
  for (const CrashPolicy policy :
       {CrashPolicy::kFail, CrashPolicy::kRouteToNext, CrashPolicy::kCompensate}) {
    SCOPED_TRACE(name_of(policy));
    ConversationConfig configured{policy, {}};
    for (const std::string role : {"reserve", "charge", "ship"}) {
      configured.participants.push_back(
          ParticipantConfig::owned(ServiceName{role}, placement_rule::ByNode{NodeName{"p1"}}));
    }
    configured.policy_timeout = 1s;
    Talk& talk = open(configured);
    ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "charge"})));
    kill_node("p1");
    ASSERT_TRUE(run_until([&] { return talk.state().crashes.size() == 3; }));
    const auto crashes = talk.state().crashes;
    for (const CrashRecord& crash : crashes) EXPECT_EQ(crash.at, crashes[0].at);
    ASSERT_TRUE(run_until([&] { return is_terminal(talk.phase()); }));
    EXPECT_THAT(talk.state().crashes, SizeIs(3));
    if (policy == CrashPolicy::kFail) {
      for (const std::string role : {"reserve", "charge", "ship"}) {
        EXPECT_THAT(talk.state().failure->detail, HasSubstr(role + " on p1"));
      }
    }
    const std::size_t rerouted = policy == CrashPolicy::kRouteToNext ? 3 : 0;
    EXPECT_THAT(talk.state().reroutes, SizeIs(rerouted));
    (void)talk.close();
    start_node("p1");
    run_for(2s);
  }
}

TEST_P(Death, C26_WithItsConversationsNodeACallIsLostWithAnUnknownOutcome) {
  offer("slow", {.process = [](const auto&, const auto&) { return never(); }, .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kRouteToNext, {"slow"});
  const CallPtr asked = talk.ask("x");
  const CallPtr inbox = talk.receive();
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  kill_node("c");
  ASSERT_TRUE(run_until_told(asked) && run_until_told(inbox));
  const CallPtr late = talk.ask("y");
  ASSERT_TRUE(run_until_told(late));
  for (const CallPtr& call : {asked, inbox, late}) {
    EXPECT_EQ(said(call), "ConversationFailed");
    EXPECT_EQ(call->told, 1);
  }
  EXPECT_THAT(asked->detail(), HasSubstr("unknown"));
  EXPECT_THAT(asked->detail(), HasSubstr("connection closed")) << "and how it was known";
  talk.drop();
}

// It dies by itself, and at that moment its node does, so that both would tell of it.
TEST_P(Death, C27_ADeathThatIsLearnedTwiceIsRecordedOnce) {
  offer("slow", {.process = [](const auto&, const auto&) { return never(); }, .waits = true});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow"});
  (void)talk.send("x");
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  exit(*talk.participant("slow").pid, ExitReason::error("hit"));
  run_for(10ms);
  kill_node("p1");
  run_for(10s);
  ASSERT_THAT(talk.state().crashes, SizeIs(1));
  EXPECT_EQ(talk.state().crashes[0].reason, ExitReason::error("hit"));
}

}  // namespace
}  // namespace liminal::conformance
