// Goal: whatever other nodes say to a conversation, or to the proxy of one, is answered or counted,
// concerns nobody but who said it, and ends nothing that it should not.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/random.hpp"
#include "node/conversation/conversation_supervisor.hpp"
#include "node/conversation/remote_calls.hpp"
#include "node/conversation/remote_state.hpp"
#include "tests/support/one_node.hpp"
#include "tests/support/toy.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using test::kToy;
using test::make_toy;
using test::own_node;

const Pid kPeer{NodeName{"peer"}, Incarnation{9}, Serial{5}};
const Pid kOther{NodeName{"peer"}, Incarnation{9}, Serial{6}};

/// One node; everything beyond it is the test.
class HostileCalls : public ::testing::Test {
 protected:
  HostileCalls() {
    scheduler.set_service_factory(make_toy);
    Directory::Snapshot snapshot{
        {own_node({kToy}, MemberState::kJoined, NodeName{"home"})}, true, 1 << 20};
    snapshot.incarnation = Incarnation{7};
    directory.publish(std::move(snapshot));
    auto opened = supervisor.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}});
    handle.emplace(opened->handle());
    run();
  }

  void run() { scheduler.run_until_idle(now); }
  void run_for(Duration duration) {
    run();
    now += duration;
    run();
  }

  MessageId fresh() { return MessageId{99, ++ids}; }
  MessageId say(const Pid& from, Envelope envelope, Pid to) {
    const MessageId id = envelope.id;
    scheduler.deliver(signal::Send{from, std::move(to), std::move(envelope)});
    run();
    return id;
  }
  MessageId call(const Pid& from, const RemoteCall& what, std::string payload = {},
                 std::optional<MessageId> id = {}) {
    Envelope envelope{.kind = EnvelopeKind::kCall,
                      .id = id.value_or(fresh()),
                      .conversation = handle->id(),
                      .payload = Payload{std::move(payload)}};
    put(envelope, what);
    return say(from, std::move(envelope), handle->pid());
  }
  /// What went out to `to` since the last call: "taken", "reply one", "failed NoReply", "state".
  std::vector<std::string> told(const Pid& to, std::vector<Envelope>* envelopes = nullptr) {
    std::vector<std::string> all;
    std::deque<Signal> rest;
    for (Signal& signal : out) {
      auto* send = std::get_if<signal::Send>(&signal);
      if (send == nullptr || send->to != to) {
        rest.push_back(std::move(signal));
        continue;
      }
      if (envelopes) envelopes->push_back(send->envelope);
      const auto outcome = take_outcome(send->envelope);
      if (!outcome) {
        all.push_back("?");
      } else if (std::holds_alternative<remote_outcome::Taken>(*outcome)) {
        all.push_back("taken");
      } else if (std::holds_alternative<remote_outcome::Reply>(*outcome)) {
        all.push_back("reply " + std::string{send->envelope.payload.view()});
      } else if (const auto* failed = std::get_if<remote_outcome::Failed>(&*outcome)) {
        all.push_back("failed " + std::string{name_of(failed->error.code)});
      } else {
        all.push_back("state");
      }
    }
    out = std::move(rest);
    return all;
  }
  using Told = std::vector<std::string>;

  /// kPeer watches a conversation with waiters_max 4, and has no room for what it is told.
  void watch_and_take_nothing() {
    ConversationConfig few{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
    few.waiters_max = 4;
    handle.emplace(supervisor.spawn(few)->handle());
    run();
    call(kPeer, remote_call::Watch{});
    std::vector<Envelope> sent;
    static_cast<void>(told(kPeer, &sent));
    scheduler.deliver(signal::Refusal{kPeer, handle->pid(), sent[0].id,
                                      signal::RefusalKind::kDeferred, "", sent[0]});
    run();
  }

  std::uint64_t ignored() const { return handle->query_state().counters.calls_ignored; }

  std::deque<Signal> out;
  TimePoint now{1s};
  std::uint64_t ids = 0;
  Scheduler scheduler{{.node = NodeName{"home"}, .seed = 7},
                      [this](Signal signal) { out.push_back(std::move(signal)); }};
  Directory directory;
  ConversationSupervisor supervisor{scheduler, directory};
  std::optional<ConversationHandle> handle;
};

TEST_F(HostileCalls, WhatCannotBeReadIsAnsweredAndCounted) {
  call(kPeer, remote_call::Watch{});
  ASSERT_EQ(told(kPeer), (Told{"state"}));
  Envelope bare{.kind = EnvelopeKind::kCall, .id = fresh(), .conversation = handle->id()};
  say(kPeer, bare, handle->pid());
  bare.id = fresh();
  bare.headers = {{"", "no MessagePack"}};
  say(kPeer, bare, handle->pid());
  EXPECT_EQ(told(kPeer), (Told{"failed Internal", "failed Internal"}));
  EXPECT_EQ(ignored(), 2U);
}

