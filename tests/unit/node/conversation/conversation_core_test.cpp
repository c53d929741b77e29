// Goal: the state machine of a conversation keeps contracts 23 to 27, 29, 30 and 34, input by
// input, and in any order of inputs.
#include "node/conversation/conversation_core.hpp"

#include <gtest/gtest.h>

#include <string>
#include <type_traits>
#include <vector>

#include "tests/unit/node/conversation/core_driver.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using Phase = ConversationPhase;
using Health = ParticipantHealth;

static_assert(!std::is_default_constructible_v<ConversationConfig>);
static_assert(!std::is_constructible_v<ConversationConfig, std::vector<ParticipantConfig>>,
              "a crash policy has no default");

const ServiceName kUpper{"upper"};
const Pid kUpperOnB{NodeName{"node-b"}, Incarnation{7}, Serial{3}};
const Pid kStranger{NodeName{"node-c"}, Incarnation{9}, Serial{4}};

ConversationConfig owned_config() {
  return {CrashPolicy::kFail, {ParticipantConfig::owned(kUpper)}};
}
ConversationConfig attached_config() {
  return {CrashPolicy::kFail, {ParticipantConfig::attached("helper", kUpperOnB)}};
}

class ConversationCoreTest : public CoreDriver {
 protected:
  explicit ConversationCoreTest(ConversationConfig config = owned_config())
      : CoreDriver{std::move(config)} {}

  void activate() {
    send(1);
    ready(kUpperOnB);
  }
  void answer(std::uint64_t n, EnvelopeKind kind = EnvelopeKind::kReply, Pid from = kUpperOnB) {
    CoreDriver::answer(n, std::move(from), kind);
  }
  void crash(ExitReason reason = ExitReason::error("exit status 3")) {
    exit(kUpperOnB, std::move(reason));
  }
};

TEST_F(ConversationCoreTest, NothingIsStartedBeforeTheFirstSend) {
  EXPECT_EQ(state.phase, Phase::kCreated);
  receive(1);
  EXPECT_TRUE(effects.empty());
  send(1);
  EXPECT_EQ(state.phase, Phase::kActive);
  EXPECT_EQ(all<effect::Place>().size(), 1U);
  EXPECT_TRUE(all<effect::Forward>().empty());
  send(2);
  EXPECT_TRUE(effects.empty()) << "one search, and nothing to forward to yet";
}

TEST_F(ConversationCoreTest, RequestsReachTheParticipantInOrderOnceItIsLinked) {
  send(2);
  send(1);
  when(input::ParticipantReady{0, kUpperOnB});
  const auto forwarded = all<effect::Forward>();
  ASSERT_EQ(forwarded.size(), 2U);
  EXPECT_EQ(forwarded[0].request.id, message(2));
  EXPECT_EQ(forwarded[1].request.id, message(1));
  EXPECT_EQ(forwarded[0].to, kUpperOnB);
  EXPECT_TRUE(forwarded[0].request.wants_reply);
  send(3, ReplyMode::kNone);
  ASSERT_EQ(all<effect::Forward>().size(), 1U);
  EXPECT_FALSE(all<effect::Forward>()[0].request.wants_reply);
}

TEST_F(ConversationCoreTest, ADeadlineCountsFromTheSend) {
  when(input::SendRequested{message(1), {}, {.deadline = 3s}, std::nullopt, std::nullopt});
  when(input::ParticipantReady{0, kUpperOnB});
  EXPECT_EQ(all<effect::Forward>().at(0).request.deadline, kNow + 3s);
}

TEST_F(ConversationCoreTest, ACorrelatedReplyReachesItsOwnWaiterOnly) {
  activate();
  send(2);
  receive(11, 1);
  receive(12, 2);
  receive(13);
  answer(2);
  EXPECT_EQ(told(12), "reply r2");
  EXPECT_EQ(all<effect::Complete>().size(), 1U);
  answer(1);
  EXPECT_EQ(told(11), "reply r1");
  EXPECT_EQ(all<effect::Complete>().size(), 1U);
  EXPECT_TRUE(state.requests.empty());
}

