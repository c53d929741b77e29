#include "tests/sim/echo_scene.hpp"

#include <string>
#include <utility>

#include "common/base/text.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTalkTimeout = 8s;

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
  auto record = std::make_shared<PairRecord>();
  pairs_.push_back({stage_.nemesis.index_on(host), record});
  node.scheduler().spawn(make_pair_process(record, stage_.violations,
                                           {member.name, member.incarnation, Serial{0}},
                                           1 + stage_.random.below(60)));
  node.poke();
}

bool EchoScene::kill_some_actor() {
  std::vector<const Talk*> open;
  for (const Talk& talk : talks_) {
    if (talk.record->open && stage_.world.node(talk.node).alive()) open.push_back(&talk);
  }
  if (open.empty()) return false;
  const Talk& talk = *open[stage_.random.below(open.size())];
  const auto actor = talk.record->open->actor_pid();
  if (!actor) return false;
  stage_.kill(talk.node, *actor);
  return true;
}

void EchoScene::judge(Tally& tally) {
  for (const auto& talk : talks_) judge_talk(talk, tally);
  for (const auto& pair : pairs_) judge_pair(pair, tally);
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

void EchoScene::judge_pair(const Pair& pair, Tally& tally) {
  const auto& node = stage_.world.node(pair.node);
  const auto& record = *pair.record;
  ++tally.pairs;
  tally.deferred += record.deferred;
  if (record.exit_reason && record.exit_reason->kind == ExitKind::kNoConnection) {
    ++tally.pairs_lost;
  }
  if (!node.alive() || record.over) return;
  stage_.violations->add("a pair of " + node.label() + " was never told: exits " +
                         std::to_string(record.exits) + ", downs " + std::to_string(record.downs) +
                         ", echoed " + std::to_string(record.echoed) + " of " +
                         std::to_string(record.sent));
}

}  // namespace liminal::sim
