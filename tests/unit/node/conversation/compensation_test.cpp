// Goal: Compensate (contract 36): what is unanswered is settled first, then what is in doubt and
// what was completed is undone, one at a time, the latter in reverse order of completion; every
// step is decided, whatever happens meanwhile, and the record names what could not be undone.
#include "tests/unit/node/conversation/core_driver.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using Phase = ConversationPhase;
using Health = ParticipantHealth;
using Result_ = CompensationOutcome;

const Pid kReserve{NodeName{"a"}, Incarnation{1}, Serial{11}};
const Pid kCharge{NodeName{"b"}, Incarnation{2}, Serial{22}};
const Pid kShip{NodeName{"c"}, Incarnation{3}, Serial{33}};
const Pid kOther{NodeName{"d"}, Incarnation{4}, Serial{44}};
constexpr RoleIndex kReserveRole = 0, kChargeRole = 1, kShipRole = 2;

ConversationConfig saga() {
  std::vector<ParticipantConfig> roles;
  for (const char* service : {"reserve", "charge", "ship"}) {
    roles.push_back(ParticipantConfig::owned(ServiceName{service}));
  }
  return {CrashPolicy::kCompensate, roles};
}

class CompensationTest : public CoreDriver {
 protected:
  explicit CompensationTest(ConversationConfig config = saga()) : CoreDriver{std::move(config)} {}

  /// All three can compensate, unless it says otherwise of ship.
  void assemble(bool ship_compensates = true) {
    send(1, ReplyMode::kCorrelated, "reserve");
    ready(kReserve, kReserveRole, true);
    ready(kCharge, kChargeRole, true);
    ready(kShip, kShipRole, ship_compensates);
  }
  /// 1 and 2 are completed, 3 was sent to ship.
  void until_ship(bool ship_compensates = true) {
    assemble(ship_compensates);
    answer(1, kReserve);
    send(2, ReplyMode::kCorrelated, "charge");
    answer(2, kCharge);
    send(3, ReplyMode::kCorrelated, "ship");
  }

  /// What is undone now: "2 at b, attempt 1"; "" for nothing.
  std::string undoing() const {
    std::string text;
    for (const auto& forward : all<effect::Forward>()) {
      if (forward.request.kind != EnvelopeKind::kCompensate) continue;
      EXPECT_EQ(text, "") << "one at a time";
      text = std::to_string(forward.request.parent->low) + " at " + forward.to.node.value() +
             ", attempt " + std::to_string(forward.request.attempt);
    }
    return text;
  }
  Envelope compensation() const {
    for (const auto& forward : all<effect::Forward>()) {
      if (forward.request.kind == EnvelopeKind::kCompensate) return forward.request;
    }
    ADD_FAILURE() << "nothing is being undone";
    return envelope(0, EnvelopeKind::kRequest);
  }
  void undone(const Pid& by, EnvelopeKind kind = EnvelopeKind::kDone) {
    when(input::Answered{
        by,
        {.kind = kind, .id = message(2000 + step_), .conversation = kId, .parent = in_flight()}});
    ++step_;
  }
  MessageId in_flight() const {
    for (const auto& [id, request] : state.requests) {
      if (request.compensation) return id;
    }
    ADD_FAILURE() << "nothing is being undone";
    return message(0);
  }
  std::vector<std::string> outcomes() const {
    std::vector<std::string> all;
    for (const auto& c : state.compensations) {
      all.push_back(std::to_string(c.request.low) + " " + std::string{name_of(c.outcome)});
    }
    return all;
  }
  using Texts = std::vector<std::string>;

 private:
  std::uint64_t step_ = 0;
};

