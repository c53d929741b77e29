// Goal: a handle on another node does what one on the conversation's own node does, and when either
// node is lost, or the way between them, everybody learns it once and nothing is left behind.
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/wire/limits.hpp"
#include "tests/sim/world.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;
using Phase = ConversationPhase;

const ServiceName kToy{"toy"};
constexpr std::size_t kPayloadMax = 300'000;
constexpr ClusterSettings kCluster{250ms, 1250ms, 3s, 500ms, kPayloadMax, 500ms, 6s};

class Toy final : public Process {
 public:
  void handle(Context& context, Message message) override {
    if (std::holds_alternative<message::TimerFired>(message)) {
      const message::Received first = std::move(kept_.front());
      kept_.pop_front();
      return answer(context, &first);
    }
    auto* received = std::get_if<message::Received>(&message);
    if (received == nullptr) return;
    const std::string order{received->envelope.payload.view().substr(0, 8)};
    if (order == "throw") throw std::runtime_error("exit status 3");
    if (order == "silent") return;
    if (order == "headers") {
      received->envelope.payload = Payload{std::to_string(received->envelope.headers.size()) + " " +
                                           received->envelope.schema};
    }
    if (order.starts_with("slow")) {
      kept_.push_back(std::move(*received));
      static_cast<void>(context.start_timer(20ms));
      return;
    }
    answer(context, received);
  }

 private:
  static void answer(Context& context, const message::Received* received) {
    const Envelope& request = received->envelope;
    const bool is_done = request.payload.view() == "done";
    context.send(received->from, {.kind = is_done ? EnvelopeKind::kDone : EnvelopeKind::kReply,
                                  .id = context.new_message_id(),
                                  .conversation = request.conversation,
                                  .parent = request.id,
                                  .payload = request.payload});
  }

  std::deque<message::Received> kept_;
};

Result<std::unique_ptr<Process>> no_service(const signal::SpawnRequest&) {
  return fail(Errc::kNoService, "none");
}
Result<std::unique_ptr<Process>> toys(const signal::SpawnRequest&) {
  return std::make_unique<Toy>();
}

class RemoteHandles : public ::testing::Test {
 protected:
  static constexpr std::size_t kHome = 0, kCaller = 1, kWorker = 2;

  explicit RemoteHandles(MailboxBounds mailbox = {}, std::uint64_t seed = 7)
      : world{{.cluster = kCluster, .mailbox = mailbox}, seed} {
    world.start_node({.name = NodeName{"home"}}, no_service);
    world.start_node({.name = NodeName{"caller"}}, no_service);
    world.start_node({.name = NodeName{"worker"}, .services = {kToy}}, toys);
    world.run_for(1s);
    for (std::size_t i = 0; i < world.nodes(); ++i) {
      bystanders.push_back(world.node(i).scheduler().counts().processes);
    }
  }

  World::Node& node(std::size_t index) { return world.node(index); }
  ConversationSupervisor& supervisor(std::size_t index) { return node(index).supervisor(); }

  static ConversationConfig config(CrashPolicy policy = CrashPolicy::kFail) {
    return {policy, {ParticipantConfig::owned(kToy)}};
  }
  ConversationHandle open(ConversationConfig with = config()) {
    auto handle = supervisor(kHome).spawn(std::move(with));
    EXPECT_TRUE(handle);
    poke();
    return handle->handle();
  }
  /// As whoever reads the reference somewhere would.
  ConversationHandle attach(const ConversationHandle& handle, std::size_t where = kCaller) {
    const auto ref = handle.ref();
    EXPECT_TRUE(ref) << ref.error().detail;
    const auto read = ConversationRef::parse(ref->to_string());
    EXPECT_TRUE(read);
    auto attached = supervisor(where).attach(*read);
    EXPECT_TRUE(attached) << attached.error().detail;
    poke();
    world.run_for(50ms);
    return *attached;
  }
  void poke() {
    for (std::size_t i = 0; i < world.nodes(); ++i) node(i).poke();
  }

