// Goal: a request whose sender gave up is withdrawn, whenever that was: what was not taken is never
// sent, what was taken is cancelled, its reply is a dead letter, and no entry of it stays anywhere.
#include <gtest/gtest.h>

#include "tests/unit/node/conversation/core_driver.hpp"

namespace liminal {
namespace {

using Phase = ConversationPhase;

const ServiceName kToy{"toy"};
const Pid kHelper{NodeName{"node-b"}, Incarnation{7}, Serial{3}};
const Pid kNext{NodeName{"node-c"}, Incarnation{8}, Serial{4}};

class WithdrawnSend : public CoreDriver {
 protected:
  explicit WithdrawnSend(CrashPolicy policy = CrashPolicy::kFail)
      : CoreDriver{{policy, {ParticipantConfig::owned(kToy)}}} {}

  void send(std::uint64_t n, ReplyMode mode = ReplyMode::kCorrelated) {
    CoreDriver::send(n, mode, {}, WaiterId{90 + n});
  }
  void give_up(std::uint64_t n) { when(input::ReceiveAbandoned{WaiterId{90 + n}, message(n)}); }
  void expect_nothing_left() {
    EXPECT_TRUE(state.requests.empty());
    EXPECT_TRUE(state.inbox.empty());
    EXPECT_TRUE(state.deadlines.empty());
    EXPECT_EQ(state.participants[0].unanswered, 0U);
    EXPECT_EQ(state.unanswered_bytes, 0U);
    EXPECT_EQ(state.counters.held_up, 0U);
  }
};

TEST_F(WithdrawnSend, IsNeverSentIfItsParticipantWasNotThere) {
  for (const ReplyMode mode : {ReplyMode::kCorrelated, ReplyMode::kInbox, ReplyMode::kNone}) {
    send(1, mode);
    give_up(1);
    expect_nothing_left();
  }
  send(2);
  ready(kHelper);
  ASSERT_EQ(all<effect::Forward>().size(), 1U);
  EXPECT_EQ(all<effect::Forward>()[0].request.id, message(2));
}

TEST_F(WithdrawnSend, IsTakenBackFromAFullMailbox) {
  send(1, ReplyMode::kInbox);
  ready(kHelper);
  when(input::Refused{kHelper, message(1), signal::RefusalKind::kDeferred, {}});
  give_up(1);
  ASSERT_EQ(all<effect::Withdraw>().size(), 1U);
  EXPECT_EQ(all<effect::Withdraw>()[0].message, message(1));
  expect_nothing_left();
}

TEST_F(WithdrawnSend, IsCancelledWhereItRunsAndItsReplyIsADeadLetter) {
  for (const ReplyMode mode : {ReplyMode::kCorrelated, ReplyMode::kInbox}) {
    send(1, mode);
    ready(kHelper);
    give_up(1);
    ASSERT_EQ(all<effect::Cancel>().size(), 1U);
    EXPECT_EQ(all<effect::Cancel>()[0].message, message(1));
    expect_nothing_left();
    answer(1, kHelper);
    ASSERT_EQ(all<effect::GiveUp>().size(), 1U);
    EXPECT_EQ(all<effect::GiveUp>()[0].cause, DeadLetterCause::kLateReply);
    EXPECT_EQ(all<effect::GiveUp>()[0].envelope.payload, Payload{"r1"});
    expect_nothing_left();
  }
  EXPECT_EQ(state.counters.answers_dropped, 2U);
}

TEST_F(WithdrawnSend, ThatWasCancelledInTimeLeavesNothingAndNobodyWasOutOfTime) {
  for (const EnvelopeKind kind : {EnvelopeKind::kCancelled, EnvelopeKind::kExpired}) {
    send(1);
    ready(kHelper);
    give_up(1);
    answer(1, kHelper, kind);
    EXPECT_TRUE(all<effect::GiveUp>().empty());
    expect_nothing_left();
  }
  EXPECT_EQ(state.counters.expired, 0U);
  EXPECT_EQ(state.phase, Phase::kActive);
}

TEST_F(WithdrawnSend, WhoseReplyIsThereAlreadyLeavesADeadLetter) {
  for (const ReplyMode mode : {ReplyMode::kCorrelated, ReplyMode::kInbox}) {
    send(1, mode);
    ready(kHelper);
    answer(1, kHelper);
    give_up(1);
    ASSERT_EQ(all<effect::GiveUp>().size(), 1U);
    EXPECT_EQ(all<effect::GiveUp>()[0].peer, kHelper);
    expect_nothing_left();
  }
  receive(7);
  EXPECT_EQ(told(7), "") << "there is nothing to receive";
}

TEST_F(WithdrawnSend, IsTheCallsForWhichItWasTaken) {
  for (const ReplyMode mode : {ReplyMode::kCorrelated, ReplyMode::kInbox}) {
    send(1, mode);
    when(input::ReceiveAbandoned{WaiterId{90}, message(1)});
    ready(kHelper);
    answer(1, kHelper);
    when(input::ReceiveAbandoned{WaiterId{90}, message(1)});
    EXPECT_TRUE(effects.empty());
    receive(7, mode == ReplyMode::kCorrelated ? std::optional<std::uint64_t>{1} : std::nullopt);
    EXPECT_EQ(told(7), "reply r1");
    const auto complete = all<effect::Complete>().at(0);
    when(input::OfferRefused{*complete.reply, complete.outcome});
    when(input::ReceiveAbandoned{WaiterId{90}, message(1)});
    EXPECT_EQ(state.requests.size(), 1U) << "put back, it is still another's";
    give_up(1);
    expect_nothing_left();
  }
}

TEST_F(WithdrawnSend, IsItsReceiversIfSomebodyWaitsForIt) {
  send(1);
  ready(kHelper);
  receive(7, 1);
  give_up(1);
  answer(1, kHelper);
  EXPECT_EQ(told(7), "reply r1");
  expect_nothing_left();
}

class WithdrawnSendToTheSecondRole : public CoreDriver {
 protected:
  WithdrawnSendToTheSecondRole()
      : CoreDriver{{CrashPolicy::kFail,
                    {ParticipantConfig::owned("first", kToy),
                     ParticipantConfig::owned("second", kToy)}}} {}
};

TEST_F(WithdrawnSendToTheSecondRole, LeavesADeadLetterOfWhoAnsweredThoughItWasPutBack) {
  send(1, ReplyMode::kInbox, "second", WaiterId{91});
  ready(kHelper, 0);
  ready(kNext, 1);
  answer(1, kNext);
  receive(7);
  const auto complete = all<effect::Complete>().at(0);
  when(input::OfferRefused{*complete.reply, complete.outcome});
  when(input::ReceiveAbandoned{WaiterId{91}, message(1)});
  ASSERT_EQ(all<effect::GiveUp>().size(), 1U);
  EXPECT_EQ(all<effect::GiveUp>()[0].peer, kNext);
}

class WithdrawnSendThatIsRerouted : public WithdrawnSend {
 protected:
  WithdrawnSendThatIsRerouted() : WithdrawnSend{CrashPolicy::kRouteToNext} {}
};

TEST_F(WithdrawnSendThatIsRerouted, IsNobodysNextRequest) {
  send(1);
  send(2);
  ready(kHelper);
  give_up(1);
  exit(kHelper);
  ready(kNext);
  ASSERT_EQ(all<effect::Forward>().size(), 1U);
  EXPECT_EQ(all<effect::Forward>()[0].request.id, message(2));
  answer(2, kNext);
  receive(7, 2);
  expect_nothing_left();
}

class WithdrawnSendUnderCompensate : public WithdrawnSend {
 protected:
  WithdrawnSendUnderCompensate() : WithdrawnSend{CrashPolicy::kCompensate} {}
};

TEST_F(WithdrawnSendUnderCompensate, RunsOnAndCanBeUndone) {
  send(1);
  ready(kHelper, 0, true);
  give_up(1);
  EXPECT_TRUE(all<effect::Cancel>().empty());
  answer(1, kHelper);
  EXPECT_TRUE(state.requests.empty());
  EXPECT_EQ(state.undoable, 1U);
}

TEST_F(WithdrawnSendUnderCompensate, IsSettledLikeAnyOtherOnceItCompensates) {
  send(1);
  ready(kHelper, 0, true);
  when(input::CancelRequested{"a test"});
  ASSERT_EQ(state.phase, Phase::kCompensating);
  give_up(1);
  EXPECT_TRUE(effects.empty());
  answer(1, kHelper, EnvelopeKind::kCancelled);
  EXPECT_EQ(state.phase, Phase::kFailed) << "there was nothing to undo";
}

}  // namespace
}  // namespace liminal
