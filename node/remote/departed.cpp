#include "node/remote/departed.hpp"

#include <algorithm>

namespace liminal {
namespace {

// Of one that nobody knows the isolation timeout of, and the longest that is believed.
constexpr Duration kUnknownIsolation = std::chrono::minutes{2};
constexpr Duration kIsolationMax = std::chrono::hours{24};

Duration isolation_of(const Member& member) {
  if (member.isolation_timeout == Duration::zero()) return kUnknownIsolation;
  return std::min(member.isolation_timeout, kIsolationMax);
}

}  // namespace

control::Peer peer_of(const Member& member) {
  return {.name = member.name,
          .incarnation = member.incarnation,
          .light = member.light,
          .isolation_timeout = member.isolation_timeout};
}

void Departed::add(const Member& member, const std::optional<Evidence>& evidence, TimePoint now) {
  const Entry entry{.verdict = {peer_of(member), evidence},
                    .down = member.state == MemberState::kDown,
                    .tell_until = now + 2 * isolation_of(member)};
  if (!entries_.emplace(member.incarnation, entry).second) return;
  order_.push_back(member.incarnation);
  if (order_.size() <= entries_max_) return;
  entries_.erase(order_.front());
  order_.pop_front();
}

std::optional<Evidence> Departed::evidence_of(Incarnation incarnation) const {
  const auto found = entries_.find(incarnation);
  return found == entries_.end() ? std::nullopt : found->second.verdict.evidence;
}

std::vector<control::Verdict> Departed::verdicts(TimePoint now) const {
  std::vector<control::Verdict> verdicts;
  for (const auto& [incarnation, entry] : entries_) {
    if (entry.down && now < entry.tell_until) verdicts.push_back(entry.verdict);
  }
  return verdicts;
}

}  // namespace liminal
