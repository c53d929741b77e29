// Goal: what the participant has no room for is sent again, in order, until it is taken, out of
// time or not wanted any more; whoever waits is told what became of it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/node/conversation/core_driver.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using Phase = ConversationPhase;
using signal::RefusalKind;

const Pid kHelper{NodeName{"node-b"}, Incarnation{7}, Serial{3}};
const Pid kStranger{NodeName{"node-c"}, Incarnation{9}, Serial{4}};

class DeferredRequestsTest : public CoreDriver {
 protected:
  DeferredRequestsTest()
      : CoreDriver{{CrashPolicy::kFail, {ParticipantConfig::attached("helper", kHelper)}}} {}

  void send(std::uint64_t n, SendOptions options = {}) {
    when(input::SendRequested{message(n), Payload{"q"}, std::move(options), std::nullopt,
                              std::nullopt});
  }
  void defer(std::uint64_t n) {
    when(input::Refused{kHelper, message(n), RefusalKind::kDeferred, {}});
  }
  void timer() { when(input::RepeatTimerFired{0}); }
  void answer(std::uint64_t n) { CoreDriver::answer(n, kHelper); }
  /// What the caller is told at once.
  std::string receive(std::uint64_t n) {
    CoreDriver::receive(n, n);
    return told(n);
  }
  std::vector<std::uint64_t> forwarded() const {
    std::vector<std::uint64_t> numbers;
    for (const auto& forward : all<effect::Forward>()) numbers.push_back(forward.request.id.low);
    return numbers;
  }
  std::vector<std::uint64_t> withdrawn() const {
    std::vector<std::uint64_t> numbers;
    for (const auto& withdraw : all<effect::Withdraw>()) numbers.push_back(withdraw.message.low);
    return numbers;
  }
  using Numbers = std::vector<std::uint64_t>;
};

TEST_F(DeferredRequestsTest, TheyGoAgainInOrderAfterAWaitThatDoubles) {
  for (std::uint64_t n = 1; n <= 3; ++n) send(n);
  defer(2);
  ASSERT_EQ(all<effect::StartRepeatTimer>().size(), 1U);
  EXPECT_EQ(all<effect::StartRepeatTimer>()[0].after, 5ms);
  defer(3);
  EXPECT_TRUE(effects.empty()) << "one timer runs";
  timer();
  EXPECT_EQ(forwarded(), (Numbers{2, 3}));
  EXPECT_TRUE(all<effect::StartRepeatTimer>().empty());
  defer(2);
  EXPECT_EQ(all<effect::StartRepeatTimer>().at(0).after, 10ms);
  defer(3);
  EXPECT_EQ(state.counters.deferred, 4U);
  EXPECT_EQ(state.counters.held_up, 2U);
  timer();
  EXPECT_EQ(forwarded(), (Numbers{2, 3}));
  EXPECT_EQ(all<effect::Forward>()[0].request.payload, Payload{"q"});
}

TEST_F(DeferredRequestsTest, WhatIsSentMeanwhileWaitsBehind) {
  send(1);
  defer(1);
  send(2);
  EXPECT_TRUE(forwarded().empty());
  timer();
  EXPECT_EQ(forwarded(), (Numbers{1, 2}));
  send(3);
  EXPECT_EQ(forwarded(), (Numbers{3})) << "nothing waits: straight out";
}

TEST_F(DeferredRequestsTest, EachAnswerMakesRoomForOne) {
  for (std::uint64_t n = 1; n <= 4; ++n) send(n);
  for (std::uint64_t n = 2; n <= 4; ++n) defer(n);
  timer();
  for (std::uint64_t n = 2; n <= 4; ++n) defer(n);
  answer(1);
  EXPECT_EQ(forwarded(), (Numbers{2}));
  answer(2);
  EXPECT_EQ(forwarded(), (Numbers{3}));
  EXPECT_EQ(state.counters.held_up, 2U);
  timer();
  EXPECT_EQ(forwarded(), (Numbers{4}));
  defer(4);
  EXPECT_EQ(all<effect::StartRepeatTimer>().at(0).after, 5ms) << "there was success";
}

TEST_F(DeferredRequestsTest, OneFiringSendsSoManyAndTheRestAtTheNext) {
  for (std::uint64_t n = 1; n <= 100; ++n) send(n);
  for (std::uint64_t n = 1; n <= 100; ++n) defer(n);
  timer();
  EXPECT_EQ(forwarded().size(), 64U);
  EXPECT_EQ(all<effect::StartRepeatTimer>().size(), 1U);
  timer();
  EXPECT_EQ(forwarded().size(), 36U);
  EXPECT_EQ(forwarded().front(), 65U);
}

TEST_F(DeferredRequestsTest, AWaiterGetsTheReplyHoweverOftenItWasDeferred) {
  send(1);
  EXPECT_EQ(receive(1), "");
  for (int i = 0; i < 12; ++i) {
    defer(1);
    timer();
  }
  answer(1);
  ASSERT_EQ(all<effect::Complete>().size(), 1U);
  EXPECT_EQ(all<effect::Complete>()[0].outcome->view(), "r1");
  EXPECT_EQ(state.counters.held_up, 0U);
  EXPECT_EQ(state.counters.completed, 1U);
}

