// Goal: a conversation with several participants starts all of them, sends nothing before they are
// there, gives each role its own requests, and says what is wrong with a configuration and where.
#include "tests/unit/node/conversation/core_driver.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using Phase = ConversationPhase;
using Health = ParticipantHealth;

const Pid kReserveOnA{NodeName{"a"}, Incarnation{1}, Serial{11}};
const Pid kChargeOnB{NodeName{"b"}, Incarnation{2}, Serial{22}};
const Pid kHelper{NodeName{"h"}, Incarnation{8}, Serial{88}};

ParticipantConfig owned(const char* service) {
  return ParticipantConfig::owned(ServiceName{service});
}

class SeveralRolesTest : public CoreDriver {
 protected:
  SeveralRolesTest() : CoreDriver{{CrashPolicy::kFail, {owned("reserve"), owned("charge")}}} {}

  void assemble() {
    send(1, ReplyMode::kCorrelated, "reserve");
    ready(kReserveOnA, 0);
    ready(kChargeOnB, 1);
  }
};

TEST_F(SeveralRolesTest, TheFirstSendStartsAllRoles) {
  send(1, ReplyMode::kCorrelated, "charge");
  EXPECT_EQ(all<effect::Place>().size(), 2U);
  send(2, ReplyMode::kCorrelated, "reserve");
  EXPECT_TRUE(all<effect::Place>().empty());
}

TEST_F(SeveralRolesTest, NothingIsSentBeforeAllAreThereThenAllInTheOrderOfTheSends) {
  send(1, ReplyMode::kCorrelated, "charge");
  send(2, ReplyMode::kCorrelated, "reserve");
  send(3, ReplyMode::kCorrelated, "charge");
  ready(kChargeOnB, 1);
  EXPECT_TRUE(all<effect::Forward>().empty());
  ready(kReserveOnA, 0);
  const auto sent = all<effect::Forward>();
  ASSERT_EQ(sent.size(), 3U);
  EXPECT_EQ(sent[0].request.id, message(1));
  EXPECT_EQ(sent[0].to, kChargeOnB);
  EXPECT_EQ(sent[1].to, kReserveOnA);
  EXPECT_EQ(sent[2].request.id, message(3));
}

TEST_F(SeveralRolesTest, ARoleThatNobodyCanTakeFailsBeforeAnythingWasSent) {
  send(1, ReplyMode::kCorrelated, "reserve");
  ready(kReserveOnA, 0);
  when(input::ParticipantUnavailable{1, {Errc::kNoService, "no node offers service 'charge'"}});
  EXPECT_EQ(failure(), "NoService: no node offers service 'charge'");
  EXPECT_TRUE(all<effect::Forward>().empty());
  EXPECT_EQ(all<effect::End>().at(0).pid, kReserveOnA);
}

TEST_F(SeveralRolesTest, ARequestNamesOneOfTheRoles) {
  for (const char* role : {"", "ship"}) {
    when(input::SendRequested{message(1), {}, {.role = role}, WaiterId{5}, std::nullopt});
    EXPECT_EQ(told(5).substr(0, 6), "Usage:") << told(5);
    EXPECT_NE(told(5).find("reserve, charge"), std::string::npos) << told(5);
  }
  EXPECT_EQ(state.phase, Phase::kCreated) << "what was not taken starts nothing";
}

TEST_F(SeveralRolesTest, AnAnswerCountsOnlyFromTheRoleThatWasAsked) {
  assemble();
  answer(1, kChargeOnB);
  EXPECT_EQ(state.counters.answers_dropped, 1U);
  receive(7, 1);
  answer(1, kReserveOnA);
  EXPECT_EQ(told(7), "reply r1");
}

TEST_F(SeveralRolesTest, TheCrashOfOneEndsTheOthers) {
  assemble();
  receive(7, 1);
  exit(kChargeOnB);
  EXPECT_EQ(told(7), "ParticipantCrashed: charge on b: exit status 3");
  EXPECT_EQ(all<effect::End>().at(0).pid, kReserveOnA);
  EXPECT_EQ(state.phase, Phase::kFailed);
}

TEST_F(SeveralRolesTest, AllExitsOfOneNodesDeathAreRecordedBeforeThePolicyRuns) {
  assemble();
  when(input::ParticipantsExited{{{kReserveOnA, ExitReason::noconnection(std::nullopt)},
                                  {kChargeOnB, ExitReason::noconnection(std::nullopt)}}});
  EXPECT_EQ(state.crashes.size(), 2U);
  EXPECT_TRUE(all<effect::End>().empty()) << "nobody is left to be ended";
  EXPECT_TRUE(state.finished);
}

TEST_F(SeveralRolesTest, OneThatLeavesLeavesTheOthersAtWork) {
  assemble();
  answer(1, kReserveOnA);
  exit(kReserveOnA, ExitReason::normal());
  EXPECT_EQ(state.phase, Phase::kActive);
  when(input::SendRequested{message(2), {}, {.role = "reserve"}, WaiterId{5}, std::nullopt});
  EXPECT_EQ(told(5), "ParticipantLeft: reserve on a has left");
  when(input::ReceiveRequested{WaiterId{6}, std::nullopt});
  EXPECT_EQ(told(6), "") << "charge may still reply";
  exit(kChargeOnB, ExitReason::normal());
  EXPECT_EQ(told(6).substr(0, 15), "ParticipantLeft");
}

