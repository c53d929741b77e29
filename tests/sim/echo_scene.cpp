#include "tests/sim/echo_scene.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/text.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTalkTimeout = 8s;
constexpr std::uint64_t kPairTotalMax = 100;
// First halves of ids that no conversation has.
constexpr std::uint64_t kPairIds = 1, kTieIds = 2;

bool is_noconnection(const ExitReason& reason) { return reason.kind == ExitKind::kNoConnection; }

std::string text_of(const std::optional<ExitReason>& reason) {
  return reason ? to_string(*reason) : "nothing";
}

}  // namespace

void EchoScene::start_talk() {
  const std::size_t host = stage_.nemesis.some_host();
  auto& node = stage_.nemesis.on(host);
  if (!node.alive()) return;
  auto record = std::make_shared<TalkRecord>();
  talks_.push_back({stage_.nemesis.index_on(host), record});
  const ServiceName service{stage_.random.below(3) == 0 ? "fragile" : "echo"};
  const int requests = 1 + static_cast<int>(stage_.random.below(30));
  node.scheduler().spawn(make_talk_process(record, stage_.violations, node.supervisor(), service,
                                           requests, kTalkTimeout));
  node.poke();
}

void EchoScene::start_pair() {
  const std::size_t host = stage_.nemesis.some_host();
  auto& node = stage_.nemesis.on(host);
  const auto snapshot = node.directory().snapshot();
  if (!node.alive() || snapshot->members.empty()) return;
  const Member& member = snapshot->members[stage_.random.below(snapshot->members.size())];
  auto record = std::make_shared<PairRecord>(
      PairRecord{.id = fresh_id(kPairIds), .total = 1 + stage_.random.below(kPairTotalMax)});
  pairs_.push_back({{stage_.nemesis.index_on(host), node.fenced()}, record});
  node.scheduler().spawn(
      make_pair_process(record, reporter(), {member.name, member.incarnation, Serial{0}}));
  node.poke();
  if (pairs_.size() % 2 == 0) start_tie();
}

/// To another node: on its own one no signal is under way.
void EchoScene::start_tie() {
  const std::size_t host = stage_.nemesis.some_host();
  auto& node = stage_.nemesis.on(host);
  if (!node.alive()) return;
  std::vector<Pid> others;
  for (const Member& member : node.directory().snapshot()->members) {
    const Pid other{member.name, member.incarnation, Serial{0}};
    if (!other.is_local()) others.push_back(other);
  }
  if (others.empty()) return;
  auto record = std::make_shared<TieRecord>(TieRecord{.id = fresh_id(kTieIds)});
  ties_.push_back({{stage_.nemesis.index_on(host), node.fenced()}, record});
  node.scheduler().spawn(
      make_tie_process(record, reporter(), others[stage_.random.below(others.size())]));
  node.poke();
}

ConversationId EchoScene::fresh_id(std::uint64_t kind) { return {kind, ++ids_}; }

Reporter EchoScene::reporter() const {
  Reporter reporter{.violations = stage_.violations, .ends = stage_.ends};
  if (stage_.world.tracing()) {
    reporter.trace = [&world = stage_.world](const std::string& line) { world.trace(line); };
  }
  return reporter;
}

bool EchoScene::kill_some_actor() {
  std::vector<const Talk*> open;
  for (const Talk& talk : talks_) {
    if (talk.record->open && stage_.world.node(talk.node).alive()) open.push_back(&talk);
  }
  if (open.empty()) return false;
  const Talk& talk = *open[stage_.random.below(open.size())];
  const auto actor = talk.record->open->actor_pid();
  return actor && stage_.kill(talk.node, *actor);
}

void EchoScene::judge(Tally& tally) {
  for (const auto& talk : talks_) judge_talk(talk, tally);
  for (const auto& pair : pairs_) judge_pair(pair, tally);
  for (const auto& tie : ties_) judge_tie(tie);
}

void EchoScene::judge_talk(const Talk& talk, Tally& tally) {
  const auto& node = stage_.world.node(talk.node);
  const auto& record = *talk.record;
  auto& violations = *stage_.violations;
  ++tally.conversations;
  tally.requests += static_cast<std::uint64_t>(record.requests);
  tally.replies += static_cast<std::uint64_t>(record.replies);
  if (record.end) {
    tally.actor_restarts += record.end->counters.actor_restarts;
    tally.deferred += record.end->counters.deferred;
  }
  if (!node.alive()) {  // its record went with it
    ++tally.outcomes["lost with its node"];
    return;
  }
  if (record.not_opened) {
    ++tally.outcomes["not opened"];
    violations.add("not opened: " + record.not_opened->detail);
    return;
  }
  const std::string who =
      "conversation " + (record.id ? to_string(*record.id) : "without id") + " of " + node.label();
  if (record.outcomes != record.requests) {
    violations.add(who + ": " + std::to_string(record.outcomes) + " outcomes of " +
                   std::to_string(record.requests));
  }
  if (!record.closed || !record.end || !is_terminal(record.end->phase)) {
    ++tally.outcomes["never ended"];
    violations.add(who + " never ended");
    return;
  }
  const auto& failure = record.end->failure;
  ++tally.outcomes[failure ? "failed: " + std::string{name_of(failure->code)} : "closed"];
  if (record.exits_told != 1) {
    violations.add(who + ": an exit notifier was called " + std::to_string(record.exits_told) +
                   " times");
  }
  if (failure && failure->detail.find("actor crashed") != std::string::npos &&
      record.end->counters.actor_restarts < 5) {
    violations.add(who + " failed of its actor's death: " + failure->detail);
  }
  const auto crashed = record.errors.contains(Errc::kParticipantCrashed);
  if (record.end->crashes.size() > 1) violations.add(who + ": a crash recorded twice");
  if (crashed && record.end->crashes.empty()) violations.add(who + ": a crash not recorded");
  if (crashed && record.end->phase != ConversationPhase::kFailed) {
    violations.add(who + ": Failed did not stay Failed");
  }
}

