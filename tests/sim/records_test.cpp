// Whatever breaks, what nodes recorded comes to the broker of the moment in order and once, or is
// counted as left out, and a node that is well and connected has nothing left to tell.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/sim/world.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kNodes = 3;
/// One for each node, so that it shows who left something out.
ConversationId conversation_of(std::size_t node) { return {9, node}; }

struct Shown {
  std::vector<std::uint64_t> numbers;
  std::uint64_t left_out = 0;
};

Shown shown_of(World& world, std::size_t node) {
  Shown shown;
  control::TimelineQuery query{conversation_of(node)};
  for (bool more = true; more;) {
    const auto page = world.broker().timelines().page(query, world.now());
    for (const auto& each : page.told) {
      EXPECT_EQ(each.teller, world.node(node).name());
      shown.numbers.push_back(std::stoull(each.record.text));
    }
    shown.left_out = page.left_out.routine + page.left_out.other;
    more = page.next.has_value();
    if (more) query.from = *page.next;
  }
  return shown;
}

struct Tally {
  std::uint64_t shown = 0, left_out = 0, repeated = 0;
  int fences = 0;
};

/// Nodes live, but are stopped, cut off and fenced; brokers die.
void walk(std::uint64_t seed, TimelineRecorder::Limits limits, Tally& tally) {
  World::Settings settings{.cluster = {250ms, 1250ms, 3s, 500ms, 16 << 20, 500ms, 6s},
                           .recorder = limits};
  settings.cluster.timeline_records_max = 100'000;
  World world{settings, seed};
  for (std::uint64_t i = 0; i < kNodes; ++i) {
    world.start_node({.name = NodeName{"n" + std::to_string(i)}},
                     [](const signal::SpawnRequest&) -> Result<std::unique_ptr<Process>> {
                       return fail(Errc::kNoService, "none");
                     });
  }
  world.run_for(1s);
  std::uint64_t made = 0;
  for (int step = 0; step < 200; ++step) {
    const std::size_t node = world.random().below(kNodes);
    switch (world.random().below(30)) {
      case 0:
      case 1:
      case 2:
        world.cut_control(node);
        break;
      case 3:
        world.cut_data(node);
        break;
      case 4:
        world.kill_broker();
        break;
      case 5:
        world.pause(node);
        break;
      case 6:
        world.pause_broker();
        break;
      case 7:
        world.run_for(4s);  // so that those who are stopped are judged
        break;
      default:
        break;
    }
    if (!world.broker_runs() && world.random().below(3) == 0) world.start_broker();
    if (world.random().below(4) == 0) world.resume(node);
    if (world.random().below(4) == 0) world.resume_broker();
    if (!world.node(node).paused()) {
      for (std::uint64_t i = 1 + world.random().below(3); i > 0; --i) {
        world.node(node).timeline().record({.conversation = conversation_of(node),
                                            .event = TimelineEvent::kPlaced,
                                            .text = std::to_string(++made)});
      }
      world.node(node).poke();
    }
    world.run_for(Duration{static_cast<Duration::rep>(world.random().below(100'000'000))});
  }
  world.resume_broker();
  world.start_broker();
  for (std::size_t i = 0; i < kNodes; ++i) world.resume(i);
  world.run_for(20s);

  std::uint64_t found = world.broker().timelines().counters().lost;
  for (std::size_t i = 0; i < kNodes; ++i) {
    const Shown shown = shown_of(world, i);
    EXPECT_TRUE(std::is_sorted(shown.numbers.begin(), shown.numbers.end()));
    EXPECT_EQ(std::adjacent_find(shown.numbers.begin(), shown.numbers.end()), shown.numbers.end())
        << "doubled";
    found += shown.numbers.size() + shown.left_out;
    tally.shown += shown.numbers.size();
    tally.left_out += shown.left_out;
    tally.fences += world.node(i).fenced();
    EXPECT_TRUE(world.node(i).core().joined());
    EXPECT_TRUE(world.node(i).timeline().empty()) << world.node(i).label();
  }
  EXPECT_EQ(found, made) << "lost, and not counted";
  tally.repeated += world.broker().timelines().counters().repeated;
}

// On failure the seed is printed: make it the only one.
TEST(SimulatedRecords, AreAllShownOnceAndInOrderThroughFaults) {
  Tally tally;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    walk(seed, {}, tally);
  }
  EXPECT_GT(tally.shown, 1000u) << "the walk goes where it should";
  EXPECT_GT(tally.repeated, 0u);
  EXPECT_GT(tally.fences, 0);
  EXPECT_EQ(tally.left_out, 0u) << "there was room";
}

TEST(SimulatedRecords, WhatDoesNotFitIsCounted) {
  Tally tally;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    walk(seed, {.kept_max = 5 + seed % 20}, tally);
  }
  EXPECT_GT(tally.shown, 500u);
  EXPECT_GT(tally.left_out, 500u);
}

}  // namespace
}  // namespace liminal::sim
