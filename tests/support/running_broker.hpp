// A broker that runs on a thread of this process, for tests with real sockets.
#pragma once

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "broker/broker_loop.hpp"

namespace liminal::test {

/// Of brokers whose verdicts tests wait for.
inline broker::BrokerCore::Settings quick_broker() {
  using namespace std::chrono_literals;
  broker::BrokerCore::Settings settings;
  settings.cluster = {250ms, 1250ms, 3s, 500ms, 16 << 20};
  return settings;
}

/// What a broker keeps for a connection that does not read.
struct BrokersBounds {
  int queued_messages = net::SocketLimits{}.queued_messages_max;  // by libzmq; then
  std::size_t outbox_bytes = std::size_t{64} * 1024 * 1024;
};

/// Runs until it is stopped, or goes; then what it counted can be looked at.
class RunningBroker {
 public:
  explicit RunningBroker(broker::BrokerCore::Settings settings = quick_broker(),
                         const std::string& listen = "tcp://127.0.0.1:*",
                         Duration beat_interval = std::chrono::milliseconds{250},
                         BrokersBounds bounds = {}) {
    auto door = net::RouterSocket::bind(context_, {listen},
                                        {.queued_messages_max = bounds.queued_messages});
    if (!door) throw std::runtime_error{door.error().detail};
    endpoint_ = door->endpoints().at(0);
    loop_.emplace(*std::move(door),
                  broker::BrokerCore{std::move(settings), Random{1}, clock_.now()}, clock_, waker_,
                  broker::BrokerLoop::Settings{.beat_interval = beat_interval,
                                               .outbox_bytes_max = bounds.outbox_bytes});
    thread_ = std::thread{[this] { loop_->run(); }};
  }
  ~RunningBroker() { stop(); }
  RunningBroker(const RunningBroker&) = delete;
  RunningBroker& operator=(const RunningBroker&) = delete;

  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  /// Returns when it has. A second time is fine.
  const broker::BrokerCore& stop() {
    loop_->stop();
    if (thread_.joinable()) thread_.join();
    return loop_->core();
  }
  /// REQUIRES: it was stopped.
  [[nodiscard]] const broker::BrokerLoop& loop() const { return *loop_; }

 private:
  SystemClock clock_;
  net::NetContext context_;
  net::Waker waker_;
  std::string endpoint_;
  std::optional<broker::BrokerLoop> loop_;
  std::thread thread_;
};

}  // namespace liminal::test