TEST_F(SeveralRolesTest, SendsAndAnswersAreNotedWithinABoundAndTheRestIsCounted) {
  assemble();
  answer(1, kReserveOnA);
  for (std::uint64_t n = 2; n <= 600; ++n) {
    send(n, ReplyMode::kNone, "charge");
    EXPECT_EQ(notes.size(), n <= 500 ? 1U : 0U) << n;
    answer(n, kChargeOnB, EnvelopeKind::kDone);
  }
  EXPECT_EQ(state.counters.not_noted, 200U);
  exit(kChargeOnB);
  ASSERT_FALSE(notes.empty());
  EXPECT_EQ(noted().front(), "crashed") << "what is no routine is always noted";
  EXPECT_NE(notes[1].text.find("200 sends and answers were not noted"), std::string::npos)
      << notes[1].text;
}

// --- modes ---

TEST(ConversationMode, DecidesWhereRepliesGoUnlessASendSays) {
  struct Case {
    ConversationMode mode;
    std::optional<ReplyMode> own;
    ReplyMode expected;
  };
  for (const Case& c :
       {Case{ConversationMode::kAsk, {}, ReplyMode::kCorrelated},
        Case{ConversationMode::kStream, {}, ReplyMode::kInbox},
        Case{ConversationMode::kDispatch, {}, ReplyMode::kNone},
        Case{ConversationMode::kDispatch, ReplyMode::kCorrelated, ReplyMode::kCorrelated}}) {
    ConversationConfig config{CrashPolicy::kFail, {owned("reserve")}};
    config.mode = c.mode;
    ConversationContext state{kId, std::make_shared<const ConversationConfig>(config)};
    const Step result = step(
        state, input::SendRequested{message(1), {}, {.reply = c.own}, std::nullopt, std::nullopt},
        kNow);
    EXPECT_EQ(result.next.requests.at(message(1)).mode, c.expected);
  }
}

// --- configurations ---

std::string refused(const ConversationConfig& config) {
  const auto valid = validate(config);
  if (valid) return "";
  EXPECT_EQ(valid.error().code, Errc::kUsage);
  return valid.error().detail;
}

TEST(ConversationConfig, SaysWhatIsWrongAndWhere) {
  const auto attached = [](std::vector<Pid> alternates) {
    return ParticipantConfig::attached("helper", kHelper, std::move(alternates));
  };
  EXPECT_EQ(refused({CrashPolicy::kFail, {owned("a"), attached({})}}), "");
  EXPECT_EQ(refused({CrashPolicy::kFail, {}}), "a conversation needs a participant");
  EXPECT_EQ(refused({CrashPolicy::kFail, {owned("a"), owned("a")}}), "role 'a' is named twice");
  EXPECT_EQ(refused({CrashPolicy::kFail, {owned("a b")}}), "'a b' cannot name a role");
  EXPECT_EQ(refused({CrashPolicy::kFail, {ParticipantConfig::owned("x", ServiceName{"a b"})}}),
            "role 'x': 'a b' cannot name a service");
  const Pid node{NodeName{"h"}, Incarnation{8}, Serial{0}};
  EXPECT_EQ(refused({CrashPolicy::kFail, {ParticipantConfig::attached("helper", node)}}),
            "role 'helper': a node is no participant: " + to_string(node));
  EXPECT_EQ(refused({CrashPolicy::kFail, {attached({kHelper})}}),
            "role 'helper': " + to_string(kHelper) + " is named twice");
  EXPECT_EQ(
      refused({CrashPolicy::kFail, {attached({}), ParticipantConfig::attached("other", kHelper)}}),
      to_string(kHelper) + " has two roles, the second is 'other'");
  EXPECT_EQ(refused({CrashPolicy::kFail,
                     {ParticipantConfig::owned(ServiceName{"a"},
                                               placement_rule::ByLabel{"no key", "x"})}}),
            "role 'a': 'no key' cannot name a label");
}

TEST(ConversationConfig, EveryBudgetAndTimeoutIsPositive) {
  const auto with = [](auto set) {
    ConversationConfig config{CrashPolicy::kFail, {owned("a")}};
    set(config);
    return refused(config);
  };
  using C = ConversationConfig;
  const auto wrong = [](const char* name) {
    return "a conversation's " + std::string{name} + " must be positive";
  };
  EXPECT_EQ(with([](C& c) { c.timeout = 0s; }), wrong("timeout"));
  EXPECT_EQ(with([](C& c) { c.policy_timeout = 0s; }), wrong("policy_timeout"));
  EXPECT_EQ(with([](C& c) { c.max_reroutes = 0; }), wrong("max_reroutes"));
  EXPECT_EQ(with([](C& c) { c.max_attempts = 0; }), wrong("max_attempts"));
  EXPECT_EQ(with([](C& c) { c.settle_timeout = 0s; }), wrong("settle_timeout"));
  EXPECT_EQ(with([](C& c) { c.compensation_timeout = 0s; }), wrong("compensation_timeout"));
  EXPECT_EQ(with([](C& c) { c.compensation_attempts = 0; }), wrong("compensation_attempts"));
  EXPECT_EQ(with([](C& c) { c.steps_max = 0; }), wrong("steps_max"));
  EXPECT_EQ(with([](C& c) { c.requests_max = 0; }), wrong("requests_max"));
  EXPECT_EQ(with([](C& c) { c.exit_notifiers_max = 0; }), wrong("exit_notifiers_max"));
  EXPECT_EQ(with([](C& c) { c.actor_restart_period = 0s; }), wrong("actor_restart_period"));
  EXPECT_EQ(with([](C& c) { c.actor_restarts_max = 0; }), "") << "no restart at all is a choice";
}

}  // namespace
}  // namespace liminal
