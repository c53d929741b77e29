#include "tests/sim/policy_judge.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "common/base/text.hpp"

namespace liminal::sim {
namespace {

bool starts_with(const std::string& text, const std::string& begin) {
  return text.compare(0, begin.size(), begin) == 0;
}

/// One conversation before the court.
class Case {
 public:
  Case(const PolicyTalk& talk, const ConversationConfig& config,
       const std::vector<TimelineRecord>& told, const std::set<Pid>& alone, const DeedLedger& deeds,
       bool ended, Violations& violations, PolicyTally& tally)
      : talk_(talk),
        config_(config),
        told_(told),
        alone_(alone),
        deeds_(deeds),
        ended_(ended),
        violations_(violations),
        tally_(tally) {}

  void judge() {
    for (const TimelineRecord& record : told_) hear(record);
    if (ended_) the_end();
    the_deeds();
    the_user();
  }

 private:
  using NodeLife = std::pair<NodeName, Incarnation>;
  struct Step {
    bool in_doubt;
    std::uint32_t attempts = 0;
    std::optional<MessageId> id = {};
    std::optional<TimelineEvent> decided = {};
    std::optional<Pid> by = {};
  };

  void accuse(const std::string& what) {
    violations_.add("conversation " + to_string(*talk_.id) + " (" +
                    std::string{name_of(config_.on_crash)} + "): " + what);
  }

  // --- the timeline ---

  void hear(const TimelineRecord& record) {
    ++heard_;
    switch (record.event) {
      case TimelineEvent::kPhase:
        return enters(record.text);
      case TimelineEvent::kSent:
        return sends(record);
      case TimelineEvent::kReplied:
      case TimelineEvent::kDone:
        if (!completed_at_.emplace(*record.message, completed_.size()).second) {
          accuse("a request was completed twice");
        }
        completed_.push_back(*record.message);
        return;
      case TimelineEvent::kCancelled:
        never_begun_.insert(*record.message);
        ++tally_.cancelled;
        return;
      case TimelineEvent::kExpired:
        ++tally_.expired;
        return;
      case TimelineEvent::kCrashed:
        ++tally_.crashes;
        if (!crashed_.insert(*record.participant).second) accuse("a crash was recorded twice");
        if (!talk_.poisoned && attached(record.role) == nullptr &&
            to_string(*record.reason).find("poison") != std::string::npos) {
          accuse("poisoned by another conversation's request");
        }
        return crashes(record);
      case TimelineEvent::kRerouted:
        ++tally_.reroutes;
        decided_on_the_fallen();
        if (++reroutes_ > config_.max_reroutes) accuse("rerouted beyond max_reroutes");
        return;
      case TimelineEvent::kCompensating:
        return begins(record);
      case TimelineEvent::kCompensated:
      case TimelineEvent::kNothingToUndo:
      case TimelineEvent::kNotCompensated:
        return decides(record);
      case TimelineEvent::kPlaced:
        placed_at_.emplace(*record.participant, heard_);
        if (const AttachedPid* named = attached(record.role)) takes_turn(*named, record);
        return;
      case TimelineEvent::kOpened:
      case TimelineEvent::kUnplaced:
      case TimelineEvent::kRefused:
      case TimelineEvent::kLeft:
      case TimelineEvent::kEnded:
      case TimelineEvent::kCancelRequested:
      case TimelineEvent::kBegun:
      case TimelineEvent::kAnswered:
        return;
    }
  }

  [[nodiscard]] const AttachedPid* attached(const std::string& role) const {
    for (const ParticipantConfig& participant : config_.participants) {
      if (participant.role == role) return std::get_if<AttachedPid>(&participant.who);
    }
    return nullptr;
  }

  /// An attached pid, then its alternates in the order named, each once and after the one before
  /// it crashed.
  void takes_turn(const AttachedPid& named, const TimelineRecord& record) {
    ++tally_.attached;
    const std::size_t turn = turns_[record.role]++;
    if (turn > named.alternates.size()) return accuse("more alternates than were named");
    const auto nth = [&](std::size_t n) { return n == 0 ? named.pid : named.alternates[n - 1]; };
    if (*record.participant != nth(turn)) accuse("another alternate than the next one");
    if (turn == 0) return;
    ++tally_.alternates;
    if (!crashed_.contains(nth(turn - 1))) accuse("an alternate, and nobody crashed");
  }

