// Goal: a call of a handle becomes at most one input, is answered whatever happens to it, and those
// that wait are bounded, wherever they come from.
#include "node/conversation/handles_here.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "tests/support/outcomes.hpp"

namespace liminal {
namespace {

using namespace test;

constexpr WaiterId kFirst{1}, kSecond{2};
constexpr MessageId kRequest{3, 4};

class HandlesHereTest : public ::testing::Test {
 protected:
  static std::shared_ptr<const ConversationConfig> config(CrashPolicy policy) {
    ConversationConfig made{policy};
    made.waiters_max = 2;
    return std::make_shared<const ConversationConfig>(std::move(made));
  }

  std::shared_ptr<Waiter> wait_into(const Told& where) {
    return std::make_shared<Waiter>(into(where));
  }
  call::Receive receive(WaiterId id, const std::shared_ptr<Waiter>& waiter) {
    return {id, Ticket{waiter, cell, question::Receive{{}}}, {}};
  }
  call::Receive receive(WaiterId id, const Told& where) { return receive(id, wait_into(where)); }
  call::Send send(WaiterId id, const std::shared_ptr<Waiter>& waiter) {
    call::Send send{kRequest, Payload{"x"}, {}, std::nullopt, std::nullopt};
    send.accepted.emplace(id, Ticket{waiter, cell, question::Send{}});
    return send;
  }
  call::Abandon abandon(WaiterId id) { return {id, Forgotten{kRequest, id, cell}}; }
  call::Close close(WaiterId id, const Told& where) {
    call::Close close;
    close.waiter.emplace(id, Ticket{wait_into(where), cell, question::Close{}});
    return close;
  }
  template <class I, class C>
  bool becomes(C call, std::size_t elsewhere = 0) {
    const auto input = handles.on_call(std::move(call), elsewhere);
    return input && std::holds_alternative<I>(*input);
  }

