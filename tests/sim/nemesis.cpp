#include "tests/sim/nemesis.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace liminal::sim {

using namespace std::chrono_literals;

namespace {

// What a cut held up arrives so much later.
constexpr Duration kAftermath = 500ms;

}  // namespace

Nemesis::Nemesis(World& world, Random& random, Settings settings)
    : world_(world), random_(random), settings_(std::move(settings)), hosts_(settings_.hosts) {
  world_.at_fault_points(
      [this](FaultPoint point, std::optional<std::size_t> node) { return fate_at(point, node); });
  for (std::size_t host = 0; host < settings_.hosts; ++host) start(host);
}

Duration Nemesis::below(Duration bound) {
  return Duration{
      static_cast<Duration::rep>(random_.below(static_cast<std::uint64_t>(bound.count())))};
}

std::uint64_t Nemesis::count(std::string_view kind) const {
  const auto found = faults_.find(kind);
  return found == faults_.end() ? 0 : found->second;
}

const Nemesis::Kind* Nemesis::kind_named(std::string_view name) {
  const auto all = kinds();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Kind& kind) { return kind.name == name; });
  return found == all.end() ? nullptr : &*found;
}

std::size_t Nemesis::some_host() {
  std::size_t host = random_.below(hosts_.size());
  for (std::size_t i = 0; i < hosts_.size() && !on(host).alive(); ++i) {
    host = (host + 1) % hosts_.size();
  }
  return host;
}

// --- the life of nodes ---

void Nemesis::start(std::size_t host) {
  hosts_[host] = settings_.start(host);
  impairments_.resize(world_.nodes());
  gone_.resize(world_.nodes());
}

/// The second of its name may have taken its place.
void Nemesis::restart(std::size_t host) {
  if (on(host).alive()) return;
  for (const auto& [index, of] : seconds_) {
    if (of == host && world_.node(index).alive()) {
      hosts_[host] = index;
      return;
    }
  }
  start(host);
}

void Nemesis::restart_soon(std::size_t host, Duration within) {
  world_.events().after(below(within), [this, host] { restart(host); });
}

void Nemesis::died(std::size_t index) {
  if (!gone_[index]) gone_[index] = world_.now();
  const auto host = std::find(hosts_.begin(), hosts_.end(), index);
  if (host == hosts_.end()) return;
  restart_soon(static_cast<std::size_t>(host - hosts_.begin()), 2s);
}

void Nemesis::impair(std::size_t index, Duration length, bool silent) {
  impairments_[index].push_back({world_.now(), world_.now() + length, silent});
}

/// `end` is called once: then, or when all is healed.
void Nemesis::until_healed(Duration length, std::function<void()> end) {
  const std::uint64_t number = next_lasting_++;
  lasting_.emplace(number, std::move(end));
  world_.events().after(length, [this, number] {
    auto found = lasting_.extract(number);
    if (found) found.mapped()();
  });
}

// --- faults ---

void Nemesis::strike() {
  if (healed_) return;
  const auto draw = [&]() -> const Kind& {
    if (!settings_.kinds.empty()) {
      return *kind_named(settings_.kinds[random_.below(settings_.kinds.size())]);
    }
    std::uint64_t total = 0;
    for (const Kind& kind : kinds()) total += kind.weight;
    std::uint64_t dice = random_.below(total);
    for (const Kind& kind : kinds()) {
      if (dice < kind.weight) return kind;
      dice -= kind.weight;
    }
    return kinds().front();
  };
  const std::uint64_t at_once = random_.below(6) == 0 ? 2 + random_.below(3) : 1;
  for (std::uint64_t i = 0; i < at_once; ++i) {
    const std::size_t host = some_host();
    if (!on(host).alive()) return;  // nobody is left to be hurt
    const Kind& kind = draw();
    world_.trace("nemesis: " + std::string{kind.name} + " at " + on(host).label());
    strikes_.push_back(world_.now());
    if (kind.name != "kill") disturbances_.push_back(world_.now());
    if ((this->*kind.strike)(host)) ++faults_[kind.name];
  }
}

/// Of one that was armed before.
void Nemesis::took_place(std::string_view kind) {
  ++faults_[kind];
  strikes_.push_back(world_.now());
  disturbances_.push_back(world_.now());
}

// --- what lasts as long as any fault that does it ---

