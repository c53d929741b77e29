// A broker's death is no node's death: what real processes see of it.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <thread>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

using namespace std::chrono_literals;

// How long a fault lasts; nothing is waited for.
void keep_it_so(Milliseconds duration) { std::this_thread::sleep_for(duration); }

/// `converse echo` of numbered lines, fed a part at a time; each reply must be its line.
class LongTalk {
 public:
  LongTalk(Cluster& cluster, int lines)
      : lines_(lines),
        converse_(cluster.command({"converse", "echo", "--timeout", "60s"}), {.more_input = true}) {
  }

  /// Sends up to line `end` and reads the replies up to line `read_to`.
  void go_on(int end, int read_to) {
    std::string more;
    for (; fed_ < end; ++fed_) more += line(fed_) + "\n";
    converse_.feed(more);
    for (; read_ < read_to; ++read_) {
      const std::string reply = converse_.line(60s);
      ASSERT_EQ(reply, line(read_));
    }
  }
  void finish() {
    go_on(lines_, lines_);
    converse_.end_input();
    EXPECT_TRUE(printed(converse_.finish(), ""));
  }

 private:
  static std::string line(int number) { return "line " + std::to_string(number); }

  int lines_;
  int fed_ = 0, read_ = 0;
  Process converse_;
};

bool was_said(const Process& process, const std::string& text) {
  return process.log().find(text) != std::string::npos;
}

void expect_nobody_lost(Cluster& cluster, const std::string& incarnation) {
  EXPECT_EQ(cluster.incarnation_of("a"), incarnation) << cluster.node("a").log();
  EXPECT_FALSE(was_said(cluster.node("a"), "fenced")) << cluster.node("a").log();
  EXPECT_FALSE(was_said(cluster.broker(), " down")) << cluster.broker().log();
}

