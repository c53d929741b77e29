// Contracts 34 and 35: Fail, and RouteToNext.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/conformance/stage.hpp"

namespace liminal::conformance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::vector<std::string> kEverywhere = {"p1", "p2", "p3"};

class Policies : public Stage {
 protected:
  /// "1 at attempt 2": what a service was given, in order.
  std::vector<std::string> given(const std::string& service) const {
    std::vector<std::string> told;
    for (const EffectsLedger::Entry& deed : ledger()) {
      if (deed.service.value() != service || deed.action != "process") continue;
      told.push_back(deed.text + " at attempt " + std::to_string(deed.attempt));
    }
    return told;
  }
  std::vector<std::string> nodes_of(const std::string& service) const {
    std::vector<std::string> told;
    for (const EffectsLedger::Entry& deed : ledger()) {
      if (deed.service.value() == service) told.push_back(deed.node.value());
    }
    return told;
  }
  bool run_until_begun(std::size_t requests) {
    return run_until([&] { return deeds().size() >= requests; });
  }
};
INSTANTIATE_TEST_SUITE_P(, Policies, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);

Service never_done() {
  return {.process = [](const auto&, const auto&) { return never(); }, .waits = true};
}

/// Does not answer at its first instance.
Service done_by_the_next() {
  return {.process =
              [](const Request& request, const auto&) {
                return request.attempt == 1 ? never() : reply(std::string{request.payload.view()});
              },
          .waits = true};
}

// --- 34 ---

TEST_P(Policies, C34_UnderFailEveryWaiterGetsParticipantCrashed) {
  offer("slow", never_done());
  offer("other", never_done(), {"p2"});
  start();
  Talk& talk = open(CrashPolicy::kFail, {"slow", "other"});
  std::vector<CallPtr> waiting{talk.ask("x", {.role = "slow"}), talk.ask("y", {.role = "slow"}),
                               talk.ask("z", {.role = "other"}), talk.receive(), talk.receive()};
  ASSERT_TRUE(run_until_begun(2));
  lose(talk, "slow");
  for (const CallPtr& call : waiting) {
    ASSERT_TRUE(run_until_told(call));
    EXPECT_EQ(said(call), "ParticipantCrashed");
    EXPECT_THAT(call->detail(), HasSubstr("slow on"));
  }
  EXPECT_EQ(talk.phase(), Phase::kFailed);
  EXPECT_THAT(talk.state().reroutes, IsEmpty());
}

// --- 35 ---

TEST_P(Policies, C35_TheNextCandidateGetsAllThatIsUnansweredInOrderMarkedWithItsAttempt) {
  offer("work", done_by_the_next(), {"p1", "p2"});
  start();
  Talk& talk = open(CrashPolicy::kRouteToNext, {"work"});
  const std::vector<CallPtr> asked{talk.ask("1"), talk.ask("2"), talk.ask("3")};
  ASSERT_TRUE(run_until_begun(1));
  const MessageId first = ledger()[0].message;
  lose(talk, "work");
  for (std::size_t i = 0; i < asked.size(); ++i) {
    ASSERT_TRUE(run_until_told(asked[i]));
    EXPECT_EQ(said(asked[i]), std::to_string(i + 1));
  }
  EXPECT_THAT(given("work"),
              ElementsAre("1 at attempt 1", "1 at attempt 2", "2 at attempt 2", "3 at attempt 2"));
  EXPECT_EQ(ledger()[1].message, first) << "the idempotence key stays";
  EXPECT_EQ(talk.phase(), Phase::kActive);
  EXPECT_THAT(talk.state().crashes, SizeIs(1));
  ASSERT_THAT(talk.state().reroutes, SizeIs(1));
  const RerouteRecord reroute = talk.state().reroutes[0];
  EXPECT_EQ(reroute.from, talk.state().crashes[0].pid);
  EXPECT_EQ(reroute.to, talk.participant("work").pid);
  EXPECT_EQ(reroute.resent, 3U);
}