  const Told told = nothing(), second = nothing();
  ConversationContext state{ConversationId{1, 2}, config(CrashPolicy::kFail)};
  std::shared_ptr<ConversationCell> cell = std::make_shared<ConversationCell>(snapshot_of(state));
  HandlesHere handles{state.config};
};

TEST_F(HandlesHereTest, WhoWaitsIsToldTheOutcomeOnce) {
  EXPECT_TRUE(becomes<input::ReceiveRequested>(receive(kFirst, told)));
  EXPECT_EQ(handles.waiting(), 1U);
  EXPECT_EQ(handles.complete(kFirst, Payload{"x"}), std::optional{true});
  EXPECT_EQ(*told, "ok x");
  EXPECT_EQ(handles.complete(kFirst, Payload{"y"}), std::nullopt) << "it waits no more";
  EXPECT_EQ(handles.waiting(), 0U);
}

TEST_F(HandlesHereTest, WhoGaveUpUnseenDoesNotTakeTheOutcome) {
  const auto waiter = wait_into(told);
  EXPECT_TRUE(becomes<input::ReceiveRequested>(receive(kFirst, waiter)));
  EXPECT_TRUE(waiter->abandon());
  EXPECT_EQ(handles.complete(kFirst, Payload{"x"}), std::optional{false});
  EXPECT_EQ(*told, "");
}

TEST_F(HandlesHereTest, WhoGaveUpBeforeTheCallCameCostsNoDecision) {
  const auto waiter = wait_into(told);
  EXPECT_TRUE(waiter->abandon());
  EXPECT_FALSE(handles.on_call(receive(kFirst, waiter), 0));
  EXPECT_EQ(handles.waiting(), 0U);
}

TEST_F(HandlesHereTest, AnAbandonedCallIsForgottenHereAndInTheRecordOnce) {
  EXPECT_TRUE(becomes<input::ReceiveRequested>(receive(kFirst, told)));
  EXPECT_TRUE(becomes<input::ReceiveAbandoned>(call::Abandon{kFirst, {}}));
  EXPECT_EQ(handles.waiting(), 0U);
  EXPECT_FALSE(handles.on_call(call::Abandon{kFirst, {}}, 0)) << "it is gone";
  EXPECT_FALSE(handles.on_call(abandon(kFirst), 0)) << "nor is there a request";
  EXPECT_EQ(*told, "");
}

// Else a loop of sends without patience would fill the queue of what is to be decided.
TEST_F(HandlesHereTest, ASendThatWasGivenUpBeforeItCameCostsNoDecisionAtAll) {
  const auto waiter = wait_into(told);
  EXPECT_TRUE(waiter->abandon());
  EXPECT_FALSE(handles.on_call(send(kFirst, waiter), 0));
  EXPECT_FALSE(handles.on_call(abandon(kFirst), 0));
}

TEST_F(HandlesHereTest, ASendThatWasDecidedWhenItWasGivenUpIsForgottenOnce) {
  const auto waiter = wait_into(told);
  EXPECT_TRUE(becomes<input::SendRequested>(send(kFirst, waiter)));
  EXPECT_TRUE(waiter->abandon());
  EXPECT_EQ(handles.complete(kFirst, Payload{}), std::optional{false});
  EXPECT_TRUE(becomes<input::ReceiveAbandoned>(abandon(kFirst)));
  EXPECT_FALSE(handles.on_call(abandon(kFirst), 0));
}

TEST_F(HandlesHereTest, AReceiveThatFoundItsCallerGoneIsNotDecidedAgain) {
  const auto waiter = wait_into(told);
  EXPECT_TRUE(becomes<input::ReceiveRequested>(receive(kFirst, waiter)));
  EXPECT_TRUE(waiter->abandon());
  EXPECT_EQ(handles.complete(kFirst, Payload{"x"}), std::optional{false});
  EXPECT_FALSE(handles.on_call(call::Abandon{kFirst, {}}, 0));
  EXPECT_FALSE(handles.on_call(abandon(kFirst), 0));
}

TEST_F(HandlesHereTest, ThoseOfOtherNodesCountForTheBound) {
  EXPECT_TRUE(becomes<input::ReceiveRequested>(receive(kFirst, told), 1));
  EXPECT_FALSE(handles.on_call(receive(kSecond, second), 1));
  EXPECT_EQ(*second, "Rejected: 2 calls wait, waiters-max is 2");
  EXPECT_EQ(handles.waiting(), 1U);
  EXPECT_EQ(*told, "");
}

TEST_F(HandlesHereTest, ACloseWithoutACallerNeedsNoRoom) {
  EXPECT_TRUE(becomes<input::CloseRequested>(close(kFirst, told), 1));
  EXPECT_FALSE(handles.on_call(close(kSecond, second), 1));
  EXPECT_TRUE(becomes<input::CloseRequested>(call::Close{}, 2));
}

TEST_F(HandlesHereTest, ANodesEndClosesUnlessThereIsSomethingToUndo) {
  EXPECT_TRUE(becomes<input::CloseRequested>(call::Shutdown{}));
  HandlesHere undoing{config(CrashPolicy::kCompensate)};
  const auto input = undoing.on_call(call::Shutdown{}, 0);
  ASSERT_TRUE(input);
  EXPECT_TRUE(std::holds_alternative<input::Abandoned>(*input));
}

TEST_F(HandlesHereTest, ItIsHeldUntilTheLastOriginIsGone) {
  EXPECT_TRUE(handles.held());
  EXPECT_FALSE(handles.on_call(call::HandlesBack{}, 0));
  EXPECT_FALSE(handles.on_call(call::HandlesGone{}, 0));
  EXPECT_TRUE(handles.held());
  EXPECT_FALSE(handles.on_call(call::HandlesGone{}, 0));
  EXPECT_FALSE(handles.held());
}

TEST_F(HandlesHereTest, WhoStillWaitsAtTheEndIsAnsweredByTheCell) {
  EXPECT_TRUE(becomes<input::ReceiveRequested>(receive(kFirst, told)));
  cell->lost();
  handles.over();
  EXPECT_EQ(told->substr(0, 18), "ConversationFailed");
  EXPECT_EQ(handles.waiting(), 0U);
}

}  // namespace
}  // namespace liminal
