// Goal: the crash policies (contracts 34 to 37) under faults at every point: of participants, their
// nodes, the conversations' nodes and actors, the broker and the network. Real participants and
// conversations, judged by timelines and by the ledger of what was done.
//
// A failure prints its seed; LIMINAL_SIM_SEED=N runs that one alone, LIMINAL_SIM_SEEDS=N that many.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common/base/text.hpp"
#include "tests/sim/nemesis.hpp"
#include "tests/sim/policy_judge.hpp"
#include "tests/sim/policy_workload.hpp"
#include "tests/sim/storm.hpp"
#include "tests/sim/world.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kHosts = 4;
constexpr int kTalks = 24;
constexpr int kFaults = 6;
constexpr int kActorKills = 6;
constexpr int kParticipantKills = 12;
constexpr int kAttachedKills = 6;
constexpr Duration kFaultTime = 12s;
constexpr Duration kTimeout = 12s;             // of each conversation
constexpr Duration kCompensationTimeout = 3s;  // of each step
constexpr int kRequestsMax = 6;
// After the last fault: a conversation's timeout, its settling, all of its steps, its closing.
constexpr Duration kHealing = kTimeout + kRequestsMax * kCompensationTimeout + 8s;

/// One run. Calm: nothing fails but what the requests themselves bring about.
class PolicyDrill {
 public:
  enum class Weather : std::uint8_t { kCalm, kStormy };

  PolicyDrill(std::uint64_t seed, Weather weather)
      : weather_(weather),
        world_(told_to_us(seed), seed),
        random_(seed ^ 0xC0),
        nemesis_(
            world_, random_, kHosts, [this](std::size_t host) { return start(host); },
            TimePoint{kFaultTime + 10s}) {
    stage_.unlucky = weather == Weather::kStormy;
    world_.run_for(1s);
  }

  void run() {
    scatter(world_, nemesis_, kTalks, kFaultTime, [this] { start_talk(); });
    if (weather_ == Weather::kStormy) {
      scatter(world_, nemesis_, kFaults, kFaultTime, [this] { nemesis_.strike(); });
      scatter(world_, nemesis_, kActorKills, kFaultTime, [this] {
        kill_some_actor(world_, random_, talks_,
                        [](const Talk& talk) { return talk.record->node; });
      });
      scatter(world_, nemesis_, kParticipantKills, kFaultTime, [this] { kill_some_participant(); });
      scatter(world_, nemesis_, kAttachedKills, kFaultTime, [this] { kill_some_attached(); });
    }
    world_.run_for(kFaultTime);
    world_.run_for(kHealing);
    end_attached();
    judge();
  }

  [[nodiscard]] const std::vector<std::string>& violations() const {
    return stage_.violations->found;
  }
  [[nodiscard]] const PolicyTally& tally() const { return tally_; }

  /// Everything that two runs of one seed must agree on.
  [[nodiscard]] std::string trace() const {
    std::ostringstream out;
    out << world_.events_run() << '\n';
    for (const Deed& deed : stage_.ledger) {
      out << static_cast<int>(deed.what) << ' ' << to_string(deed.request) << ' ' << deed.attempt
          << ' ' << deed.node << ' ' << deed.at.time_since_epoch().count() << '\n';
    }
    for (const auto& [id, records] : told_) {
      for (const TimelineRecord& record : records) out << name_of(record.event) << record.text;
      out << '\n';
    }
    return out.str();
  }

 private:
  struct Talk {
    std::shared_ptr<PolicyTalk> record;
    ConversationConfig config;
  };
  /// A role that was passed on, until its successor is there.
  struct Reroute {
    std::shared_ptr<const Directory::Snapshot> directory;
    TimePoint at;
  };

  World::Settings told_to_us(std::uint64_t seed) {
    auto settings = storm_world(seed);
    settings.cluster.timeline_records_max = 1000;
    settings.timeline = [this](std::size_t node, TimelineRecord record) {
      hear(node, std::move(record));
    };
    return settings;
  }

  [[nodiscard]] World::Node& on(std::size_t host) { return nemesis_.on(host); }

  // "s2" has two hosts only; whoever is there offers the others.
  std::size_t start(std::size_t host) {
    std::vector<ServiceName> services;
    for (std::size_t service = 0; service < kPolicyServices; ++service) {
      if (service != 2 || host < 2) services.push_back(policy_service(service));
    }
    auto participants = std::make_shared<ParticipantLedger>();
    const std::size_t index = world_.nodes();
    participants_.push_back(participants);
    return world_.start_node(
        {.name = name_of_host(host), .services = services},
        [this, index, participants](const signal::SpawnRequest& request) {
          return make_policy_service(request, stage_, index, participants);
        },
        participants);
  }

