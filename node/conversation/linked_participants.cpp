#include "node/conversation/linked_participants.hpp"

#include <algorithm>
#include <utility>

namespace liminal {

std::vector<LinkedParticipants::Exits> LinkedParticipants::exited(Pid participant,
                                                                  ExitReason reason) {
  instances_.erase(participant);
  attached_.erase(participant);
  const NodeLife node{participant.node, participant.incarnation};
  const bool node_may_be_gone = reason.kind == ExitKind::kNoConnection && !participant.is_local();
  const bool is_last_there = fallen_.contains(node) && !any_is_on(node);
  if (node_may_be_gone || is_last_there) {
    fallen_[node].push_back({std::move(participant), std::move(reason)});
    return released(node);
  }
  return {{{std::move(participant), std::move(reason)}}};
}

std::vector<LinkedParticipants::Exits> LinkedParticipants::detach(const Pid& pid) {
  attached_.erase(pid);
  return released({pid.node, pid.incarnation});
}

std::vector<LinkedParticipants::Exits> LinkedParticipants::released(const NodeLife& node) {
  const auto found = fallen_.find(node);
  if (found == fallen_.end() || any_is_on(node)) return {};
  std::vector<Exits> all;
  all.push_back(std::move(found->second));
  fallen_.erase(found);
  return all;
}

std::vector<LinkedParticipants::Exits> LinkedParticipants::release() {
  std::vector<Exits> all;
  for (auto& [node, exits] : std::exchange(fallen_, {})) all.push_back(std::move(exits));
  return all;
}

bool LinkedParticipants::any_is_on(const NodeLife& node) const {
  const auto is_there = [&](const Pid& pid) {
    return pid.node == node.first && pid.incarnation == node.second;
  };
  return std::any_of(attached_.begin(), attached_.end(), is_there) ||
         std::any_of(instances_.begin(), instances_.end(), is_there);
}

Placement::Shares LinkedParticipants::shares() const {
  Placement::Shares shares;
  for (const Pid& pid : instances_) ++shares[{pid.node, pid.incarnation}];
  for (const Pid& pid : attached_) ++shares[{pid.node, pid.incarnation}];
  return shares;
}

}  // namespace liminal