TEST_F(ConversationCoreTest, TheInboxHandsOutInOrderOfArrival) {
  send(1, ReplyMode::kInbox);
  when(input::ParticipantReady{0, kUpperOnB});
  send(2, ReplyMode::kInbox);
  answer(2);
  answer(1);
  receive(11);
  EXPECT_EQ(told(11), "reply r2");
  receive(12);
  EXPECT_EQ(told(12), "reply r1");
  receive(13);
  EXPECT_EQ(told(13), "");
}

TEST_F(ConversationCoreTest, DoneWithoutReplyIsNoReply) {
  activate();
  receive(11, 1);
  answer(1, EnvelopeKind::kDone);
  EXPECT_EQ(told(11).rfind("NoReply: ", 0), 0U) << told(11);
}

TEST_F(ConversationCoreTest, ExpiredIsATimeout) {
  activate();
  receive(11, 1);
  answer(1, EnvelopeKind::kExpired);
  EXPECT_EQ(told(11).rfind("ConversationTimeout: ", 0), 0U) << told(11);
}

TEST_F(ConversationCoreTest, AnswersThatNobodyOwesAreDroppedAndCounted) {
  activate();
  receive(11, 1);
  answer(1, EnvelopeKind::kReply, kStranger);
  Envelope other = envelope(1, EnvelopeKind::kReply);
  other.conversation = ConversationId{8, 8};
  when(input::Answered{kUpperOnB, other});
  Envelope orphan = envelope(1, EnvelopeKind::kReply);
  orphan.parent.reset();
  when(input::Answered{kUpperOnB, orphan});
  answer(99);
  answer(1, EnvelopeKind::kRequest);
  EXPECT_EQ(state.counters.answers_dropped, 5U);
  EXPECT_EQ(state.counters.completed, 0U);
  answer(1);
  EXPECT_EQ(told(11), "reply r1");
  answer(1);
  EXPECT_TRUE(all<effect::Complete>().empty());
  EXPECT_EQ(state.counters.answers_dropped, 6U);
  EXPECT_EQ(state.counters.completed, 1U);
}

TEST_F(ConversationCoreTest, ASecondAnswerDoesNotReplaceABufferedOne) {
  activate();
  answer(1);
  Envelope second = envelope(1, EnvelopeKind::kReply);
  second.payload = Payload{"other"};
  when(input::Answered{kUpperOnB, second});
  receive(11, 1);
  EXPECT_EQ(told(11), "reply r1");
}

// --- crash ---

TEST_F(ConversationCoreTest, ACrashWakesEveryWaiterAndFails) {
  activate();
  send(2, ReplyMode::kInbox);
  receive(11, 1);
  receive(12);
  crash();
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(told(11), "ParticipantCrashed: upper on node-b: exit status 3");
  EXPECT_EQ(told(12), "ParticipantCrashed: upper on node-b: exit status 3");
  ASSERT_EQ(state.crashes.size(), 1U);
  EXPECT_EQ(state.crashes[0].at, kNow);
  EXPECT_EQ(state.crashes[0].policy, CrashPolicy::kFail);
  EXPECT_EQ(state.crashes[0].unanswered, 2U);
  EXPECT_EQ(all<effect::Finish>().size(), 1U);
}

TEST_F(ConversationCoreTest, ACrashIsRecordedOnceHoweverOftenItIsTold) {
  activate();
  crash();
  crash(ExitReason::killed());
  EXPECT_EQ(state.crashes.size(), 1U);
  EXPECT_EQ(state.counters.exits_ignored, 1U);
}

TEST_F(ConversationCoreTest, OneWhoLeftCannotCrashAnyMore) {
  activate();
  answer(1);
  crash(ExitReason::normal());
  crash(ExitReason::noproc());
  EXPECT_EQ(state.phase, Phase::kActive);
  EXPECT_TRUE(state.crashes.empty());
  EXPECT_EQ(state.participants[0].status.reason, ExitReason::normal());
  EXPECT_EQ(state.counters.exits_ignored, 1U);
}

TEST_F(ConversationCoreTest, TheExitOfAStrangerChangesNothing) {
  activate();
  when(input::ParticipantsExited{{{kStranger, ExitReason::killed()}}});
  EXPECT_EQ(state.phase, Phase::kActive);
  EXPECT_TRUE(effects.empty());
  EXPECT_TRUE(state.crashes.empty());
}

