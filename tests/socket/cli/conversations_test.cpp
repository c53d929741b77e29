// `liminal timeline`, `conversations` and `cancel` against a broker that nodes told by hand.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cli/commands.hpp"
#include "common/base/text.hpp"
#include "node/node.hpp"
#include "node/node_log.hpp"
#include "node/node_loop.hpp"
#include "tests/support/running_broker.hpp"

namespace liminal::cli {
namespace {

using namespace std::chrono_literals;
using enum TimelineEvent;

broker::BrokerCore::Settings few_records() {
  auto settings = test::quick_broker();
  settings.cluster.timeline_records_max = 8;
  return settings;
}

/// A node loop without conversations of its own: what it tells and answers is the test's.
class HandMadeNode {
 public:
  using Cancel = std::function<bool(const ConversationId&, const std::string&)>;

  HandMadeNode(const test::RunningBroker& broker, const char* name, Cancel cancel = {})
      : scheduler_({.node = NodeName{name}, .seed = 1},
                   [this](Signal signal) { inbox_.push(std::move(signal)); }),
        recorder_(TimelineRecorder::kUntold, [this] { inbox_.records_wait(); }),
        loop_({broker.endpoint(), {.name = NodeName{name}}, random_seed()}, clock_, scheduler_,
              directory_, inbox_, recorder_,
              {.load =
                   [] {
                     return NodeLoop::Load{0, 0};
                   },
               .cancel = std::move(cancel)}),
        workers_(scheduler_, clock_, {1, 1}) {
    EXPECT_TRUE(loop_.start());
    EXPECT_TRUE(loop_.wait_joined(20s));
  }
  ~HandMadeNode() { loop_.stop(); }
  HandMadeNode(const HandMadeNode&) = delete;
  HandMadeNode& operator=(const HandMadeNode&) = delete;

  void tell(TimelineRecord record) {
    record.at = clock_.now() - TimePoint{};
    recorder_.record(std::move(record));
  }
  void leave() { loop_.stop(); }

 private:
  SystemClock clock_;
  Directory directory_;
  NodeInbox inbox_;
  Scheduler scheduler_;
  TimelineRecorder recorder_;
  NodeLoop loop_;
  Workers workers_;
};

struct Ended {
  ExitCode code;
  std::string out, err;
};

class ConversationCommands : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { silence_node_log(); }  // it would go to stdout here

  Ended run(std::vector<std::string> words) {
    words.insert(words.begin() + 1, {"--broker", broker.endpoint()});
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const ExitCode code = cli::run(signals, words);
    return {code, ::testing::internal::GetCapturedStdout(),
            ::testing::internal::GetCapturedStderr()};
  }
  Ended run_until(const std::vector<std::string>& words, const std::string& part) {
    const auto give_up = std::chrono::steady_clock::now() + 20s;
    for (;;) {
      Ended ended = run(words);
      if (ended.out.find(part) != std::string::npos) return ended;
      if (std::chrono::steady_clock::now() > give_up) {
        ADD_FAILURE() << part << " never in: " << ended.out << ended.err;
        return ended;
      }
    }
  }
  static TimelineRecord record(TimelineEvent event, std::string text = {}) {
    return {.conversation = kId, .event = event, .text = std::move(text)};
  }
  static TimelineRecord about(TimelineRecord each, std::uint32_t attempt) {
    each.message = MessageId{3, 4};
    each.attempt = attempt;
    return each;
  }

  static constexpr ConversationId kId{0xa1, 0xb2};
  const std::string id = to_string(kId);
  SignalWatch signals;
  test::RunningBroker broker{few_records()};
};

TEST_F(ConversationCommands, ATimelineComesFromAllNodesInOrderOfCause) {
  HandMadeNode a{broker, "a"}, b{broker, "b"};
  b.tell(about(record(kBegun), 1));  // told before what caused it
  run_until({"timeline", id}, "begun");
  b.tell(about(record(kAnswered, "reply"), 1));
  a.tell(record(kOpened, "fail: upper"));
  a.tell(about(record(kSent), 1));
  a.tell(about(record(kReplied), 0));
  const auto wait = run_until({"timeline", id}, "replied");
  EXPECT_EQ(wait.code, ExitCode::kDone);
  const auto ended = run_until({"timeline", id, "--json"}, "answered");
  const auto json = nlohmann::json::parse(ended.out);
  std::string events;
  for (const auto& each : json["records"]) events += each["event"].get<std::string>() + " ";
  EXPECT_EQ(events, "opened sent begun answered replied ");
  EXPECT_EQ(json["records"][2]["node"], "b");
  EXPECT_EQ(json["requests"], 1);
}

TEST_F(ConversationCommands, LocalPidsBearTheirNodesIncarnation) {
  HandMadeNode a{broker, "a"};
  auto placed = record(kPlaced);
  placed.participant = Pid{NodeName{"a"}, local_incarnation(), Serial{5}};
  a.tell(placed);
  const auto ended = run_until({"timeline", id, "--json"}, "placed");
  const auto json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["records"][0]["participant"],
            "a/" + json["incarnation"].get<std::string>() + "/5");
}