  using Call = std::function<void(ConversationHandle::Completion)>;
  /// Its outcome, once it is there.
  Outcome outcome(const Call& call, Duration within = 30s) {
    auto told = std::make_shared<std::optional<Outcome>>();
    call([told](Outcome o) {
      EXPECT_FALSE(*told) << "told twice";
      *told = std::move(o);
    });
    poke();
    for (const TimePoint end = world.now() + within; !*told && world.now() < end;) {
      world.run_for(1ms);
    }
    return *told ? **told : fail(Errc::kInternal, "no outcome");
  }
  Outcome ask(ConversationHandle& handle, std::string text, SendOptions options = {}) {
    return outcome([&](auto done) {
      handle.start_ask(Payload{std::move(text)}, std::move(options), std::move(done));
    });
  }
  Outcome send(ConversationHandle& handle, std::string text, SendOptions options = {}) {
    return outcome([&](auto done) {
      sent = handle.start_send(Payload{std::move(text)}, std::move(options), std::move(done));
    });
  }
  Outcome receive(ConversationHandle& handle, std::optional<MessageId> request = {}) {
    return outcome([&](auto done) { handle.start_receive(request, std::move(done)); });
  }
  Outcome close(ConversationHandle& handle) {
    return outcome([&](auto done) { handle.start_close(std::move(done)); });
  }
  static std::string text(const Outcome& outcome) {
    return outcome ? std::string{outcome->view()}
                   : std::string{name_of(outcome.error().code)} + ": " + outcome.error().detail;
  }
  static bool says(const Outcome& outcome, const std::string& part) {
    return text(outcome).find(part) != std::string::npos;
  }

  /// With no handle and no open conversation nothing is left of either, on any node.
  void expect_nothing_left() {
    poke();
    world.run_for(20s);
    for (std::size_t i = 0; i < world.nodes(); ++i) {
      if (!node(i).alive()) continue;
      EXPECT_EQ(node(i).scheduler().counts().processes, bystanders[i]) << i;
      EXPECT_EQ(node(i).scheduler().counts().timers, 0U) << i;
      EXPECT_EQ(node(i).core().ties(), 0U) << i;
      EXPECT_EQ(supervisor(i).open(), 0U) << i;
      EXPECT_EQ(supervisor(i).attachments(), 0U) << i;
    }
  }

  World world;
  std::vector<std::size_t> bystanders;
  MessageId sent{0, 0};
};

TEST_F(RemoteHandles, DoWhatThoseOfTheConversationsOwnNodeDo) {
  {
    auto here = open();
    auto there = attach(here);
    EXPECT_EQ(there.id(), here.id());
    EXPECT_FALSE(there.pid().is_local());
    EXPECT_EQ(there.ref()->to_string(), here.ref()->to_string());
    EXPECT_EQ(there.query_state().phase, Phase::kCreated);

    EXPECT_EQ(text(send(there, "one")), "");
    const MessageId one = sent;
    EXPECT_EQ(there.query_state().phase, Phase::kActive);
    EXPECT_EQ(text(send(there, "two", {.reply = ReplyMode::kInbox})), "");
    EXPECT_EQ(text(send(there, "x", {.reply = ReplyMode::kNone})), "");
    EXPECT_EQ(text(ask(there, "three")), "three");
    EXPECT_EQ(text(receive(there)), "two");
    EXPECT_EQ(text(receive(there, one)), "one");
    EXPECT_EQ(text(ask(there, "done")).substr(0, 8), "NoReply:");
    EXPECT_EQ(text(send(there, "x", {.role = "nobody"})).substr(0, 6), "Usage:");
    world.run_for(50ms);
    ASSERT_EQ(there.query_state().participants.size(), 1U);
    EXPECT_EQ(there.query_state().participants[0].health, ParticipantHealth::kAlive);
    EXPECT_EQ(there.query_state().participants[0].pid->node, NodeName{"worker"});
    ASSERT_TRUE(there.actor_pid());
    EXPECT_EQ(there.actor_pid()->serial, here.actor_pid()->serial);
    EXPECT_EQ(there.actor_pid()->incarnation, node(kHome).core().incarnation());

    EXPECT_EQ(text(close(there)), "");
    EXPECT_EQ(there.query_state().phase, Phase::kClosed);
    EXPECT_TRUE(there.query_state().ended);
    EXPECT_EQ(here.query_state().phase, Phase::kClosed);
    world.run_for(50ms);
    EXPECT_EQ(supervisor(kHome).open(), 0U);
    EXPECT_EQ(text(close(there)), "") << "a second close is no error";
    EXPECT_EQ(text(ask(there, "late")), "ConversationFailed: conversation closed");
    EXPECT_EQ(text(receive(there)), "ConversationFailed: conversation closed");
  }
  expect_nothing_left();
}

TEST_F(RemoteHandles, PayloadsUpToTheLimitAndAllHeadersOfARequestPass) {
  auto here = open();
  auto there = attach(here);
  SendOptions options{.schema = "text"};
  options.headers.assign(wire::kEnvelopeHeadersMax, {"key", "value"});
  EXPECT_EQ(text(ask(there, "headers", options)), "64 text");
  const std::string largest(kPayloadMax, 'x');
  EXPECT_EQ(text(ask(there, largest)), largest);
  EXPECT_EQ(ask(there, largest + "x").error().code, Errc::kRejected);
  EXPECT_EQ(text(ask(there, "on")), "on");
  static_cast<void>(close(there));
}

