#include "tests/sim/storm.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "common/base/text.hpp"
#include "tests/sim/last_words.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr ClusterSettings kCluster{250ms, 1250ms, 3s, 500ms, 16 << 20, 500ms, 6s};
// After the last fault: a conversation's timeout, its settling, all of its steps, its closing;
// verdicts and a recovery before.
constexpr Duration kHealingMax = 120s;  // a refused node tries for 60 s
constexpr Duration kStep = 250ms;
// Once all is quiet: whatever was wrong by then has become a verdict after it.
constexpr Duration kWatched = kCluster.recovery + kCluster.down_after + 1s;
// Some fifty happen.
constexpr std::uint64_t kEventsPerHostAndSecond = 5000;
constexpr std::uint32_t kRecordsMax = 1000;  // of one conversation: more than any has

std::string text_of(const TimelineRecord& record) {
  std::string text =
      to_string(record.conversation) + " " + std::string{name_of(record.event)} + " " + record.role;
  if (record.participant) text += " " + to_string(*record.participant);
  if (record.message) text += " " + to_string(*record.message);
  if (record.reason) text += " " + to_string(*record.reason);
  return record.text.empty() ? text : text + " " + record.text;
}

}  // namespace

Storm::Storm(Settings settings, std::uint64_t seed)
    : settings_(std::move(settings)),
      world_(world_settings(seed), seed),
      random_(seed ^ 0xD1),
      nemesis_(world_, random_,
               {.hosts = settings_.hosts,
                .cluster = kCluster,
                .kinds = settings_.nemeses,
                .start = [this](std::size_t host) { return start(host); }}),
      stage_{world_, nemesis_, random_, violations_},
      echoes_(stage_),
      policies_(stage_, settings_.calm) {
  world_.run_for(1s);
  for (std::size_t host = 0; host < settings_.hosts; ++host) {
    if (!nemesis_.on(host).core().joined()) violations_->add("not joined after a second");
  }
}

World::Settings Storm::world_settings(std::uint64_t seed) {
  World::Settings world{.cluster = kCluster};
  // Every second seed has mailboxes for one message: there is much that must be sent again.
  if (seed % 2 == 0) world.mailbox = MailboxBounds{.messages_max = 1};
  world.cluster.timeline_records_max = kRecordsMax;
  world.timeline = [this](std::size_t node, TimelineRecord record) {
    hear(node, std::move(record));
  };
  world.trace = settings_.trace;
  world.violation = [violations = violations_](const std::string& what) { violations->add(what); };
  return world;
}

/// "s2" has two hosts only; whoever is there offers the others.
std::size_t Storm::start(std::size_t host) {
  std::vector<ServiceName> services{ServiceName{"counter"}, ServiceName{"echo"},
                                    ServiceName{"fragile"}};
  for (std::size_t service = 0; service < kPolicyServices; ++service) {
    if (service != 2 || host < 2) services.push_back(policy_service(service));
  }
  const std::size_t index = world_.nodes();
  live_.resize(index + 1);
  participants_.resize(index + 1);
  live_[index] = std::make_shared<int>(0);
  participants_[index] = std::make_shared<ParticipantLedger>();
  return world_.start_node(
      {.name = NodeName{std::string(1, static_cast<char>('a' + host))}, .services = services},
      [this, index](const signal::SpawnRequest& request) -> Result<Scheduler::Instance> {
        if (request.service.value()[0] == 's') {
          return policies_.make(request, index, participants_[index]);
        }
        auto made = make_service(request, violations_, live_[index]);
        if (!made) return tl::unexpected{std::move(made.error())};
        return Scheduler::Instance{std::move(*made)};
      },
      participants_[index]);
}

void Storm::scatter(int per_minute, std::function<void()> action) {
  const auto times = settings_.length * per_minute / Duration{1min};
  for (Duration::rep i = 0; i < times; ++i) {
    world_.events().at(world_.now() + nemesis_.below(settings_.length), action);
  }
}

void Storm::begin() {
  scatter(settings_.density.talks, [this] { echoes_.start_talk(); });
  scatter(settings_.density.pairs, [this] { echoes_.start_pair(); });
  scatter(settings_.density.policy_talks, [this] { policies_.start_talk(); });
  if (settings_.calm) return;
  scatter(settings_.density.faults, [this] { nemesis_.strike(); });
  scatter(settings_.density.actor_kills, [this] {
    const bool of_policies = random_.below(2) == 0;
    if (of_policies ? policies_.kill_some_actor() : echoes_.kill_some_actor()) {
      ++tally_.actor_kills;
    }
  });
  scatter(settings_.density.participant_kills, [this] {
    if (policies_.kill_some_participant()) ++tally_.participant_kills;
  });
  scatter(settings_.density.attached_kills, [this] {
    if (policies_.kill_some_attached()) ++tally_.participant_kills;
  });
}

