// Goal: an exit is recorded once, and every notifier is told of it exactly once, whenever it was
// registered, however the conversation ends, and whatever becomes of the actor meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "node/scheduler/workers.hpp"
#include "tests/unit/node/conversation/conversations_on_one_node.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;
using Phase = ConversationPhase;

constexpr Duration kLong = 60s;  // generous: reached only if something is broken

class ExitNotifierTest : public OneNode {
 protected:
  using Exits = std::vector<ParticipantExit>;

  ExitNotifierTest() {
    scheduler.set_service_factory(make_toy);
    publish({own_node({kToy})});
  }
  ~ExitNotifierTest() override {
    if (!supervisor) return;
    supervisor->shutdown();
    run_for(20s);
    EXPECT_EQ(scheduler.counts().processes, bystanders);
    EXPECT_EQ(supervisor->open(), 0U);
  }

  ConversationActor open(ConversationConfig config = one_toy()) {
    auto actor = supervisor->spawn(std::move(config));
    EXPECT_TRUE(actor.has_value());
    return *actor;
  }
  void ask(ConversationActor& actor, const char* text) {
    actor.handle().start_ask(Payload{text}, {}, [](const Outcome&) {});
    run();
  }
  void close(ConversationActor& actor) {
    actor.handle().start_close([](const Outcome&) {});
    run();
  }

  static ExitNotifier into(Exits& exits) {
    return [&exits](const ParticipantExit& exit) { exits.push_back(exit); };
  }
  static std::string text(const Exits& exits) {
    std::string all;
    for (const auto& exit : exits) all += to_string(exit) + "; ";
    return all;
  }
  /// What somebody is told who asks only now.
  static Exits told_late(ConversationActor& actor, const std::string& role = "toy") {
    Exits exits;
    EXPECT_TRUE(actor.notify_on_participant_exit(role, into(exits)));
    EXPECT_EQ(exits.size(), 1U) << "before it returns";
    return exits;
  }

  std::unique_ptr<ConversationSupervisor> supervisor =
      std::make_unique<ConversationSupervisor>(scheduler, directory);
  std::size_t bystanders = 0;
};

TEST_F(ExitNotifierTest, ACrashIsToldOnceWithAllThatIsRecorded) {
  Exits exits;
  auto actor = open();
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ask(actor, "x");
  const auto pid = actor.state().participants[0].pid;
  EXPECT_TRUE(exits.empty());
  now += 7s;
  ask(actor, "throw");
  const CrashRecord crash = actor.state().crashes.at(0);
  const ParticipantExit expected{
      "toy", "toy", pid, ExitReason::error("exit status 3"), now, CrashPolicy::kFail, true};
  EXPECT_EQ(exits, Exits{expected});
  EXPECT_EQ(exits[0].at, crash.at);
  close(actor);
  run_for(20s);
  EXPECT_EQ(exits.size(), 1U) << "nor at the end";
}

TEST_F(ExitNotifierTest, WhoAsksLaterIsToldOfTheInstantThatWasRecorded) {
  Exits exits;
  auto actor = open();
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ask(actor, "throw");
  now += 5s;
  EXPECT_EQ(told_late(actor), exits);
  close(actor);
  now += 1h;
  EXPECT_EQ(told_late(actor), exits) << "nor does the end change it";
  EXPECT_EQ(exits[0].at, TimePoint{1000s});
}

TEST_F(ExitNotifierTest, AQuietLeavingIsAnExitAndNoCrash) {
  Exits exits;
  auto actor = open();
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ask(actor, "last");
  EXPECT_EQ(text(exits), "toy on a exited: normal; ");
  EXPECT_FALSE(exits[0].crash);
  EXPECT_EQ(actor.state().phase, Phase::kActive);
}

TEST_F(ExitNotifierTest, OneThatIsClosedIsToldBeforeWhoClosedIt) {
  Exits exits;
  std::string when_closed;
  auto actor = open();
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ask(actor, "x");
  actor.handle().start_close([&](const Outcome&) { when_closed = text(exits); });
  run();
  EXPECT_EQ(when_closed, "toy on a exited: shutdown; ");
  EXPECT_FALSE(exits[0].crash);
}

