#include "broker/outbox.hpp"

#include <utility>

namespace liminal::broker {

bool Outbox::push(net::Parts& message) {
  const std::size_t bytes = size_of(message);
  if (bytes_ + bytes > bytes_max_) return false;
  bytes_ += bytes;
  messages_.push_back(std::move(message));
  return true;
}

std::size_t Outbox::size_of(const net::Parts& message) {
  std::size_t bytes = sizeof(net::Parts);
  for (const net::MessagePart& part : message) bytes += sizeof part + part.view().size();
  return bytes;
}

}  // namespace liminal::broker
