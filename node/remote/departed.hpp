// Incarnations that are gone: what is told to those who ask after them, and to a new broker.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/wire/control.hpp"

namespace liminal {

/// Remembers a death for twice the time after which the dead node, were it only cut off, must have
/// fenced itself: a new broker that is told of it meanwhile does not take the incarnation back.
///
/// Bound: `entries_max`; beyond it the oldest is forgotten.
/// Thread-safety: none.
class Departed {
 public:
  explicit Departed(std::size_t entries_max) : entries_max_(entries_max) {}

  /// `member.state` is kDown or kLeft. The first word on an incarnation stands.
  void add(const Member& member, const std::optional<Evidence>& evidence, TimePoint now);

  [[nodiscard]] bool contains(Incarnation incarnation) const {
    return entries_.contains(incarnation);
  }
  /// That is final, whatever a broker lists later.
  [[nodiscard]] bool is_down(Incarnation incarnation) const {
    const auto found = entries_.find(incarnation);
    return found != entries_.end() && found->second.down;
  }
  /// Why it went, where that is known.
  [[nodiscard]] std::optional<Evidence> evidence_of(Incarnation incarnation) const;

  /// The deaths that a broker should know, in order of incarnation.
  [[nodiscard]] std::vector<control::Verdict> verdicts(TimePoint now) const;

 private:
  struct Entry {
    control::Verdict verdict;
    bool down;  // else it left, and cannot come back
    TimePoint tell_until;
  };

  std::size_t entries_max_;
  std::map<Incarnation, Entry> entries_;
  std::deque<Incarnation> order_;  // oldest first
};

/// A member as a join reports it.
[[nodiscard]] control::Peer peer_of(const Member& member);

}  // namespace liminal
