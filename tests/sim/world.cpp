#include "tests/sim/world.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "common/base/check.hpp"
#include "common/base/text.hpp"
#include "tests/sim/world_events.hpp"

namespace liminal::sim {

World::World(Settings settings, std::uint64_t seed)
    : settings_(std::move(settings)),
      random_(seed),
      tracing_(settings_.trace != nullptr || std::getenv("LIMINAL_SIM_TRACE") != nullptr),
      takes_turns_between_(seed % 4 >= 2) {
  start_broker();
}

World::~World() = default;

void World::trace(const std::string& line) const {
  if (!tracing_) return;
  if (settings_.trace) return settings_.trace(now(), line);
  std::fprintf(stderr, "%10.3f ms  %s\n", to_ms(now() - TimePoint{}), line.c_str());
}

std::size_t World::start_node(NodeCore::Settings settings, Scheduler::ServiceFactory services,
                              std::shared_ptr<ParticipantLedger> participants) {
  const std::size_t index = nodes_.size();
  nodes_.push_back(std::make_unique<Node>(*this, index, std::move(settings), random_.next()));
  Node& fresh = *nodes_.back();
  trace("start " + fresh.label());
  fresh.scheduler_.set_service_factory(std::move(services));
  fresh.participants_ = std::move(participants);
  ConversationSupervisor::Settings supervision;
  if (settings_.timeline) {
    supervision.timeline = [this, index, &fresh](TimelineRecord record) {
      if (fresh.alive_) settings_.timeline(index, std::move(record));
    };
  } else {
    supervision.timeline = [&fresh](TimelineRecord record) {
      fresh.recorder_.record(std::move(record));
    };
  }
  fresh.supervisor_ = std::make_unique<ConversationSupervisor>(fresh.scheduler_, fresh.directory_,
                                                               std::move(supervision));
  fresh.handle([&fresh, this] { fresh.carry_out(fresh.core_.start(now())); });
  return index;
}

// --- the broker ---

void World::BrokerListener::reached(FaultPoint point) {
  if (world_.broker_dying_) return;
  ++world_.points_reached_[static_cast<std::size_t>(point)];
  if (!world_.fate_ || world_.fate_(point, std::nullopt) != Fate::kDies) return;
  world_.trace("the broker reaches " + std::string{name_of(point)});
  world_.broker_dying_ = true;
}

void World::broker_carry_out(broker::Effects effects, const Message* held) {
  for (auto& effect : effects) {
    if (broker_torn_ && broker_torn_->effects_left-- == 0) {
      const auto struck = std::exchange(broker_torn_, std::nullopt)->struck;
      trace("the broker is in the midst of its effects");
      for (const auto& each : effects) {
        const auto* down = std::get_if<broker::effect::NodeDown>(&each);
        if (down != nullptr) half_told_.emplace(down->incarnation, down->evidence.source);
      }
      broker_dying_ = true;
      if (struck) struck();
    }
    if (broker_dying_) return;
    if (auto* send = std::get_if<broker::effect::Send>(&effect)) {
      to_node(send->connection.value(), Message{std::move(send->bytes)});
    } else if (auto* forward = std::get_if<broker::effect::Forward>(&effect)) {
      check(held != nullptr, "only on_data() forwards");
      to_node(forward->connection.value(), Message{std::move(forward->header), held->body()});
    } else if (const auto* watch = std::get_if<broker::effect::Watch>(&effect)) {
      broker_watches(watch->connection.value());
    } else {
      broker_did(effect);
    }
  }
}

/// Down is final for each broker; the next one has only what it is told of it.
void World::lives(const NodeName& name, Incarnation incarnation, const char* what) {
  trace("broker: " + name.value() + " " + what);
  if (!is_down(incarnation) || !settings_.violation) return;
  settings_.violation(name.value() + " was declared down as " + to_hex(incarnation.value()) +
                      ", and " + what + " as that");
}

void World::broker_did(const broker::Effect& effect) {
  if (const auto* left = std::get_if<broker::effect::NodeLeft>(&effect)) {
    trace("broker: " + left->name.value() + " left");
  } else if (const auto* suspect = std::get_if<broker::effect::NodeSuspect>(&effect)) {
    trace("broker: " + suspect->name.value() + " suspect");
  } else if (const auto* announced = std::get_if<broker::effect::NodeJoined>(&effect)) {
    lives(announced->name, announced->incarnation, "joined");
  } else if (const auto* resumed = std::get_if<broker::effect::NodeResumed>(&effect)) {
    lives(resumed->name, resumed->incarnation, "resumed");
  } else if (const auto* recovered = std::get_if<broker::effect::NodeRecovered>(&effect)) {
    lives(recovered->name, recovered->incarnation, "recovered");
  } else if (const auto* down = std::get_if<broker::effect::NodeDown>(&effect)) {
    trace("broker: " + down->name.value() + " down, " +
          std::string{name_of(down->evidence.source)});
    const bool leased = std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
      return node->alive_ && node->core_.incarnation() == down->incarnation &&
             node->lease_until_ > now();
    });
    down_.insert(down->incarnation);
    deaths_.push_back({down->name, down->incarnation, now(), down->evidence, brokers_, leased});
  }
}

