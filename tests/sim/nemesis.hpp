// Hosts on which nodes run, and what happens to them: they are killed, stopped, cut off, told to
// leave, and started again; and so is their broker.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "common/base/random.hpp"
#include "tests/sim/workload.hpp"
#include "tests/sim/world.hpp"

namespace liminal::sim {

struct Faults {
  int kills = 0, leaves = 0, pauses = 0, control_cuts = 0, data_cuts = 0, broker_pauses = 0,
      broker_kills = 0, resets = 0, slow_spells = 0;
  [[nodiscard]] int total() const {
    return kills + leaves + pauses + control_cuts + data_cuts + broker_pauses + broker_kills +
           resets + slow_spells;
  }
};

/// Draws everything from `random`, which is its caller's, so that a failure replays.
class Nemesis {
 public:
  /// `start` starts a node for a host, and returns its index. No host is started again later than
  /// `last_restart`. One for each host runs when this returns.
  Nemesis(World& world, Random& random, std::size_t hosts,
          std::function<std::size_t(std::size_t host)> start, TimePoint last_restart);

  /// One fault, of any kind, now; what it takes to end it follows by itself.
  void strike();

  [[nodiscard]] World::Node& on(std::size_t host) { return world_.node(hosts_[host]); }
  /// The index of the node that runs there now, or did last.
  [[nodiscard]] std::size_t index_on(std::size_t host) const { return hosts_[host]; }
  [[nodiscard]] const std::vector<std::size_t>& indexes() const { return hosts_; }
  /// A host whose node runs, if there is any.
  [[nodiscard]] std::size_t some_host();
  /// Whether that node may be declared dead.
  [[nodiscard]] bool excused(std::size_t index) const { return excused_[index]; }
  [[nodiscard]] const Faults& faults() const { return faults_; }
  /// At random, shorter than `bound`.
  [[nodiscard]] Duration below(Duration bound);

 private:
  void start(std::size_t host);
  void restart(std::size_t host);

  World& world_;
  Random& random_;
  std::function<std::size_t(std::size_t)> start_;
  TimePoint last_restart_;
  std::vector<std::size_t> hosts_;
  std::vector<bool> excused_;  // by node
  Faults faults_;
};

/// At the end of a run, when there was time to heal: every node is joined and knows the others, and
/// nothing is left of conversations: no process, timer, tie, or session with the dead.
void nothing_is_left(World& world, Nemesis& nemesis, Violations& violations);

}  // namespace liminal::sim
