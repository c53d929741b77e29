#include <algorithm>
#include <deque>
#include <utility>

#include "common/base/check.hpp"
#include "common/net/sockets.hpp"
#include "common/net/thread_affinity.hpp"
#include "common/net/zmq_access.hpp"

namespace liminal::net {
namespace {

constexpr int kReconnectIntervalMaxMs = 500;
constexpr int kRefusedPerCallMax = 64;
// More can only come of a peer that fails at each attempt: what it failed at last says as much.
constexpr std::size_t kEventsMax = 16;

constexpr int kWatched =
    ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
    ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_DISCONNECTED;

}  // namespace

class DealerSocket::Impl {
 public:
  Impl(Socket socket, Monitor monitor, bool steady_retries)
      : socket_(std::move(socket)), monitor_(std::move(monitor)), steady_retries_(steady_retries) {}

  Result<void> connect(const std::string& endpoint) {
    if (is_endpoint(endpoint, false)) {
      choose_ip_version(socket_, endpoint);
      if (zmq_connect(socket_.handle(), endpoint.c_str()) == 0) return {};
      if (errno != EINVAL && errno != ENAMETOOLONG) {
        return transport_failure("connecting to '" + endpoint + "'");
      }
    }
    return fail(Errc::kUsage, "cannot connect to '" + endpoint +
                                  "': write tcp://HOST:PORT, e.g. tcp://127.0.0.1:7411");
  }

  std::optional<Event> try_event() {
    affinity_.check();
    drain_monitor();
    if (!events_.empty()) {
      const Event event = events_.front();
      events_.pop_front();
      return event;
    }
    if (phase_ != Phase::kReadToItsEnd) return std::nullopt;
    phase_ = Phase::kTold;
    return Event::kClosed;
  }

  Result<std::optional<Parts>> try_receive() {
    affinity_.check();
    for (int refused = 0; refused < kRefusedPerCallMax;) {
      auto received = receive(socket_, false);
      if (!received) return tl::unexpected(received.error());
      if (received->has_value()) {
        const bool of_next_connection = phase_ == Phase::kReadToItsEnd || phase_ == Phase::kTold;
        if (!(*received)->oversized && !of_next_connection) return std::move((*received)->parts);
        ++refused;  // no broker sends such messages; if one did, the session notices the gap
        continue;
      }
      if (phase_ == Phase::kClosed) phase_ = Phase::kReadToItsEnd;
      drain_monitor();
      if (phase_ != Phase::kClosed) return std::nullopt;
    }
    return std::nullopt;
  }

  Result<void> send(Parts& parts) {
    affinity_.check();
    check(!parts.empty() && parts.size() <= kPartsMax, "a message has one or two parts");
    // libzmq connects again by itself: nothing of this connection may reach the next.
    drain_monitor();
    if (phase_ != Phase::kConnected) return fail(Errc::kWouldBlock, "not connected");

    socket_.touched();
    // A connection that ends between two parts takes back the first: it is kept until then.
    MessagePart first;
    if (parts.size() > 1) zmq_msg_copy(PartAccess::of(first), PartAccess::of(parts.front()));
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const int more = i + 1 < parts.size() ? ZMQ_SNDMORE : 0;
      while (zmq_msg_send(PartAccess::of(parts[i]), socket_.handle(), ZMQ_DONTWAIT | more) < 0) {
        if (errno == EINTR) continue;
        const int error = errno;
        if (i > 0) parts.front() = std::move(first);
        if (error == EAGAIN) return fail(Errc::kWouldBlock, "the queue toward the broker is full");
        return fail(Errc::kTransport, std::string{"sending: "} + zmq_strerror(error));
      }
    }
    return {};
  }

  // Whether try_event() or try_receive() have something to do, whatever the sockets say.
  bool pending() {
    affinity_.check();
    drain_monitor();
    return !events_.empty() || phase_ == Phase::kClosed || phase_ == Phase::kReadToItsEnd;
  }

  void append_to(std::vector<Socket*>& sockets) {
    sockets.push_back(&socket_);
    sockets.push_back(&monitor_.events());
  }

