// Five hundred running conversations with mixed policies while the broker is killed every two
// seconds, or stopped for long: nothing that runs on the nodes may notice more than a delay.
//
// LIMINAL_SOAK_SECONDS says for how long it is killed again and again, 8 where it is not set;
// LIMINAL_SOAK_SEED chooses the seed.
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "common/base/random.hpp"
#include "common/base/text.hpp"
#include "node/node.hpp"
#include "tests/system/cluster.hpp"
#include "tests/system/soak/soak.hpp"

namespace liminal::test {
namespace {

constexpr std::size_t kRunning = 500;
const std::vector<std::string> kNodes = {"a", "b", "c"};
constexpr Milliseconds kKillEach = 2s;
constexpr Milliseconds kStoppedFor = 30s;
constexpr Milliseconds kDeciding = 60s * kSlack;

/// One of the five hundred: when it has ended, another takes its place.
struct Slot {
  std::optional<ConversationHandle> handle;
  std::size_t requests_left = 0;
  std::optional<MessageId> asked;
  std::string payload;
  bool ending = false;
  SteadyClock::time_point next{};
};

class BrokersSoak : public ::testing::Test {
 protected:
  BrokersSoak() : random_(announced_seed()) {
    for (const std::string& name : kNodes) {
      cluster_.add_node(name, {"echo=echo"},
                        {"--compensate", "echo=exec:echo undone >> " + folder_.path("undone")});
      incarnations_[name] = cluster_.incarnation_of(name);
      if (incarnations_[name].empty()) throw std::runtime_error{"status does not list " + name};
    }
    client_ = start_client(cluster_.endpoint());
  }

  [[nodiscard]] Milliseconds below(Milliseconds bound) { return a_time_below(random_, bound); }

  void open(Slot& slot, std::size_t number) {
    constexpr CrashPolicy kPolicies[] = {CrashPolicy::kFail, CrashPolicy::kRouteToNext,
                                         CrashPolicy::kCompensate};
    slot = Slot{};
    slot.requests_left = 1 + random_.below(10);
    ConversationConfig config{
        kPolicies[number % 3],
        {ParticipantConfig::owned(ServiceName{"echo"}, placement_rule::LeastLoaded{})}};
    config.policy_timeout = kDeciding;  // a placement outwaits every absence of the broker
    auto handle = client_->conversations().spawn(std::move(config));
    ASSERT_TRUE(handle) << handle.error().detail;
    slot.handle = handle->handle();
    slot.next = SteadyClock::now() + below(1s);
    ++opened_;
  }

  void ask(Slot& slot, std::size_t number) {
    slot.payload = "request " + std::to_string(number) + "." + std::to_string(slot.requests_left);
    slot.asked = slot.handle->start_send(Payload{slot.payload}, {.reply = ReplyMode::kCorrelated},
                                         [](const Outcome&) {});
    (void)slot.handle->start_receive(*slot.asked, [this, number](Outcome outcome) {
      post_.push({number, Post::Told::What::kReply, std::move(outcome)});
    });
    ++asked_;
  }

  void end(Slot& slot, std::size_t number) {
    if (std::exchange(slot.ending, true)) return;
    (void)slot.handle->start_close([this, number](Outcome outcome) {
      post_.push({number, Post::Told::What::kClosed, std::move(outcome)});
    });
  }

  void on(Post::Told told) {
    Slot& slot = slots_[told.slot];
    if (told.what == Post::Told::What::kReply) {
      ASSERT_TRUE(slot.asked) << "an outcome that nobody waits for";
      slot.asked.reset();
      ASSERT_TRUE(told.outcome) << told.outcome.error().detail;
      ASSERT_EQ(told.outcome->view(), slot.payload) << "another one's reply";
      slot.next = SteadyClock::now() + below(1s);
      ++answered_;
      return;
    }
    EXPECT_TRUE(told.outcome) << "closing is no error";
    const ConversationState state = slot.handle->query_state();
    EXPECT_TRUE(state.ended);
    EXPECT_EQ(state.phase, ConversationPhase::kClosed)
        << to_string(state.id) << (state.failure ? ": " + state.failure->detail : "");
    EXPECT_TRUE(state.crashes.empty()) << "an exit signal reached " << to_string(state.id);
    EXPECT_TRUE(state.reroutes.empty() && state.compensations.empty()) << to_string(state.id);
    slot.handle.reset();
    ++closed_;
  }