TEST_F(RemoteHandles, ADeadlineTravelsAsTheTimeThatRemains) {
  auto here = open();
  auto there = attach(here);
  ASSERT_EQ(text(ask(there, "x")), "x");
  const TimePoint begin = world.now();
  EXPECT_EQ(ask(there, "silent", {.deadline = 300ms}).error().code, Errc::kConversationTimeout);
  EXPECT_GE(world.now() - begin, 300ms);
  EXPECT_LE(world.now() - begin, 350ms);
  EXPECT_EQ(ask(there, "silent", {.deadline = 0ms}).error().code, Errc::kConversationTimeout);
  static_cast<void>(close(there));
}

// Whenever the caller gives up, before the reply, while it is under way, or after: it is the next
// receive's, from this handle or another, and nobody else's.
TEST_F(RemoteHandles, AReceiveThatIsGivenUpSwallowsNoReply) {
  auto here = open({CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}});
  auto there = attach(here);
  ASSERT_EQ(text(ask(there, "x")), "x");
  int crossed = 0;
  for (int given_up = 0; given_up < 60; ++given_up) {
    SCOPED_TRACE(::testing::Message() << "after half milliseconds: " << given_up);
    const std::string reply = "number " + std::to_string(given_up);
    there.start_send(Payload{"slow    " + reply}, {.reply = ReplyMode::kInbox},
                     [](const Outcome&) {});
    bool got = false;
    auto pending = there.start_receive(std::nullopt, [&](const Outcome&) { got = true; });
    poke();
    world.run_for(given_up * 500us);
    const bool cancelled = pending.cancel();
    EXPECT_NE(cancelled, got);
    poke();
    if (got) continue;
    ++crossed;
    auto& next = given_up % 2 == 0 ? there : here;
    EXPECT_TRUE(says(receive(next), reply));
  }
  EXPECT_GT(crossed, 10);
  EXPECT_EQ(here.query_state().counters.answers_dropped, 0U);
  static_cast<void>(close(there));
  EXPECT_EQ(receive(there).error().code, Errc::kConversationFailed);
}

TEST_F(RemoteHandles, AnAskThatIsGivenUpLeavesNothing) {
  auto here = open();
  auto there = attach(here);
  for (int given_up = 0; given_up < 40; ++given_up) {
    auto pending = there.start_ask(Payload{"slow"}, {}, [](const Outcome&) {});
    poke();
    world.run_for(given_up * 1ms);
    static_cast<void>(pending.cancel());
    poke();
    world.run_for(100ms);
  }
  EXPECT_EQ(text(ask(there, "x")), "x");
  ASSERT_EQ(text(close(here)), "");
  world.run_for(100ms);
  EXPECT_EQ(supervisor(kHome).open(), 0U) << "there is nothing that anybody could fetch";
}

// Whenever the sender gives up, before its request came, while its acceptance is under way, or
// after: it was accepted, or nothing stays of it. What stayed would take one of two places.
TEST_F(RemoteHandles, ASendThatIsGivenUpLeavesNothing) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    {
      ConversationConfig few = config();
      few.requests_max = 2;
      auto here = open(few);
      auto there = attach(here);
      ASSERT_EQ(text(ask(there, "x")), "x");
      int given_up = 0, accepted = 0;
      for (int i = 0; i < 60; ++i) {
        bool taken = false;
        const bool inbox = random.below(2) == 0;
        auto sending =
            there.begin_send(Payload{random.below(2) == 0 ? "x" : "slow"},
                             {.reply = inbox ? ReplyMode::kInbox : ReplyMode::kCorrelated},
                             [&](const Outcome& outcome) { taken = outcome.has_value(); });
        poke();
        world.run_for(Duration{static_cast<Duration::rep>(random.below(25'000'000))});
        EXPECT_NE(sending.pending.cancel(), taken);
        poke();
        if (taken) {
          ++accepted;
          EXPECT_TRUE(inbox ? receive(there) : receive(there, sending.id));
        } else {
          ++given_up;
          world.run_for(50ms);
        }
      }
      EXPECT_GT(given_up, 5);
      EXPECT_GT(accepted, 5);
      EXPECT_EQ(text(send(there, "x")), "") << given_up;
      const MessageId first = sent;
      EXPECT_EQ(text(send(there, "x")), "") << given_up;
      EXPECT_EQ(text(receive(there, first)), "x");
      EXPECT_EQ(text(receive(there, sent)), "x");
      // one that it is told of when it is over
      auto last =
          there.begin_send(Payload{"x"}, {.reply = ReplyMode::kInbox}, [](const Outcome&) {});
      node(kCaller).poke();
      world.run_for(Duration{static_cast<Duration::rep>(random.below(15'000'000))});
      here.start_close([](const Outcome&) {});
      static_cast<void>(last.pending.cancel());
      poke();
      world.run_for(1s);
      EXPECT_TRUE(there.query_state().ended);
      if (!receive(there)) {
        EXPECT_EQ(supervisor(kHome).open(), 0U);
      }
    }
    expect_nothing_left();
  }
}

