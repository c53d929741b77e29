#include "tests/sim/policy_scene.hpp"

#include <algorithm>
#include <utility>

#include "common/base/text.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTimeout = 8s;              // of each conversation
constexpr Duration kCompensationTimeout = 2s;  // of each step
constexpr int kRequestsMax = 6;
// Until a death is known on its own node, and on another one: two ways through the network.
constexpr Duration kNear = 1ms, kFar = 25ms;
constexpr Duration kFaultMax = 25s;  // it lasts, with what follows from it
// Until a session's reset is known at both of its ends: one of them may read nothing meanwhile.
constexpr Duration kResetKnown = 10s;

/// REQUIRES: the role is one of the config's.
const ParticipantConfig& participant_of(const ConversationConfig& config, const std::string& role) {
  return *std::find_if(config.participants.begin(), config.participants.end(),
                       [&](const ParticipantConfig& each) { return each.role == role; });
}

}  // namespace

PolicyScene::PolicyScene(Stage stage, bool calm) : stage_(std::move(stage)), calm_(calm) {
  actors_.violations = stage_.violations;
  actors_.unlucky = !calm;
  actors_.watch = [this](Deed& deed) { watch(deed); };
  actors_.lives = [&world = stage_.world](std::size_t node) { return world.node(node).alive(); };
}

// --- what happens ---

void PolicyScene::start_talk() {
  const std::size_t host = stage_.nemesis.some_host();
  auto& node = stage_.nemesis.on(host);
  if (!node.alive()) return;
  auto record = std::make_shared<PolicyTalk>();
  record->node = stage_.nemesis.index_on(host);
  PolicyPlan plan = some_plan(record->node);
  talks_.push_back({record, plan.config});
  unknown_.push_back(&talks_.back());
  node.scheduler().spawn(make_policy_talk(record, actors_, node.supervisor(), std::move(plan)));
  node.poke();
}

PolicyPlan PolicyScene::some_plan(std::size_t node) {
  const std::uint64_t dice = stage_.random.below(10);
  const CrashPolicy policy = dice < 5   ? CrashPolicy::kCompensate
                             : dice < 9 ? CrashPolicy::kRouteToNext
                                        : CrashPolicy::kFail;
  std::vector<ParticipantConfig> roles;
  std::set<Pid> attached;  // each to one role
  const std::size_t count = 2 + stage_.random.below(3);
  for (std::size_t i = 0; i < count; ++i) {
    if (policy == CrashPolicy::kRouteToNext && stage_.random.below(3) == 0) {
      roles.push_back(some_attached("role" + std::to_string(i), node, attached));
      continue;
    }
    roles.push_back(ParticipantConfig::owned("role" + std::to_string(i),
                                             policy_service(stage_.random.below(kPolicyServices)),
                                             some_rule()));
  }
  ConversationConfig config{policy, std::move(roles)};
  config.timeout = kTimeout;
  config.policy_timeout = 6s;
  config.max_reroutes = 1 + stage_.random.below(8);
  config.max_attempts = 1 + static_cast<std::uint32_t>(stage_.random.below(4));
  config.settle_timeout = 1s;
  config.compensation_timeout = kCompensationTimeout;
  config.compensation_attempts = 1 + static_cast<std::uint32_t>(stage_.random.below(3));
  config.orphan_timeout = 1s;
  PolicyPlan plan{.config = std::move(config),
                  .requests = 1 + static_cast<int>(stage_.random.below(kRequestsMax)),
                  .ending = PolicyTalk::Ending::kClose,
                  .end_after = 1ms + stage_.nemesis.below(3s),
                  .work_max = stage_.random.below(4) == 0 ? Duration::zero() : Duration{2s}};
  if (stage_.random.below(5) == 0) {
    plan.poisoned =
        1 + static_cast<int>(stage_.random.below(static_cast<std::uint64_t>(plan.requests)));
  }
  if (calm_) return plan;
  plan.stubborn_one_in = 12;
  const std::uint64_t ending = stage_.random.below(10);
  if (ending == 0) plan.ending = PolicyTalk::Ending::kCloseEarly;
  if (ending == 1 || ending == 2) plan.ending = PolicyTalk::Ending::kCancel;
  if (ending == 3) plan.ending = PolicyTalk::Ending::kOrphan;
  return plan;
}

/// Up to four, on whatever nodes; in a storm some of them are attached to others already.
ParticipantConfig PolicyScene::some_attached(std::string role, std::size_t opener,
                                             std::set<Pid>& used) {
  std::vector<Pid> pids;
  const std::uint64_t wanted = 1 + stage_.random.below(4);
  while (pids.size() < wanted) {
    const bool shared = !calm_ && stage_.random.below(3) == 0 && !attached_.empty();
    const Attached one =
        shared ? attached_[stage_.random.below(attached_.size())] : fresh_attached();
    Pid pid = one.pid;
    if (one.node != opener) pid.incarnation = stage_.world.node(one.node).core().incarnation();
    if (used.insert(pid).second) pids.push_back(pid);
  }
  return ParticipantConfig::attached(std::move(role), pids[0], {pids.begin() + 1, pids.end()});
}

