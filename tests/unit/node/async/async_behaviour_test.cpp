// Goal: participants that converse themselves: they wait without a thread, learn what became of
// those they asked as typed errors, and wherever they end, what they opened ends too.
#include "node/async/async_behaviour.hpp"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/base/text.hpp"
#include "node/participant/service_registry.hpp"
#include "node/scheduler/workers.hpp"
#include "tests/support/one_node.hpp"
#include "tests/support/written_lines.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;
using Lines = std::vector<std::string>;
using Phase = ConversationPhase;

constexpr auto kLong = 30s;  // generous: only a broken promise takes that long
const ServiceName kInner{"inner"}, kOuter{"outer"};

std::string text_of(const Result<Payload>& outcome) {
  if (outcome) return std::string{outcome->view()};
  return std::string{name_of(outcome.error().code)};
}

/// Replies with "<payload>"; at "slow" when it was told to, at "crash" it crashes.
class Inner final : public AsyncBehaviour {
 public:
  explicit Inner(WrittenLines& log) : log_(log) {}
  Task<std::optional<Payload>> process(Request request, ParticipantContext&) override {
    const std::string text{request.payload.view()};
    if (text == "crash") throw std::runtime_error("boom");
    if (text == "slow") co_await sleep_for(10s);
    if (text == "silent") co_return std::nullopt;
    log_.add("inner did " + text);
    co_return Payload{"<" + text + ">"};
  }
  Task<> compensate(Compensation compensation, ParticipantContext&) override {
    co_await sleep_for(1ms);
    log_.add("inner undid " + std::string{compensation.request.payload.view()});
  }

 private:
  WrittenLines& log_;
};

/// What each test has it do.
using Script = std::function<Task<std::optional<Payload>>(Request, ParticipantContext&)>;
class Outer final : public AsyncBehaviour {
 public:
  explicit Outer(const Script& script) : script_(script) {}
  Task<std::optional<Payload>> process(Request request, ParticipantContext& context) override {
    return script_(std::move(request), context);
  }

 private:
  const Script& script_;
};

class AsyncBehaviourTest : public OneNode {
 protected:
  AsyncBehaviourTest() {
    EXPECT_TRUE(registry.add(
        kInner, async_participants(supervisor, [this] { return std::make_unique<Inner>(log); })));
    EXPECT_TRUE(registry.add(kOuter, async_participants(supervisor, [this] {
                               return std::make_unique<Outer>(script);
                             })));
    scheduler.set_service_factory(
        [this](const signal::SpawnRequest& request) { return registry.make(request); });
    publish({own_node(registry.names())});
  }
  ~AsyncBehaviourTest() override {
    if (workers) {
      supervisor.shutdown();
      EXPECT_TRUE(supervisor.wait_until_none(kLong));
      workers.reset();
      return;
    }
    // whatever the test did, nothing may be left when it is over
    supervisor.shutdown();
    run_for(30s);
    EXPECT_EQ(scheduler.counts().processes, 0U);
    EXPECT_EQ(scheduler.counts().timers, 0U);
    EXPECT_EQ(supervisor.open(), 0U);
    EXPECT_EQ(registry.participants(), 0U);
  }

  ConversationHandle open(CrashPolicy policy = CrashPolicy::kFail) {
    auto actor = supervisor.spawn({policy, {ParticipantConfig::owned(kOuter)}});
    EXPECT_TRUE(actor);
    return actor->handle();
  }
  /// The outcome will be in `outcomes` under the request's text.
  ConversationHandle::Pending ask(ConversationHandle& handle, const std::string& text,
                                  SendOptions options = {}) {
    auto pending =
        handle.start_ask(Payload{text}, std::move(options),
                         [this, text](Outcome outcome) { outcomes[text] = text_of(outcome); });
    run();
    return pending;
  }

  Script script;
  WrittenLines log;
  std::map<std::string, std::string> outcomes;
  std::vector<TimelineRecord> timeline;
  SystemClock clock;
  ServiceRegistry registry{{.node = NodeName{"a"}}};
  ConversationSupervisor supervisor{
      scheduler,
      directory,
      {.timeline = [this](TimelineRecord record) { timeline.push_back(std::move(record)); },
       .participants = &registry}};
  std::optional<Workers> workers;
};

