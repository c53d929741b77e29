// Asks a broker without joining it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/net/sockets.hpp"
#include "common/wire/control.hpp"

namespace liminal::cli {

/// One connection, made when it is needed; questions one after the other.
///
/// Thread affinity: one thread, which blocks in ask().
class BrokerClient {
 public:
  explicit BrokerClient(std::string endpoint) : endpoint_(std::move(endpoint)) {}

  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }

  /// Connects if need be and asks. Errors: kUsage (not an endpoint); kRefused in the broker's
  /// words; kNoBroker when no answer of a broker came within `timeout`, saying how far it got.
  /// After an error the connection is made anew next time.
  template <class Reply>
  [[nodiscard]] Result<Reply> ask(const ControlFrame& query, Duration timeout) {
    const auto is_reply = [](const ControlFrame& frame) {
      return std::holds_alternative<Reply>(frame);
    };
    auto frame = ask_for(query, timeout, is_reply);
    if (!frame) return tl::unexpected<Error>(std::move(frame.error()));
    return std::get<Reply>(*std::move(frame));
  }

  /// Whether the last ask() failed only because time passed: the connection stood to the end.
  [[nodiscard]] bool timed_out() const { return timed_out_; }

 private:
  using IsReply = bool (*)(const ControlFrame&);
  [[nodiscard]] Result<ControlFrame> ask_for(const ControlFrame& query, Duration timeout,
                                             IsReply is_reply);
  [[nodiscard]] Result<ControlFrame> ask_connected(const ControlFrame& query, TimePoint deadline,
                                                   IsReply is_reply);

  std::string endpoint_;
  SystemClock clock_;
  net::NetContext context_;
  net::Waker waker_;
  std::optional<net::DealerSocket> socket_;
  bool connected_ = false;
  bool foreign_ = false;  // something is there that does not speak ZeroMQ
  bool timed_out_ = false;
};

}  // namespace liminal::cli
