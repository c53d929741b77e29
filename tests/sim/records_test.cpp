// Whatever breaks, what nodes recorded comes to the broker of the moment in order and at most once,
// and a node that is well and connected has nothing left to tell.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/sim/world.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kNodes = 3;
const ConversationId kConversation{9, 9};

// On failure the seed is printed: make it the only one.
TEST(SimulatedRecords, KeepTheirOrderThroughFaults) {
  std::uint64_t told = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    World::Settings settings{.cluster = {250ms, 1250ms, 3s, 500ms, 16 << 20, 500ms, 6s}};
    settings.cluster.timeline_records_max = 100'000;
    World world{settings, seed};
    for (std::uint64_t i = 0; i < kNodes; ++i) {
      world.start_node({.name = NodeName{"n" + std::to_string(i)}},
                       [](const signal::SpawnRequest&) -> Result<std::unique_ptr<Process>> {
                         return fail(Errc::kNoService, "none");
                       });
    }
    world.run_for(1s);
    std::uint64_t next = 0;
    for (int step = 0; step < 200; ++step) {
      const std::size_t node = world.random().below(kNodes);
      switch (world.random().below(24)) {
        case 0:
          world.cut_control(node);
          break;
        case 1:
          world.cut_data(node);
          break;
        case 2:
          world.kill_broker();
          break;
        case 3:
          world.pause(node);
          break;
        default:
          break;
      }
      if (!world.broker_runs() && world.random().below(3) == 0) world.start_broker();
      if (world.random().below(4) == 0) world.resume(node);
      if (!world.node(node).paused()) {
        world.node(node).timeline().record({.conversation = kConversation,
                                            .event = TimelineEvent::kBegun,
                                            .text = std::to_string(next++)});
        world.node(node).poke();
      }
      world.run_for(Duration{static_cast<Duration::rep>(world.random().below(100'000'000))});
    }
    world.start_broker();
    for (std::size_t i = 0; i < kNodes; ++i) world.resume(i);
    world.run_for(20s);

    std::map<NodeName, std::uint64_t> last;
    control::TimelineQuery query{kConversation};
    for (bool more = true; more;) {
      const auto page = world.broker().timelines().page(query, world.now());
      for (const auto& each : page.told) {
        const std::uint64_t number = std::stoull(each.record.text);
        const auto before = last.find(each.teller);
        if (before != last.end()) {
          ASSERT_LT(before->second, number) << each.teller.value();
        }
        last.insert_or_assign(each.teller, number);
        ++told;
      }
      more = page.next.has_value();
      if (more) query.from = *page.next;
    }
    for (std::size_t i = 0; i < kNodes; ++i) {
      EXPECT_TRUE(world.node(i).core().joined());
      EXPECT_TRUE(world.node(i).timeline().empty()) << world.node(i).label();
    }
  }
  EXPECT_GT(told, 1000u) << "the walk goes where it should";
}

}  // namespace
}  // namespace liminal::sim
