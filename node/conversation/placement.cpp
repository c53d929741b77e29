#include "node/conversation/placement.hpp"

#include <algorithm>
#include <utility>

namespace liminal {

Placement::Next Placement::next(const Directory::Snapshot& directory, const Shares& shares,
                                Random& random, TimePoint now) {
  std::vector<const Member*> candidates;
  bool suspects = false;
  for (const Member& member : directory.members) {
    if (asked_.contains({member.name, member.incarnation}) || !allows(member)) continue;
    if (member.state == MemberState::kJoined) candidates.push_back(&member);
    if (member.state == MemberState::kSuspect) suspects = true;
  }
  if (candidates.empty()) {
    // A session that was reset, or a node that leaves or is about to be missed: soon it is known.
    const bool unreached = std::any_of(
        directory.members.begin(), directory.members.end(), [this](const Member& member) {
          return unreached_.contains({member.name, member.incarnation});
        });
    const bool hope = suspects || unreached || !directory.connected || directory.recovering;
    if ((hope || settings_.persistent) && now < give_up_at_) {
      for (const auto& node : std::exchange(unreached_, {})) asked_.erase(node);
      if (settings_.persistent) asked_.clear();
      return Wait{std::min(kRetryInterval, give_up_at_ - now)};
    }
    return GiveUp{no_candidate(directory, suspects)};
  }
  // untried ones before tried ones, then by what the rule counts, then at random
  const auto key = [&](const Member* member) {
    return std::pair{rank_of(*member), cost_of(*member, directory, shares)};
  };
  const std::size_t choices = candidates.size();
  auto best = key(candidates.front());
  for (const Member* member : candidates) best = std::min(best, key(member));
  std::erase_if(candidates, [&](const Member* member) { return key(member) != best; });
  const Member& chosen = *candidates[random.below(candidates.size())];
  last_ = {chosen.name, chosen.incarnation};
  asked_.insert(last_);
  reason_ = reason_for(choices, best.first, best.second);
  return Try{Pid{chosen.name, chosen.incarnation, Serial{0}}};
}

void Placement::failed(Error error) {
  if (error.code == Errc::kPeerUnreachable) unreached_.insert(last_);
  last_error_ = std::move(error);
}

bool Placement::allows(const Member& member) const {
  if (std::find(member.services.begin(), member.services.end(), settings_.service) ==
      member.services.end()) {
    return false;
  }
  if (const auto* label = std::get_if<placement_rule::ByLabel>(&settings_.rule)) {
    return std::find(member.labels.begin(), member.labels.end(),
                     std::pair{label->key, label->value}) != member.labels.end();
  }
  if (const auto* by = std::get_if<placement_rule::ByNode>(&settings_.rule)) {
    return member.name == by->node;
  }
  return true;
}

std::size_t Placement::rank_of(const Member& member) const {
  const auto last =
      std::find_if(settings_.tried.rbegin(), settings_.tried.rend(), [&](const Pid& pid) {
        return pid.node == member.name && pid.incarnation == member.incarnation;
      });
  return static_cast<std::size_t>(settings_.tried.rend() - last);
}

std::uint64_t Placement::cost_of(const Member& member, const Directory::Snapshot& directory,
                                 const Shares& shares) const {
  if (std::holds_alternative<placement_rule::LeastLoaded>(settings_.rule)) {
    return directory.participants_of(member.incarnation);
  }
  if (std::holds_alternative<placement_rule::Spread>(settings_.rule)) {
    const auto share = shares.find({member.name, member.incarnation});
    return share == shares.end() ? 0 : share->second;
  }
  return 0;
}

std::string Placement::reason_for(std::size_t choices, std::size_t rank, std::uint64_t cost) const {
  std::string text = to_string(settings_.rule) + ", of " + std::to_string(choices) +
                     (choices == 1 ? " candidate" : " candidates");
  if (std::holds_alternative<placement_rule::LeastLoaded>(settings_.rule)) {
    text += ", with " + std::to_string(cost) + " participants";
  } else if (std::holds_alternative<placement_rule::Spread>(settings_.rule)) {
    text += ", with " + std::to_string(cost) + " of this conversation";
  }
  if (rank > 0) text += ", tried before, as all others that are there";
  return text;
}

std::string Placement::wanted() const {
  const std::string service = "service '" + settings_.service.value() + "'";
  if (const auto* label = std::get_if<placement_rule::ByLabel>(&settings_.rule)) {
    return "no node with label " + label->key + "=" + label->value + " offers " + service;
  }
  if (const auto* by = std::get_if<placement_rule::ByNode>(&settings_.rule)) {
    return "no node '" + by->node.value() + "' offers " + service;
  }
  return "no node offers " + service;
}

Error Placement::no_candidate(const Directory::Snapshot& directory, bool suspects) const {
  // a node's refusal for a reason of its own says more than that there is nobody else
  if (last_error_ && last_error_->code != Errc::kNoService &&
      last_error_->code != Errc::kPeerUnreachable) {
    return *last_error_;
  }
  std::string text = wanted();
  if (suspects) text += " that is not suspect";
  if (!directory.connected) {
    text += ", without a broker";
  } else if (directory.recovering) {
    text += ", the broker is in recovery";
  }
  const bool waited =
      suspects || !directory.connected || directory.recovering || settings_.persistent;
  if (waited) text += ", waited " + to_string(settings_.timeout);
  return {Errc::kNoService, std::move(text)};
}

Error Placement::unanswered() const {
  return {Errc::kNoService, "no instance of service '" + settings_.service.value() + "' within " +
                                to_string(settings_.timeout)};
}

}  // namespace liminal
