// What the tests of the sockets share: readiness by polling with a generous limit, and raw TCP.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/net/sockets.hpp"

namespace liminal::net::test {

using namespace std::chrono_literals;

inline constexpr Duration kPatience = 20s;

/// Whether `done` became true within kPatience; between the attempts `wait` blocks.
inline bool eventually(const std::function<bool()>& done, const std::function<void()>& wait) {
  const SystemClock clock;
  for (const TimePoint end = clock.now() + kPatience; clock.now() < end; wait()) {
    if (done()) return true;
  }
  return done();
}

inline std::string text_of(const Parts& parts) {
  std::string out;
  for (const MessagePart& part : parts) {
    if (!out.empty()) out += '|';
    out += part.view();
  }
  return out;
}

template <class... Text>
Parts parts_of(Text... text) {
  Parts out;
  (out.emplace_back(std::string{text}), ...);
  return out;
}

/// A router, with what it received and which closings it told, in order.
class Door {
 public:
  explicit Door(NetContext& context, SocketLimits limits = {},
                const std::string& endpoint = "tcp://127.0.0.1:*")
      : router(RouterSocket::bind(context, {endpoint}, limits).value()) {}

  [[nodiscard]] const std::string& endpoint() const { return router.endpoints().front(); }
  [[nodiscard]] std::uint16_t port() const {
    return static_cast<std::uint16_t>(std::stoi(endpoint().substr(endpoint().rfind(':') + 1)));
  }

  /// One turn of a loop.
  void turn() {
    while (auto incoming = router.try_receive().value()) {
      log.push_back(text_of(incoming->parts));
      received.push_back(std::move(*incoming));
    }
    for (const ConnectionId id : router.closed()) {
      log.push_back("closed " + std::to_string(id.value()));
      closed.push_back(id);
    }
  }
  bool until(const std::function<bool()>& done) {
    return eventually(
        [&] {
          turn();
          return done();
        },
        [&] { router.wait(waker, 50ms); });
  }
  bool until_received(std::size_t count) {
    return until([&] { return received.size() >= count; });
  }
  bool until_closed(std::size_t count) {
    return until([&] { return closed.size() >= count; });
  }

  RouterSocket router;
  Waker waker;
  std::vector<RouterSocket::Incoming> received;
  std::vector<ConnectionId> closed;
  std::vector<std::string> log;
};

/// A dealer, with what it received and its events.
class Caller {
 public:
  Caller(NetContext& context, const std::string& endpoint, SocketLimits limits = {})
      : dealer(DealerSocket::connect(context, endpoint, limits).value()) {}

  void turn() {
    while (auto parts = dealer.try_receive().value()) {
      log.push_back(text_of(*parts));
      received.push_back(std::move(*parts));
    }
    while (const auto event = dealer.try_event()) {
      if (*event == DealerSocket::Event::kClosed) log.push_back("closed");
      events.push_back(*event);
    }
  }
  bool until(const std::function<bool()>& done) {
    return eventually(
        [&] {
          turn();
          return done();
        },
        [&] { wait({&dealer}, waker, 50ms); });
  }
  bool until_event(DealerSocket::Event wanted) {
    return until([&] {
      for (const auto event : events) {
        if (event == wanted) return true;
      }
      return false;
    });
  }
  bool connect() { return until_event(DealerSocket::Event::kConnected); }
  /// Sends as soon as there is room.
  bool send(Parts parts) {
    return until([&] { return dealer.send(parts).has_value(); });
  }

  DealerSocket dealer;
  Waker waker;
  std::vector<Parts> received;
  std::vector<DealerSocket::Event> events;
  std::vector<std::string> log;
};

/// A TCP socket without ZMTP.
class RawSocket {
 public:
  RawSocket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  explicit RawSocket(int fd) : fd_(fd) {}
  RawSocket(RawSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RawSocket& operator=(RawSocket&&) = delete;
  ~RawSocket() { close(); }

  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  bool connect(std::uint16_t port) {
    const sockaddr_in address = loopback(port);
    return ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  /// Listens on a port of the kernel's choice and returns it.
  std::uint16_t listen() {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (::bind(fd_, reinterpret_cast<const sockaddr*>(&address), size) != 0) return 0;
    if (::listen(fd_, 16) != 0) return 0;
    if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
    return ntohs(address.sin_port);
  }
  [[nodiscard]] RawSocket accept() {
    return RawSocket{::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC)};
  }
  bool write(const std::string& bytes) {
    return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  /// What comes, or "" when the other end closed or reset the connection. Gives up after kPatience,
  /// with "" and errno.
  std::string read() {
    const timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char bytes[256];
    errno = 0;
    const ssize_t got = ::recv(fd_, bytes, sizeof bytes, 0);
    return {bytes, got > 0 ? static_cast<std::size_t>(got) : 0};
  }
  /// Whether the other end ends the connection, whatever it says before.
  bool is_ended() {
    while (!read().empty()) {
    }
    return errno == 0 || errno == ECONNRESET;
  }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  int fd_;
};

/// Whether the other end's greeting and READY came.
inline bool shook_hands(RawSocket& raw) {
  constexpr std::size_t kGreeting = 64;
  std::string all;
  while (all.find("READY") == std::string::npos || all.size() < kGreeting + 2) {
    const std::string more = raw.read();
    if (more.empty()) return false;
    all += more;
  }
  return true;
}

}  // namespace liminal::net::test
