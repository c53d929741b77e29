// One part of a ZeroMQ message, moved from socket to socket without being copied.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace liminal::net {

/// Owns the bytes. Thread-safety: as a std::string. Errors: the constructors abort when memory is
/// out.
class MessagePart {
 public:
  MessagePart();
  /// Takes the string over; its bytes are not copied.
  explicit MessagePart(std::string bytes);
  MessagePart(MessagePart&& other) noexcept;
  MessagePart& operator=(MessagePart&& other) noexcept;
  ~MessagePart();

  [[nodiscard]] std::string_view view() const noexcept;

 private:
  friend struct PartAccess;               // the sockets, which hand it to libzmq
  alignas(void*) std::byte storage_[64];  // a zmq_msg_t
};

using Parts = std::vector<MessagePart>;

}  // namespace liminal::net
