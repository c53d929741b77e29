#include <array>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

#include "common/base/check.hpp"
#include "common/net/connection_table.hpp"
#include "common/net/sockets.hpp"
#include "common/net/thread_affinity.hpp"
#include "common/net/zmq_access.hpp"

namespace liminal::net {
namespace {

// A flood of refused messages must not keep the owner's turn from ending.
constexpr int kRefusedPerCallMax = 64;

// A closing is told at the second of these looks if messages of others keep us from knowing that
// its own are read. Long enough to read what an honest peer had under way; with a down-after of a
// second or two silence may be judged first.
constexpr std::chrono::milliseconds kOverdueLook{500};

// libzmq's own routing ids are a zero and four bytes. A peer may bring an id of its choice; then
// nobody knows whose mail it would get.
using RoutingId = std::array<char, 5>;

std::optional<RoutingNumber> generated_number(std::string_view routing_id) {
  if (routing_id.size() != RoutingId{}.size() || routing_id.front() != '\0') return std::nullopt;
  RoutingNumber number = 0;
  for (const char c : routing_id.substr(1)) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

RoutingId routing_id_of(RoutingNumber number) {
  return {'\0', static_cast<char>(number >> 24), static_cast<char>(number >> 16),
          static_cast<char>(number >> 8), static_cast<char>(number)};
}

tl::unexpected<Error> bind_failure(const std::string& endpoint) {
  const int error = errno;
  const std::string where = "cannot listen on '" + endpoint + "': ";
  switch (error) {
    case EADDRINUSE:
      return fail(Errc::kAddressInUse, where + "the address is in use");
    case EADDRNOTAVAIL:
    case ENODEV:
      return fail(Errc::kUsage, where +
                                    "HOST of tcp://HOST:PORT must be * or an address or interface "
                                    "of this machine");
    case EINVAL:
    case EPROTONOSUPPORT:
    case ENOCOMPATPROTO:
    case ENAMETOOLONG:
      return fail(Errc::kUsage, where + "write tcp://HOST:PORT, e.g. tcp://127.0.0.1:7411");
    default:
      return fail(Errc::kTransport, where + zmq_strerror(error));
  }
}

}  // namespace

class RouterSocket::Impl {
 public:
  Impl(Socket socket, Monitor monitor) : socket_(std::move(socket)), monitor_(std::move(monitor)) {}

  Result<void> bind(const std::string& endpoint) {
    if (!is_endpoint(endpoint, true)) {
      errno = EINVAL;
      return bind_failure(endpoint);
    }
    choose_ip_version(socket_, endpoint);
    if (zmq_bind(socket_.handle(), endpoint.c_str()) != 0) return bind_failure(endpoint);
    char bound[512];
    std::size_t size = sizeof bound;
    if (zmq_getsockopt(socket_.handle(), ZMQ_LAST_ENDPOINT, bound, &size) != 0) {
      return transport_failure("reading the endpoint of '" + endpoint + "'");
    }
    endpoints_.emplace_back(bound);
    return {};
  }

  Result<std::optional<Incoming>> try_receive() {
    affinity_.check();
    dry_ = false;
    for (int refused = 0; refused < kRefusedPerCallMax;) {
      auto received = receive(socket_, true);
      if (!received) return tl::unexpected(received.error());
      if (!received->has_value()) {
        connections_.ran_dry();
        if (!monitor_.is_worth_a_look() || !drain_monitor()) {
          dry_ = true;
          return std::nullopt;
        }
        continue;  // a closing: what came before it may have come since
      }
      RawMessage& message = **received;
      if (message.oversized) ++oversized_messages_;
      const auto routing = generated_number(message.routing_id.view());
      if (message.oversized || !routing) {
        ++refused;
        continue;
      }
      // Of a message's parts only the last surely carries what libzmq knows of the connection.
      zmq_msg_t* last = PartAccess::of(message.parts.back());
      const char* peer = zmq_msg_gets(last, "Peer-Address");
      const ConnectionId connection = connection_of(*routing, zmq_msg_get(last, ZMQ_SRCFD));
      const bool is_closed = connections_.read(connection);
      return Incoming{connection, peer != nullptr ? peer : "unknown", std::move(message.parts),
                      is_closed};
    }
    return std::nullopt;
  }

  std::vector<ConnectionId> closed() {
    affinity_.check();
    if (connections_.is_counting()) {
      connections_.tell_quiet();
      const auto now = std::chrono::steady_clock::now();
      if (now >= next_overdue_look_) {
        connections_.tell_overdue();
        next_overdue_look_ = now + kOverdueLook;
      }
    }
    return connections_.take_closed();
  }

  void watch(ConnectionId connection) {
    affinity_.check();
    connections_.watch(connection);
  }
  std::vector<ConnectionId> read_out() { return connections_.take_read_out(); }

  bool is_dry() const { return dry_; }

