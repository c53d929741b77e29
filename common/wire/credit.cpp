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

std::size_t weight_bytes(const Signal& signal) {
  if (const auto* send = std::get_if<signal::Send>(&signal)) return credit_bytes(send->envelope);
  std::size_t text = 0;
  if (const auto* exit = std::get_if<signal::Exit>(&signal)) text = exit->reason.text.size();
  if (const auto* down = std::get_if<signal::Down>(&signal)) text = down->reason.text.size();
  if (const auto* refusal = std::get_if<signal::Refusal>(&signal)) text = refusal->text.size();
  if (const auto* reply = std::get_if<signal::SpawnReply>(&signal); reply && reply->error) {
    text = reply->error->detail.size();
  }
  return kItemCreditBytes + text;
}

}  // namespace liminal::wire