TEST_F(HostileCalls, WhoDidNotAttachIsRefused) {
  call(kPeer, remote_call::Receive{});
  call(kPeer, remote_call::Close{});
  call(kPeer, remote_call::Cancel{"me"});
  EXPECT_EQ(told(kPeer), (Told(3, "failed ConversationFailed")));
  EXPECT_EQ(ignored(), 3U);
  EXPECT_EQ(handle->query_state().phase, ConversationPhase::kCreated);
}

TEST_F(HostileCalls, NobodyReachesTheCallsOfAnother) {
  for (const Pid& who : {kPeer, kOther}) call(who, remote_call::Watch{});
  call(kPeer, remote_call::Send{"", ReplyMode::kInbox, WhenDeferred::kRepeat, false}, "one");
  const MessageId receive = call(kPeer, remote_call::Receive{});
  static_cast<void>(told(kOther));
  call(kOther, remote_call::Abandon{receive, false});
  call(kOther, remote_call::Received{{receive}});
  EXPECT_EQ(told(kOther), (Told{"taken", "taken"}));
  call(kPeer, remote_call::Abandon{receive, false});  // the reply is still its to give back
  static_cast<void>(told(kPeer));
  call(kPeer, remote_call::Receive{});
  EXPECT_EQ(told(kPeer), (Told{"reply one"}));
}

TEST_F(HostileCalls, ACallThatIsSaidTwiceHasOneOutcome) {
  call(kPeer, remote_call::Watch{});
  static_cast<void>(told(kPeer));
  const MessageId id = call(kPeer, remote_call::Receive{});
  call(kPeer, remote_call::Receive{}, {}, id);
  EXPECT_EQ(ignored(), 1U);
  call(kPeer, remote_call::Close{});
  const Told all = told(kPeer);
  EXPECT_EQ(std::count(all.begin(), all.end(), "failed ConversationFailed"), 1);
}

TEST_F(HostileCalls, ARequestsIdIsTakenOnce) {
  call(kPeer, remote_call::Watch{});
  call(kOther, remote_call::Watch{});
  const remote_call::Send send{"", ReplyMode::kCorrelated, WhenDeferred::kRepeat, false};
  const MessageId id = call(kPeer, send, "one");
  static_cast<void>(told(kOther));
  call(kOther, send, "two", id);
  EXPECT_EQ(told(kOther).front(), "failed Rejected");
  static_cast<void>(told(kPeer));
  call(kPeer, remote_call::Receive{id});
  EXPECT_EQ(told(kPeer), (Told{"reply one"}));
}

TEST_F(HostileCalls, AReplyThatNobodyAcknowledgedReachesNobodyElse) {
  call(kPeer, remote_call::Watch{});
  call(kPeer, remote_call::Send{"", ReplyMode::kInbox, WhenDeferred::kRepeat, false}, "one");
  call(kPeer, remote_call::Receive{});
  std::optional<MonitorId> monitor;
  for (const Signal& signal : out) {
    if (const auto* m = std::get_if<signal::Monitor>(&signal)) monitor = m->monitor;
  }
  ASSERT_TRUE(monitor);
  const auto dropped = handle->query_state().counters.answers_dropped;
  scheduler.deliver(
      signal::Down{kPeer, handle->pid(), *monitor, ExitReason::noconnection(std::nullopt)});
  run();
  EXPECT_EQ(handle->query_state().counters.answers_dropped, dropped + 1);
  bool got = false;
  auto pending = handle->start_receive(std::nullopt, [&](const Outcome&) { got = true; });
  run();
  EXPECT_FALSE(got);
  EXPECT_TRUE(pending.cancel());
}

TEST_F(HostileCalls, OutcomesThatFoundNoRoomAreSentAgainInOrder) {
  call(kPeer, remote_call::Watch{});
  call(kPeer, remote_call::Send{"", ReplyMode::kInbox, WhenDeferred::kRepeat, false}, "one");
  call(kPeer, remote_call::Send{"", ReplyMode::kInbox, WhenDeferred::kRepeat, false}, "two");
  static_cast<void>(told(kPeer));
  call(kPeer, remote_call::Receive{});
  call(kPeer, remote_call::Receive{});
  std::vector<Envelope> sent;
  ASSERT_EQ(told(kPeer, &sent), (Told{"reply one", "reply two"}));
  for (const Envelope& envelope : sent) {
    scheduler.deliver(signal::Refusal{kPeer, handle->pid(), envelope.id,
                                      signal::RefusalKind::kDeferred, "", envelope});
  }
  run();
  call(kPeer, remote_call::Detach{});
  EXPECT_EQ(told(kPeer), Told{}) << "it waits behind them";
  run_for(1s);
  EXPECT_EQ(told(kPeer), (Told{"reply one", "reply two", "taken"}));
}