TEST_F(RemoteHandles, ARequestWhoseSendersNodeDiedBeforeItKnewIsWithdrawn) {
  ConversationConfig one = config();
  one.requests_max = 1;
  auto here = open(one);
  auto there = attach(here);
  ASSERT_EQ(text(ask(there, "x")), "x");
  there.start_send(Payload{"silent"}, {}, [](const Outcome&) {});
  poke();
  for (int i = 0; i < 1000 && here.query_state().counters.sent < 2; ++i) world.run_for(50us);
  world.kill(kCaller);
  ASSERT_EQ(here.query_state().counters.sent, 2U);
  world.run_for(5s);
  EXPECT_EQ(text(ask(here, "y")), "y") << "there is room";
}

TEST_F(RemoteHandles, ACrashWakesWhoeverWaitsAndIsFoundInTheState) {
  auto here = open();
  auto there = attach(here);
  ASSERT_EQ(text(ask(there, "x")), "x");
  std::size_t crashes_seen = 0;
  std::string woken;
  there.start_receive(std::nullopt, [&](const Outcome& outcome) {
    woken = text(outcome);
    crashes_seen = there.query_state().crashes.size();
  });
  EXPECT_EQ(text(ask(there, "throw")), "ParticipantCrashed: toy on worker: exit status 3");
  EXPECT_EQ(woken, "ParticipantCrashed: toy on worker: exit status 3");
  EXPECT_EQ(crashes_seen, 1U);
  EXPECT_EQ(there.query_state().phase, Phase::kFailed);
  EXPECT_EQ(there.query_state().failure->code, Errc::kParticipantCrashed);
}

TEST_F(RemoteHandles, WhatWasAnsweredBeforeTheEndCanBeFetchedAfterIt) {
  {
    auto here = open();
    auto there = attach(here), elsewhere = attach(here, kWorker);
    ASSERT_EQ(text(send(there, "correlated")), "");
    const MessageId correlated = sent;
    for (const char* one : {"one", "two", "three", "four"}) {
      ASSERT_EQ(text(send(there, one, {.reply = ReplyMode::kInbox})), "");
    }
    world.run_for(100ms);
    ASSERT_EQ(ask(there, "throw").error().code, Errc::kParticipantCrashed);
    world.run_for(1s);
    EXPECT_TRUE(there.query_state().ended);
    EXPECT_EQ(supervisor(kHome).open(), 1U) << "it stays for those who may fetch";
    EXPECT_EQ(text(receive(there)), "one");

    // one that is given up after it was sent comes first again
    auto pending = there.start_receive(std::nullopt, [](const Outcome&) { FAIL(); });
    node(kCaller).poke();
    world.run_for(100us);
    EXPECT_TRUE(pending.cancel());
    poke();
    EXPECT_EQ(text(receive(there)), "two");
    EXPECT_EQ(text(receive(elsewhere)), "three");
    EXPECT_EQ(text(receive(here)), "four");
    EXPECT_EQ(receive(there).error().code, Errc::kParticipantCrashed);
    EXPECT_EQ(text(receive(there, correlated)), "correlated");
    world.run_for(1s);
    EXPECT_EQ(supervisor(kHome).open(), 0U) << "there is nothing more to fetch";
    EXPECT_EQ(receive(there).error().code, Errc::kParticipantCrashed);
    EXPECT_EQ(text(close(there)), "");
  }
  expect_nothing_left();
}

TEST_F(RemoteHandles, WhoStoppedDoesNotWaitForThoseWhoMayFetch) {
  auto here = open();
  auto there = attach(here);
  ASSERT_EQ(text(send(there, "one", {.reply = ReplyMode::kInbox})), "");
  world.run_for(100ms);
  ASSERT_EQ(text(close(there)), "");
  world.run_for(100ms);
  ASSERT_EQ(supervisor(kHome).open(), 1U);
  supervisor(kHome).shutdown();
  poke();
  world.run_for(100ms);
  EXPECT_EQ(supervisor(kHome).open(), 0U);
  EXPECT_EQ(receive(there).error().code, Errc::kConversationFailed);
}