bool EchoScene::is_left(const Pid& pid) const {
  for (std::size_t i = 0; i < stage_.world.nodes(); ++i) {
    // or died in the midst of it
    if (stage_.world.node(i).was_to_leave(pid.incarnation) && !is_living(pid)) return true;
  }
  return false;
}

bool EchoScene::is_living(const Pid& pid) const {
  for (std::size_t i = 0; i < stage_.world.nodes(); ++i) {
    auto& node = stage_.world.node(i);
    if (node.alive() && node.core().incarnation() == pid.incarnation) return true;
  }
  return false;
}

bool EchoScene::is_lost(const Home& home, const Pid& of, const ExitReason& reason) const {
  const auto dead_of = [&](std::optional<EvidenceSource> source) {
    const auto& deaths = stage_.world.deaths();
    return std::any_of(deaths.begin(), deaths.end(), [&](const World::Death& death) {
      return death.incarnation == of.incarnation && (!source || death.evidence.source == *source);
    });
  };
  const bool fenced = stage_.world.node(home.node).fenced() > home.fenced;
  if (!reason.evidence) return fenced || dead_of(std::nullopt) || is_left(of);
  const EvidenceSource source = reason.evidence->source;
  const bool of_a_verdict = source != EvidenceSource::kIsolated && source != EvidenceSource::kReset;
  // it is final, where one who knows of it lives to tell the next broker
  const bool remembered = stage_.world.node(home.node).alive();
  if (of_a_verdict && remembered && is_living(of)) return false;
  switch (source) {
    case EvidenceSource::kConnectionClosed:
    case EvidenceSource::kHeartbeatsMissed:
      // of a broker that died in the midst of its effects only some heard it
      return dead_of(source) || stage_.world.is_half_told(of.incarnation, source);
    case EvidenceSource::kRecovery:  // a new broker does not list it, and may say nothing more
      return stage_.world.brokers() > 1;
    case EvidenceSource::kLeft:
      return is_left(of);
    case EvidenceSource::kIsolated:
      return fenced;
    case EvidenceSource::kReset: {  // what a hostile node sends breaks its own sessions alone
      const auto& spoiled = stage_.world.spoiled_sessions();
      const auto& here = stage_.world.node(home.node);
      return std::any_of(spoiled.begin(), spoiled.end(), [&](const World::Spoiled& each) {
        return (each.from == of.incarnation && here.bore(each.to)) ||
               (each.to == of.incarnation && here.bore(each.from));
      });
    }
  }
  return false;
}

void EchoScene::judge_pair(const Pair& pair, Tally& tally) {
  const auto& node = stage_.world.node(pair.home.node);
  const auto& record = *pair.record;
  ++tally.pairs;
  tally.deferred += record.deferred;
  if (record.exit_reason && is_noconnection(*record.exit_reason)) ++tally.pairs_lost;
  const auto accuse = [&](const std::string& what) {
    stage_.violations->add(record.name() + ": " + what);
  };
  for (const ExitReason& reason : record.told) {
    const bool right = [&] {
      switch (reason.kind) {
        case ExitKind::kShutdown:
          return record.echoed == record.total || is_left(*record.instance);
        case ExitKind::kNoConnection:
          return is_lost(pair.home, *record.instance, reason);
        case ExitKind::kNoProc:  // what it sent behind its monitor was never answered
          return record.down_reason == reason && record.echoed == 0;
        default:
          return false;
      }
    }();
    if (!right) {
      accuse("told " + to_string(reason) + " when " + std::to_string(record.echoed) + " of " +
             std::to_string(record.total) + " were echoed");
    }
  }
  if (record.told.size() == 2) {
    // the second may be lost on its way, and what comes behind a lost connection is none either
    const ExitReason& first = record.told[0];
    const ExitReason& second = record.told[1];
    const bool agree = first == second || is_noconnection(second) ||
                       (record.down_reason && record.down_reason->kind == ExitKind::kNoProc);
    if (!agree) accuse("told " + to_string(first) + ", then " + to_string(second));
  }
  if (!node.alive() || record.over) return;
  accuse("never over: exit " + text_of(record.exit_reason) + ", down " +
         text_of(record.down_reason) + ", echoed " + std::to_string(record.echoed) + " of " +
         std::to_string(record.sent));
}

void EchoScene::judge_tie(const Tie& tie) {
  const auto& record = *tie.record;
  const auto judge = [&](const std::optional<ExitReason>& reason, bool tied_anew) {
    if (!reason) return;
    const bool right = [&] {
      switch (reason->kind) {
        case ExitKind::kError:
          return reason->text.rfind("mortal", 0) == 0;
        case ExitKind::kShutdown:
          return is_left(*record.instance);
        case ExitKind::kNoConnection:
          return is_lost(tie.home, *record.instance, *reason);
        case ExitKind::kNoProc:
          return tied_anew;
        default:
          return false;
      }
    }();
    if (!right) stage_.violations->add(record.name() + ": told " + to_string(*reason));
  };
  judge(record.exit_reason, record.relinks > 0);
  judge(record.down_reason, true);
  if (!stage_.world.node(tie.home.node).alive() || record.over) return;
  stage_.violations->add(record.name() + ": never over: exit " + text_of(record.exit_reason) +
                         ", down " + text_of(record.down_reason));
}

}  // namespace liminal::sim