TEST_F(AsyncBehaviourTest, AParticipantConversesWithAnother) {
  script = [](Request request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    auto actor = context.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kInner)}});
    ConversationHandle inner = actor->handle();
    const auto first = co_await inner.ask_async(request.payload, kLong);
    const auto id = co_await inner.send_async(Payload{"two"});
    const auto second = co_await inner.receive_async(*id, kLong);
    const auto closed = co_await inner.close_async();
    co_return Payload{text_of(first) + text_of(second) + (closed ? " closed" : "")};
  };
  auto outer = open();
  ask(outer, "one");
  EXPECT_EQ(outcomes["one"], "<one><two> closed");
  EXPECT_EQ(supervisor.open(), 1U) << "the inner one is closed";
}

TEST_F(AsyncBehaviourTest, OneRequestIsOneCall) {
  script = [](Request request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    const auto reply = co_await context.ask(kInner, request.payload, kLong, CrashPolicy::kFail);
    co_return Payload{text_of(reply)};
  };
  auto outer = open();
  for (const char* text : {"one", "crash", "silent"}) ask(outer, text);
  EXPECT_EQ(outcomes,
            (std::map<std::string, std::string>{
                {"one", "<one>"}, {"crash", "ParticipantCrashed"}, {"silent", "NoReply"}}));
  EXPECT_EQ(supervisor.open(), 1U);
}

TEST_F(AsyncBehaviourTest, WhatItSendsHasTheRequestAsItsCauseAndItsTrace) {
  script = [](Request request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    (void)co_await context.ask(kInner, request.payload, kLong, CrashPolicy::kFail);
    co_return Payload{to_string(request.id)};
  };
  auto outer = open();
  ask(outer, "one");
  std::vector<std::string> causes;
  for (const TimelineRecord& record : timeline) {
    if (record.event == TimelineEvent::kSent && record.role == "inner") {
      causes.push_back(record.cause ? to_string(*record.cause) : "none");
    }
  }
  EXPECT_EQ(causes, Lines{outcomes["one"]});
}

TEST_F(AsyncBehaviourTest, TheCrashOfWhomItAskedIsATypedErrorWhereItWaits) {
  script = [this](Request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    auto actor = context.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kInner)}});
    ConversationHandle inner = actor->handle();
    const auto id = co_await inner.send_async(Payload{"crash"});
    log.add(text_of(co_await inner.receive_async(*id, kLong)));
    const auto after = co_await inner.send_async(Payload{"x"});
    log.add(after ? "taken" : std::string{name_of(after.error().code)});
    log.add(text_of(co_await inner.ask_async(Payload{"y"}, kLong)));
    co_return Payload{"survived"};
  };
  auto outer = open();
  ask(outer, "go");
  EXPECT_EQ(outcomes["go"], "survived");
  EXPECT_EQ(log.lines(), (Lines{"ParticipantCrashed", "ConversationFailed", "ConversationFailed"}));
}

TEST_F(AsyncBehaviourTest, ATimeoutIsAnErrorAtItsMomentAndSwallowsNoReply) {
  script = [this](Request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    auto actor = context.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kInner)}});
    ConversationHandle inner = actor->handle();
    const auto id = co_await inner.send_async(Payload{"slow"});
    const TimePoint begun = context.now();
    const auto early = co_await inner.receive_async(*id, 4s);
    log.add(text_of(early) + " after " + to_string(context.now() - begun));
    log.add(early.error().detail.substr(0, 18));
    log.add(text_of(co_await inner.receive_async(*id, 1h)));
    co_return std::nullopt;
  };
  auto outer = open();
  ask(outer, "go");
  run_for(4s - 1ns);
  EXPECT_EQ(log.lines(), Lines{});
  run_for(1ns);
  EXPECT_EQ(log.lines(), (Lines{"ConversationTimeout after 4s", "no reply within 4s"}));
  run_for(6s);
  EXPECT_EQ(log.lines().back(), "<slow>");
  EXPECT_EQ(outcomes["go"], "NoReply");
}

/// Waits for what takes 10 s, and says when it is torn down.
Script waits_long(WrittenLines& log) {
  return [&log](Request request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    if (request.payload.view() == "next") co_return request.payload;
    const std::shared_ptr<void> mark{nullptr, [&log](void*) { log.add("unwound"); }};
    const auto reply =
        co_await context.ask(kInner, Payload{"slow"}, kLong, CrashPolicy::kCompensate);
    log.add("went on with " + text_of(reply));
    co_return reply ? std::optional{*reply} : std::nullopt;
  };
}