void Nemesis::hold(std::size_t index, Hold what) {
  if (holders_[{index, what}]++ > 0) return;
  switch (what) {
    case Hold::kPaused:
      return world_.pause(index);
    case Hold::kHung:
      return world_.hang(index, true);
    case Hold::kPlugged:
      return world_.plug(index, true);
    case Hold::kStalled:
      return world_.stall(index, true);
    case Hold::kBlockedFrom:
      return world_.block(index, World::Direction::kToBroker);
    case Hold::kBlockedTo:
      return world_.block(index, World::Direction::kToNode);
  }
}

void Nemesis::release(std::size_t index, Hold what, Duration late) {
  if (--holders_[{index, what}] > 0) return;
  switch (what) {
    case Hold::kPaused:
      return world_.resume(index);
    case Hold::kHung:
      return world_.hang(index, false);
    case Hold::kPlugged:
      return world_.plug(index, false);
    case Hold::kStalled:
      return world_.stall(index, false);
    case Hold::kBlockedFrom:
      return world_.unblock(index, World::Direction::kToBroker, late);
    case Hold::kBlockedTo:
      return world_.unblock(index, World::Direction::kToNode, late);
  }
}

void Nemesis::hold_for(std::size_t index, Hold what, Duration length) {
  hold(index, what);
  until_healed(length, [this, index, what] { release(index, what); });
}

/// Of several losses at once the worst one counts.
void Nemesis::lose_for(std::size_t index, unsigned percent, Duration length) {
  auto& losing = losing_[index];
  losing.insert(percent);
  world_.lose(index, *losing.rbegin());
  until_healed(length, [this, index, percent, &losing] {
    losing.erase(losing.find(percent));
    world_.lose(index, losing.empty() ? 0 : *losing.rbegin());
  });
}

void Nemesis::heal() {
  if (std::exchange(healed_, true)) return;
  world_.trace("nemesis: heal");
  armed_.clear();
  for (auto& [number, end] : std::exchange(lasting_, {})) end();
  // what was held up by then comes through at last; beyond that nothing is an excuse
  for (auto& of_node : impairments_) {
    for (Impairment& each : of_node) each.until = std::min(each.until, world_.now() + kAftermath);
  }
  world_.resume_broker();
  world_.start_broker();
  world_.set_delay_max(5ms);
  tend();
}

void Nemesis::tend() {
  for (std::size_t host = 0; host < hosts_.size(); ++host) restart(host);
}

World::Fate Nemesis::fate_at(FaultPoint point, std::optional<std::size_t> node) {
  for (auto armed = armed_.begin(); armed != armed_.end(); ++armed) {
    if (armed->point != point) continue;
    if (--armed->times_left > 0) return World::Fate::kLives;
    const World::Fate fate = armed->fate;
    took_place(armed->kind);
    armed_.erase(armed);
    ++points_hit_[static_cast<std::size_t>(point)];
    if (fate == World::Fate::kDies && node) {
      died(*node);
    } else if (fate == World::Fate::kDies) {
      start_broker_within(3s);
    }
    return fate;
  }
  return World::Fate::kLives;
}

// --- what they excuse ---

Duration Nemesis::impaired(std::size_t index, TimePoint from, TimePoint until, bool silent) const {
  std::vector<std::pair<TimePoint, TimePoint>> spans;
  for (const Impairment& each : impairments_[index]) {
    if (silent && !each.silent) continue;
    const TimePoint begin = std::max(each.from, from), end = std::min(each.until, until);
    if (begin < end) spans.emplace_back(begin, end);
  }
  std::sort(spans.begin(), spans.end());
  Duration sum = Duration::zero();
  TimePoint covered = from;
  for (const auto& [begin, end] : spans) {
    if (end > covered) sum += end - std::max(begin, covered);
    covered = std::max(covered, end);
  }
  return sum;
}

bool Nemesis::shares_its_name(std::size_t index, TimePoint when) const {
  for (std::size_t i = 0; i < world_.nodes(); ++i) {
    const World::Node& other = world_.node(i);
    if (i != index && other.name() == world_.node(index).name() && other.ran_at(when)) return true;
  }
  return false;
}