  Result<void> send(ConnectionId connection, Parts& parts) {
    affinity_.check();
    check(!parts.empty() && parts.size() <= kPartsMax, "a message has one or two parts");
    const auto routing = connections_.routing(connection);
    if (!routing) return fail(Errc::kPeerUnreachable, "the connection is closed");
    const RoutingId routing_id = routing_id_of(*routing);
    socket_.touched();

    // The routing id decides: once libzmq took it, it takes the parts, or drops all of them with
    // the connection.
    while (zmq_send(socket_.handle(), routing_id.data(), routing_id.size(),
                    ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return fail(Errc::kWouldBlock, "the queue toward the peer is full");
      if (errno != EHOSTUNREACH) return transport_failure("sending");
      connections_.unreachable(connection);
      return fail(Errc::kPeerUnreachable, "the connection is closed");
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const int more = i + 1 < parts.size() ? ZMQ_SNDMORE : 0;
      while (zmq_msg_send(PartAccess::of(parts[i]), socket_.handle(), ZMQ_DONTWAIT | more) < 0) {
        if (errno != EINTR) return transport_failure("sending a part");
      }
    }
    return {};
  }

  void retry_steadily(ConnectionId connection) {
    affinity_.check();
    if (const int fd = connections_.descriptor(connection); fd >= 0) net::retry_steadily(fd);
  }

  std::optional<std::uint64_t> taken(ConnectionId connection) const {
    const int fd = connections_.descriptor(connection);
    return fd < 0 ? std::nullopt : net::bytes_taken(fd);
  }

  void cut(ConnectionId connection) {
    affinity_.check();
    drain_monitor();  // the descriptor may have become another connection's
    if (const int fd = connections_.descriptor(connection); fd >= 0) net::cut(fd);
  }

  void wait(Waker& waker, Duration timeout) {
    affinity_.check();
    if (monitor_.is_worth_a_look()) drain_monitor();
    const bool pending = connections_.has_unread_closings() || connections_.has_closed();
    poll({&socket_, &monitor_.events()}, waker, pending ? 0 : to_poll_ms(timeout, kWaitMax));
  }

  void adopt() noexcept { affinity_.adopt(); }
  const std::vector<std::string>& endpoints() const { return endpoints_; }
  std::uint64_t oversized_messages() const { return oversized_messages_; }

 private:
  ConnectionId connection_of(RoutingNumber routing, int fd) {
    if (const auto known = connections_.find(routing)) return *known;
    drain_monitor();  // its descriptor may have had another connection
    return connections_.add(routing, fd);
  }

  // Whether there was a closing that is not told yet.
  bool drain_monitor() {
    while (const auto event = monitor_.next()) {
      if (event->what == ZMQ_EVENT_ACCEPTED) connections_.accepted(event->value);
      if (event->what == ZMQ_EVENT_DISCONNECTED) connections_.disconnected(event->value);
    }
    return connections_.has_unread_closings();
  }

  Socket socket_;
  Monitor monitor_;  // after the socket: it ends first
  ConnectionTable connections_;
  std::vector<std::string> endpoints_;
  std::uint64_t oversized_messages_ = 0;
  bool dry_ = false;
  std::chrono::steady_clock::time_point next_overdue_look_{};
  ThreadAffinity affinity_;
};

Result<RouterSocket> RouterSocket::bind(NetContext& context,
                                        const std::vector<std::string>& endpoints,
                                        SocketLimits limits) {
  auto socket = Socket::open(context, ZMQ_ROUTER);
  if (!socket) return tl::unexpected(socket.error());
  apply(*socket, limits);
  socket->set(ZMQ_ROUTER_MANDATORY, 1);  // else it drops in silence what it cannot route or queue
  socket->set(ZMQ_ROUTER_HANDOVER, 0);
  socket->set(ZMQ_BACKLOG, 1024);
  auto monitor = Monitor::start(context, *socket, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED);
  if (!monitor) return tl::unexpected(monitor.error());

  auto impl = std::make_unique<Impl>(std::move(*socket), std::move(*monitor));
  for (const std::string& endpoint : endpoints) {
    if (auto bound = impl->bind(endpoint); !bound) return tl::unexpected(bound.error());
  }
  return RouterSocket{std::move(impl)};
}

RouterSocket::RouterSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RouterSocket::RouterSocket(RouterSocket&&) noexcept = default;
RouterSocket& RouterSocket::operator=(RouterSocket&&) noexcept = default;
RouterSocket::~RouterSocket() = default;

void RouterSocket::adopt() noexcept { impl_->adopt(); }
const std::vector<std::string>& RouterSocket::endpoints() const { return impl_->endpoints(); }
Result<std::optional<RouterSocket::Incoming>> RouterSocket::try_receive() {
  return impl_->try_receive();
}
bool RouterSocket::is_dry() const { return impl_->is_dry(); }
std::vector<ConnectionId> RouterSocket::closed() { return impl_->closed(); }
void RouterSocket::watch(ConnectionId connection) { impl_->watch(connection); }
std::vector<ConnectionId> RouterSocket::read_out() { return impl_->read_out(); }
Result<void> RouterSocket::send(ConnectionId connection, Parts& parts) {
  return impl_->send(connection, parts);
}
std::optional<std::uint64_t> RouterSocket::taken(ConnectionId connection) const {
  return impl_->taken(connection);
}
void RouterSocket::cut(ConnectionId connection) { impl_->cut(connection); }
void RouterSocket::retry_steadily(ConnectionId connection) { impl_->retry_steadily(connection); }
void RouterSocket::wait(Waker& waker, Duration timeout) { impl_->wait(waker, timeout); }
std::uint64_t RouterSocket::oversized_messages() const { return impl_->oversized_messages(); }

}  // namespace liminal::net
