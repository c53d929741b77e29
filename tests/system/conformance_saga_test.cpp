// Contracts 32 to 36 as people meet them: `liminal converse` with commands that write files, all
// services on one node, and on three.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

enum class Where { kOneNode, kThreeNodes };

/// A service and what undoes it; empty: nothing does.
struct Step {
  std::string name, does, undoes;
};

constexpr const char* kOrder = "reserve\tx\ncharge\ty\nship\tz\n";

class Saga : public ::testing::TestWithParam<Where> {
 protected:
  [[nodiscard]] bool across() const { return GetParam() == Where::kThreeNodes; }
  /// The node where a service runs.
  [[nodiscard]] std::string home(const std::string& service) const {
    if (!across()) return "a";
    return service == "reserve" ? "a" : service == "charge" ? "b" : "c";
  }

  /// reserve and charge write a file of their name, whose removal is noted in the file `order`.
  [[nodiscard]] Step writes(const std::string& name, const std::string& undone_first = {}) const {
    return {name, "cat > " + path(name) + " && echo " + name + "d",
            undone_first + "rm " + path(name) + " && echo " + name + " >> " + path("order")};
  }
  [[nodiscard]] Step never_ships(const std::string& undoes = {}) const {
    return {"ship", "echo begun >> " + path("shipping") + "; sleep 600", undoes};
  }

  void start(const std::vector<Step>& steps) {
    std::map<std::string, std::pair<Cluster::Words, Cluster::Words>> nodes;
    for (const Step& step : steps) {
      auto& [services, options] = nodes[home(step.name)];
      services.push_back(step.name + "=exec:" + step.does);
      if (step.undoes.empty()) continue;
      options.insert(options.end(), {"--compensate", step.name + "=exec:" + step.undoes});
    }
    for (const auto& [name, what] : nodes) cluster.add_node(name, what.first, what.second);
  }

  [[nodiscard]] Cluster::Words saga(const Cluster::Words& options) const {
    Cluster::Words words{"converse", "reserve", "charge", "ship", "--timeout", "60s"};
    words.insert(words.end(), options.begin(), options.end());
    return cluster.command(words);
  }

  void await_shipping() {
    ASSERT_TRUE(eventually([&] { return !cluster.below(home("ship"), "sleep").empty(); }, 30s));
  }
  /// Its node, or where that is everybody's, its process.
  void kill_ship() {
    if (across()) {
      cluster.node(home("ship")).signal(SIGKILL);
      return;
    }
    for (const pid_t pid : cluster.below("a", "sleep")) ::kill(pid, SIGKILL);
  }

  [[nodiscard]] std::string path(const std::string& name) const { return folder.path(name); }
  [[nodiscard]] bool exists(const std::string& name) const {
    return std::filesystem::exists(path(name));
  }
  [[nodiscard]] std::string undone() const {
    return exists("order") ? contents(path("order")) : std::string{};
  }
  [[nodiscard]] static ::testing::AssertionResult says(const Finished& ended, int code,
                                                       const std::vector<std::string>& parts) {
    Finished silent = ended;
    silent.out.clear();
    return failed_with(silent, code, parts);
  }

  Folder folder;
  Cluster cluster{{"--recovery", "0s"}};  // who is not offered is not waited for
};
INSTANTIATE_TEST_SUITE_P(, Saga, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         [](const auto& where) {
                           return where.param == Where::kOneNode ? "OneNode" : "ThreeNodes";
                         });

TEST_P(Saga, WithAStepThatCannotBeUndoneTheOthersAreAndThatIsExitSeven) {
  start({writes("reserve"), writes("charge"), never_ships()});
  Process converse{saga({"--on-crash", "compensate"}), {.input = kOrder}};
  await_shipping();
  EXPECT_TRUE(exists("reserve") && exists("charge"));
  kill_ship();
  const auto ended = converse.finish();
  EXPECT_TRUE(says(ended, 7, {"error: Compensated: ", "ship on " + home("ship"), "conversation "}));
  EXPECT_EQ(ended.out, "reserved\ncharged\n");
  EXPECT_FALSE(exists("reserve") || exists("charge"));
  EXPECT_EQ(undone(), "charge\nreserve\n");
}

