// Who a process is linked to, and through which activations.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "common/base/ids.hpp"
#include "common/wire/signal.hpp"

namespace liminal {

/// One process's end of its links.
///
/// Each end numbers the activations it makes. A record holds at most the one made here and the one
/// made there: two links made at once are one link with two names, and either name ends it. What
/// names an activation that is not (any more) on record is stale and changes nothing.
///
/// Thread affinity: the thread that runs the process.
class Links {
 public:
  struct Record {
    std::optional<LinkId> mine;    // made here
    std::optional<LinkId> theirs;  // made by the peer
  };

  explicit Links(Pid self) : self_(std::move(self)) {}

  /// Makes an activation. nullopt if `peer` is linked already: there is nothing to send.
  /// REQUIRES: `peer` is another process.
  [[nodiscard]] std::optional<LinkId> link(const Pid& peer);

  /// The peer made an activation.
  void linked_by(const Pid& peer, LinkId link);

  /// Forgets the link and every exit of it that was not handed out; returns what to tell the peer.
  [[nodiscard]] std::optional<signal::Unlink> unlink(const Pid& peer);
  void unlinked_by(const signal::Unlink& unlink);

  /// The peer ended. True the first time an activation on record is named; the record is then gone.
  [[nodiscard]] bool exited(const Pid& peer, LinkId link);

  /// An exit of this activation waits in the mailbox; an unlink() before it is taken cancels it.
  void exit_waits(const Pid& peer, LinkId link) { waiting_exits_.emplace(peer, link); }
  /// False if it was cancelled.
  [[nodiscard]] bool take_exit(const Pid& peer, LinkId link) {
    return waiting_exits_.erase({peer, link}) > 0;
  }

  [[nodiscard]] const std::map<Pid, Record>& all() const noexcept { return records_; }

 private:
  [[nodiscard]] LinkId new_id(const Pid& peer);

  Pid self_;
  std::uint64_t made_ = 0;
  std::map<Pid, Record> records_;  // ordered, so that exit signals leave in the same order
  std::set<std::pair<Pid, LinkId>> waiting_exits_;
};

}  // namespace liminal
