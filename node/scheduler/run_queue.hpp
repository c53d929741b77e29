// The processes that have something to do, and the workers that wait for them.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "node/scheduler/long_turn.hpp"
#include "node/scheduler/process_control.hpp"

namespace liminal {

/// First come, first served.
///
/// Who wakes whom: work put in from outside wakes a sleeping worker. Work that a worker puts in
/// during its own turn wakes one only from the second process on: it takes the first itself when
/// its turn ends, and a request and its response stay on one thread. What could starve by that
/// rule, the one process left to a worker whose turn does not end and the timers started in that
/// turn, is found by a sleeper: while anybody runs, one of those who sleep looks every kGlance.
/// Whoever begins a turn makes sure of that, and wakes another for what is left in the queue.
///
/// Thread-safety: all functions.
///
/// It knows which turn each worker is in, and so which are long: a worker in a long turn is as good
/// as none for everybody else.
class RunQueue {
 public:
  struct Watch {
    std::vector<LongTurn> fresh;  // those that no call has told before
    std::size_t in_long_turns;    // workers, told before or now
  };

  void push(ProcessPtr process);

  /// Null if there is nothing.
  [[nodiscard]] ProcessPtr try_take();

  // --- for worker threads ---

  /// Room for `workers` threads. REQUIRES: no worker is in take_or_sleep().
  void open(unsigned workers);

  /// Called first by each worker thread: from now on what it puts in is its own.
  void enter();

  /// Turns that have lasted `turn_max` at `now`. Cost: O(workers), and a lock that each turn takes.
  [[nodiscard]] Watch watch(TimePoint now, Duration turn_max);

  /// The next process; null after a sleep, for the caller to read the clock, look at the timers and
  /// come again. Calling it also ends the turn of the process taken before.
  /// `next_timer`: when somebody must look at the timers.
  [[nodiscard]] ProcessPtr take_or_sleep(unsigned worker, TimePoint now,
                                         std::optional<TimePoint> next_timer);

  /// Wakes all for good: nothing is handed out any more until open().
  void close();
  [[nodiscard]] bool is_closed() const;

 private:
  // How long others' work can wait behind a worker that should have come for it.
  static constexpr Duration kGlance = std::chrono::milliseconds(5);

  struct Worker {
    bool runs = false;
    bool told = false;  // its turn is long, and watch() said so
    TimePoint began{};  // of its turn
    Serial process{0};  // that it runs
    const std::string* service = nullptr;
    TimePoint wakes_at = TimePoint::max();  // while asleep; max: only when notified
  };

  [[nodiscard]] TimePoint earliest_wake_up() const;
  [[nodiscard]] bool anybody_runs() const;
  void sleep(std::unique_lock<std::mutex>& lock, Worker& self, TimePoint now,
             std::optional<TimePoint> next_timer);

  mutable std::mutex mutex_;
  std::condition_variable work_or_close_;
  // guarded by mutex_:
  std::deque<ProcessPtr> queue_;
  std::vector<Worker> workers_;
  std::size_t sleeping_ = 0;
  bool closed_ = false;
};

}  // namespace liminal
