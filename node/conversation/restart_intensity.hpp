// How often something may be restarted before its supervisor gives up.
#pragma once

#include <cstddef>
#include <deque>

#include "common/base/time.hpp"

namespace liminal {

/// Erlang's restart intensity: more than `restarts_max` crashes within `period` are too many. A
/// crash exactly `period` ago still counts.
///
/// Cost: O(1) amortized. Bounds: remembers restarts_max + 1 instants.
class RestartIntensity {
 public:
  RestartIntensity(std::size_t restarts_max, Duration period)
      : restarts_max_(restarts_max), period_(period) {}

  /// Records a crash. False if it is one too many: no restart.
  /// REQUIRES: `now` is not earlier than in any previous call.
  [[nodiscard]] bool allows_restart(TimePoint now) {
    while (!crashes_.empty() && now - crashes_.front() > period_) crashes_.pop_front();
    if (crashes_.size() > restarts_max_) crashes_.pop_front();
    crashes_.push_back(now);
    return crashes_.size() <= restarts_max_;
  }

 private:
  std::size_t restarts_max_;
  Duration period_;
  std::deque<TimePoint> crashes_;  // within the period, the oldest first
};

}  // namespace liminal
