// A thousand open conversations with mixed policies while nodes are killed and restarted: every
// one ends decided, and afterwards everything is back to zero.
//
// LIMINAL_SOAK_SECONDS says for how long; 8 where it is not set. LIMINAL_SOAK_SEED chooses the
// seed.
#include "tests/system/soak/soak.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "common/base/random.hpp"
#include "common/base/text.hpp"
#include "node/node.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

constexpr std::size_t kOpen = 1000;
const std::vector<std::string> kNodes = {"a", "b", "c"};
constexpr Milliseconds kKillEach = 1500ms;
constexpr Milliseconds kDownFor = 1s;
// Undoing a third of the thousand, one child each, while the last node comes back.
constexpr Milliseconds kDeciding = 90s * kSlack;

struct Ended {
  ConversationState state;
  CrashPolicy policy;
  std::vector<MessageId> answered;  // requests whose replies were received
};

/// One of the thousand: when it has ended, another takes its place.
struct Slot {
  std::optional<ConversationHandle> handle;
  CrashPolicy policy = CrashPolicy::kFail;
  std::size_t requests_left = 0;
  std::optional<MessageId> asked;
  std::string payload;
  std::vector<MessageId> answered;
  bool ending = false;
  SteadyClock::time_point next{};
};

class Soak : public ::testing::Test {
 protected:
  Soak() : random_(announced_seed()) {
    for (const std::string& name : kNodes) start(name);
    client_ = start_client(cluster_.endpoint());
  }

  void start(const std::string& name) {
    const std::string noted = " $LIMINAL_CALL_MESSAGE >> " + folder_.path("ledger");
    cluster_.start_node(name, {"echo=echo", "step=exec:echo process" + noted + "; cat"},
                        {"--compensate", "step=exec:echo compensate" + noted});
  }

  [[nodiscard]] Milliseconds below(Milliseconds bound) { return a_time_below(random_, bound); }

  void open(Slot& slot, std::size_t number) {
    constexpr CrashPolicy kPolicies[] = {CrashPolicy::kFail, CrashPolicy::kRouteToNext,
                                         CrashPolicy::kCompensate};
    slot = Slot{};
    slot.policy = kPolicies[number % 3];
    slot.requests_left = 1 + random_.below(4);
    const bool undoes = slot.policy == CrashPolicy::kCompensate;
    ConversationConfig config{slot.policy,
                              {ParticipantConfig::owned(ServiceName{undoes ? "step" : "echo"},
                                                        placement_rule::LeastLoaded{})}};
    config.max_attempts = 100;
    config.max_reroutes = 100;
    config.compensation_timeout = 60s;
    config.compensation_attempts = 100;
    auto handle = client_->conversations().spawn(std::move(config));
    ASSERT_TRUE(handle) << handle.error().detail;
    slot.handle = handle->handle();
    slot.next = SteadyClock::now() + below(undoes ? 8s : 3s);
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
    if (slot.policy == CrashPolicy::kCompensate && random_.below(3) == 0) {
      slot.handle->cancel("the soak test");
    }
    (void)slot.handle->start_close([this, number](Outcome outcome) {
      post_.push({number, Post::Told::What::kClosed, std::move(outcome)});
    });
  }

  void on(Post::Told told) {
    Slot& slot = slots_[told.slot];
    if (told.what == Post::Told::What::kReply) {
      ASSERT_TRUE(slot.asked) << "an outcome that nobody waits for";
      if (told.outcome) {
        EXPECT_EQ(told.outcome->view(), slot.payload) << "another one's reply";
        slot.answered.push_back(*slot.asked);
      }
      slot.asked.reset();
      slot.next = SteadyClock::now() + below(slot.policy == CrashPolicy::kCompensate ? 8s : 3s);
      ++outcomes_;
      if (!told.outcome) end(slot, told.slot);
      return;
    }
    EXPECT_TRUE(told.outcome) << "closing is no error";
    ended_.push_back({slot.handle->query_state(), slot.policy, std::move(slot.answered)});
    slot.handle.reset();
  }

  void drive(bool reopen) {
    for (auto& told : post_.take()) on(std::move(told));
    const auto now = SteadyClock::now();
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      if (!slot.handle) {
        if (reopen) open(slot, i);
      } else if (!slot.asked && !slot.ending && now >= slot.next) {
        if (slot.requests_left == 0) {
          end(slot, i);
        } else {
          --slot.requests_left;
          ask(slot, i);
        }
      } else if (!reopen) {
        end(slot, i);
      }
    }
  }

  void kill_and_restart() {
    const auto now = SteadyClock::now();
    if (!down_.empty() && now >= back_at_) {
      start(down_);
      down_.clear();
    }
    if (!down_.empty() || now < next_kill_ || !all_are_there()) return;
    down_ = kNodes[random_.below(kNodes.size())];
    for (const auto& member : client_->directory().snapshot()->members) {
      if (member.name.value() == down_) killed_ = member.incarnation;
    }
    cluster_.node(down_).signal(SIGKILL);
    back_at_ = now + kDownFor;
    next_kill_ = now + kKillEach / 2 + below(kKillEach);
    ++kills_;
  }

  /// So that there is always another node: as the client sees it, the last one killed is back.
  [[nodiscard]] bool all_are_there() const {
    const auto directory = client_->directory().snapshot();
    return std::all_of(kNodes.begin(), kNodes.end(), [&](const std::string& name) {
      return std::any_of(directory->members.begin(), directory->members.end(), [&](const auto& m) {
        return m.name.value() == name && m.state == MemberState::kJoined &&
               m.incarnation != killed_;
      });
    });
  }

  [[nodiscard]] std::size_t still_open() const {
    return static_cast<std::size_t>(std::count_if(
        slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.handle.has_value(); }));
  }

  void judge();

  Folder folder_;
  Cluster cluster_;
  Random random_;
  Post post_;  // completions use it until the client is gone
  std::unique_ptr<Node> client_;
  std::vector<Slot> slots_{kOpen};
  std::vector<Ended> ended_;
  std::string down_;                   // the node that is
  std::optional<Incarnation> killed_;  // what it was, or the last one
  SteadyClock::time_point next_kill_ = SteadyClock::now() + kKillEach, back_at_{};
  std::size_t opened_ = 0, asked_ = 0, outcomes_ = 0, kills_ = 0;
};

