#include "common/session/lanes.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/check.hpp"
#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"

namespace liminal {
namespace {

signal::Send& send_in(Item& item) { return std::get<signal::Send>(std::get<Signal>(item)); }
const signal::Send& send_in(const Item& item) {
  return std::get<signal::Send>(std::get<Signal>(item));
}

}  // namespace

Lanes::Lanes(std::size_t first_credit_bytes)
    : window_(first_credit_bytes), limit_(first_credit_bytes) {}

void Lanes::add(Signal signal) {
  const Serial owner = from_of(signal).serial;
  queued_bytes_ += wire::weight_bytes(signal);
  const auto [found, is_new] = lanes_.try_emplace(owner, Lane{.owner = owner});
  Lane& lane = found->second;
  lane.queue.emplace_back(std::move(signal));
  if (is_new) ready_.push_back(&lane);
}

void Lanes::add_grant(TransferId transfer) { grants_.emplace_back(item::Grant{transfer}); }

bool Lanes::is_offered(TransferId transfer) const { return offered_.contains(transfer); }

void Lanes::granted(TransferId transfer) {
  const auto found = offered_.find(transfer);
  check(found != offered_.end(), "only what was offered is granted");
  ready_.push_back(found->second);
  offered_.erase(found);
}

bool Lanes::raise_credit_limit(std::uint64_t total_bytes) {
  if (total_bytes <= limit_) return false;
  limit_ = total_bytes;
  return true;
}

bool Lanes::take(std::list<Item>& out) {
  if (!grants_.empty()) {
    out.splice(out.end(), grants_, grants_.begin());
    return true;
  }
  if (!short_of_credit_.empty()) {
    Lane& first = *short_of_credit_.front();
    const std::size_t needed = credit_needed(first);
    if (affordable(needed)) {
      short_of_credit_.pop_front();
      take_from(first, needed, out);
      return true;
    }
  }
  while (!ready_.empty()) {
    Lane& lane = *ready_.front();
    ready_.pop_front();
    const std::size_t needed = credit_needed(lane);
    if (needed > 0 && !(short_of_credit_.empty() && affordable(needed))) {
      short_of_credit_.push_back(&lane);
    } else if (must_wait_to_offer(lane)) {
      waiting_to_offer_.push_back(&lane);
    } else {
      take_from(lane, needed, out);
      return true;
    }
  }
  return false;
}

bool Lanes::may_take() const {
  if (!grants_.empty() || !ready_.empty()) return true;
  return !short_of_credit_.empty() && !is_short_of_credit();
}

bool Lanes::is_short_of_credit() const {
  return !short_of_credit_.empty() && !affordable(credit_needed(*short_of_credit_.front()));
}

std::size_t Lanes::credit_needed(const Lane& lane) const {
  switch (lane.phase) {
    case Phase::kHead:
      return is_large(lane) ? 0 : std::min(wire::credit_bytes(lane.queue.front()), window_);
    case Phase::kBegin: {
      const Envelope& envelope = send_in(lane.queue.front()).envelope;
      return std::min(wire::credit_bytes(envelope) - envelope.payload.size(), window_);
    }
    case Phase::kChunk: {
      const std::size_t left = lane.payload.size() - lane.payload_sent_bytes;
      return std::min(std::min(left, wire::kChunkBytesMax) + wire::kItemCreditBytes, window_);
    }
  }
  return 0;
}

bool Lanes::is_large(const Lane& lane) {
  const auto* send = std::get_if<signal::Send>(&std::get<Signal>(lane.queue.front()));
  return send != nullptr && send->envelope.payload.size() > wire::kChunkBytesMax;
}

bool Lanes::must_wait_to_offer(const Lane& lane) const {
  return open_transfers_ == kTransfersMax && lane.phase == Phase::kHead && is_large(lane);
}

void Lanes::take_from(Lane& lane, std::size_t credit_bytes, std::list<Item>& out) {
  used_ += credit_bytes;
  switch (lane.phase) {
    case Phase::kHead:
      if (is_large(lane)) return take_offer(lane, out);
      queued_bytes_ -= wire::weight_bytes(std::get<Signal>(lane.queue.front()));
      out.splice(out.end(), lane.queue, lane.queue.begin());
      return end_turn(lane);
    case Phase::kBegin:
      return take_begin(lane, out);
    case Phase::kChunk:
      return take_chunk(lane, out);
  }
}

void Lanes::take_offer(Lane& lane, std::list<Item>& out) {
  ++open_transfers_;
  lane.transfer = TransferId{++last_transfer_};
  lane.phase = Phase::kBegin;
  offered_.emplace(lane.transfer, &lane);
  out.emplace_back(item::Offer{lane.transfer, send_in(lane.queue.front()).envelope.payload.size()});
}

void Lanes::take_begin(Lane& lane, std::list<Item>& out) {
  signal::Send& send = send_in(lane.queue.front());
  queued_bytes_ -= wire::credit_bytes(send.envelope) - send.envelope.payload.size();
  lane.payload = std::exchange(send.envelope.payload, Payload{});
  lane.payload_sent_bytes = 0;
  lane.phase = Phase::kChunk;
  out.emplace_back(item::Begin{lane.transfer, std::move(send)});
  lane.queue.pop_front();
  ready_.push_back(&lane);
}

void Lanes::take_chunk(Lane& lane, std::list<Item>& out) {
  const std::string_view bytes =
      lane.payload.view().substr(lane.payload_sent_bytes, wire::kChunkBytesMax);
  out.emplace_back(item::Chunk{lane.transfer, Payload{std::string{bytes}}});
  lane.payload_sent_bytes += bytes.size();
  queued_bytes_ -= bytes.size();
  if (lane.payload_sent_bytes < lane.payload.size()) return ready_.push_back(&lane);

  lane.payload = Payload{};
  lane.phase = Phase::kHead;
  --open_transfers_;
  if (!waiting_to_offer_.empty()) {
    ready_.push_back(waiting_to_offer_.front());
    waiting_to_offer_.pop_front();
  }
  end_turn(lane);
}

void Lanes::end_turn(Lane& lane) {
  if (lane.queue.empty()) {
    lanes_.erase(Serial{lane.owner});  // a copy: the lane's own goes with it
  } else {
    ready_.push_back(&lane);
  }
}

}  // namespace liminal
