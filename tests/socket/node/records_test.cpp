// Records of a whole Node: kept while there is no broker, told when there is one, not wanted where
// there never is, never in the way of the beats.
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "broker/broker_loop.hpp"
#include "node/node.hpp"
#include "tests/socket/node/participant/proc.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using enum TimelineEvent;

TimelineRecord record(std::uint64_t conversation, TimelineEvent event, std::string text = {}) {
  return {.conversation = {1, conversation}, .event = event, .text = std::move(text)};
}

/// A broker whose core can be looked at when it has stopped.
class Broker {
 public:
  Broker(const std::string& listen, std::uint32_t records_max) {
    auto door = net::RouterSocket::bind(context_, {listen}, {});
    if (!door) throw std::runtime_error{door.error().detail};
    endpoint_ = door->endpoints().at(0);
    broker::BrokerCore::Settings settings;
    settings.cluster = {250ms, 1250ms, 3s, 500ms, 16 << 20};
    settings.cluster.timeline_records_max = records_max;
    loop_.emplace(*std::move(door), broker::BrokerCore{settings, Random{1}, clock_.now()}, clock_,
                  waker_, broker::BrokerLoop::Settings{.beat_interval = 250ms});
    thread_ = std::thread{[this] { loop_->run(); }};
  }
  ~Broker() { stop(); }
  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  const broker::BrokerCore& stop() {
    loop_->stop();
    if (thread_.joinable()) thread_.join();
    return loop_->core();
  }

 private:
  SystemClock clock_;
  net::NetContext context_;
  net::Waker waker_;
  std::string endpoint_;
  std::optional<broker::BrokerLoop> loop_;
  std::thread thread_;
};

std::unique_ptr<Node> make_node(std::optional<std::string> broker) {
  Node::Settings settings{.name = NodeName{"a"}, .broker = std::move(broker)};
  settings.workers = 1;
  settings.blocking = 1;
  auto node = Node::create(settings);
  if (!node) throw std::runtime_error{node.error().detail};
  return *std::move(node);
}

TEST(RecordsOfANode, AloneItWantsNone) {
  const auto node = make_node(std::nullopt);
  EXPECT_FALSE(node->timeline().wanted());
  ASSERT_TRUE(node->start(1s));
  EXPECT_FALSE(node->timeline().wanted());
}

TEST(RecordsOfANode, ThoseOfBeforeTheJoiningAreToldAndThoseOfTheEndToo) {
  Broker broker{"tcp://127.0.0.1:*", 1000};
  auto node = make_node(broker.endpoint());
  node->timeline().record(record(1, kOpened, "before"));
  ASSERT_TRUE(node->start(20s));
  EXPECT_TRUE(eventually([&] { return node->timeline().empty(); }));
  for (int i = 0; i < 2000; ++i) {
    node->timeline().record(record(static_cast<std::uint64_t>(i % 10), kPlaced));
  }
  node->timeline().record(record(1, kPhase, "Closed"));
  node->stop();
  EXPECT_TRUE(node->timeline().empty());
  node.reset();
  const broker::Timelines& kept = broker.stop().timelines();
  EXPECT_EQ(kept.counters().taken, 2002u);
  EXPECT_EQ(kept.find({1, 1})->standing, control::ConversationStanding::kEnded);
  EXPECT_EQ(kept.find({1, 2})->standing, control::ConversationStanding::kNodeLost) << "it left";
}

TEST(RecordsOfANode, ABrokerThatKeepsNoneIsSentNone) {
  Broker broker{"tcp://127.0.0.1:*", 0};
  const auto node = make_node(broker.endpoint());
  node->timeline().record(record(1, kOpened));
  ASSERT_TRUE(node->start(20s));
  EXPECT_TRUE(eventually([&] { return !node->timeline().wanted(); }));
  EXPECT_TRUE(node->timeline().empty());
  node->stop();
  EXPECT_EQ(broker.stop().timelines().counters().left_out, 0u);
}

TEST(RecordsOfANode, WhatHappensWithoutABrokerTheNextOneIsTold) {
  std::optional<Broker> broker{std::in_place, "tcp://127.0.0.1:*", 1000u};
  const std::string endpoint = broker->endpoint();
  const auto node = make_node(endpoint);
  ASSERT_TRUE(node->start(20s));
  broker.reset();
  EXPECT_TRUE(eventually([&] { return !node->directory().snapshot()->connected; }));
  node->timeline().record(record(1, kOpened));
  broker.emplace(endpoint, 1000u);
  EXPECT_TRUE(eventually([&] { return node->timeline().empty(); }));
  node->stop();
  EXPECT_EQ(broker->stop().timelines().counters().taken, 1u);
}

TEST(RecordsOfANode, AFloodOfThemCostsItNoBeat) {
  Broker broker{"tcp://127.0.0.1:*", 1000};
  const auto node = make_node(broker.endpoint());
  ASSERT_TRUE(node->start(20s));
  const SystemClock clock;
  const TimePoint end = clock.now() + 4s;  // beyond the silence that is a verdict
  for (std::uint64_t i = 0; clock.now() < end; ++i) {
    node->timeline().record(record(i % 100'000, kPlaced, std::string(200, 'x')));
  }
  node->stop();
  const auto& counters = broker.stop().counters();
  EXPECT_EQ(counters.joins, 1u);
  EXPECT_EQ(counters.resumes, 0u);
  EXPECT_EQ(counters.downs, 0u);
  EXPECT_EQ(counters.leaves, 1u);
}

}  // namespace
}  // namespace liminal
