// Spawning, timers, turns, blocking work and determinism on the step driver.
#include "node/scheduler/scheduler.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "common/base/text.hpp"
#include "tests/unit/node/scheduler/troupe.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const ConversationId kConversation{0, 1};

class SchedulerTest : public ::testing::Test {
 protected:
  void request(std::size_t who, const char* service) {
    troupe.act(who, [=](Context& c) {
      static_cast<void>(c.spawn_service(Pid{NodeName{"n0"}, local_incarnation(), Serial{0}},
                                        ServiceName{service}, kConversation));
    });
  }
  test::Troupe troupe;
};

struct Parcel final : LocalMessage {};

// --- spawning ------------------------------------------------------------------------------------

TEST_F(SchedulerTest, SerialsCountFromOneAndAreNeverUsedTwice) {
  const auto a = troupe.spawn();
  troupe.act(a, [](Context& c) { c.exit(ExitReason::normal()); });
  const auto b = troupe.spawn();
  EXPECT_EQ(troupe.pid(a).serial, Serial{1});
  EXPECT_EQ(troupe.pid(b).serial, Serial{2});
  EXPECT_EQ(troupe.node().counts().processes, 1U);
}

TEST_F(SchedulerTest, ASpawnedProcessIsLinkedOnlyIfAskedFor) {
  const auto a = troupe.spawn();
  auto free_child = troupe.make();
  auto linked_child = troupe.make();
  troupe.act(a, [&](Context& c) {
    static_cast<void>(c.spawn(std::move(free_child.second)));
    static_cast<void>(c.spawn_link(std::move(linked_child.second)));
  });
  troupe.act(a, [](Context& c) { c.exit(ExitReason::error("x")); });
  EXPECT_TRUE(troupe.alive(free_child.first));
  EXPECT_FALSE(troupe.alive(linked_child.first));
}

TEST_F(SchedulerTest, ASpawnLinkWorksFromTheChildToo) {
  const auto a = troupe.spawn_trapping();
  auto child = troupe.make();
  troupe.act(a, [&](Context& c) { static_cast<void>(c.spawn_link(std::move(child.second))); });
  troupe.act(child.first, [](Context& c) { c.exit(ExitReason::error("child")); });
  EXPECT_THAT(troupe.seen(a), ElementsAre("exited 1 error child"));
}

TEST_F(SchedulerTest, AnInstanceOfAServiceIsLinkedFromItsFirstMoment) {
  const auto a = troupe.spawn_trapping();
  request(a, "puppet");
  ASSERT_THAT(troupe.seen(a), ElementsAre("spawned 1 serial 2"));
  troupe.act(1, [](Context& c) { c.exit(ExitReason::error("instance")); });
  EXPECT_THAT(troupe.seen(a), ElementsAre("spawned 1 serial 2", "exited 1 error instance"));
}

TEST_F(SchedulerTest, TheEndOfTheRequesterEndsTheInstance) {
  const auto a = troupe.spawn();
  request(a, "puppet");
  troupe.act(a, [](Context& c) { c.exit(ExitReason::error("requester")); });
  EXPECT_FALSE(troupe.alive(1));
}

TEST_F(SchedulerTest, ASpawnThatFailsSaysWhy) {
  const auto a = troupe.spawn();
  request(a, "unheard-of");
  request(a, "throws");
  request(a, "nothing");
  EXPECT_THAT(troupe.seen(a),
              ElementsAre("spawned 1 error no unheard-of", "spawned 2 error broken factory",
                          "spawned 3 error the service's factory made nothing"));
  EXPECT_TRUE(troupe.alive(a));
}

TEST_F(SchedulerTest, WithoutAFactoryThereIsNoService) {
  Scheduler scheduler({NodeName{"n"}, 1}, [](Signal) {});
  struct Asker final : Process {
    explicit Asker(std::optional<Errc>& result) : answer(result) {}
    void on_start(Context& c) override {
      static_cast<void>(c.spawn_service(Pid{NodeName{"n"}, local_incarnation(), Serial{0}},
                                        ServiceName{"s"}, kConversation));
    }
    void handle(Context&, Message message) override {
      answer = std::get<message::Spawned>(message).instance.error().code;
    }
    std::optional<Errc>& answer;
  };
  std::optional<Errc> answer;
  scheduler.spawn(std::make_unique<Asker>(answer));
  scheduler.run_until_idle(TimePoint{});
  EXPECT_EQ(answer, Errc::kNoService);
}

