// Goal: whatever nodes answer, or do not, each search ends in exactly one report, in time, and
// leaves nothing behind: no timer, no open spawn, no instance that nobody knows.
#include "node/conversation/placement_searches.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/text.hpp"
#include "tests/support/one_node.hpp"
#include "tests/support/toy.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;
using Lines = std::vector<std::string>;

const ConversationId kConversation{1, 2};
constexpr Incarnation kLifeOfB{5};
constexpr RoleIndex kFirst = 0, kSecond = 1;

Member node_b(MemberState state = MemberState::kJoined) {
  return {NodeName{"b"}, kLifeOfB, state, false, {kToy}, {}};
}

/// Takes the place of the conversation's process: does what it is told, in its own turn.
class Owner final : public Process {
 public:
  using Job = std::function<PlacementSearches::Report(Context&, PlacementSearches&)>;
  struct Order final : LocalMessage {
    explicit Order(Job the_job) : job(std::move(the_job)) {}
    Job job;
  };

  Owner(PlacementSearches& searches, Lines& reports) : searches_(searches), reports_(reports) {}

  void on_start(Context& context) override { context.trap_exits(true); }
  void handle(Context& context, Message message) override {
    if (auto* spawned = std::get_if<message::Spawned>(&message)) {
      note(searches_.on_spawned(context, std::move(*spawned)));
    } else if (const auto* fired = std::get_if<message::TimerFired>(&message)) {
      note(searches_.on_timer(context, fired->timer));
    } else if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
      note(dynamic_cast<Order&>(**local).job(context, searches_));
    }
  }

 private:
  void note(const PlacementSearches::Report& report) {
    if (!report) return;
    if (const auto* ready = std::get_if<input::ParticipantReady>(&*report)) {
      reports_.push_back(std::to_string(ready->role) + " ready on " + ready->pid.node.value());
    } else {
      const auto& none = std::get<input::ParticipantUnavailable>(*report);
      reports_.push_back(std::to_string(none.role) + " " + std::string{name_of(none.error.code)} +
                         ": " + none.error.detail);
    }
  }

  PlacementSearches& searches_;
  Lines& reports_;
};

class PlacementSearchesTest : public OneNode {
 protected:
  PlacementSearchesTest() {
    scheduler.set_service_factory(make_toy);
    publish({node_b()});
    start({});
  }
  ~PlacementSearchesTest() override {
    tell([](Context& context, PlacementSearches& all) {
      all.end_all(context);
      return PlacementSearches::Report{};
    });
    EXPECT_EQ(scheduler.counts().timers, 0U);
  }

  /// The searches of a process of their own, in the place of those before.
  void start(PlacementSearches::MakeHere make_here) {
    auto config = std::make_shared<const ConversationConfig>(ConversationConfig{
        CrashPolicy::kFail,
        {ParticipantConfig::owned(kToy), ParticipantConfig::owned("second", kToy)}});
    if (owner) scheduler.exit(*owner, ExitReason::kill());
    run();
    searching = std::make_unique<PlacementSearches>(kConversation, std::move(config), directory,
                                                    linked, std::move(make_here));
    owner = scheduler.spawn(std::make_unique<Owner>(*searching, reports));
    run();
  }

  void tell(Owner::Job job) {
    scheduler.send_local(*owner, std::make_unique<Owner::Order>(std::move(job)));
    run();
  }
  void begin(RoleIndex role = kFirst, std::optional<Duration> to_compensate_within = {}) {
    tell([=](Context& context, PlacementSearches& searches) {
      return searches.begin(context, {role, {}, to_compensate_within});
    });
  }
  void abandon(RoleIndex role = kFirst) {
    tell([=](Context& context, PlacementSearches& searches) {
      return searches.abandon(context, role);
    });
  }

  template <class S>
  std::vector<S> sent() const {
    std::vector<S> all;
    for (const Signal& signal : forwarded) {
      if (const auto* one = std::get_if<S>(&signal)) all.push_back(*one);
    }
    return all;
  }
  Pid brought(const signal::SpawnRequest& request, bool compensates = true) {
    const Pid instance{NodeName{"b"}, kLifeOfB, Serial{++instances}};
    const LinkId link{instance > request.from ? 3U : 2U};
    scheduler.deliver(
        signal::SpawnReply{instance, request.from, request.spawn, link, {}, compensates});
    run();
    return instance;
  }
  void refused(const signal::SpawnRequest& request) {
    scheduler.deliver(signal::SpawnReply{request.to, request.from, request.spawn, std::nullopt,
                                         Error{Errc::kNoService, "not here"}});
    run();
  }

  Lines reports;
  LinkedParticipants linked;
  std::optional<Pid> owner;
  std::unique_ptr<PlacementSearches> searching;
  std::uint64_t instances = 70;
};

TEST_F(PlacementSearchesTest, AnInstanceIsLinkedBeforeItIsReported) {
  begin();
  ASSERT_EQ(sent<signal::SpawnRequest>().size(), 1U);
  EXPECT_TRUE(reports.empty());
  const Pid instance = brought(sent<signal::SpawnRequest>()[0]);
  EXPECT_EQ(reports, Lines{"0 ready on b"});
  EXPECT_TRUE(linked.contains(instance));
  EXPECT_EQ(scheduler.counts().timers, 0U);
}