TEST_P(Policies, C35_WhatAStreamDeliveredIsNotDeliveredAgain) {
  offer("work",
        {.process =
             [](const Request& request, const auto&) {
               const std::string text{request.payload.view()};
               return text == "3" && request.attempt == 1 ? never() : reply(text);
             },
         .waits = true},
        {"p1", "p2"});
  start();
  ConversationConfig configured = config(CrashPolicy::kRouteToNext, {"work"});
  configured.mode = ConversationMode::kStream;
  Talk& talk = open(configured);
  for (const char* text : {"1", "2", "3", "4"}) (void)talk.send(text);
  const CallPtr first = talk.receive();
  ASSERT_TRUE(run_until_told(first) && run_until_begun(3));
  lose(talk, "work");
  std::vector<std::string> received{said(first)};
  for (int i = 0; i < 3; ++i) {
    const CallPtr next = talk.receive();
    ASSERT_TRUE(run_until_told(next));
    received.push_back(said(next));
  }
  const CallPtr none = talk.receive();
  run_for(10s);
  EXPECT_THAT(received, ElementsAre("1", "2", "3", "4"));
  EXPECT_EQ(said(none), "(waiting)");
  EXPECT_THAT(given("work"), ElementsAre("1 at attempt 1", "2 at attempt 1", "3 at attempt 1",
                                         "3 at attempt 2", "4 at attempt 2"));
}

TEST_P(Policies, C35_AnIdleParticipantThatDiesIsReplacedToo) {
  offer("echo", {}, {"p1", "p2"});
  start();
  Talk& talk = open(CrashPolicy::kRouteToNext, {"echo"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  lose(talk, "echo");
  ASSERT_TRUE(run_until([&] { return talk.participant("echo").incumbent == 2; }));
  const CallPtr asked = talk.ask("y");
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "y");
}

TEST_P(Policies, C35_AnAttachedPidHasTheAlternatesThatWereNamed) {
  offer("work", done_by_the_next(), kEverywhere);
  start();
  const Pid first = attach("work", "p1"), second = attach("work", "p2");
  Talk& talk =
      open({CrashPolicy::kRouteToNext, {ParticipantConfig::attached("helper", first, {second})}});
  const CallPtr asked = talk.ask("x");
  ASSERT_TRUE(run_until_begun(1));
  lose(talk, "helper");
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "x");
  EXPECT_EQ(talk.participant("helper").pid, second);
  lose(talk, "helper");
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.state().failure->detail, HasSubstr("no alternate of role 'helper' is left"));
}

TEST_P(Policies, C35_MaxReroutesBoundsTheConversation) {
  offer("work", never_done(), kEverywhere);
  start();
  for (const std::size_t budget : {std::size_t{1}, std::size_t{3}}) {
    SCOPED_TRACE(budget);
    ConversationConfig configured = config(CrashPolicy::kRouteToNext, {"work"});
    configured.max_reroutes = budget;
    configured.max_attempts = 1000;
    Talk& talk = open(configured);
    const CallPtr asked = talk.ask("x");
    for (std::size_t i = 0; i <= budget; ++i) {
      ASSERT_TRUE(run_until([&] { return talk.participant("work").incumbent == i + 1; }));
      EXPECT_EQ(said(asked), "(waiting)");
      exit(*talk.participant("work").pid, ExitReason::error("hit"));
      run_for(50ms);
    }
    EXPECT_EQ(said(asked), "ParticipantCrashed");
    EXPECT_THAT(asked->detail(), HasSubstr("max_reroutes"));
    EXPECT_THAT(talk.state().reroutes, SizeIs(budget));
    EXPECT_THAT(talk.state().crashes, SizeIs(budget + 1));
  }
}

TEST_P(Policies, C35_ARequestThatKillsWhoeverTakesItEndsItsConversationAndNoOther) {
  offer("work",
        {.process =
             [](const Request& request, const auto&) {
               const std::string text{request.payload.view()};
               return text == "poison" ? throwing("poisoned") : reply(text);
             }},
        kEverywhere);
  start();
  Talk& bystander = open(CrashPolicy::kRouteToNext, {"work"});
  ASSERT_TRUE(run_until_told(bystander.ask("before")));
  for (const std::uint32_t budget : {1U, 3U}) {
    SCOPED_TRACE(budget);
    const auto before = given("work").size();
    ConversationConfig configured = config(CrashPolicy::kRouteToNext, {"work"});
    configured.max_attempts = budget;
    Talk& talk = open(configured);
    const CallPtr asked = talk.ask("poison");
    ASSERT_TRUE(run_until_told(asked));
    EXPECT_EQ(said(asked), "ParticipantCrashed");
    EXPECT_THAT(asked->detail(), HasSubstr("max_attempts"));
    EXPECT_EQ(given("work").size() - before, budget);
    EXPECT_THAT(talk.state().crashes, SizeIs(budget));
  }
  const CallPtr after = bystander.ask("after");
  ASSERT_TRUE(run_until_told(after));
  EXPECT_EQ(said(after), "after");
  EXPECT_THAT(bystander.state().crashes, IsEmpty());
}

