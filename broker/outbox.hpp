// What waits for a peer whose queue in the socket is full.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>

#include "common/base/result.hpp"
#include "common/net/message_part.hpp"

namespace liminal::broker {

/// The messages to one connection that the socket did not take yet, oldest first. Bounded in bytes;
/// what to do at the bound is the owner's choice.
class Outbox {
 public:
  explicit Outbox(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  /// Takes the message, or leaves it as it is and returns false if it would pass the bound.
  [[nodiscard]] bool push(net::Parts& message);

  [[nodiscard]] bool empty() const { return messages_.empty(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  /// Hands messages to `send`, a callable as Result<void>(net::Parts&), until it refuses one for
  /// another reason than kWouldBlock. Returns that error; a message that would block stays first.
  template <class Send>
  [[nodiscard]] std::optional<Error> flush(Send&& send) {
    while (!messages_.empty()) {
      const std::size_t bytes = size_of(messages_.front());
      const Result<void> sent = send(messages_.front());
      if (!sent && sent.error().code == Errc::kWouldBlock) return std::nullopt;
      bytes_ -= bytes;
      messages_.pop_front();
      if (!sent) return sent.error();
    }
    return std::nullopt;
  }

 private:
  /// Its parts, and what it costs to hold it.
  [[nodiscard]] static std::size_t size_of(const net::Parts& message);

  std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  std::deque<net::Parts> messages_;
};

}  // namespace liminal::broker