TEST_F(ConversationCoreTest, LostNodesAreNamedWithTheEvidence) {
  activate();
  receive(11, 1);
  crash(ExitReason::noconnection(Evidence{EvidenceSource::kConnectionClosed, 1ms, 502ms, 0ms}));
  EXPECT_EQ(told(11),
            "ParticipantCrashed: upper on node-b: noconnection (connection closed, known after 502 "
            "ms)");
}

TEST_F(ConversationCoreTest, RepliesBufferedBeforeTheCrashAreStillHandedOut) {
  activate();
  send(2, ReplyMode::kInbox);
  send(3);
  answer(1);
  answer(2);
  crash();
  const auto over = all<effect::Finish>();
  ASSERT_EQ(over.size(), 1U);
  EXPECT_EQ(over[0].correlated.at(message(1)), Outcome{Payload{"r1"}});
  EXPECT_EQ(over[0].correlated.size(), 1U);
  ASSERT_EQ(over[0].inbox.size(), 1U);
  EXPECT_EQ(over[0].inbox[0], (std::pair{message(2), Outcome{Payload{"r2"}}}));
}

TEST_F(ConversationCoreTest, FailedStaysFailedThroughALaterClose) {
  activate();
  crash();
  when(input::CloseRequested{WaiterId{21}});
  EXPECT_EQ(told(21), "reply ");
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(state.failure->code, Errc::kParticipantCrashed);
  when(input::SendRequested{message(2), {}, {}, WaiterId{22}, std::nullopt});
  EXPECT_EQ(told(22), "ConversationFailed: conversation failed: upper on node-b: exit status 3");
  receive(23, 1);
  EXPECT_EQ(told(23), "ParticipantCrashed: upper on node-b: exit status 3");
}

// What an exit of the participant means. Every combination that a conversation can be in.
struct ExitCase {
  const char* name;
  ExitReason reason;
  bool unanswered;
  bool closing;
  Phase phase;
  Health health;
  std::size_t crashes;
};
class ExitOfTheParticipant : public ConversationCoreTest,
                             public ::testing::WithParamInterface<ExitCase> {};

TEST_P(ExitOfTheParticipant, Means) {
  activate();
  if (!GetParam().unanswered) answer(1);
  if (GetParam().closing) when(input::CloseRequested{WaiterId{21}});
  crash(GetParam().reason);
  EXPECT_EQ(name_of(state.phase), name_of(GetParam().phase));
  EXPECT_EQ(name_of(state.participants[0].status.health), name_of(GetParam().health));
  EXPECT_EQ(state.crashes.size(), GetParam().crashes);
  EXPECT_EQ(told(21), GetParam().closing ? "reply " : "");
}

// clang-format off
INSTANTIATE_TEST_SUITE_P(ConversationCore, ExitOfTheParticipant, ::testing::Values(
    //       name                    reason                     unanswered closing phase           health            crashes
    ExitCase{"NormalIdleLeaves",     ExitReason::normal(),            false, false, Phase::kActive, Health::kLeft,    0},
    ExitCase{"NormalOwingCrashes",   ExitReason::normal(),            true,  false, Phase::kFailed, Health::kCrashed, 1},
    ExitCase{"ShutdownIdle",         ExitReason::shutdown(),          false, false, Phase::kFailed, Health::kCrashed, 1},
    ExitCase{"ShutdownOwing",        ExitReason::shutdown(),          true,  false, Phase::kFailed, Health::kCrashed, 1},
    ExitCase{"ErrorIdle",            ExitReason::error("x"),          false, false, Phase::kFailed, Health::kCrashed, 1},
    ExitCase{"ErrorOwing",           ExitReason::error("x"),          true,  false, Phase::kFailed, Health::kCrashed, 1},
    ExitCase{"KilledOwing",          ExitReason::killed(),            true,  false, Phase::kFailed, Health::kCrashed, 1},
    ExitCase{"NoProcOwing",          ExitReason::noproc(),            true,  false, Phase::kFailed, Health::kCrashed, 1},
    ExitCase{"NoConnectionOwing",    ExitReason::noconnection({}),    true,  false, Phase::kFailed, Health::kCrashed, 1},
    ExitCase{"ShutdownWhileClosing", ExitReason::shutdown(),          true,  true,  Phase::kClosed, Health::kEnded,   0},
    ExitCase{"NormalWhileClosing",   ExitReason::normal(),            true,  true,  Phase::kClosed, Health::kEnded,   0},
    ExitCase{"ErrorWhileClosing",    ExitReason::error("x"),          true,  true,  Phase::kClosed, Health::kCrashed, 1},
    ExitCase{"LostWhileClosing",     ExitReason::noconnection({}),    false, true,  Phase::kClosed, Health::kCrashed, 1}),
    [](const auto& test) { return std::string{test.param.name}; });