void Storm::begin_flaw() {
  switch (settings_.flaw) {
    case Settings::Flaw::kNone:
      return;
    case Settings::Flaw::kHangs:
      return world_.events().after(1s, [this] {
        // it allocates: ThreadSanitizer holds signals back until a call that it knows of
        while (hangs_) *std::make_unique<volatile int>() = 1;
      });
    case Settings::Flaw::kRepeats:
      return world_.events().after(1s, [this] { repeat(); });
    case Settings::Flaw::kAccused:
      return violations_->add("accused, for a test");
  }
}

void Storm::repeat() {
  world_.events().after(Duration::zero(), [this] { repeat(); });
}

void Storm::run_for(Duration duration) {
  world_.run_for(duration);
  still_running();
  if (std::exchange(capped_, world_.events().is_capped()) != capped_) {
    violations_->add("more than " + std::to_string(world_.events_run()) + " events by " +
                     std::to_string(to_ms(world_.now() - TimePoint{})) + " ms: none runs any more");
  }
}

void Storm::run() {
  world_.events().cap(
      kEventsPerHostAndSecond * settings_.hosts *
      static_cast<std::uint64_t>(
          std::chrono::ceil<std::chrono::seconds>(settings_.length + kHealingMax).count()));
  begin();
  begin_flaw();
  for (const TimePoint end = world_.now() + settings_.length; world_.now() < end;) {
    run_for(std::min(kStep, end - world_.now()));
  }
  heal();
  judge();
}

/// Until nothing is left to wait for: the longest waits are rare. Then there are beats alone, which
/// count for no simulated time.
void Storm::heal() {
  nemesis_.heal();
  const TimePoint latest = world_.now() + kHealingMax;
  do {
    run_for(kStep);
    nemesis_.tend();
    if (all_conversations_ended()) policies_.end_attached();
  } while (!is_quiet() && world_.now() < latest);
  tally_.simulated = world_.now() - TimePoint{};
  for (const TimePoint end = world_.now() + kWatched; world_.now() < end;) {
    run_for(kStep);
    nemesis_.tend();
  }
}

bool Storm::all_conversations_ended() {
  const auto& nodes = nemesis_.indexes();
  return std::all_of(nodes.begin(), nodes.end(), [&](std::size_t index) {
    return world_.node(index).supervisor().open() == 0;
  });
}

bool Storm::is_quiet() {
  Violations left;
  find_what_is_left(left);
  return left.found.empty() && policies_.is_all_shown();
}

void Storm::hear(std::size_t node, TimelineRecord record) {
  if (world_.tracing()) world_.trace(world_.node(node).label() + ": " + text_of(record));
  world_.node(node).timeline().record(record);
  policies_.hear(node, std::move(record));
}

void Storm::find_what_is_left(Violations& violations) {
  nothing_is_left(world_, nemesis_, violations);
  nemesis_.judge_names(violations);
  for (const std::size_t index : nemesis_.indexes()) {
    if (*live_[index] == 0 && participants_[index]->live == 0) continue;
    violations.add("instances that outlive their conversation on " + world_.node(index).label());
  }
}

void Storm::judge() {
  judge_deaths();
  tally_.timed_deaths = nemesis_.judge_detection(*violations_);
  find_what_is_left(*violations_);
  echoes_.judge(tally_);
  policies_.judge(tally_);
  tally_.seeds = 1;
  tally_.events = world_.events_run();
  tally_.brokers = world_.brokers();
  for (const auto& [kind, count] : nemesis_.faults()) tally_.faults[std::string{kind}] = count;
  for (std::size_t i = 0; i < world_.nodes(); ++i) {
    tally_.fenced += static_cast<std::uint64_t>(world_.node(i).fenced());
  }
  tally_.points_reached = world_.points_reached();
  tally_.points_hit = nemesis_.points_hit();
  tally_.violations = violations_->found.size();
  if (!world_.tracing()) return;
  for (const std::string& violation : violations_->found) world_.trace("violation: " + violation);
  world_.trace("digest " + to_hex(world_.digest()) + ", events " +
               std::to_string(world_.events_run()));
}

void Storm::judge_deaths() {
  std::set<Incarnation> dead;
  std::set<std::pair<Incarnation, std::uint64_t>> told;
  for (const auto& death : world_.deaths()) {
    ++tally_.deaths[std::string{name_of(death.evidence.source)}];
    if (!told.emplace(death.incarnation, death.broker).second) {
      violations_->add("one incarnation of " + death.name.value() + " died twice");
    }
    // the next broker is told of the verdict, and may have let it resume before it was
    if (!dead.insert(death.incarnation).second) continue;
    // a silence is judged only when the silent cannot begin anything any more
    if (death.leased && death.evidence.source == EvidenceSource::kHeartbeatsMissed) {
      violations_->add(death.name.value() + " held its lease when it was declared down");
    }
    if (!nemesis_.excuses(death)) {
      violations_->add("false death of " + death.name.value() + ", " +
                       std::string{name_of(death.evidence.source)} + ", at " +
                       std::to_string(to_ms(death.when - TimePoint{})) + " ms");
    }
  }
}

}  // namespace liminal::sim
