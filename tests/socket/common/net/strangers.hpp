// Whoever comes to a door without our sockets: libzmq itself, and bytes that are no ZMTP.
#pragma once

#include <zmq.h>

#include <string>
#include <string_view>

#include "common/base/random.hpp"
#include "tests/support/hostile_bytes.hpp"

namespace liminal::net::test {

/// libzmq itself, without our limits. Blocks for 20 s at the most.
class PlainDealer {
 public:
  /// Beyond `queued_messages_max` that wait here (0: no bound) a send waits.
  explicit PlainDealer(const std::string& endpoint, const std::string& routing_id = "",
                       int queued_messages_max = 0) {
    const int patience_ms = 20'000, none = 0;
    zmq_setsockopt(socket_, ZMQ_SNDTIMEO, &patience_ms, sizeof patience_ms);
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms);
    zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket_, ZMQ_SNDHWM, &queued_messages_max, sizeof queued_messages_max);
    if (!routing_id.empty()) {
      zmq_setsockopt(socket_, ZMQ_ROUTING_ID, routing_id.data(), routing_id.size());
    }
    zmq_connect(socket_, endpoint.c_str());
  }
  ~PlainDealer() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  PlainDealer(const PlainDealer&) = delete;
  PlainDealer& operator=(const PlainDealer&) = delete;

  bool send(std::string_view bytes, bool more = false) {
    return zmq_send(socket_, bytes.data(), bytes.size(), more ? ZMQ_SNDMORE : 0) >= 0;
  }
  /// One message of the parts "0", "1", ...
  bool send_parts(int parts) {
    for (int i = 0; i < parts; ++i) {
      if (!send(std::to_string(i), i + 1 < parts)) return false;
    }
    return true;
  }
  /// The next one-part message.
  std::string receive() {
    std::string bytes(1 << 20, '\0');
    const int size = zmq_recv(socket_, bytes.data(), bytes.size(), 0);
    bytes.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return bytes;
  }

 private:
  void* context_ = zmq_ctx_new();
  void* socket_ = zmq_socket(context_, ZMQ_DEALER);
};

/// How a client of ZMTP 3.0 without security begins; 64 bytes in all are its greeting.
inline std::string zmtp_beginning() { return std::string("\xFF\0\0\0\0\0\0\0\1\x7F\3\0NULL", 16); }

/// A client of ZMTP 3.0 without security: its greeting, then READY of a DEALER.
inline std::string zmtp_handshake() {
  std::string bytes = zmtp_beginning();
  bytes.resize(64, '\0');
  const std::string property = std::string("\x0BSocket-Type\0\0\0\6", 16) + "DEALER";
  const std::string ready = std::string("\5READY") + property;
  bytes += '\4';
  bytes += static_cast<char>(ready.size());
  return bytes + ready;
}

/// A frame of ZMTP with one short message (at most 255 bytes) in it, or a part that others follow.
inline std::string zmtp_message(const std::string& bytes, bool more = false) {
  return std::string{more ? '\1' : '\0', static_cast<char>(bytes.size())} + bytes;
}

/// Random bytes; every second time, by `number`, they begin as ZMTP 3 does.
inline std::string no_zmtp(int number, std::uint64_t bytes_max, Random& random) {
  const std::string beginning = number % 2 == 0 ? zmtp_beginning() : std::string{};
  return beginning + liminal::test::any_bytes(bytes_max, random);
}

}  // namespace liminal::net::test
