// Contract 36: Compensate.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/conformance/stage.hpp"

namespace liminal::conformance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Three steps on three nodes, and `ship` as each test wants it.
class Undoing : public Stage {
 protected:
  void offer_saga(Service ship, const std::vector<std::string>& ship_on = {"p3"}) {
    offer("reserve", {.process = replies("reserved"), .compensates = true}, {"p1", "p2"});
    offer("charge", {.process = replies("charged"), .compensates = true}, {"p2", "p1"});
    offer("ship", std::move(ship), ship_on);
  }
  static std::function<Doing(const Request&, const NodeName&)> replies(std::string text) {
    return [text](const auto&, const auto&) { return reply(text); };
  }
  static Service never_shipped(bool compensates) {
    return {.process = [](const auto&, const auto&) { return never(); },
            .compensates = compensates,
            .waits = true};
  }

  /// reserve and charge are done, and ship is at work.
  Talk& run_saga() {
    Talk& talk = open(CrashPolicy::kCompensate, {"reserve", "charge", "ship"});
    EXPECT_TRUE(run_until_told(talk.ask("x", {.role = "reserve"})));
    EXPECT_TRUE(run_until_told(talk.ask("y", {.role = "charge"})));
    shipping = talk.ask("z", {.role = "ship"});
    EXPECT_TRUE(run_until([&] { return !deeds("ship").empty(); }));
    return talk;
  }

  [[nodiscard]] std::vector<std::string> undone() const {
    std::vector<std::string> told;
    for (const EffectsLedger::Entry& deed : ledger()) {
      if (deed.action == "undo") told.push_back(deed.service.value() + " " + deed.text);
    }
    return told;
  }

  CallPtr shipping;
};
INSTANTIATE_TEST_SUITE_P(, Undoing, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);

TEST_P(Undoing, C36_WhatWasCompletedIsUndoneInReverseOrderWithItsReply) {
  offer_saga(never_shipped(false));
  start();
  Talk& talk = run_saga();
  lose(talk, "ship");
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(undone(), ElementsAre("charge charged", "reserve reserved"));
  EXPECT_EQ(ledger()[0].message, ledger().back().message) << "under the id that it was done with";
  EXPECT_EQ(talk.phase(), Phase::kFailed);
  EXPECT_EQ(talk.state().failure->code, Errc::kCompensated);
  EXPECT_THAT(talk.state().failure->detail, HasSubstr("undone: charge, reserve"));
}

TEST_P(Undoing, C36_TheOrderIsThatOfCompletionAndNotOfTheSends) {
  offer("first", {.process = [](const auto&, const auto&) { return reply("1").in(2s); },
                  .compensates = true,
                  .waits = true});
  offer("second", {.process = replies("2"), .compensates = true}, {"p2"});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"first", "second"});
  const CallPtr one = talk.ask("x", {.role = "first"});
  const CallPtr two = talk.ask("x", {.role = "second"});
  ASSERT_TRUE(run_until_told(two) && run_until_told(one));
  talk.cancel("a test");
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(undone(), ElementsAre("first 1", "second 2"));
}

TEST_P(Undoing, C36_WhatIsInDoubtIsUndoneFirstAndGetsNoReplyToLookAt) {
  offer_saga(never_shipped(true), {"p3", "p1"});
  start();
  Talk& talk = run_saga();
  lose(talk, "ship");
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(undone(), ElementsAre("ship (no reply)", "charge charged", "reserve reserved"));
  EXPECT_THAT(talk.compensations(),
              ElementsAre("ship undone in doubt", "charge undone", "reserve undone"));
}

TEST_P(Undoing, C36_NoFurtherSendsAreTaken) {
  offer_saga({.process = replies("shipped"),
              .undo = [](const auto&, const auto&) { return done().in(3s); },
              .compensates = true,
              .waits = true});
  start();
  Talk& talk = run_saga();
  ASSERT_TRUE(run_until_told(shipping));
  talk.cancel("a test");
  ASSERT_TRUE(run_until([&] { return talk.phase() == Phase::kCompensating; }));
  const auto sent = talk.send("late", {.role = "reserve"});
  ASSERT_TRUE(run_until_told(sent.taken));
  EXPECT_EQ(said(sent.taken), "ConversationFailed");
  EXPECT_THAT(sent.taken->detail(), HasSubstr("compensates"));
  EXPECT_EQ(talk.phase(), Phase::kCompensating);
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(deeds("reserve"), ElementsAre("process reserve", "undo reserve"));
}