  // --- what happens ---

  void start_talk() {
    const std::size_t host = nemesis_.some_host();
    if (!on(host).alive()) return;
    auto record = std::make_shared<PolicyTalk>();
    record->node = nemesis_.index_on(host);
    PolicyPlan plan = some_plan(record->node);
    talks_.push_back({record, plan.config});
    on(host).scheduler().spawn(
        make_policy_talk(record, stage_.violations, on(host).supervisor(), std::move(plan)));
    on(host).poke();
  }

  PolicyPlan some_plan(std::size_t node) {
    const bool stormy = weather_ == Weather::kStormy;
    const std::uint64_t dice = random_.below(10);
    const CrashPolicy policy = dice < 5   ? CrashPolicy::kCompensate
                               : dice < 9 ? CrashPolicy::kRouteToNext
                                          : CrashPolicy::kFail;
    std::vector<ParticipantConfig> roles;
    std::set<Pid> attached;  // each to one role
    const std::size_t count = 2 + random_.below(3);
    for (std::size_t i = 0; i < count; ++i) {
      if (policy == CrashPolicy::kRouteToNext && random_.below(3) == 0) {
        roles.push_back(some_attached("role" + std::to_string(i), node, attached));
        continue;
      }
      roles.push_back(ParticipantConfig::owned(
          "role" + std::to_string(i), policy_service(random_.below(kPolicyServices)), some_rule()));
    }
    ConversationConfig config{policy, std::move(roles)};
    config.timeout = kTimeout;
    config.policy_timeout = 6s;
    config.max_reroutes = 1 + random_.below(8);
    config.max_attempts = 1 + static_cast<std::uint32_t>(random_.below(4));
    config.settle_timeout = 1s;
    config.compensation_timeout = kCompensationTimeout;
    config.compensation_attempts = 1 + static_cast<std::uint32_t>(random_.below(3));
    config.orphan_timeout = 1s;
    PolicyPlan plan{.config = std::move(config),
                    .requests = 1 + static_cast<int>(random_.below(kRequestsMax)),
                    .ending = PolicyTalk::Ending::kClose,
                    .end_after = 1ms + nemesis_.below(3s),
                    .work_max = random_.below(4) == 0 ? Duration::zero() : Duration{2s}};
    if (random_.below(5) == 0) {
      plan.poisoned =
          1 + static_cast<int>(random_.below(static_cast<std::uint64_t>(plan.requests)));
    }
    if (!stormy) return plan;
    plan.stubborn_one_in = 12;
    const std::uint64_t ending = random_.below(10);
    if (ending == 0) plan.ending = PolicyTalk::Ending::kCloseEarly;
    if (ending == 1 || ending == 2) plan.ending = PolicyTalk::Ending::kCancel;
    if (ending == 3) plan.ending = PolicyTalk::Ending::kOrphan;
    return plan;
  }

  /// Up to four, on whatever nodes; in a storm some of them are attached to others already.
  ParticipantConfig some_attached(std::string role, std::size_t opener, std::set<Pid>& used) {
    std::vector<Pid> pids;
    const std::uint64_t wanted = 1 + random_.below(4);
    while (pids.size() < wanted) {
      const bool shared = weather_ == Weather::kStormy && random_.below(3) == 0;
      const Attached one = shared && !attached_.empty() ? attached_[random_.below(attached_.size())]
                                                        : fresh_attached();
      Pid pid = one.pid;
      if (one.node != opener) pid.incarnation = world_.node(one.node).core().incarnation();
      if (used.insert(pid).second) pids.push_back(pid);
    }
    return ParticipantConfig::attached(std::move(role), pids[0], {pids.begin() + 1, pids.end()});
  }

  struct Attached {
    std::size_t node;
    Pid pid;  // local there
  };
  Attached fresh_attached() {
    const std::size_t node = nemesis_.index_on(nemesis_.some_host());
    const Pid pid = world_.node(node).scheduler().spawn(
        make_policy_attached(stage_, node, participants_[node]));
    attached_.push_back({node, pid});
    return attached_.back();
  }

