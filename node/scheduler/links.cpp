#include "node/scheduler/links.hpp"

#include "common/base/check.hpp"

namespace liminal {

LinkId Links::new_id(const Pid& peer) {
  // The lowest bit tells the two makers apart, so that both may number on their own.
  return LinkId{(++made_ << 1) | (self_ > peer ? 1U : 0U)};
}

std::optional<LinkId> Links::link(const Pid& peer) {
  check(peer != self_, "a process links to another");
  const auto [found, is_new] = records_.try_emplace(peer);
  if (!is_new) return std::nullopt;
  found->second.mine = new_id(peer);
  return found->second.mine;
}

void Links::linked_by(const Pid& peer, LinkId link) { records_[peer].theirs = link; }

std::optional<signal::Unlink> Links::unlink(const Pid& peer) {
  if (!waiting_exits_.empty()) {
    auto waiting = waiting_exits_.lower_bound({peer, LinkId{0}});
    while (waiting != waiting_exits_.end() && waiting->first == peer) {
      waiting = waiting_exits_.erase(waiting);
    }
  }
  const auto found = records_.find(peer);
  if (found == records_.end()) return std::nullopt;
  signal::Unlink told{self_, peer, found->second.mine, found->second.theirs};
  records_.erase(found);
  return told;
}

void Links::unlinked_by(const signal::Unlink& unlink) {
  const auto found = records_.find(unlink.from);
  if (found == records_.end()) return;
  Record& record = found->second;
  if (record.mine == unlink.made_by_receiver) record.mine.reset();
  if (record.theirs == unlink.made_by_sender) record.theirs.reset();
  if (!record.mine && !record.theirs) records_.erase(found);
}

bool Links::exited(const Pid& peer, LinkId link) {
  const auto found = records_.find(peer);
  if (found == records_.end()) return false;
  if (found->second.mine != link && found->second.theirs != link) return false;
  records_.erase(found);
  return true;
}

}  // namespace liminal
