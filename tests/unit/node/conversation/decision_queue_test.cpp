// Goal: inputs keep their order, but for what must come first; what others caused is counted while
// it waits, and no longer.
#include "node/conversation/decision_queue.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace liminal {
namespace {

using Order = std::vector<std::string>;

const Pid kAnn{NodeName{"a"}, Incarnation{1}, Serial{7}};
constexpr MessageId kRequest{1, 1}, kOther{1, 2};
constexpr WaiterId kWaiter{4}, kNobody{5};

Input answered() { return input::Answered{kAnn, {EnvelopeKind::kReply, kOther, {1, 2}}}; }
Input returned(MessageId request) {
  return input::OfferRefused{{request, ReplyMode::kCorrelated, 0, 0, kWaiter}, Payload{"x"}};
}

std::string name_of(const Input& input) {
  if (std::holds_alternative<input::Answered>(input)) return "answer";
  if (std::holds_alternative<input::OfferRefused>(input)) return "returned";
  if (std::holds_alternative<input::ActorCrashed>(input)) return "crash";
  if (std::holds_alternative<input::CancelRequested>(input)) return "cancel";
  if (std::holds_alternative<input::ReceiveRequested>(input)) return "receive";
  return "?";
}

Order drain(DecisionQueue& queue) {
  Order order;
  for (; !queue.empty(); queue.pop()) order.push_back(name_of(*queue.front()));
  return order;
}

TEST(DecisionQueue, AReplyOnItsWayBackIsDecidedBeforeTheActorsCrashAndThatBeforeAllElse) {
  DecisionQueue queue;
  queue.push(answered());
  queue.push_front({returned(kRequest), returned(kOther)});
  queue.push_urgent(input::ActorCrashed{ExitReason::killed()});
  EXPECT_EQ(drain(queue), (Order{"returned", "returned", "crash", "answer"}));
}

TEST(DecisionQueue, WhatIsPushedToTheFrontKeepsItsOrder) {
  DecisionQueue queue;
  queue.push(answered());
  queue.push_front({returned(kRequest), input::CancelRequested{"me"}});
  EXPECT_EQ(drain(queue), (Order{"returned", "cancel", "answer"}));
}

TEST(DecisionQueue, WhatOthersCausedIsCountedWhileItWaits) {
  DecisionQueue queue;
  queue.push(answered());
  queue.push(answered());
  queue.push_from_elsewhere(input::CancelRequested{"me"});
  EXPECT_EQ(queue.answers_of(kAnn), 2U);
  EXPECT_EQ(queue.from_elsewhere(), 1U);
  EXPECT_TRUE(queue.has_cancel());
  queue.pop();
  EXPECT_EQ(queue.answers_of(kAnn), 1U);
  queue.clear();
  EXPECT_EQ(queue.answers_of(kAnn), 0U);
  EXPECT_EQ(queue.from_elsewhere(), 0U);
  EXPECT_FALSE(queue.has_cancel());
}

TEST(DecisionQueue, ACallIsDroppedUnlessItIsBeingDecided) {
  DecisionQueue queue;
  queue.push_from_elsewhere(input::ReceiveRequested{kWaiter, {}});
  EXPECT_FALSE(queue.drop_call(kWaiter, true));
  EXPECT_FALSE(queue.drop_call(kNobody, false));
  EXPECT_TRUE(queue.drop_call(kWaiter, false));
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.from_elsewhere(), 0U);
  EXPECT_FALSE(queue.drop_call(kWaiter, true)) << "of nothing";
}

TEST(DecisionQueue, RepliesThatNobodyWillAskForDoNotReturn) {
  DecisionQueue queue;
  queue.push_front({returned(kRequest), returned(kOther)});
  queue.push(input::ReceiveAbandoned{kWaiter, kOther});
  queue.push(input::ReceiveAbandoned{kNobody, kRequest});  // it was not taken for that one
  const auto replies = queue.returned_replies();
  ASSERT_EQ(replies.size(), 1U);
  EXPECT_EQ(replies[0].reply.request, kRequest);
}

}  // namespace
}  // namespace liminal