bool Nemesis::excuses(const World::Death& death) const {
  const auto& cluster = settings_.cluster;
  for (std::size_t i = 0; i < world_.nodes(); ++i) {
    const World::Node& node = world_.node(i);
    if (!node.bore(death.incarnation)) continue;
    if (const auto fenced = node.gave_up(death.incarnation); fenced && *fenced <= death.when) {
      return true;  // by itself, alone for too long: others may report it later
    }
    if (gone_[i] && *gone_[i] <= death.when) return true;
    // its word that it leaves was lost with its connection
    if ((node.left() || node.refused()) && !node.alive()) return true;
    if (hostile_ == i) return true;
    switch (death.evidence.source) {
      case EvidenceSource::kConnectionClosed:
        // shorter than half of the grace leaves no excuse, whatever is cut at that moment
        if (impaired(i, death.when - cluster.reconnect_grace - 1s, death.when, false) >=
            cluster.reconnect_grace / 3) {
          return true;
        }
        break;
      case EvidenceSource::kHeartbeatsMissed:
        if (impaired(i, death.when - cluster.down_after - 2s, death.when, true) >=
            cluster.down_after - 1s) {
          return true;
        }
        break;
      default:
        // of two processes of a name a new broker takes the one that is there first
        if (shares_its_name(i, death.when)) return true;
        if (impaired(i, death.when - cluster.recovery - cluster.down_after, death.when, false) >=
            1s) {
          return true;
        }
    }
  }
  return false;
}

std::uint64_t Nemesis::judge_detection(Violations& violations) const {
  // of a fault before: how long it lasts, a recovery, and the resumes behind it
  constexpr Duration kBefore = 25s, kAfter = 1s;
  // two ways through the network
  const Duration bound = settings_.cluster.reconnect_grace + 20ms;
  std::uint64_t judged = 0;
  for (const Killed& killed : killed_) {
    const bool disturbed = std::any_of(
        disturbances_.begin(), disturbances_.end(),
        [&](TimePoint at) { return at > killed.when - kBefore && at < killed.when + kAfter; });
    if (disturbed || killed.when + kAfter > world_.now()) continue;
    ++judged;
    const auto death = std::find_if(
        world_.deaths().begin(), world_.deaths().end(),
        [&](const World::Death& each) { return each.incarnation == killed.incarnation; });
    if (death == world_.deaths().end()) {
      violations.add(killed.name.value() + " was killed, and never declared dead");
    } else if (death->when > killed.when + bound) {
      violations.add(killed.name.value() + " was killed, and declared dead " +
                     std::to_string(to_ms(death->when - killed.when)) + " ms later");
    }
  }
  return judged;
}

void Nemesis::judge_names(Violations& violations) const {
  for (const auto& [index, host] : seconds_) {
    const auto& second = world_.node(index);
    if (index == hosts_[host] || !second.alive() || !world_.node(hosts_[host]).alive()) continue;
    violations.add("two nodes run as " + second.name().value() + " at the end: " + second.label() +
                   " and " + world_.node(hosts_[host]).label());
  }
}

void nothing_is_left(World& world, Nemesis& nemesis, Violations& violations) {
  if (!world.broker_runs()) {
    violations.add("no broker at the end");
    return;
  }
  const auto members = world.broker().members();
  std::set<Incarnation> living;
  for (const Member& member : members) {
    living.insert(member.incarnation);
    if (world.is_down(member.incarnation)) {
      violations.add(member.name.value() + " is a member at the end, and was declared down");
    }
  }
  for (const std::size_t index : nemesis.indexes()) {
    auto& node = world.node(index);
    const std::string name = node.name().value();
    if (!node.alive()) {
      violations.add(name + " does not run at the end");
      continue;
    }
    if (!node.core().joined()) violations.add(name + " is not joined at the end");
    if (!living.contains(node.core().incarnation())) {
      violations.add(name + " is no member at the end as what it takes itself for");
    }
    std::set<Incarnation> known;
    for (const Member& member : node.directory().snapshot()->members) {
      known.insert(member.incarnation == local_incarnation() ? node.core().incarnation()
                                                             : member.incarnation);
    }
    if (known != living) {
      violations.add(name + " knows " + std::to_string(known.size()) + " members of " +
                     std::to_string(living.size()) + ", or not the same ones");
    }
    if (node.core().sessions() > members.size() - 1) violations.add("a session with the dead");
    const auto counts = node.scheduler().counts();
    if (counts.processes != 1) {  // the one that releases the beats
      violations.add(std::to_string(counts.processes - 1) + " processes left behind on " + name);
    }
    if (counts.timers != 0) violations.add("timers left behind on " + name);
    if (node.core().ties() != 0) violations.add("ties left behind on " + name);
    if (node.supervisor().open() != 0) violations.add("conversations left open on " + name);
  }
}

}  // namespace liminal::sim
