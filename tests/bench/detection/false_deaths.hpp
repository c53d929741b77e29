// Nodes that live and do nothing, for node-hours, under what may make them look dead.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace liminal::bench {

struct Condition {
  const char* name;
  const char* what;
  int busy_loops;
  double loss_percent;  // of frames, each way; on hosts
};

[[nodiscard]] const std::vector<Condition>& all_conditions();

struct FalseDeaths {
  int nodes;
  double node_hours;
  int deaths;      // verdicts of the broker; nobody was killed, so that each is false
  int suspicions;  // that came to nothing, or to those
  int fenced;      // nodes that gave their incarnation up
};

/// Starts a broker and `nodes` nodes, has them live for `duration` once all have joined, and
/// counts. Errors: std::runtime_error, when the nodes do not join.
[[nodiscard]] FalseDeaths count_false_deaths(const Condition& condition, int nodes,
                                             std::chrono::seconds duration);

}  // namespace liminal::bench
