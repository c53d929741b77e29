// Goal: what other processes, nodes and callers do wrongly, or only unexpectedly, neither holds a
// conversation up, nor makes it forget anything, nor grows it without bound.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "node/conversation/remote_calls.hpp"
#include "node/conversation/remote_state.hpp"
#include "tests/unit/node/conversation/conversations_on_one_node.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;
using Phase = ConversationPhase;

const NodeName kFar{"far"};
constexpr Incarnation kFarLife{5};

class UnrulyPeers : public ConversationsOnOneNode {
 protected:
  static Pid far(std::uint64_t serial) { return {kFar, kFarLife, Serial{serial}}; }

  ConversationHandle open(ConversationConfig config = one_toy()) {
    auto handle = ConversationsOnOneNode::open(std::move(config));
    run();
    return handle;
  }
  ConversationHandle open_attached(std::vector<Pid> pids) {
    ConversationConfig config{CrashPolicy::kFail};
    for (std::size_t i = 0; i < pids.size(); ++i) {
      config.participants.push_back(
          ParticipantConfig::attached("role" + std::to_string(i), std::move(pids[i])));
    }
    return open(std::move(config));
  }
  Pid bystander() {
    ++bystanders;
    return scheduler.spawn(std::make_unique<Toy>());
  }

  /// Of a link that the conversation made to `to`.
  void exit_of(const ConversationHandle& handle, const Pid& to, ExitReason reason) {
    for (const Signal& signal : forwarded) {
      const auto* link = std::get_if<signal::Link>(&signal);
      if (link == nullptr || link->to != to) continue;
      return scheduler.deliver(signal::Exit{to, handle.pid(), std::move(reason), link->link});
    }
    FAIL() << "not linked";
  }

  // --- a handle elsewhere, by its signals ---

  MessageId call(const ConversationHandle& handle, const RemoteCall& what,
                 std::string payload = {}) {
    Envelope envelope{.kind = EnvelopeKind::kCall,
                      .id = MessageId{77, ++calls},
                      .conversation = handle.id(),
                      .payload = Payload{std::move(payload)}};
    const MessageId id = envelope.id;
    put(envelope, what);
    scheduler.deliver(signal::Send{kHolder, handle.pid(), std::move(envelope)});
    return id;
  }
  /// "" until it came.
  std::string outcome(const MessageId& call) {
    std::string found;
    for (const Signal& signal : forwarded) {
      const auto* send = std::get_if<signal::Send>(&signal);
      if (send == nullptr || send->to != kHolder || send->envelope.parent != call) continue;
      EXPECT_EQ(found, "") << "a second outcome";
      Envelope envelope = send->envelope;
      const auto outcome = take_outcome(envelope);
      EXPECT_TRUE(outcome);
      if (const auto* failed = std::get_if<remote_outcome::Failed>(&*outcome)) {
        found = std::string{name_of(failed->error.code)} + ": " + failed->error.detail;
      } else if (std::holds_alternative<remote_outcome::Reply>(*outcome)) {
        found = "reply " + std::string{envelope.payload.view()};
      } else {
        found = std::holds_alternative<remote_outcome::State>(*outcome) ? "state" : "taken";
      }
    }
    return found;
  }

  const Pid kHolder = far(50);
  std::uint64_t calls = 0;
};

// --- exits ---

TEST_F(UnrulyPeers, AnExitOfALostConnectionWaitsForThoseOfItsNodeButNotForLong) {
  auto handle = open_attached({far(61), far(62)});
  send(handle, "x", {.role = "role0"});
  exit_of(handle, far(61), ExitReason::noconnection(std::nullopt));
  run_for(50ms - 1ns);
  EXPECT_TRUE(handle.query_state().crashes.empty());
  run_for(1ns);
  EXPECT_EQ(handle.query_state().crashes.size(), 1U) << "its node lives: it was linked to another";
  EXPECT_EQ(handle.query_state().phase, Phase::kFailed);
}