TEST(BrokersDeath, ThreeTimesDuringAConversationLosesNothing) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  const std::string incarnation = cluster.incarnation_of("a");
  LongTalk talk{cluster, 8'000};
  for (const int part : {1, 2, 3}) {
    talk.go_on(part * 2'000, part * 2'000 - 1'600);  // with most of them under way
    cluster.kill_broker();
    talk.go_on(part * 2'000 + 200, part * 2'000 - 1'600);
    cluster.restart_broker();
  }
  talk.finish();
  expect_nobody_lost(cluster, incarnation);
}

TEST(BrokersDeath, ForTenSecondsLosesNothing) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  const std::string incarnation = cluster.incarnation_of("a");
  LongTalk talk{cluster, 6'000};
  talk.go_on(4'000, 2'000);
  cluster.kill_broker();
  keep_it_so(10s);
  cluster.restart_broker();
  talk.finish();
  expect_nobody_lost(cluster, incarnation);
}

TEST(BrokersPause, OfFifteenSecondsLosesNothingAndNobodyIsDeclaredDead) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  const std::string incarnation = cluster.incarnation_of("a");
  LongTalk talk{cluster, 6'000};
  talk.go_on(4'000, 2'000);
  cluster.broker().signal(SIGSTOP);
  keep_it_so(15s);
  cluster.broker().signal(SIGCONT);
  talk.finish();
  expect_nobody_lost(cluster, incarnation);
  LongTalk after{cluster, 100};
  after.finish();
  expect_nobody_lost(cluster, incarnation);
}

TEST(BrokersDeath, ANodeThatDiesMeanwhileIsToldWhenRecoveryEnds) {
  Cluster cluster{{"--recovery", "3s"}};
  cluster.add_node("b", {"slow=exec:sleep 600"});
  WaitingAsk ask{cluster};
  cluster.kill_broker();
  cluster.node("b").signal(SIGKILL);
  const auto started = SteadyClock::now();  // recovery is counted from some instant after it
  cluster.restart_broker();
  const auto ended = ask->finish();
  EXPECT_TRUE(failed_with(ended, 6, {"error: ParticipantCrashed: ", "recovery"}));
  EXPECT_GE(ms_between(started, ended.at), 2'900);
}

TEST(BrokersDeath, ANodeOfTheSameNameServesWhenTheOldOneWasJudged) {
  Cluster cluster{{"--recovery", "3s"}};
  cluster.add_node("b", {"slow=exec:sleep 600", "echo=echo"});
  WaitingAsk ask{cluster};
  cluster.kill_broker();
  cluster.node("b").signal(SIGKILL);
  cluster.restart_broker();
  cluster.add_node("b", {"slow=exec:sleep 600", "echo=echo"});
  EXPECT_TRUE(failed_with(ask->finish(), 6, {"error: ParticipantCrashed: "}));
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

TEST(BrokersDeath, InRecoveryAServiceIsWaitedFor) {
  Cluster cluster{{"--log-level", "debug"}};
  cluster.add_node("a", {"echo=echo"});
  cluster.kill_broker();
  cluster.node("a").signal(SIGSTOP);
  cluster.restart_broker();
  Process ask{cluster.command({"ask", "echo", "x", "--timeout", "30s"})};
  // It has joined, and nobody offers the service.
  EXPECT_TRUE(eventually([&] { return was_said(cluster.broker(), ", light"); }));
  EXPECT_TRUE(ask.running());
  cluster.node("a").signal(SIGCONT);
  EXPECT_TRUE(printed(ask.finish(), "x"));
}

TEST(Fencing, ANodeStoppedForTooLongJoinsAnewAndItsOldWorkCountsForNothing) {
  Cluster cluster{{"--down-after", "1s", "--suspect-after", "500ms", "--beat-interval", "100ms"}};
  cluster.add_node("b",
                   {"late=exec:sleep 5; echo late", "tail=exec:tail -f /dev/null", "echo=echo"});
  const std::string before = cluster.incarnation_of("b");
  Process ask{cluster.command({"ask", "late", "x", "--timeout", "60s"})};
  Process other{cluster.command({"ask", "tail", "x", "--timeout", "60s"})};
  ASSERT_TRUE(eventually([&] {
    return !cluster.below("b", "sleep").empty() && !cluster.below("b", "tail").empty();
  })) << ask.log();
  cluster.node("b").signal(SIGSTOP);
  EXPECT_TRUE(failed_with(ask.finish(), 6, {"error: ParticipantCrashed: ", "heartbeats missed"}));
  EXPECT_EQ(other.finish().code, 6);
  EXPECT_TRUE(eventually([&] { return cluster.below("b", "sleep").empty(); }))
      << "its reply waits for the node to wake";
  EXPECT_FALSE(cluster.below("b", "tail").empty()) << "who stopped cannot end it";
  cluster.node("b").signal(SIGCONT);
  EXPECT_TRUE(eventually([&] {
    const std::string now = cluster.incarnation_of("b");
    return !now.empty() && now != before &&
           cluster.run({"status", "--json"}).out.find("\"state\":\"joined\"") != std::string::npos;
  }));
  EXPECT_TRUE(eventually([&] { return was_said(cluster.node("b"), "fenced"); }));
  EXPECT_TRUE(eventually([&] { return cluster.below("b", "tail").empty(); }))
      << "what it ran for others has ended";
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

TEST(Isolation, ATimeoutThatTheBrokerDoesNotAllowIsAUsageError) {
  Cluster cluster;
  auto& node = cluster.start_node("a", {"echo=echo"}, {"--isolation-timeout", "9s"});
  const auto ended = node.finish();
  EXPECT_EQ(ended.code, 2);
  EXPECT_NE(ended.err.find("isolation-timeout"), std::string::npos) << ended.err;
}

TEST(Isolation, WithoutABrokerForTooLongItGivesUpWhatItSharesAndJoinsAnewLater) {
  Cluster cluster{{"--recovery", "1s", "--down-after", "1s", "--suspect-after", "500ms",
                   "--beat-interval", "100ms"}};
  cluster.add_node("b", {"slow=exec:sleep 600", "echo=echo"}, {"--isolation-timeout", "3s"});
  const std::string before = cluster.incarnation_of("b");
  WaitingAsk ask{cluster};
  cluster.kill_broker();
  EXPECT_TRUE(eventually([&] { return cluster.below("b", "sleep").empty(); }, 20s));
  EXPECT_TRUE(eventually([&] { return was_said(cluster.node("b"), "fenced"); }))
      << cluster.node("b").log();
  cluster.restart_broker();
  EXPECT_TRUE(failed_with(ask->finish(), 6, {"error: ParticipantCrashed: "}));
  EXPECT_TRUE(printed(cluster.run({"wait", "b", "--timeout", "20s"}), ""));
  const std::string after = cluster.incarnation_of("b");
  EXPECT_TRUE(!after.empty() && after != before) << before << ", then '" << after << "'";
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

}  // namespace
}  // namespace liminal::test