// --- faults ---

void World::kill(std::size_t index) {
  Node& victim = *nodes_[index];
  trace("kill " + victim.label());
  if (!victim.alive_) return;
  victim.end();
  for (const auto& connection : {victim.control_, victim.data_}) {
    if (connection) close_from_node(*connection);
  }
}

void World::vanish(std::size_t index) {
  Node& victim = *nodes_[index];
  trace("vanish " + victim.label());
  victim.end();
  for (const auto& connection : {victim.control_, victim.data_}) {
    if (connection) at(*connection).open_at_node = false;
  }
}

void World::kill_amid_effects(std::size_t node, int effects, std::function<void()> struck) {
  nodes_[node]->torn_ = Torn{effects, std::move(struck)};
}

void World::pause(std::size_t index) {
  trace("pause " + nodes_[index]->label());
  if (!std::exchange(nodes_[index]->paused_, true)) nodes_[index]->paused_at_ = now();
}

void World::resume(std::size_t index) {
  Node& sleeper = *nodes_[index];
  if (!std::exchange(sleeper.paused_, false) || !sleeper.alive_) return;
  trace("resume " + sleeper.label());
  // stopped in the midst of a turn it goes on with the time that it read at the beginning
  if (random_.below(2) == 0) sleeper.reads_as_of_ = sleeper.paused_at_;
  sleeper.read_on();
}

void World::hang(std::size_t index, bool on) {
  trace((on ? "hang " : "go on at ") + nodes_[index]->label());
  if (std::exchange(nodes_[index]->hung_, on) && !on) nodes_[index]->poke();
}

void World::plug(std::size_t index, bool on) {
  trace((on ? "plug " : "unplug ") + nodes_[index]->label());
  if (std::exchange(nodes_[index]->plugged_, on) && !on) nodes_[index]->poke();
}

void World::leave(std::size_t index) {
  trace("leave " + nodes_[index]->label());
  Node& leaver = *nodes_[index];
  leaver.handle([&leaver] {
    if (!leaver.leaving_) leaver.leaving_ = leaver.now();
    leaver.tell_records(leaver.now());  // before the end
    leaver.carry_out(leaver.core_.leave(leaver.now()));
  });
}

bool World::kill_broker() {
  broker_torn_.reset();  // that one was to die, and not the one after it
  if (!broker_) return false;
  broker_dying_ = true;
  bury_broker();
  return true;
}

void World::bury_broker() {
  trace("kill broker");
  broker_.reset();
  broker_dying_ = false;
  broker_torn_.reset();
  loop_.reset();
  broker_wake_.reset();
  for (std::uint64_t id = 1; id <= connections_.size(); ++id) {
    Connection& connection = at(id);
    if (!connection.open_at_node || connection.broker != brokers_) continue;
    connection.open_at_broker = false;
    sever(id);  // what was under way is lost with it
  }
}

void World::start_broker() {
  if (broker_) return;
  ++brokers_;
  down_.clear();
  broker_ = std::make_unique<broker::BrokerCore>(
      broker::BrokerCore::Settings{.cluster = settings_.cluster}, random_.fork(), now());
  loop_.emplace(fresh_loop());
  trace("start broker");
  for (const std::uint64_t id : std::exchange(knocking_, {})) {
    if (at(id).open_at_node) knock(id);
  }
  broker_sleep();
}

}  // namespace liminal::sim