TEST_F(UnrulyPeers, AHeldExitIsDecidedWithThatOfTheNodesLast) {
  auto handle = open_attached({far(61), far(62)});
  send(handle, "x", {.role = "role0"});
  exit_of(handle, far(61), ExitReason::noconnection(std::nullopt));
  exit_of(handle, far(62), ExitReason::error("boom"));
  run();
  const auto state = handle.query_state();
  ASSERT_EQ(state.crashes.size(), 2U);
  EXPECT_EQ(state.crashes[0].role, "role0");
  EXPECT_EQ(state.crashes[1].role, "role1");
}

TEST_F(UnrulyPeers, TheExitsOfOneNodesDeathAreDecidedAsOne) {
  auto handle = open_attached({far(61), far(62)});
  send(handle, "x", {.role = "role0"});
  exit_of(handle, far(61), ExitReason::noconnection(std::nullopt));
  run_for(1ms);
  exit_of(handle, far(62), ExitReason::noconnection(std::nullopt));
  run();
  ASSERT_EQ(handle.query_state().crashes.size(), 2U);
  EXPECT_EQ(handle.query_state().crashes[0].at, handle.query_state().crashes[1].at);
}

TEST_F(UnrulyPeers, NobodysNodeDiedWhoExitsHere) {
  const Pid one = bystander(), two = bystander();
  auto handle = open_attached({one, two});
  EXPECT_EQ(ask(handle, "x", {.role = "role0"}), "ok x");
  scheduler.exit(one, ExitReason::noconnection(std::nullopt));
  --bystanders;
  run();
  EXPECT_EQ(handle.query_state().crashes.size(), 1U);
}

TEST_F(UnrulyPeers, ExitSignalsOfStrangersAreCountedAndNothingElse) {
  auto handle = open_attached({bystander(), far(61)});
  EXPECT_EQ(ask(handle, "x", {.role = "role0"}), "ok x");
  for (std::uint64_t i = 0; i < 10; ++i) {
    scheduler.deliver(signal::Exit{far(90 + i % 2), handle.pid(),
                                   ExitReason::noconnection(std::nullopt), std::nullopt});
    scheduler.deliver(signal::Exit{far(90), handle.pid(), ExitReason::error("boom"), std::nullopt});
  }
  run();
  EXPECT_EQ(handle.query_state().counters.exits_ignored, 20U);
  EXPECT_EQ(ask(handle, "y", {.role = "role0"}), "ok y");
}

TEST_F(UnrulyPeers, AnInstanceThatSaysItExitedIsTakenAtItsWord) {
  auto handle = open();
  EXPECT_EQ(ask(handle, "lie"), "ParticipantCrashed: toy on a: so it says");
  EXPECT_EQ(scheduler.counts().processes, 0U) << "it lives no longer than that";
}

TEST_F(UnrulyPeers, OneThatFloodsDropsNobodyElsesAnswer) {
  ConversationConfig config{CrashPolicy::kFail,
                            {ParticipantConfig::attached("flood", far(61)),
                             ParticipantConfig::attached("honest", far(62))}};
  config.requests_max = 2;
  auto handle = open(config);
  const MessageId asked = send(handle, "x", {.role = "honest"});
  const auto answer = [&](const Pid& from, const MessageId& request) {
    scheduler.deliver(signal::Send{from,
                                   handle.pid(),
                                   {.kind = EnvelopeKind::kReply,
                                    .id = MessageId{88, ++calls},
                                    .conversation = handle.id(),
                                    .parent = request,
                                    .payload = Payload{"y"}}});
  };
  for (std::uint64_t i = 0; i < 3; ++i) answer(far(61), MessageId{99, i});
  answer(far(62), asked);
  run();
  const Told told = nothing();
  static_cast<void>(handle.start_receive(asked, into(told)));
  run();
  EXPECT_EQ(*told, "ok y");
  EXPECT_EQ(handle.query_state().counters.answers_dropped, 3U);
}

// --- completions ---

