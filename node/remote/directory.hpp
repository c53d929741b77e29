// Which nodes are there and what they offer, as this node knows at the moment.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "common/wire/control.hpp"

namespace liminal {

/// The living members, this node included (its pid is local), with their services.
///
/// NodeCore's driver publishes, conversations read. It is published before the exit signals of a
/// node's death are delivered, so that whoever reacts to them does not choose the dead.
///
/// Thread-safety: all functions from any thread; a snapshot is immutable (shared_ptr because
/// readers keep it while the next one is published).
class Directory {
 public:
  using Members = std::vector<Member>;  // sorted by name; this node has local_incarnation()

  struct Snapshot {
    Members members;
    bool connected = false;               // joined to a broker (always true for a node alone)
    std::uint64_t payload_bytes_max = 0;  // of the cluster
    bool recovering = false;              // the broker is new: more nodes may come back
    /// Of this node, as others see it; none until a broker welcomed it, and again while it joins
    /// anew under another.
    std::optional<Incarnation> incarnation = {};
    /// By their latest beats; without those that have none. For choosing, not for counting: what
    /// is being placed at this moment is not in it.
    std::map<Incarnation, std::uint32_t> participants = {};

    [[nodiscard]] std::uint32_t participants_of(Incarnation node) const {
      const auto found = participants.find(node);
      return found == participants.end() ? 0 : found->second;
    }
  };

  [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const {
    const std::lock_guard lock{mutex_};
    return snapshot_;
  }

  void publish(Snapshot snapshot) {
    auto fresh = std::make_shared<const Snapshot>(std::move(snapshot));
    const std::lock_guard lock{mutex_};
    snapshot_ = std::move(fresh);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Snapshot> snapshot_ =
      std::make_shared<const Snapshot>();  // GUARDED_BY mutex_
};

}  // namespace liminal