TEST_F(PlacementSearchesTest, ANodeThatRefusesIsFollowedByTheNextOne) {
  begin();
  publish({own_node({kToy}), node_b()});
  refused(sent<signal::SpawnRequest>().at(0));
  EXPECT_EQ(reports, Lines{"0 ready on a"});
}

TEST_F(PlacementSearchesTest, WithNobodyLeftItReportsWhy) {
  begin();
  refused(sent<signal::SpawnRequest>().at(0));
  EXPECT_EQ(reports, Lines{"0 NoService: no node offers service 'toy'"});
  EXPECT_EQ(scheduler.counts().timers, 0U);
  abandon();
  EXPECT_EQ(reports.size(), 1U) << "it has reported";
}

TEST_F(PlacementSearchesTest, WhoMayBecomeUsableIsWaitedFor) {
  publish({node_b(MemberState::kSuspect)});
  begin();
  run_for(1s);
  EXPECT_TRUE(reports.empty());
  publish({own_node({kToy})});
  run_for(Placement::kRetryInterval);
  EXPECT_EQ(reports, Lines{"0 ready on a"});
}

TEST_F(PlacementSearchesTest, ASpawnWithoutAnAnswerIsGivenUpAtTheLimitAndItsInstanceEnds) {
  begin();
  run_for(15s - 1ns);
  EXPECT_TRUE(reports.empty());
  run_for(1ns);
  EXPECT_EQ(reports, Lines{"0 NoService: no instance of service 'toy' within 15s"});
  const Pid late = brought(sent<signal::SpawnRequest>().at(0));
  EXPECT_EQ(reports.size(), 1U);
  EXPECT_FALSE(linked.contains(late));
  ASSERT_EQ(sent<signal::Exit>().size(), 1U);
  EXPECT_EQ(sent<signal::Exit>()[0].to, late);
  EXPECT_EQ(sent<signal::Exit>()[0].reason, ExitReason::shutdown());
}

TEST_F(PlacementSearchesTest, AnAbandonedOneSaysSoAndItsInstanceEnds) {
  begin();
  abandon();
  EXPECT_EQ(reports, Lines{"0 ConversationFailed: not wanted any more"});
  EXPECT_EQ(scheduler.counts().timers, 0U);
  const Pid late = brought(sent<signal::SpawnRequest>().at(0));
  EXPECT_EQ(reports.size(), 1U);
  EXPECT_FALSE(linked.contains(late));
  EXPECT_EQ(sent<signal::Exit>().size(), 1U);
}

TEST_F(PlacementSearchesTest, AnInstanceThatCannotUndoIsNoneForUndoing) {
  begin(kFirst, 3s);
  const Pid useless = brought(sent<signal::SpawnRequest>().at(0), false);
  EXPECT_FALSE(linked.contains(useless));
  ASSERT_EQ(sent<signal::Exit>().size(), 1U);
  EXPECT_EQ(sent<signal::Exit>()[0].to, useless);
  EXPECT_TRUE(reports.empty()) << "it has its time, whatever the directory says";
  run_for(3s);
  ASSERT_EQ(reports.size(), 1U);
}

TEST_F(PlacementSearchesTest, RolesAreSearchedForApart) {
  begin(kFirst);
  begin(kSecond);
  const auto requests = sent<signal::SpawnRequest>();
  ASSERT_EQ(requests.size(), 2U);
  brought(requests[1]);
  EXPECT_EQ(reports, Lines{"1 ready on b"});
  brought(requests[0]);
  EXPECT_EQ(reports, (Lines{"1 ready on b", "0 ready on b"}));
}

TEST_F(PlacementSearchesTest, TheEndOfAllReportsNothing) {
  begin(kFirst);
  publish({node_b(MemberState::kSuspect)});
  begin(kSecond);
  EXPECT_EQ(scheduler.counts().timers, 2U);
  tell([](Context& context, PlacementSearches& all) {
    all.end_all(context);
    return PlacementSearches::Report{};
  });
  EXPECT_EQ(scheduler.counts().timers, 0U);
  const Pid late = brought(sent<signal::SpawnRequest>().at(0));
  run_for(60s);
  EXPECT_TRUE(reports.empty());
  EXPECT_FALSE(linked.contains(late));
}

TEST_F(PlacementSearchesTest, WhatTheConversationMakesItselfIsNotSearchedFor) {
  bool fails = false;
  start([&]() -> Result<Scheduler::Instance> {
    if (fails) return fail(Errc::kRejected, "no more");
    return Scheduler::Instance{std::make_unique<Toy>()};
  });
  begin();
  EXPECT_EQ(reports, Lines{"0 ready on a"});
  EXPECT_EQ(linked.instances().size(), 1U);
  fails = true;
  begin();
  EXPECT_EQ(reports, (Lines{"0 ready on a", "0 Rejected: no more"}));
  EXPECT_TRUE(forwarded.empty());
}

}  // namespace
}  // namespace liminal