  /// All exits of one node's death are recorded before the policy runs. Who was placed behind the
  /// first of them is not among those who fell: then what broke was this node's own doing, which
  /// fenced itself, or another broker's verdict, and the other node lives.
  void crashes(const TimelineRecord& record) {
    const Pid& pid = *record.participant;
    if (record.reason->kind != ExitKind::kNoConnection) return;
    // a node whose session was reset lives, and may be given a role again
    const auto& evidence = record.reason->evidence;
    if (evidence && evidence->source == EvidenceSource::kReset) return;
    if (alone_.contains(pid)) return;
    const NodeLife life{pid.node, pid.incarnation};
    const auto decided = decided_on_.find(life);
    const auto placed = placed_at_.find(pid);
    if (decided != decided_on_.end() && placed != placed_at_.end() &&
        placed->second < decided->second) {
      accuse("an exit of a node's death came behind the policy");
    }
    fallen_.emplace(life, heard_);
  }

  void decided_on_the_fallen() {
    for (const auto& [life, first] : std::exchange(fallen_, {})) decided_on_[life] = first;
  }

  void enters(const std::string& text) {
    if (terminal_) accuse("went on from its end to " + text);
    decided_on_the_fallen();
    terminal_ = starts_with(text, "Closed") || starts_with(text, "Failed");
    if (starts_with(text, "Compensating")) compensates_ = true;
    closed_ = starts_with(text, "Closed");
  }

  void sends(const TimelineRecord& record) {
    if (compensates_ || terminal_) accuse("sent a request when it was to end");
    sent_.insert(*record.message);
    if (record.attempt > config_.max_attempts) accuse("a request beyond max_attempts");
    if (record.attempt > 1 && config_.on_crash != CrashPolicy::kRouteToNext) {
      accuse("a request was sent again");
    }
  }

  void begins(const TimelineRecord& record) {
    const MessageId request = *record.cause;
    if (!compensates_) accuse("undid something while it went on");
    if (undoing_ && *undoing_ != request) accuse("began a step before the one before was decided");
    const bool in_doubt = starts_with(record.text, "in doubt");
    const auto [found, fresh] = steps_.emplace(request, Step{in_doubt});
    Step& step = found->second;
    if (fresh) order_.push_back(request);
    if (step.decided) accuse("began a step that was decided");
    if (!fresh && step.id != record.message) accuse("another id at another attempt");
    step.id = record.message;
    step.by = record.participant;
    if (++step.attempts != record.attempt) accuse("an attempt was not counted");
    if (step.attempts > config_.compensation_attempts) accuse("undone beyond its budget");
    if (step.attempts > 1) ++tally_.tried_again;
    undoing_ = request;
  }

  void decides(const TimelineRecord& record) {
    const MessageId request = *record.cause;
    if (undoing_ && *undoing_ != request) accuse("decided a step out of turn");
    const bool in_doubt = starts_with(record.text, "in doubt");
    const auto [found, fresh] = steps_.emplace(request, Step{in_doubt});
    if (fresh) order_.push_back(request);
    if (found->second.decided) accuse("decided a step twice");
    if (fresh && record.event == TimelineEvent::kCompensated) accuse("undone, and never begun");
    found->second.decided = record.event;
    undoing_.reset();
    ++tally_.steps;
    if (in_doubt) ++tally_.in_doubt;
    if (record.event == TimelineEvent::kCompensated) ++tally_.undone;
    if (record.event == TimelineEvent::kNotCompensated) ++tally_.not_undone;
  }

  // --- how it ended ---

  void the_end() {
    if (!terminal_) return accuse("never ended");
    bool among_completed = false;
    std::optional<std::size_t> last;
    for (const MessageId& request : order_) {
      const Step& step = steps_.at(request);
      if (!step.decided) accuse("a step was never decided");
      if (!sent_.contains(request)) accuse("undone, and never sent");
      if (never_begun_.contains(request)) accuse("undone, and never begun");
      const auto completed = completed_at_.find(request);
      if (step.in_doubt != (completed == completed_at_.end())) accuse("doubt about what was done");
      if (step.in_doubt) {
        if (among_completed) accuse("in doubt, and undone after what was completed");
        continue;
      }
      among_completed = true;
      if (completed == completed_at_.end()) continue;
      if (last && completed->second >= *last) accuse("not in reverse order of completion");
      last = completed->second;
    }
    if (!compensates_) return;
    for (const MessageId& request : completed_) {
      if (!steps_.contains(request)) accuse("completed, and forgotten by the undoing");
    }
  }

