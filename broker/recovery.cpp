#include "broker/recovery.hpp"

#include <algorithm>

namespace liminal::broker {

Recovery::Recovery(Duration length, Limits limits, TimePoint now) : limits_(limits) {
  if (length > Duration::zero()) ends_ = now + length;
}

void Recovery::extend(Duration by) {
  if (ends_) *ends_ += by;
}

void Recovery::end() {
  ends_.reset();
  names_.clear();
  reports_.clear();
}

void Recovery::name_was_seen(const NodeName& name) {
  if (ends_) names_.insert(name);
}

bool Recovery::may_report(Incarnation reporter) {
  std::size_t& reports = reports_[reporter];
  return ++reports <= limits_.reports_max;
}

bool Recovery::expect(const control::Peer& peer) {
  if (expected_.size() >= limits_.expected_max) return false;
  expected_.emplace(peer.incarnation, peer);
  return true;
}

const control::Peer* Recovery::find(Incarnation incarnation) const {
  const auto found = expected_.find(incarnation);
  return found == expected_.end() ? nullptr : &found->second;
}

bool Recovery::is_expected(const NodeName& name) const {
  return std::any_of(expected_.begin(), expected_.end(),
                     [&](const auto& entry) { return entry.second.name == name; });
}

std::vector<control::Peer> Recovery::expected() const {
  std::vector<control::Peer> peers;
  peers.reserve(expected_.size());
  for (const auto& [incarnation, peer] : expected_) peers.push_back(peer);
  return peers;
}

Member expected_member(const control::Peer& peer) {
  return Member{.name = peer.name,
                .incarnation = peer.incarnation,
                .state = MemberState::kExpected,
                .light = peer.light,
                .services = {},
                .labels = {},
                .isolation_timeout = peer.isolation_timeout};
}

}  // namespace liminal::broker
