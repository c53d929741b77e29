// The sources of this folder only: libzmq's types behind the public classes, and owners for them.
#pragma once

#include <zmq.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/result.hpp"
#include "common/net/message_part.hpp"
#include "common/net/sockets.hpp"

namespace liminal::net {

struct PartAccess {
  static zmq_msg_t* of(MessagePart& part) noexcept {
    static_assert(sizeof(part.storage_) == sizeof(zmq_msg_t));
    static_assert(alignof(MessagePart) >= alignof(zmq_msg_t));
    return reinterpret_cast<zmq_msg_t*>(part.storage_);
  }
};

class NetContext::Impl {
 public:
  explicit Impl(int io_threads);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  [[nodiscard]] void* handle() const noexcept { return context_; }
  /// An inproc endpoint that no other socket of this context has.
  [[nodiscard]] std::string fresh_endpoint();

 private:
  void* context_;
  std::atomic<std::uint64_t> endpoints_ = 0;  // sockets may be opened on any thread
};

struct ContextAccess {
  static NetContext::Impl& of(NetContext& context) noexcept { return *context.impl_; }
};

struct WakerAccess {
  static int fd(const Waker& waker) noexcept { return waker.fd_; }
  /// Makes the notifications so far one that was seen.
  static void clear(const Waker& waker) noexcept;
};

/// A libzmq socket: move-only, closed with the linger that it has then.
///
/// libzmq's descriptor says only that there is news for the socket, once, and any call may take the
/// news in. It is to be relied on only while the last call found nothing to receive; so every call
/// is told to `touched()` or `found_nothing()`. What is gained: while nothing comes, nobody asks
/// libzmq, and each question would be two system calls.
class Socket {
 public:
  /// Errors: kTransport (no file descriptors are left).
  [[nodiscard]] static Result<Socket> open(NetContext& context, int type);
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();

  [[nodiscard]] void* handle() const noexcept { return handle_; }
  /// REQUIRES: libzmq knows the option and takes the value.
  void set(int option, int value);
  void set(int option, std::int64_t value);
  void set(int option, const std::string& value);

  /// libzmq was called: what its descriptor said is no longer known.
  void touched() noexcept { empty_ = false; }
  /// A receive found nothing: whatever comes from now on shows on the descriptor.
  void found_nothing() noexcept { empty_ = true; }
  /// Whether nothing came since found_nothing(), as far as poll() saw.
  [[nodiscard]] bool is_empty() const noexcept { return empty_; }

  // --- for poll() ---

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  /// Whether a message waits, or an end of its pipes. Asks libzmq unless it is known to be empty.
  [[nodiscard]] bool has_input();
  /// What poll() saw: news for this socket, and none for it nor for those behind it in its list.
  void polled(bool news, bool quiet) noexcept;
  /// Whether the latest poll() was quiet, for the first receive behind it, which need not try then.
  /// Where a socket behind has news it does try: what came through both is read in the order of
  /// the list.
  [[nodiscard]] bool take_quiet() noexcept { return std::exchange(quiet_, false); }

 private:
  explicit Socket(void* handle);

  void* handle_;
  int descriptor_ = -1;
  bool empty_ = false;
  bool quiet_ = false;
};

struct MonitorEvent {
  std::uint16_t what;  // ZMQ_EVENT_...
  std::int32_t value;  // the fd, for those events that have one
};

/// What happens to the connections of a socket, in order.
///
/// Its queue has no bound: libzmq's I/O thread would wait at one, and with it the traffic of every
/// connection. It is read in each turn, and each event costs somebody a TCP connection.
///
/// Lifetime: begins before the watched socket binds or connects, ends before it is closed.
class Monitor {
 public:
  /// Errors: kTransport.
  [[nodiscard]] static Result<Monitor> start(NetContext& context, const Socket& watched,
                                             int events);
  Monitor(Monitor&& other) noexcept = default;
  Monitor& operator=(Monitor&& other) noexcept = default;
  ~Monitor();

  [[nodiscard]] std::optional<MonitorEvent> next();
  /// False if next() surely has nothing that matters yet: it was empty less than kLookAgain ago,
  /// and poll() saw no news since.
  [[nodiscard]] bool is_worth_a_look() const;
  [[nodiscard]] Socket& events() noexcept { return events_; }

  /// libzmq connects again no sooner than kReconnectIntervalMin after it told of a closing; so what
  /// is sent or received within this time of an empty look belongs to the same connection.
  static constexpr Duration kReconnectIntervalMin = std::chrono::milliseconds{50};
  static constexpr Duration kLookAgain = kReconnectIntervalMin / 2;

 private:
  Monitor(void* watched, Socket events) : watched_(watched), events_(std::move(events)) {}

  void* watched_;
  Socket events_;
  std::chrono::steady_clock::time_point empty_at_{};
};

/// Messages of more parts are read to their end and their parts dropped.
inline constexpr std::size_t kPartsMax = 2;

struct RawMessage {
  MessagePart routing_id;  // ROUTER only
  Parts parts;
  bool oversized = false;
};

/// The next whole message, with its first `kPartsMax` parts; nullopt if none waits.
[[nodiscard]] Result<std::optional<RawMessage>> receive(Socket& socket, bool has_routing_id);

/// The options that both kinds of socket have in common.
void apply(Socket& socket, const SocketLimits& limits);

/// Whether `endpoint` is tcp://HOST:PORT or ipc://PATH, as far as libzmq does not say: it takes any
/// number for a port and wraps it around. Ports * and 0 are for listening only.
[[nodiscard]] bool is_endpoint(const std::string& endpoint, bool listening);
/// See RouterSocket::retry_steadily(). `fd` may have closed, or be another connection's by now:
/// it is libzmq's, and its I/O thread does not wait for us.
void retry_steadily(int fd) noexcept;
/// Makes libzmq see the connection end. Of `fd` holds the same: rarely it cuts a connection that is
/// younger than the latest event, which then is opened again.
void cut(int fd) noexcept;
/// See RouterSocket::taken().
[[nodiscard]] std::optional<std::uint64_t> bytes_taken(int fd) noexcept;

/// Allows IPv6 for this endpoint if it is one: elsewhere 127.0.0.1 would become ::ffff:127.0.0.1,
/// and "localhost" the ::1 where no broker listens.
void choose_ip_version(Socket& socket, const std::string& endpoint);

[[nodiscard]] tl::unexpected<Error> transport_failure(const std::string& doing);

/// No wait is longer, so that libzmq gets to reap ended pipes.
inline constexpr Duration kWaitMax = std::chrono::seconds{1};

/// Milliseconds, rounded up, within [0, max].
[[nodiscard]] int to_poll_ms(Duration duration, Duration max);

/// Waits for input on the sockets, listed in the order in which they will be read, or for the
/// waker, and clears the waker.
void poll(const std::vector<Socket*>& sockets, const Waker& waker, int timeout_ms);

}  // namespace liminal::net
