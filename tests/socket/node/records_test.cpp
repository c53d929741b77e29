// Records of a whole Node: kept while there is no broker, told when there is one, not wanted where
// there never is, never in the way of the beats.
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>

#include "node/node.hpp"
#include "tests/socket/node/participant/proc.hpp"
#include "tests/support/running_broker.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::RunningBroker;
using enum TimelineEvent;

TimelineRecord record(std::uint64_t conversation, TimelineEvent event, std::string text = {}) {
  return {.conversation = {1, conversation}, .event = event, .text = std::move(text)};
}

broker::BrokerCore::Settings keeping(std::uint32_t records_max) {
  auto settings = test::quick_broker();
  settings.cluster.timeline_records_max = records_max;
  return settings;
}

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
  RunningBroker broker{keeping(1000)};
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
  RunningBroker broker{keeping(0)};
  const auto node = make_node(broker.endpoint());
  node->timeline().record(record(1, kOpened));
  ASSERT_TRUE(node->start(20s));
  EXPECT_TRUE(eventually([&] { return !node->timeline().wanted(); }));
  EXPECT_TRUE(node->timeline().empty());
  node->stop();
  EXPECT_EQ(broker.stop().timelines().counters().left_out, 0u);
}

TEST(RecordsOfANode, WhatHappensWithoutABrokerTheNextOneIsTold) {
  std::optional<RunningBroker> broker{std::in_place, keeping(1000)};
  const std::string endpoint = broker->endpoint();
  const auto node = make_node(endpoint);
  ASSERT_TRUE(node->start(20s));
  broker.reset();
  EXPECT_TRUE(eventually([&] { return !node->directory().snapshot()->connected; }));
  node->timeline().record(record(1, kOpened));
  broker.emplace(keeping(1000), endpoint);
  EXPECT_TRUE(eventually([&] { return node->timeline().empty(); }));
  node->stop();
  EXPECT_EQ(broker->stop().timelines().counters().taken, 1u);
}

TEST(RecordsOfANode, WhatABrokerWasToldTheNextOneIsToldTooAndOnce) {
  std::optional<RunningBroker> broker{std::in_place, keeping(1000)};
  const std::string endpoint = broker->endpoint();
  const auto node = make_node(endpoint);
  ASSERT_TRUE(node->start(20s));
  for (std::uint64_t i = 0; i < 3; ++i) {
    node->timeline().record(record(1, kPlaced, std::to_string(i)));
    EXPECT_TRUE(eventually([&] { return node->timeline().empty(); }));
    broker.reset();
    EXPECT_TRUE(eventually([&] { return !node->directory().snapshot()->connected; }));
    broker.emplace(keeping(1000), endpoint);
    EXPECT_TRUE(eventually([&] { return node->directory().snapshot()->connected; }));
  }
  EXPECT_TRUE(eventually([&] { return node->timeline().empty(); }));
  node->stop();
  const broker::Timelines& kept = broker->stop().timelines();
  std::vector<std::string> texts;
  for (const auto& told : kept.page(control::TimelineQuery{{1, 1}}, SystemClock{}.now()).told) {
    texts.push_back(told.record.text);
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"0", "1", "2"}));
}

TEST(RecordsOfANode, AFloodOfThemCostsItNoBeat) {
  RunningBroker broker{keeping(1000)};
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