TEST_F(ExitNotifierTest, AConversationThatEndsWithoutTheExitSaysSo) {
  const Pid toy = scheduler.spawn(std::make_unique<Toy>());
  bystanders = 1;
  Exits never, let_go, unplaced, killed;
  {
    auto actor = open();
    ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(never)));
    close(actor);
    EXPECT_EQ(text(never), "toy was never started; ");
    EXPECT_EQ(told_late(actor), never);
  }
  {
    auto actor = open({CrashPolicy::kFail, {ParticipantConfig::attached("helper", toy)}});
    ASSERT_TRUE(actor.notify_on_participant_exit("helper", into(let_go)));
    ask(actor, "x");
    close(actor);
    EXPECT_EQ(text(let_go), "helper on a: no exit was seen; ");
    EXPECT_FALSE(let_go[0].at || let_go[0].reason || let_go[0].crash);
  }
  {
    auto actor = open({CrashPolicy::kFail, {ParticipantConfig::owned(ServiceName{"lower"})}});
    ASSERT_TRUE(actor.notify_on_participant_exit("lower", into(unplaced)));
    ask(actor, "x");
    EXPECT_EQ(text(unplaced), "lower was never started; ");
  }
  {
    auto actor = open();
    ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(killed)));
    ask(actor, "stubborn");
    close(actor);
    EXPECT_TRUE(killed.empty());
    run_for(2s);
    EXPECT_EQ(text(killed), "toy on a: no exit was seen; ") << "killed, and not waited for";
    EXPECT_EQ(told_late(actor), killed);
  }
}

TEST_F(ExitNotifierTest, AConversationThatIsKilledSaysSo) {
  Exits exits;
  auto actor = open();
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ask(actor, "x");
  scheduler.exit(actor.pid(), ExitReason::kill());
  run();
  EXPECT_EQ(text(exits), "toy on a: no exit was seen; ");
  EXPECT_EQ(told_late(actor), exits);
}

TEST_F(ExitNotifierTest, AConversationThatIsKilledKeepsTheExitThatWasRecorded) {
  Exits exits;
  auto actor = open();
  ask(actor, "last");
  scheduler.exit(actor.pid(), ExitReason::kill());
  run();
  EXPECT_EQ(text(told_late(actor)), "toy on a exited: normal; ");
}

TEST_F(ExitNotifierTest, AHandleThatOutlivesTheNodeIsToldToo) {
  Exits exits;
  std::string state;
  auto ending = std::make_unique<Scheduler>(Scheduler::Settings{.node = NodeName{"a"}, .seed = 7},
                                            [](const Signal&) {});
  ending->set_service_factory(make_toy);
  supervisor = std::make_unique<ConversationSupervisor>(*ending, directory);
  auto actor = open();
  actor.handle().start_ask(Payload{"x"}, {}, [](const Outcome&) {});
  ending->run_until_idle(now);
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", [&](const ParticipantExit&) {
    state = name_of(actor.state().phase);
    actor.handle().start_ask(Payload{"x"}, {}, [&](const Outcome& outcome) {
      state += outcome ? " answered" : " " + std::string{name_of(outcome.error().code)};
    });
  }));
  supervisor.reset();
  ending.reset();
  EXPECT_EQ(text(exits), "toy on a: no exit was seen; ");
  EXPECT_EQ(state, "Failed ConversationFailed") << "it may call, even then";
  EXPECT_EQ(told_late(actor), exits);
}

TEST_F(ExitNotifierTest, ItOutlivesActors) {
  Exits exits;
  auto actor = open();
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ask(actor, "x");
  for (int i = 0; i < 3; ++i) {
    scheduler.exit(actor.handle().actor_pid().value(), ExitReason::kill());
    run();
  }
  EXPECT_TRUE(exits.empty());
  // the exit comes while there is no actor
  scheduler.exit(actor.handle().actor_pid().value(), ExitReason::kill());
  scheduler.exit(*actor.state().participants[0].pid, ExitReason::kill());
  run();
  EXPECT_EQ(text(exits), "toy on a crashed: killed; ");
  EXPECT_EQ(actor.state().crashes.size(), 1U);
  EXPECT_EQ(told_late(actor), exits);
}