TEST_F(SchedulerTest, AnAbandonedSpawnYieldsNothingAndItsInstanceEndsWithShutdown) {
  const auto a = troupe.spawn();
  troupe.act(a, [&](Context& c) {
    c.abandon_spawn(
        c.spawn_service(troupe.node_seen_from(0, 0), ServiceName{"trapping"}, kConversation));
  });
  EXPECT_THAT(troupe.seen(a), IsEmpty());
  EXPECT_THAT(troupe.seen(1), ElementsAre("exited 0 shutdown"));
}

TEST_F(SchedulerTest, ASpawnCanBeAbandonedWhileItsAnswerWaitsInTheMailbox) {
  test::Troupe slow(1, 1);
  const auto a = slow.spawn();
  slow.run();
  slow.post(a, [&](Context& c) {
    static_cast<void>(
        c.spawn_service(slow.node_seen_from(0, 0), ServiceName{"trapping"}, kConversation));
  });
  for (int i = 0; i < 2; ++i) slow.post(a, [](Context&) {});
  slow.post(a, [](Context& c) { c.abandon_spawn(SpawnId{1}); });
  slow.run();
  EXPECT_THAT(slow.seen(a), IsEmpty());
  EXPECT_THAT(slow.seen(1), ElementsAre("exited 0 shutdown"));
  // and the link is gone with it
  slow.act(1, [](Context& c) { c.exit(ExitReason::error("x")); });
  EXPECT_TRUE(slow.alive(a));
}

TEST_F(SchedulerTest, AnInstanceWhoseRequesterIsGoneEndsWithNoproc) {
  const auto a = troupe.spawn();
  troupe.act(a, [&](Context& c) {
    static_cast<void>(
        c.spawn_service(troupe.node_seen_from(0, 0), ServiceName{"trapping"}, kConversation));
    c.exit(ExitReason::normal());
  });
  EXPECT_THAT(troupe.seen(1), ElementsAre("exited 0 noproc"));
}

// --- timers --------------------------------------------------------------------------------------

TEST_F(SchedulerTest, ATimerFiresOnceExactlyWhenItIsDue) {
  const auto a = troupe.spawn();
  troupe.act(a, [](Context& c) { static_cast<void>(c.start_timer(5ms)); });
  EXPECT_EQ(troupe.node().next_deadline(), TimePoint{5ms});
  EXPECT_EQ(troupe.node().counts().timers, 1U);

  troupe.now = TimePoint{5ms - 1ns};
  troupe.run();
  EXPECT_THAT(troupe.seen(a), IsEmpty());
  troupe.now = TimePoint{5ms};
  troupe.run();
  EXPECT_THAT(troupe.seen(a), ElementsAre("timer 1"));
  EXPECT_EQ(troupe.node().next_deadline(), std::nullopt);
  EXPECT_EQ(troupe.node().counts().timers, 0U);
}

TEST_F(SchedulerTest, TimersFireInTheOrderDueThenStarted) {
  const auto a = troupe.spawn();
  troupe.act(a, [](Context& c) {
    for (const auto after : {2ms, 1ms, 2ms, 1ms}) static_cast<void>(c.start_timer(after));
  });
  troupe.now = TimePoint{1s};
  troupe.run();
  EXPECT_THAT(troupe.seen(a), ElementsAre("timer 2", "timer 4", "timer 1", "timer 3"));
}