  void kill_some_attached() {
    if (attached_.empty()) return;
    const Attached& one = attached_[random_.below(attached_.size())];
    kill(one.node, one.pid);
  }

  /// They live on when their conversations are over.
  void end_attached() {
    for (const auto& [node, pid] : attached_) kill(node, pid);
    world_.run_for(2s);
  }

  PlacementRule some_rule() {
    switch (random_.below(3)) {
      case 0:
        return placement_rule::LeastLoaded{};
      case 1:
        return placement_rule::Spread{};
      default:
        return placement_rule::Any{};
    }
  }

  /// One that was placed lately.
  void kill_some_participant() {
    if (placed_.empty()) return;
    const std::size_t lately = std::min<std::size_t>(placed_.size(), 6);
    const auto& [node, pid] = placed_[placed_.size() - 1 - random_.below(lately)];
    if (pid.is_local()) return kill(node, pid);
    for (std::size_t i = 0; i < world_.nodes(); ++i) {
      if (world_.node(i).core().incarnation() != pid.incarnation) continue;
      Pid local = pid;
      local.incarnation = local_incarnation();
      return kill(i, local);
    }
  }

  void kill(std::size_t node, const Pid& pid) {
    if (!world_.node(node).alive() || world_.node(node).paused()) return;
    world_.node(node).scheduler().exit(pid, ExitReason::kill());
    world_.node(node).poke();
  }

  // --- what is told ---

  void hear(std::size_t node, TimelineRecord record) {
    world_.node(node).timeline().record(record);
    if (is_said_again(record)) return;
    world_.trace(text_of(node, record));
    if (record.event == TimelineEvent::kPlaced) placed(node, record);
    if (record.event == TimelineEvent::kRerouted) {
      rerouted_[{record.conversation, record.role}] = {world_.node(node).directory().snapshot(),
                                                       world_.now()};
    }
    if (record.event == TimelineEvent::kCrashed) {
      const Pid& pid = *record.participant;
      // a node that was stopped reads an instance's answer and its node's end in one turn
      const auto strange = strange_.find(pid);
      if (strange != strange_.end() && strange->second == world_.now()) strange_.erase(strange);
      tried_[{record.conversation, record.role}].emplace(pid.node, pid.incarnation);
    }
    told_[record.conversation].push_back(std::move(record));
  }

  /// To another broker, or as another incarnation.
  [[nodiscard]] bool is_said_again(const TimelineRecord& record) const {
    const auto told = told_.find(record.conversation);
    if (told == told_.end()) return false;
    if (record.event == TimelineEvent::kOpened) return true;
    if (record.event != TimelineEvent::kPhase) return false;
    const auto last = std::find_if(
        told->second.rbegin(), told->second.rend(),
        [](const TimelineRecord& each) { return each.event == TimelineEvent::kPhase; });
    return last != told->second.rend() && last->text.substr(0, last->text.find(':')) == record.text;
  }

  [[nodiscard]] std::string text_of(std::size_t node, const TimelineRecord& record) const {
    std::string text = world_.node(node).label() + ": " + to_string(record.conversation) + " " +
                       std::string{name_of(record.event)} + " " + record.role;
    if (record.participant) text += " " + to_string(*record.participant);
    if (record.message) text += " " + to_string(*record.message);
    if (record.reason) text += " " + to_string(*record.reason);
    return text + " " + record.text;
  }

  void placed(std::size_t node, const TimelineRecord& record) {
    const Pid& pid = *record.participant;
    placed_.emplace_back(node, pid);
    if (is_attached(record)) return;  // named, whatever became of it
    const auto snapshot = world_.node(node).directory().snapshot();
    const auto is_it = [&](const Member& member) {
      return member.name == pid.node && member.incarnation == pid.incarnation;
    };
    // an instance that was asked for is not refused when its node becomes suspect meanwhile
    const auto& members = snapshot->members;
    // nor does a new broker know everybody at once
    if (std::none_of(members.begin(), members.end(), is_it) && snapshot->connected &&
        !snapshot->recovering) {
      strange_.emplace(pid, world_.now());
    }
    const std::pair key{record.conversation, record.role};
    const auto reroute = rerouted_.find(key);
    if (reroute == rerouted_.end()) return;
    // comparable only if nothing changed between the choice and the answer, and nobody was asked in
    // vain: of a session's reset, or of a node that leaves, the directory knows nothing yet
    const bool all_answer = nemesis_.faults().resets == 0 && nemesis_.faults().leaves == 0;
    const bool same = all_answer && reroute->second.directory == snapshot &&
                      world_.now() - reroute->second.at < 50ms;
    rerouted_.erase(reroute);
    const auto& tried = tried_[key];
    if (!same || !tried.contains({pid.node, pid.incarnation})) return;
    const ServiceName service = service_of(record);
    for (const Member& member : members) {
      const bool offers = std::find(member.services.begin(), member.services.end(), service) !=
                          member.services.end();
      if (offers && member.state == MemberState::kJoined &&
          !tried.contains({member.name, member.incarnation})) {
        stage_.violations->add("a role went back to a node, and " + member.name.value() +
                               " was not tried");
      }
    }
  }

