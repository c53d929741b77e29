#include "common/wire/codec.hpp"

namespace liminal::wire {

std::size_t credit_bytes(const Envelope& envelope) {
  std::size_t bytes =
      kItemCreditBytes + envelope.payload.size() + envelope.schema.size() + envelope.trace.size();
  for (const auto& [key, value] : envelope.headers) bytes += key.size() + value.size();
  return bytes;
}

std::size_t credit_bytes(const Item& item) {
  if (const auto* chunk = std::get_if<item::Chunk>(&item)) {
    return kItemCreditBytes + chunk->bytes.size();
  }
  if (const auto* begin = std::get_if<item::Begin>(&item)) {
    return credit_bytes(begin->send.envelope);
  }
  const auto* signal = std::get_if<Signal>(&item);
  const auto* send = signal ? std::get_if<signal::Send>(signal) : nullptr;
  return send ? credit_bytes(send->envelope) : 0;
}

}  // namespace liminal::wire
