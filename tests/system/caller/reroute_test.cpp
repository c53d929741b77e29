// RouteToNext where the caller is a node that offers the service itself: it is a candidate like the
// others, whose processes alone can be killed.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "node/node.hpp"
#include "node/node_log.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

const std::vector<std::string> kOthers = {"a", "b"};
const std::string kWork =
    "work=exec:test \"$LIMINAL_CALL_ATTEMPT\" -ge 3 || sleep 600; "
    "echo attempt $LIMINAL_CALL_ATTEMPT on $LIMINAL_CALL_NODE";

/// What "work" on the caller's own node is at, and what it is to do.
struct Home {
  std::atomic<bool> at_work = false;
  std::atomic<bool> shall_crash = false;
};

/// Ends at the third attempt, as the others do; before, it crashes when it is told to.
class OwnWork final : public AsyncBehaviour {
 public:
  explicit OwnWork(Home& home) : home_(home) {}
  Task<std::optional<Payload>> process(Request request, ParticipantContext&) override {
    if (request.attempt < 3) {
      home_.at_work = true;
      while (!home_.shall_crash) co_await sleep_for(5ms);
      home_.at_work = false;
      throw std::runtime_error("told to crash");
    }
    co_return Payload{"attempt " + std::to_string(request.attempt) + " on home\n"};
  }

 private:
  Home& home_;
};

/// Sits in a conversation, and makes its node look busy.
struct Ballast final : ParticipantBehaviour {
  std::optional<Payload> process(const Request&) override { return Payload{"here"}; }
};

class RouteToNextWithACallerThatOffers : public ::testing::Test {
 protected:
  RouteToNextWithACallerThatOffers() {
    silence_node_log();
    auto node = Node::create({.name = NodeName{"home"}, .broker = cluster.endpoint()});
    if (!node) throw std::runtime_error{node.error().detail};
    caller = *std::move(node);
    const auto started =
        caller->offer(ServiceName{"work"}, [this] { return std::make_unique<OwnWork>(home); })
            .and_then([&] {
              return caller->offer(ServiceName{"ballast"},
                                   [] { return std::make_unique<Ballast>(); });
            })
            .and_then([&] { return caller->start(20s); });
    if (!started) throw std::runtime_error{started.error().detail};
  }

  ConversationHandle open(const PlacementRule& placement) {
    ConversationConfig config{CrashPolicy::kRouteToNext,
                              {ParticipantConfig::owned(ServiceName{"work"}, placement)}};
    config.policy_timeout = 60s * kSlack;
    auto actor = caller->conversations().spawn(std::move(config));
    if (!actor) throw std::runtime_error{actor.error().detail};
    return actor->handle();
  }
  MessageId send(ConversationHandle& conversation) {
    auto sent = conversation.send(Payload{"x"});
    if (!sent) throw std::runtime_error{sent.error().detail};
    return *sent;
  }
  /// Waits until the caller knows of them, or no longer does.
  void await_members(std::size_t count) {
    ASSERT_TRUE(
        eventually([&] { return caller->directory().snapshot()->members.size() == count; }));
  }
  /// Which of the others works; empty: none yet.
  std::string other_at_work() {
    for (const std::string& node : kOthers) {
      if (cluster.node(node).running() && !cluster.below(node, "sleep").empty()) return node;
    }
    return {};
  }
  /// Kills whichever of the others works, once one does.
  std::string kill_at_work() {
    std::string victim;
    EXPECT_TRUE(eventually([&] { return !(victim = other_at_work()).empty(); }, 40s * kSlack));
    if (victim.empty()) return victim;
    cluster.node(victim).signal(SIGKILL);
    cluster.node(victim).finish();  // or it could be taken for the next one at work
    return victim;
  }
  /// One reply, by the third attempt, after a crash on each of the first two nodes.
  static void expect_third(ConversationHandle& conversation, const MessageId& request,
                           const std::vector<std::string>& nodes) {
    const auto reply = conversation.receive(request, 60s * kSlack);
    ASSERT_TRUE(reply) << reply.error().detail;
    EXPECT_EQ(reply->view(), "attempt 3 on " + nodes.at(2) + "\n");
    const ConversationState state = conversation.query_state();
    ASSERT_EQ(state.crashes.size(), 2u);
    ASSERT_EQ(state.reroutes.size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(state.crashes[i].pid.node.value(), nodes.at(i));
      EXPECT_EQ(state.reroutes[i].from.node.value(), nodes.at(i));
      ASSERT_TRUE(state.reroutes[i].to);
      EXPECT_EQ(state.reroutes[i].to->node.value(), nodes.at(i + 1));
      EXPECT_EQ(state.reroutes[i].resent, 1u);
    }
    EXPECT_TRUE(conversation.close());
  }

  Cluster cluster;
  Home home;
  std::unique_ptr<Node> caller;  // ends before what its behaviours use
};

TEST_F(RouteToNextWithACallerThatOffers, ItsOwnInstanceIsTheFirstToCrash) {
  auto conversation = open(placement_rule::Any{});
  const MessageId request = send(conversation);
  ASSERT_TRUE(eventually([&] { return home.at_work.load(); }));
  for (const std::string& node : kOthers) cluster.add_node(node, {kWork});
  await_members(3);
  home.shall_crash = true;
  const std::string second = kill_at_work();
  const std::string third = second == "a" ? "b" : "a";
  expect_third(conversation, request, {"home", second, third});
}

TEST_F(RouteToNextWithACallerThatOffers, ItsOwnInstanceAnswersWhenBothOthersWereKilled) {
  for (const std::string& node : kOthers) cluster.add_node(node, {kWork});
  await_members(3);
  std::vector<ConversationHandle> ballast;
  for (int i = 0; i < 3; ++i) {
    auto actor = caller->conversations().spawn(
        {CrashPolicy::kFail, {ParticipantConfig::owned(ServiceName{"ballast"})}});
    ASSERT_TRUE(actor);
    ballast.push_back(actor->handle());
    ASSERT_TRUE(ballast.back().ask(Payload{"x"}, 20s));
  }
  ASSERT_TRUE(eventually(
      [&] { return caller->directory().snapshot()->participants_of(local_incarnation()) == 3; }));
  auto conversation = open(placement_rule::LeastLoaded{});
  const MessageId request = send(conversation);
  const std::string first = kill_at_work();
  const std::string second = kill_at_work();
  EXPECT_NE(first, second);
  expect_third(conversation, request, {first, second, "home"});
}

// Without a broker its own node may not be the only one that is left: it waits for the others.
TEST_F(RouteToNextWithACallerThatOffers, ItsOwnInstanceCrashesWhileThereIsNoBroker) {
  auto conversation = open(placement_rule::Any{});
  const MessageId request = send(conversation);
  ASSERT_TRUE(eventually([&] { return home.at_work.load(); }));
  for (const std::string& node : kOthers) cluster.add_node(node, {kWork});
  await_members(3);
  cluster.kill_broker();
  ASSERT_TRUE(eventually([&] { return !caller->directory().snapshot()->connected; }));
  home.shall_crash = true;
  ASSERT_TRUE(eventually([&] { return conversation.query_state().crashes.size() == 1; }));
  cluster.restart_broker();
  const std::string second = kill_at_work();
  const std::string third = second == "a" ? "b" : "a";
  expect_third(conversation, request, {"home", second, third});
}

}  // namespace
}  // namespace liminal::test