TEST_F(CompensationTest, WhatWasCompletedIsUndoneInReverseOrderOneAtATime) {
  until_ship();
  answer(3, kShip);
  exit(kShip);
  EXPECT_EQ(state.phase, Phase::kCompensating);
  EXPECT_TRUE(all<effect::Forward>().empty()) << "ship is gone: a fresh instance first";
  ASSERT_EQ(all<effect::Place>().size(), 1U);
  EXPECT_EQ(all<effect::Place>()[0].to_compensate_within, 15s);
  ready(kOther, kShipRole, true);
  EXPECT_EQ(undoing(), "3 at d, attempt 1");
  undone(kOther);
  EXPECT_EQ(undoing(), "2 at b, attempt 1");
  undone(kCharge);
  EXPECT_EQ(undoing(), "1 at a, attempt 1");
  EXPECT_EQ(state.phase, Phase::kCompensating);
  undone(kReserve);
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(failure(), "Compensated: ship on c: exit status 3; undone: ship, charge, reserve");
  EXPECT_EQ(outcomes(), (Texts{"3 undone", "2 undone", "1 undone"}));
}

TEST_F(CompensationTest, ACompensationCarriesTheRequestAndItsReply) {
  until_ship(false);
  exit(kShip);
  const Envelope undo = compensation();
  EXPECT_EQ(undo.payload.view(), "q2r2");
  EXPECT_EQ(undo.reply_at, 2U);
  EXPECT_EQ(undo.parent, message(2));
  EXPECT_NE(undo.id, message(2));
  EXPECT_EQ(undo.deadline, kNow + 15s);
}

TEST_F(CompensationTest, AWaitingReceiverIsWokenAtOnceAndBufferedRepliesStay) {
  assemble();
  answer(1, kReserve);
  send(2, ReplyMode::kCorrelated, "charge");
  receive(7, 2);
  receive(8);
  exit(kCharge);
  EXPECT_EQ(told(7), "ParticipantCrashed: charge on b: exit status 3");
  EXPECT_EQ(told(8), "ParticipantCrashed: charge on b: exit status 3");
  receive(9, 1);
  EXPECT_EQ(told(9), "reply r1");
  receive(10, 2);
  EXPECT_EQ(told(10), "ParticipantCrashed: charge on b: exit status 3");
}

TEST_F(CompensationTest, NothingIsSentAnyMore) {
  until_ship();
  exit(kShip);
  when(input::SendRequested{message(9), {}, {.role = "charge"}, WaiterId{7}, std::nullopt});
  EXPECT_EQ(told(7), "ConversationFailed: conversation compensates: ship on c: exit status 3");
}

TEST_F(CompensationTest, WhatIsInDoubtIsUndoneFirstWithoutAReply) {
  until_ship();
  exit(kShip);
  ready(kOther, kShipRole, true);
  EXPECT_EQ(undoing(), "3 at d, attempt 1");
  EXPECT_EQ(compensation().reply_at, std::nullopt);
  EXPECT_TRUE(state.compensations[0].in_doubt);
  undone(kOther);
  EXPECT_EQ(undoing(), "2 at b, attempt 1");
}

TEST_F(CompensationTest, AServiceThatCannotCompensateHasNothingToUndoAndTheRecordSaysSo) {
  until_ship(false);
  exit(kShip);
  EXPECT_EQ(undoing(), "2 at b, attempt 1");
  EXPECT_EQ(outcomes(), (Texts{"3 nothing to undo", "2 pending", "1 pending"}));
  EXPECT_EQ(state.compensations[0].text, "ship cannot compensate");
  undone(kCharge);
  undone(kReserve);
  EXPECT_EQ(failure(), "Compensated: ship on c: exit status 3; undone: charge, reserve");
}

TEST_F(CompensationTest, WhereNothingWasDoneTheCauseIsTheDiagnosis) {
  assemble();
  answer(1, kReserve, EnvelopeKind::kCancelled);
  exit(kShip);
  EXPECT_EQ(failure(), "ParticipantCrashed: ship on c: exit status 3");
}

// --- settling ---

TEST_F(CompensationTest, UnansweredRequestsAtTheLivingAreCancelledAndWaitedFor) {
  until_ship();
  send(4, ReplyMode::kCorrelated, "charge");
  send(5, ReplyMode::kCorrelated, "reserve");
  exit(kShip);
  ASSERT_EQ(all<effect::Cancel>().size(), 2U);
  EXPECT_TRUE(all<effect::Place>().empty()) << "settled first";
  answer(4, kCharge);
  EXPECT_TRUE(effects.empty());
  answer(5, kReserve, EnvelopeKind::kCancelled);
  ready(kOther, kShipRole, true);
  EXPECT_EQ(outcomes(), (Texts{"3 pending", "4 pending", "2 pending", "1 pending"}))
      << "4 was done all the same; 5 was not begun";
}

