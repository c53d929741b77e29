// The timers of all processes, in the order in which they are due.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"

namespace liminal {

/// Thread-safety: all functions.
class Timers {
 public:
  [[nodiscard]] TimerId start(Serial owner, TimePoint due) {
    const std::lock_guard lock(mutex_);
    const TimerId timer{++started_};
    timers_.emplace(Key{due, timer}, owner);
    note_earliest();
    return timer;
  }

  /// One that fired is fine: the owner knows that it no longer wants it.
  void cancel(TimerId timer, TimePoint due) {
    const std::lock_guard lock(mutex_);
    timers_.erase(Key{due, timer});
    note_earliest();
  }

  /// Hands each timer that is due to `sink(Serial owner, TimerId)`, those due at one time in the
  /// order started. The lock is held meanwhile, so that two threads cannot fire out of order; the
  /// sink starts and cancels no timer.
  template <class Sink>
  void fire_due(TimePoint now, Sink sink) {
    if (!next() || *next() > now) return;
    const std::lock_guard lock(mutex_);
    while (!timers_.empty() && timers_.begin()->first.first <= now) {
      const auto [key, owner] = *timers_.begin();
      timers_.erase(timers_.begin());
      sink(owner, key.second);
    }
    note_earliest();
  }

  /// When the next one is due. Takes no lock: each turn of a worker asks.
  [[nodiscard]] std::optional<TimePoint> next() const noexcept {
    const TimePoint earliest{Duration{earliest_.load(std::memory_order_acquire)}};
    if (earliest == kNever) return std::nullopt;
    return earliest;
  }

  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return timers_.size();
  }

 private:
  using Key = std::pair<TimePoint, TimerId>;
  static constexpr TimePoint kNever = TimePoint::max();

  void note_earliest() {
    const TimePoint earliest = timers_.empty() ? kNever : timers_.begin()->first.first;
    earliest_.store(earliest.time_since_epoch().count(), std::memory_order_release);
  }

  mutable std::mutex mutex_;
  // guarded by mutex_:
  std::map<Key, Serial> timers_;
  std::uint64_t started_ = 0;

  std::atomic<Duration::rep> earliest_ = kNever.time_since_epoch().count();
};

}  // namespace liminal
