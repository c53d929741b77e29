// The threads that run a scheduler in production.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "common/base/time.hpp"
#include "node/scheduler/long_turn.hpp"
#include "node/scheduler/scheduler.hpp"

namespace liminal {

/// `workers` threads run processes and fire timers; up to `blocking` more run what run_blocking()
/// was given.
///
/// A turn that lasts turn_max is told once, and a spare thread takes its worker's place among the
/// others' turns, up to `spares`, which stay: so one turn that does not end stops nobody else, and
/// workers + spares of them stop everything, beats included.
///
/// Lifetime: scheduler and clock outlive it. The destructor stops: turns that run are finished,
/// blocking work that runs is waited for, what was not begun is dropped.
class Workers {
 public:
  struct Settings {
    unsigned workers;
    unsigned blocking;
    unsigned spares = 0;
    Duration turn_max = std::chrono::milliseconds{500};  // noticed within a quarter more
    /// Called on a thread of its own, one call at a time; returns at once.
    std::function<void(const LongTurn&)> on_long_turn = {};
  };
  /// REQUIRES: workers, blocking and turn_max are above zero.
  Workers(Scheduler& scheduler, const Clock& clock, Settings settings);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace liminal
