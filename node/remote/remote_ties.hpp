// What ties local processes to those of one peer, so that each is told when the peer is lost.
#pragma once

#include <compare>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "common/base/ids.hpp"
#include "common/wire/signal.hpp"

namespace liminal {

/// Follows the signals that pass between this node and one peer, and remembers the links, monitors
/// and open spawn requests that they leave behind. An entry here is the room reserved for the one
/// signal that its tie still owes.
///
/// Thread-safety: none. Cost: O(log ties) per signal.
class RemoteTies {
 public:
  /// A signal of a local process left for the peer; `from` is local.
  void note_outgoing(const Signal& signal);
  /// A signal of the peer came in; `to` is local.
  void note_incoming(const Signal& signal);

  /// The peer is lost: the signals that tell every local process with a tie so, in a fixed order;
  /// afterwards there is no tie. `pid_of` completes the serials of the peer's processes.
  template <class PidOf>
  [[nodiscard]] std::vector<Signal> break_all(const NodeName& self, const ExitReason& reason,
                                              const PidOf& pid_of);

  /// Local processes that were made on the peer's request and are still linked to it.
  [[nodiscard]] std::vector<Serial> owned() const;

  [[nodiscard]] std::size_t size() const {
    return links_.size() + watching_.size() + watched_.size() + spawns_.size();
  }

 private:
  struct Pair {
    Serial local, remote;
    friend auto operator<=>(const Pair&, const Pair&) = default;
  };
  struct Link {
    std::optional<LinkId> made_here, made_there;
    bool owned = false;  // the local end was spawned for the remote one
  };
  struct Watch {
    Pair pair;
    MonitorId monitor;
    friend auto operator<=>(const Watch&, const Watch&) = default;
  };
  struct Spawn {
    Serial local;
    SpawnId spawn;
    friend auto operator<=>(const Spawn&, const Spawn&) = default;
  };

  void forget(Pair pair, std::optional<LinkId> link);

  std::map<Pair, Link> links_;
  std::set<Watch> watching_;  // local processes watch remote ones
  std::set<Watch> watched_;   // remote processes watch local ones
  std::set<Spawn> spawns_;    // asked of the peer, not answered yet
};

template <class PidOf>
std::vector<Signal> RemoteTies::break_all(const NodeName& self, const ExitReason& reason,
                                          const PidOf& pid_of) {
  const auto local = [&](Serial serial) { return Pid{self, local_incarnation(), serial}; };
  std::vector<Signal> signals;
  for (const auto& [pair, link] : links_) {
    // The process may know either activation by now; the first that it knows takes the link away,
    // and the other is then dropped as stale.
    for (const auto& id : {link.made_here, link.made_there}) {
      if (id) signals.push_back(signal::Exit{pid_of(pair.remote), local(pair.local), reason, id});
    }
  }
  for (const auto& [pair, monitor] : watching_) {
    signals.push_back(signal::Down{pid_of(pair.remote), local(pair.local), monitor, reason});
  }
  for (const auto& [pair, monitor] : watched_) {
    signals.push_back(signal::Demonitor{pid_of(pair.remote), local(pair.local), monitor});
  }
  for (const auto& [requester, spawn] : spawns_) {
    signals.push_back(signal::SpawnReply{
        pid_of(Serial{0}), local(requester), spawn, std::nullopt,
        Error{Errc::kPeerUnreachable, "the node is gone: " + to_string(reason)}});
  }
  links_.clear();
  watching_.clear();
  watched_.clear();
  spawns_.clear();
  return signals;
}

}  // namespace liminal
