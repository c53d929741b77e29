#include "broker/recovery.hpp"

#include <algorithm>

namespace liminal::broker {

namespace {

constexpr int kStartsAnewMax = 3;  // a node that flaps must not keep everybody waiting

}  // namespace

Recovery::Recovery(Duration length, Limits limits, TimePoint now)
    : length_(length), limits_(limits) {
  if (length > Duration::zero()) ends_ = now + length;
}

void Recovery::extend(Duration by) {
  if (ends_) *ends_ += by;
}

void Recovery::start_anew(TimePoint now) {
  if (!ends_ || starts_anew_ == kStartsAnewMax) return;
  ++starts_anew_;
  ends_ = std::max(*ends_, now + length_);
}

void Recovery::end() {
  ends_.reset();
  reports_.clear();
  if (may_begin()) return;
  names_.clear();
  names_in_order_.clear();
}

bool Recovery::took_back(TimePoint now) {
  if (!may_begin()) return false;
  took_back_ = true;
  const bool was_over = !ends_;
  ends_ = std::max(ends_.value_or(now), now + length_);
  return was_over;
}

void Recovery::name_was_seen(const NodeName& name) {
  if (!takes_back() || !names_.insert(name).second) return;
  names_in_order_.push_back(name);
  if (names_in_order_.size() <= limits_.names_max) return;
  names_.erase(names_in_order_.front());
  names_in_order_.pop_front();
}

bool Recovery::may_report(Incarnation reporter) {
  if (reports_.size() >= limits_.reporters_max && !reports_.contains(reporter)) return false;
  std::size_t& reports = reports_[reporter];
  return ++reports <= limits_.reports_max;
}

bool Recovery::expect(const control::Peer& peer) {
  if (expected_.size() >= limits_.expected_max) return false;
  if (expected_.emplace(peer.incarnation, peer).second) ++expected_names_[peer.name];
  return true;
}

bool Recovery::forget(Incarnation incarnation) {
  const auto found = expected_.find(incarnation);
  if (found == expected_.end()) return false;
  const auto name = expected_names_.find(found->second.name);
  if (--name->second == 0) expected_names_.erase(name);
  expected_.erase(found);
  return true;
}

const control::Peer* Recovery::find(Incarnation incarnation) const {
  const auto found = expected_.find(incarnation);
  return found == expected_.end() ? nullptr : &found->second;
}

bool Recovery::is_expected(const NodeName& name) const { return expected_names_.contains(name); }

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