  // --- what was done ---

  void the_deeds() {
    std::map<MessageId, std::set<std::pair<std::size_t, Pid>>> takers, undoers;
    std::map<MessageId, std::pair<std::size_t, Pid>> undone_by;
    for (const Deed& deed : deeds_) {
      const std::pair by{deed.node, deed.by};
      switch (deed.what) {
        case Deed::What::kBegun:
          if (!takers[deed.request].insert(by).second) accuse("one participant did it twice");
          break;
        case Deed::What::kEffect:
          if (const auto undone = undone_by.find(deed.request); undone != undone_by.end()) {
            ++tally_.late_effects;  // of one that was ended or declared down meanwhile
            if (undone->second == by) accuse("done by one after it had undone it");
          }
          break;
        case Deed::What::kUndoing:
          if (!steps_.contains(deed.request) && ended_) accuse("undone without a step");
          if (!undoers[deed.request].insert(by).second) accuse("one participant undid it twice");
          break;
        case Deed::What::kDied:
          died(deed);
          break;
        case Deed::What::kUndone:
          undone_by.insert_or_assign(deed.request, by);
          break;
      }
    }
    for (const auto& [request, by] : takers) {
      const std::size_t most =
          config_.on_crash == CrashPolicy::kRouteToNext ? config_.max_attempts : 1;
      if (by.size() > most) accuse("more took a request than its budget allows");
      const bool must_be_undone = compensates_ && ended_ && !never_begun_.contains(request);
      if (must_be_undone && !steps_.contains(request))
        accuse("begun, and forgotten by the undoing");
    }
    for (const auto& [request, step] : steps_) {
      if (step.decided == TimelineEvent::kCompensated && !undone_by.contains(request)) {
        accuse("told as undone, and nobody undid it");
      }
      if (step.decided == TimelineEvent::kNothingToUndo && undoers.contains(request)) {
        accuse("undone by a service that cannot");
      }
    }
    for (const MessageId& request : completed_) {
      const bool done = std::any_of(deeds_.begin(), deeds_.end(), [&](const Deed& deed) {
        return deed.what == Deed::What::kEffect && deed.request == request;
      });
      if (!done) accuse("completed, and nobody did it");
    }
  }

  /// Who was there to be missed must have been, however its conversation came to its end.
  void died(const Deed& deed) {
    if (!ended_ || !deed.seen_as || !deed.known_within) return;
    const TimePoint latest = deed.at + *deed.known_within;
    bool placed = false;
    std::optional<TimePoint> crashed;
    for (const TimelineRecord& record : told_) {
      const TimePoint at = TimePoint{} + record.at;
      if (record.event == TimelineEvent::kPhase && at <= latest && is_end_of_the_active(record)) {
        if (!crashed) return;
        break;  // of this death, or others
      }
      if (record.participant != deed.seen_as) continue;
      if (record.event == TimelineEvent::kPlaced && at <= deed.at) {
        placed = attached(record.role) == nullptr;
      }
      if (record.event == TimelineEvent::kCrashed) crashed = at;
      if (record.event == TimelineEvent::kEnded || record.event == TimelineEvent::kLeft) return;
    }
    if (!placed) return;
    ++tally_.deaths_judged;
    if (!crashed) return accuse("never learned that " + to_string(*deed.seen_as) + " died");
    if (*crashed > latest) {
      accuse("learned late that " + to_string(*deed.seen_as) + " died: after " +
             std::to_string(to_ms(*crashed - deed.at)) + " ms");
    }
  }

  static bool is_end_of_the_active(const TimelineRecord& record) {
    return starts_with(record.text, "Compensating") || starts_with(record.text, "Closed") ||
           starts_with(record.text, "Failed");
  }

  // --- what its user saw ---