TEST_F(ConversationCommands, WhatDidNotFitIsCounted) {
  HandMadeNode a{broker, "a"};
  a.tell(record(kOpened));
  for (int i = 0; i < 100; ++i) a.tell(about(record(kSent), 1));
  run_until({"timeline", id}, "94 sends and replies were not kept");
}

TEST_F(ConversationCommands, ItIsReadAfterItsNodeHasLeftAndAllWasToldBefore) {
  {
    HandMadeNode a{broker, "a"};
    a.tell(record(kOpened));
    a.tell(record(kPhase, "Closed"));
    a.leave();  // at once
  }
  const auto ended = run_until({"timeline", id}, "Closed");
  EXPECT_NE(ended.out.find("ended"), std::string::npos) << ended.out;
  HandMadeNode b{broker, "b"};
  auto other = record(kOpened, "compensate: charge, ship");
  other.conversation = {7, 7};
  b.tell(other);
  const auto list = run_until({"conversations"}, "charge, ship");
  EXPECT_LT(list.out.find("open "), list.out.find("ended ")) << list.out;
  EXPECT_NE(list.out.find(id), std::string::npos);
  EXPECT_EQ(run({"conversations", "--ended", "0"}).out.find(id), std::string::npos);
  b.leave();
  run_until({"conversations"}, "node gone");
}

TEST_F(ConversationCommands, AnIdThatNobodyKnowsIsSixAndOneThatIsNoneIsTwo) {
  for (const char* command : {"timeline", "cancel"}) {
    const auto unknown = run({command, id});
    EXPECT_EQ(unknown.code, ExitCode::kFailed) << command;
    EXPECT_EQ(unknown.out, "");
    EXPECT_TRUE(unknown.err.starts_with("error: ConversationFailed: ")) << unknown.err;
    EXPECT_NE(unknown.err.find(id), std::string::npos) << unknown.err;
    const auto malformed = run({command, "b2"});
    EXPECT_EQ(malformed.code, ExitCode::kUsage) << command;
    EXPECT_NE(malformed.err.find("32 hex digits"), std::string::npos) << malformed.err;
  }
}

TEST_F(ConversationCommands, CancelReturnsWhatTheNodeAnswers) {
  std::vector<std::string> asked;  // on the loop's thread, before the answer that is waited for
  HandMadeNode a{broker, "a", [&](const ConversationId& conversation, const std::string& by) {
                   asked.push_back(to_string(conversation) + " " + by);
                   return asked.size() == 1;
                 }};
  a.tell(record(kOpened));
  run_until({"timeline", id}, "opened");
  const auto accepted = run({"cancel", id});
  EXPECT_EQ(accepted.code, ExitCode::kDone) << accepted.err;
  EXPECT_EQ(accepted.out, "");
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_TRUE(asked[0].starts_with(id + " liminal cancel, from ")) << asked[0];

  const auto again = run({"cancel", id});
  EXPECT_EQ(again.code, ExitCode::kFailed);
  EXPECT_NE(again.err.find("is ending, or has ended"), std::string::npos) << again.err;

  a.leave();
  run_until({"conversations"}, "node gone");
  const auto late = run({"cancel", id});
  EXPECT_EQ(late.code, ExitCode::kFailed);
  EXPECT_NE(late.err.find("is gone"), std::string::npos) << late.err;
}

TEST_F(ConversationCommands, ANodeThatDoesNotAnswerIsTimeNotAnAbsentBroker) {
  std::promise<void> release;
  const auto released = release.get_future().share();
  HandMadeNode a{broker, "a", [released](const ConversationId&, const std::string&) {
                   released.wait();
                   return true;
                 }};
  a.tell(record(kOpened));
  run_until({"timeline", id}, "opened");
  const auto ended = run({"cancel", id, "--timeout", "200ms"});
  release.set_value();
  EXPECT_EQ(ended.code, ExitCode::kTimeout) << ended.err;
  EXPECT_NE(ended.err.find("node 'a' did not answer"), std::string::npos) << ended.err;
}

TEST_F(ConversationCommands, WithoutABrokerAllOfThemAreThree) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"conversations"}, {"timeline", id}, {"cancel", id}}) {
    std::vector<std::string> all = words;
    all.insert(all.end(), {"--broker", "tcp://127.0.0.1:1", "--connect-timeout", "100ms"});
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(cli::run(signals, all), ExitCode::kNoBroker) << words[0];
    EXPECT_TRUE(::testing::internal::GetCapturedStderr().starts_with("error: NoBroker: "));
  }
}

}  // namespace
}  // namespace liminal::cli
