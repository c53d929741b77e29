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
///
/// Each further lag while one is held makes it settle anew, but not for ever: a loop that is late
/// again and again (its process gets little time, each of its turns is long) judges all the same,
/// `settle_max` after the first of them. Only if it was stopped at that moment it settles once
/// more.
class OwnLag {
 public:
  /// REQUIRES: settle <= settle_max.
  OwnLag(Duration tolerated, Duration settle, Duration settle_max)
      : tolerated_(tolerated), settle_(settle), settle_max_(settle_max) {}

  /// The loop is about to wait no longer than until `latest`.
  void will_wake_by(TimePoint latest) { expected_ = latest; }

  /// The loop read the clock, once in this turn.
  void woke(TimePoint now) {
    if (!expected_ || now - *expected_ <= tolerated_) return;
    lag_ = std::max(lag_.value_or(Duration::zero()), now - *expected_);
    if (!judge_by_) judge_by_ = now + settle_max_;
    if (now >= *judge_by_ && !prolonged_) {  // it could not read while it was stopped
      prolonged_ = true;
      judge_by_ = now + settle_;
    }
    judge_after_ = std::min(now + settle_, *judge_by_);
  }

  /// While set: judge nobody before this time, and then only what remains after take().
  [[nodiscard]] std::optional<TimePoint> judge_after() const { return judge_after_; }

  /// Set with judge_after() and not before it: then judge even if there is more to be read.
  [[nodiscard]] std::optional<TimePoint> judge_by() const { return judge_by_; }

  /// The lag that was held, once its time to settle has passed; nullopt before, and where none is.
  [[nodiscard]] std::optional<Duration> take(TimePoint now) {
    if (!judge_after_ || now < *judge_after_) return std::nullopt;
    judge_after_.reset();
    judge_by_.reset();
    prolonged_ = false;
    return std::exchange(lag_, std::nullopt);
  }

 private:
  Duration tolerated_;
  Duration settle_;
  Duration settle_max_;
  std::optional<TimePoint> expected_;
  std::optional<Duration> lag_;
  std::optional<TimePoint> judge_after_;
  std::optional<TimePoint> judge_by_;
  bool prolonged_ = false;
};

}  // namespace liminal::broker
