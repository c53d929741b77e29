#include "broker/broker_loop.hpp"

#include <algorithm>
#include <utility>

namespace liminal::broker {
namespace {

using std::chrono::milliseconds;

constexpr Duration kWaitMax = std::chrono::seconds{1};       // ended pipes are reaped then
constexpr Duration kOutboxRetry = milliseconds{5};           // while something waits in an outbox
constexpr Duration kSettleMax = milliseconds{100};           // after being late
constexpr Duration kSettleAllMax = std::chrono::seconds{1};  // late again, or with more to read
constexpr int kLookAtClock = 16;                             // messages, while reading
constexpr Duration kWaitResolution = milliseconds{1};        // waits are rounded up to it

}  // namespace

BrokerLoop::BrokerLoop(net::RouterSocket door, BrokerCore core, const Clock& clock,
                       net::Waker& waker, Settings settings)
    : door_(std::move(door)),
      core_(std::move(core)),
      clock_(clock),
      waker_(waker),
      settings_(settings),
      own_lag_(settings.beat_interval, std::min(settings.beat_interval, kSettleMax), kSettleAllMax),
      unread_({.answers_bytes_max = settings.answers_bytes_max,
               .all_answers_bytes_max = settings.all_answers_bytes_max,
               .bytes_max = settings.outbox_bytes_max}),
      now_(clock.now()) {}

void BrokerLoop::run() {
  door_.adopt();
  log_.serves(core_.epoch(), door_.endpoints());
  now_ = clock_.now();
  while (!stop_.load()) turn();
  log_.stops();
}

void BrokerLoop::stop() noexcept {
  stop_.store(true);
  waker_.notify();
}

void BrokerLoop::turn() {
  wait();
  now_ = clock_.now();
  own_lag_.woke(now_);

  all_read_ = read_some(now_);
  if (own_lag_.judge_after()) {
    // a flood must not keep it from judging for ever
    const bool read_enough = all_read_ || now_ >= *own_lag_.judge_by();
    const auto lag = read_enough ? own_lag_.take(now_) : std::nullopt;
    if (!lag) {                           // more may have come meanwhile: read it first
      carry_out(core_.beat(now_), now_);  // judges nobody, and others judge us
      flush_outboxes();
      return;
    }
    ++counters_.late;
    log_.was_late(*lag);
    core_.observer_late(*lag, now_);
  }
  judge_closings(now_);
  carry_out(core_.advance(now_), now_);
  flush_outboxes();
}

void BrokerLoop::wait() {
  TimePoint until = now_ + kWaitMax;
  if (!all_read_) until = now_;
  if (!outboxes_.empty()) until = std::min(until, now_ + kOutboxRetry);
  if (const auto judge_after = own_lag_.judge_after()) {
    until = std::min(until, *judge_after);
    if (const auto beat = core_.next_beat()) until = std::min(until, *beat);
  } else if (const auto deadline = core_.next_deadline()) {
    until = std::min(until, *deadline);
  }
  own_lag_.will_wake_by(std::max(until, now_) + kWaitResolution);
  door_.wait(waker_, std::max(until - now_, Duration::zero()));
}

bool BrokerLoop::read_some(TimePoint now) {
  const TimePoint enough = now + settings_.beat_interval / 4;  // beats wait no longer behind these
  for (int i = 0; i < settings_.messages_per_turn_max; ++i) {
    if (i % kLookAtClock == kLookAtClock - 1 && clock_.now() >= enough) return false;
    auto received = door_.try_receive();
    if (!received) {
      log_.socket_error(received.error(), now);
      return false;
    }
    if (!received->has_value()) {
      if (door_.is_dry()) return true;
      continue;
    }
    take(std::move(**received), now);
  }
  return false;
}

void BrokerLoop::take(net::RouterSocket::Incoming message, TimePoint now) {
  // whom we gave up is told nothing more, whatever the socket knows yet
  const Line line =
      message.closed || given_up_.contains(message.connection) ? Line::kClosed : Line::kOpen;
  net::Parts& parts = message.parts;
  if (parts.size() == 1) {
    carry_out(core_.on_control(message.connection, message.peer, parts[0].view(), now, line), now,
              message.peer);
  } else if (parts.size() == 2) {
    carry_out(core_.on_data(message.connection, parts[0].view(), parts[1].view().size(), now, line),
              now, message.peer, &parts[1]);
  } else {
    ++counters_.dropped_malformed;
  }
}

void BrokerLoop::judge_closings(TimePoint now) {
  const auto closed = door_.closed();
  for (const ConnectionId connection : door_.read_out()) {
    carry_out(core_.on_read_out(connection, now), now);
  }
  for (const ConnectionId connection : closed) {
    outboxes_.erase(connection);
    carry_out(core_.on_closed(connection, now, all_read_ ? Others::kRead : Others::kUnread), now);
    given_up_.erase(connection);
    unread_.forget(connection);  // last: what the others are told may still be sent to it
  }
}

void BrokerLoop::carry_out(Effects effects, TimePoint now, std::string_view peer,
                           net::MessagePart* held) {
  for (const Effect& effect : effects) {
    if (const auto* send = std::get_if<effect::Send>(&effect)) {
      send_control(*send, now);
    } else if (const auto* header = std::get_if<effect::Forward>(&effect)) {
      if (held != nullptr) forward(*header, std::move(*held));
    } else if (const auto* beats = std::get_if<effect::CarriesBeats>(&effect)) {
      door_.retry_steadily(beats->connection);
    } else if (const auto* watch = std::get_if<effect::Watch>(&effect)) {
      door_.watch(watch->connection);
    } else {
      log_.event(effect, peer, now);
    }
  }
}

std::optional<std::uint64_t> BrokerLoop::taken(ConnectionId connection) const {
  return door_.taken(connection);
}

bool BrokerLoop::may_answer(ConnectionId connection, TimePoint now) {
  if (outboxes_.contains(connection)) return false;
  const auto taken_by = [this](ConnectionId each) { return taken(each); };
  if (!unread_.may_answer(connection, taken_by)) return false;
  while (const auto worst = unread_.worst(connection, now, taken_by)) give_up(*worst, now);
  return true;
}

void BrokerLoop::send_control(const effect::Send& send, TimePoint now) {
  if (given_up_.contains(send.connection)) return;
  if (send.is_answer) {
    if (!may_answer(send.connection, now)) {
      ++counters_.answers_withheld;
      log_.withheld(send.connection, now);
      carry_out(core_.on_withheld(send.connection, now), now);
      return;
    }
    counters_.answered_bytes += send.bytes.size();
  }
  const bool is_taken = unread_.sent(send.connection, send.bytes.size(),
                                     [this](ConnectionId each) { return taken(each); });
  net::Parts message;
  message.emplace_back(send.bytes);
  if (!is_taken || !send_or_queue(send.connection, message)) give_up(send.connection, now);
}

void BrokerLoop::forward(const effect::Forward& forward, net::MessagePart frame) {
  if (given_up_.contains(forward.connection)) return;
  net::Parts message;
  message.reserve(2);
  message.emplace_back(forward.header);
  message.push_back(std::move(frame));
  if (!send_or_queue(forward.connection, message)) ++counters_.dropped_at_outbox;
}

bool BrokerLoop::send_or_queue(ConnectionId connection, net::Parts& message) {
  auto outbox = outboxes_.find(connection);
  if (outbox == outboxes_.end()) {
    const Result<void> sent = door_.send(connection, message);
    if (sent) return true;
    if (sent.error().code != Errc::kWouldBlock) {
      // gone: its closing comes, and what was lost with it is said anew or sent again
      ++counters_.dropped_unreachable;
      return true;
    }
    const std::size_t bytes_max =
        core_.is_a_nodes(connection)
            ? settings_.outbox_bytes_max
            : std::min(settings_.outbox_bytes_max, settings_.strangers_outbox_bytes_max);
    outbox = outboxes_.emplace(connection, Outbox{bytes_max}).first;
  }
  return outbox->second.push(message);
}

void BrokerLoop::give_up(ConnectionId connection, TimePoint now) {
  const auto outbox = outboxes_.find(connection);
  log_.gave_up(connection);
  if (outbox != outboxes_.end()) outboxes_.erase(outbox);
  given_up_.insert(connection);
  unread_.forget(connection);
  ++counters_.given_up;
  door_.cut(connection);
  carry_out(core_.on_given_up(connection, now), now);
}

void BrokerLoop::flush_outboxes() {
  for (auto outbox = outboxes_.begin(); outbox != outboxes_.end();) {
    const ConnectionId connection = outbox->first;
    const auto error =
        outbox->second.flush([&](net::Parts& message) { return door_.send(connection, message); });
    if (error) {
      ++counters_.dropped_unreachable;
      outbox = outboxes_.erase(outbox);
    } else {
      outbox = outbox->second.empty() ? outboxes_.erase(outbox) : std::next(outbox);
    }
  }
}

}  // namespace liminal::broker
