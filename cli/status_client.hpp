// Asks a broker for its status without joining it.
#pragma once

#include <optional>
#include <string>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/net/sockets.hpp"
#include "common/wire/control.hpp"

namespace liminal::cli {

/// Thread affinity: one thread, which blocks in ask().
class StatusClient {
 public:
  explicit StatusClient(std::string endpoint) : endpoint_(std::move(endpoint)) {}

  /// Connects if need be and asks. Errors: kUsage (not an endpoint); kNoBroker when no answer of a
  /// broker came within `timeout`, saying how far it got; the connection is then made anew next
  /// time.
  [[nodiscard]] Result<control::StatusReply> ask(Duration timeout);

 private:
  [[nodiscard]] Result<control::StatusReply> ask_connected(TimePoint deadline);

  std::string endpoint_;
  SystemClock clock_;
  net::NetContext context_;
  net::Waker waker_;
  std::optional<net::DealerSocket> socket_;
  bool connected_ = false;
  bool foreign_ = false;  // something is there that does not speak ZeroMQ
};

}  // namespace liminal::cli
