// Goal: what a program that embeds a node calls: conversations with a participant of its own, one
// request and its reply in one call, receives without a time, and no blocking where it cannot be.
#include "node/conversation/conversation_supervisor.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "node/scheduler/workers.hpp"
#include "tests/support/one_node.hpp"
#include "tests/support/written_lines.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;
using Phase = ConversationPhase;

constexpr auto kLong = 30s;  // generous: only a broken promise takes that long
const ServiceName kEcho{"echo"}, kAsker{"asker"}, kSilent{"silent"}, kCharge{"charge"};

// A conversation without a policy does not compile; nor does one that is opened by a policy alone.
static_assert(!std::is_default_constructible_v<ConversationConfig>);
static_assert(!std::is_constructible_v<ConversationConfig, std::vector<ParticipantConfig>>);
static_assert(!std::is_convertible_v<CrashPolicy, ConversationConfig>);

/// Crashes at "crash", does nothing else than to say what it is asked for.
class Charge final : public ParticipantBehaviour {
 public:
  explicit Charge(WrittenLines& log) : log_(log) {}
  std::optional<Payload> process(const Request& request) override {
    log_.add("process " + std::string{request.payload.view()} + " " +
             std::to_string(request.attempt));
    if (request.payload.view() == "crash") throw std::runtime_error("boom");
    return request.payload;
  }
  void compensate(const Compensation& compensation) override {
    log_.add("compensate " + std::string{compensation.request.payload.view()});
  }

 private:
  WrittenLines& log_;
};

/// Asks somebody else, and waits for it where it is.
class BlockingAsker final : public ParticipantBehaviour {
 public:
  BlockingAsker(ConversationSupervisor& conversations, bool blocking)
      : conversations_(conversations), blocking_(blocking) {}
  bool blocking() const override { return blocking_; }
  std::optional<Payload> process(const Request& request) override {
    const auto reply = ask(conversations_, kEcho, request.payload, kLong, CrashPolicy::kFail);
    return reply ? *reply
                 : Payload{std::string{name_of(reply.error().code)} + ": " + reply.error().detail};
  }

 private:
  ConversationSupervisor& conversations_;
  bool blocking_;
};

class Silent final : public ParticipantBehaviour {
 public:
  std::optional<Payload> process(const Request&) override { return std::nullopt; }
};

class ConversationSupervisorTest : public ::testing::Test {
 protected:
  ConversationSupervisorTest() {
    for (const auto& [name, blocking] : {std::pair{"asker", false}, std::pair{"blocking", true}}) {
      EXPECT_TRUE(registry.add(ServiceName{name}, [this, blocking = blocking] {
        return std::make_unique<BlockingAsker>(supervisor, blocking);
      }));
    }
    EXPECT_TRUE(registry.add(kEcho, [] { return std::make_unique<EchoBehaviour>(); }));
    EXPECT_TRUE(registry.add(kSilent, [] { return std::make_unique<Silent>(); }));
    EXPECT_TRUE(registry.add(kCharge, [this] { return std::make_unique<Charge>(log); }));
    scheduler.set_service_factory(
        [this](const signal::SpawnRequest& request) { return registry.make(request); });
    directory.publish({{own_node(registry.names())}, true, 1 << 20});
    workers.emplace(scheduler, clock, Workers::Settings{.workers = 1, .blocking = 2});
  }
  ~ConversationSupervisorTest() override {
    supervisor.shutdown();
    EXPECT_TRUE(supervisor.wait_until_none(kLong));
    EXPECT_EQ(registry.participants(), 0U);
  }

  ParticipantMaker charges() {
    return [this] { return std::make_unique<Charge>(log); };
  }

  WrittenLines log;
  SystemClock clock;
  Scheduler scheduler{{.node = NodeName{"a"}, .seed = 7}, [](const Signal&) {}};
  Directory directory;
  ServiceRegistry registry{{.node = NodeName{"a"}, .participants_max = 3}};
  ConversationSupervisor supervisor{scheduler, directory, {.participants = &registry}};
  std::optional<Workers> workers;  // stops first
};

TEST_F(ConversationSupervisorTest, OneOfItsOwnTakesPartAndEndsWithTheConversation) {
  auto actor = supervisor.spawn_with_participant(ConversationConfig{CrashPolicy::kFail},
                                                 [] { return std::make_unique<EchoBehaviour>(); });
  ASSERT_TRUE(actor) << actor.error().detail;
  ConversationHandle conversation = actor->handle();
  EXPECT_EQ(conversation.ask(Payload{"hello"}, kLong), Payload{"hello"});
  EXPECT_EQ(registry.participants(), 1U);
  const auto status = actor->state().participants.at(0);
  EXPECT_EQ(status.role, "participant");
  EXPECT_TRUE(status.owned);
  EXPECT_EQ(status.placement, "made for it on its node");
  EXPECT_TRUE(conversation.close(kLong));
  EXPECT_EQ(actor->state().phase, Phase::kClosed);
  EXPECT_EQ(registry.participants(), 0U);
}

