#include "common/net/zmq_access.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "common/base/check.hpp"
#include "common/base/random.hpp"

namespace liminal::net {

NetContext::Impl::Impl(int io_threads) : context_(nullptr) {
  // A ROUTER numbers its peers from rand(), which libzmq does not seed: unseeded, the ids of one
  // broker return in the next, and can be guessed.
  std::srand(static_cast<unsigned>(random_seed()));
  context_ = zmq_ctx_new();
  check(context_ != nullptr, "there is memory for a context");
  check(zmq_ctx_set(context_, ZMQ_IO_THREADS, io_threads) == 0, "io_threads is not negative");
}

NetContext::Impl::~Impl() {
  while (zmq_ctx_term(context_) != 0 && errno == EINTR) {
  }
}

std::string NetContext::Impl::fresh_endpoint() {
  return "inproc://monitor-" + std::to_string(endpoints_.fetch_add(1));
}

NetContext::NetContext(int io_threads) : impl_(std::make_unique<Impl>(io_threads)) {}
NetContext::~NetContext() = default;

Waker::Waker() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  check(fd_ >= 0, "there is a file descriptor for a waker");
}

Waker::~Waker() { ::close(fd_); }

void Waker::notify() noexcept {
  const int saved = errno;  // may be called from a signal handler
  const std::uint64_t one = 1;
  // Can fail only where the counter is full, and then the wait ends anyway.
  [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
  errno = saved;
}

void WakerAccess::clear(const Waker& waker) noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(waker.fd_, &count, sizeof count);
}

Result<Socket> Socket::open(NetContext& context, int type) {
  void* handle = zmq_socket(ContextAccess::of(context).handle(), type);
  if (handle == nullptr) return transport_failure("opening a socket");
  Socket socket{handle};
  socket.set(ZMQ_LINGER, 0);  // a dead peer must not hold up the end of the context
  return socket;
}

Socket::Socket(void* handle) : handle_(handle) {
  std::size_t size = sizeof descriptor_;
  check(zmq_getsockopt(handle_, ZMQ_FD, &descriptor_, &size) == 0, "a socket has a descriptor");
}

Socket::Socket(Socket&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)),
      descriptor_(other.descriptor_),
      empty_(other.empty_),
      quiet_(other.quiet_) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(empty_, other.empty_);
  std::swap(quiet_, other.quiet_);
  return *this;
}

Socket::~Socket() {
  if (handle_ != nullptr) zmq_close(handle_);
}

void Socket::set(int option, int value) {
  check(zmq_setsockopt(handle_, option, &value, sizeof value) == 0, "libzmq takes the option");
}

void Socket::set(int option, std::int64_t value) {
  check(zmq_setsockopt(handle_, option, &value, sizeof value) == 0, "libzmq takes the option");
}

void Socket::set(int option, const std::string& value) {
  check(zmq_setsockopt(handle_, option, value.data(), value.size()) == 0,
        "libzmq takes the option");
}

bool Socket::has_input() {
  if (empty_) return false;
  int events = 0;
  std::size_t size = sizeof events;
  if (zmq_getsockopt(handle_, ZMQ_EVENTS, &events, &size) != 0) return true;  // a receive says why
  if ((events & ZMQ_POLLIN) != 0) return true;
  found_nothing();
  return false;
}

void Socket::polled(bool news, bool quiet) noexcept {
  quiet_ = empty_ && quiet;
  if (news) empty_ = false;
}

Result<Monitor> Monitor::start(NetContext& context, const Socket& watched, int events) {
  const std::string endpoint = ContextAccess::of(context).fresh_endpoint();
  auto reader = Socket::open(context, ZMQ_PAIR);
  if (!reader) return tl::unexpected(reader.error());
  reader->set(ZMQ_RCVHWM, 0);
  if (zmq_socket_monitor(watched.handle(), endpoint.c_str(), events) != 0 ||
      zmq_connect(reader->handle(), endpoint.c_str()) != 0) {
    return transport_failure("monitoring a socket");
  }
  return Monitor{watched.handle(), std::move(*reader)};
}

Monitor::~Monitor() {
  // Moved from, it has nothing to end.
  if (events_.handle() != nullptr) zmq_socket_monitor(watched_, nullptr, 0);
}

std::optional<MonitorEvent> Monitor::next() {
  MessagePart event;
  zmq_msg_t* message = PartAccess::of(event);
  if (zmq_msg_recv(message, events_.handle(), ZMQ_DONTWAIT) < 0) {
    events_.found_nothing();
    empty_at_ = std::chrono::steady_clock::now();
    return std::nullopt;
  }
  events_.touched();
  const std::string_view bytes = event.view();
  MonitorEvent out{};
  check(bytes.size() == sizeof out.what + sizeof out.value, "a monitor's event is 6 bytes");
  std::memcpy(&out.what, bytes.data(), sizeof out.what);
  std::memcpy(&out.value, bytes.data() + sizeof out.what, sizeof out.value);
  MessagePart endpoint;
  if (zmq_msg_more(message) != 0) {
    zmq_msg_recv(PartAccess::of(endpoint), events_.handle(), ZMQ_DONTWAIT);
  }
  return out;
}

bool Monitor::is_worth_a_look() const {
  return !events_.is_empty() || std::chrono::steady_clock::now() - empty_at_ >= kLookAgain;
}