TEST_F(SchedulerTest, ACancelledTimerDoesNotFireNotEvenOutOfTheMailbox) {
  const auto a = troupe.spawn();
  troupe.act(a, [](Context& c) {
    static_cast<void>(c.start_timer(1ms));
    static_cast<void>(c.start_timer(1ms));
  });
  bool cancelled = false;
  troupe.on_note = [&](std::size_t, const std::string&) { cancelled = true; };
  troupe.act(a, [](Context& c) { c.cancel_timer(TimerId{1}); });
  // the second is due already when the first message of the same batch cancels it
  troupe.now = TimePoint{1ms};
  troupe.post(a, [](Context& c) {
    c.cancel_timer(TimerId{2});
    c.cancel_timer(TimerId{2});
    c.cancel_timer(TimerId{77});
  });
  troupe.run();
  EXPECT_FALSE(cancelled);
  EXPECT_EQ(troupe.node().counts().timers, 0U);
}

TEST_F(SchedulerTest, ATimerThatNeverIsDueCanBeStarted) {
  const auto a = troupe.spawn();
  troupe.now = TimePoint{1h};
  troupe.act(a, [](Context& c) { static_cast<void>(c.start_timer(Duration::max())); });
  troupe.now = TimePoint{1000000h};
  troupe.run();
  EXPECT_THAT(troupe.seen(a), IsEmpty());
}

TEST_F(SchedulerTest, TheTimersOfTheGoneAreGone) {
  const auto a = troupe.spawn();
  troupe.act(a, [](Context& c) {
    static_cast<void>(c.start_timer(1ms));
    static_cast<void>(c.start_timer(1h));
    c.exit(ExitReason::normal());
  });
  EXPECT_EQ(troupe.node().counts().timers, 0U);
  EXPECT_EQ(troupe.node().next_deadline(), std::nullopt);
}

TEST_F(SchedulerTest, ATimerOfNoTimeFiresInTheSameRun) {
  const auto a = troupe.spawn();
  troupe.act(a, [](Context& c) { static_cast<void>(c.start_timer(0ns)); });
  EXPECT_THAT(troupe.seen(a), ElementsAre("timer 1"));
}

// --- turns ---------------------------------------------------------------------------------------

TEST_F(SchedulerTest, NobodyWaitsBehindMoreThanATurnOfMessages) {
  test::Troupe small(1, 3);
  const auto busy = small.spawn();
  const auto other = small.spawn();
  small.run();
  std::vector<char> order;
  for (int i = 0; i < 7; ++i) small.post(busy, [&](Context&) { order.push_back('b'); });
  small.post(other, [&](Context&) { order.push_back('o'); });
  small.run();
  EXPECT_THAT(order, ElementsAre('b', 'b', 'b', 'o', 'b', 'b', 'b', 'b'));
}

TEST_F(SchedulerTest, TimeStandsStillDuringATurn) {
  const auto a = troupe.spawn();
  troupe.now = TimePoint{7s};
  TimePoint seen{};
  troupe.act(a, [&](Context& c) { seen = c.now(); });
  EXPECT_EQ(seen, TimePoint{7s});
}

// --- blocking work -------------------------------------------------------------------------------

TEST_F(SchedulerTest, TheResultOfBlockingWorkArrivesAsAMessage) {
  const auto a = troupe.spawn();
  troupe.act(a, [](Context& c) {
    c.run_blocking([] { return std::make_unique<Parcel>(); });
    c.run_blocking([] { return LocalMessagePtr{}; });  // nothing to say
  });
  EXPECT_THAT(troupe.seen(a), ElementsAre("local"));
}

TEST_F(SchedulerTest, BlockingWorkThatThrowsIsTheExitOfWhoAskedForIt) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  troupe.act(b, [&](Context& c) { static_cast<void>(c.monitor(troupe.pid(a))); });
  troupe.act(a, [](Context& c) {
    c.run_blocking([]() -> LocalMessagePtr { throw std::runtime_error("disk on fire"); });
  });
  EXPECT_THAT(troupe.seen(b), ElementsAre("down 1 0 error disk on fire"));
}

TEST_F(SchedulerTest, TheWorkOfTheGoneIsDoneAndItsResultDropped) {
  const auto a = troupe.spawn();
  bool done = false;
  troupe.act(a, [&](Context& c) {
    c.run_blocking([&]() -> LocalMessagePtr {
      done = true;
      return std::make_unique<Parcel>();
    });
    c.exit(ExitReason::normal());
  });
  EXPECT_TRUE(done);
  EXPECT_EQ(troupe.dropped(), 0U);
}

