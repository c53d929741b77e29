// The threads that run a scheduler in production.
#pragma once

#include <memory>

#include "common/base/time.hpp"
#include "node/scheduler/scheduler.hpp"

namespace liminal {

/// `workers` threads run processes and fire timers; up to `blocking` more run what run_blocking()
/// was given.
///
/// Lifetime: scheduler and clock outlive it. The destructor stops: turns that run are finished,
/// blocking work that runs is waited for, what was not begun is dropped.
class Workers {
 public:
  struct Settings {
    unsigned workers;
    unsigned blocking;
  };
  Workers(Scheduler& scheduler, const Clock& clock, Settings settings);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace liminal
