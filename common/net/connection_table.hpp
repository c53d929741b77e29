// Which connection of a ROUTER is which: routing ids, file descriptors and ids of ours.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/base/ids.hpp"

namespace liminal::net {

/// Of the routing id that libzmq generated: grows by one with each connection that shakes hands,
/// and wraps around.
using RoutingNumber = std::uint32_t;

/// Matches messages, which carry a routing id and a file descriptor, with the monitor's events,
/// which carry the descriptor alone, although descriptors are reused.
///
/// A connection exists from its first message on. Its closing is told once, when everything that
/// was queued before the event has been read; the owner says so by calling ran_dry(). Where the
/// socket never runs dry because of others, it is told when messages of theirs have been read for
/// so long that one of its own would have been among them (tell_quiet()), and after a bounded time
/// in any case (tell_overdue()): what others send must neither keep the dead alive nor let this
/// table grow.
///
/// Where the events leave open whether a descriptor's former or present connection speaks, it
/// counts as the present one: its closing then shows when another connection speaks with that
/// descriptor, when the descriptor closes, or when a send fails, whichever comes first. They leave
/// nothing open where the descriptor was opened after a later connection had spoken.
///
/// Thread-safety: none.
class ConnectionTable {
 public:
  void accepted(int fd);
  void disconnected(int fd);

  /// The connection with this routing id, if it is known.
  [[nodiscard]] std::optional<ConnectionId> find(RoutingNumber routing) const;
  /// A new connection. REQUIRES: find(routing) is nullopt, and every event that was there when its
  /// message came has been told to accepted() or disconnected(). `fd` is -1 if unknown.
  ConnectionId add(RoutingNumber routing, int fd);
  /// A message of this connection was read. Returns whether it is known to have closed.
  /// REQUIRES: find() or add() gave it since the latest closing was told.
  [[nodiscard]] bool read(ConnectionId connection);

  /// nullopt if the connection closed or never was.
  [[nodiscard]] std::optional<RoutingNumber> routing(ConnectionId connection) const;

  /// -1 if the connection closed or never was, or if it is not known.
  [[nodiscard]] int descriptor(ConnectionId connection) const;

  /// libzmq no longer knows its routing id, whatever the events say.
  void unreachable(ConnectionId connection);

  /// Everything that arrived before the latest event has been read.
  void ran_dry();

  /// Tells those, closing or watched, of which no message came among the last 2 * connections +
  /// kQuietMin that were read: libzmq reads from all that have something in turn, one message of
  /// each. Cost: O(unread closings * log(connections)).
  void tell_quiet();
  /// Tells those that were closing at the call before already, and of which nothing was read since.
  /// The owner calls it at intervals. What a closed connection left to be read is bounded, so
  /// nobody puts off being told for ever.
  void tell_overdue();

  /// From now on take_read_out() tells of this one when everything that was queued at this call has
  /// been read, as far as ran_dry() and tell_quiet() can know. Whoever is told as closed before is
  /// not told here. Nothing happens if it never was, or is told already.
  void watch(ConnectionId connection);
  [[nodiscard]] std::vector<ConnectionId> take_read_out();

  /// libzmq looks for news of its I/O threads each hundred messages, at most once a millisecond.
  static constexpr std::uint64_t kQuietMin = 512;

  /// Whether one is closing and not told yet.
  [[nodiscard]] bool has_unread_closings() const { return !closing_.empty(); }
  /// Whether tell_quiet() has something to do.
  [[nodiscard]] bool is_counting() const { return !closing_.empty() || !watched_.empty(); }
  /// Whether take_closed() has something to give.
  [[nodiscard]] bool has_closed() const { return !closed_.empty(); }
  /// Those that closed and were read to their end; each once, in order.
  [[nodiscard]] std::vector<ConnectionId> take_closed();

 private:
  struct Connection {
    RoutingNumber routing;
    int fd;
    bool closing = false;
    /// Of reads_ at the latest tell_overdue(), if it was closing then.
    std::optional<std::uint64_t> looked_at = {};
    std::uint64_t last_read = 0;  // while closing or watched: of reads_
    bool watched = false;
  };
  struct Descriptor {
    bool open = false;
    std::optional<ConnectionId> connection = {};  // the latest that spoke with it
    /// The newest of all connections when it was opened: whose number is not higher spoke with it
    /// before.
    std::optional<RoutingNumber> others = {};
  };

  void close(ConnectionId connection);
  /// Tells the closing ones for which `is_read_out`, a callable as bool(Connection&), holds.
  template <class IsReadOut>
  void tell_if(IsReadOut&& is_read_out);
  /// Likewise the watched ones that do not close.
  template <class IsReadOut>
  void tell_watched_if(IsReadOut&& is_read_out);

  std::map<ConnectionId, Connection> connections_;
  std::map<RoutingNumber, ConnectionId> by_routing_;
  std::map<int, Descriptor> descriptors_;  // at most as many as a process may have
  std::vector<ConnectionId> closing_;      // may still have messages queued
  std::vector<ConnectionId> closed_;
  std::vector<ConnectionId> watched_;
  std::vector<ConnectionId> read_out_;
  std::optional<RoutingNumber> newest_;  // of those that ever spoke
  std::uint64_t next_ = 1;
  std::uint64_t reads_ = 0;
};

}  // namespace liminal::net
