// Virtual time: what happens next, and when.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "common/base/time.hpp"

namespace liminal::sim {

/// Runs what was asked for in order of time, and of asking where times are equal.
class EventQueue {
 public:
  [[nodiscard]] TimePoint now() const { return now_; }

  void at(TimePoint when, std::function<void()> what) {
    events_.emplace(std::pair{std::max(when, now_), next_number_++}, std::move(what));
  }
  void after(Duration delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }

  /// Runs everything up to and including `until`; then it is `until`.
  void run_until(TimePoint until) {
    while (!events_.empty() && events_.begin()->first.first <= until) {
      auto event = events_.extract(events_.begin());
      now_ = event.key().first;
      ++events_run_;
      event.mapped()();
    }
    now_ = until;
  }

  [[nodiscard]] std::uint64_t events_run() const { return events_run_; }

 private:
  TimePoint now_{};
  std::uint64_t next_number_ = 0;
  std::uint64_t events_run_ = 0;
  std::map<std::pair<TimePoint, std::uint64_t>, std::function<void()>> events_;
};

}  // namespace liminal::sim
