// Judges conversations under crash policies by what survives crashes: the timeline that they told,
// the ledger of what participants did, and what their users saw.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include "common/wire/timeline.hpp"
#include "tests/sim/policy_workload.hpp"

namespace liminal::sim {

struct PolicyTally {
  std::uint64_t talks = 0, replies = 0, crashes = 0, reroutes = 0, steps = 0, in_doubt = 0,
                undone = 0, not_undone = 0, tried_again = 0, compensated = 0,
                compensation_failed = 0, poisoned = 0, closed = 0, expired = 0, cancelled = 0,
                orphans = 0, restarts = 0, late_effects = 0, attached = 0, alternates = 0,
                without_alternate = 0, shown = 0, left_out = 0, deaths_judged = 0;

  void add(const PolicyTally& more);
  static constexpr std::array<std::uint64_t PolicyTally::*, 24> members() {
    return {&PolicyTally::talks,
            &PolicyTally::replies,
            &PolicyTally::crashes,
            &PolicyTally::reroutes,
            &PolicyTally::steps,
            &PolicyTally::in_doubt,
            &PolicyTally::undone,
            &PolicyTally::not_undone,
            &PolicyTally::tried_again,
            &PolicyTally::compensated,
            &PolicyTally::compensation_failed,
            &PolicyTally::poisoned,
            &PolicyTally::closed,
            &PolicyTally::expired,
            &PolicyTally::cancelled,
            &PolicyTally::orphans,
            &PolicyTally::restarts,
            &PolicyTally::late_effects,
            &PolicyTally::attached,
            &PolicyTally::alternates,
            &PolicyTally::without_alternate,
            &PolicyTally::shown,
            &PolicyTally::left_out,
            &PolicyTally::deaths_judged};
  }
};

/// `told` is the timeline of that conversation and `deeds` what was done for it, each in order.
/// `alone`: who crashed of no connection by itself, not with others of its node.
/// `ended`: its node runs still, so that all of it must be over.
void judge_policy_talk(const PolicyTalk& talk, const ConversationConfig& config,
                       const std::vector<TimelineRecord>& told, const std::set<Pid>& alone,
                       const DeedLedger& deeds, bool ended, Violations& violations,
                       PolicyTally& tally);

}  // namespace liminal::sim
