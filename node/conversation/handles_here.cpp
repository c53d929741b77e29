#include "node/conversation/handles_here.hpp"

#include <string>

namespace liminal {
namespace {

std::optional<WaiterId> id_of(const std::optional<std::pair<WaiterId, Ticket>>& waiting) {
  return waiting ? std::optional{waiting->first} : std::nullopt;
}

}  // namespace

std::optional<Input> HandlesHere::on_call(Call call, std::size_t waiting_elsewhere) {
  return std::visit([&](auto& c) { return take(std::move(c), waiting_elsewhere); }, call);
}

std::optional<bool> HandlesHere::complete(WaiterId waiter, const Outcome& outcome) {
  const auto found = tickets_.find(waiter);
  if (found == tickets_.end()) return std::nullopt;
  // a reply is a pointer to its bytes, an error a short text: the copy is cheap
  const bool taken = found->second.redeem(outcome);
  tickets_.erase(found);
  if (!taken) found_gone_.insert(waiter);
  return taken;
}

/// Keeps the ticket until its waiter is completed. False if there are too many.
bool HandlesHere::admit(Waiting& waiting, std::size_t elsewhere) {
  if (!waiting) return true;
  const std::size_t all = tickets_.size() + elsewhere;
  if (all >= config_->waiters_max) {
    waiting->second.redeem(fail(Errc::kRejected, std::to_string(all) +
                                                     " calls wait, waiters-max is " +
                                                     std::to_string(config_->waiters_max)));
    return false;
  }
  tickets_.emplace(waiting->first, std::move(waiting->second));
  return true;
}

/// Callers that lose patience faster than their calls are decided cost no decisions.
std::optional<Input> HandlesHere::take(call::Send send, std::size_t elsewhere) {
  if (auto& waiting = send.reply ? send.reply : send.accepted;
      waiting && !waiting->second.is_wanted()) {
    waiting->second.cancel();
    return std::nullopt;
  }
  const auto accepted = id_of(send.accepted), reply = id_of(send.reply);
  if (!admit(send.accepted, elsewhere) || !admit(send.reply, elsewhere)) return std::nullopt;
  return input::SendRequested{send.id, std::move(send.payload), std::move(send.options), accepted,
                              reply};
}

std::optional<Input> HandlesHere::take(call::Receive receive, std::size_t elsewhere) {
  if (!receive.ticket.is_wanted()) {
    receive.ticket.cancel();
    return std::nullopt;
  }
  Waiting waiting;
  waiting.emplace(receive.waiter, std::move(receive.ticket));
  if (!admit(waiting, elsewhere)) return std::nullopt;
  return input::ReceiveRequested{receive.waiter, receive.request};
}

std::optional<Input> HandlesHere::take(call::Abandon abandon, std::size_t) {
  const auto found = tickets_.find(abandon.waiter);
  if (found != tickets_.end()) {
    found->second.cancel();
    tickets_.erase(found);
  } else if (found_gone_.erase(abandon.waiter) == 0 || !abandon.forget) {
    return std::nullopt;  // never admitted; or its reply is back in its place
  }
  return input::ReceiveAbandoned{
      abandon.waiter, abandon.forget ? std::optional{abandon.forget->request()} : std::nullopt};
}

std::optional<Input> HandlesHere::take(call::Close close, std::size_t elsewhere) {
  const auto waiter = id_of(close.waiter);
  if (!admit(close.waiter, elsewhere)) return std::nullopt;
  return input::CloseRequested{waiter};
}

std::optional<Input> HandlesHere::take(call::Cancel cancel, std::size_t) {
  return input::CancelRequested{std::move(cancel.by)};
}

/// What is to be undone is undone, as far as the time goes that its node has left.
std::optional<Input> HandlesHere::take(call::Shutdown, std::size_t) {
  if (config_->on_crash == CrashPolicy::kCompensate) {
    return input::Abandoned{"its node is stopping"};
  }
  return input::CloseRequested{};
}

std::optional<Input> HandlesHere::take(call::HandlesGone, std::size_t) {
  --origins_;
  return std::nullopt;
}

std::optional<Input> HandlesHere::take(call::HandlesBack, std::size_t) {
  ++origins_;
  return std::nullopt;
}

}  // namespace liminal