TEST_F(ExitNotifierTest, AnActorThatCrashesForGoodIsNoExitOfAParticipant) {
  Exits exits;
  ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
  config.actor_restarts_max = 0;
  auto actor = open(config);
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ask(actor, "x");
  scheduler.exit(actor.handle().actor_pid().value(), ExitReason::kill());
  run();
  EXPECT_EQ(actor.state().phase, Phase::kFailed);
  EXPECT_EQ(text(exits), "toy on a exited: shutdown; ");
  EXPECT_FALSE(exits[0].crash);
}

TEST_F(ExitNotifierTest, ALostNodeIsToldWithItsEvidence) {
  publish({{NodeName{"b"}, Incarnation{5}, MemberState::kJoined, false, {kToy}, {}}});
  Exits exits;
  auto actor = open();
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ask(actor, "x");
  const auto request = std::get<signal::SpawnRequest>(forwarded.at(0));
  const Pid instance{NodeName{"b"}, Incarnation{5}, Serial{77}};
  const LinkId link{instance > request.from ? 3U : 2U};
  scheduler.deliver(signal::SpawnReply{instance, request.from, request.spawn, link});
  run();
  const Evidence evidence{EvidenceSource::kHeartbeatsMissed, 3s, 3s, 0ms};
  const signal::Exit lost{instance, request.from, ExitReason::noconnection(evidence), link};
  scheduler.deliver(lost);
  scheduler.deliver(lost);  // said twice
  run();
  ASSERT_EQ(exits.size(), 1U);
  EXPECT_EQ(exits[0].reason->evidence, evidence);
  EXPECT_EQ(exits[0].pid, instance);
  EXPECT_TRUE(exits[0].crash);
  EXPECT_EQ(actor.state().crashes.size(), 1U);
}

TEST_F(ExitNotifierTest, OneThatThrowsIsCountedAndHurtsNobody) {
  Exits exits;
  auto actor = open();
  ASSERT_TRUE(actor.notify_on_participant_exit(
      "toy", [](const ParticipantExit&) { throw std::runtime_error("no"); }));
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  ask(actor, "throw");
  EXPECT_EQ(exits.size(), 1U);
  EXPECT_TRUE(actor.notify_on_participant_exit("toy", [](const ParticipantExit&) { throw 1; }));
  EXPECT_EQ(actor.state().counters.notifiers_thrown, 2U);
  EXPECT_EQ(actor.state().counters.actor_restarts, 0U);
}

TEST_F(ExitNotifierTest, ItMayCallBackIntoTheHandle) {
  Exits nested;
  std::string closed;
  Phase phase = Phase::kCreated;
  auto actor = open();
  ASSERT_TRUE(actor.notify_on_participant_exit("toy", [&](const ParticipantExit&) {
    phase = actor.state().phase;
    EXPECT_TRUE(actor.notify_on_participant_exit("toy", into(nested)));
    actor.handle().start_close(
        [&](const Outcome& outcome) { closed = outcome ? "closed" : "error"; });
  }));
  ask(actor, "last");
  EXPECT_EQ(phase, Phase::kActive);
  EXPECT_EQ(nested.size(), 1U);
  EXPECT_EQ(closed, "closed");
}

TEST_F(ExitNotifierTest, AHandleInANotifierKeepsTheConversationUntilItIsCalled) {
  auto told = std::make_shared<int>(0);
  {
    auto actor = open();
    ask(actor, "x");
    ASSERT_TRUE(actor.notify_on_participant_exit(
        "toy", [actor, told](const ParticipantExit&) { ++*told; }));
  }
  run_for(60s);
  EXPECT_EQ(supervisor->open(), 1U);
  EXPECT_EQ(told.use_count(), 2);
  supervisor->shutdown();
  run();
  EXPECT_EQ(*told, 1);
  EXPECT_EQ(told.use_count(), 1) << "it is gone after its call";
}

TEST_F(ExitNotifierTest, AsManyWaitAsTheConfigurationAllows) {
  Exits exits;
  ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
  config.exit_notifiers_max = 2;
  auto actor = open(config);
  EXPECT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  EXPECT_TRUE(actor.notify_on_participant_exit("toy", into(exits)));
  EXPECT_EQ(actor.notify_on_participant_exit("toy", into(exits)).error(),
            (Error{Errc::kRejected, "2 exit notifiers wait, exit-notifiers-max is 2"}));
  ask(actor, "last");
  EXPECT_EQ(exits.size(), 2U) << "one that was refused is not called";
  for (int i = 0; i < 5; ++i)
    EXPECT_TRUE(actor.notify_on_participant_exit("toy", into(exits))) << "none waits";
  EXPECT_EQ(exits.size(), 7U);
}