TEST_F(CompensationTest, OneThatEndsUnfinishedIsInDoubt) {
  until_ship(false);
  send(4, ReplyMode::kCorrelated, "charge");
  exit(kShip);
  answer(4, kCharge, EnvelopeKind::kExpired);
  EXPECT_EQ(undoing(), "4 at b, attempt 1");
  EXPECT_EQ(compensation().reply_at, std::nullopt);
}

TEST_F(CompensationTest, WhoeverDoesNotSettleInTimeIsEndedAndInDoubt) {
  until_ship(false);
  send(4, ReplyMode::kCorrelated, "charge");
  exit(kShip);
  ASSERT_EQ(all<effect::StartTimer>().size(), 1U);
  EXPECT_EQ(all<effect::StartTimer>()[0].after, 2s);
  when(input::TimerFired{ConversationTimer::kSettle, 0});
  ASSERT_EQ(all<effect::End>().size(), 1U);
  EXPECT_EQ(all<effect::End>()[0].pid, kCharge);
  ASSERT_EQ(all<effect::Place>().size(), 1U);
  EXPECT_EQ(all<effect::Place>()[0].tried, std::vector<Pid>{kCharge});
  const auto crashes = state.crashes.size();
  exit(kCharge, ExitReason::killed());
  EXPECT_EQ(state.crashes.size(), crashes) << "the conversation ended it: no crash";
  ready(kOther, kChargeRole, true);
  EXPECT_EQ(undoing(), "4 at d, attempt 1");
  undone(kOther);
  EXPECT_EQ(undoing(), "2 at d, attempt 1");
}

TEST_F(CompensationTest, WhatWasNeverTakenNeedsNoUndoing) {
  until_ship(false);
  send(4, ReplyMode::kCorrelated, "charge");
  when(input::Refused{kCharge, message(4), signal::RefusalKind::kDeferred, {}});
  send(5, ReplyMode::kCorrelated, "reserve");
  exit(kShip);
  EXPECT_EQ(all<effect::Withdraw>().size(), 1U);
  when(input::Refused{kReserve, message(5), signal::RefusalKind::kDeferred, {}});
  EXPECT_EQ(all<effect::Withdraw>().at(0).message, message(5));
  EXPECT_EQ(outcomes(), (Texts{"3 nothing to undo", "2 pending", "1 pending"}));
}

TEST_F(CompensationTest, ACrashWhileSettlingPutsItsRequestsInDoubt) {
  until_ship(false);
  send(4, ReplyMode::kCorrelated, "charge");
  exit(kShip);
  exit(kCharge, ExitReason::noconnection(std::nullopt));
  EXPECT_EQ(state.crashes.size(), 2U);
  ASSERT_EQ(all<effect::Place>().size(), 1U);
  EXPECT_EQ(outcomes().at(0), "4 pending");
  EXPECT_TRUE(state.compensations[0].in_doubt);
}

TEST_F(CompensationTest, AllOfOneNodesDeathIsInDoubtTogether) {
  until_ship();
  send(4, ReplyMode::kCorrelated, "charge");
  when(input::ParticipantsExited{{{kShip, ExitReason::noconnection(std::nullopt)},
                                  {kCharge, ExitReason::noconnection(std::nullopt)}}});
  EXPECT_EQ(outcomes(), (Texts{"4 pending", "3 pending", "2 pending", "1 pending"}))
      << "in doubt first, the later sent first";
}

TEST_F(CompensationTest, ACrashWhileSettlingMayBeTheEndOfAll) {
  send(1, ReplyMode::kCorrelated, "reserve");
  ready(kReserve, kReserveRole, false);
  ready(kCharge, kChargeRole, false);
  ready(kShip, kShipRole, false);
  send(2, ReplyMode::kCorrelated, "charge");
  send(3, ReplyMode::kCorrelated, "reserve");
  answer(3, kReserve);
  exit(kShip);
  when(input::ParticipantsExited{{{kReserve, ExitReason::noconnection(std::nullopt)},
                                  {kCharge, ExitReason::noconnection(std::nullopt)}}});
  EXPECT_TRUE(state.finished);
  EXPECT_EQ(outcomes(), (Texts{"2 nothing to undo", "1 nothing to undo", "3 nothing to undo"}));
  ASSERT_EQ(all<effect::Finish>().size(), 1U);
  EXPECT_EQ(all<effect::Finish>()[0].correlated.size(), 1U) << "a reply that was buffered stays";
}