TEST_F(HostileCalls, AReplyThatMayNotTravelEndsInAnError) {
  call(kPeer, remote_call::Watch{});
  call(kPeer, remote_call::Send{"", ReplyMode::kInbox, WhenDeferred::kRepeat, false}, "one");
  static_cast<void>(told(kPeer));
  call(kPeer, remote_call::Receive{});
  std::vector<Envelope> sent;
  ASSERT_EQ(told(kPeer, &sent), (Told{"reply one"}));
  scheduler.deliver(signal::Refusal{kPeer, handle->pid(), sent[0].id,
                                    signal::RefusalKind::kRejected, "too large", sent[0]});
  run_for(1s);
  EXPECT_EQ(told(kPeer), (Told{"failed Rejected"}));
}

TEST_F(HostileCalls, AHolderThatCallsAndTakesNoOutcomesIsLetGo) {
  watch_and_take_nothing();
  for (int i = 0; i <= 1024; ++i) call(kPeer, remote_call::Cancel{"me"});
  bool told_to_end = false;
  for (const Signal& signal : out) {
    const auto* exit = std::get_if<signal::Exit>(&signal);
    told_to_end = told_to_end || (exit != nullptr && exit->to == kPeer);
  }
  EXPECT_TRUE(told_to_end);
}

// However small waiters_max is: its callers may be many, and the way to it full for a moment.
TEST_F(HostileCalls, AHolderWithManyCallersIsNotLetGo) {
  watch_and_take_nothing();
  for (int i = 0; i < 1024; ++i) call(kPeer, remote_call::Receive{});
  EXPECT_EQ(ignored(), 0U);
  for (const Signal& signal : out) {
    const auto* exit = std::get_if<signal::Exit>(&signal);
    EXPECT_FALSE(exit != nullptr && exit->to == kPeer);
  }
  run_for(1s);
  const Told all = told(kPeer);
  EXPECT_GE(std::count(all.begin(), all.end(), "failed Rejected"), 1020) << "each is answered";
}

// On failure the seed is printed.
TEST_F(HostileCalls, NothingThatStrangersSayHurtsThoseWhoCallHere) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    handle.emplace(
        supervisor.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}})->handle());
    run();
    std::vector<MessageId> said{MessageId{1, 1}};
    const auto some = [&] { return said[random.below(said.size())]; };
    for (int i = 0; i < 100; ++i) {
      const Pid who{NodeName{"peer"}, Incarnation{9}, Serial{5 + random.below(3)}};
      RemoteCall what = remote_call::Watch{};
      switch (random.below(7)) {
        case 0:
          what = remote_call::Send{random.below(4) == 0 ? "x" : "",
                                   ReplyMode{static_cast<std::uint8_t>(random.below(3))},
                                   WhenDeferred::kRepeat, random.below(2) == 0};
          break;
        case 1:
          what = remote_call::Receive{random.below(2) == 0 ? std::nullopt : std::optional{some()}};
          break;
        case 2:
          what = remote_call::Abandon{some(), random.below(2) == 0};
          break;
        case 3:
          what = remote_call::Received{{some(), some()}};
          break;
        case 4:
          what = remote_call::Detach{};
          break;
        default:
          break;
      }
      Envelope envelope{.kind = EnvelopeKind::kCall,
                        .id = random.below(8) == 0 ? some() : fresh(),
                        .conversation = handle->id(),
                        .payload = Payload{"theirs"}};
      said.push_back(envelope.id);
      put(envelope, what);
      if (random.below(4) == 0) {
        std::string& bytes = envelope.headers.front().second;
        bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
      }
      if (random.below(16) == 0) envelope.kind = EnvelopeKind::kOutcome;
      if (random.below(8) == 0) envelope.deadline = now;
      say(who, std::move(envelope), handle->pid());
    }
    std::string mine;
    handle->start_ask(Payload{"mine"}, {}, [&](const Outcome& outcome) {
      mine = outcome ? std::string{outcome->view()} : outcome.error().detail;
    });
    run();
    // a peer's bytes may be changed into a Close or Cancel: then, and only then, it is over
    const auto state = handle->query_state();
    if (state.phase == ConversationPhase::kActive) {
      EXPECT_EQ(mine, "mine");
    }
    EXPECT_NE(mine, "");
  }
}

