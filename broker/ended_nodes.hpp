// Nodes that went down or left: what status shows of them, and which incarnations stay out.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <set>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/wire/control.hpp"

namespace liminal::broker {

/// Incarnations that ended in this epoch: none of them is taken back. Bounded: beyond `max` the
/// oldest is forgotten. It could then join as if it were new; whoever held ties to it has broken
/// them long ago.
class EndedIncarnations {
 public:
  explicit EndedIncarnations(std::size_t max) : max_(max) {}

  void add(Incarnation incarnation);
  [[nodiscard]] bool contains(Incarnation incarnation) const {
    return known_.contains(incarnation);
  }

 private:
  std::size_t max_;
  std::set<Incarnation> known_;
  std::deque<Incarnation> order_;  // oldest first
};

/// The last end of each name, for a while: at most `entries_max` names and `bytes_max` of what
/// they offered; beyond either the oldest goes.
class History {
 public:
  struct Limits {
    std::size_t entries_max;
    std::size_t bytes_max;
    Duration kept;
  };
  explicit History(Limits limits) : limits_(limits) {}

  void add(control::NodeStatus status, TimePoint now);
  void forget(const NodeName& name);
  /// Forgets what ended `kept` ago or earlier.
  void expire(TimePoint now);

  struct Entry {
    control::NodeStatus status;
    TimePoint ended;
    std::size_t bytes;
  };
  [[nodiscard]] const std::map<NodeName, Entry>& entries() const { return entries_; }

 private:
  void forget_oldest();

  Limits limits_;
  std::map<NodeName, Entry> entries_;
  std::size_t bytes_ = 0;
};

/// What a member takes in a frame, roughly and never less.
[[nodiscard]] std::size_t description_bytes(const Member& member);

}  // namespace liminal::broker