PolicyScene::Attached PolicyScene::fresh_attached() {
  const std::size_t node = stage_.nemesis.index_on(stage_.nemesis.some_host());
  auto& where = stage_.world.node(node);
  const Pid pid = where.scheduler().spawn(make_policy_attached(actors_, node, where.ledger()));
  attached_.push_back({node, pid});
  return attached_.back();
}

bool PolicyScene::kill_some_attached() {
  if (attached_.empty()) return false;
  const Attached& one = attached_[stage_.random.below(attached_.size())];
  return stage_.kill(one.node, one.pid);
}

void PolicyScene::end_attached() {
  *stage_.ends = true;
  for (const Attached& one : attached_) stage_.kill(one.node, one.pid);
  attached_.clear();
}

PlacementRule PolicyScene::some_rule() {
  switch (stage_.random.below(3)) {
    case 0:
      return placement_rule::LeastLoaded{};
    case 1:
      return placement_rule::Spread{};
    default:
      return placement_rule::Any{};
  }
}

bool PolicyScene::kill_some_actor() {
  std::vector<const Talk*> open;
  for (const Talk& talk : talks_) {
    if (talk.record->open && stage_.world.node(talk.record->node).alive()) open.push_back(&talk);
  }
  if (open.empty()) return false;
  const PolicyTalk& talk = *open[stage_.random.below(open.size())]->record;
  const auto actor = talk.open->actor_pid();
  return actor && stage_.kill(talk.node, *actor);
}

bool PolicyScene::kill_some_participant() {
  if (placed_.empty()) return false;
  const std::size_t lately = std::min<std::size_t>(placed_.size(), 6);
  const auto [node, pid, conversation] = placed_[placed_.size() - 1 - stage_.random.below(lately)];
  const auto kill = [&](std::size_t index, const Pid& local) {
    if (!stage_.kill(index, local)) return false;
    actors_.ledger.push_back({Deed::What::kDied, MessageId{0, 0}, MessageId{0, 0}, 0, conversation,
                              index, local, stage_.world.now()});
    watch(actors_.ledger.back());
    return true;
  };
  if (pid.is_local()) return kill(node, pid);
  for (std::size_t i = 0; i < stage_.world.nodes(); ++i) {
    if (stage_.world.node(i).core().incarnation() != pid.incarnation) continue;
    Pid local = pid;
    local.incarnation = local_incarnation();
    return kill(i, local);
  }
  return false;
}

// --- what is done ---

/// Work for others begins under the lease alone, and never once its node's end is decided.
void PolicyScene::watch(Deed& deed) {
  const Talk* talk = talk_of(deed.conversation);
  if (talk == nullptr) return;
  if (deed.what == Deed::What::kDied) return watch_death(deed, *talk);
  if (deed.what != Deed::What::kBegun && deed.what != Deed::What::kUndoing) return;
  if (talk->record->node == deed.node) return;
  auto& node = stage_.world.node(deed.node);
  const auto accuse = [&](const std::string& what) {
    stage_.violations->add("conversation " + to_string(deed.conversation) + ": work began on " +
                           node.label() + ' ' + what);
  };
  if (stage_.world.now() >= node.lease_until()) accuse("without its lease");
  // a broker that came later and knows nothing of the verdict may have taken it back
  const auto& deaths = stage_.world.deaths();
  const bool dead = std::any_of(deaths.begin(), deaths.end(), [&](const World::Death& death) {
    return death.broker == stage_.world.brokers() &&
           death.incarnation == node.core().incarnation() &&
           death.evidence.source == EvidenceSource::kHeartbeatsMissed;
  });
  if (dead) accuse("after it was declared down");
}

void PolicyScene::watch_death(Deed& deed, const Talk& talk) {
  deed.seen_as = deed.by;
  deed.known_within = kNear;
  if (talk.record->node == deed.node) return;
  deed.seen_as->incarnation = stage_.world.node(deed.node).core().incarnation();
  deed.known_within = kFar;
}

bool PolicyScene::disturbed_around(TimePoint when) const {
  const auto& strikes = stage_.nemesis.strikes();
  return std::any_of(strikes.begin(), strikes.end(), [&](TimePoint fault) {
    return fault > when - kFaultMax && fault < when + 1s;
  });
}

// --- what is told ---