// --- steps that go wrong ---

TEST_F(CompensationTest, AStepThatFailsDoesNotStopTheOthersAndIsNamed) {
  until_ship(false);
  exit(kShip);
  undone(kCharge, EnvelopeKind::kExpired);
  ASSERT_EQ(all<effect::End>().size(), 1U) << "what runs for it must not meet the next";
  EXPECT_EQ(undoing(), "1 at a, attempt 1");
  undone(kReserve);
  EXPECT_EQ(failure(),
            "CompensationFailed: not undone: charge: not done within 15s; undone: reserve; because "
            "ship on c: exit status 3");
}

TEST_F(CompensationTest, ACrashingStepIsTriedElsewhereWithinItsBudget) {
  until_ship(false);
  exit(kShip);
  for (std::uint64_t attempt = 1; attempt <= 3; ++attempt) {
    const Pid by = attempt == 1 ? kCharge : Pid{NodeName{"d"}, Incarnation{4}, Serial{attempt}};
    EXPECT_EQ(undoing(), "2 at " + by.node.value() + ", attempt " + std::to_string(attempt));
    const MessageId id = compensation().id;
    exit(by, ExitReason::error("exit status 1"));
    if (attempt == 3) break;
    ASSERT_EQ(all<effect::Place>().size(), 1U);
    EXPECT_EQ(all<effect::Place>()[0].tried.size(), attempt);
    ready(Pid{NodeName{"d"}, Incarnation{4}, Serial{attempt + 1}}, kChargeRole, true);
    EXPECT_EQ(compensation().id, id) << "the same on every attempt";
  }
  EXPECT_EQ(undoing(), "1 at a, attempt 1");
  EXPECT_EQ(state.compensations[1].text, "charge on d: exit status 1, at attempt 3");
  undone(kReserve);
  EXPECT_EQ(failure().substr(0, 19), "CompensationFailed:");
}

TEST_F(CompensationTest, WithoutACandidateAStepFailsAndTheRestGoesOn) {
  until_ship();
  exit(kShip);
  when(input::ParticipantUnavailable{
      kShipRole, {Errc::kNoService, "no node offers service 'ship', waited 15s"}});
  EXPECT_EQ(undoing(), "2 at b, attempt 1");
  undone(kCharge);
  undone(kReserve);
  EXPECT_EQ(failure(),
            "CompensationFailed: not undone: ship, in doubt: no node offers service 'ship', waited "
            "15s; undone: charge, reserve; because ship on c: exit status 3");
}

TEST_F(CompensationTest, AStepHasItsOwnTime) {
  until_ship(false);
  exit(kShip);
  std::uint64_t number = 0;
  for (const auto& timer : all<effect::StartTimer>()) {
    if (timer.which == ConversationTimer::kCompensation) number = timer.number;
  }
  now = kNow + 15s;
  when(input::TimerFired{ConversationTimer::kCompensation, number + 7});
  EXPECT_TRUE(effects.empty()) << "another step's";
  when(input::TimerFired{ConversationTimer::kCompensation, number});
  EXPECT_EQ(outcomes().at(1), "2 failed");
  EXPECT_EQ(undoing(), "1 at a, attempt 1");
  EXPECT_EQ(compensation().deadline, kNow + 30s);
}

TEST_F(CompensationTest, AnInstanceThatComesTooLateBeginsOnlyTheNextStep) {
  assemble();
  answer(1, kReserve);
  send(2, ReplyMode::kCorrelated, "reserve");
  exit(kReserve);
  ASSERT_EQ(all<effect::Place>().size(), 1U);
  now = kNow + 15s;
  when(input::TimerFired{ConversationTimer::kCompensation, 0});
  EXPECT_TRUE(effects.empty()) << "the search says how it went";
  ready(kOther, kReserveRole, true);
  EXPECT_EQ(outcomes(), (Texts{"2 failed", "1 pending"}));
  EXPECT_EQ(undoing(), "1 at d, attempt 1");
  EXPECT_EQ(all<effect::StartTimer>().at(0).number, 1U);
}