  void the_user() {
    ++tally_.talks;
    tally_.poisoned += talk_.poisoned ? 1U : 0U;
    tally_.closed += closed_ ? 1U : 0U;
    tally_.orphans += talk_.ending == PolicyTalk::Ending::kOrphan ? 1U : 0U;
    for (const auto& [id, request] : talk_.requests) {
      tally_.replies += static_cast<std::uint64_t>(request.replies);
      if (request.replies > 0 && !completed_at_.contains(id)) accuse("a reply out of nothing");
      const auto step = steps_.find(id);
      if (request.stubborn && step != steps_.end() &&
          step->second.decided == TimelineEvent::kCompensated) {
        accuse("undone, which nobody could");
      }
      if (!ended_ || talk_.ending == PolicyTalk::Ending::kOrphan) continue;
      if (request.outcomes != 1) {
        accuse("a request had " + std::to_string(request.outcomes) + " outcomes");
      }
    }
    if (!ended_) return;
    if (!talk_.over) accuse("its user waits for ever");
    for (const ParticipantConfig& participant : config_.participants) {
      const auto found = talk_.exits_told.find(participant.role);
      if (found == talk_.exits_told.end() || found->second != 1) {
        accuse("the notifier of " + participant.role + " was not called once");
      }
    }
    if (talk_.end) the_state(*talk_.end);
  }

  void the_state(const ConversationState& state) {
    tally_.restarts += state.counters.actor_restarts;
    if (state.failure) gives_up_rightly(state.failure->detail);
    if (!is_terminal(state.phase)) accuse("closed, and not over");
    if (state.compensations.size() != order_.size()) accuse("steps that the timeline knows not");
    const bool failed = std::any_of(
        state.compensations.begin(), state.compensations.end(),
        [](const auto& record) { return record.outcome == CompensationOutcome::kFailed; });
    for (const auto& record : state.compensations) {
      if (record.outcome == CompensationOutcome::kPending) accuse("a step is pending at the end");
      if (record.outcome == CompensationOutcome::kFailed && state.failure &&
          state.failure->detail.find(record.role) == std::string::npos) {
        accuse("what was not undone is not named");
      }
    }
    if (state.compensations.empty()) return;
    if (state.phase != ConversationPhase::kFailed || !state.failure) {
      return accuse("it compensated and did not fail");
    }
    const Errc expected = failed ? Errc::kCompensationFailed : Errc::kCompensated;
    if (state.failure->code != expected) accuse("its diagnosis is " + state.failure->detail);
    ++(failed ? tally_.compensation_failed : tally_.compensated);
  }

  void gives_up_rightly(const std::string& why) {
    for (const ParticipantConfig& participant : config_.participants) {
      const auto* named = std::get_if<AttachedPid>(&participant.who);
      if (named == nullptr) continue;
      if (why.find("no alternate of role '" + participant.role + "'") == std::string::npos)
        continue;
      ++tally_.without_alternate;
      if (turns_[participant.role] != named->alternates.size() + 1) {
        accuse("gave up, and an alternate was left");
      }
    }
  }

  const PolicyTalk& talk_;
  const ConversationConfig& config_;
  const std::vector<TimelineRecord>& told_;
  const std::set<Pid>& alone_;
  const DeedLedger& deeds_;
  bool ended_;
  Violations& violations_;
  PolicyTally& tally_;

  bool terminal_ = false, closed_ = false, compensates_ = false;
  std::set<MessageId> sent_, never_begun_;
  std::set<Pid> crashed_;
  std::map<std::string, std::size_t> turns_;  // of attached pids, by role
  std::vector<MessageId> completed_;          // in this order
  std::map<MessageId, std::size_t> completed_at_;
  std::vector<MessageId> order_;  // of the steps
  std::map<MessageId, Step> steps_;
  std::optional<MessageId> undoing_;
  std::size_t reroutes_ = 0;
  // These count in records.
  std::size_t heard_ = 0;
  std::map<Pid, std::size_t> placed_at_;
  std::map<NodeLife, std::size_t> fallen_;      // since the last decision: the first exit
  std::map<NodeLife, std::size_t> decided_on_;  // the same, of a death that a decision knew of
};

}  // namespace

void judge_policy_talk(const PolicyTalk& talk, const ConversationConfig& config,
                       const std::vector<TimelineRecord>& told, const std::set<Pid>& alone,
                       const DeedLedger& deeds, bool ended, Violations& violations,
                       PolicyTally& tally) {
  Case{talk, config, told, alone, deeds, ended, violations, tally}.judge();
}

}  // namespace liminal::sim
