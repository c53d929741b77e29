// Goal: RouteToNext (contract 35): the next candidate gets every unanswered request in order, as
// another attempt, within the budgets; nothing that was answered goes again.
#include "tests/unit/node/conversation/core_driver.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using Phase = ConversationPhase;
using Health = ParticipantHealth;

Pid on(const char* node, std::uint64_t serial = 1) {
  return {NodeName{node}, Incarnation{7}, Serial{serial}};
}

ConversationConfig config(std::size_t max_reroutes = 8, std::uint32_t max_attempts = 3) {
  ConversationConfig made{CrashPolicy::kRouteToNext,
                          {ParticipantConfig::owned(ServiceName{"upper"})}};
  made.max_reroutes = max_reroutes;
  made.max_attempts = max_attempts;
  return made;
}

class RerouteTest : public CoreDriver {
 protected:
  explicit RerouteTest(ConversationConfig made = config()) : CoreDriver{std::move(made)} {}

  void activate() {
    send(1);
    ready(on("a"));
  }
  std::vector<std::pair<std::uint64_t, std::uint32_t>> forwarded() const {
    std::vector<std::pair<std::uint64_t, std::uint32_t>> sent;
    for (const auto& forward : all<effect::Forward>()) {
      sent.emplace_back(forward.request.id.low, forward.request.attempt);
    }
    return sent;
  }
  using Sent = std::vector<std::pair<std::uint64_t, std::uint32_t>>;
};

TEST_F(RerouteTest, EveryUnansweredRequestGoesToTheNextInOrderAsAnotherAttempt) {
  activate();
  send(2);
  send(3);
  answer(1, on("a"));
  receive(7, 2);
  exit(on("a"));
  EXPECT_EQ(told(7), "") << "nobody is woken: somebody else answers";
  ASSERT_EQ(all<effect::Place>().size(), 1U);
  EXPECT_EQ(all<effect::Place>()[0].tried, std::vector<Pid>{on("a")});
  send(4);
  EXPECT_TRUE(forwarded().empty());
  ready(on("b"));
  EXPECT_EQ(forwarded(), (Sent{{2, 2}, {3, 2}, {4, 1}}));
  answer(2, on("b"));
  EXPECT_EQ(told(7), "reply r2");
  EXPECT_EQ(state.counters.resent, 2U);
}

TEST_F(RerouteTest, TheRecordSaysFromWhomToWhom) {
  activate();
  exit(on("a"));
  ASSERT_EQ(state.reroutes.size(), 1U);
  EXPECT_EQ(state.reroutes[0].to, std::nullopt);
  ready(on("b"));
  EXPECT_EQ(state.reroutes[0], (RerouteRecord{"upper", on("a"), on("b"), 1, kNow}));
  ASSERT_EQ(state.crashes.size(), 1U);
  EXPECT_EQ(state.crashes[0].pid, on("a"));
  const ParticipantStatus& status = state.participants[0].status;
  EXPECT_EQ(status.pid, on("b"));
  EXPECT_EQ(status.exited, on("a"));
  EXPECT_EQ(status.incumbent, 2U);
  EXPECT_EQ(status.health, Health::kAlive);
}

TEST_F(RerouteTest, ALateAnswerOfThePredecessorIsDropped) {
  activate();
  receive(7, 1);
  exit(on("a"));
  answer(1, on("a"));
  EXPECT_EQ(told(7), "");
  ready(on("b"));
  answer(1, on("a"));
  EXPECT_EQ(told(7), "");
  answer(1, on("b"));
  EXPECT_EQ(told(7), "reply r1");
  answer(1, on("b"));
  EXPECT_EQ(told(7), "") << "at most one reply";
}

TEST_F(RerouteTest, WhatWasOnlyDeferredWasNoAttempt) {
  activate();
  send(2);
  when(input::Refused{on("a"), message(2), signal::RefusalKind::kDeferred, {}});
  exit(on("a"));
  ready(on("b"));
  EXPECT_EQ(forwarded(), (Sent{{1, 2}, {2, 1}}));
  EXPECT_EQ(state.counters.held_up, 0U);
}

TEST_F(RerouteTest, AnIdleOnesCrashIsReroutedToo) {
  activate();
  answer(1, on("a"));
  exit(on("a"));
  EXPECT_EQ(state.phase, Phase::kActive);
  ready(on("b"));
  EXPECT_TRUE(forwarded().empty());
  send(2);
  EXPECT_EQ(forwarded(), (Sent{{2, 1}}));
}

TEST_F(RerouteTest, OneThatLeftIsNotReplaced) {
  activate();
  answer(1, on("a"));
  exit(on("a"), ExitReason::normal());
  EXPECT_TRUE(all<effect::Place>().empty());
  EXPECT_TRUE(state.crashes.empty());
}