TEST_F(CompensationTest, ARefusedStepFails) {
  until_ship(false);
  exit(kShip);
  when(input::Refused{kCharge, in_flight(), signal::RefusalKind::kRejected, "too large"});
  EXPECT_EQ(state.compensations[1].text, "too large");
  EXPECT_EQ(undoing(), "1 at a, attempt 1");
}

TEST_F(CompensationTest, ADeferredStepIsSentAgain) {
  until_ship(false);
  exit(kShip);
  when(input::Refused{kCharge, in_flight(), signal::RefusalKind::kDeferred, {}});
  EXPECT_EQ(all<effect::StartRepeatTimer>().size(), 1U);
  when(input::RepeatTimerFired{kChargeRole});
  EXPECT_EQ(undoing(), "2 at b, attempt 1");
  undone(kCharge);
  EXPECT_EQ(undoing(), "1 at a, attempt 1");
}

TEST_F(CompensationTest, TheLateAnswerOfAStepThatWasGivenUpChangesNothing) {
  until_ship(false);
  exit(kShip);
  const MessageId id = in_flight();
  exit(kCharge);
  ready(kOther, kChargeRole, true);
  when(input::Answered{
      kCharge,
      {.kind = EnvelopeKind::kDone, .id = message(77), .conversation = kId, .parent = id}});
  EXPECT_EQ(outcomes().at(1), "2 pending");
}

// --- what begins it ---

TEST_F(CompensationTest, ARequestThatExpiredStartsItAsACrashDoes) {
  until_ship();
  when(input::SendRequested{message(4), {}, {.role = "charge", .deadline = 1s}, {}, WaiterId{7}});
  const auto timer = all<effect::StartTimer>().at(0);
  now = kNow + 1s;
  when(input::TimerFired{timer.which, timer.number});
  EXPECT_EQ(told(7).substr(0, 20), "ConversationTimeout:");
  EXPECT_EQ(state.phase, Phase::kCompensating);
  answer(3, kShip, EnvelopeKind::kCancelled);
  EXPECT_EQ(undoing(), "4 at b, attempt 1") << "it may have been begun: in doubt";
}

TEST_F(CompensationTest, TheParticipantsWordThatItExpiredStartsItToo) {
  until_ship(false);
  send(4, ReplyMode::kCorrelated, "charge");
  answer(4, kCharge, EnvelopeKind::kExpired);
  EXPECT_EQ(state.phase, Phase::kCompensating);
}

TEST_F(CompensationTest, CancelAndTheLastHandlesEndStartIt) {
  const auto begins = [&](Input input) {
    state = ConversationContext{kId, std::make_shared<const ConversationConfig>(saga())};
    assemble();
    answer(1, kReserve);
    when(std::move(input));
    EXPECT_EQ(undoing(), "1 at a, attempt 1");
    undone(kReserve);
    return failure();
  };
  EXPECT_EQ(begins(input::CancelRequested{"liminal cancel"}),
            "Compensated: cancelled by liminal cancel; undone: reserve");
  EXPECT_EQ(begins(input::Abandoned{"no handle was left"}),
            "Compensated: no handle was left; undone: reserve");
}

TEST_F(CompensationTest, AClosedConversationUndoesNothing) {
  assemble();
  answer(1, kReserve);
  when(input::CloseRequested{});
  EXPECT_EQ(state.phase, Phase::kCompleting);
  EXPECT_TRUE(all<effect::Forward>().empty());
}

TEST_F(CompensationTest, ACloseWaitsUntilAllIsDecided) {
  until_ship(false);
  exit(kShip);
  when(input::CloseRequested{WaiterId{7}});
  EXPECT_EQ(told(7), "");
  undone(kCharge);
  undone(kReserve);
  EXPECT_EQ(state.phase, Phase::kFailed);
  exit(kReserve, ExitReason::shutdown());
  exit(kCharge, ExitReason::shutdown());
  EXPECT_EQ(told(7), "reply ");
  EXPECT_TRUE(state.finished);
}

