// The network of a simulated world: connections in order, and all that goes wrong with them.
#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/check.hpp"
#include "common/wire/codec.hpp"
#include "tests/sim/world_events.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kOverheardMax = 16;
// As TCP does it: each is lost again with the same luck, and every time it waits twice as long.
constexpr Duration kResendAfter = 200ms;
constexpr int kResendsMax = 3;

std::size_t of(World::Direction direction) { return static_cast<std::size_t>(direction); }

// Breaks one of the rules that a session looks at before it takes anything.
std::string spoiled(const std::string& bytes, TimePoint now, std::uint64_t rule) {
  auto frame = wire::decode_session_frame(bytes, now);
  if (!frame) return bytes;  // it is broken already
  switch (rule) {
    case 0:  // acknowledges what was never sent
      frame->next_expected += 1'000'000;
      break;
    case 1:  // counts from 0
      frame->first_sequence = 0;
      break;
    case 2:  // acknowledges from 0
      frame->next_expected = 0;
      break;
    default:  // is none
      return bytes.substr(0, bytes.size() / 2);
  }
  return wire::encode(*frame, now);
}

}  // namespace

Duration World::delay(const Node& host) {
  const auto spread =
      static_cast<std::uint64_t>((settings_.delay_max - settings_.delay_min).count());
  Duration delay =
      settings_.delay_min + Duration{static_cast<Duration::rep>(random_.below(spread + 1))};
  if (host.loss_percent_ == 0) return delay;
  Duration resend = kResendAfter;
  for (int i = 0; i < kResendsMax && random_.below(100) < host.loss_percent_; ++i) {
    delay += resend;
    resend *= 2;
  }
  return delay;
}

void World::digest_value(std::uint64_t value) {
  digest_ = (digest_ ^ value) * 0x100000001B3ULL;
  digest_ ^= digest_ >> 29;
}

void World::digest_part(const std::string& part) {
  digest_value(part.size());
  const std::size_t end = std::min<std::size_t>(part.size(), 64);
  for (std::size_t begin = 0; begin < end; begin += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, part.data() + begin, std::min(sizeof word, end - begin));
    digest_value(word);
  }
}

void World::digest(const Message& message) {
  digest_value(static_cast<std::uint64_t>(now().time_since_epoch().count()));
  digest_part(message.front());
  if (message.has_body()) digest_part(message.back());
}

/// In the order in which it was handed over.
void World::carry(std::uint64_t id, Direction direction, Action arrived) {
  Connection& connection = at(id);
  Node& host = *nodes_[connection.node];
  const bool stuck = host.blocked_[of(direction)] ||
                     (host.stalled_ && connection.data && direction == Direction::kToNode);
  if (stuck) {
    host.held_[of(direction)].emplace_back(id, std::move(arrived));
    return;
  }
  TimePoint& last =
      direction == Direction::kToBroker ? connection.last_to_broker : connection.last_to_node;
  last = std::max(last, now() + delay(host));
  events_.at(last, std::move(arrived));
}

void World::release_held(Node& node, Direction direction, Duration late) {
  // each connection's TCP waits for its own time
  std::map<std::uint64_t, Duration> after;
  for (auto& [id, arrived] : std::exchange(node.held_[of(direction)], {})) {
    const auto [found, is_first] = after.try_emplace(id, Duration::zero());
    if (is_first && late > Duration::zero()) {
      found->second = Duration{
          static_cast<Duration::rep>(random_.below(static_cast<std::uint64_t>(late.count())))};
    }
    TimePoint& last =
        direction == Direction::kToBroker ? at(id).last_to_broker : at(id).last_to_node;
    last = std::max(last, now() + found->second);
    carry(id, direction, std::move(arrived));  // held again, if something else holds it
  }
}

std::uint64_t World::connect(std::size_t node, bool data) {
  connections_.push_back({.node = node, .data = data, .open_at_node = true});
  const std::uint64_t id = connections_.size();
  knock(id);
  return id;
}

// Until somebody answers; a stopped broker shakes no hands.
void World::knock(std::uint64_t id) {
  if (!broker_) {
    knocking_.push_back(id);
    return;
  }
  Connection& fresh = at(id);
  fresh.open_at_broker = true;
  fresh.broker = brokers_;
  carry(id, Direction::kToBroker, [this, id] {
    if (!reaches_broker(at(id))) return;
    auto shake_hands = [this, id] {
      const Connection& connection = at(id);
      if (connection.severed || !connection.open_at_node) return;
      carry(id, Direction::kToNode, [this, id] {
        Node& owner = *nodes_[at(id).node];
        owner.receive(id, [this, id, &owner] {
          const Connection& then = at(id);
          if (then.severed || !then.open_at_node) return;
          owner.carry_out(then.data ? owner.core_.on_data_connected(owner.now())
                                    : owner.core_.on_control_connected(owner.now()));
        });
      });
    };
    if (!loop_->io_stopped) return shake_hands();
    loop_->handshakes.push_back(std::move(shake_hands));
  });
}

bool World::reaches_broker(const Connection& connection) const {
  return broker_ && !broker_dying_ && connection.broker == brokers_ && connection.open_at_broker;
}

void World::close_from_node(std::uint64_t id) {
  if (!std::exchange(at(id).open_at_node, false)) return;
  tell_broker_closed(id);
}

// What the node had sent arrives before the closing does.
void World::tell_broker_closed(std::uint64_t id) {
  carry(id, Direction::kToBroker, [this, id] {
    const bool reaches = reaches_broker(at(id));
    at(id).open_at_broker = false;
    at(id).closed_at = now();
    if (reaches) broker_closed(id);
  });
}