TEST_F(ExitNotifierTest, WhatMakesNoSenseIsRefused) {
  Exits exits;
  auto actor = open();
  EXPECT_EQ(actor.notify_on_participant_exit("to\ny", into(exits)).error(),
            (Error{Errc::kUsage, "'to\\ny' is no role of this conversation"}));
  EXPECT_EQ(actor.notify_on_participant_exit("toy", nullptr).error().code, Errc::kUsage);
  close(actor);
  EXPECT_TRUE(exits.empty());
}

TEST_F(ExitNotifierTest, AProcessIsToldByMessage) {
  struct Watcher final : Process {
    Watcher(ConversationActor the_actor, std::string& the_log)
        : actor_(std::move(the_actor)), log_(the_log) {}
    void on_start(Context& context) override {
      EXPECT_TRUE(
          actor_.notify_on_participant_exit("toy", actor_.handle().tell_exit(context.self(), 9)));
    }
    void handle(Context& context, Message message) override {
      auto* local = std::get_if<LocalMessagePtr>(&message);
      auto* told = local ? dynamic_cast<ConversationExit*>(local->get()) : nullptr;
      if (told == nullptr) return;
      log_ += std::to_string(told->tag) + " " + to_string(told->exit);
      context.exit(ExitReason::normal());
    }
    ConversationActor actor_;
    std::string& log_;
  };
  std::string log;
  auto actor = open();
  scheduler.spawn(std::make_unique<Watcher>(actor, log));
  ask(actor, "throw");
  EXPECT_EQ(log, "9 toy on a crashed: exit status 3");
}

// Threads register while the participant crashes, its actor is killed, and the conversation closes.
TEST(ExitNotifierThreads, EachIsCalledExactlyOnceAndAllAreToldTheSame) {
  SystemClock clock;
  Scheduler scheduler{{.node = NodeName{"a"}, .seed = 7}, [](const Signal&) {}};
  Directory directory;
  ConversationSupervisor supervisor{scheduler, directory};
  scheduler.set_service_factory(make_toy);
  directory.publish({{own_node({kToy})}, true, 1000});
  const Workers workers{scheduler, clock, {.workers = 2, .blocking = 1}};

  for (int round = 0; round < 40; ++round) {
    ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
    config.exit_notifiers_max = 10'000;
    auto actor = *supervisor.spawn(config);
    ASSERT_TRUE(actor.handle().ask(Payload{"x"}, kLong));

    constexpr int kThreads = 3, kEach = 60;
    struct Told {
      std::atomic<int> calls{0};
      std::optional<ParticipantExit> exit;
    };
    std::vector<Told> told(kThreads * kEach);
    std::atomic<int> begun{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([actor, t, &told, &begun]() mutable {
        ++begun;
        for (int i = 0; i < kEach; ++i) {
          Told& mine = told[static_cast<std::size_t>(t * kEach + i)];
          EXPECT_TRUE(actor.notify_on_participant_exit("toy", [&mine](const ParticipantExit& exit) {
            mine.exit = exit;
            ++mine.calls;
          }));
        }
      });
    }
    while (begun.load() < kThreads) std::this_thread::yield();
    if (round % 2 == 0) scheduler.exit(actor.handle().actor_pid().value(), ExitReason::kill());
    const Error failed = actor.handle().ask(Payload{"throw"}, kLong).error();
    EXPECT_EQ(failed.code, Errc::kParticipantCrashed) << failed.detail;
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(actor.handle().close(kLong));

    const auto crashes = actor.state().crashes;
    ASSERT_EQ(crashes.size(), 1U);
    for (const Told& each : told) {
      ASSERT_EQ(each.calls.load(), 1);
      EXPECT_EQ(each.exit, told[0].exit);
      EXPECT_EQ(each.exit->at, crashes[0].at);
    }
  }
  EXPECT_TRUE(supervisor.wait_until_none(kLong));
}

}  // namespace
}  // namespace liminal