TEST_F(ConversationSupervisorTest, ItsCrashIsACrash) {
  auto actor = supervisor.spawn_with_participant(ConversationConfig{CrashPolicy::kFail}, charges());
  ASSERT_TRUE(actor);
  const auto reply = actor->handle().ask(Payload{"crash"}, kLong);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Errc::kParticipantCrashed);
  EXPECT_TRUE(actor->handle().close(kLong));
  ASSERT_EQ(actor->state().crashes.size(), 1U);
  EXPECT_EQ(actor->state().crashes[0].reason, ExitReason::error("boom"));
}

TEST_F(ConversationSupervisorTest, WhereThePolicyNeedsAnotherOneItIsMadeHere) {
  ConversationConfig config{CrashPolicy::kRouteToNext};
  config.max_attempts = 3;
  auto actor = supervisor.spawn_with_participant(config, charges());
  ASSERT_TRUE(actor);
  EXPECT_FALSE(actor->handle().ask(Payload{"crash"}, kLong));
  EXPECT_EQ(log.lines(),
            (std::vector<std::string>{"process crash 1", "process crash 2", "process crash 3"}));
}

TEST_F(ConversationSupervisorTest, WhatItDidIsUndoneByAFreshOne) {
  auto actor =
      supervisor.spawn_with_participant(ConversationConfig{CrashPolicy::kCompensate}, charges());
  ASSERT_TRUE(actor);
  EXPECT_TRUE(actor->handle().ask(Payload{"5 euros"}, kLong));
  EXPECT_FALSE(actor->handle().ask(Payload{"crash"}, kLong));
  EXPECT_TRUE(actor->handle().close(kLong));
  ASSERT_TRUE(actor->state().failure);
  EXPECT_EQ(actor->state().failure->code, Errc::kCompensated) << actor->state().failure->detail;
  EXPECT_EQ(log.lines(), (std::vector<std::string>{"process 5 euros 1", "process crash 1",
                                                   "compensate crash", "compensate 5 euros"}));
}

TEST_F(ConversationSupervisorTest, ItsOwnParticipantsCountLikeTheOthers) {
  std::vector<ConversationActor> actors;
  for (int i = 0; i < 3; ++i) {
    actors.push_back(
        *supervisor.spawn_with_participant(ConversationConfig{CrashPolicy::kFail}, charges()));
    EXPECT_TRUE(actors.back().handle().ask(Payload{"x"}, kLong));
  }
  auto one_more =
      supervisor.spawn_with_participant(ConversationConfig{CrashPolicy::kFail}, charges());
  ASSERT_TRUE(one_more);
  const auto reply = one_more->handle().ask(Payload{"x"}, kLong);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error(),
            (Error{Errc::kRejected, "node 'a' has 3 participants (participants-max)"}));
}

TEST_F(ConversationSupervisorTest, MoreParticipantsThanThatOneAreUsage) {
  const auto actor = supervisor.spawn_with_participant(
      {CrashPolicy::kFail, {ParticipantConfig::owned(kEcho)}}, charges());
  ASSERT_FALSE(actor);
  EXPECT_EQ(actor.error(),
            (Error{Errc::kUsage, "role 'echo': the participant that is given is the only one"}));
  ConversationSupervisor bare{scheduler, directory};
  const auto nobody =
      bare.spawn_with_participant(ConversationConfig{CrashPolicy::kFail}, charges());
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, Errc::kUnsupported);
  EXPECT_EQ(supervisor.spawn(ConversationConfig{CrashPolicy::kFail}).error().code, Errc::kUsage);
}

