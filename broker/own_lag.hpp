// Notices that the loop itself was late, so that nobody else is blamed for it.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/time.hpp"

namespace liminal::broker {

/// Compares each reading of the clock with the one it should have been at the latest. So a wait
/// that ended late (the machine slept, the process was stopped) and a turn that took long look
/// alike.
///
/// A lag of more than `tolerated` is held until judge_after(): what arrived meanwhile, closings
/// that the network reports a moment after the process woke among it, is to be read before.
class OwnLag {
 public:
  OwnLag(Duration tolerated, Duration settle) : tolerated_(tolerated), settle_(settle) {}

  /// The loop is about to wait no longer than until `latest`.
  void will_wake_by(TimePoint latest) { expected_ = latest; }

  /// The loop read the clock, once in this turn.
  void woke(TimePoint now) {
    if (!expected_ || now - *expected_ <= tolerated_) return;
    lag_ = std::max(lag_.value_or(Duration::zero()), now - *expected_);
    judge_after_ = now + settle_;
  }

  /// While set: judge nobody before this time, and then only what remains after take().
  [[nodiscard]] std::optional<TimePoint> judge_after() const { return judge_after_; }

  /// The lag that was held, once its time to settle has passed; nullopt before, and where none is.
  [[nodiscard]] std::optional<Duration> take(TimePoint now) {
    if (!judge_after_ || now < *judge_after_) return std::nullopt;
    judge_after_.reset();
    return std::exchange(lag_, std::nullopt);
  }

 private:
  Duration tolerated_;
  Duration settle_;
  std::optional<TimePoint> expected_;
  std::optional<Duration> lag_;
  std::optional<TimePoint> judge_after_;
};

}  // namespace liminal::broker
