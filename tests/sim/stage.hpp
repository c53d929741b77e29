// What scenes of one run play on.
#pragma once

#include <memory>

#include "common/base/random.hpp"
#include "tests/sim/nemesis.hpp"
#include "tests/sim/workload.hpp"
#include "tests/sim/world.hpp"

namespace liminal::sim {

struct Stage {
  World& world;
  Nemesis& nemesis;
  Random& random;
  std::shared_ptr<Violations> violations;
  /// Nothing fails any more and no conversation is left: what goes on by itself comes to its end.
  std::shared_ptr<bool> ends = std::make_shared<bool>(false);

  /// From outside, unless its node is stopped or dead. Says whether there was one, which is gone.
  bool kill(std::size_t node, const Pid& process) const {
    auto& where = world.node(node);
    if (!where.alive() || where.paused()) return false;
    where.scheduler().exit(process, ExitReason::kill());
    // behind its end, which it does not outlive: so nobody reads this
    const bool lived = where.scheduler().send_local(process, nullptr);
    where.poke();
    return lived && !(where.alive() && where.hung());
  }
};

}  // namespace liminal::sim