// Known mistake: a request in flight at a living participant is forgotten by compensation.
TEST_P(Undoing, C36_ARequestInFlightThatIsDoneWhileItSettlesIsCompletedAndUndone) {
  offer_saga({.process =
                  [](const auto&, const auto&) {
                    Doing doing = reply("shipped").in(1s);
                    doing.stubborn = true;
                    return doing;
                  },
              .compensates = true,
              .waits = true});
  start();
  Talk& talk = run_saga();
  exit(*talk.participant("charge").pid, ExitReason::error("hit"));
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_EQ(said(shipping), "ParticipantCrashed");
  EXPECT_THAT(undone(), ElementsAre("ship shipped", "charge charged", "reserve reserved"));
  EXPECT_THAT(talk.compensations(), ElementsAre("ship undone", "charge undone", "reserve undone"));
}

TEST_P(Undoing, C36_ARequestThatWasNotStartedHasNothingToUndo) {
  offer_saga({.process =
                  [](const auto&, const auto&) {
                    Doing doing = reply("shipped").in(1s);
                    doing.stubborn = true;
                    return doing;
                  },
              .compensates = true,
              .waits = true});
  start();
  Talk& talk = run_saga();
  const CallPtr never_begun = talk.ask("queued", {.role = "ship"});
  run_for(50ms);
  exit(*talk.participant("charge").pid, ExitReason::error("hit"));
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_EQ(said(never_begun), "ParticipantCrashed");
  EXPECT_THAT(deeds("ship"), ElementsAre("process ship", "interrupt ship", "undo ship"));
  EXPECT_THAT(talk.state().compensations, SizeIs(3));
}

TEST_P(Undoing, C36_WhatDoesNotSettleInTimeIsEndedAndInDoubt) {
  offer_saga({.process =
                  [](const auto&, const auto&) {
                    Doing doing = never();
                    doing.stubborn = true;
                    return doing;
                  },
              .compensates = true,
              .waits = true});
  start();
  Talk& talk = run_saga();
  const Pid stuck = *talk.participant("ship").pid;
  exit(*talk.participant("charge").pid, ExitReason::error("hit"));
  run_for(1990ms);
  EXPECT_THAT(undone(), IsEmpty());
  EXPECT_EQ(talk.participant("ship").pid, stuck);
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(undone(), ElementsAre("ship (no reply)", "charge charged", "reserve reserved"));
  EXPECT_THAT(talk.compensations(),
              ElementsAre("ship undone in doubt", "charge undone", "reserve undone"));
  EXPECT_NE(*talk.state().compensations[0].by, stuck) << "by a fresh instance";
  EXPECT_THAT(talk.state().crashes, SizeIs(1)) << "being ended is no crash";
}

TEST_P(Undoing, C36_WhoIsGoneIsReplacedByAFreshInstanceElsewhere) {
  offer_saga(never_shipped(true), {"p1", "p2", "p3"});
  start();
  Talk& talk = run_saga();
  const Pid gone = *talk.participant("ship").pid;
  exit(gone, ExitReason::error("hit"));
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.compensations(),
              ElementsAre("ship undone in doubt", "charge undone", "reserve undone"));
  const Pid by = *talk.state().compensations[0].by;
  EXPECT_NE(by, gone);
  if (across()) {
    EXPECT_NE(by.node, gone.node);
  }
  EXPECT_EQ(made("ship"), 2);
  EXPECT_EQ(made("charge"), 1) << "who lives undoes its own";
}

TEST_P(Undoing, C36_AServiceThatCannotCompensateHasNothingToUndoAndTheRecordSaysSo) {
  offer_saga({.process = replies("shipped")});
  start();
  Talk& talk = run_saga();
  ASSERT_TRUE(run_until_told(shipping));
  talk.cancel("a test");
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(deeds("ship"), ElementsAre("process ship"));
  EXPECT_THAT(talk.compensations(),
              ElementsAre("ship nothing to undo", "charge undone", "reserve undone"));
  EXPECT_EQ(talk.state().compensations[0].text, "ship cannot compensate");
  EXPECT_EQ(talk.state().failure->code, Errc::kCompensated);
}

TEST_P(Undoing, C36_OneIsUndoneAtATime) {
  offer("step", {.process = replies("ok"),
                 .undo = [](const auto&, const auto&) { return done().in(1s); },
                 .compensates = true,
                 .waits = true});
  offer("other",
        {.process = replies("ok"),
         .undo = [](const auto&, const auto&) { return done().in(1s); },
         .compensates = true,
         .waits = true},
        {"p2"});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"step", "other"});
  ASSERT_TRUE(run_until_told(talk.ask("1", {.role = "step"})));
  ASSERT_TRUE(run_until_told(talk.ask("2", {.role = "other"})));
  ASSERT_TRUE(run_until_told(talk.ask("3", {.role = "step"})));
  talk.cancel("a test");
  ASSERT_TRUE(run_until([&] { return undone().size() == 1; }));
  run_for(900ms);
  EXPECT_THAT(undone(), SizeIs(1));
  run_for(1s);
  EXPECT_THAT(undone(), SizeIs(2));
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(undone(), SizeIs(3));
  for (const CompensationRecord& each : talk.state().compensations) EXPECT_EQ(each.attempts, 1U);
}

