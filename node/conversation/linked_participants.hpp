// The participants of one conversation that are linked to it, as its process knows them.
#pragma once

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "node/conversation/conversation_core.hpp"
#include "node/conversation/placement.hpp"

namespace liminal {

/// Knows whose exits count, and puts together those of one node's death.
///
/// What one node's death ends is decided as one: its exits come one after the other, and those with
/// `noconnection` are held back until no participant of that node is left. Whether it was that
/// node's death is not known from one exit, since a process that is linked to a lost one exits with
/// the same reason: while holds_exits(), the owner calls release() before long.
///
/// Bounds: an entry for each participant, and one for each exit that is held, of participants only.
/// Thread affinity: that of the conversation's process, which owns it.
class LinkedParticipants {
 public:
  using Exits = std::vector<input::ParticipantsExited::Exit>;

  void add_instance(const Pid& instance) { instances_.insert(instance); }
  void attach(const Pid& pid) { attached_.insert(pid); }

  /// What is to be decided now, in order; the exits of each are one. REQUIRES: contains()
  [[nodiscard]] std::vector<Exits> exited(Pid participant, ExitReason reason);
  [[nodiscard]] std::vector<Exits> detach(const Pid& pid);
  [[nodiscard]] bool holds_exits() const { return !fallen_.empty(); }
  /// All that are held.
  [[nodiscard]] std::vector<Exits> release();

  [[nodiscard]] bool contains(const Pid& pid) const {
    return instances_.contains(pid) || attached_.contains(pid);
  }
  /// Owned ones that have not exited.
  [[nodiscard]] const std::set<Pid>& instances() const { return instances_; }
  [[nodiscard]] const std::set<Pid>& attached() const { return attached_; }
  /// How many are on each node.
  [[nodiscard]] Placement::Shares shares() const;

 private:
  using NodeLife = std::pair<NodeName, Incarnation>;

  [[nodiscard]] std::vector<Exits> released(const NodeLife& node);
  [[nodiscard]] bool any_is_on(const NodeLife& node) const;

  std::set<Pid> instances_, attached_;
  /// Exits on nodes that may be gone, until those of all their participants are there.
  std::map<NodeLife, Exits> fallen_;
};

}  // namespace liminal