TEST_F(RemoteHandles, TheDeathOfACallersNodeLosesNoReplyThatWasNotSentToIt) {
  {
    auto here = open();
    auto there = attach(here);
    ASSERT_EQ(text(ask(there, "x")), "x");
    const auto outcomes = std::make_shared<int>(0);  // the dead are told when the world ends
    there.start_receive(std::nullopt, [=](const Outcome&) { ++*outcomes; });
    there.start_ask(Payload{"silent"}, {}, [=](const Outcome&) { ++*outcomes; });
    poke();
    world.run_for(50ms);
    world.kill(kCaller);
    world.run_for(5s);
    ASSERT_EQ(text(send(here, "one", {.reply = ReplyMode::kInbox})), "");
    EXPECT_EQ(text(receive(here)), "one") << "nobody else waits";
    EXPECT_EQ(*outcomes, 0) << "it died";
    ASSERT_EQ(text(close(here)), "");
  }
  expect_nothing_left();
}

TEST_F(RemoteHandles, WhenTheConversationsNodeIsLostTheOutcomeIsUnknown) {
  for (const bool paused : {false, true}) {
    SCOPED_TRACE(paused ? "stopped" : "killed");
    const std::size_t home = world.start_node({.name = NodeName{paused ? "h1" : "h2"}}, no_service);
    bystanders.push_back(node(home).scheduler().counts().processes);
    world.run_for(1s);
    {
      auto here = supervisor(home).spawn(config())->handle();
      auto there = attach(here);
      ASSERT_EQ(text(ask(there, "x")), "x");
      std::vector<ParticipantExit> exits;
      ASSERT_TRUE(there.on_exit("toy", [&](const ParticipantExit& e) { exits.push_back(e); }));
      std::vector<std::string> woken;
      const auto wake = [&](const Outcome& outcome) { woken.push_back(text(outcome)); };
      there.start_receive(std::nullopt, wake);
      there.start_ask(Payload{"silent"}, {}, wake);
      there.start_close(wake);
      poke();
      paused ? world.pause(home) : world.kill(home);
      world.run_for(10s);
      ASSERT_EQ(woken.size(), 3U);
      for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_NE(woken[i].find("ConversationFailed: "), std::string::npos) << woken[i];
        EXPECT_NE(woken[i].find("outcome unknown"), std::string::npos) << woken[i];
        EXPECT_NE(woken[i].find(paused ? "heartbeats missed" : "connection closed"),
                  std::string::npos)
            << woken[i];
      }
      ASSERT_EQ(exits.size(), 1U);
      EXPECT_FALSE(exits[0].reason) << "no exit was seen";
      EXPECT_TRUE(says(ask(there, "late"), "outcome unknown"));
      EXPECT_TRUE(there.query_state().ended);
      EXPECT_NE(there.query_state().phase, Phase::kClosed);
      EXPECT_EQ(supervisor(kCaller).attachments(), 0U);
      if (paused) world.resume(home);
      world.run_for(10s);
      EXPECT_TRUE(says(ask(there, "late"), "outcome unknown")) << "it stays so";
    }
  }
  expect_nothing_left();
}

TEST_F(RemoteHandles, AnyHandleAnywhereKeepsAConversation) {
  std::optional<ConversationHandle> here = open();
  std::optional<ConversationHandle> there = attach(*here);
  const auto ref = *here->ref();
  ASSERT_EQ(text(ask(*there, "x")), "x");
  here.reset();
  poke();
  world.run_for(30s);
  EXPECT_EQ(text(ask(*there, "y")), "y");

  there.reset();
  poke();
  world.run_for(4s);
  there = *supervisor(kCaller).attach(ref);  // within the orphan timeout
  poke();
  world.run_for(30s);
  EXPECT_EQ(text(ask(*there, "z")), "z");

  here = *supervisor(kHome).attach(ref);
  EXPECT_TRUE(here->pid().is_local());
  EXPECT_EQ(supervisor(kHome).attachments(), 0U);
  there.reset();
  poke();
  world.run_for(30s);
  EXPECT_EQ(text(ask(*here, "z")), "z");
  here.reset();
  poke();
  world.run_for(4s);
  EXPECT_EQ(supervisor(kHome).open(), 1U);
  expect_nothing_left();
  EXPECT_EQ(supervisor(kHome).attach(ref).error().code, Errc::kConversationFailed);
}

TEST_F(RemoteHandles, TheDeathOfTheLastHoldersNodeOrphansIt) {
  std::optional<ConversationHandle> here = open();
  auto there = attach(*here);
  ASSERT_EQ(text(ask(there, "x")), "x");
  here.reset();
  poke();
  world.run_for(10s);
  ASSERT_EQ(supervisor(kHome).open(), 1U);
  world.kill(kCaller);
  world.run_for(4s);
  EXPECT_EQ(supervisor(kHome).open(), 1U) << "orphan_timeout has not passed";
  expect_nothing_left();
}

