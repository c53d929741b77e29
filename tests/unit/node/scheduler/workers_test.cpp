// Worker threads keep the same promises as the step driver; run under the thread sanitizer too.
#include "node/scheduler/workers.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <vector>

namespace liminal {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;  // generous: only a broken promise takes that long

/// Counts up in processes, waited for in the test.
class Tally {
 public:
  void add(int n = 1) {
    const std::lock_guard lock(mutex_);
    count_ += n;
    changed_.notify_all();  // under the lock: who waited may destroy this as soon as it is free
  }
  [[nodiscard]] bool reaches(int n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return count_ >= n; });
  }
  int count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

struct Do final : LocalMessage {
  explicit Do(std::function<void(Context&)> what) : action(std::move(what)) {}
  std::function<void(Context&)> action;
};
struct Ball final : LocalMessage {
  explicit Ball(int left) : hops_left(left) {}
  int hops_left;
};

/// Does what it is told; all else goes to `on_message`.
class Actor final : public Process {
 public:
  using OnMessage = std::function<void(Context&, Message)>;
  explicit Actor(OnMessage on_message = nullptr, bool traps = false)
      : on_message_(std::move(on_message)), traps_(traps) {}

  void on_start(Context& context) override { context.trap_exits(traps_); }
  void handle(Context& context, Message message) override {
    if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
      if (auto* todo = dynamic_cast<Do*>(local->get())) return todo->action(context);
    }
    if (on_message_) on_message_(context, std::move(message));
  }

 private:
  OnMessage on_message_;
  bool traps_;
};

/// Declared behind what a test's processes write to: they stop before that goes.
class StopsAtEnd {
 public:
  explicit StopsAtEnd(std::unique_ptr<Workers>& workers) : workers_(workers) {}
  ~StopsAtEnd() { workers_.reset(); }
  StopsAtEnd(const StopsAtEnd&) = delete;
  StopsAtEnd& operator=(const StopsAtEnd&) = delete;

 private:
  std::unique_ptr<Workers>& workers_;
};

class WorkersTest : public ::testing::TestWithParam<unsigned> {
 protected:
  Pid spawn(Actor::OnMessage on_message = nullptr, bool traps = false) {
    return scheduler.spawn(std::make_unique<Actor>(std::move(on_message), traps));
  }
  void act(const Pid& who, std::function<void(Context&)> action) {
    scheduler.send_local(who, std::make_unique<Do>(std::move(action)));
  }
  // Everything that was sent to `who` before has been handled.
  void wait_for(const Pid& who) {
    auto done = std::make_shared<std::promise<void>>();
    auto reached = done->get_future();
    act(who, [done](Context&) { done->set_value(); });
    ASSERT_EQ(reached.wait_for(kPatience), std::future_status::ready);
  }

  SystemClock clock;
  Scheduler scheduler{{NodeName{"n"}, 1}, [](Signal) {}};
  std::unique_ptr<Workers> workers =
      std::make_unique<Workers>(scheduler, clock, Workers::Settings{GetParam(), 3});
};

INSTANTIATE_TEST_SUITE_P(Threads, WorkersTest, ::testing::Values(1U, 2U, 4U));

TEST_P(WorkersTest, ABallGoesAroundARing) {
  Tally done;
  constexpr int kRing = 50;
  constexpr int kHops = 20000;
  std::vector<Pid> ring;
  const StopsAtEnd guard(workers);
  for (int i = 0; i < kRing; ++i) {
    ring.push_back(spawn([&, i](Context& c, Message message) {
      auto& ball = dynamic_cast<Ball&>(*std::get<LocalMessagePtr>(message));
      if (ball.hops_left == 0) return done.add();
      c.send_local(ring[(static_cast<std::size_t>(i) + 1) % kRing],
                   std::make_unique<Ball>(ball.hops_left - 1));
    }));
  }
  for (int balls = 0; balls < 4; ++balls) {
    scheduler.send_local(ring[0], std::make_unique<Ball>(kHops));
  }
  EXPECT_TRUE(done.reaches(4));
}

