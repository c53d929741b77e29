#include "tests/sim/nemesis.hpp"

#include <utility>

namespace liminal::sim {

using namespace std::chrono_literals;

Nemesis::Nemesis(World& world, Random& random, std::size_t hosts,
                 std::function<std::size_t(std::size_t)> start_node, TimePoint last_restart)
    : world_(world),
      random_(random),
      start_(std::move(start_node)),
      last_restart_(last_restart),
      hosts_(hosts) {
  for (std::size_t host = 0; host < hosts; ++host) start(host);
}

Duration Nemesis::below(Duration bound) {
  return Duration{
      static_cast<Duration::rep>(random_.below(static_cast<std::uint64_t>(bound.count())))};
}

std::size_t Nemesis::some_host() {
  std::size_t host = random_.below(hosts_.size());
  for (std::size_t i = 0; i < hosts_.size() && !on(host).alive(); ++i) {
    host = (host + 1) % hosts_.size();
  }
  return host;
}

void Nemesis::start(std::size_t host) {
  hosts_[host] = start_(host);
  excused_.resize(world_.nodes(), false);
}

void Nemesis::restart(std::size_t host) {
  if (on(host).alive() || world_.now() > last_restart_) return;
  start(host);
}

void Nemesis::strike() {
  const std::size_t host = some_host();
  if (!on(host).alive()) return;  // nobody is left to be hurt
  const std::size_t index = hosts_[host];
  auto& events = world_.events();
  switch (random_.below(10)) {
    case 0:
    case 1:
      ++faults_.kills;
      excused_[index] = true;
      world_.kill(index);
      events.after(below(2s), [this, host] { restart(host); });
      return;
    case 2:
      ++faults_.leaves;
      world_.leave(index);
      events.after(3s + below(2s), [this, host] { restart(host); });
      return;
    case 3: {
      ++faults_.pauses;
      const Duration length = random_.below(2) == 0 ? below(1s) : 2s + below(4s);
      // Shorter than the grace leaves no excuse, even when a connection is cut at that moment.
      if (length >= 300ms) excused_[index] = true;
      world_.pause(index);
      events.after(length, [this, index] { world_.resume(index); });
      return;
    }
    case 4:
      ++faults_.control_cuts;
      world_.cut_control(index);
      if (random_.below(2) == 0) world_.cut_data(index);
      return;
    case 5:
      ++faults_.data_cuts;
      world_.cut_data(index);
      return;
    case 6:
      ++faults_.broker_pauses;
      world_.pause_broker();
      events.after(below(6s), [this] { world_.resume_broker(); });
      return;
    case 7:
      ++faults_.broker_kills;
      world_.kill_broker();
      events.after(below(10s), [this] { world_.start_broker(); });
      return;
    case 8:
      ++faults_.resets;
      world_.spoil_frame_to(index);
      return;
    default:
      ++faults_.slow_spells;
      world_.set_delay_max(40ms);
      events.after(below(3s), [this] { world_.set_delay_max(5ms); });
      return;
  }
}

void nothing_is_left(World& world, Nemesis& nemesis, Violations& violations) {
  if (!world.broker_runs()) {
    violations.add("no broker at the end");
    return;
  }
  const auto members = world.broker().members();
  for (const std::size_t index : nemesis.indexes()) {
    auto& node = world.node(index);
    if (!node.alive()) continue;
    const std::string name = node.name().value();
    if (!node.core().joined()) violations.add(name + " is not joined at the end");
    const auto known = node.directory().snapshot()->members.size();
    if (known != members.size()) {
      violations.add(name + " knows " + std::to_string(known) + " members of " +
                     std::to_string(members.size()));
    }
    if (node.core().sessions() > members.size() - 1) violations.add("a session with the dead");
    const auto counts = node.scheduler().counts();
    if (counts.processes != 1) {  // the one that releases the beats
      violations.add(std::to_string(counts.processes - 1) + " processes left behind on " + name);
    }
    if (counts.timers != 0) violations.add("timers left behind");
    if (node.core().ties() != 0) violations.add("ties left behind");
    if (node.supervisor().open() != 0) violations.add("conversations left open");
  }
}

}  // namespace liminal::sim