TEST_F(RemoteHandles, ACallThatWaitsWithoutAHandleDoesNotKeepAConversation) {
  std::optional<ConversationHandle> here = open();
  std::optional<ConversationHandle> there = attach(*here);
  ASSERT_EQ(text(ask(*there, "x")), "x");
  std::string woken;
  static_cast<void>(there->start_ask(Payload{"silent"}, {},
                                     [&](const Outcome& outcome) { woken = text(outcome); }));
  poke();
  world.run_for(50ms);
  here.reset();
  there.reset();
  poke();
  world.run_for(8s);
  EXPECT_EQ(woken, "ConversationFailed: no handle was left");
  expect_nothing_left();
}

TEST_F(RemoteHandles, AfterASessionsResetOneAttachesAgain) {
  {
    auto here = open();
    auto there = attach(here);
    ASSERT_EQ(text(ask(there, "x")), "x");
    world.spoil_frame_to(kHome);
    const Outcome lost = ask(there, "silent");
    EXPECT_TRUE(says(lost, "outcome unknown")) << text(lost);
    world.run_for(1s);
    auto again = attach(here);
    EXPECT_EQ(text(ask(again, "y")), "y");
    EXPECT_TRUE(says(ask(there, "y"), "outcome unknown"));
    EXPECT_EQ(here.query_state().phase, Phase::kActive);
    ASSERT_EQ(text(close(again)), "");
  }
  expect_nothing_left();
}

TEST_F(RemoteHandles, ABrokersDeathIsNoLoss) {
  auto here = open();
  auto there = attach(here);
  ASSERT_EQ(text(ask(there, "x")), "x");
  world.kill_broker();
  auto waiting = std::make_shared<std::string>();
  there.start_ask(Payload{"y"}, {}, [=](const Outcome& o) { *waiting = text(o); });
  poke();
  world.run_for(5s);
  EXPECT_EQ(*waiting, "");
  world.start_broker();
  world.run_for(10s);
  EXPECT_EQ(*waiting, "y");
  EXPECT_EQ(text(close(there)), "");
}

TEST_F(RemoteHandles, AnActorsCrashIsNotNoticedButInTheCounters) {
  auto here = open();
  auto there = attach(here);
  ASSERT_EQ(text(ask(there, "x")), "x");
  for (int i = 0; i < 3; ++i) {
    const Pid actor = *here.actor_pid();
    node(kHome).scheduler().exit(actor, ExitReason::kill());
    EXPECT_EQ(text(ask(there, "y")), "y");
    world.run_for(50ms);
    EXPECT_NE(there.actor_pid()->serial, actor.serial);
  }
  EXPECT_EQ(there.query_state().counters.actor_restarts, 3U);
  EXPECT_EQ(text(close(there)), "");
}

TEST_F(RemoteHandles, AttachmentsHaveALimit) {
  ConversationConfig one = config();
  one.remote_handles_max = 1;
  auto here = open(one);
  {
    auto there = attach(here);
    auto other = attach(here, kWorker);
    EXPECT_EQ(receive(other).error().code, Errc::kRejected);
    EXPECT_TRUE(says(receive(other), "remote-handles-max is 1"));
    EXPECT_EQ(text(ask(there, "x")), "x");
  }
  poke();
  world.run_for(100ms);
  auto other = attach(here, kWorker);
  EXPECT_EQ(text(ask(other, "x")), "x") << "there is room again";
}

TEST_F(RemoteHandles, CallsFromElsewhereCountAmongThoseThatWait) {
  ConversationConfig two = config();
  two.waiters_max = 2;
  auto here = open(two);
  auto there = attach(here);
  there.start_receive(std::nullopt, [](const Outcome&) {});
  poke();
  world.run_for(50ms);
  here.start_receive(std::nullopt, [](const Outcome&) {});
  poke();
  EXPECT_EQ(receive(there).error().code, Errc::kRejected);
  EXPECT_EQ(receive(here).error().code, Errc::kRejected);
}

TEST_F(RemoteHandles, ANotifierIsCalledOnceWheneverItWasRegistered) {
  std::vector<ParticipantExit> exits;
  const auto note = [&](const ParticipantExit& e) { exits.push_back(e); };
  auto here = open();
  const auto ref = *here.ref();
  auto there = *supervisor(kCaller).attach(ref);
  ASSERT_TRUE(there.on_exit("toy", note)) << "before any state was told";
  ASSERT_TRUE(there.on_exit("nobody", note));
  poke();
  world.run_for(100ms);
  ASSERT_EQ(exits.size(), 1U);
  EXPECT_EQ(to_string(exits[0]), "nobody was never started");
  EXPECT_EQ(there.on_exit("nobody", note).error().code, Errc::kUsage);
  ASSERT_TRUE(there.on_exit("toy", note));
  ASSERT_EQ(ask(there, "throw").error().code, Errc::kParticipantCrashed);
  ASSERT_EQ(exits.size(), 3U);
  ASSERT_TRUE(there.on_exit("toy", note));
  ASSERT_EQ(exits.size(), 4U) << "the recorded one is told again";
  world.run_for(1s);
  ASSERT_TRUE(there.on_exit("toy", note));
  ASSERT_EQ(exits.size(), 5U);
  for (std::size_t i = 1; i < exits.size(); ++i) {
    EXPECT_TRUE(exits[i].crash);
    EXPECT_EQ(exits[i].reason, ExitReason::error("exit status 3"));
    EXPECT_EQ(exits[i].at, exits[1].at);
  }
}

