#include "node/conversation/linked_participants.hpp"

#include <algorithm>

namespace liminal {

std::optional<LinkedParticipants::Exits> LinkedParticipants::exited(Pid participant,
                                                                    ExitReason reason) {
  instances_.erase(participant);
  attached_.erase(participant);
  if (reason.kind != ExitKind::kNoConnection) {
    return Exits{{std::move(participant), std::move(reason)}};
  }
  const NodeLife node{participant.node, participant.incarnation};
  auto& exits = fallen_[node];
  exits.push_back({std::move(participant), std::move(reason)});
  if (any_is_on(node)) return std::nullopt;
  Exits all = std::move(exits);
  fallen_.erase(node);
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
