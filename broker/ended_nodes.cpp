#include "broker/ended_nodes.hpp"

#include <algorithm>
#include <utility>

namespace liminal::broker {

void EndedIncarnations::add(Incarnation incarnation) {
  if (!known_.insert(incarnation).second) return;
  order_.push_back(incarnation);
  if (order_.size() <= max_) return;
  known_.erase(order_.front());
  order_.pop_front();
}

void History::add(control::NodeStatus status, TimePoint now) {
  const NodeName name = status.member.name;
  forget(name);
  const std::size_t bytes = description_bytes(status.member);
  bytes_ += bytes;
  entries_.emplace(name, Entry{std::move(status), now, bytes});
  while (entries_.size() > limits_.entries_max || bytes_ > limits_.bytes_max) forget_oldest();
}

void History::forget(const NodeName& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  bytes_ -= found->second.bytes;
  entries_.erase(found);
}

void History::expire(TimePoint now) {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (now - entry->second.ended < limits_.kept) {
      ++entry;
      continue;
    }
    bytes_ -= entry->second.bytes;
    entry = entries_.erase(entry);
  }
}

void History::forget_oldest() {
  const auto oldest = std::min_element(
      entries_.begin(), entries_.end(),
      [](const auto& a, const auto& b) { return a.second.ended < b.second.ended; });
  bytes_ -= oldest->second.bytes;
  entries_.erase(oldest);
}

std::size_t description_bytes(const Member& member) {
  constexpr std::size_t kFixed = 128;  // numbers, evidence, array heads
  constexpr std::size_t kPerText = 5;  // the longest head of a text
  std::size_t bytes = kFixed + member.name.value().size();
  for (const auto& service : member.services) bytes += kPerText + service.value().size();
  for (const auto& [key, value] : member.labels) {
    bytes += 1 + 2 * kPerText + key.size() + value.size();
  }
  return bytes;
}

}  // namespace liminal::broker