  [[nodiscard]] bool is_attached(const TimelineRecord& record) const {
    for (const Talk& talk : talks_) {
      if (talk.record->id != record.conversation) continue;
      for (const ParticipantConfig& participant : talk.config.participants) {
        if (participant.role == record.role) {
          return std::holds_alternative<AttachedPid>(participant.who);
        }
      }
    }
    return false;
  }

  [[nodiscard]] ServiceName service_of(const TimelineRecord& record) const {
    for (const Talk& talk : talks_) {
      if (talk.record->id != record.conversation) continue;
      for (const ParticipantConfig& participant : talk.config.participants) {
        if (participant.role != record.role) continue;
        return std::get<OwnedInstance>(participant.who).service;
      }
    }
    return policy_service(0);
  }

  // --- the end ---

  void judge() {
    nothing_is_left(world_, nemesis_, *stage_.violations);
    for (std::size_t host = 0; host < kHosts; ++host) {
      if (on(host).alive() && participants_[nemesis_.index_on(host)]->live != 0) {
        stage_.violations->add("instances that outlive their conversation");
      }
    }
    for (const auto& [pid, at] : strange_) {
      stage_.violations->add("a role was given to " + to_string(pid) + ", which is no member");
    }
    std::map<ConversationId, DeedLedger> deeds;
    for (const Deed& deed : stage_.ledger) deeds[deed.conversation].push_back(deed);
    for (const Talk& talk : talks_) {
      if (talk.record->not_opened || !talk.record->id) {
        if (talk.record->not_opened) stage_.violations->add(talk.record->not_opened->detail);
        continue;  // its node was stopped at that moment, and then killed
      }
      const ConversationId id = *talk.record->id;
      judge_policy_talk(*talk.record, talk.config, told_[id], deeds[id],
                        world_.node(talk.record->node).alive(), *stage_.violations, tally_);
      if (world_.node(talk.record->node).alive()) judge_what_is_shown(id);
      if (weather_ == Weather::kCalm) judge_calm(talk);
    }
  }

  /// Whatever happened to connections and brokers, the last one shows all of it, once.
  void judge_what_is_shown(const ConversationId& id) {
    if (!world_.broker_runs()) return;  // accused of that already
    std::vector<TimelineRecord> shown;
    control::TimelineQuery query{id};
    for (bool more = true; more;) {
      auto page = world_.broker().timelines().page(query, world_.now());
      for (auto& each : page.told) shown.push_back(std::move(each.record));
      more = page.next.has_value();
      if (more) query.from = *page.next;
    }
    const auto alike = [](const TimelineRecord& a, const TimelineRecord& b) {
      return a.event == b.event && a.message == b.message && a.cause == b.cause &&
             a.attempt == b.attempt && a.role == b.role && a.text == b.text;
    };
    const auto& told = told_[id];
    if (!std::equal(told.begin(), told.end(), shown.begin(), shown.end(), alike)) {
      stage_.violations->add("conversation " + to_string(id) + ": of " +
                             std::to_string(told.size()) + " records the broker shows " +
                             std::to_string(shown.size()) + ", or not in order");
    }
    tally_.shown += shown.size();
  }