TEST_F(DeferredRequestsTest, OneThatRunsOutOfTimeIsWithdrawnExactlyAtItsDeadline) {
  send(1, {.deadline = 1s});
  defer(1);
  now += 1s - 1ns;
  timer();
  EXPECT_EQ(forwarded(), (Numbers{1}));
  defer(1);
  now += 1ns;
  timer();
  EXPECT_TRUE(forwarded().empty());
  EXPECT_EQ(withdrawn(), (Numbers{1}));
  ASSERT_EQ(all<effect::GiveUp>().size(), 1U);
  EXPECT_EQ(all<effect::GiveUp>()[0].cause, DeadLetterCause::kExpired);
  EXPECT_EQ(receive(1).rfind("ConversationTimeout: request ", 0), 0U);
  EXPECT_EQ(state.counters.completed, 0U) << "nobody did it";
  EXPECT_EQ(state.participants[0].unanswered, 0U);
}

TEST_F(DeferredRequestsTest, TheTimeoutSaysThatTheMailboxIsFull) {
  send(1, {.deadline = 1s});
  defer(1);
  timer();
  defer(1);
  now += 1s;
  timer();
  EXPECT_NE(receive(1).find("the participant's mailbox is full, deferred 2 times"),
            std::string::npos);
}

TEST_F(DeferredRequestsTest, WhoeverWantsToBeToldIsToldAndItIsWithdrawn) {
  send(1, {.when_deferred = WhenDeferred::kTell});
  defer(1);
  EXPECT_EQ(withdrawn(), (Numbers{1}));
  EXPECT_EQ(receive(1), "Deferred: the participant's mailbox is full");
  EXPECT_TRUE(all<effect::StartRepeatTimer>().empty());

  send(2);
  defer(2);
  send(3, {.when_deferred = WhenDeferred::kTell});  // it would come behind 2
  EXPECT_TRUE(forwarded().empty());
  EXPECT_TRUE(withdrawn().empty()) << "it was never sent";
  EXPECT_EQ(receive(3), "Deferred: the participant's mailbox is full");
}

TEST_F(DeferredRequestsTest, OneThatIsRejectedSaysWhy) {
  send(1);
  send(2, {.reply = ReplyMode::kInbox});
  send(3, {.reply = ReplyMode::kNone});
  for (std::uint64_t n = 1; n <= 3; ++n) {
    when(input::Refused{kHelper, message(n), RefusalKind::kRejected, "over payload-max"});
  }
  EXPECT_EQ(receive(1), "Rejected: over payload-max");
  when(input::ReceiveRequested{WaiterId{9}, std::nullopt});
  EXPECT_EQ(all<effect::Complete>().at(0).outcome.error().code, Errc::kRejected);
  EXPECT_EQ(state.counters.rejected, 3U);
  EXPECT_TRUE(state.requests.empty());
  EXPECT_EQ(state.participants[0].unanswered, 0U);
  EXPECT_EQ(state.phase, Phase::kActive);
}

TEST_F(DeferredRequestsTest, OneThatNobodyWantsAnyMoreIsWithdrawn) {
  CoreDriver::send(1, ReplyMode::kCorrelated, {}, WaiterId{7});
  send(2);
  defer(1);
  defer(2);
  when(input::ReceiveAbandoned{WaiterId{7}, message(1)});
  EXPECT_EQ(withdrawn(), (Numbers{1}));
  EXPECT_EQ(state.counters.held_up, 1U);
  timer();
  EXPECT_EQ(forwarded(), (Numbers{2}));
}

TEST_F(DeferredRequestsTest, ARefusalOfWhatIsNotOpenIsAnsweredByAWithdrawal) {
  send(1);
  defer(9);
  EXPECT_EQ(withdrawn(), (Numbers{9}));
  when(input::Refused{kStranger, message(1), RefusalKind::kDeferred, {}});
  EXPECT_EQ(all<effect::Withdraw>().at(0).to, kStranger);
  when(input::Refused{kStranger, message(1), RefusalKind::kRejected, {}});
  EXPECT_TRUE(effects.empty());
  answer(1);
  defer(1);  // after its answer: somebody lies
  EXPECT_EQ(withdrawn(), (Numbers{1}));
  EXPECT_EQ(receive(1), "reply r1");
}

TEST_F(DeferredRequestsTest, AnAnswerToWhatWasDeferredIsNone) {
  send(1);
  defer(1);
  answer(1);
  EXPECT_EQ(state.counters.answers_dropped, 1U);
  timer();
  EXPECT_EQ(forwarded(), (Numbers{1}));
}

TEST_F(DeferredRequestsTest, ACrashWakesWhoWaitsForWhatIsDeferred) {
  send(1);
  defer(1);
  EXPECT_EQ(receive(1), "");
  when(input::ParticipantsExited{{{kHelper, ExitReason::error("exit status 3")}}});
  ASSERT_EQ(all<effect::Complete>().size(), 1U);
  EXPECT_EQ(all<effect::Complete>()[0].outcome.error().code, Errc::kParticipantCrashed);
  EXPECT_EQ(state.counters.held_up, 0U);
  timer();
  EXPECT_TRUE(effects.empty());
}

TEST_F(DeferredRequestsTest, ANormalExitWithOnlyDeferredRequestsIsACrash) {
  send(1);
  defer(1);
  when(input::ParticipantsExited{{{kHelper, ExitReason::normal()}}});
  EXPECT_EQ(state.phase, Phase::kFailed);
  EXPECT_EQ(state.crashes.at(0).unanswered, 1U);
}

TEST_F(DeferredRequestsTest, LateRepliesAreDeadLetters) {
  send(1);
  answer(7);
  ASSERT_EQ(all<effect::GiveUp>().size(), 1U);
  EXPECT_EQ(all<effect::GiveUp>()[0].cause, DeadLetterCause::kLateReply);
  EXPECT_EQ(all<effect::GiveUp>()[0].peer, kHelper);
  EXPECT_EQ(all<effect::GiveUp>()[0].envelope.id, message(1007));
}

}  // namespace
}  // namespace liminal
