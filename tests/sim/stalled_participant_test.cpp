// A participant that reads nothing any more, on a node where a thousand others are busy: who sends
// to it is told to send again, what it holds is bounded, and nobody else notices.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/workload.hpp"
#include "tests/sim/world.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr ClusterSettings kCluster{250ms, 1250ms, 3s, 500ms, 16 << 20};
constexpr MailboxBounds kMailbox{.messages_max = 100, .bytes_max = 6 * 1024 * 1024};
constexpr int kTalks = 1000;
constexpr int kRequests = 4;
constexpr std::size_t kFloodBytes = 60'000;
constexpr int kFlood = 400;  // 24 MB: six times what may be under way between the two nodes

/// Takes nothing out of its mailbox until it is told to, then answers everything.
class Stalled final : public Process {
 public:
  void on_start(Context& context) override { context.take_envelopes(false); }
  void handle(Context& context, Message message) override {
    if (std::holds_alternative<LocalMessagePtr>(message)) return context.take_envelopes(true);
    auto* received = std::get_if<message::Received>(&message);
    if (received == nullptr) return;
    const Envelope& request = received->envelope;
    context.send(received->from, {.kind = EnvelopeKind::kDone,
                                  .id = context.new_message_id(),
                                  .conversation = request.conversation,
                                  .parent = request.id});
  }
};

struct Outcome {
  Duration talking{};  // until the last of the thousand was closed
  int replies = 0;
  std::uint64_t deferred = 0;
  Scheduler::MailboxLoad most;  // in the stalled mailbox
  std::size_t flood_done = 0;
  std::vector<std::string> violations;
};

/// The same thousand conversations, with or without the flood beside them.
Outcome run(bool with_flood) {
  World world{{.cluster = kCluster, .mailbox = kMailbox}, 7};
  auto violations = std::make_shared<Violations>();
  auto live = std::make_shared<int>(0);
  const std::size_t near =
      world.start_node({.name = NodeName{"near"}}, [](const signal::SpawnRequest&) {
        return Result<std::unique_ptr<Process>>{fail(Errc::kNoService, "none")};
      });
  Pid stalled{NodeName{"far"}, local_incarnation(), Serial{0}};
  const std::size_t far = world.start_node(
      {.name = NodeName{"far"}, .services = {ServiceName{"echo"}}},
      [=](const signal::SpawnRequest& request) { return make_service(request, violations, live); });
  world.run_for(1s);
  stalled = world.node(far).scheduler().spawn(std::make_unique<Stalled>());
  world.node(far).poke();
  Pid seen_from_near = stalled;
  seen_from_near.incarnation = world.node(far).core().incarnation();

  Outcome outcome;
  std::optional<ConversationHandle> flood;
  if (with_flood) {
    ConversationConfig config{CrashPolicy::kFail,
                              {ParticipantConfig::attached("stalled", seen_from_near)}};
    flood = world.node(near).supervisor().spawn(std::move(config))->handle();
    const Payload payload{std::string(kFloodBytes, 'x')};
    for (int i = 0; i < kFlood; ++i) {
      flood->start_send(payload, {.reply = ReplyMode::kNone}, [](const auto&) {});
    }
    world.node(near).poke();
    world.run_for(200ms);
    EXPECT_GT(flood->query_state().counters.deferred, 0U);
  }

  const TimePoint begin = world.now();
  std::vector<std::shared_ptr<TalkRecord>> talks;
  for (int i = 0; i < kTalks; ++i) {
    talks.push_back(std::make_shared<TalkRecord>());
    world.node(near).scheduler().spawn(make_talk_process(talks.back(), violations,
                                                         world.node(near).supervisor(),
                                                         ServiceName{"echo"}, kRequests, 8s));
  }
  world.node(near).poke();
  const auto all_closed = [&] {
    return std::all_of(talks.begin(), talks.end(), [](const auto& talk) { return talk->closed; });
  };
  while (!all_closed() && world.now() < begin + 60s) {
    world.run_for(10ms);
    const auto load = world.node(far).scheduler().mailbox_load(stalled);
    outcome.most.messages = std::max(outcome.most.messages, load.messages);
    outcome.most.bytes = std::max(outcome.most.bytes, load.bytes);
  }
  outcome.talking = world.now() - begin;
  for (const auto& talk : talks) outcome.replies += talk->replies;

  if (flood) {
    outcome.deferred = flood->query_state().counters.deferred;
    world.node(far).scheduler().send_local(stalled, std::make_unique<LocalMessage>());
    world.node(far).poke();
    world.run_for(20s);
    outcome.flood_done = flood->query_state().counters.completed;
    EXPECT_EQ(flood->query_state().counters.held_up, 0U);
  }
  outcome.violations = violations->found;
  EXPECT_EQ(world.node(far).scheduler().mailbox_load(stalled), (Scheduler::MailboxLoad{0, 0}));
  return outcome;
}

TEST(StalledParticipant, NobodyElseNoticesAndNothingGrowsWithoutBound) {
  const Outcome alone = run(false);
  const Outcome beside = run(true);
  EXPECT_EQ(alone.violations, std::vector<std::string>{});
  EXPECT_EQ(beside.violations, std::vector<std::string>{});

  EXPECT_EQ(beside.replies, kTalks * kRequests);
  EXPECT_EQ(alone.replies, kTalks * kRequests);
  EXPECT_LE(beside.talking, alone.talking + alone.talking / 10);

  EXPECT_GT(beside.deferred, 0U);
  EXPECT_EQ(beside.most.messages, kMailbox.messages_max);
  EXPECT_LE(beside.most.bytes, kMailbox.bytes_max);
  EXPECT_GT(beside.most.bytes, kMailbox.bytes_max / 2);

  EXPECT_EQ(beside.flood_done, static_cast<std::size_t>(kFlood)) << "nothing was lost";
  std::printf(
      "alone %lld ms, beside the stalled one %lld ms; it held %zu messages, %zu bytes; "
      "deferred %llu times\n",
      static_cast<long long>(alone.talking / 1ms), static_cast<long long>(beside.talking / 1ms),
      beside.most.messages, beside.most.bytes, static_cast<unsigned long long>(beside.deferred));
}

}  // namespace
}  // namespace liminal::sim