/// The proxy of a conversation that is the test.
class HostileOutcomes : public HostileCalls {
 protected:
  HostileOutcomes() { attach(); }
  void attach() {
    remote.emplace(*supervisor.attach({ConversationId{1, 2}, kPeer}));
    out.clear();
    run();
  }
  /// The calls that the proxy made since the last time, and its pid.
  std::vector<MessageId> calls() {
    std::vector<MessageId> all;
    for (const Signal& signal : std::exchange(out, {})) {
      const auto* send = std::get_if<signal::Send>(&signal);
      if (send == nullptr || send->envelope.kind != EnvelopeKind::kCall) continue;
      proxy = send->from;
      all.push_back(send->envelope.id);
    }
    return all;
  }
  void answer(const MessageId& to, const RemoteOutcome& what, std::string payload = {},
              const Pid& from = kPeer) {
    Envelope envelope{.kind = EnvelopeKind::kOutcome,
                      .id = fresh(),
                      .conversation = ConversationId{1, 2},
                      .parent = to,
                      .payload = Payload{std::move(payload)}};
    put(envelope, what);
    say(from, std::move(envelope), *proxy);
  }
  std::string wait_for_end() {
    const auto text = std::make_shared<std::string>("nothing");
    remote->start_receive(std::nullopt, [=](const Outcome& outcome) {
      *text = outcome ? "reply" : outcome.error().detail;
    });
    run();
    return *text;
  }

  std::optional<ConversationHandle> remote;
  std::optional<Pid> proxy;
};

TEST_F(HostileOutcomes, WhatIsNotTheConversationsIsADeadLetter) {
  const MessageId watch = calls().at(0);
  const auto before = scheduler.dead_letters().total();
  answer(watch, remote_outcome::Failed{{Errc::kRejected, "no"}, false}, {}, kOther);
  answer(MessageId{3, 3}, remote_outcome::Taken{});
  EXPECT_EQ(scheduler.dead_letters().total(), before + 2);
  EXPECT_EQ(wait_for_end(), "nothing");
}

TEST_F(HostileOutcomes, AReplyThatFindsItsCallerGoneGoesBack) {
  static_cast<void>(calls());
  auto pending = remote->start_receive(std::nullopt, [](const Outcome&) { FAIL(); });
  run();
  const MessageId receive = calls().at(0);
  Envelope reply{.kind = EnvelopeKind::kOutcome,
                 .id = fresh(),
                 .conversation = ConversationId{1, 2},
                 .parent = receive,
                 .payload = Payload{"one"}};
  put(reply, remote_outcome::Reply{});
  scheduler.deliver(signal::Send{kPeer, *proxy, reply});
  EXPECT_TRUE(pending.cancel());  // the reply is in the proxy's mailbox
  run();
  std::vector<RemoteCall> said;
  for (const Signal& signal : out) {
    const auto* send = std::get_if<signal::Send>(&signal);
    if (send == nullptr) continue;
    Envelope envelope = send->envelope;
    said.push_back(*take_call(envelope));
  }
  EXPECT_EQ(said, (std::vector<RemoteCall>{remote_call::Abandon{receive, false}}));
}

TEST_F(HostileOutcomes, WhatCannotBeAnOutcomeEndsTheAttachmentAndTellsEverybody) {
  const std::vector<std::pair<RemoteOutcome, std::string>> wrong{
      {remote_outcome::Taken{}, ""},
      {remote_outcome::Reply{}, "x"},
      {remote_outcome::State{}, "no state"},
      {remote_outcome::State{},
       *encode_state({{.id = ConversationId{7, 7},
                       .participants = {{.role = "a", .name = "a", .owned = true}}},
                      CrashPolicy::kFail,
                      std::nullopt},
                     now)},
  };
  for (const auto& [what, payload] : wrong) {
    attach();
    std::string woken;
    remote->start_receive(std::nullopt,
                          [&](const Outcome& outcome) { woken = outcome.error().detail; });
    run();
    answer(calls().at(0), what, payload);
    EXPECT_NE(woken.find("cannot be read"), std::string::npos) << woken;
    EXPECT_NE(wait_for_end().find("cannot be read"), std::string::npos);
    EXPECT_EQ(supervisor.attachments(), 0U);
    remote.reset();
    run();
  }
}

TEST_F(HostileOutcomes, NoOutcomesWhateverTheyAreEndMoreThanTheirAttachment) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    attach();
    int outcomes = 0;
    const auto count = [&](const Outcome&) { ++outcomes; };
    std::vector<MessageId> said;
    for (int i = 0; i < 10; ++i) {
      remote->start_receive(std::nullopt, count);
      run();
      for (const MessageId& id : calls()) said.push_back(id);
      if (said.empty()) continue;
      const std::vector<RemoteOutcome> some{
          remote_outcome::Taken{random.below(4) == 0}, remote_outcome::Reply{},
          remote_outcome::Failed{{Errc::kNoReply, "x"}, random.below(2) == 0}};
      answer(said[random.below(said.size())], some[random.below(some.size())], "payload");
    }
    scheduler.exit(*proxy, ExitReason::kill());
    run();
    EXPECT_EQ(outcomes, 10);
    remote.reset();
    run();
  }
}

}  // namespace
}  // namespace liminal