TEST_P(Undoing, C36_AStepThatFailsDoesNotStopTheOthersAndIsNamed) {
  offer_saga(never_shipped(false));
  offer("charge",
        {.process = replies("charged"),
         .undo = [](const auto&, const auto&) { return throwing("bank closed"); },
         .compensates = true},
        {"p2"});
  start();
  Talk& talk = run_saga();
  lose(talk, "ship");
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.compensations(),
              ElementsAre("ship nothing to undo in doubt", "charge failed", "reserve undone"));
  EXPECT_EQ(talk.state().failure->code, Errc::kCompensationFailed);
  EXPECT_THAT(talk.state().failure->detail, HasSubstr("not undone: charge"));
  EXPECT_THAT(talk.state().failure->detail, HasSubstr("bank closed"));
  EXPECT_THAT(talk.state().failure->detail, HasSubstr("undone: reserve"));
}

TEST_P(Undoing, C36_AStepIsTriedWithinItsRetryBudget) {
  auto failures_left = std::make_shared<int>(0);
  offer("step",
        {.process = replies("ok"),
         .undo = [failures_left](
                     const auto&,
                     const auto&) { return (*failures_left)-- > 0 ? throwing("not yet") : done(); },
         .compensates = true},
        {"p1", "p2", "p3"});
  start();
  for (const int failures : {2, 3}) {
    SCOPED_TRACE(failures);
    *failures_left = failures;
    const auto before = undone().size();
    Talk& talk = open(CrashPolicy::kCompensate, {"step"});
    ASSERT_TRUE(run_until_told(talk.ask("x")));
    talk.cancel("a test");
    ASSERT_TRUE(run_until_ended(talk));
    EXPECT_EQ(undone().size() - before, 3U);
    ASSERT_THAT(talk.state().compensations, SizeIs(1));
    EXPECT_EQ(talk.state().compensations[0].attempts, 3U);
    EXPECT_EQ(talk.state().failure->code,
              failures == 2 ? Errc::kCompensated : Errc::kCompensationFailed);
  }
}

TEST_P(Undoing, C36_AStepHasItsOwnTimeWhateverTheConversationsDeadline) {
  offer("step", {.process = replies("ok"),
                 .undo =
                     [](const Compensation& compensation, const auto&) {
                       return compensation.request.payload.view() == "stuck" ? never()
                                                                             : done().in(4s);
                     },
                 .compensates = true,
                 .waits = true});
  start();
  ConversationConfig configured = config(CrashPolicy::kCompensate, {"step"});
  configured.timeout = 1s;
  configured.compensation_timeout = 5s;
  Talk& talk = open(configured);
  ASSERT_TRUE(run_until_told(talk.ask("fine")));
  ASSERT_TRUE(run_until_told(talk.ask("stuck")));
  ASSERT_TRUE(run_until([&] { return talk.phase() == Phase::kCompensating; }));
  const TimePoint begun = world().now();
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.compensations(), ElementsAre("step failed", "step undone"));
  EXPECT_GE(world().now() - begun, 9s);
  EXPECT_LE(world().now() - begun, 9500ms);
  EXPECT_EQ(talk.state().failure->code, Errc::kCompensationFailed);
}

TEST_P(Undoing, C36_ARequestThatExpiredStartsCompensationAsACrashDoes) {
  offer_saga(never_shipped(true));
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"reserve", "charge", "ship"});
  ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "reserve"})));
  const CallPtr expired = talk.ask("y", {.role = "ship", .deadline = 1s});
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_EQ(said(expired), "ConversationTimeout");
  EXPECT_THAT(talk.compensations(), ElementsAre("ship undone in doubt", "reserve undone"));
  EXPECT_THAT(talk.state().crashes, IsEmpty());
  EXPECT_EQ(talk.state().failure->code, Errc::kCompensated);
}

