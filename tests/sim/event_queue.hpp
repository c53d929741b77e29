// Virtual time: what happens next, and when.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "common/base/time.hpp"
#include "tests/sim/action.hpp"

namespace liminal::sim {

/// Runs what was asked for in order of time, and of asking where times are equal.
class EventQueue {
 public:
  [[nodiscard]] TimePoint now() const { return now_; }

  void at(TimePoint when, Action what) {
    events_.push_back({std::max(when, now_), next_number_++, keep(std::move(what))});
    std::push_heap(events_.begin(), events_.end(), Later{});
  }
  void after(Duration delay, Action what) { at(now_ + delay, std::move(what)); }

  /// Runs everything up to and including `until`; then it is `until`. Beyond the cap nothing runs.
  void run_until(TimePoint until) {
    while (!events_.empty() && events_.front().when <= until && !is_capped()) {
      std::pop_heap(events_.begin(), events_.end(), Later{});
      const Event event = std::move(events_.back());
      events_.pop_back();
      now_ = event.when;
      ++events_run_;
      Action what = std::move(actions_[event.action]);
      free_.push_back(event.action);
      what();
    }
    now_ = until;
  }

  [[nodiscard]] std::uint64_t events_run() const { return events_run_; }
  /// So many in all: where one follows another at one instant for ever, time does not end it.
  void cap(std::uint64_t events) { events_max_ = events; }
  [[nodiscard]] bool is_capped() const { return events_run_ >= events_max_; }

 private:
  struct Event {
    TimePoint when;
    std::uint64_t number;
    std::size_t action;  // an index of actions_
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.when != b.when ? a.when > b.when : a.number > b.number;
    }
  };

  std::size_t keep(Action what) {
    if (free_.empty()) {
      actions_.push_back(std::move(what));
      return actions_.size() - 1;
    }
    const std::size_t place = free_.back();
    free_.pop_back();
    actions_[place] = std::move(what);
    return place;
  }

  TimePoint now_{};
  std::uint64_t next_number_ = 0;
  std::uint64_t events_run_ = 0;
  std::uint64_t events_max_ = std::numeric_limits<std::uint64_t>::max();
  std::vector<Event> events_;    // a heap
  std::vector<Action> actions_;  // apart from it: what a heap moves should be small
  std::vector<std::size_t> free_;
};

}  // namespace liminal::sim