TEST_F(RemoteHandles, ANotifierIsCalledWhenItsHandlesAreGone) {
  std::vector<ParticipantExit> exits;
  auto here = open();
  {
    auto there = attach(here);
    ASSERT_EQ(text(ask(there, "x")), "x");
    ASSERT_TRUE(there.on_exit("toy", [&](const ParticipantExit& e) { exits.push_back(e); }));
  }
  poke();
  world.run_for(1s);
  EXPECT_EQ(exits.size(), 0U);
  ASSERT_EQ(ask(here, "throw").error().code, Errc::kParticipantCrashed);
  world.run_for(1s);
  ASSERT_EQ(exits.size(), 1U);
  EXPECT_TRUE(exits[0].crash);
}

TEST_F(RemoteHandles, WhatIsCancelledElsewhereEndsByItsPolicy) {
  auto here = open();
  auto there = attach(here);
  ASSERT_EQ(text(ask(there, "x")), "x");
  there.cancel("a test");
  EXPECT_TRUE(says(receive(there), "cancelled by a test"));
  EXPECT_EQ(here.query_state().phase, Phase::kFailed);
}

TEST_F(RemoteHandles, ClosesThatRaceAreNoErrorsAndWakeWhoeverWaits) {
  for (int apart = -10; apart <= 10; ++apart) {
    auto here = open();
    auto there = attach(here);
    ASSERT_EQ(text(ask(there, "x")), "x");
    std::vector<std::string> told;
    const auto note = [&](const Outcome& outcome) { told.push_back(text(outcome)); };
    there.start_receive(std::nullopt, note);
    poke();
    world.run_for(20ms);
    (apart < 0 ? here : there).start_close(note);
    poke();
    world.run_for(std::abs(apart) * 500us);
    (apart < 0 ? there : here).start_close(note);
    there.start_ask(Payload{"late"}, {}, note);
    poke();
    world.run_for(1s);
    ASSERT_EQ(told.size(), 4U) << apart;
    EXPECT_EQ(std::count(told.begin(), told.end(), ""), 2) << apart;
    EXPECT_EQ(std::count(told.begin(), told.end(), "ConversationFailed: conversation closed"), 2)
        << apart;
    EXPECT_EQ(there.query_state().phase, Phase::kClosed);
  }
  expect_nothing_left();
}

TEST_F(RemoteHandles, WhatIsOverOrNeverWasEndsEveryCall) {
  auto here = open();
  const auto ref = *here.ref();
  ASSERT_EQ(text(close(here)), "");
  auto late = *supervisor(kCaller).attach(ref);
  EXPECT_TRUE(says(ask(late, "x"), "is over"));
  EXPECT_TRUE(says(receive(late), "is over"));
  EXPECT_EQ(text(close(late)), "");
  ConversationRef other = ref;
  other.pid.incarnation = Incarnation{1};
  auto never = *supervisor(kCaller).attach(other);
  EXPECT_TRUE(says(ask(never, "x"), "outcome unknown"));
  other.pid.serial = Serial{0};
  EXPECT_EQ(supervisor(kCaller).attach(other).error().code, Errc::kUsage);
  supervisor(kCaller).shutdown();
  EXPECT_EQ(supervisor(kCaller).attach(ref).error().code, Errc::kConversationFailed);
}

/// A mailbox holds four envelopes, of requests and of calls.
class RemoteHandlesAtFullMailboxes : public RemoteHandles {
 protected:
  RemoteHandlesAtFullMailboxes() : RemoteHandles({.messages_max = 4}) {}
};

TEST_F(RemoteHandlesAtFullMailboxes, CallsAreSentAgainInOrder) {
  auto here = open();
  auto there = attach(here);
  constexpr int kMany = 300;
  int taken = 0;
  std::vector<std::string> replies;
  std::vector<std::string> expected;
  for (int i = 0; i < kMany; ++i) {
    there.start_send(Payload{std::to_string(i)}, {.reply = ReplyMode::kInbox},
                     [&](const Outcome& outcome) { taken += outcome ? 1 : 0; });
    there.start_receive(std::nullopt, [&](const Outcome& o) { replies.push_back(text(o)); });
    expected.push_back(std::to_string(i));
  }
  poke();
  world.run_for(60s);
  EXPECT_EQ(taken, kMany);
  EXPECT_EQ(replies, expected);
  EXPECT_EQ(text(close(there)), "");
}

