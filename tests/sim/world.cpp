#include "tests/sim/world.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "common/base/check.hpp"
#include "common/base/text.hpp"
#include "common/wire/codec.hpp"

namespace liminal::sim {
namespace {

class BeatRequest final : public LocalMessage {};

class BeatProcess final : public Process {
 public:
  explicit BeatProcess(bool& done) : done_(done) {}
  void handle(Context&, Message) override { done_ = true; }

 private:
  bool& done_;
};

// Acknowledges what was never sent.
std::string spoiled(const std::string& bytes, TimePoint now) {
  auto frame = wire::decode_session_frame(bytes, now);
  check(frame.has_value(), "a node sends what decodes");
  frame->next_expected += 1'000'000;
  return wire::encode(*frame, now);
}

}  // namespace

// --- a node ---

World::Node::Node(World& world, std::size_t index, NodeCore::Settings settings, std::uint64_t seed)
    : world_(world),
      index_(index),
      name_(settings.name),
      recorder_(TimelineRecorder::kUntold, {}, world.settings_.recorder),
      scheduler_({.node = settings.name, .seed = seed, .mailbox = world.settings_.mailbox},
                 [this](Signal signal) { forwarded_.push_back(std::move(signal)); }),
      core_(std::move(settings), Random{seed + 1}),
      beat_process_(scheduler_.spawn(std::make_unique<BeatProcess>(turn_done_))) {}

void World::Node::handle(std::function<void()> event) {
  if (!alive_) return;
  if (paused_) {
    pending_.push_back(std::move(event));
    return;
  }
  event();
  turn();
}

std::string World::Node::label() const {
  return name_.value() + "#" + std::to_string(index_) + "/" +
         to_hex(core_.incarnation().value()).substr(0, 4);
}

void World::Node::poke() {
  handle([] {});
}

void World::Node::turn() {
  const TimePoint now = world_.now();
  for (;;) {
    scheduler_.run_until_idle(now);
    if (std::exchange(turn_done_, false)) carry_out(core_.on_turn(0, 0, now));
    for (auto& signal : std::exchange(forwarded_, {})) {
      carry_out(core_.on_signal(std::move(signal), now));
    }
    while (core_.takes_records() && !recorder_.empty()) {
      carry_out(core_.on_records(recorder_.take()));
    }
    carry_out(core_.advance(now));
    carry_out(core_.flush(now));
    const auto timer = scheduler_.next_deadline();
    scheduler_.run_until_idle(now);
    if (forwarded_.empty() && !turn_done_ && (!timer || *timer > now)) break;
  }
  sleep();
}

void World::Node::sleep() {
  auto due = core_.next_deadline();
  const auto timer = scheduler_.next_deadline();
  if (timer && (!due || *timer < *due)) due = timer;
  if (!due || (wake_ && *wake_ <= *due && *wake_ > world_.now())) return;
  wake_ = due;
  world_.events_.at(*due, [this, when = *due] {
    if (wake_ != when) return;  // an earlier wake-up was set since
    wake_.reset();
    poke();
  });
}

void World::Node::carry_out(NodeCore::Effects effects) {
  for (auto& effect : effects) {
    std::visit(
        [this](auto& e) {
          using Effect = std::decay_t<decltype(e)>;
          if constexpr (std::is_same_v<Effect, node_effect::OpenControl>) {
            if (control_) world_.close_from_node(*control_);
            control_ = world_.connect(index_, false);
          } else if constexpr (std::is_same_v<Effect, node_effect::OpenData>) {
            if (data_) world_.close_from_node(*data_);
            data_ = world_.connect(index_, true);
          } else if constexpr (std::is_same_v<Effect, node_effect::CloseData>) {
            if (data_) world_.close_from_node(*data_);
            data_.reset();
          } else if constexpr (std::is_same_v<Effect, node_effect::SendControl>) {
            if (control_) world_.to_broker(*control_, {std::move(e.bytes)});
          } else if constexpr (std::is_same_v<Effect, node_effect::SendOnData>) {
            if (data_) world_.to_broker(*data_, {std::move(e.bytes)});
          } else if constexpr (std::is_same_v<Effect, node_effect::SendFrame>) {
            if (data_) world_.to_broker(*data_, {std::move(e.header), std::move(e.frame)});
          } else if constexpr (std::is_same_v<Effect, node_effect::Deliver>) {
            scheduler_.deliver(std::move(e.signal));
          } else if constexpr (std::is_same_v<Effect, node_effect::CertifyTurn>) {
            scheduler_.send_local(beat_process_, std::make_unique<BeatRequest>());
          } else if constexpr (std::is_same_v<Effect, node_effect::Publish>) {
            directory_.publish(std::move(e.snapshot));
          } else if constexpr (std::is_same_v<Effect, node_effect::Undeliverable>) {
            scheduler_.dead_letters().add(
                DeadLetter::of(e.cause, e.send.from, e.send.to, e.send.envelope, world_.now()));
          } else if constexpr (std::is_same_v<Effect, node_effect::UndeliverableUnseen>) {
            scheduler_.dead_letters().add_unseen(e.cause, e.envelopes);
          } else if constexpr (std::is_same_v<Effect, node_effect::Joined>) {
            world_.trace(label() + " joined");
          } else if constexpr (std::is_same_v<Effect, node_effect::Interrupted>) {
            world_.trace(label() + " interrupted");
          } else if constexpr (std::is_same_v<Effect, node_effect::Lease>) {
            lease_until_ = e.until;
            participants_->lease_until.store(e.until);
          } else if constexpr (std::is_same_v<Effect, node_effect::RecordsArrived>) {
            recorder_.arrived(e.up_to);
          } else if constexpr (std::is_same_v<Effect, node_effect::KeepRecords>) {
            recorder_.set_records_max(e.records_max);
            recorder_.connected(e.epoch, e.anew);
            if (e.anew && e.records_max > 0) supervisor_->retell();
          } else if constexpr (std::is_same_v<Effect, node_effect::CancelConversation>) {
            const bool accepted =
                cancel_ ? cancel_(e.conversation, e.by) : supervisor_->cancel(e.conversation, e.by);
            carry_out(core_.on_cancelled(e.conversation, accepted));
          } else if constexpr (std::is_same_v<Effect, node_effect::Fenced>) {
            ++fenced_;
            recorder_.fenced(e.old_incarnation);
            world_.trace(label() + " fenced: " + e.why);
          } else if constexpr (std::is_same_v<Effect, node_effect::Refused> ||
                               std::is_same_v<Effect, node_effect::Left>) {
            refused_ = std::is_same_v<Effect, node_effect::Refused>;
            left_ = !refused_;
            alive_ = false;
            if (control_) world_.close_from_node(*control_);
            if (data_) world_.close_from_node(*data_);
          }
        },
        effect);
  }
}

// --- the world ---

World::World(Settings settings, std::uint64_t seed) : settings_(settings), random_(seed) {
  start_broker();
}

World::~World() = default;

void World::trace(const std::string& line) const {
  if (!tracing_) return;
  std::fprintf(stderr, "%10.3f ms  %s\n", to_ms(now() - TimePoint{}), line.c_str());
}

std::size_t World::start_node(NodeCore::Settings settings, Scheduler::ServiceFactory services,
                              std::shared_ptr<ParticipantLedger> participants) {
  const std::size_t index = nodes_.size();
  nodes_.push_back(std::make_unique<Node>(*this, index, std::move(settings), random_.next()));
  Node& fresh = *nodes_.back();
  fresh.scheduler_.set_service_factory(std::move(services));
  fresh.participants_ = std::move(participants);
  ConversationSupervisor::Settings supervision;
  if (settings_.timeline) {
    supervision.timeline = [this, index](TimelineRecord record) {
      settings_.timeline(index, std::move(record));
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

TimePoint World::arrival(TimePoint& last) {
  const auto spread =
      static_cast<std::uint64_t>((settings_.delay_max - settings_.delay_min).count());
  const Duration delay =
      settings_.delay_min + Duration{static_cast<Duration::rep>(random_.below(spread + 1))};
  last = std::max(last, now() + delay);
  return last;
}

std::uint64_t World::connect(std::size_t node, bool data) {
  const std::uint64_t id = next_connection_++;
  Connection& fresh = connections_[id];
  fresh.node = node;
  fresh.data = data;
  fresh.open_at_node = true;
  knock(id);
  return id;
}

// Until somebody answers; a stopped broker shakes no hands.
void World::knock(std::uint64_t id) {
  if (!broker_) {
    knocking_.push_back(id);
    return;
  }
  Connection& fresh = connections_.at(id);
  fresh.open_at_broker = true;
  fresh.broker = brokers_;
  events_.at(arrival(fresh.last_to_node), [this, id] {
    if (!reaches_broker(connections_.at(id))) return;
    broker_handle([this, id] {
      Connection& connection = connections_.at(id);
      if (connection.severed || !connection.open_at_node) return;
      Node& owner = *nodes_[connection.node];
      events_.at(arrival(connection.last_to_node), [this, id, &owner] {
        owner.handle([this, id, &owner] {
          const Connection& at = connections_.at(id);
          if (at.severed || !at.open_at_node) return;
          owner.carry_out(at.data ? owner.core_.on_data_connected(now())
                                  : owner.core_.on_control_connected(now()));
        });
      });
    });
  });
}

bool World::reaches_broker(const Connection& connection) const {
  return broker_ && connection.broker == brokers_ && connection.open_at_broker;
}

void World::close_from_node(std::uint64_t id) {
  Connection& connection = connections_.at(id);
  if (!std::exchange(connection.open_at_node, false)) return;
  tell_broker_closed(id);
}

// What the node had sent arrives before the closing does.
void World::tell_broker_closed(std::uint64_t id) {
  events_.at(arrival(connections_.at(id).last_to_broker), [this, id] {
    const bool reaches = reaches_broker(connections_.at(id));
    connections_.at(id).open_at_broker = false;
    if (!reaches) return;
    if (broker_paused_) {
      broker_pending_closings_.push_back(id);
      return;
    }
    broker_handle(
        [this, id] { broker_carry_out(broker_->on_closed(ConnectionId{id}, now()), nullptr); });
  });
}

void World::sever(std::optional<std::uint64_t> id) {
  if (!id) return;
  Connection& connection = connections_.at(*id);
  if (connection.severed || !connection.open_at_node) return;
  connection.severed = true;
  tell_broker_closed(*id);
  Node& owner = *nodes_[connection.node];
  events_.at(arrival(connection.last_to_node), [this, id = *id, &owner] {
    owner.handle([this, id, &owner] {
      Connection& at = connections_.at(id);
      if (!std::exchange(at.open_at_node, false)) return;
      auto& slot = at.data ? owner.data_ : owner.control_;
      if (slot == id) slot.reset();
      owner.carry_out(at.data ? owner.core_.on_data_closed(now())
                              : owner.core_.on_control_closed(now()));
    });
  });
}

void World::to_broker(std::uint64_t id, Message message) {
  Connection& connection = connections_.at(id);
  if (connection.severed || !connection.open_at_node) return;
  events_.at(arrival(connection.last_to_broker), [this, id, message = std::move(message)] {
    const Connection& at = connections_.at(id);
    if (at.severed || !reaches_broker(at)) return;
    broker_handle([this, id, message] {
      if (message.size() == 1) {
        const std::string peer = "sim:" + std::to_string(id);
        broker_carry_out(broker_->on_control(ConnectionId{id}, peer, message[0], now()), nullptr);
      } else {
        broker_carry_out(broker_->on_data(ConnectionId{id}, message[0], message[1].size(), now()),
                         &message[1]);
      }
    });
  });
}

void World::to_node(std::uint64_t id, Message message) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  if (connection.severed || !connection.open_at_broker) return;
  Node& owner = *nodes_[connection.node];
  events_.at(arrival(connection.last_to_node), [this, id, &owner, message = std::move(message)] {
    const Connection& at = connections_.at(id);
    if (at.severed || !at.open_at_node) return;
    owner.handle([this, id, &owner, message] {
      const Connection& then = connections_.at(id);
      if (!then.open_at_node) return;
      if (message.size() == 2 && spoiled_.erase(owner.index_) > 0) {
        owner.carry_out(owner.core_.on_frame(message[0], spoiled(message[1], now()), now()));
      } else if (message.size() == 2) {
        owner.carry_out(owner.core_.on_frame(message[0], message[1], now()));
      } else if (then.data) {
        owner.carry_out(owner.core_.on_data_control(message[0], now()));
      } else {
        owner.carry_out(owner.core_.on_control(message[0], now()));
      }
    });
  });
}

// --- the broker ---

void World::broker_handle(std::function<void()> event) {
  if (broker_paused_) {
    broker_pending_.push_back(std::move(event));
    return;
  }
  event();
  broker_carry_out(broker_->advance(now()), nullptr);
  broker_sleep();
}

void World::broker_sleep() {
  const auto due = broker_->next_deadline();
  if (!due || (broker_wake_ && *broker_wake_ <= *due && *broker_wake_ > now())) return;
  broker_wake_ = due;
  events_.at(*due, [this, when = *due] {
    if (broker_wake_ != when) return;
    broker_wake_.reset();
    if (broker_ && !broker_paused_) broker_handle([] {});
  });
}

void World::broker_carry_out(const broker::Effects& effects, const std::string* held_frame) {
  for (const auto& effect : effects) {
    if (const auto* send = std::get_if<broker::effect::Send>(&effect)) {
      to_node(send->connection.value(), {send->bytes});
    } else if (const auto* forward = std::get_if<broker::effect::Forward>(&effect)) {
      check(held_frame != nullptr, "only on_data() forwards");
      to_node(forward->connection.value(), {forward->header, *held_frame});
    } else if (const auto* left = std::get_if<broker::effect::NodeLeft>(&effect)) {
      trace("broker: " + left->name.value() + " left");
    } else if (const auto* suspect = std::get_if<broker::effect::NodeSuspect>(&effect)) {
      trace("broker: " + suspect->name.value() + " suspect");
    } else if (const auto* announced = std::get_if<broker::effect::NodeJoined>(&effect)) {
      trace("broker: " + announced->name.value() + " joined");
    } else if (const auto* resumed = std::get_if<broker::effect::NodeResumed>(&effect)) {
      trace("broker: " + resumed->name.value() + " resumed");
    } else if (const auto* down = std::get_if<broker::effect::NodeDown>(&effect)) {
      trace("broker: " + down->name.value() + " down, " +
            std::string{name_of(down->evidence.source)});
      const bool leased = std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
        return node->alive_ && node->core_.incarnation() == down->incarnation &&
               node->lease_until_ > now();
      });
      deaths_.push_back({down->name, down->incarnation, now(), down->evidence, brokers_, leased});
    }
  }
}

// --- faults ---

void World::kill(std::size_t index) {
  trace("kill " + nodes_[index]->label());
  Node& victim = *nodes_[index];
  if (!victim.alive_) return;
  victim.alive_ = false;
  for (const auto& connection : {victim.control_, victim.data_}) {
    if (connection) close_from_node(*connection);
  }
}

void World::pause(std::size_t index) {
  trace("pause " + nodes_[index]->label());
  nodes_[index]->paused_ = true;
}

void World::resume(std::size_t index) {
  trace("resume " + nodes_[index]->label());
  Node& sleeper = *nodes_[index];
  if (!std::exchange(sleeper.paused_, false) || !sleeper.alive_) return;
  for (auto& event : std::exchange(sleeper.pending_, {})) {
    if (sleeper.alive_) event();
  }
  sleeper.poke();
}

void World::leave(std::size_t index) {
  trace("leave " + nodes_[index]->label());
  Node& leaver = *nodes_[index];
  leaver.handle([this, &leaver] { leaver.carry_out(leaver.core_.leave(now())); });
}

void World::cut_control(std::size_t node) {
  trace("cut control of " + nodes_[node]->label());
  sever(nodes_[node]->control_);
}

void World::cut_data(std::size_t node) {
  trace("cut data of " + nodes_[node]->label());
  sever(nodes_[node]->data_);
}

void World::kill_broker() {
  if (!broker_) return;
  trace("kill broker");
  broker_.reset();
  broker_paused_ = false;
  broker_pending_.clear();
  broker_pending_closings_.clear();
  broker_wake_.reset();
  for (auto& [id, connection] : connections_) {
    if (!connection.open_at_node || connection.broker != brokers_) continue;
    connection.open_at_broker = false;
    sever(id);  // what was under way is lost with it
  }
}

void World::start_broker() {
  if (broker_) return;
  ++brokers_;
  broker_ = std::make_unique<broker::BrokerCore>(
      broker::BrokerCore::Settings{.cluster = settings_.cluster}, random_.fork(), now());
  trace("start broker");
  for (const std::uint64_t id : std::exchange(knocking_, {})) {
    if (connections_.at(id).open_at_node) knock(id);
  }
  broker_sleep();
}

void World::pause_broker() {
  if (!broker_ || std::exchange(broker_paused_, true)) return;
  trace("pause broker");
  broker_paused_at_ = now();
}

void World::resume_broker() {
  if (!broker_ || !std::exchange(broker_paused_, false)) return;
  trace("resume broker");
  for (auto& event : std::exchange(broker_pending_, {})) event();
  broker_->observer_late(now() - broker_paused_at_, now());
  for (const std::uint64_t id : std::exchange(broker_pending_closings_, {})) {
    broker_carry_out(broker_->on_closed(ConnectionId{id}, now()), nullptr);
  }
  broker_handle([] {});
}

}  // namespace liminal::sim
