#include "node/conversation/placement.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace liminal {

Placement::Next Placement::next(const Directory::Snapshot& directory, Random& random,
                                TimePoint now) {
  std::vector<const Member*> candidates;
  bool suspects = false;
  for (const Member& member : directory.members) {
    if (tried_.contains({member.name, member.incarnation}) ||
        std::find(member.services.begin(), member.services.end(), service_) ==
            member.services.end()) {
      continue;
    }
    if (member.state == MemberState::kJoined) candidates.push_back(&member);
    if (member.state == MemberState::kSuspect) suspects = true;
  }
  if (!candidates.empty()) {
    const Member& chosen = *candidates[random.below(candidates.size())];
    tried_.emplace(chosen.name, chosen.incarnation);
    return Try{Pid{chosen.name, chosen.incarnation, Serial{0}}};
  }
  const bool hope = suspects || !directory.connected || directory.recovering;
  if (hope && now < give_up_at_) {
    return Wait{std::min(kRetryInterval, give_up_at_ - now)};
  }
  return GiveUp{no_candidate(directory, suspects)};
}

Error Placement::no_candidate(const Directory::Snapshot& directory, bool suspects) const {
  // a node's refusal for a reason of its own says more than that there is nobody else
  if (last_error_ && last_error_->code != Errc::kNoService &&
      last_error_->code != Errc::kPeerUnreachable) {
    return *last_error_;
  }
  std::string text = "no node offers service '" + service_.value() + "'";
  if (suspects) text += " that is not suspect, waited " + to_string(timeout_);
  if (!directory.connected) {
    text += ", without a broker, waited " + to_string(timeout_);
  } else if (directory.recovering) {
    text += ", the broker is in recovery, waited " + to_string(timeout_);
  }
  return {Errc::kNoService, std::move(text)};
}

Error Placement::unanswered() const {
  return {Errc::kNoService,
          "no instance of service '" + service_.value() + "' within " + to_string(timeout_)};
}

}  // namespace liminal