// Handles on three nodes send, receive, give up and come and go, while nodes, connections and the
// broker fail: no reply reaches two callers, every call has one outcome, nothing is left.
class RemoteHandlesExploration : public RemoteHandles,
                                 public ::testing::WithParamInterface<std::uint64_t> {
 protected:
  RemoteHandlesExploration() : RemoteHandles({.messages_max = 16}, GetParam()) {}
};

TEST_P(RemoteHandlesExploration, NoReplyReachesTwoCallersAndEveryCallHasOneOutcome) {
  SCOPED_TRACE(::testing::Message() << "seed " << GetParam());
  Random random{GetParam()};
  const bool faults = random.below(2) == 0;
  struct Tally {  // shared: those of the dead are told when the world ends
    std::multiset<std::string> received;
    int outcomes = 0;
    std::vector<int> open = {0, 0, 0};
    bool caller_alive = true;
    bool counts(std::size_t who) {
      if (who == kCaller && !caller_alive) return false;
      ++outcomes, --open[who];
      return true;
    }
  };
  const auto tally = std::make_shared<Tally>();
  int sent_out = 0, calls = 0, given_up = 0, lost = 0;
  {
    auto here = open();
    std::vector<std::optional<ConversationHandle>> handles{here, attach(here),
                                                           attach(here, kWorker)};
    std::vector<std::pair<std::size_t, ConversationHandle::Pending>> pending;
    for (int i = 0; i < 300; ++i) {
      const std::size_t who = random.below(3);
      if (who == kCaller && !tally->caller_alive) continue;
      auto& handle = handles[who];
      switch (random.below(8)) {
        case 0:
        case 1:
          if (!handle) break;
          ++calls, ++tally->open[who];
          handle->start_send(Payload{"slow    " + std::to_string(sent_out++)},
                             {.reply = ReplyMode::kInbox},
                             [=](const Outcome&) { (void)tally->counts(who); });
          break;
        case 2:
        case 3:
          if (!handle) break;
          ++calls, ++tally->open[who];
          pending.emplace_back(who, handle->start_receive(std::nullopt, [=](const Outcome& o) {
            if (tally->counts(who) && o) tally->received.insert(text(o));
          }));
          break;
        case 4:
        case 5:
          if (pending.empty()) break;
          {
            const std::size_t at = random.below(pending.size());
            if (pending[at].second.cancel()) ++given_up, --tally->open[pending[at].first];
            pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(at));
          }
          break;
        case 6:
          if (who == kHome || random.below(3) != 0) break;
          handle.reset();
          if (random.below(2) == 0 || i % 2 == 0) handle = *supervisor(who).attach(*here.ref());
          break;
        case 7:
          if (!faults) break;
          switch (random.below(12)) {
            case 0:
              if (tally->caller_alive) world.cut_data(kCaller);
              break;
            case 1:
              world.cut_data(kHome);
              break;
            case 2:
              world.spoil_frame_to(random.below(2));
              break;
            case 3:
              if (auto actor = here.actor_pid()) {
                node(kHome).scheduler().exit(*actor, ExitReason::kill());
              }
              break;
            case 4:
              if (i < 200 || !tally->caller_alive) break;
              world.kill(kCaller);
              tally->caller_alive = false;
              lost = std::exchange(tally->open[kCaller], 0);
              handles[kCaller].reset();
              std::erase_if(pending, [](const auto& p) { return p.first == kCaller; });
              break;
            default:
              break;
          }
          break;
      }
      poke();
      world.run_for(Duration{static_cast<Duration::rep>(random.below(20'000'000))});
    }
    world.run_for(10s);
    for (auto& [who, call] : pending) {
      if (call.cancel()) ++given_up, --tally->open[who];
    }
    pending.clear();
    poke();
    world.run_for(10s);
    if (!faults) {
      while (const Outcome next = outcome([&](auto done) { here.start_receive({}, done); }, 1s)) {
        tally->received.insert(text(next));
      }
      EXPECT_EQ(tally->received.size(), static_cast<std::size_t>(sent_out)) << "none was lost";
    }
    EXPECT_EQ(text(close(here)), "");
    world.run_for(20s);
    EXPECT_EQ(tally->open, (std::vector<int>{0, 0, 0})) << "all had their outcome";
    EXPECT_EQ(tally->outcomes + given_up + lost, calls);
  }
  for (const std::string& reply : tally->received) {
    EXPECT_EQ(tally->received.count(reply), 1U) << reply;
  }
  world.run_for(1s);
  expect_nothing_left();
}

INSTANTIATE_TEST_SUITE_P(Seeds, RemoteHandlesExploration, ::testing::Range<std::uint64_t>(1, 41));

}  // namespace
}  // namespace liminal::sim
