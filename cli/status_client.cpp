#include "cli/status_client.hpp"

#include "common/wire/codec.hpp"

namespace liminal::cli {

Result<control::StatusReply> StatusClient::ask(Duration timeout) {
  if (!socket_) {
    auto opened = net::DealerSocket::connect(context_, endpoint_, {});
    if (!opened) return tl::unexpected<Error>(std::move(opened.error()));
    socket_.emplace(std::move(*opened));
    connected_ = false;
  }
  auto reply = ask_connected(clock_.now() + timeout);
  if (!reply) socket_.reset();
  return reply;
}

Result<control::StatusReply> StatusClient::ask_connected(TimePoint deadline) {
  bool asked = false;
  for (TimePoint now = clock_.now(); now < deadline; now = clock_.now()) {
    if (connected_ && !asked) {
      net::Parts query;
      query.emplace_back(wire::encode(ControlFrame{control::StatusQuery{}}));
      asked = socket_->send(query).has_value();
    }
    auto received = socket_->try_receive();
    if (!received) return tl::unexpected<Error>(std::move(received.error()));
    if (received->has_value()) {
      if ((**received).size() != 1) continue;
      const auto frame = wire::decode_control((**received)[0].view());
      if (!frame) {
        return fail(Errc::kNoBroker,
                    "what answers at " + endpoint_ +
                        " does not speak Liminal's protocol: " + frame.error().detail);
      }
      if (const auto* reply = std::get_if<control::StatusReply>(&*frame)) return *reply;
      continue;
    }
    if (const auto event = socket_->try_event()) {
      if (*event == net::DealerSocket::Event::kConnected) connected_ = true;
      if (*event == net::DealerSocket::Event::kHandshakeFailed) foreign_ = true;
      if (*event == net::DealerSocket::Event::kClosed) break;
      continue;
    }
    net::wait({&*socket_}, waker_, deadline - now);
  }
  if (connected_) {
    return fail(Errc::kNoBroker, "something accepts connections at " + endpoint_ +
                                     " but does not answer as a broker does");
  }
  if (foreign_) {
    return fail(Errc::kNoBroker,
                "what answers at " + endpoint_ + " does not speak ZeroMQ: it is no broker");
  }
  return fail(Errc::kNoBroker, "nothing answers at " + endpoint_ +
                                   ": start liminal-broker there, or name another endpoint with "
                                   "--broker");
}

}  // namespace liminal::cli
