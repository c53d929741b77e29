// The loop of a simulated broker: what BrokerLoop does around its core, when it has time and when
// it had none.
#include <algorithm>
#include <chrono>
#include <utility>

#include "tests/sim/world_events.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

// As in broker_loop.cpp.
constexpr Duration kWaitMax = 1s;
constexpr Duration kSettleMax = 100ms;
constexpr Duration kSettleAllMax = 1s;
constexpr std::uint64_t kLookAtClock = 16;
constexpr std::uint64_t kMessagesPerTurnMax = 256;
constexpr Duration kWaitResolution = 1ms;

}  // namespace

World::BrokerLoop World::fresh_loop() const {
  const Duration beat = settings_.cluster.beat_interval;
  return {.lag = broker::OwnLag{beat, std::min(beat, kSettleMax), kSettleAllMax}};
}

/// A turn reads the clock once.
TimePoint World::broker_now() const { return loop_->reads_as_of.value_or(now()); }

void World::broker_closed(std::uint64_t connection) {
  loop_->closings.insert(connection);
  if (!loop_->stopped && loop_->all_read) broker_turn();
}

/// As of the turn's beginning, where it was stopped in its midst and goes on.
bool World::broker_knows_closed(const Connection& connection) const {
  if (connection.open_at_broker) return false;
  return !loop_->reads_as_of || connection.closed_at <= *loop_->reads_as_of;
}

/// What RouterSocket says of a message, and what BrokerLoop makes of that.
broker::Line World::line_of_next(std::uint64_t id) {
  Connection& from = at(id);
  const bool first = !std::exchange(from.spoke, true);
  const bool closed = first ? !from.open_at_broker : broker_knows_closed(from);
  return closed ? broker::Line::kClosed : broker::Line::kOpen;
}

void World::broker_turn() {
  const Listening listening{broker_listener_};
  loop_->lag.woke(broker_now());
  bool read_out = true;
  if (!loop_->unread.empty()) {
    // the look at the clock ends a turn whose messages take their time
    const std::uint64_t most = loop_->reads_as_of      ? kLookAtClock - 1
                               : random_.below(2) == 0 ? 1 + random_.below(kLookAtClock)
                                                       : kMessagesPerTurnMax;
    read_out = broker_reads(most);
  }
  loop_->all_read = read_out && !loop_->flooded;
  broker_goes_on();
}

/// As libzmq: of all that have something in turn, one message of each. Returns whether nothing
/// waits any more.
bool World::broker_reads(std::uint64_t messages) {
  auto& unread = loop_->unread;
  auto next = std::next(unread.begin(), static_cast<std::ptrdiff_t>(random_.below(unread.size())));
  for (; messages > 0 && !broker_dying_; --messages) {
    const auto event = std::move(next->second.front());
    next->second.pop_front();
    const auto watched = loop_->watched.find(next->first);
    if (watched != loop_->watched.end() && watched->second > 0) --watched->second;
    next = next->second.empty() ? unread.erase(next) : std::next(next);
    event();
    if (unread.empty()) return true;
    if (next == unread.end()) next = unread.begin();
  }
  return false;
}

/// After what a turn read.
void World::broker_goes_on() {
  if (!broker_dying_) broker_judges();
  if (broker_dying_) return bury_broker();
  broker_sleep();
}

void World::broker_judges() {
  const TimePoint at = broker_now();
  if (loop_->lag.judge_after()) {
    const bool read_enough = loop_->all_read || at >= *loop_->lag.judge_by();
    const auto lag = read_enough ? loop_->lag.take(at) : std::nullopt;
    if (!lag) {  // more may come: it judges nobody
      broker_carry_out(broker_->beat(at), nullptr);
      return;
    }
    trace("broker: was late by " +
          std::to_string(std::chrono::floor<std::chrono::milliseconds>(*lag).count()) + " ms");
    broker_->observer_late(*lag, at);
  }
  broker_judges_closings();
  if (!broker_dying_) broker_carry_out(broker_->advance(at), nullptr);
}

