// Where everything that is meant for one process waits for it, in the order sent.
#pragma once

#include <mutex>
#include <vector>

#include "node/scheduler/arrival.hpp"

namespace liminal {

/// Filled by any thread, emptied by the one that runs the process. It also knows whether the
/// process rests: the put() that finds it resting, and no other, must put the process into the run
/// queue, so that it is there at most once. A process is born not resting.
///
/// Thread-safety: all functions; the mutex is held for a push or a swap.
class InQueue {
 public:
  enum class Put {
    kTaken,
    kTakenWake,  // the caller puts the process into the run queue
    kClosed,     // the process has ended; `arrival` is untouched and the caller's to answer
  };
  [[nodiscard]] Put put(Arrival&& arrival) {
    const std::lock_guard lock(mutex_);
    if (closed_) return Put::kClosed;
    arrived_.push_back(std::move(arrival));
    if (!resting_) return Put::kTaken;
    resting_ = false;
    return Put::kTakenWake;
  }

  /// Moves everything to `into`. REQUIRES: `into` is empty; its memory is used for what comes next.
  void take(std::vector<Arrival>& into) {
    const std::lock_guard lock(mutex_);
    arrived_.swap(into);
  }

  /// The same; false if there was nothing: the process rests from now on.
  [[nodiscard]] bool take_or_rest(std::vector<Arrival>& into) {
    const std::lock_guard lock(mutex_);
    resting_ = arrived_.empty();
    arrived_.swap(into);
    return !resting_;
  }

  /// Nothing enters any more. Returns what had.
  [[nodiscard]] std::vector<Arrival> close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    return std::move(arrived_);
  }

 private:
  std::mutex mutex_;
  // guarded by mutex_:
  std::vector<Arrival> arrived_;
  bool resting_ = false;
  bool closed_ = false;
};

}  // namespace liminal