  /// With `reopen`, five hundred go on; without, those that run come to their ends.
  void drive(bool reopen) {
    for (auto& told : post_.take()) on(std::move(told));
    const auto now = SteadyClock::now();
    for (std::size_t i = 0; i < slots_.size() && !HasFatalFailure(); ++i) {
      Slot& slot = slots_[i];
      if (!slot.handle) {
        if (reopen) open(slot, i);
      } else if (!slot.asked && !slot.ending && (now >= slot.next || !reopen)) {
        if (slot.requests_left == 0 || !reopen) {
          end(slot, i);
        } else {
          --slot.requests_left;
          ask(slot, i);
        }
      }
    }
  }

  void drive_for(Milliseconds duration) {
    const auto until = SteadyClock::now() + duration;
    while (SteadyClock::now() < until && !HasFatalFailure()) drive(true);
  }

  /// Every broker that there was is asked before it goes.
  void expect_nobody_declared_dead() {
    for (const char* said : {" is down", "abandoned"}) {
      EXPECT_EQ(cluster_.broker().log().find(said), std::string::npos) << cluster_.broker().log();
    }
  }

  void expect_all_decided_and_well() {
    const auto decided_by = SteadyClock::now() + kDeciding;
    while (closed_ < opened_ && SteadyClock::now() < decided_by && !HasFatalFailure()) drive(false);
    EXPECT_EQ(closed_, opened_) << "not decided";
    EXPECT_EQ(answered_, asked_) << "each request had its reply";
    expect_nobody_declared_dead();
    for (const std::string& node : kNodes) {
      EXPECT_TRUE(eventually([&] { return cluster_.incarnation_of(node) == incarnations_[node]; }))
          << node << ": " << cluster_.node(node).log();
      EXPECT_EQ(cluster_.node(node).log().find("fenced"), std::string::npos)
          << cluster_.node(node).log();
    }
    const auto undone = shell("cat " + folder_.path("undone"));
    EXPECT_EQ(undone.out, "") << "nothing was to be undone";
    std::printf("%zu conversations, %zu requests, %zu brokers\n", closed_, answered_, brokers_);
    client_->stop();
  }

  Folder folder_;
  Cluster cluster_;
  std::map<std::string, std::string> incarnations_;
  Random random_;
  Post post_;  // completions use it until the client is gone
  std::unique_ptr<Node> client_;
  std::vector<Slot> slots_{kRunning};
  std::size_t opened_ = 0, closed_ = 0, asked_ = 0, answered_ = 0, brokers_ = 1;
};

TEST_F(BrokersSoak, KilledEveryTwoSecondsItCostsNoConversation) {
  const auto until =
      SteadyClock::now() + std::chrono::seconds{number_from("LIMINAL_SOAK_SECONDS", 8)};
  drive_for(kKillEach);
  do {
    expect_nobody_declared_dead();
    cluster_.replace_broker();
    ++brokers_;
    drive_for(kKillEach);
  } while (SteadyClock::now() < until && !HasFatalFailure());
  EXPECT_GE(asked_, kRunning) << "they ran";
  expect_all_decided_and_well();
}

TEST_F(BrokersSoak, StoppedForHalfAMinuteItDeclaresNobodyDeadBeforeOrAfter) {
  drive_for(1s);
  cluster_.broker().signal(SIGSTOP);
  drive_for(kStoppedFor);
  cluster_.broker().signal(SIGCONT);
  const std::size_t before = answered_;
  drive_for(kKillEach);
  EXPECT_TRUE(eventually(
      [&] {
        drive(true);
        return answered_ >= before + kRunning || HasFatalFailure();
      },
      kDeciding))
      << "they go on";
  expect_all_decided_and_well();
}

}  // namespace
}  // namespace liminal::test