TEST_P(Saga, AStepWhoseOnlyNodeIsGoneIsInDoubtAndThatIsExitEight) {
  start({writes("reserve"), writes("charge"), never_ships("echo ship >> " + path("order"))});
  Process converse{saga({"--on-crash", "compensate", "--compensation-timeout", "4s", "--json"}),
                   {.input = kOrder}};
  await_shipping();
  kill_ship();
  const auto ended = converse.finish(60s);
  EXPECT_NE(ended.out.find("\"in_doubt\":true"), std::string::npos) << ended.out;
  if (across()) {
    EXPECT_TRUE(says(
        ended, 8,
        {"error: CompensationFailed: ", "not undone: ship, in doubt", "undone: charge, reserve"}));
    EXPECT_EQ(undone(), "charge\nreserve\n");
  } else {  // its node lives: a fresh instance there undoes it
    EXPECT_TRUE(says(ended, 7, {"error: Compensated: "}));
    EXPECT_EQ(undone(), "ship\ncharge\nreserve\n");
  }
  EXPECT_FALSE(exists("reserve") || exists("charge"));
}

TEST_P(Saga, ACompensationThatFailsIsNamedAndTheRestIsUndone) {
  start({writes("reserve"), writes("charge", "echo bank closed >&2; exit 3; "), never_ships()});
  Process converse{saga({"--on-crash", "compensate"}), {.input = kOrder}};
  await_shipping();
  kill_ship();
  const auto ended = converse.finish();
  EXPECT_TRUE(says(
      ended, 8,
      {"error: CompensationFailed: ", "not undone: charge", "bank closed", "undone: reserve"}));
  EXPECT_TRUE(exists("charge"));
  EXPECT_FALSE(exists("reserve"));
}

TEST_P(Saga, AWholeOrderIsNotUndone) {
  start({writes("reserve"), writes("charge"), writes("ship")});
  const auto ended = Process{saga({"--on-crash", "compensate"}), {.input = kOrder}}.finish();
  EXPECT_TRUE(printed(ended, "reserved\ncharged\nshipd\n"));
  EXPECT_TRUE(exists("reserve") && exists("charge") && exists("ship"));
  EXPECT_EQ(undone(), "");
}

TEST_P(Saga, ASignalHasItUndoneFirst) {
  start({writes("reserve"), writes("charge"), never_ships()});
  for (const int number : {SIGINT, SIGTERM}) {
    std::filesystem::remove(path("order"));
    Process converse{saga({"--on-crash", "compensate"}), {.input = kOrder}};
    await_shipping();
    converse.signal(number);
    const auto ended = converse.finish();
    EXPECT_EQ(ended.code, 130) << ended.err;
    EXPECT_EQ(undone(), "charge\nreserve\n");
    EXPECT_FALSE(exists("reserve") || exists("charge"));
    EXPECT_TRUE(eventually([&] { return cluster.below(home("ship"), "sleep").empty(); }))
        << "what ran is ended too";
  }
}