const PolicyScene::Talk* PolicyScene::talk_of(const ConversationId& id) {
  const auto found = known_.find(id);
  if (found != known_.end()) return found->second;
  std::erase_if(unknown_, [&](const Talk* talk) {
    if (!talk->record->id) return false;
    known_.emplace(*talk->record->id, talk);
    return true;
  });
  const auto again = known_.find(id);
  return again == known_.end() ? nullptr : again->second;
}

void PolicyScene::hear(std::size_t node, TimelineRecord record) {
  const Talk* talk = talk_of(record.conversation);
  if (talk == nullptr || is_said_again(record)) return;
  if (record.event == TimelineEvent::kPlaced) placed(node, *talk, record);
  const Role role{record.conversation, record.role};
  if (record.event == TimelineEvent::kRerouted) {
    rerouted_[role] = {stage_.world.node(node).directory().snapshot(), stage_.world.now()};
  }
  if (record.event == TimelineEvent::kCrashed) {
    // whoever asks has room for the answer: only one who asked nothing refuses it for good
    if (record.reason && record.reason->text.find("its answer was refused") != std::string::npos) {
      stage_.violations->add("conversation " + to_string(record.conversation) +
                             ": a refusal that nobody may make ended " +
                             to_string(*record.participant));
    }
    const Pid& pid = *record.participant;
    if (is_listed(node, pid)) alone_[record.conversation].insert(pid);
    tried_[role].emplace(pid.node, pid.incarnation);
  }
  told_[record.conversation].push_back(std::move(record));
}

bool PolicyScene::is_listed(std::size_t node, const Pid& pid) const {
  const auto snapshot = stage_.world.node(node).directory().snapshot();
  return std::any_of(snapshot->members.begin(), snapshot->members.end(), [&](const Member& member) {
    return member.name == pid.node && member.incarnation == pid.incarnation;
  });
}

/// To another broker, or as another incarnation.
bool PolicyScene::is_said_again(const TimelineRecord& record) const {
  const auto told = told_.find(record.conversation);
  if (told == told_.end()) return false;
  if (record.event == TimelineEvent::kOpened) return true;
  if (record.event != TimelineEvent::kPhase) return false;
  const auto last =
      std::find_if(told->second.rbegin(), told->second.rend(),
                   [](const TimelineRecord& each) { return each.event == TimelineEvent::kPhase; });
  return last != told->second.rend() && last->text.substr(0, last->text.find(':')) == record.text;
}

void PolicyScene::placed(std::size_t node, const Talk& talk, const TimelineRecord& record) {
  const Pid& pid = *record.participant;
  placed_.push_back({node, pid, record.conversation});
  if (!is_listed(node, pid)) alone_[record.conversation].insert(pid);
  const auto* owned = std::get_if<OwnedInstance>(&participant_of(talk.config, record.role).who);
  if (owned == nullptr) return;  // named, whatever became of it
  const auto snapshot = stage_.world.node(node).directory().snapshot();
  const std::pair key{record.conversation, record.role};
  const auto reroute = rerouted_.find(key);
  if (reroute == rerouted_.end()) return;
  // comparable only if nothing changed between the choice and the answer, and nobody was asked in
  // vain: of a session's reset, or of a node that leaves, the directory knows nothing yet
  const bool same = all_answer(node) && reroute->second.directory == snapshot &&
                    stage_.world.now() - reroute->second.at < 50ms;
  rerouted_.erase(reroute);
  const auto& tried = tried_[key];
  if (!same || !tried.contains({pid.node, pid.incarnation})) return;
  for (const Member& member : snapshot->members) {
    const bool offers = std::find(member.services.begin(), member.services.end(), owned->service) !=
                        member.services.end();
    if (offers && member.state == MemberState::kJoined &&
        !tried.contains({member.name, member.incarnation})) {
      stage_.violations->add("conversation " + to_string(record.conversation) +
                             ": a role went back to a node, and " + member.name.value() +
                             " was not tried");
    }
  }
}

/// No session of that node was reset lately, and nobody leaves.
bool PolicyScene::all_answer(std::size_t node) const {
  const World& world = stage_.world;
  const TimePoint now = world.now();
  const World::Node& asker = world.node(node);
  const auto& spoiled = world.spoiled_sessions();
  for (auto each = spoiled.rbegin(); each != spoiled.rend(); ++each) {
    if (each->when <= now - kResetKnown) break;
    if (asker.bore(each->from) || asker.bore(each->to)) return false;
  }
  for (std::size_t i = 0; i < world.nodes(); ++i) {
    if (world.node(i).leaves_around(now)) return false;
  }
  return true;
}

// --- the end ---

bool PolicyScene::is_all_shown() {
  Violations violations;
  PolicyTally ignored;
  for (const Talk& talk : talks_) judge_what_is_shown(*talk.record, violations, ignored);
  return violations.found.empty();
}

