#include "cli/broker_client.hpp"

#include "common/wire/codec.hpp"

namespace liminal::cli {

Result<ControlFrame> BrokerClient::ask_for(const ControlFrame& query, Duration timeout,
                                           IsReply is_reply) {
  timed_out_ = false;
  if (!socket_) {
    auto opened = net::DealerSocket::connect(context_, endpoint_, {});
    if (!opened) return tl::unexpected<Error>(std::move(opened.error()));
    socket_.emplace(std::move(*opened));
    connected_ = false;
  }
  auto reply = ask_connected(query, clock_.now() + timeout, is_reply);
  if (!reply) socket_.reset();
  return reply;
}

Result<ControlFrame> BrokerClient::ask_connected(const ControlFrame& query, TimePoint deadline,
                                                 IsReply is_reply) {
  bool asked = false;
  bool closed = false;
  for (TimePoint now = clock_.now(); now < deadline && !closed; now = clock_.now()) {
    if (connected_ && !asked) {
      net::Parts parts;
      parts.emplace_back(wire::encode(query));
      asked = socket_->send(parts).has_value();
    }
    auto received = socket_->try_receive();
    if (!received) return tl::unexpected<Error>(std::move(received.error()));
    if (received->has_value()) {
      if ((**received).size() != 1) continue;
      auto frame = wire::decode_control((**received)[0].view());
      if (!frame) {
        return fail(Errc::kNoBroker,
                    "what answers at " + endpoint_ +
                        " does not speak Liminal's protocol: " + frame.error().detail);
      }
      if (is_reply(*frame)) return frame;
      if (auto* refused = std::get_if<control::Refused>(&*frame)) {
        return fail(Errc::kRefused,
                    "the broker at " + endpoint_ + " does not answer this: " + refused->text);
      }
      continue;
    }
    if (const auto event = socket_->try_event()) {
      if (*event == net::DealerSocket::Event::kConnected) connected_ = true;
      if (*event == net::DealerSocket::Event::kHandshakeFailed) foreign_ = true;
      if (*event == net::DealerSocket::Event::kClosed) closed = true;
      continue;
    }
    net::wait({&*socket_}, waker_, deadline - now);
  }
  timed_out_ = asked && !closed;
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
