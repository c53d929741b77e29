// Goal: what was not received when a conversation ended can be received once, and only once; calls
// that nobody answers are answered.
#include "node/conversation/conversation_cell.hpp"

#include <gtest/gtest.h>

#include <string>

namespace liminal {
namespace {

const MessageId kRequest{1, 2};

class ConversationCellTest : public ::testing::Test {
 protected:
  static std::string text(const Outcome& outcome) {
    return outcome ? "ok " + std::string{outcome->view()}
                   : std::string{name_of(outcome.error().code)} + ": " + outcome.error().detail;
  }
  std::string ask(const Question& question) {
    std::string told;
    Waiter waiter{[&](const Outcome& outcome) { told = text(outcome); }};
    cell->answer(question, waiter);
    return told;
  }
  void end() {
    cell->publish(ConversationState{.id = {1, 1}, .phase = ConversationPhase::kClosed});
    cell->archive({{{kRequest, Payload{"own"}}},
                   {{MessageId{9, 1}, Payload{"first"}}, {MessageId{9, 2}, Payload{"second"}}}});
  }

  std::shared_ptr<ConversationCell> cell =
      std::make_shared<ConversationCell>(ConversationState{.id = {1, 1}});
};

TEST_F(ConversationCellTest, WhatWasNotReceivedIsHandedOutOnceInOrder) {
  end();
  EXPECT_EQ(ask(question::Receive{}), "ok first");
  EXPECT_EQ(ask(question::Receive{kRequest}), "ok own");
  EXPECT_EQ(ask(question::Receive{}), "ok second");
  EXPECT_EQ(ask(question::Receive{}), "ConversationFailed: conversation closed");
  EXPECT_EQ(ask(question::Receive{kRequest}), "ConversationFailed: conversation closed");
}

TEST_F(ConversationCellTest, ACallerThatGaveUpSwallowsNothing) {
  end();
  for (const Question& question :
       {Question{question::Receive{}}, Question{question::Receive{kRequest}}}) {
    Waiter gone;
    EXPECT_TRUE(gone.abandon());
    cell->answer(question, gone);
  }
  EXPECT_EQ(ask(question::Receive{}), "ok first");
  EXPECT_EQ(ask(question::Receive{kRequest}), "ok own");
}

TEST_F(ConversationCellTest, ATicketThatIsDroppedIsAnswered) {
  std::string told;
  {
    Ticket dropped{std::make_shared<Waiter>([&](const Outcome& o) { told = text(o); }), cell,
                   question::Send{}};
  }
  EXPECT_EQ(told, "ConversationFailed: the conversation's process is gone");
}

TEST_F(ConversationCellTest, ATicketThatWasRedeemedOrCancelledIsNot) {
  int told = 0;
  const auto count = [&](const Outcome&) { ++told; };
  {
    Ticket redeemed{std::make_shared<Waiter>(count), cell, question::Send{}};
    EXPECT_TRUE(redeemed.redeem(Payload{}));
    Ticket cancelled{std::make_shared<Waiter>(count), cell, question::Send{}};
    cancelled.cancel();
  }
  EXPECT_EQ(told, 1);
}

TEST_F(ConversationCellTest, AProcessThatWasLostMadeAFailedConversationUnlessItHadEnded) {
  cell->lost();
  EXPECT_EQ(cell->snapshot().phase, ConversationPhase::kFailed);
  EXPECT_TRUE(cell->snapshot().ended);
  cell = std::make_shared<ConversationCell>(ConversationState{.id = {1, 1}});
  end();
  cell->lost();
  EXPECT_EQ(cell->snapshot().phase, ConversationPhase::kClosed);
}

}  // namespace
}  // namespace liminal