TEST_F(UnrulyPeers, ACompletionThatThrowsIsCountedAndTheConversationGoesOn) {
  auto handle = open();
  const auto thrower = [](const Outcome&) { throw std::runtime_error("not mine"); };
  static_cast<void>(handle.start_ask(Payload{"x"}, {}, thrower));
  run();
  EXPECT_EQ(ask(handle, "y"), "ok y");
  EXPECT_EQ(handle.query_state().counters.notifiers_thrown, 1U);
  static_cast<void>(handle.start_send(Payload{std::string(1001, 'x')}, {}, thrower));
  EXPECT_EQ(handle.query_state().counters.notifiers_thrown, 2U);
  static_cast<void>(handle.start_receive(std::nullopt, thrower));
  run();
  scheduler.exit(handle.pid(), ExitReason::kill());
  run();
  EXPECT_EQ(handle.query_state().counters.notifiers_thrown, 3U) << "as its ticket went";
}

// --- at the end ---

TEST_F(UnrulyPeers, WhoeverCallsHereIsAnsweredWhileSomebodyElsewhereMayStillFetch) {
  const Pid toy = bystander();
  auto handle = open_attached({toy});
  call(handle, remote_call::Watch{});
  send(handle, "kept", {.reply = ReplyMode::kInbox});
  send(handle, "kept too", {.reply = ReplyMode::kInbox});
  const Told closed = nothing(), asked = nothing(), received = nothing();
  static_cast<void>(handle.start_close(into(closed)));
  static_cast<void>(handle.start_ask(Payload{"late"}, {}, into(asked)));
  static_cast<void>(handle.start_receive(std::nullopt, into(received)));
  run();
  EXPECT_EQ(supervisor.open(), 1U) << "somebody elsewhere may fetch";
  EXPECT_EQ(*closed, "ok ");
  EXPECT_EQ(*asked, "ConversationFailed: conversation closed");
  EXPECT_EQ(*received, "ok kept");
}

TEST_F(UnrulyPeers, AReplyThatComesBackAsTheConversationEndsIsThereForTheNext) {
  const Pid toy = bystander();
  auto handle = open_attached({toy});
  call(handle, remote_call::Watch{});
  send(handle, "one", {.reply = ReplyMode::kInbox});
  send(handle, "two", {.reply = ReplyMode::kInbox});
  send(handle, "three", {.reply = ReplyMode::kInbox});
  const MessageId first = call(handle, remote_call::Receive{std::nullopt});
  const MessageId second = call(handle, remote_call::Receive{std::nullopt});
  run();
  ASSERT_EQ(outcome(first), "reply one");
  ASSERT_EQ(outcome(second), "reply two");
  const Told closed = nothing();
  static_cast<void>(handle.start_close(into(closed)));
  call(handle, remote_call::Abandon{first, false});
  call(handle, remote_call::Abandon{second, false});
  run();
  ASSERT_EQ(*closed, "ok ");
  EXPECT_EQ(receive(handle), "ok one");
  EXPECT_EQ(receive(handle), "ok two");
  EXPECT_EQ(receive(handle), "ok three");
}

TEST_F(UnrulyPeers, WhoNeverAsksForTheEndKeepsNobodyLongerThanThePoliciesWait) {
  const Pid toy = bystander();
  auto handle = open_attached({toy});
  call(handle, remote_call::Watch{});
  EXPECT_EQ(ask(handle, "x"), "ok x");
  EXPECT_EQ(close(handle), "ok ");
  run_for(15s - 1ns);
  EXPECT_EQ(supervisor.open(), 1U);
  run_for(1ns);
  EXPECT_EQ(supervisor.open(), 0U);
}

TEST_F(UnrulyPeers, WhoNeverAcknowledgesAReplyKeepsNobodyLongerEither) {
  const Pid toy = bystander();
  auto handle = open_attached({toy});
  call(handle, remote_call::Watch{});
  send(handle, "kept", {.reply = ReplyMode::kInbox});
  EXPECT_EQ(close(handle), "ok ");
  call(handle, remote_call::Watch{});
  run_for(30s);
  EXPECT_EQ(supervisor.open(), 1U) << "it holds a handle, and there is a reply";
  const MessageId received = call(handle, remote_call::Receive{std::nullopt});
  run();
  ASSERT_EQ(outcome(received), "reply kept");
  run_for(15s - 1ns);
  EXPECT_EQ(supervisor.open(), 1U);
  run_for(1ns);
  EXPECT_EQ(supervisor.open(), 0U);
  EXPECT_EQ(handle.query_state().counters.answers_dropped, 1U);
}

