// Drives BrokerCore with a ROUTER socket: waits, reads, decides, sends.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "broker/broker_core.hpp"
#include "broker/broker_log.hpp"
#include "broker/outbox.hpp"
#include "broker/own_lag.hpp"
#include "broker/unread.hpp"
#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/net/sockets.hpp"

namespace liminal::broker {

/// The broker's one loop.
///
/// A frame between nodes is moved from connection to connection, never copied. What a peer does not
/// take waits in an outbox of its own; at its bound data is dropped and counted (the sessions send
/// it again), while a control frame, which no node may miss, makes us cut the connection: the node
/// sees it, resumes on another one and is told everything anew. It may only have been slow, so it
/// has down_after to come back.
///
/// What a control connection has not taken counts against that bound wherever it waits. Answers to
/// what anybody may ask are held to a far smaller one: who does not read them gets none. What all
/// askers together leave unread has a bound as well, and who reads least is cut at it.
///
/// A loop that was late itself reads what waits before it judges anybody. Its own beats go out
/// meanwhile, and however often it is late, it judges within little more than a second.
///
/// Thread affinity: run() may be called on another thread than the constructor; it adopts the
/// socket. stop() from any thread, and from a signal handler.
class BrokerLoop {
 public:
  struct Settings {
    Duration beat_interval;  // being later than this is being late
    std::size_t outbox_bytes_max = std::size_t{64} * 1024 * 1024;       // of each connection
    std::size_t strangers_outbox_bytes_max = std::size_t{1024} * 1024;  // where it is no node's
    int messages_per_turn_max = 256;  // and a quarter of a beat at most: then beats get their turn
    /// Of answers that a connection has not taken: beyond it, it gets none. And of all of them.
    std::size_t answers_bytes_max = std::size_t{1024} * 1024;
    std::size_t all_answers_bytes_max = std::size_t{64} * 1024 * 1024;
  };
  struct Counters {
    std::uint64_t dropped_at_outbox = 0;    // frames between nodes
    std::uint64_t dropped_unreachable = 0;  // messages to connections that were gone
    std::uint64_t dropped_malformed = 0;    // messages of neither one nor two parts
    std::uint64_t answered_bytes = 0;       // of what anybody may ask
    std::uint64_t answers_withheld = 0;     // from who does not read them
    std::uint64_t given_up = 0;             // connections that did not take what was sent
    std::uint64_t late = 0;                 // times that the loop was late
  };

  BrokerLoop(net::RouterSocket door, BrokerCore core, const Clock& clock, net::Waker& waker,
             Settings settings);

  /// Serves until stop().
  void run();

  void stop() noexcept;

  /// REQUIRES: run() is not running.
  [[nodiscard]] const BrokerCore& core() const { return core_; }
  [[nodiscard]] const Counters& counters() const { return counters_; }
  /// Messages that were dropped because they had more than two parts.
  [[nodiscard]] std::uint64_t oversized_messages() const { return door_.oversized_messages(); }

 private:
  void turn();
  void wait();
  /// Whether nothing waits any more.
  [[nodiscard]] bool read_some(TimePoint now);
  void take(net::RouterSocket::Incoming message, TimePoint now);
  void judge_closings(TimePoint now);
  void carry_out(Effects effects, TimePoint now, std::string_view peer = {},
                 net::MessagePart* held = nullptr);
  /// What its peer has taken, for Unread.
  [[nodiscard]] std::optional<std::uint64_t> taken(ConnectionId connection) const;
  [[nodiscard]] bool may_answer(ConnectionId connection, TimePoint now);
  void send_control(const effect::Send& send, TimePoint now);
  void forward(const effect::Forward& forward, net::MessagePart frame);
  /// Sends or queues; returns false if neither, because the outbox is full.
  [[nodiscard]] bool send_or_queue(ConnectionId connection, net::Parts& message);
  void give_up(ConnectionId connection, TimePoint now);
  void flush_outboxes();

  net::RouterSocket door_;
  BrokerCore core_;
  const Clock& clock_;
  net::Waker& waker_;
  Settings settings_;
  OwnLag own_lag_;
  BrokerLog log_;
  std::map<ConnectionId, Outbox> outboxes_;  // none is empty
  Unread unread_;                            // of control frames
  std::set<ConnectionId> given_up_;          // not yet told as closed
  bool all_read_ = true;
  TimePoint now_;  // of this turn
  Counters counters_;
  std::atomic<bool> stop_{false};
  static_assert(std::atomic<bool>::is_always_lock_free);  // for signal handlers
};

}  // namespace liminal::broker