class Candidates : public Policies {};
INSTANTIATE_TEST_SUITE_P(, Candidates, ::testing::Values(Where::kThreeNodes), name_of_where);

TEST_P(Candidates, C35_ALivingNodeThatWasTriedComesAgainAfterAllOthers) {
  offer("work", never_done(), kEverywhere);
  start();
  ConversationConfig configured = config(CrashPolicy::kRouteToNext, {"work"});
  configured.max_attempts = 1000;
  configured.max_reroutes = 5;
  Talk& talk = open(configured);
  (void)talk.ask("x");
  for (std::size_t i = 1; i <= 6; ++i) {
    ASSERT_TRUE(run_until_begun(i));
    exit(*talk.participant("work").pid, ExitReason::error("hit"));
  }
  ASSERT_TRUE(run_until_ended(talk));
  const auto nodes = nodes_of("work");
  ASSERT_THAT(nodes, SizeIs(6));
  EXPECT_EQ(std::set<std::string>(nodes.begin(), nodes.begin() + 3).size(), 3U);
  EXPECT_TRUE(std::equal(nodes.begin(), nodes.begin() + 3, nodes.begin() + 3))
      << "the one tried longest ago comes first";
}

TEST_P(Candidates, C35_NobodySuspectAndNobodyDownIsChosen) {
  offer("work", done_by_the_next(), kEverywhere);
  start();
  for (int round = 0; round < 5; ++round) {
    ConversationConfig configured{CrashPolicy::kRouteToNext, {}};
    configured.participants.push_back(
        ParticipantConfig::owned(ServiceName{"work"}, placement_rule::LeastLoaded{}));
    Talk& talk = open(configured);
    const CallPtr asked = talk.ask("x");
    ASSERT_TRUE(run_until([&] { return talk.participant("work").pid.has_value(); }));
    const std::string holder = talk.participant("work").pid->node.value();
    const std::string suspect = holder == "p1" ? "p2" : "p1";
    const std::string left = holder != "p3" && suspect != "p3" ? "p3" : "p2";
    pause_node(suspect);
    run_for(1800ms);
    exit(*talk.participant("work").pid, ExitReason::error("hit"));
    kill_node(holder);
    ASSERT_TRUE(run_until_told(asked));
    EXPECT_EQ(said(asked), "x");
    EXPECT_EQ(talk.participant("work").pid->node.value(), left)
        << "neither " << suspect << " nor " << holder;
    resume_node(suspect);
    start_node(holder);
    run_for(3s);
  }
}

TEST_P(Candidates, C35_WithNoCandidateLeftItFailsAndTheReasonSaysSo) {
  offer("work", never_done(), {"p1"});
  start();
  Talk& talk = open(CrashPolicy::kRouteToNext, {"work"});
  const CallPtr asked = talk.ask("x");
  ASSERT_TRUE(run_until_begun(1));
  lose(talk, "work");
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "ParticipantCrashed");
  EXPECT_THAT(asked->detail(), HasSubstr("no candidate is left"));
  EXPECT_EQ(talk.phase(), Phase::kFailed);
}

TEST_P(Candidates, C35_TwoNodesDieAndOneAnswerComes) {
  offer("work",
        {.process = [](const Request& request,
                       const auto&) { return request.attempt < 3 ? never() : reply("done"); },
         .waits = true},
        kEverywhere);
  start();
  Talk& talk = open(CrashPolicy::kRouteToNext, {"work"});
  const CallPtr asked = talk.ask("x");
  for (std::size_t i = 1; i <= 2; ++i) {
    ASSERT_TRUE(run_until_begun(i));
    lose(talk, "work");
  }
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "done");
  EXPECT_EQ(asked->told, 1);
  EXPECT_THAT(talk.state().crashes, SizeIs(2));
  EXPECT_THAT(talk.state().reroutes, SizeIs(2));
  const auto nodes = nodes_of("work");
  EXPECT_EQ(std::set<std::string>(nodes.begin(), nodes.end()).size(), 3U);
}

}  // namespace
}  // namespace liminal::conformance
