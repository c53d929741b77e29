// What befalls the one that a receiver waits for, and what it sees of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lane.hpp"

namespace liminal::bench {

struct Trial {
  double ms = 0;      // from the fault to what the receiver saw
  std::string wrong;  // what else it saw than it should have; empty where all went as promised
};

struct Case {
  const char* name;
  const char* measures;
  int trials;   // by default
  int at_once;  // by default; 1 where starting another victim would disturb what is measured
  Lane::Setup lane;
  std::optional<double> p99_max_ms;  // what is promised of it, where something is
  Trial (*trial)(Lane& lane);        // leaves the lane ready for the next
};

/// In the order in which they run.
[[nodiscard]] const std::vector<Case>& all_cases();

/// So many trials, on so many lanes at once at most. Errors: std::runtime_error, by which a trial
/// could not be made.
[[nodiscard]] std::vector<Trial> run_trials(const Case& one, int trials, int at_once);

}  // namespace liminal::bench