// More than the mailbox takes at once: what is deferred is sent again, and keeps its order.
TEST_P(WorkersTest, ManyToOneArriveAllAndInTheOrderOfEachSender) {
  Tally done;
  constexpr int kSenders = 20;
  constexpr int kEach = 500;
  std::map<Pid, std::uint64_t> last;
  std::atomic<bool> in_order = true;
  const StopsAtEnd guard(workers);
  const Pid sink = spawn([&](Context&, Message message) {
    const auto& got = std::get<message::Received>(message);
    const auto number = std::stoull(std::string(got.envelope.payload.view()));
    if (number != ++last[got.from]) in_order = false;
    done.add();
  });
  const auto send_again = [](Context& c, Message message) {
    auto& refused = std::get<message::Refused>(message);
    c.send(refused.by, *std::move(refused.returned));
  };
  for (int i = 0; i < kSenders; ++i) {
    act(spawn(send_again), [&](Context& c) {
      for (int n = 1; n <= kEach; ++n) {
        Envelope envelope{EnvelopeKind::kRequest, c.new_message_id(), ConversationId{0, 1}};
        envelope.payload = Payload{std::to_string(n)};
        c.send(sink, std::move(envelope));
      }
    });
  }
  EXPECT_TRUE(done.reaches(kSenders * kEach));
  EXPECT_TRUE(in_order);
}

TEST_P(WorkersTest, AChainOfLinksDiesWholeAndExactlyOnce) {
  Tally downs;
  std::map<Pid, int> seen;
  const StopsAtEnd guard(workers);
  const Pid witness = spawn([&](Context&, Message message) {
    const auto& down = std::get<message::Down>(message);
    ++seen[down.process];
    EXPECT_EQ(down.reason, ExitReason::error("first"));
    downs.add();
  });
  constexpr int kChain = 300;
  std::vector<Pid> chain;
  for (int i = 0; i < kChain; ++i) chain.push_back(spawn());
  act(witness, [&](Context& c) {
    for (const Pid& pid : chain) static_cast<void>(c.monitor(pid));
  });
  wait_for(witness);
  for (std::size_t i = 1; i < chain.size(); ++i) {
    act(chain[i], [&, i](Context& c) { c.link(chain[i - 1]); });
    wait_for(chain[i]);
  }
  act(chain[0], [](Context&) { throw std::runtime_error("first"); });
  ASSERT_TRUE(downs.reaches(kChain));
  wait_for(witness);
  for (const auto& [pid, count] : seen) EXPECT_EQ(count, 1);
  EXPECT_EQ(scheduler.counts().processes, 1U);
}

// Links and monitors race the end of the other: each is answered once, with the end or with noproc.
TEST_P(WorkersTest, LinksAndMonitorsThatRaceAnExitAreAnsweredExactlyOnce) {
  constexpr int kRounds = 300;
  Tally exits;
  Tally downs;
  std::vector<Pid> watchers;
  const StopsAtEnd guard(workers);
  for (int i = 0; i < 3; ++i) {
    watchers.push_back(spawn(
        [&](Context&, Message message) {
          if (std::holds_alternative<message::Exited>(message)) exits.add();
          if (std::holds_alternative<message::Down>(message)) downs.add();
        },
        true));
  }
  for (int round = 0; round < kRounds; ++round) {
    const Pid victim = spawn();
    for (const Pid& watcher : watchers) {
      act(watcher, [=](Context& c) {
        c.link(victim);
        static_cast<void>(c.monitor(victim));
      });
    }
    act(victim, [=](Context& c) {
      c.link(watchers[0]);
      c.exit(ExitReason::error("raced"));
    });
  }
  // watchers[0] may get two: the victim's own link, and noproc for a link it made after that ended.
  EXPECT_TRUE(downs.reaches(kRounds * 3));
  EXPECT_TRUE(exits.reaches(kRounds * 3));
  for (const Pid& watcher : watchers) wait_for(watcher);
  EXPECT_EQ(downs.count(), kRounds * 3);
  EXPECT_LE(exits.count(), kRounds * 4);
  EXPECT_EQ(scheduler.counts().processes, 3U);
}