// clang-format on

TEST_F(ConversationCoreTest, SendsToOneWhoLeftAreRefusedAndReceiversOfTheInboxLearnIt) {
  activate();
  receive(11);
  answer(1);
  crash(ExitReason::normal());
  EXPECT_EQ(told(11), "ParticipantLeft: upper on node-b has left");
  when(input::SendRequested{message(2), {}, {}, WaiterId{12}, std::nullopt});
  EXPECT_EQ(told(12), "ParticipantLeft: upper on node-b has left");
  receive(13);
  EXPECT_EQ(told(13), "ParticipantLeft: upper on node-b has left");
  receive(14, 1);
  EXPECT_EQ(told(14), "reply r1") << "what it answered before is still there";
  when(input::CloseRequested{WaiterId{15}});
  EXPECT_EQ(state.phase, Phase::kClosed);
  EXPECT_EQ(told(15), "reply ");
}

// --- close ---

TEST_F(ConversationCoreTest, CloseWakesWaitersEndsTheParticipantAndWaitsForIt) {
  activate();
  receive(11, 1);
  when(input::CloseRequested{WaiterId{21}});
  EXPECT_EQ(state.phase, Phase::kCompleting);
  EXPECT_EQ(told(11), "ConversationFailed: conversation closed");
  EXPECT_EQ(told(21), "");
  ASSERT_EQ(all<effect::End>().size(), 1U);
  EXPECT_EQ(all<effect::End>()[0].reason, ExitReason::shutdown());
  ASSERT_EQ(all<effect::StartEndTimer>().size(), 1U);
  EXPECT_EQ(all<effect::StartEndTimer>()[0].after, 2s);
  when(input::CloseRequested{WaiterId{22}});
  EXPECT_TRUE(effects.empty());
  crash(ExitReason::shutdown());
  EXPECT_EQ(state.phase, Phase::kClosed);
  EXPECT_EQ(told(21), "reply ");
  EXPECT_EQ(told(22), "reply ");
  when(input::CloseRequested{WaiterId{23}});
  EXPECT_EQ(told(23), "reply ");
}

TEST_F(ConversationCoreTest, AParticipantThatDoesNotEndIsKilled) {
  activate();
  when(input::CloseRequested{WaiterId{21}});
  when(input::EndTimerFired{});
  ASSERT_EQ(all<effect::End>().size(), 1U);
  EXPECT_EQ(all<effect::End>()[0].reason, ExitReason::kill());
  EXPECT_EQ(state.phase, Phase::kClosed);
  EXPECT_EQ(told(21), "reply ");
}

TEST_F(ConversationCoreTest, CloseBeforeTheFirstSendEndsAtOnce) {
  when(input::CloseRequested{WaiterId{21}});
  EXPECT_EQ(state.phase, Phase::kClosed);
  EXPECT_EQ(all<effect::Finish>().size(), 1U);
  EXPECT_EQ(told(21), "reply ");
}

TEST_F(ConversationCoreTest, AnInstanceThatComesAfterTheCloseIsEnded) {
  send(1);
  when(input::CloseRequested{WaiterId{21}});
  EXPECT_EQ(all<effect::AbandonPlacement>().size(), 1U);
  EXPECT_EQ(state.phase, Phase::kCompleting);
  when(input::ParticipantReady{0, kUpperOnB});
  EXPECT_TRUE(all<effect::Forward>().empty());
  ASSERT_EQ(all<effect::End>().size(), 1U);
  EXPECT_EQ(all<effect::End>()[0].pid, kUpperOnB);
  EXPECT_EQ(state.phase, Phase::kCompleting);
  crash(ExitReason::shutdown());
  EXPECT_EQ(state.phase, Phase::kClosed);
}

