// `liminal ask`: the reply byte for byte, and what is said where there is none.
#include <gtest/gtest.h>
#include <signal.h>

#include <random>
#include <string>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

TEST(Ask, ALargeBinaryPayloadArrivesWhole) {
  Cluster cluster;
  cluster.add_node("a", {"sha=exec:sha256sum", "cat=exec:cat"});
  std::string bytes(5'000'000, '\0');
  std::mt19937_64 random{7};  // NOLINT: the same bytes each time
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    const auto eight = random();
    for (std::size_t k = 0; k < 8; ++k) bytes[i + k] = static_cast<char>(eight >> 8 * k);
  }
  EXPECT_TRUE(printed(cluster.run({"ask", "sha", "--timeout", "30s"}, bytes),
                      shell("sha256sum", bytes).out));
  EXPECT_TRUE(printed(cluster.run({"ask", "cat", "--timeout", "30s"}, bytes), bytes));
}

TEST(Ask, EmptyPayloadsAndNulBytesSurviveTheTrip) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo", "cat=exec:cat"});
  const std::string nul{"a\0\0b\nc\xff", 7};
  for (const std::string service : {"echo", "cat"}) {
    EXPECT_TRUE(printed(cluster.run({"ask", service}), ""));
    EXPECT_TRUE(printed(cluster.run({"ask", service, ""}), ""));
    EXPECT_TRUE(printed(cluster.run({"ask", service}, nul), nul));
    EXPECT_TRUE(printed(cluster.run({"ask", service, "-"}, nul), nul));
    EXPECT_TRUE(printed(cluster.run({"ask", service, "no newline"}, "not read"), "no newline"));
  }
}

TEST(Ask, JsonTellsTheReplyOrTheErrorAndTheConversation) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo", "three=exec:exit 3"});
  const auto text = cluster.run({"ask", "echo", "hi", "--json"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("\"reply\":\"hi\""), std::string::npos) << text.out;
  for (const std::string key :
       {"conversation", "phase", "error", "crashes", "reroutes", "compensations"}) {
    EXPECT_NE(text.out.find("\"" + key + "\":"), std::string::npos) << key << " in " << text.out;
  }
  const auto binary = cluster.run({"ask", "echo", "--json"}, "\xff\xfe");
  EXPECT_NE(binary.out.find("\"reply_base64\":\"//4=\""), std::string::npos) << binary.out;

  const auto crash = cluster.run({"ask", "three", "x", "--json"});
  EXPECT_EQ(crash.code, 6);
  EXPECT_NE(crash.out.find("ParticipantCrashed"), std::string::npos) << crash.out;
  EXPECT_NE(crash.out.find("exit status 3"), std::string::npos) << crash.out;
}

TEST(Ask, ACommandThatFailsIsACrashThatSaysHow) {
  Cluster cluster;
  cluster.add_node("a", {"three=exec:echo partial; echo the reason >&2; exit 3",
                         "nine=exec:kill -9 $$", "missing=exec:/nowhere/to/be/found"});
  const auto begun = SteadyClock::now();
  EXPECT_TRUE(
      failed_with(cluster.run({"ask", "three", "x", "--timeout", "60s"}), 6,
                  {"error: ParticipantCrashed: ", "exit status 3", "the reason", "conversation "}));
  EXPECT_TRUE(failed_with(cluster.run({"ask", "nine", "x", "--timeout", "60s"}), 6,
                          {"error: ParticipantCrashed: ", "signal 9 (SIGKILL)"}));
  EXPECT_TRUE(failed_with(cluster.run({"ask", "missing", "x", "--timeout", "60s"}), 6,
                          {"error: ParticipantCrashed: ", "exit status 127"}));
  EXPECT_LT(SteadyClock::now() - begun, 30s) << "long before the timeout";
}

TEST(Ask, AServiceThatNobodyOffersIsExitFour) {
  Cluster cluster{{"--recovery", "0s"}};  // else it is waited for, up to the ask's own time
  cluster.add_node("a", {"echo=echo"});
  EXPECT_TRUE(failed_with(cluster.run({"ask", "nobody", "x", "--timeout", "30s"}), 4,
                          {"error: NoService: ", "nobody"}));
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

TEST(Ask, ATimeoutIsExitFiveAndEndsTheWork) {
  Cluster cluster;
  cluster.add_node("a", {"slow=exec:sleep 600"});
  const auto begun = SteadyClock::now();
  EXPECT_TRUE(failed_with(cluster.run({"ask", "slow", "x", "--timeout", "3s"}), 5,
                          {"error: ConversationTimeout: ", "conversation "}));
  EXPECT_GE(SteadyClock::now() - begun, 3s);
  EXPECT_TRUE(eventually([&] { return cluster.below("a", "sleep").empty(); }));
}

TEST(Ask, AnInterruptIsExit130AndEndsTheWork) {
  Cluster cluster;
  cluster.add_node("a", {"slow=exec:sleep 600"});
  for (const int number : {SIGINT, SIGTERM}) {
    Process ask{cluster.command({"ask", "slow", "x", "--timeout", "60s"})};
    ASSERT_TRUE(eventually([&] { return !cluster.below("a", "sleep").empty(); })) << ask.log();
    ask.signal(number);
    const auto ended = ask.finish();
    EXPECT_EQ(ended.code, 130) << ended.err;
    EXPECT_EQ(ended.out, "");
    EXPECT_TRUE(eventually([&] { return cluster.below("a", "sleep").empty(); }));
  }
}

TEST(Ask, AnInterruptWhileStdinIsReadIsExit130) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  const std::string more_than_a_pipe_holds(200'000, 'x');
  Process ask{cluster.command({"ask", "echo"}),
              {.input = more_than_a_pipe_holds, .more_input = true}};
  ask.await_fed();  // it reads
  ask.signal(SIGINT);
  EXPECT_EQ(ask.finish().code, 130);
}

}  // namespace
}  // namespace liminal::test
