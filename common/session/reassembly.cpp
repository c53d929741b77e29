#include "common/session/reassembly.hpp"

#include <algorithm>
#include <utility>

#include "common/wire/limits.hpp"

namespace liminal {

Reassembly::Trial::Trial(const Reassembly& reassembly)
    : reassembly_(reassembly),
      last_offered_(reassembly.last_offered_),
      open_(reassembly.transfers_.size()) {}

const char* Reassembly::Trial::check(const item::Offer& offer) {
  if (offer.transfer <= last_offered_) return "an offer out of order";
  // smaller ones travel whole: credit is given back by the size of the payload
  if (offer.payload_bytes <= wire::kChunkBytesMax) return "an offer of a payload that needs none";
  if (offer.payload_bytes > reassembly_.limits_.largest())
    return "an offer of a payload that is too large";
  if (open_ == reassembly_.limits_.transfers_max) return "too many offers";
  last_offered_ = offer.transfer;
  ++open_;
  return nullptr;
}

const char* Reassembly::Trial::check(const item::Begin& begin) {
  const auto found = reassembly_.transfers_.find(begin.transfer);
  if (found == reassembly_.transfers_.end() || !found->second.granted)
    return "the beginning of a transfer that was not granted";
  const Envelope& envelope = begin.send.envelope;
  if (envelope.payload.size() > 0) return "the beginning of a transfer has a payload";
  const std::uint64_t payload_bytes = found->second.payload_bytes;
  // only now is it known what was offered
  if (payload_bytes > payload_bytes_max_of(envelope.kind, reassembly_.limits_.payload_bytes_max))
    return "the beginning of a payload that is too large";
  if (envelope.reply_at && *envelope.reply_at > payload_bytes)
    return "a reply that begins beyond the payload";
  const bool is_new = missing_.emplace(begin.transfer, payload_bytes).second;
  if (found->second.send || !is_new) return "a transfer that begins twice";
  return nullptr;
}

const char* Reassembly::Trial::check(const item::Chunk& chunk) {
  auto missing = missing_.find(chunk.transfer);
  if (missing == missing_.end()) {
    const auto found = reassembly_.transfers_.find(chunk.transfer);
    if (found == reassembly_.transfers_.end() || !found->second.send)
      return "a chunk of a transfer that was not begun";
    const Transfer& transfer = found->second;
    missing =
        missing_.emplace(chunk.transfer, transfer.payload_bytes - transfer.bytes.size()).first;
  }
  const std::size_t size = chunk.bytes.size();
  if (size == 0 || size > wire::kChunkBytesMax) return "a chunk of a wrong size";
  if (size > missing->second) return "more bytes than were offered";
  missing->second -= size;
  if (missing->second == 0) --open_;
  return nullptr;
}

Reassembly::Reassembly(Limits limits) : limits_(limits) {
  // one payload of the greatest size must find room, or its sender would wait for ever
  limits_.granted_bytes_max = std::max(limits_.granted_bytes_max, limits_.largest());
}

void Reassembly::take(const item::Offer& offer) {
  transfers_.emplace(offer.transfer, Transfer{.payload_bytes = offer.payload_bytes});
  last_offered_ = offer.transfer;
  waiting_.push_back(offer.transfer);
  grant_room();
}

void Reassembly::take(item::Begin begin) {
  transfers_.at(begin.transfer).send = std::move(begin.send);
}

std::optional<signal::Send> Reassembly::take(const item::Chunk& chunk) {
  const auto found = transfers_.find(chunk.transfer);
  Transfer& transfer = found->second;
  const std::size_t needed = transfer.bytes.size() + chunk.bytes.size();
  if (transfer.bytes.capacity() < needed)
    transfer.bytes.reserve(
        static_cast<std::size_t>(std::min<std::uint64_t>(transfer.payload_bytes, 4 * needed)));
  transfer.bytes.append(chunk.bytes.view());
  if (transfer.bytes.size() < transfer.payload_bytes) return std::nullopt;

  std::optional<signal::Send> whole = std::move(transfer.send);
  whole->envelope.payload = Payload{std::move(transfer.bytes)};
  granted_bytes_ -= transfer.payload_bytes;
  transfers_.erase(found);
  grant_room();
  return whole;
}

std::vector<TransferId> Reassembly::take_grants() { return std::exchange(granted_, {}); }

void Reassembly::grant_room() {
  while (!waiting_.empty()) {
    Transfer& first = transfers_.at(waiting_.front());
    if (first.payload_bytes > limits_.granted_bytes_max - granted_bytes_) return;
    first.granted = true;
    granted_bytes_ += first.payload_bytes;
    granted_.push_back(waiting_.front());
    waiting_.pop_front();
  }
}

}  // namespace liminal