TEST_F(CompensationTest, AConversationGivenUpNamesWhatWasNotUndone) {
  until_ship(false);
  exit(kShip);
  Step ended = end_by_force(std::move(state), {Errc::kConversationFailed, "actor crashed"});
  state = std::move(ended.next);
  EXPECT_EQ(failure(), "CompensationFailed: actor crashed");
  EXPECT_EQ(outcomes(), (Texts{"3 nothing to undo", "2 failed", "1 failed"}));
}

TEST_F(CompensationTest, OneGivenUpBeforeThePlanNamesItAllTheSame) {
  until_ship(false);
  Step ended = end_by_force(std::move(state), {Errc::kConversationFailed, "actor crashed"});
  state = std::move(ended.next);
  EXPECT_EQ(failure(), "CompensationFailed: actor crashed");
  EXPECT_EQ(outcomes(), (Texts{"3 nothing to undo", "2 failed", "1 failed"}));
}

// --- bounds ---

class StepsTest : public CompensationTest {
 protected:
  static ConversationConfig bounded() {
    ConversationConfig config = saga();
    config.steps_max = 2;
    return config;
  }
  StepsTest() : CompensationTest{bounded()} {}
};

TEST_F(StepsTest, WhatCouldNotBeRememberedIsNotTaken) {
  assemble();
  answer(1, kReserve);
  send(2, ReplyMode::kCorrelated, "charge");
  when(input::SendRequested{message(3), {}, {.role = "charge"}, WaiterId{7}, {}});
  EXPECT_EQ(told(7).substr(0, 9), "Rejected:") << told(7);
  answer(2, kCharge, EnvelopeKind::kCancelled);
  when(input::SendRequested{message(3), {}, {.role = "charge"}, WaiterId{8}, {}});
  EXPECT_EQ(told(8), "reply ");
}

class StepsBytesTest : public CompensationTest {
 protected:
  static ConversationConfig bounded() {
    ConversationConfig config = saga();
    config.steps_bytes_max = 6;
    return config;
  }
  StepsBytesTest() : CompensationTest{bounded()} {}
};

TEST_F(StepsBytesTest, UnansweredOnesTakeRoomToo) {
  assemble();
  send(2, ReplyMode::kCorrelated, "charge");
  send(3, ReplyMode::kCorrelated, "charge");
  when(input::SendRequested{message(4), Payload{"x"}, {.role = "charge"}, WaiterId{7}, {}});
  EXPECT_EQ(told(7).substr(0, 9), "Rejected:") << told(7);
  answer(2, kCharge, EnvelopeKind::kCancelled);
  when(input::SendRequested{message(4), Payload{"x"}, {.role = "charge"}, WaiterId{8}, {}});
  EXPECT_EQ(told(8), "reply ") << "it leaves nothing to undo";
  answer(1, kReserve);
  EXPECT_EQ(state.undoable_bytes, 4U);
  EXPECT_EQ(state.unanswered_bytes, 3U);
}

TEST_F(CompensationTest, AnIdThatOnlyACompensationMayHaveIsNotTaken) {
  assemble();
  const MessageId forged{message(1).high, message(1).low | std::uint64_t{1} << 63};
  when(input::SendRequested{forged, {}, {.role = "charge"}, WaiterId{7}, {}});
  EXPECT_EQ(told(7).substr(0, 9), "Rejected:") << told(7);
}

TEST_F(StepsTest, WhatCannotBeUndoneTakesNoRoom) {
  assemble(false);
  answer(1, kReserve);
  for (std::uint64_t n = 2; n < 102; ++n) {
    send(n, ReplyMode::kNone, "ship");
    answer(n, kShip, EnvelopeKind::kDone);
  }
  EXPECT_EQ(state.counters.refused, 0U);
  exit(kShip);
  EXPECT_EQ(state.compensations.size(), 65U);
  EXPECT_NE(state.compensations[0].text.find("36 more"), std::string::npos)
      << state.compensations[0].text;
}

}  // namespace
}  // namespace liminal