TEST_F(AsyncBehaviourTest, ARequestThatExpiresEndsItsCoroutineAndWhatItOpened) {
  script = waits_long(log);
  auto outer = open();
  ask(outer, "go", {.deadline = 3s});
  ask(outer, "next");
  run_for(3s - 1ns);
  EXPECT_EQ(supervisor.open(), 2U);
  EXPECT_EQ(log.lines(), Lines{});
  run_for(1ns);
  EXPECT_EQ(log.lines().at(0), "unwound");
  EXPECT_EQ(outcomes["go"], "ConversationTimeout");
  EXPECT_EQ(outcomes["next"], "next") << "the next one has its turn";
  run_for(3s);
  EXPECT_EQ(supervisor.open(), 1U) << "by its policy, not after orphan_timeout";
  EXPECT_EQ(log.lines(), (Lines{"unwound", "inner undid slow"}));
}

TEST_F(AsyncBehaviourTest, WhatAnExpiredRequestHadDoneByOthersIsUndoneAtOnce) {
  script = [](Request request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    const auto actor =
        context.spawn({CrashPolicy::kCompensate, {ParticipantConfig::owned(kInner)}});
    (void)co_await actor->handle().ask_async(request.payload, kLong);
    co_await sleep_for(10s);
    co_return std::nullopt;
  };
  auto outer = open();
  ask(outer, "one", {.deadline = 3s});
  run_for(3s - 1ns);
  EXPECT_EQ(log.lines(), Lines{"inner did one"});
  run_for(100ms);  // not when nobody has held it for orphan_timeout
  EXPECT_EQ(log.lines(), (Lines{"inner did one", "inner undid one"}));
  EXPECT_EQ(supervisor.open(), 1U);
}

TEST_F(AsyncBehaviourTest, AParticipantThatEndsWhileItWaitsTakesWhatItOpenedAlong) {
  script = waits_long(log);
  auto outer = open();
  ask(outer, "go");
  EXPECT_EQ(supervisor.open(), 2U);
  outer.start_close([](const Outcome&) {});
  run();
  EXPECT_EQ(log.lines().at(0), "unwound");
  run_for(3s);
  EXPECT_EQ(supervisor.open(), 0U);
  EXPECT_EQ(log.lines(), (Lines{"unwound", "inner undid slow"}));
}

TEST_F(AsyncBehaviourTest, TheSchedulerMayGoWhileParticipantsWait) {
  script = waits_long(log);
  {
    Scheduler other{{.node = NodeName{"a"}, .seed = 8}, [](const Signal&) {}};
    other.set_service_factory(
        [this](const signal::SpawnRequest& request) { return registry.make(request); });
    ConversationSupervisor others{other, directory, {.participants = &registry}};
    auto actor = others.spawn_with_participant(
        ConversationConfig{CrashPolicy::kFail},
        async_participants(others, [this] { return std::make_unique<Outer>(script); }));
    ASSERT_TRUE(actor);
    actor->handle().start_ask(Payload{"go"}, {}, [](const Outcome&) {});
    other.run_until_idle(now);
    EXPECT_EQ(log.lines(), Lines{});
  }
  EXPECT_EQ(log.lines(), Lines{"unwound"});
}

TEST_F(AsyncBehaviourTest, ARequestThatIsCancelledIsNoCrash) {
  script = waits_long(log);
  auto outer = open(CrashPolicy::kCompensate);
  ask(outer, "go");
  outer.cancel("the test");
  run();
  EXPECT_EQ(log.lines().at(0), "unwound");
  run_for(5s);
  EXPECT_EQ(outer.query_state().phase, Phase::kFailed);
  EXPECT_EQ(outer.query_state().crashes.size(), 0U);
}

TEST_F(AsyncBehaviourTest, AnExceptionIsTheParticipantsCrash) {
  bool waits = false;
  script = [&](Request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    auto actor = context.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kInner)}});
    if (waits) (void)co_await actor->handle().ask_async(Payload{"x"}, kLong);
    throw std::runtime_error("exit status 3");
  };
  for (const bool after_a_wait : {false, true}) {
    waits = after_a_wait;
    auto outer = open();
    ask(outer, "go");
    EXPECT_EQ(outcomes["go"], "ParticipantCrashed");
    ASSERT_EQ(outer.query_state().crashes.size(), 1U);
    EXPECT_EQ(outer.query_state().crashes[0].reason, ExitReason::error("exit status 3"));
  }
}