// --- bounds ---

TEST_F(UnrulyPeers, WhatIsGivenUpBeforeItIsDecidedIsNotDecided) {
  const Pid toy = bystander();
  auto handle = open_attached({toy});
  call(handle, remote_call::Watch{});
  EXPECT_EQ(ask(handle, "x"), "ok x");
  for (int i = 0; i < 100; ++i) {
    const MessageId sent =
        call(handle, remote_call::Send{"", ReplyMode::kNone, WhenDeferred::kRepeat, false}, "y");
    const MessageId given_up = call(handle, remote_call::Abandon{sent, false});
    static_cast<void>(given_up);
  }
  run();
  EXPECT_LE(handle.query_state().counters.sent, 1U + 10U) << "but those that the actor had";
}

TEST_F(UnrulyPeers, CallsFromElsewhereWaitUntilThereAreFewerToDecide) {
  const Pid toy = bystander();
  ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::attached("role", toy)}};
  config.waiters_max = 2;
  auto handle = open(config);
  call(handle, remote_call::Watch{});
  const MessageId one = call(handle, remote_call::Receive{std::nullopt});
  const MessageId two = call(handle, remote_call::Receive{std::nullopt});
  run();
  call(handle, remote_call::Abandon{one, false});
  call(handle, remote_call::Abandon{two, false});
  const MessageId three = call(handle, remote_call::Receive{std::nullopt});
  run();
  EXPECT_EQ(outcome(three),
            "Rejected: 2 calls from other nodes are to be decided, waiters-max is 2");
  const MessageId four = call(handle, remote_call::Receive{std::nullopt});
  run();
  EXPECT_EQ(outcome(four), "") << "it waits for a reply";
}

// --- what a conversation elsewhere tells ---

TEST_F(UnrulyPeers, AStateOfOtherRolesThanBeforeIsRefusedAndEndsTheAttachment) {
  const ConversationId id{3, 4};
  const Pid conversation = far(70);
  auto handle = supervisor.attach(ConversationRef{id, conversation});
  ASSERT_TRUE(handle);
  run();
  const auto told = [&](std::vector<std::string> roles) {
    RemoteState state{{.id = id, .phase = Phase::kActive}, CrashPolicy::kFail, std::nullopt};
    for (auto& role : roles) {
      state.state.participants.push_back({.role = role, .name = role, .owned = false});
    }
    const auto* watch = std::get_if<signal::Send>(&forwarded.back());
    ASSERT_NE(watch, nullptr);
    Envelope outcome{.kind = EnvelopeKind::kOutcome,
                     .id = MessageId{66, ++calls},
                     .conversation = id,
                     .parent = watch->envelope.id,
                     .payload = Payload{*encode_state(state, now)}};
    put(outcome, remote_outcome::State{});
    scheduler.deliver(signal::Send{conversation, watch->from, std::move(outcome)});
    run();
  };
  told({"one", "two"});
  int calls_of_two = 0;
  ASSERT_TRUE(handle->on_exit("two", [&](const ParticipantExit& exit) {
    ++calls_of_two;
    EXPECT_EQ(exit.role, "two");
  }));
  told({"one", "two"});
  EXPECT_EQ(calls_of_two, 0);
  told({"one"});
  EXPECT_EQ(calls_of_two, 1) << "its end will not be seen";
  EXPECT_EQ(handle->query_state().participants.size(), 2U);
  EXPECT_EQ(ask(*handle, "x"),
            "ConversationFailed: what node far answered cannot be read: the "
            "state of other roles than before");
  EXPECT_EQ(supervisor.attachments(), 0U);
}

}  // namespace
}  // namespace liminal
