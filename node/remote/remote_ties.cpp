#include "node/remote/remote_ties.hpp"

namespace liminal {

void RemoteTies::forget(Pair pair, std::optional<LinkId> link) {
  const auto found = links_.find(pair);
  if (found == links_.end() || !link) return;
  if (found->second.made_here == link || found->second.made_there == link) links_.erase(found);
}

void RemoteTies::note_outgoing(const Signal& signal) {
  const Pair pair{from_of(signal).serial, to_of(signal).serial};
  if (const auto* link = std::get_if<signal::Link>(&signal)) {
    links_[pair].made_here = link->link;
  } else if (const auto* unlink = std::get_if<signal::Unlink>(&signal)) {
    const auto found = links_.find(pair);
    if (found == links_.end()) return;
    auto& [made_here, made_there, owned] = found->second;
    if (made_here == unlink->made_by_sender) made_here.reset();
    if (made_there == unlink->made_by_receiver) made_there.reset();
    if (!made_here && !made_there) links_.erase(found);
  } else if (const auto* exit = std::get_if<signal::Exit>(&signal)) {
    forget(pair, exit->link);
  } else if (const auto* monitor = std::get_if<signal::Monitor>(&signal)) {
    watching_.insert({pair, monitor->monitor});
  } else if (const auto* demonitor = std::get_if<signal::Demonitor>(&signal)) {
    watching_.erase({pair, demonitor->monitor});
  } else if (const auto* down = std::get_if<signal::Down>(&signal)) {
    watched_.erase({pair, down->monitor});
  } else if (const auto* request = std::get_if<signal::SpawnRequest>(&signal)) {
    spawns_.insert({pair.local, request->spawn});
  } else if (const auto* reply = std::get_if<signal::SpawnReply>(&signal)) {
    if (reply->link) links_[pair] = Link{reply->link, std::nullopt, true};
  }
}

void RemoteTies::note_incoming(const Signal& signal) {
  const Pair pair{to_of(signal).serial, from_of(signal).serial};
  if (const auto* link = std::get_if<signal::Link>(&signal)) {
    links_[pair].made_there = link->link;
  } else if (const auto* unlink = std::get_if<signal::Unlink>(&signal)) {
    const auto found = links_.find(pair);
    if (found == links_.end()) return;
    auto& [made_here, made_there, owned] = found->second;
    if (made_there == unlink->made_by_sender) made_there.reset();
    if (made_here == unlink->made_by_receiver) made_here.reset();
    if (!made_here && !made_there) links_.erase(found);
  } else if (const auto* exit = std::get_if<signal::Exit>(&signal)) {
    forget(pair, exit->link);
  } else if (const auto* monitor = std::get_if<signal::Monitor>(&signal)) {
    watched_.insert({pair, monitor->monitor});
  } else if (const auto* demonitor = std::get_if<signal::Demonitor>(&signal)) {
    watched_.erase({pair, demonitor->monitor});
  } else if (const auto* down = std::get_if<signal::Down>(&signal)) {
    watching_.erase({pair, down->monitor});
  } else if (const auto* reply = std::get_if<signal::SpawnReply>(&signal)) {
    spawns_.erase({pair.local, reply->spawn});
    if (reply->link) links_[pair].made_there = reply->link;
  }
}

std::vector<Serial> RemoteTies::owned() const {
  std::vector<Serial> serials;
  for (const auto& [pair, link] : links_) {
    if (link.owned) serials.push_back(pair.local);
  }
  return serials;
}

}  // namespace liminal
