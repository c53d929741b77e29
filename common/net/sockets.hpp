// The two sockets of the system, the ROUTER of a broker and the DEALERs of a node, and their
// waiting.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/net/message_part.hpp"

namespace liminal::net {

/// The ZeroMQ context. Lifetime: declared before every socket; its destructor waits for them.
/// Thread-safety: sockets may be opened on any thread.
class NetContext {
 public:
  explicit NetContext(int io_threads = 1);
  ~NetContext();
  NetContext(const NetContext&) = delete;
  NetContext& operator=(const NetContext&) = delete;

 private:
  friend struct ContextAccess;
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Ends a wait() from another thread. Notifications before the wait are not lost, several are one.
/// Thread-safety: notify() from any thread, and from a signal handler.
class Waker {
 public:
  Waker();
  ~Waker();
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;

  void notify() noexcept;

 private:
  friend struct WakerAccess;
  int fd_;
};

struct SocketLimits {
  int queued_messages_max = 1000;  // per peer and direction; beyond it send() says kWouldBlock
  std::size_t part_bytes_max = 4 * 1024 * 1024;  // longer parts end their connection
  Duration handshake_max = std::chrono::seconds{2};
  Duration zmtp_heartbeat_interval = std::chrono::seconds{5};
  Duration zmtp_heartbeat_timeout = std::chrono::seconds{20};  // only reaps dead sockets
  Duration linger = Duration::zero();  // how long what was sent outlives a DealerSocket
  bool steady_retries = false;         // of a DealerSocket, as RouterSocket::retry_steadily()
};

/// The broker's door: a ROUTER on one or more endpoints, with its monitor. Endpoints are
/// tcp://HOST:PORT, with IPv6 addresses in brackets, or ipc://PATH.
///
/// Each connection has an id of ours, never used twice. closed() tells of each closing once, after
/// everything that the connection had delivered was received; while others send so much that this
/// cannot be known, when nothing of it was received for half a second to a second. What comes of it
/// later has another id.
///
/// Thread affinity: the thread that bound it, or that called adopt() since.
class RouterSocket {
 public:
  /// Errors: kAddressInUse, kUsage (not an endpoint), kTransport.
  [[nodiscard]] static Result<RouterSocket> bind(NetContext& context,
                                                 const std::vector<std::string>& endpoints,
                                                 SocketLimits limits);
  RouterSocket(RouterSocket&&) noexcept;
  RouterSocket& operator=(RouterSocket&&) noexcept;
  ~RouterSocket();

  void adopt() noexcept;

  /// With the ports that "tcp://127.0.0.1:*" became.
  [[nodiscard]] const std::vector<std::string>& endpoints() const;

  struct Incoming {
    ConnectionId connection;
    std::string peer;  // address of the peer, for logs
    Parts parts;       // 1 or 2; messages of more parts are dropped and counted
    /// It has closed, and this waited: nothing can be sent to it. Surely known of the first message
    /// of a connection, of others as of the latest wait() or first message.
    bool closed;
  };
  /// The next message, or nullopt if none waits (or many that are dropped). Messages of a peer that
  /// chose its own routing id are dropped. Errors: kTransport.
  [[nodiscard]] Result<std::optional<Incoming>> try_receive();

  /// Whether the latest try_receive() found that nothing waits. False where it gave nullopt because
  /// of many that it dropped.
  [[nodiscard]] bool is_dry() const;

  /// Connections that closed, and from which nothing more will come; each once. Call once in each
  /// turn, behind try_receive(), whether or not the socket ran dry.
  [[nodiscard]] std::vector<ConnectionId> closed();

  /// From now on read_out() tells, once, when what this connection had delivered until now was
  /// received, unless closed() tells of it before.
  void watch(ConnectionId connection);
  /// Call it as closed().
  [[nodiscard]] std::vector<ConnectionId> read_out();

  /// Queues the message or refuses it at once, whole. Errors: kWouldBlock (parts stay as they
  /// were), kPeerUnreachable, kTransport.
  [[nodiscard]] Result<void> send(ConnectionId connection, Parts& parts);

  /// How many bytes the peer's machine has taken since the connection began, the transport's own
  /// included; nullopt if it closed, is no TCP, or where the kernel does not tell.
  [[nodiscard]] std::optional<std::uint64_t> taken(ConnectionId connection) const;

  /// Ends the connection: both ends see it close, and what was queued toward it is dropped. It is
  /// told by closed() like any other.
  void cut(ConnectionId connection);

  /// For a connection whose messages are few and must come soon after a cut has healed: what is
  /// lost is sent again each 200 ms or so, seven times, where TCP by itself would double its wait
  /// each time. Its congestion control becomes the simplest one, which suits little traffic alone.
  /// Nothing changes where the connection is closed, no TCP, or of another kernel than Linux.
  void retry_steadily(ConnectionId connection);

  /// Returns when a message or a closing may wait, the waker was notified or `timeout` passed
  /// (rounded up to milliseconds; at most a second, so that ended pipes are reaped).
  void wait(Waker& waker, Duration timeout);

  /// Messages that were dropped here because they had more than two parts.
  [[nodiscard]] std::uint64_t oversized_messages() const;

 private:
  class Impl;
  explicit RouterSocket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// One connection of a node to its broker: a DEALER with ZMQ_IMMEDIATE, with its monitor. Never
/// reused: when it closed, its owner destroys it and opens another.
///
/// Thread affinity: as RouterSocket.
class DealerSocket {
 public:
  /// Begins to connect; libzmq keeps trying until it is destroyed. Errors: kUsage, kTransport.
  [[nodiscard]] static Result<DealerSocket> connect(NetContext& context,
                                                    const std::string& endpoint,
                                                    SocketLimits limits);
  DealerSocket(DealerSocket&&) noexcept;
  DealerSocket& operator=(DealerSocket&&) noexcept;
  ~DealerSocket();

  void adopt() noexcept;

  enum class Event : std::uint8_t {
    kConnected,        // the ZMTP handshake is done: sends go out
    kHandshakeFailed,  // something is there, but it does not speak ZMTP; libzmq tries again
    kClosed,           // was connected, is no more; what it had received was read before this
  };
  /// The next event, or nullopt. kClosed comes only after try_receive() said that none waits.
  [[nodiscard]] std::optional<Event> try_event();

  [[nodiscard]] Result<std::optional<Parts>> try_receive();

  /// Errors: kWouldBlock (also while not connected; parts stay as they were), kTransport.
  [[nodiscard]] Result<void> send(Parts& parts);

 private:
  friend void wait(const std::vector<DealerSocket*>& sockets, Waker& waker, Duration timeout);
  class Impl;
  explicit DealerSocket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// As RouterSocket::wait(), for several sockets of one thread, in the order in which they will be
/// read: one that had nothing says so at its first try_receive(), unless one behind it had news.
void wait(const std::vector<DealerSocket*>& sockets, Waker& waker, Duration timeout);

}  // namespace liminal::net