TEST_P(WorkersTest, KillsFromOutsideRaceMessagesAndLeaveNothing) {
  constexpr int kVictims = 200;
  std::vector<Pid> victims;
  Tally downs;
  const StopsAtEnd guard(workers);
  const Pid witness = spawn([&](Context&, Message message) {
    if (std::holds_alternative<message::Down>(message)) downs.add();
  });
  for (int i = 0; i < kVictims; ++i) {
    victims.push_back(spawn([](Context& c, Message message) {
      auto& ball = dynamic_cast<Ball&>(*std::get<LocalMessagePtr>(message));
      static_cast<void>(c.start_timer(1h));
      c.send_local(c.self(), std::make_unique<Ball>(ball.hops_left));  // for ever
    }));
  }
  act(witness, [&](Context& c) {
    for (const Pid& pid : victims) static_cast<void>(c.monitor(pid));
  });
  for (const Pid& pid : victims) scheduler.send_local(pid, std::make_unique<Ball>(0));
  for (const Pid& pid : victims) scheduler.exit(pid, ExitReason::kill());
  EXPECT_TRUE(downs.reaches(kVictims));
  EXPECT_EQ(scheduler.counts().processes, 1U);
  EXPECT_EQ(scheduler.counts().timers, 0U);
}

TEST_P(WorkersTest, TimersFireWhenDueAndNotBefore) {
  std::promise<Duration> took;
  auto future = took.get_future();
  TimePoint begun{};
  const StopsAtEnd guard(workers);
  const Pid a = spawn([&](Context& c, Message) { took.set_value(c.now() - begun); });
  act(a, [&](Context& c) {
    begun = c.now();
    static_cast<void>(c.start_timer(20ms));
  });
  ASSERT_EQ(future.wait_for(kPatience), std::future_status::ready);
  EXPECT_GE(future.get(), 20ms);
}

TEST_P(WorkersTest, ManyTimersOfManyProcessesAllFire) {
  Tally fired;
  const StopsAtEnd guard(workers);
  for (int i = 0; i < 50; ++i) {
    const Pid a = spawn([&](Context&, Message) { fired.add(); });
    act(a, [](Context& c) {
      for (int n = 0; n < 20; ++n) {
        static_cast<void>(c.start_timer(Duration(c.random().below(5'000'000))));
      }
      c.cancel_timer(c.start_timer(1ms));
    });
  }
  EXPECT_TRUE(fired.reaches(1000));
  EXPECT_EQ(scheduler.counts().timers, 0U);
}

TEST_P(WorkersTest, BlockingWorkHoldsUpNoProcess) {
  Tally arrived;
  Tally begun;
  std::promise<void> gate;
  std::shared_future<void> open = gate.get_future().share();
  const StopsAtEnd guard(workers);
  const Pid a = spawn([&](Context&, Message) { arrived.add(); });
  act(a, [&, open](Context& c) {
    for (int i = 0; i < 5; ++i) {  // more than there are threads for it
      c.run_blocking([&begun, open]() -> LocalMessagePtr {
        begun.add();
        open.wait();
        return std::make_unique<Ball>(0);
      });
    }
  });
  EXPECT_TRUE(begun.reaches(3));  // as many as may run at once do
  for (int i = 0; i < 10; ++i) wait_for(a);
  EXPECT_EQ(arrived.count(), 0);
  gate.set_value();
  EXPECT_TRUE(arrived.reaches(5));
}