/// The socket tells a closing when that connection is read out, which it knows when it has run dry,
/// or when enough of others was read since; here as soon as it is so.
void World::broker_judges_closings() {
  if (loop_->closings.empty() && loop_->watched.empty()) return;
  const TimePoint at = broker_now();
  std::vector<std::uint64_t> closed, read_out;  // each in the order of their numbers
  for (const std::uint64_t id : loop_->closings) {
    const bool is_known = loop_->all_read || broker_knows_closed(this->at(id));
    if (is_known && !loop_->unread.contains(id)) closed.push_back(id);
  }
  for (const auto& [id, delivered] : loop_->watched) {
    if (loop_->closings.contains(id)) continue;  // that is told instead
    if (loop_->all_read || delivered == 0) read_out.push_back(id);
  }
  for (const std::uint64_t id : read_out) {
    loop_->watched.erase(id);
    if (!broker_dying_) broker_carry_out(broker_->on_read_out(ConnectionId{id}, at), nullptr);
  }
  const auto others = loop_->all_read ? broker::Others::kRead : broker::Others::kUnread;
  for (const std::uint64_t id : closed) {
    loop_->closings.erase(id);
    loop_->watched.erase(id);
    if (!broker_dying_) broker_carry_out(broker_->on_closed(ConnectionId{id}, at, others), nullptr);
  }
}

void World::broker_watches(std::uint64_t id) {
  const auto unread = loop_->unread.find(id);
  loop_->watched[id] = unread == loop_->unread.end() ? 0 : unread->second.size();
}

void World::broker_sleep() {
  const TimePoint at = broker_now();
  TimePoint until = at + kWaitMax;
  if (!loop_->all_read) {
    until = at;
  } else if (const auto judge_after = loop_->lag.judge_after()) {
    until = std::min(until, *judge_after);
    if (const auto beat = broker_->next_beat()) until = std::min(until, *beat);
  } else if (const auto deadline = broker_->next_deadline()) {
    until = std::min(until, *deadline);
  }
  loop_->lag.will_wake_by(std::max(until, at) + kWaitResolution);
  if (!loop_->all_read) {
    // a turn takes up to a quarter of a beat, and mostly far less
    const Duration::rep most = settings_.cluster.beat_interval.count() / 4;
    const auto took = static_cast<Duration::rep>(random_.below(static_cast<std::uint64_t>(most)));
    until = now() + Duration{random_.below(2) == 0 ? took : took / 64};
  }
  if (broker_wake_ && *broker_wake_ <= until && *broker_wake_ > now()) return;
  broker_wake_ = until;
  events_.at(until, [this, when = until] {
    if (broker_wake_ != when) return;
    broker_wake_.reset();
    if (broker_ && !loop_->stopped) broker_turn();
  });
}

// --- faults ---

void World::flood_broker(bool on) {
  if (!broker_ || std::exchange(loop_->flooded, on) == on) return;
  trace(on ? "flood broker" : "the broker is flooded no more");
  if (!on || loop_->stopped) return;
  loop_->all_read = false;
  broker_sleep();
}

void World::pause_broker(bool loop_alone) {
  if (!broker_) return;
  if (!loop_alone) loop_->io_stopped = true;  // also where its loop was stopped before
  if (std::exchange(loop_->stopped, true)) return;
  trace(loop_alone ? "pause the broker's loop" : "pause broker");
  if (random_.below(2) == 0) loop_->turn_of = now();
}

void World::resume_broker() {
  if (!broker_ || !std::exchange(loop_->stopped, false)) return;
  trace("resume broker");
  loop_->io_stopped = false;
  for (auto& shake_hands : std::exchange(loop_->handshakes, {})) shake_hands();
  broker_wake_.reset();
  loop_->reads_as_of = std::exchange(loop_->turn_of, std::nullopt);
  if (loop_->reads_as_of) {
    broker_turn();
    if (!broker_) return;  // it reached a fault point
    loop_->reads_as_of.reset();
  }
  broker_turn();
}

}  // namespace liminal::sim
