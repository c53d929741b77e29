// Goal: a send that its caller gave up is withdrawn, from any thread and at any moment, and leaves
// no entry anywhere.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/random.hpp"
#include "node/conversation/conversation_supervisor.hpp"
#include "node/scheduler/workers.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

const ServiceName kToy{"toy"};

class Toy final : public Process {
 public:
  explicit Toy(std::vector<std::string>& got) : got_(got) {}
  void handle(Context& context, Message message) override {
    auto* received = std::get_if<message::Received>(&message);
    if (received == nullptr) return;
    const Envelope& request = received->envelope;
    got_.emplace_back(request.payload.view());
    if (request.payload.view() == "silent") return;
    held_.push_back(request);
    if (request.payload.view() == "held") return;
    for (const Envelope& each : std::exchange(held_, {})) {
      context.send(received->from, {.kind = EnvelopeKind::kReply,
                                    .id = context.new_message_id(),
                                    .conversation = each.conversation,
                                    .parent = each.id,
                                    .payload = each.payload});
    }
  }

 private:
  std::vector<Envelope> held_;  // until one comes that is not
  std::vector<std::string>& got_;
};

class WithdrawnHere : public ::testing::Test {
 protected:
  WithdrawnHere() {
    scheduler.set_service_factory(
        [this](const signal::SpawnRequest&) -> Result<std::unique_ptr<Process>> {
          return std::make_unique<Toy>(got);
        });
    directory.publish(
        {{{NodeName{"a"}, local_incarnation(), MemberState::kJoined, false, {kToy}, {}}},
         true,
         1 << 20});
    ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
    config.requests_max = kRequestsMax;
    config.waiters_max = kRequestsMax;
    handle.emplace(supervisor.spawn(config)->handle());
    run();
  }
  void run() { scheduler.run_until_idle(now); }
  std::string ask(const char* text) {
    std::string told;
    handle->start_ask(Payload{text}, {}, [&](const Outcome& outcome) {
      told = outcome ? std::string{outcome->view()} : outcome.error().detail;
    });
    run();
    return told;
  }

  static constexpr std::size_t kRequestsMax = 4;
  TimePoint now{1s};
  std::vector<std::string> got;
  Scheduler scheduler{{.node = NodeName{"a"}, .seed = 7}, [](const Signal&) {}};
  Directory directory;
  ConversationSupervisor supervisor{scheduler, directory};
  std::optional<ConversationHandle> handle;
};

TEST_F(WithdrawnHere, WhatNobodySawYetIsNeverTaken) {
  ASSERT_EQ(ask("x"), "x");
  auto sending = handle->begin_send(Payload{"never"}, {}, [](const Outcome&) { FAIL(); });
  EXPECT_TRUE(sending.pending.cancel());
  run();
  EXPECT_EQ(got, std::vector<std::string>{"x"});
  EXPECT_EQ(handle->query_state().counters.sent, 1U);
}

TEST_F(WithdrawnHere, WhatWasAcceptedCannotBeGivenUp) {
  bool accepted = false;
  auto sending =
      handle->begin_send(Payload{"x"}, {}, [&](const Outcome& o) { accepted = o.has_value(); });
  run();
  EXPECT_TRUE(accepted);
  EXPECT_FALSE(sending.pending.cancel());
  run();
  std::string reply;
  handle->start_receive(sending.id, [&](const Outcome& o) { reply = o ? o->view() : "error"; });
  run();
  EXPECT_EQ(reply, "x");
}

// The caller gives up while the conversation hands out what can still be received: it was over
// before it heard of it.
TEST_F(WithdrawnHere, AReplyThatItsConversationKeptAtTheEndIsDropped) {
  auto cell = std::make_shared<ConversationCell>(ConversationState{.id = ConversationId{1, 2}});
  effect::Finish over;
  over.correlated.emplace(MessageId{5, 1}, Payload{"one"});
  over.inbox.emplace_back(MessageId{5, 2}, Payload{"two"});
  over.inbox.emplace_back(MessageId{5, 3}, Payload{"three"});
  for (std::uint64_t n = 1; n <= 3; ++n) over.taken_for.emplace(MessageId{5, n}, WaiterId{n});
  cell->archive(std::move(over));
  {
    const Forgotten one{MessageId{5, 1}, WaiterId{1}, cell},
        two{MessageId{5, 2}, WaiterId{2}, cell};
    const Forgotten anothers{MessageId{5, 3}, WaiterId{2}, cell};
  }
  EXPECT_EQ(cell->snapshot().counters.answers_dropped, 2U);
  std::string told;
  Waiter waiter{[&](const Outcome& o) { told = o ? std::string{o->view()} : "error"; }};
  EXPECT_TRUE(cell->answer(question::Receive{}, waiter));
  EXPECT_EQ(told, "three");
  EXPECT_FALSE(cell->has_archive());
}