TEST_F(ConversationSupervisorTest, AskOpensAsksAndCloses) {
  EXPECT_EQ(ask(supervisor, kEcho, Payload{"hello"}, kLong, CrashPolicy::kFail), Payload{"hello"});
  EXPECT_EQ(supervisor.open(), 0U);
  const auto crashed = ask(supervisor, kCharge, Payload{"crash"}, kLong, CrashPolicy::kFail);
  EXPECT_EQ(crashed.error().code, Errc::kParticipantCrashed);
  const auto undone = ask(supervisor, kCharge, Payload{"crash"}, kLong, CrashPolicy::kCompensate);
  EXPECT_EQ(undone.error().code, Errc::kCompensated) << undone.error().detail;
  EXPECT_EQ(log.lines().back(), "compensate crash");
  const auto no_reply = ask(supervisor, kSilent, Payload{"x"}, kLong, CrashPolicy::kFail);
  EXPECT_EQ(no_reply.error().code, Errc::kNoReply);
  const auto nobody =
      ask(supervisor, ServiceName{"no such"}, Payload{"x"}, kLong, CrashPolicy::kFail);
  EXPECT_EQ(nobody.error().code, Errc::kUsage) << nobody.error().detail;
  EXPECT_EQ(supervisor.open(), 0U);
}

TEST_F(ConversationSupervisorTest, WaitingInATurnIsRefusedAtOnce) {
  // The only worker would wait for itself; on the pool for blocking work it waits for it.
  const auto in_turn = ask(supervisor, kAsker, Payload{"x"}, kLong, CrashPolicy::kFail);
  ASSERT_TRUE(in_turn) << in_turn.error().detail;
  EXPECT_EQ(in_turn->view().substr(0, 30), "Usage: this call waits, which ") << in_turn->view();
  EXPECT_EQ(ask(supervisor, ServiceName{"blocking"}, Payload{"x"}, kLong, CrashPolicy::kFail),
            Payload{"x"});
}

TEST_F(ConversationSupervisorTest, EveryCallThatWaitsIsRefusedInATurn) {
  auto actor = supervisor.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kEcho)}});
  ASSERT_TRUE(actor);
  ASSERT_TRUE(actor->handle().ask(Payload{"x"}, kLong));
  std::vector<Errc> errors;
  ASSERT_TRUE(actor->notify_on_participant_exit("echo", [&](const ParticipantExit&) {
    ConversationHandle handle = actor->handle();
    errors = {handle.send(Payload{"x"}).error().code,
              handle.send_one_way(Payload{"x"}).error().code,
              handle.ask(Payload{"x"}, kLong).error().code,
              handle.receive().error().code,
              handle.receive(kLong).error().code,
              handle.receive(MessageId{1, 2}).error().code,
              handle.close().error().code};
  }));
  EXPECT_TRUE(actor->handle().close(kLong));
  EXPECT_EQ(errors, std::vector<Errc>(7, Errc::kUsage));
}

TEST_F(ConversationSupervisorTest, AReceiveThatNamesNoTimeTakesTheConversations) {
  auto actor = supervisor.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kEcho)}});
  ASSERT_TRUE(actor);
  ConversationHandle before = actor->handle();
  actor->receive_timeout(Duration::zero());
  for (auto error : {before.receive().error(), actor->handle().receive().error()}) {
    EXPECT_EQ(error.code, Errc::kConversationTimeout);
    EXPECT_EQ(error.detail.substr(0, 18), "no reply within 0s") << error.detail;
  }
  actor->receive_timeout(kLong);
  const auto id = before.send(Payload{"x"});
  ASSERT_TRUE(id);
  EXPECT_EQ(before.receive(*id), Payload{"x"});
}

TEST_F(ConversationSupervisorTest, OneWayRequestsAreDoneAndNobodyGetsAReply) {
  auto actor = supervisor.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kCharge)}});
  ASSERT_TRUE(actor);
  ConversationHandle conversation = actor->handle();
  ASSERT_TRUE(conversation.send_one_way(Payload{"one"}));
  EXPECT_EQ(conversation.ask(Payload{"two"}, kLong), Payload{"two"});
  EXPECT_EQ(conversation.query_state().counters.completed, 2U);
  EXPECT_EQ(conversation.query_state().counters.received, 1U);
  EXPECT_EQ(log.lines(), (std::vector<std::string>{"process one 1", "process two 1"}));
}

TEST_F(ConversationSupervisorTest, WhoeverSeesItWithoutHoldingItLeavesItToItsHandles) {
  auto actor = supervisor.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kEcho)}});
  ASSERT_TRUE(actor);
  const ConversationHandle::Weak weak = actor->handle().weak();
  EXPECT_FALSE(weak.is_let_go());
  ASSERT_TRUE(weak.lock());
  EXPECT_EQ(weak.lock()->id(), actor->id());
  const Pid pid = actor->pid();
  EXPECT_EQ(weak.lock()->pid(), pid);
  actor = fail(Errc::kUsage, "let go");
  EXPECT_TRUE(weak.is_let_go());
  EXPECT_FALSE(weak.lock());
}

}  // namespace
}  // namespace liminal