  void adopt() noexcept { affinity_.adopt(); }

 private:
  enum class Phase : std::uint8_t {
    kConnecting,
    kConnected,
    kClosed,        // libzmq said so; messages may wait
    kReadToItsEnd,  // none waits
    kTold,
  };

  void drain_monitor() {
    if (!monitor_.is_worth_a_look()) return;
    while (const auto event = monitor_.next()) {
      if (event->what == ZMQ_EVENT_CONNECTED && steady_retries_) retry_steadily(event->value);
      if (phase_ == Phase::kConnecting) on_event_while_connecting(event->what);
      if (phase_ == Phase::kConnected && event->what == ZMQ_EVENT_DISCONNECTED) {
        phase_ = Phase::kClosed;
      }
      // What comes after the closing is about the connection that libzmq opened instead.
    }
  }

  void on_event_while_connecting(std::uint16_t what) {
    switch (what) {
      case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        phase_ = Phase::kConnected;
        events_.push_back(Event::kConnected);
        return;
      case ZMQ_EVENT_DISCONNECTED:
        // Refused for its version, for one, a peer shows by this event alone.
        if (!std::exchange(failure_told_, false)) push_failure();
        return;
      case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
      case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
      case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        if (!std::exchange(failure_told_, true)) push_failure();
        return;
      default:
        return;
    }
  }

  void push_failure() {
    if (events_.size() < kEventsMax) events_.push_back(Event::kHandshakeFailed);
  }

  Socket socket_;
  Monitor monitor_;  // after the socket: it ends first
  bool steady_retries_;
  Phase phase_ = Phase::kConnecting;
  bool failure_told_ = false;  // of the connection that is shaking hands
  std::deque<Event> events_;
  ThreadAffinity affinity_;
};

Result<DealerSocket> DealerSocket::connect(NetContext& context, const std::string& endpoint,
                                           SocketLimits limits) {
  auto socket = Socket::open(context, ZMQ_DEALER);
  if (!socket) return tl::unexpected(socket.error());
  apply(*socket, limits);
  socket->set(ZMQ_IMMEDIATE, 1);  // nothing is queued for a broker that is not there
  socket->set(ZMQ_RECONNECT_IVL,
              to_poll_ms(Monitor::kReconnectIntervalMin, Monitor::kReconnectIntervalMin));
  socket->set(ZMQ_RECONNECT_IVL_MAX, kReconnectIntervalMaxMs);
  socket->set(ZMQ_CONNECT_TIMEOUT, to_poll_ms(limits.handshake_max, std::chrono::hours{1}));
  socket->set(ZMQ_LINGER, to_poll_ms(limits.linger, std::chrono::minutes{1}));
  auto monitor = Monitor::start(context, *socket, kWatched);
  if (!monitor) return tl::unexpected(monitor.error());

  auto impl =
      std::make_unique<Impl>(std::move(*socket), std::move(*monitor), limits.steady_retries);
  if (auto connected = impl->connect(endpoint); !connected) {
    return tl::unexpected(connected.error());
  }
  return DealerSocket{std::move(impl)};
}

DealerSocket::DealerSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DealerSocket::DealerSocket(DealerSocket&&) noexcept = default;
DealerSocket& DealerSocket::operator=(DealerSocket&&) noexcept = default;
DealerSocket::~DealerSocket() = default;

void DealerSocket::adopt() noexcept { impl_->adopt(); }
std::optional<DealerSocket::Event> DealerSocket::try_event() { return impl_->try_event(); }
Result<std::optional<Parts>> DealerSocket::try_receive() { return impl_->try_receive(); }
Result<void> DealerSocket::send(Parts& parts) { return impl_->send(parts); }

void wait(const std::vector<DealerSocket*>& sockets, Waker& waker, Duration timeout) {
  std::vector<Socket*> all;
  all.reserve(2 * sockets.size());
  bool pending = false;
  for (DealerSocket* socket : sockets) {
    pending = socket->impl_->pending() || pending;
    socket->impl_->append_to(all);
  }
  poll(all, waker, pending ? 0 : to_poll_ms(timeout, kWaitMax));
}

}  // namespace liminal::net