TEST_F(RerouteTest, ANormalExitThatOwesAnAnswerIsACrash) {
  activate();
  exit(on("a"), ExitReason::normal());
  EXPECT_EQ(all<effect::Place>().size(), 1U);
}

TEST_F(RerouteTest, WithoutACandidateItFailsAndSaysSo) {
  activate();
  receive(7, 1);
  exit(on("a"));
  when(input::ParticipantUnavailable{0, {Errc::kNoService, "no node offers service 'upper'"}});
  EXPECT_EQ(told(7),
            "ParticipantCrashed: upper on a: exit status 3; no candidate is left: no node offers "
            "service 'upper'");
  EXPECT_EQ(state.phase, Phase::kFailed);
}

class BudgetTest : public RerouteTest {
 protected:
  BudgetTest() : RerouteTest{config(8, 2)} {}
};

TEST_F(BudgetTest, ARequestThatKillsWhoeverTakesItEndsItsConversation) {
  activate();
  receive(7, 1);
  exit(on("a"));
  ready(on("b"));
  EXPECT_EQ(forwarded(), (Sent{{1, 2}}));
  exit(on("b"));
  EXPECT_EQ(told(7), "ParticipantCrashed: upper on b: exit status 3; request " +
                         to_string(message(1)) +
                         " was given to 2 participants, and none answered it (max_attempts)");
  EXPECT_TRUE(all<effect::Place>().empty());
  EXPECT_EQ(state.crashes.size(), 2U);
}

TEST_F(BudgetTest, AttemptsAreCountedForEachRequest) {
  activate();
  exit(on("a"));
  ready(on("b"));
  answer(1, on("b"));
  send(2);
  exit(on("b"));
  ready(on("c"));
  EXPECT_EQ(forwarded(), (Sent{{2, 2}})) << "another request has attempts of its own";
}

class FewReroutesTest : public RerouteTest {
 protected:
  FewReroutesTest() : RerouteTest{config(2, 100)} {}
};

TEST_F(FewReroutesTest, TheConversationsBudgetEndsIt) {
  activate();
  exit(on("a"));
  ready(on("b"));
  exit(on("b"));
  ready(on("c"));
  exit(on("c"));
  EXPECT_EQ(failure(),
            "ParticipantCrashed: upper on c: exit status 3; the conversation was rerouted 2 times "
            "(max_reroutes)");
}

class AlternatesTest : public CoreDriver {
 protected:
  AlternatesTest()
      : CoreDriver{{CrashPolicy::kRouteToNext,
                    {ParticipantConfig::attached("helper", on("a"), {on("b"), on("c")})}}} {}
};

TEST_F(AlternatesTest, AnAttachedPidHasTheAlternatesThatWereNamedInOrder) {
  send(1);
  exit(on("a"), ExitReason::noproc());
  ASSERT_EQ(effects.size(), 2U);
  EXPECT_EQ(std::get<effect::Link>(effects[0]).pid, on("b")) << "linked before it is asked";
  EXPECT_EQ(std::get<effect::Forward>(effects[1]).to, on("b"));
  exit(on("b"));
  EXPECT_EQ(all<effect::Forward>().at(0).to, on("c"));
  exit(on("c"));
  EXPECT_EQ(failure(), "ParticipantCrashed: helper on c: exit status 3; request " +
                           to_string(message(1)) +
                           " was given to 3 participants, and none answered it (max_attempts)");
}

TEST_F(AlternatesTest, WithNoneLeftItFails) {
  send(1);
  answer(1, on("a"));
  exit(on("a"));
  exit(on("b"));
  exit(on("c"));
  EXPECT_EQ(
      failure(),
      "ParticipantCrashed: helper on c: exit status 3; no alternate of role 'helper' is left");
}

TEST_F(RerouteTest, AnExpiredRequestEndsItsWaitAndNothingElse) {
  when(input::SendRequested{message(1), {}, {.deadline = 3s}, std::nullopt, WaiterId{7}});
  const auto timers = all<effect::StartTimer>();
  ASSERT_EQ(timers.size(), 1U);
  EXPECT_EQ(timers[0].after, 3s);
  ready(on("a"));
  now = kNow + 3s - 1ns;
  when(input::TimerFired{ConversationTimer::kRequestDeadline, timers[0].number});
  EXPECT_EQ(told(7), "");
  now = kNow + 3s;
  when(input::TimerFired{ConversationTimer::kRequestDeadline, timers[0].number + 1});
  EXPECT_EQ(told(7).substr(0, 20), "ConversationTimeout:") << told(7);
  EXPECT_EQ(state.phase, Phase::kActive);
  answer(1, on("a"), EnvelopeKind::kExpired);
  EXPECT_TRUE(effects.empty()) << "what is settled is not news";
  answer(1, on("a"));
  EXPECT_EQ(all<effect::GiveUp>().at(0).cause, DeadLetterCause::kLateReply);
}

}  // namespace
}  // namespace liminal