TEST_P(Saga, ASecondSignalDoesNotWait) {
  start({writes("reserve"),
         writes("charge", "echo undoing >> " + path("undoing") + "; sleep 600; "), never_ships()});
  Process converse{saga({"--on-crash", "compensate"}), {.input = kOrder}};
  await_shipping();
  converse.signal(SIGINT);
  ASSERT_TRUE(eventually([&] { return exists("undoing"); })) << converse.log();
  EXPECT_TRUE(converse.running());
  const auto second = converse.signal(SIGINT);
  const auto ended = converse.finish();
  EXPECT_EQ(ended.code, 130);
  EXPECT_LT(ms_between(second, ended.at), 10'000);
  EXPECT_TRUE(exists("charge"));
  for (const std::string name : {"ship", "charge"}) {
    EXPECT_TRUE(eventually([&] { return cluster.below(home(name), "sleep").empty(); }, 20s))
        << "nobody's child outlives the conversation";
  }
}

TEST_P(Saga, TheDeadlineEndsItByItsPolicy) {
  start({writes("reserve"), writes("charge"), never_ships()});
  const auto begun = SteadyClock::now();
  const auto failed = Process{saga({"--deadline", "8s"}), {.input = kOrder}}.finish();
  // of a request under way its participant may say so first
  const auto names_it = [](const Finished& ended, const std::string& deadline) {
    return ended.err.find(deadline) != std::string::npos ||
           ended.err.find("was out of time") != std::string::npos;
  };
  EXPECT_TRUE(says(failed, 5, {"error: ConversationTimeout: "}));
  EXPECT_TRUE(names_it(failed, "8s")) << failed.err;
  EXPECT_GE(ms_between(begun, failed.at), 8000);
  EXPECT_LT(ms_between(begun, failed.at), 20'000);
  EXPECT_TRUE(exists("charge")) << "Fail undoes nothing";
  const auto undone_again =
      Process{saga({"--deadline", "8s", "--on-crash", "compensate"}), {.input = kOrder}}.finish();
  EXPECT_TRUE(says(undone_again, 7, {"error: Compensated: "}));
  EXPECT_TRUE(names_it(undone_again, "timeout")) << undone_again.err;
  EXPECT_EQ(undone(), "charge\nreserve\n");
  EXPECT_TRUE(eventually([&] { return cluster.below(home("ship"), "sleep").empty(); }));
}

TEST_P(Saga, ABadLineEndsItByItsPolicyWithExitTwo) {
  start({writes("reserve"), writes("charge"), never_ships()});
  struct Case {
    std::string line, complaint;
  };
  for (const Case& each : {Case{"no tab here\n", "line 3 on stdin has no tab"},
                           Case{"refund\tx\n", "names service 'refund'"}}) {
    std::filesystem::remove(path("order"));
    const auto ended = Process{saga({"--on-crash", "compensate"}),
                               {.input = "reserve\tx\ncharge\ty\n" + each.line}}
                           .finish();
    EXPECT_TRUE(says(ended, 2, {"error: Usage: ", each.complaint}));
    EXPECT_EQ(ended.out, "reserved\ncharged\n");
    EXPECT_EQ(undone(), "charge\nreserve\n") << each.line;
  }
}

TEST_P(Saga, BadOptionsAreNamed) {
  start({writes("reserve"), writes("charge"), writes("ship")});
  for (const Cluster::Words& options :
       {Cluster::Words{"--on-crash", "panic"}, Cluster::Words{"--deadline", "soon"},
        Cluster::Words{"--max-attempts", "0"}, Cluster::Words{"--no-such-option"}}) {
    const auto ended = Process{saga(options), {.input = kOrder}}.finish();
    EXPECT_TRUE(failed_with(ended, 2, {options[0]}));
  }
  const auto twice = cluster.run({"converse", "ship", "ship"}, "ship\tx\n");
  EXPECT_TRUE(failed_with(twice, 2, {"'ship'"}));
  const auto nobody =
      cluster.run({"converse", "reserve", "refund", "--timeout", "30s"}, "reserve\tx\n");
  EXPECT_TRUE(failed_with(nobody, 4, {"NoService", "refund"}));
  EXPECT_FALSE(exists("reserve")) << "a service that nobody offers costs no half-done work";
}

TEST_P(Saga, WithTheCommandsDeathItsChildrenEnd) {
  start({writes("reserve"), writes("charge"), never_ships()});
  Process converse{saga({"--on-crash", "compensate"}), {.input = kOrder}};
  await_shipping();
  converse.signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return cluster.below(home("ship"), "sleep").empty(); }, 10s));
  EXPECT_TRUE(cluster.node(home("ship")).running());
}

}  // namespace
}  // namespace liminal::test
