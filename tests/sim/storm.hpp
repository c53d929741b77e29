// What the explorations under faults share: their cluster, and how drills are made of seeds.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include "tests/sim/nemesis.hpp"
#include "tests/sim/world.hpp"

namespace liminal::sim {

inline World::Settings storm_world(std::uint64_t seed) {
  using namespace std::chrono_literals;
  World::Settings settings{.cluster = {250ms, 1250ms, 3s, 500ms, 16 << 20, 500ms, 6s}};
  // Every second seed has mailboxes for one message: there is much that must be sent again.
  if (seed % 2 == 0) settings.mailbox = MailboxBounds{.messages_max = 1};
  return settings;
}

/// "a", "b", ...
inline NodeName name_of_host(std::size_t host) {
  return NodeName{std::string(1, static_cast<char>('a' + host))};
}

/// Has it done so many times, each at some time within `time` from now.
template <class Do>
void scatter(World& world, Nemesis& nemesis, int times, Duration time, Do&& action) {
  for (int i = 0; i < times; ++i) world.events().at(world.now() + nemesis.below(time), action);
}

/// A fault that nobody may notice: the actor of one of the open conversations among `talks` is
/// killed. `node_of(talk)` has its handle in talk.record->open.
template <class Talks, class NodeOf>
void kill_some_actor(World& world, Random& random, const Talks& talks, NodeOf&& node_of) {
  std::vector<const typename Talks::value_type*> open;
  for (const auto& talk : talks) {
    if (talk.record->open && world.node(node_of(talk)).alive()) open.push_back(&talk);
  }
  if (open.empty()) return;
  const auto& talk = *open[random.below(open.size())];
  World::Node& node = world.node(node_of(talk));
  const auto actor = talk.record->open->actor_pid();
  if (!actor || node.paused()) return;
  node.scheduler().exit(*actor, ExitReason::kill());
  node.poke();
}

/// Which seeds an exploration takes: every `step`th from `first` below `end`.
struct Seeds {
  std::uint64_t first, step, end;
  bool chosen = false;  // one alone

  /// Below 1000, or what the environment says: LIMINAL_SIM_SEED=N is that one alone,
  /// LIMINAL_SIM_SEEDS=N all below it.
  [[nodiscard]] static Seeds from_environment(std::uint64_t first, std::uint64_t step) {
    const auto number = [](const char* name, std::uint64_t otherwise) {
      const char* text = std::getenv(name);
      return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
    };
    if (std::getenv("LIMINAL_SIM_SEED") == nullptr) {
      return {first, step, number("LIMINAL_SIM_SEEDS", 1000)};
    }
    const std::uint64_t seed = number("LIMINAL_SIM_SEED", 0);
    return {seed, step, seed + 1, true};
  }
};

/// Runs the drill of each seed, and shows it to `look`, until one breaks a promise: its seed is
/// printed. Returns how many ran.
template <class Make, class Look>
std::uint64_t explore(const Seeds& seeds, Make&& make, Look&& look) {
  std::uint64_t runs = 0;
  for (std::uint64_t seed = seeds.first; seed < seeds.end; seed += seeds.step) {
    auto drill = make(seed);
    drill.run();
    ++runs;
    look(drill);
    for (const std::string& violation : drill.violations()) {
      ADD_FAILURE() << "seed " << seed << ": " << violation;
    }
    if (::testing::Test::HasFailure()) break;
  }
  return runs;
}

/// Two runs of one seed agree on everything.
template <class Make>
void expect_one_trace(std::uint64_t seed, Make&& make) {
  auto first = make(seed), second = make(seed);
  first.run();
  second.run();
  EXPECT_EQ(first.trace(), second.trace()) << "seed " << seed;
}

}  // namespace liminal::sim
