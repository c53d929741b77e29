// `liminal status` and `liminal wait`.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Status, TellsOfTheBrokerAndItsNodesAsTextAndAsJson) {
  Cluster cluster;
  cluster.add_node("a", {"upper=exec:tr a-z A-Z", "echo=echo"}, {"--label", "zone=north"});
  const auto text = cluster.run({"status"});
  EXPECT_EQ(text.code, 0) << text.err;
  for (const std::string& part :
       {cluster.endpoint(), std::string{"joined"}, std::string{"upper"}}) {
    EXPECT_TRUE(has(text.out, part)) << part << " in " << text.out;
  }
  const auto json = cluster.run({"status", "--json"});
  EXPECT_EQ(json.code, 0) << json.err;
  for (const std::string& part :
       {"{\"broker\":{\"endpoint\":\"" + cluster.endpoint() + "\",\"epoch\":\"",
        std::string{"\"uptime_s\":"}, std::string{"\"nodes\":[{\"name\":\"a\",\"incarnation\":\""},
        std::string{"\"state\":\"joined\""}, std::string{"\"services\":["},
        std::string{"\"upper\""}, std::string{"\"echo\""},
        std::string{"\"labels\":{\"zone\":\"north\"}"}, std::string{"\"participants\":0"},
        std::string{"\"conversations\":0"}, std::string{"\"evidence\":null"}}) {
    EXPECT_TRUE(has(json.out, part)) << part << " in " << json.out;
  }
}

TEST(Status, KeepsANodeThatWentDownWithItsEvidence) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  cluster.node("a").signal(SIGKILL);
  std::string out;
  EXPECT_TRUE(eventually([&] {
    out = cluster.run({"status", "--json"}).out;
    return has(out, "\"state\":\"down\"");
  })) << out;
  EXPECT_TRUE(has(out, "\"source\":\"connection closed\"")) << out;
  for (const std::string key : {"last_heard_ms", "detection_ms", "observer_lag_ms"}) {
    EXPECT_GE(number_after(out, key), 0) << key << " in " << out;
  }
  const auto text = cluster.run({"status"});
  EXPECT_TRUE(has(text.out, "down") && has(text.out, "connection closed")) << text.out;
}

TEST(Status, DoesNotListTheCommandsThemselves) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  Process converse{cluster.command({"converse", "echo", "--name", "lightly"}),
                   {.more_input = true}};
  converse.feed("x\n");
  EXPECT_EQ(converse.line(), "x");
  const auto during = cluster.run({"status"});
  EXPECT_FALSE(has(during.out, "lightly")) << during.out;
}

TEST(Wait, ReturnsWhenTheNodeOrServiceComes) {
  for (const std::string name : {"late", "echo"}) {
    Cluster cluster;
    Process wait{cluster.command({"wait", name, "--timeout", "40s"})};
    // it has been told at least once that nobody is there
    (void)cluster.run({"status"});
    EXPECT_TRUE(wait.running()) << wait.log();
    cluster.add_node("late", {"echo=echo"});
    EXPECT_TRUE(printed(wait.finish(), ""));
    EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
  }
}

TEST(Wait, OutOfTimeIsExitFive) {
  Cluster cluster;
  EXPECT_TRUE(failed_with(cluster.run({"wait", "nobody", "--timeout", "5s"}), 5,
                          {"error: ConversationTimeout: ", "nobody"}));
}

}  // namespace
}  // namespace liminal::test
