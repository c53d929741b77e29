// Chooses the node on which an instance of a service is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/random.hpp"
#include "node/conversation/conversation_types.hpp"
#include "node/remote/directory.hpp"

namespace liminal {

/// The search for one instance. Candidates are the joined nodes that offer the service and that the
/// rule allows; those where a holder of the role was before come after all others, the one that was
/// tried longest ago first. A node that brought no instance is not asked again, unless it could not
/// be reached and is still listed. A suspect node gets no new work, but is worth waiting for, and
/// so is a broker.
///
/// No clock and no I/O: its owner acts on what next() says, and tells how it went.
class Placement {
 public:
  static constexpr Duration kRetryInterval = std::chrono::milliseconds{50};

  struct Settings {
    ServiceName service;
    PlacementRule rule = placement_rule::Any{};
    Duration timeout;             // bounds the waiting
    std::vector<Pid> tried = {};  // who held the role before, in order
    /// Wait for a candidate all of this time, whatever the directory says, and ask again those that
    /// brought no instance.
    bool persistent = false;
  };

  /// How many participants of this conversation each node has: for Spread.
  using Shares = std::map<std::pair<NodeName, Incarnation>, std::size_t>;

  struct Try {
    Pid node;  // serial 0; the answer, if it is an error, is told to failed()
  };
  struct Wait {
    Duration before_next;
  };
  struct GiveUp {
    Error error;
  };
  using Next = std::variant<Try, Wait, GiveUp>;

  /// The time counts from `now`.
  Placement(Settings settings, TimePoint now)
      : settings_(std::move(settings)), give_up_at_(now + settings_.timeout) {}

  [[nodiscard]] Next next(const Directory::Snapshot& directory, const Shares& shares,
                          Random& random, TimePoint now);

  /// The last Try brought no instance.
  void failed(Error error);

  /// What is told if the last Try was not answered by give_up_at().
  [[nodiscard]] Error unanswered() const;
  [[nodiscard]] TimePoint give_up_at() const { return give_up_at_; }
  /// Why the node of the last Try was chosen.
  [[nodiscard]] const std::string& reason() const { return reason_; }

 private:
  [[nodiscard]] bool allows(const Member& member) const;
  /// 0: not tried; else the greater the later it was tried.
  [[nodiscard]] std::size_t rank_of(const Member& member) const;
  /// What the rule counts: less is better.
  [[nodiscard]] std::uint64_t cost_of(const Member& member, const Directory::Snapshot& directory,
                                      const Shares& shares) const;
  [[nodiscard]] std::string reason_for(std::size_t choices, std::size_t rank,
                                       std::uint64_t cost) const;
  [[nodiscard]] Error no_candidate(const Directory::Snapshot& directory, bool suspects) const;
  [[nodiscard]] std::string wanted() const;

  Settings settings_;
  TimePoint give_up_at_;
  std::set<std::pair<NodeName, Incarnation>> asked_;
  std::set<std::pair<NodeName, Incarnation>> unreached_;  // of them
  std::pair<NodeName, Incarnation> last_{NodeName{""}, Incarnation{0}};
  std::optional<Error> last_error_;
  std::string reason_;
};

}  // namespace liminal