/// By the records of the conversations and by what the commands wrote.
void Soak::judge() {
  std::set<std::string> undone;
  std::ifstream ledger{folder_.path("ledger")};
  for (std::string action, message; ledger >> action >> message;) {
    if (action == "compensate") undone.insert(message);
  }
  std::map<std::string, int> tally;
  for (const Ended& each : ended_) {
    const ConversationState& state = each.state;
    ++tally[std::string{name_of(each.policy)} + " " + std::string{name_of(state.phase)} +
            (state.failure ? " " + std::string{name_of(state.failure->code)} : "")];
    EXPECT_TRUE(state.ended && is_terminal(state.phase)) << to_string(state.id);
    EXPECT_EQ(state.phase == ConversationPhase::kFailed, state.failure.has_value());
    EXPECT_TRUE(each.policy == CrashPolicy::kRouteToNext || state.reroutes.empty());
    EXPECT_TRUE(each.policy == CrashPolicy::kCompensate || state.compensations.empty());
    EXPECT_TRUE(each.policy != CrashPolicy::kFail || state.crashes.size() <= 1);
    std::set<MessageId> decided;
    for (const CompensationRecord& record : state.compensations) {
      EXPECT_TRUE(decided.insert(record.request).second) << "decided twice";
      EXPECT_NE(record.outcome, CompensationOutcome::kPending);
      if (record.outcome == CompensationOutcome::kUndone) {
        EXPECT_TRUE(undone.contains(to_string(record.request)));
      }
    }
    for (const MessageId& request : each.answered) {
      if (each.policy != CrashPolicy::kCompensate) continue;
      if (state.phase == ConversationPhase::kFailed) {
        EXPECT_TRUE(decided.contains(request)) << "completed, and not undone";
      } else {
        EXPECT_FALSE(undone.contains(to_string(request))) << "undone, and nothing failed";
      }
    }
  }
  std::printf("%zu conversations, %zu requests, %zu kills\n", ended_.size(), asked_, kills_);
  for (const auto& [kind, count] : tally) std::printf("  %6d %s\n", count, kind.c_str());
  EXPECT_EQ(tally["compensate Failed CompensationFailed"], 0) << "there was always a node again";
  EXPECT_EQ(tally["route-to-next Failed ParticipantCrashed"], 0) << "there was always another";
}

TEST_F(Soak, EveryConversationEndsDecidedAndNothingIsLeft) {
  const auto until =
      SteadyClock::now() + std::chrono::seconds{number_from("LIMINAL_SOAK_SECONDS", 8)};
  while (SteadyClock::now() < until && !HasFatalFailure()) {
    drive(true);
    kill_and_restart();
  }
  EXPECT_GT(kills_, 0U);
  EXPECT_GT(still_open(), kOpen * 9 / 10) << "open at once";
  if (!down_.empty()) start(down_);
  const auto decided_by = SteadyClock::now() + kDeciding;
  while (still_open() > 0 && SteadyClock::now() < decided_by) drive(false);
  EXPECT_EQ(still_open(), 0U) << "not decided";
  EXPECT_EQ(ended_.size(), opened_);
  EXPECT_EQ(outcomes_, asked_) << "each request had one outcome";
  judge();

  const auto rests = [&] {
    const auto counts = client_->counts();
    return counts.conversations == 0 && counts.participants == 0 && counts.ties == 0 &&
           counts.timers == 0 && counts.processes <= 1;
  };
  EXPECT_TRUE(eventually(rests, 20s))
      << client_->counts().conversations << " conversations, " << client_->counts().ties << " ties";
  for (const std::string& node : kNodes) {
    EXPECT_TRUE(eventually([&] { return cluster_.below(node).size() == 1; }, 20s))
        << "the minder alone, on " << node;
    EXPECT_TRUE(cluster_.node(node).running()) << cluster_.node(node).log();
  }
  const auto idle = [&] {
    const auto status = cluster_.run({"status", "--json"}).out;
    std::size_t zeros = 0;
    for (auto at = status.find("\"participants\":0,\"conversations\":0"); at != status.npos;
         at = status.find("\"participants\":0,\"conversations\":0", at + 1)) {
      ++zeros;
    }
    return zeros >= kNodes.size() + 1;
  };
  EXPECT_TRUE(eventually(idle, 20s)) << cluster_.run({"status", "--json"}).out;
  client_->stop();
}

}  // namespace
}  // namespace liminal::test