TEST_P(Undoing, C36_AnExitWhileItSettlesExtendsThePlan) {
  offer_saga({.process =
                  [](const auto&, const auto&) {
                    Doing doing = never();
                    doing.stubborn = true;
                    return doing;
                  },
              .compensates = true,
              .waits = true});
  start();
  Talk& talk = run_saga();
  exit(*talk.participant("charge").pid, ExitReason::error("first"));
  run_for(500ms);
  exit(*talk.participant("reserve").pid, ExitReason::error("second"));
  exit(*talk.participant("ship").pid, ExitReason::error("third"));
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.compensations(),
              ElementsAre("ship undone in doubt", "charge undone", "reserve undone"));
  EXPECT_THAT(talk.state().crashes, SizeIs(3));
  EXPECT_EQ(talk.state().failure->code, Errc::kCompensated);
}

TEST_P(Undoing, C36_AnExitWhileItIsUndoneIsUndoneElsewhere) {
  offer_saga(never_shipped(false));
  offer("charge",
        {.process = replies("charged"),
         .undo = [](const Compensation& compensation,
                    const auto&) { return compensation.attempt == 1 ? never() : done(); },
         .compensates = true,
         .waits = true},
        {"p2", "p1"});
  start();
  Talk& talk = run_saga();
  lose(talk, "ship");
  ASSERT_TRUE(run_until([&] { return !undone().empty(); }));
  exit(*talk.participant("charge").pid, ExitReason::error("again"));
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(undone(), ElementsAre("charge charged", "charge charged", "reserve reserved"));
  EXPECT_THAT(talk.compensations(),
              ElementsAre("ship nothing to undo in doubt", "charge undone", "reserve undone"));
  EXPECT_EQ(talk.state().failure->code, Errc::kCompensated);
}

TEST_P(Undoing, C36_WithNothingDoneItFailsWithItsCause) {
  offer("bad", {.fails_to_start = true});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"nobody"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_EQ(talk.state().failure->code, Errc::kNoService);
  EXPECT_THAT(talk.state().compensations, IsEmpty());
}

class UndoingAcross : public Undoing {};
INSTANTIATE_TEST_SUITE_P(, UndoingAcross, ::testing::Values(Where::kThreeNodes), name_of_where);

TEST_P(UndoingAcross, C36_WithoutACandidateAStepWaitsForOneAsLongAsItsTime) {
  offer_saga(never_shipped(true));
  start();
  for (const bool comes_back : {true, false}) {
    SCOPED_TRACE(comes_back);
    const auto before = ledger().size();
    Talk& talk = open(CrashPolicy::kCompensate, {"reserve", "ship"});
    ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "reserve"})));
    (void)talk.ask("y", {.role = "ship"});
    ASSERT_TRUE(run_until([&] { return ledger().size() == before + 2; }));
    kill_node("p3");
    ASSERT_TRUE(run_until([&] { return talk.phase() == Phase::kCompensating; }));
    const TimePoint begun = world().now();
    run_for(10s);
    EXPECT_EQ(talk.phase(), Phase::kCompensating);
    if (comes_back) start_node("p3");
    ASSERT_TRUE(run_until_ended(talk));
    if (comes_back) {
      EXPECT_THAT(talk.compensations(), ElementsAre("ship undone in doubt", "reserve undone"));
      EXPECT_EQ(talk.state().compensations[0].by->node, NodeName{"p3"});
    } else {
      EXPECT_GE(world().now() - begun, 15s);
      EXPECT_LE(world().now() - begun, 15500ms);
      EXPECT_THAT(talk.compensations(), ElementsAre("ship failed in doubt", "reserve undone"));
      EXPECT_EQ(talk.state().failure->code, Errc::kCompensationFailed);
      EXPECT_THAT(talk.state().failure->detail, HasSubstr("not undone: ship, in doubt"));
    }
  }
}

TEST_P(UndoingAcross, C36_AllThatANodesDeathTookIsUndoneElsewhere) {
  offer("reserve", {.process = replies("reserved"), .compensates = true}, {"p1", "p2"});
  offer("charge", {.process = replies("charged"), .compensates = true}, {"p1", "p2"});
  start();
  ConversationConfig configured{CrashPolicy::kCompensate, {}};
  for (const std::string role : {"reserve", "charge"}) {
    configured.participants.push_back(
        ParticipantConfig::owned(ServiceName{role}, placement_rule::Any{}));
  }
  Talk& talk = open(configured);
  ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "reserve"})));
  ASSERT_TRUE(run_until_told(talk.ask("y", {.role = "charge"})));
  kill_node(talk.participant("reserve").pid->node.value());
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_THAT(talk.compensations(), ElementsAre("charge undone", "reserve undone"));
  EXPECT_THAT(undone(), ElementsAre("charge charged", "reserve reserved"));
}

}  // namespace
}  // namespace liminal::conformance