  /// Poison fails its own conversation; every other one succeeds.
  void judge_calm(const Talk& talk) {
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

  Weather weather_;
  PolicyStage stage_;
  World world_;
  Random random_;
  std::vector<std::shared_ptr<ParticipantLedger>> participants_;  // by node
  Nemesis nemesis_;
  std::vector<Talk> talks_;
  std::map<ConversationId, std::vector<TimelineRecord>> told_;
  std::vector<Attached> attached_;
  std::vector<std::pair<std::size_t, Pid>> placed_;  // by the node of the conversation
  std::map<Pid, TimePoint> strange_;  // given roles when they were no members' any more
  std::map<std::pair<ConversationId, std::string>, Reroute> rerouted_;
  std::map<std::pair<ConversationId, std::string>, std::set<std::pair<NodeName, Incarnation>>>
      tried_;
  PolicyTally tally_;
};

void add(PolicyTally& sum, const PolicyTally& more) {
  sum.talks += more.talks;
  sum.replies += more.replies;
  sum.crashes += more.crashes;
  sum.reroutes += more.reroutes;
  sum.steps += more.steps;
  sum.in_doubt += more.in_doubt;
  sum.undone += more.undone;
  sum.not_undone += more.not_undone;
  sum.tried_again += more.tried_again;
  sum.compensated += more.compensated;
  sum.compensation_failed += more.compensation_failed;
  sum.poisoned += more.poisoned;
  sum.closed += more.closed;
  sum.expired += more.expired;
  sum.cancelled += more.cancelled;
  sum.orphans += more.orphans;
  sum.restarts += more.restarts;
  sum.late_effects += more.late_effects;
  sum.attached += more.attached;
  sum.alternates += more.alternates;
  sum.without_alternate += more.without_alternate;
  sum.shown += more.shown;
}

void print(std::uint64_t runs, const PolicyTally& t) {
  const std::pair<const char*, std::uint64_t> figures[] = {
      {"seeds", runs},
      {"conversations", t.talks},
      {"closed", t.closed},
      {"replies", t.replies},
      {"crashes", t.crashes},
      {"reroutes", t.reroutes},
      {"steps", t.steps},
      {"in doubt", t.in_doubt},
      {"undone", t.undone},
      {"not undone", t.not_undone},
      {"tried again", t.tried_again},
      {"compensated", t.compensated},
      {"compensation failed", t.compensation_failed},
      {"poisoned", t.poisoned},
      {"expired", t.expired},
      {"cancelled", t.cancelled},
      {"orphans", t.orphans},
      {"actors restarted", t.restarts},
      {"effects of the undone", t.late_effects},
      {"attached", t.attached},
      {"alternates", t.alternates},
      {"without alternate", t.without_alternate},
      {"records shown", t.shown}};
  for (const auto& [name, figure] : figures) {
    std::printf("%s %llu, ", name, static_cast<unsigned long long>(figure));
  }
  std::printf("\n");
}

/// Every `step`th seed from `first`.
PolicyTally explore_policies(std::uint64_t first, std::uint64_t step,
                             PolicyDrill::Weather weather) {
  PolicyTally tally;
  const std::uint64_t runs = explore(
      Seeds::from_environment(first, step),
      [&](std::uint64_t seed) {
        return PolicyDrill{seed, weather};
      },
      [&](const PolicyDrill& drill) { add(tally, drill.tally()); });
  print(runs, tally);
  return tally;
}

// Split, so that the parts run side by side; every second seed, for the time that they take.
class PoliciesSim : public ::testing::TestWithParam<std::uint64_t> {};
constexpr std::uint64_t kParts = 4;

TEST_P(PoliciesSim, KeepTheirPromisesUnderFaults) {
  const PolicyTally tally = explore_policies(GetParam(), 2 * kParts, PolicyDrill::Weather::kStormy);
  if (tally.talks < 200) return;  // too few seeds to have tried everything
  EXPECT_GT(tally.undone, 0U) << "it was tried";
  EXPECT_GT(tally.reroutes, 0U);
  EXPECT_GT(tally.in_doubt, 0U);
  EXPECT_GT(tally.alternates, 0U);
  EXPECT_GT(tally.without_alternate, 0U);
}
INSTANTIATE_TEST_SUITE_P(Parts, PoliciesSim, ::testing::Range<std::uint64_t>(0, kParts));

TEST(PoisonSim, APoisonRequestEndsItsOwnConversationAndNoOther) {
  const PolicyTally tally = explore_policies(0, 10, PolicyDrill::Weather::kCalm);
  EXPECT_TRUE(tally.poisoned > 0 || tally.talks < 100) << "it was tried";
}

TEST(PoliciesDeterminism, OneSeedIsOneTrace) {
  for (const std::uint64_t seed : {4u, 21u}) {
    expect_one_trace(seed, [](std::uint64_t each) {
      return PolicyDrill{each, PolicyDrill::Weather::kStormy};
    });
  }
}

}  // namespace
}  // namespace liminal::sim
