// What happened in simulated runs, in numbers.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "common/base/fault_point.hpp"
#include "common/base/time.hpp"
#include "tests/sim/policy_judge.hpp"

namespace liminal::sim {

struct Tally {
  std::uint64_t seeds = 0;
  Duration simulated = Duration::zero();
  std::map<std::string, std::uint64_t> faults = {};  // by kind
  std::uint64_t actor_kills = 0, participant_kills = 0;
  /// All that were opened, and how each ended: "closed", "failed: ...", "lost with its node".
  std::uint64_t conversations = 0;
  std::map<std::string, std::uint64_t> outcomes = {};
  std::uint64_t requests = 0, replies = 0, actor_restarts = 0, deferred = 0;
  std::uint64_t pairs = 0, pairs_lost = 0;           // their node, or the session with it
  std::map<std::string, std::uint64_t> deaths = {};  // declared, by evidence
  std::uint64_t timed_deaths = 0;  // of which it was judged how soon they were declared
  std::uint64_t fenced = 0, brokers = 0, events = 0;
  std::array<std::uint64_t, kFaultPoints> points_reached{}, points_hit{};
  PolicyTally policies = {};
  std::uint64_t violations = 0;

  void add(const Tally& more);
  /// Whose outcome somebody was there to see: not lost with their nodes, and opened at all.
  [[nodiscard]] std::uint64_t decided() const;
  /// Without those that lasting actors and participants died of.
  [[nodiscard]] std::uint64_t faults_in_all() const;
};

}  // namespace liminal::sim