void World::note_spoiled(const std::string& header, Incarnation to) {
  const auto route = wire::decode_route_from(header);
  if (route) spoiled_sessions_.push_back({route->incarnation, to, now()});
}

bool World::sever(std::optional<std::uint64_t> id) {
  if (!id) return false;
  Connection& connection = at(*id);
  if (connection.severed || !connection.open_at_node) return false;
  connection.severed = true;
  tell_broker_closed(*id);
  carry(*id, Direction::kToNode, [this, id = *id] {
    Node& owner = *nodes_[at(id).node];
    owner.receive(id, [this, id, &owner] {
      Connection& then = at(id);
      if (!std::exchange(then.open_at_node, false)) return;
      auto& slot = then.data ? owner.data_ : owner.control_;
      if (slot == id) slot.reset();
      owner.carry_out(then.data ? owner.core_.on_data_closed(owner.now())
                                : owner.core_.on_control_closed(owner.now()));
    });
  });
  return true;
}

void World::to_broker(std::uint64_t id, Message message) {
  const Connection& connection = at(id);
  if (connection.severed || !connection.open_at_node) return;
  digest(message);
  if (overhears_ && message.has_body()) {
    overheard_.push_back(message);
    if (overheard_.size() > kOverheardMax) overheard_.pop_front();
  }
  carry(id, Direction::kToBroker, [this, id, message = std::move(message)]() mutable {
    if (at(id).severed || !reaches_broker(at(id))) return;
    broker_hear(id, [this, id, message = std::move(message)] {
      const ConnectionId from{id};
      const broker::Line line = line_of_next(id);
      if (message.has_body()) {
        broker_carry_out(
            broker_->on_data(from, message.front(), message.back().size(), broker_now(), line),
            &message);
      } else {
        broker_carry_out(broker_->on_control(from, "sim:" + std::to_string(id), message.front(),
                                             broker_now(), line),
                         nullptr);
      }
    });
  });
}

void World::to_node(std::uint64_t id, Message message) {
  if (id == 0 || id > connections_.size()) return;
  const Connection& connection = at(id);
  if (connection.severed || !connection.open_at_broker) return;
  digest(message);
  carry(id, Direction::kToNode, [this, id, message = std::move(message)]() mutable {
    if (at(id).severed || !at(id).open_at_node) return;
    Node& owner = *nodes_[at(id).node];
    owner.receive(id, [this, id, &owner, message = std::move(message)] {
      const Connection& then = at(id);
      if (!then.open_at_node) return;
      if (message.has_body()) {
        hear(owner, message);
      } else if (then.data) {
        owner.carry_out(owner.core_.on_data_control(message.front(), owner.now()));
      } else {
        owner.carry_out(owner.core_.on_control(message.front(), owner.now()));
      }
    });
  });
}

void World::hear(Node& owner, const Message& message) {
  const auto spoiling = spoiled_.extract(owner.index_);
  if (spoiling.empty()) return owner.hear(message.front(), message.back());
  note_spoiled(message.front(), owner.core_.incarnation());
  if (spoiling.mapped()) spoiling.mapped()();
  owner.hear(message.front(), spoiled(message.back(), now(), random_.below(4)));
}

// --- faults ---

bool World::cut_control(std::size_t node) {
  trace("cut control of " + nodes_[node]->label());
  return sever(nodes_[node]->control_);
}

bool World::cut_data(std::size_t node) {
  trace("cut data of " + nodes_[node]->label());
  return sever(nodes_[node]->data_);
}

void World::stall(std::size_t node, bool on) {
  trace((on ? "stall " : "read on at ") + nodes_[node]->label());
  if (std::exchange(nodes_[node]->stalled_, on) && !on) {
    release_held(*nodes_[node], Direction::kToNode, Duration::zero());
  }
}

void World::block(std::size_t node, Direction direction) {
  trace((direction == Direction::kToBroker ? "block what comes from " : "block what goes to ") +
        nodes_[node]->label());
  nodes_[node]->blocked_[of(direction)] = true;
}

void World::unblock(std::size_t node, Direction direction, Duration late) {
  if (!std::exchange(nodes_[node]->blocked_[of(direction)], false)) return;
  trace((direction == Direction::kToBroker ? "let through what comes from "
                                           : "let through what goes to ") +
        nodes_[node]->label());
  release_held(*nodes_[node], direction, late);
}

void World::lose(std::size_t node, unsigned percent) {
  trace("lose " + std::to_string(percent) + " % at " + nodes_[node]->label());
  nodes_[node]->loss_percent_ = percent;
}

void World::inject_control(std::size_t node, std::string bytes) {
  Node& sender = *nodes_[node];
  if (sender.alive_ && sender.control_) to_broker(*sender.control_, Message{std::move(bytes)});
}

void World::inject_attach(std::size_t node, std::uint64_t token) {
  Node& sender = *nodes_[node];
  if (!sender.alive_ || !sender.data_) return;
  to_broker(*sender.data_, Message{wire::encode(ControlFrame{control::Attach{token}})});
}

void World::inject_signal(std::size_t node, Signal signal) {
  Node& sender = *nodes_[node];
  sender.handle([this, &sender, signal = std::move(signal)]() mutable {
    sender.carry_out(sender.core_.on_signal(std::move(signal), now()));
  });
}

void World::inject_data(std::size_t node, std::string header, std::string frame) {
  Node& sender = *nodes_[node];
  if (!sender.alive_ || !sender.data_) return;
  to_broker(*sender.data_, Message{std::move(header), std::move(frame)});
}

}  // namespace liminal::sim