TEST_P(WorkersTest, BlockingWorkThatThrowsEndsItsProcess) {
  std::promise<ExitReason> reason;
  auto future = reason.get_future();
  const StopsAtEnd guard(workers);
  const Pid a = spawn();
  const Pid witness = spawn([&](Context&, Message message) {
    reason.set_value(std::get<message::Down>(message).reason);
  });
  act(witness, [=](Context& c) { static_cast<void>(c.monitor(a)); });
  wait_for(witness);
  act(a, [](Context& c) {
    c.run_blocking([]() -> LocalMessagePtr { throw std::runtime_error("no luck"); });
  });
  ASSERT_EQ(future.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(future.get(), ExitReason::error("no luck"));
}

TEST_P(WorkersTest, ServicesAreSpawnedAndAbandonedUnderLoad) {
  struct Instance final : Process {
    explicit Instance(Tally& ended) : tally(ended) {}
    ~Instance() override { tally.add(); }
    Instance(const Instance&) = delete;
    Instance& operator=(const Instance&) = delete;
    void handle(Context&, Message) override {}
    Tally& tally;
  };
  Tally ended;  // outlived by nothing that counts in it: the workers stop first
  const StopsAtEnd guard(workers);
  workers.reset();
  scheduler.set_service_factory(
      [&](const signal::SpawnRequest&) -> Result<std::unique_ptr<Process>> {
        return std::make_unique<Instance>(ended);
      });
  workers = std::make_unique<Workers>(scheduler, clock, Workers::Settings{GetParam(), 1});
  constexpr int kRequests = 300;
  for (int i = 0; i < kRequests; ++i) {
    act(spawn([](Context& c, Message message) {
          if (std::holds_alternative<message::Spawned>(message)) {
            c.exit(ExitReason::error("enough"));
          }
        }),
        [i](Context& c) {
          const SpawnId spawn = c.spawn_service(Pid{NodeName{"n"}, local_incarnation(), Serial{0}},
                                                ServiceName{"s"}, ConversationId{0, 1});
          if (i % 3 == 0) c.abandon_spawn(spawn);
          if (i % 3 == 1) c.exit(ExitReason::normal());
        });
  }
  EXPECT_TRUE(ended.reaches(kRequests));
}

/// One worker, and turns that end when the test says so.
class LongTurnTest : public ::testing::Test {
 protected:
  void start(unsigned spares) {
    workers =
        std::make_unique<Workers>(scheduler, clock,
                                  Workers::Settings{.workers = 1,
                                                    .blocking = 1,
                                                    .spares = spares,
                                                    .turn_max = 20ms,
                                                    .on_long_turn = [this](const LongTurn& turn) {
                                                      EXPECT_GE(turn.lasted, 20ms);
                                                      {
                                                        const std::lock_guard lock(services_mutex);
                                                        services.insert(turn.service);
                                                      }
                                                      told.add();
                                                    }});
  }
  ~LongTurnTest() override {
    release.set_value();
    workers.reset();
  }
  /// Its first turn does not end before the test does.
  std::unique_ptr<Process> hung() {
    struct Hung final : Process {
      explicit Hung(std::shared_future<void> the_end) : end(std::move(the_end)) {}
      void on_start(Context&) override { end.wait(); }
      void handle(Context&, Message) override {}
      std::shared_future<void> end;
    };
    return std::make_unique<Hung>(released);
  }
  void beat() { scheduler.send_local(beater, std::make_unique<Ball>(0)); }

  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  Tally told, beats;
  std::mutex services_mutex;
  std::set<std::string> services;  // GUARDED_BY services_mutex
  SystemClock clock;
  Scheduler scheduler{{NodeName{"n"}, 1}, [](Signal) {}};
  const Pid beater =
      scheduler.spawn(std::make_unique<Actor>([this](Context&, const Message&) { beats.add(); }));
  std::unique_ptr<Workers> workers;
};

TEST_F(LongTurnTest, IsToldWithItsServiceAndASpareTakesTheOthersTurns) {
  scheduler.set_service_factory(
      [this](const signal::SpawnRequest&) -> Result<std::unique_ptr<Process>> { return hung(); });
  start(1);
  const Pid client = scheduler.spawn(std::make_unique<Actor>());
  scheduler.send_local(client, std::make_unique<Do>([](Context& c) {
                         (void)c.spawn_service(Pid{NodeName{"n"}, local_incarnation(), Serial{0}},
                                               ServiceName{"slow"}, ConversationId{0, 1});
                       }));
  ASSERT_TRUE(told.reaches(1));
  const std::lock_guard lock(services_mutex);
  EXPECT_EQ(services, std::set<std::string>{"slow"});
  beat();
  EXPECT_TRUE(beats.reaches(1)) << "while the long turn goes on";
}

TEST_F(LongTurnTest, AsManyAsThereAreWorkersAndSparesStopEverything) {
  scheduler.spawn(hung());
  scheduler.spawn(hung());
  start(1);
  ASSERT_TRUE(told.reaches(2));
  beat();
  EXPECT_EQ(beats.count(), 0) << "a hung scheduler does not beat";
}

TEST_P(WorkersTest, StoppingUnderLoadEndsEveryThreadAndLosesNoProcess) {
  const StopsAtEnd guard(workers);
  for (int i = 0; i < 20; ++i) {
    const Pid a = spawn([](Context& c, Message) {
      c.send_local(c.self(), std::make_unique<Ball>(0));  // for ever
    });
    scheduler.send_local(a, std::make_unique<Ball>(0));
  }
  workers.reset();
  EXPECT_EQ(scheduler.counts().processes, 20U);
  // and another driver takes up where this one stopped
  workers = std::make_unique<Workers>(scheduler, clock, Workers::Settings{GetParam(), 1});
  wait_for(spawn());
  workers.reset();
}

// --- nobody starves ------------------------------------------------------------------------------

class TwoWorkersTest : public WorkersTest {};
INSTANTIATE_TEST_SUITE_P(Threads, TwoWorkersTest, ::testing::Values(2U));

TEST_P(TwoWorkersTest, WhatATurnMadeRunnableDoesNotWaitForItsEnd) {
  std::promise<void> released;
  auto release = released.get_future();
  std::promise<void> worked;
  Tally done;
  const StopsAtEnd guard(workers);
  const Pid other = spawn([&](Context&, Message) { released.set_value(); });
  const Pid hog = spawn([&](Context& c, Message message) {
    if (!std::holds_alternative<message::TimerFired>(message)) return;
    c.run_blocking(
        [&]() -> LocalMessagePtr {  // time enough for whoever woke with it to sleep again
          worked.set_value();
          return nullptr;
        });
    worked.get_future().wait();
    c.send_local(other, std::make_unique<Ball>(0));
    EXPECT_EQ(release.wait_for(kPatience), std::future_status::ready);  // only another can do it
    done.add();
  });
  // A timer, so that both workers are asleep, and one of them without a limit, when it begins.
  act(hog, [](Context& c) { static_cast<void>(c.start_timer(30ms)); });
  EXPECT_TRUE(done.reaches(1));
}

TEST_P(TwoWorkersTest, ATimerStartedInATurnDoesNotWaitForItsEnd) {
  std::promise<void> released;
  auto release = released.get_future();
  Tally done;
  const StopsAtEnd guard(workers);
  const Pid timed = spawn([&](Context&, Message) { released.set_value(); });
  act(timed, [&](Context& c) { static_cast<void>(c.start_timer(2ms)); });
  act(spawn(), [&](Context&) {
    EXPECT_EQ(release.wait_for(kPatience), std::future_status::ready);
    done.add();
  });
  EXPECT_TRUE(done.reaches(1));
}

}  // namespace
}  // namespace liminal