Result<std::optional<RawMessage>> receive(Socket& socket, bool has_routing_id) {
  if (socket.take_quiet()) return std::nullopt;
  RawMessage out;
  MessagePart first;
  while (zmq_msg_recv(PartAccess::of(first), socket.handle(), ZMQ_DONTWAIT) < 0) {
    if (errno == EAGAIN) {
      socket.found_nothing();
      return std::nullopt;
    }
    if (errno != EINTR) return transport_failure("receiving");
  }
  socket.touched();
  bool more = zmq_msg_more(PartAccess::of(first)) != 0;
  out.parts.reserve(kPartsMax);
  if (has_routing_id) {
    out.routing_id = std::move(first);
  } else {
    out.parts.push_back(std::move(first));
  }
  while (more) {  // libzmq hands out whole messages: the rest is there
    MessagePart part;
    if (zmq_msg_recv(PartAccess::of(part), socket.handle(), ZMQ_DONTWAIT) < 0) {
      if (errno == EINTR) continue;
      return transport_failure("receiving the rest of a message");
    }
    more = zmq_msg_more(PartAccess::of(part)) != 0;
    if (out.parts.size() < kPartsMax) {
      out.parts.push_back(std::move(part));
    } else {
      out.oversized = true;
    }
  }
  return out;
}

void apply(Socket& socket, const SocketLimits& limits) {
  // TTL travels in tenths of a second in 16 bits, and libzmq lets it overflow.
  const Duration ttl = std::min<Duration>(limits.zmtp_heartbeat_timeout, std::chrono::seconds{64});
  constexpr Duration kLongest = std::chrono::hours{1};
  socket.set(ZMQ_SNDHWM, limits.queued_messages_max);
  socket.set(ZMQ_RCVHWM, limits.queued_messages_max);
  socket.set(ZMQ_MAXMSGSIZE, static_cast<std::int64_t>(limits.part_bytes_max));
  socket.set(ZMQ_HANDSHAKE_IVL, to_poll_ms(limits.handshake_max, kLongest));
  socket.set(ZMQ_HEARTBEAT_IVL, to_poll_ms(limits.zmtp_heartbeat_interval, kLongest));
  socket.set(ZMQ_HEARTBEAT_TIMEOUT, to_poll_ms(limits.zmtp_heartbeat_timeout, kLongest));
  socket.set(ZMQ_HEARTBEAT_TTL, to_poll_ms(ttl, kLongest));
  // Without a domain libzmq also speaks ZMTP 1 and 2, where nearly any bytes are a message. With
  // one it ends such connections. No ZAP handler is asked unless there is one.
  socket.set(ZMQ_ZAP_DOMAIN, std::string{"liminal"});
}

bool is_endpoint(const std::string& endpoint, bool listening) {
  const std::string_view text = endpoint;
  if (text.starts_with("ipc://")) return text.size() > std::string_view{"ipc://"}.size();
  if (!text.starts_with("tcp://")) return false;
  const auto colon = text.rfind(':');
  const std::string_view port = text.substr(colon + 1);
  if (colon <= std::string_view{"tcp://"}.size() - 1 || port.empty()) return false;
  if (port == "*") return listening;
  int number = 0;
  const auto [end, error] = std::from_chars(port.begin(), port.end(), number);
  return error == std::errc{} && end == port.end() && number >= (listening ? 0 : 1) &&
         number <= 65535;
}

void retry_steadily([[maybe_unused]] int fd) noexcept {
#ifdef TCP_THIN_LINEAR_TIMEOUTS
  // bbr, for one, never counts as in slow start's end, and with it no timeout stays as it is.
  constexpr std::string_view kHeedsTimeouts = "reno";
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kHeedsTimeouts.data(), kHeedsTimeouts.size());
  ::setsockopt(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &on, sizeof on);
#endif
}

void cut(int fd) noexcept { ::shutdown(fd, SHUT_RDWR); }

void choose_ip_version(Socket& socket, const std::string& endpoint) {
  socket.set(ZMQ_IPV6, endpoint.starts_with("tcp://[") ? 1 : 0);
}

tl::unexpected<Error> transport_failure(const std::string& doing) {
  const std::string text = zmq_strerror(errno);
  return fail(Errc::kTransport, doing + ": " + text);
}

int to_poll_ms(Duration duration, Duration max) {
  const Duration bounded = std::clamp(duration, Duration::zero(), max);
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(bounded).count());
}

void poll(const std::vector<Socket*>& sockets, const Waker& waker, int timeout_ms) {
  std::vector<pollfd> descriptors;
  descriptors.reserve(sockets.size() + 1);
  for (Socket* socket : sockets) {
    if (socket->has_input()) timeout_ms = 0;
    descriptors.push_back({socket->descriptor(), POLLIN, 0});
  }
  descriptors.push_back({WakerAccess::fd(waker), POLLIN, 0});

  const int ready = ::poll(descriptors.data(), descriptors.size(), timeout_ms);
  // Interrupted by a signal: nothing is known, the caller looks around and waits again.
  bool quiet = ready >= 0;
  for (std::size_t i = sockets.size(); i-- > 0;) {
    const bool news = ready < 0 || descriptors[i].revents != 0;
    quiet = quiet && !news && sockets[i]->is_empty();
    sockets[i]->polled(news, quiet);
  }
  if (ready > 0 && (descriptors.back().revents & POLLIN) != 0) WakerAccess::clear(waker);
}

}  // namespace liminal::net