TEST_F(AsyncBehaviourTest, NoCoroutineIsACrashToo) {
  script = [](Request, ParticipantContext&) { return Task<std::optional<Payload>>{}; };
  auto outer = open();
  ask(outer, "go");
  ASSERT_EQ(outer.query_state().crashes.size(), 1U);
  EXPECT_EQ(outer.query_state().crashes[0].reason,
            ExitReason::error("the behaviour returned no coroutine"));
}

TEST_F(AsyncBehaviourTest, ConversationsMayBeKeptFromRequestToRequest) {
  std::optional<ConversationHandle> kept;
  script = [&kept](Request request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    if (!kept) {
      kept = context.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kInner)}})->handle();
    }
    co_return Payload{text_of(co_await kept->ask_async(request.payload, kLong))};
  };
  auto outer = open();
  ask(outer, "one");
  ask(outer, "two");
  EXPECT_EQ(outcomes["two"], "<two>");
  EXPECT_EQ(kept->query_state().counters.completed, 2U);
  kept.reset();
}

TEST_F(AsyncBehaviourTest, CompensationsAwaitToo) {
  auto actor = supervisor.spawn({CrashPolicy::kCompensate, {ParticipantConfig::owned(kInner)}});
  ASSERT_TRUE(actor);
  ConversationHandle inner = actor->handle();
  ask(inner, "one");
  ask(inner, "two");
  ask(inner, "crash");
  run_for(1s);
  EXPECT_EQ(log.lines(), (Lines{"inner did one", "inner did two", "inner undid crash",
                                "inner undid two", "inner undid one"}));
  EXPECT_EQ(inner.query_state().failure->code, Errc::kCompensated);
}

TEST_F(AsyncBehaviourTest, ThatABehaviourCompensatesIsSeenFromItsType) {
  EXPECT_TRUE(async_participants(supervisor, [this] {
                return std::make_unique<Inner>(log);
              }).compensates());
  EXPECT_FALSE(async_participants(supervisor, [this] {
                 return std::make_unique<Outer>(script);
               }).compensates());
}

TEST_F(AsyncBehaviourTest, OneWorkerIsEnoughForAThousandThatWaitForEachOther) {
  script = [](Request request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    co_return Payload{
        text_of(co_await context.ask(kInner, request.payload, kLong, CrashPolicy::kFail))};
  };
  timeline = {};
  workers.emplace(scheduler, clock, Workers::Settings{.workers = 1, .blocking = 1});
  constexpr int kMany = 1000;
  std::vector<ConversationHandle> outers;
  std::vector<MessageId> ids;
  for (int i = 0; i < kMany; ++i) {
    outers.push_back(open());
    const auto id = outers.back().send(Payload{std::to_string(i)}, {}, kLong);
    ASSERT_TRUE(id);
    ids.push_back(*id);
  }
  for (int i = 0; i < kMany; ++i) {
    const auto at = static_cast<std::size_t>(i);
    ASSERT_EQ(text_of(outers[at].receive(ids[at], kLong)), "<" + std::to_string(i) + ">");
  }
}

TEST_F(AsyncBehaviourTest, AThousandAreSuspendedAtOnceOnOneThread) {
  script = [](Request, ParticipantContext& context) -> Task<std::optional<Payload>> {
    co_return Payload{
        text_of(co_await context.ask(kInner, Payload{"slow"}, kLong, CrashPolicy::kFail))};
  };
  std::vector<ConversationHandle> outers;
  for (int i = 0; i < 1000; ++i) {
    outers.push_back(open());
    ask(outers.back(), std::to_string(i));
  }
  EXPECT_EQ(registry.participants(), 2000U);
  EXPECT_TRUE(outcomes.empty());
  run_for(10s);
  ASSERT_EQ(outcomes.size(), 1000U);
  for (const auto& [text, outcome] : outcomes) EXPECT_EQ(outcome, "<slow>");
}

}  // namespace
}  // namespace liminal