TEST_F(ConversationCoreTest, WithoutAServiceTheConversationFailsWithNoService) {
  send(1);
  receive(11, 1);
  when(input::ParticipantUnavailable{0, {Errc::kNoService, "no node offers service 'upper'"}});
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(told(11), "NoService: no node offers service 'upper'");
  EXPECT_TRUE(state.crashes.empty());
  EXPECT_EQ(all<effect::Finish>().size(), 1U);
}

TEST_F(ConversationCoreTest, AnActorThatCrashesTooOftenFailsTheConversation) {
  activate();
  receive(11, 1);
  when(input::ActorCrashed{ExitReason::killed()});
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(told(11), "ConversationFailed: actor crashed: killed, beyond 5 restarts within 10s");
  EXPECT_EQ(all<effect::End>().size(), 1U);
  EXPECT_TRUE(all<effect::Finish>().empty()) << "the participant has not ended yet";
  crash(ExitReason::shutdown());
  EXPECT_EQ(all<effect::Finish>().size(), 1U);
}

TEST_F(ConversationCoreTest, AnEndByForceWaitsForNobodyAndKeepsWhatWasAnswered) {
  activate();
  send(2);
  answer(1);
  receive(12, 2);
  Step ended = end_by_force(std::move(state), {Errc::kConversationFailed, "worn out"});
  state = std::move(ended.next);
  effects = std::move(ended.effects);
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_TRUE(state.finished);
  EXPECT_EQ(told(12), "ConversationFailed: worn out");
  ASSERT_EQ(all<effect::Finish>().size(), 1U);
  EXPECT_EQ(all<effect::Finish>()[0].correlated.count(message(1)), 1U);
  EXPECT_TRUE(end_by_force(std::move(state), {Errc::kInternal, "again"}).effects.empty());
}

TEST_F(ConversationCoreTest, AnEndByForceOfAClosingConversationClosesIt) {
  activate();
  when(input::CloseRequested{WaiterId{7}});
  Step ended = end_by_force(std::move(state), {Errc::kConversationFailed, "worn out"});
  EXPECT_EQ(ended.next.phase, Phase::kClosed);
  EXPECT_FALSE(ended.next.failure);
  effects = std::move(ended.effects);
  EXPECT_EQ(told(7), "reply ");
}

// --- attached ---

class AttachedTest : public ConversationCoreTest {
 protected:
  AttachedTest() : ConversationCoreTest(attached_config()) {}
};

TEST_F(AttachedTest, IsLinkedBeforeTheFirstRequest) {
  send(1);
  ASSERT_EQ(effects.size(), 2U);
  EXPECT_TRUE(std::holds_alternative<effect::Link>(effects[0]));
  EXPECT_TRUE(std::holds_alternative<effect::Forward>(effects[1]));
}

TEST_F(AttachedTest, LivesOnAfterClose) {
  send(1);
  when(input::CloseRequested{WaiterId{21}});
  EXPECT_TRUE(all<effect::End>().empty());
  EXPECT_EQ(all<effect::Unlink>().size(), 1U);
  EXPECT_EQ(state.phase, Phase::kClosed);
}

TEST_F(AttachedTest, IsNamedByItsRole) {
  send(1);
  receive(11, 1);
  crash(ExitReason::killed());
  EXPECT_EQ(told(11), "ParticipantCrashed: helper on node-b: killed");
}

// --- giving up ---

TEST_F(ConversationCoreTest, AReceiveThatWasGivenUpSwallowsNoReply) {
  activate();
  receive(11, 1);
  when(input::ReceiveAbandoned{WaiterId{11}, std::nullopt});
  EXPECT_EQ(state.phase, Phase::kActive);
  answer(1);
  EXPECT_TRUE(effects.empty());
  receive(12, 1);
  EXPECT_EQ(told(12), "reply r1");
}