// --- ids, determinism, destruction ---------------------------------------------------------------

TEST_F(SchedulerTest, MessageIdsAreUniqueAndOtherSeedsGiveOthers) {
  Scheduler one({NodeName{"n"}, 1}, [](Signal) {});
  Scheduler other({NodeName{"n"}, 2}, [](Signal) {});
  std::set<MessageId> ids;
  for (int i = 0; i < 100; ++i) {
    ids.insert(one.new_message_id());
    ids.insert(other.new_message_id());
  }
  EXPECT_EQ(ids.size(), 200U);
  EXPECT_NE(one.new_conversation_id(), other.new_conversation_id());
}

// A crowd that gossips, starts timers and ends at random: the same seed gives the same story.
std::vector<std::string> story(std::uint64_t seed) {
  std::vector<std::string> told;
  test::Troupe troupe(1, 2, seed);
  troupe.on_note = [&](std::size_t who, const std::string& note) {
    told.push_back(std::to_string(who) + ": " + note);
  };
  for (int i = 0; i < 8; ++i) troupe.spawn_trapping();
  for (int round = 0; round < 20; ++round) {
    for (std::size_t who = 0; who < 8; ++who) {
      troupe.post(who, [&](Context& c) {
        const std::size_t peer = c.random().below(8);
        c.send(troupe.pid(peer), test::envelope(c, to_string(c.new_message_id())));
        c.link(troupe.pid(peer));
        static_cast<void>(c.start_timer(Duration(c.random().below(100))));
        if (c.random().below(40) == 0) c.exit(ExitReason::error("luck"));
      });
    }
    troupe.now += 10ns;
    troupe.run();
  }
  return told;
}

TEST_F(SchedulerTest, TheSeedDecidesEverything) {
  EXPECT_EQ(story(1), story(1));
  EXPECT_NE(story(1), story(2));
}

TEST_F(SchedulerTest, EachProcessHasItsOwnRandomness) {
  std::set<std::uint64_t> drawn;
  for (int i = 0; i < 20; ++i) {
    const auto a = troupe.spawn();
    troupe.act(a, [&](Context& c) {
      for (int n = 0; n < 5; ++n) drawn.insert(c.random().next());
    });
  }
  EXPECT_EQ(drawn.size(), 100U);
}

TEST_F(SchedulerTest, ItsDestructionDestroysWhatItHoldsWithoutExitSignals) {
  struct Held final : LocalMessage {
    Held(Scheduler& s, Pid p, int& c) : scheduler(s), to(std::move(p)), sent(c) {}
    ~Held() override {
      if (scheduler.send_local(to, std::make_unique<Parcel>())) ++sent;
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    Scheduler& scheduler;
    Pid to;
    int& sent;
  };
  struct Idle final : Process {
    explicit Idle(int& count) : destroyed(count) {}
    ~Idle() override { ++destroyed; }
    Idle(const Idle&) = delete;
    Idle& operator=(const Idle&) = delete;
    void on_start(Context& c) override {
      c.link(Pid{NodeName{"elsewhere"}, Incarnation{7}, Serial{1}});
    }
    void handle(Context&, Message) override {}
    int& destroyed;
  };
  int destroyed = 0;
  int sent = 0;
  std::size_t forwarded = 0;
  {
    Scheduler scheduler({NodeName{"n"}, 1}, [&](Signal) { ++forwarded; });
    const Pid started = scheduler.spawn(std::make_unique<Idle>(destroyed));
    scheduler.run_until_idle(TimePoint{});
    const Pid fresh = scheduler.spawn(std::make_unique<Idle>(destroyed));
    scheduler.send_local(fresh, std::make_unique<Held>(scheduler, started, sent));
  }
  EXPECT_EQ(destroyed, 2);
  EXPECT_EQ(sent, 0);        // what called back in found everybody gone
  EXPECT_EQ(forwarded, 1U);  // the link, nothing else
}

}  // namespace
}  // namespace liminal