void PolicyScene::judge(Tally& tally) {
  std::map<ConversationId, DeedLedger> deeds;
  for (Deed& deed : actors_.ledger) {
    if (deed.known_within == kFar && disturbed_around(deed.at)) deed.known_within.reset();
    deeds[deed.conversation].push_back(deed);
  }
  for (const Talk& talk : talks_) {
    ++tally.conversations;
    if (talk.record->id) {
      judge_talk(talk, deeds[*talk.record->id], tally);
    } else if (talk.record->not_opened) {
      ++tally.outcomes["not opened"];
      stage_.violations->add(talk.record->not_opened->detail);
    } else {  // its node was stopped at that moment, and then killed
      ++tally.outcomes["lost with its node"];
    }
  }
}

void PolicyScene::judge_talk(const Talk& talk, const DeedLedger& deeds, Tally& tally) {
  const PolicyTalk& record = *talk.record;
  const bool ended = stage_.world.node(record.node).alive();
  judge_policy_talk(record, talk.config, told_[*record.id], alone_[*record.id], deeds, ended,
                    *stage_.violations, tally.policies);
  judge_what_is_shown(record, *stage_.violations, tally.policies);
  tally.requests += record.requests.size();
  for (const auto& [id, request] : record.requests) {
    tally.replies += static_cast<std::uint64_t>(request.replies);
  }
  if (!ended) {
    ++tally.outcomes["lost with its node"];
  } else if (!record.end) {
    ++tally.outcomes["orphaned, and cancelled"];
  } else {
    const auto& failure = record.end->failure;
    ++tally.outcomes[failure ? "failed: " + std::string{name_of(failure->code)} : "closed"];
    tally.actor_restarts += record.end->counters.actor_restarts;
    tally.deferred += record.end->counters.deferred;
  }
  if (calm_) judge_calm(talk);
}

/// Whatever happened to connections and brokers, the last one shows all of it, once and in order;
/// what a bound had no room for is counted.
void PolicyScene::judge_what_is_shown(const PolicyTalk& talk, Violations& violations,
                                      PolicyTally& tally) {
  if (!talk.id || !stage_.world.node(talk.node).alive()) return;
  if (!stage_.world.broker_runs()) return;  // accused of that already
  const ConversationId& id = *talk.id;
  const auto& timelines = stage_.world.broker().timelines();
  const auto& told = told_[id];
  const auto alike = [](const TimelineRecord& a, const TimelineRecord& b) {
    return a.event == b.event && a.message == b.message && a.cause == b.cause &&
           a.attempt == b.attempt && a.role == b.role && a.text == b.text;
  };
  auto next = told.begin();
  std::uint64_t shown = 0, left_out = 0;
  bool in_order = true;
  control::TimelineQuery query{id};
  for (bool more = true; more;) {
    const auto page = timelines.page(query, stage_.world.now());
    for (const auto& each : page.told) {
      ++shown;
      next = std::find_if(next, told.end(),
                          [&](const auto& mine) { return alike(mine, each.record); });
      if (next == told.end()) {
        in_order = false;
      } else {
        ++next;
      }
    }
    left_out = page.left_out.routine + page.left_out.other;
    more = page.next.has_value();
    if (more) query.from = *page.next;
  }
  // beyond their bounds nodes and brokers forget whole conversations
  const auto& counters = timelines.counters();
  const bool all = shown + left_out == told.size() || counters.forgotten + counters.lost > 0;
  if (!in_order || !all) {
    violations.add("conversation " + to_string(id) + ": of " + std::to_string(told.size()) +
                   " records the broker shows " + std::to_string(shown) + " and left out " +
                   std::to_string(left_out) + (in_order ? "" : ", not in order"));
  }
  tally.shown += shown;
  tally.left_out += left_out;
}

/// Poison fails its own conversation; every other one succeeds.
void PolicyScene::judge_calm(const Talk& talk) {
  const PolicyTalk& record = *talk.record;
  if (!record.end) return;  // accused of that already
  if (!record.poisoned && record.end->phase != ConversationPhase::kClosed) {
    stage_.violations->add("failed without a cause: " + record.end->failure->detail);
  }
  for (const auto& [id, request] : record.requests) {
    if (!record.poisoned && request.replies != 1) stage_.violations->add("a request unanswered");
  }
  if (!record.poisoned) return;
  if (record.end->phase != ConversationPhase::kFailed) {
    stage_.violations->add("a poisoned conversation went on");
    return;
  }
  const auto& config = talk.config;
  const std::size_t most = std::min<std::size_t>(config.max_attempts, config.max_reroutes + 1);
  if (config.on_crash == CrashPolicy::kRouteToNext && record.end->crashes.size() < most &&
      record.end->failure->detail.find("max_") == std::string::npos &&
      record.end->failure->detail.find("no alternate of role") == std::string::npos) {
    stage_.violations->add("gave up before its budget: " + record.end->failure->detail);
  }
}

}  // namespace liminal::sim