TEST_F(ConversationCoreTest, AReplyWhoseCallerIsGoneGoesBackToItsPlace) {
  send(1, ReplyMode::kInbox);
  send(2, ReplyMode::kInbox);
  when(input::ParticipantReady{0, kUpperOnB});
  answer(1);
  answer(2);
  receive(11);
  const auto complete = all<effect::Complete>().at(0);
  when(input::OfferRefused{*complete.reply, complete.outcome});
  receive(12);
  EXPECT_EQ(told(12), "reply r1");
  receive(13);
  EXPECT_EQ(told(13), "reply r2");
  EXPECT_EQ(state.counters.received, 2U);
}

TEST_F(ConversationCoreTest, AReplyWhoseCallerIsGoneGoesToTheNextWhoWaits) {
  send(1, ReplyMode::kInbox);
  when(input::ParticipantReady{0, kUpperOnB});
  receive(11);
  receive(12);
  answer(1);
  EXPECT_EQ(told(11), "reply r1");
  const auto complete = all<effect::Complete>().at(0);
  when(input::OfferRefused{*complete.reply, complete.outcome});
  EXPECT_EQ(told(12), "reply r1");
}

TEST_F(ConversationCoreTest, NothingIsKeptForAnAskThatWasGivenUp) {
  when(input::SendRequested{message(1), Payload{"q1"}, {}, std::nullopt, WaiterId{11}});
  when(input::ParticipantReady{0, kUpperOnB});
  when(input::ReceiveAbandoned{WaiterId{11}, message(1)});
  answer(1);
  EXPECT_TRUE(state.requests.empty());
  EXPECT_EQ(state.participants[0].unanswered, 0U);
  send(2, ReplyMode::kCorrelated, {}, WaiterId{12});
  answer(2);
  when(input::ReceiveAbandoned{WaiterId{12}, message(2)});
  EXPECT_TRUE(state.requests.empty());
}

TEST_F(ConversationCoreTest, WhoeverCannotGetAReplyLearnsItAtOnce) {
  activate();
  send(2, ReplyMode::kInbox);
  send(3, ReplyMode::kNone);
  for (const std::uint64_t n : {2U, 3U, 77U}) {
    receive(n, n);
    EXPECT_EQ(told(n).rfind("NoReply: ", 0), 0U) << told(n);
  }
  receive(11, 1);
  receive(12, 1);
  EXPECT_EQ(told(12).rfind("Rejected: ", 0), 0U) << told(12);
}

class FewRequestsTest : public ConversationCoreTest {
 protected:
  static ConversationConfig config() {
    auto few = owned_config();
    few.requests_max = 2;
    return few;
  }
  FewRequestsTest() : ConversationCoreTest(config()) {}
};

TEST_F(FewRequestsTest, TheBoundCountsWhatIsUnansweredOrNotReceived) {
  activate();
  send(2);
  answer(1);
  const auto send_third = [this] {
    when(input::SendRequested{message(3), {}, {}, WaiterId{11}, std::nullopt});
    return told(11);
  };
  EXPECT_EQ(send_third(), "Rejected: 2 requests are open, requests-max is 2");
  receive(12, 1);
  EXPECT_EQ(send_third(), "reply ");
}

TEST_F(ConversationCoreTest, AnOrphanThatOwesNothingClosesOneThatDoesFails) {
  activate();
  ConversationContext busy = state;
  answer(1);
  when(input::Abandoned{"no handle was left"});
  EXPECT_EQ(state.phase, Phase::kCompleting);
  state = std::move(busy);
  when(input::Abandoned{"no handle was left"});
  EXPECT_EQ(state.phase, Phase::kFailed);
}

TEST(ConversationPhase, NamesAreThoseOfTheDesign) {
  std::vector<std::string_view> names;
  for (const Phase phase : {Phase::kCreated, Phase::kActive, Phase::kCompleting,
                            Phase::kCompensating, Phase::kClosed, Phase::kFailed}) {
    names.push_back(name_of(phase));
  }
  EXPECT_EQ(names, (std::vector<std::string_view>{"Created", "Active", "Completing", "Compensating",
                                                  "Closed", "Failed"}));
}

}  // namespace
}  // namespace liminal