// Its participant answers more at once than may be open: what is out of time costs no other reply.
TEST_F(WithdrawnHere, LateAnswersTakeNoPlaceOfThoseThatAreWaitedFor) {
  int late = 0;
  for (std::size_t i = 0; i < kRequestsMax; ++i) {
    handle->start_ask(Payload{"held"}, {.deadline = Duration{1s}},
                      [&](const Outcome& o) { late += o ? 0 : 1; });
  }
  run();
  now += 2s;
  run();
  ASSERT_EQ(late, 4);
  std::size_t replies = 0;
  for (std::size_t i = 0; i < kRequestsMax; ++i) {
    handle->start_ask(Payload{i + 1 < kRequestsMax ? "held" : "now"}, {},
                      [&](const Outcome& o) { replies += o ? 1 : 0; });
  }
  run();
  EXPECT_EQ(replies, kRequestsMax);
  EXPECT_EQ(handle->query_state().counters.answers_dropped, kRequestsMax);
}

/// Threads that block, with workers.
class WithdrawnByThreads : public WithdrawnHere {
 protected:
  WithdrawnByThreads() {
    workers.emplace(scheduler, clock, Workers::Settings{.workers = 2, .blocking = 1});
  }
  SystemClock clock;
  std::optional<Workers> workers;
};

TEST_F(WithdrawnByThreads, ATimeoutNamesTheRequestThatWasWithdrawn) {
  workers.reset();
  const auto sent = handle->send(Payload{"never"}, {}, 1ms);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::kConversationTimeout);
  EXPECT_EQ(sent.error().detail.rfind("no acceptance of request ", 0), 0U) << sent.error().detail;
  run();
  EXPECT_TRUE(got.empty());
}

// Time-outs race with the acceptance: whatever the machine's speed, they are drawn up to a bound
// that sinks with each request accepted and rises with each given up. Each request that were left
// behind would take one of a few places for ever.
TEST_F(WithdrawnByThreads, NoRaceOfATimeoutWithTheAcceptanceLeavesARequestBehind) {
  constexpr std::uint64_t kSeed = 11;
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  Random random{kSeed};
  int accepted = 0, given_up = 0;
  // As many as some seconds allow, once there were enough of both.
  const TimePoint until = clock.now() + 10s;
  const auto goes_on = [&] {
    const bool enough = accepted > 20 && given_up > 20;
    return clock.now() < (enough ? until : until + 40s);
  };
  Duration longest = 60us;
  for (int i = 0; i < 2000 && goes_on(); ++i) {
    const Duration patience{
        static_cast<Duration::rep>(random.below(static_cast<std::uint64_t>(longest.count())))};
    const auto sent = handle->send(Payload{"x"}, {}, patience);
    if (sent) {
      ++accepted;
      longest = std::max<Duration>(longest * 9 / 10, 1us);
      const auto reply = handle->receive(*sent, 60s);
      ASSERT_TRUE(reply) << reply.error().detail;
    } else if (sent.error().code == Errc::kConversationTimeout) {
      ++given_up;
      longest = std::min<Duration>(longest * 10 / 9, 1s);
    } else {
      // those that are cancelled keep their places until they are answered, and no longer
      ASSERT_EQ(sent.error().code, Errc::kRejected) << sent.error().detail;
    }
  }
  EXPECT_GT(accepted, 20);
  EXPECT_GT(given_up, 20);
  for (std::size_t i = 0; i < kRequestsMax; ++i) {
    const auto last = handle->ask(Payload{"x"}, 60s);
    ASSERT_TRUE(last) << last.error().detail << " after " << accepted << " and " << given_up;
  }
  std::vector<MessageId> all;
  for (std::size_t i = 0; i < kRequestsMax; ++i) {
    const auto sent = handle->send(Payload{"x"}, {}, 60s);
    ASSERT_TRUE(sent) << sent.error().detail << " after " << accepted << " and " << given_up;
    all.push_back(*sent);
  }
  for (const MessageId& id : all) EXPECT_TRUE(handle->receive(id, 60s));
  EXPECT_TRUE(handle->close(60s));
}

}  // namespace
}  // namespace liminal
