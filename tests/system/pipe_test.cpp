// A `pipe:` service as people use it: a child for each conversation, and its end.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <string>

#include "tests/support/source_dir.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

std::string python_upper() {
  return "upper=pipe:exec python3 " + source_path("docs/clients/python/upper.py");
}

TEST(Pipe, ATextThroughThePythonChildEqualsTheCommandLineForLine) {
  const std::string text = contents(source_path("LICENSE"));
  ASSERT_GT(text.size(), 10'000u);
  Cluster cluster;
  cluster.add_node("a", {python_upper()});
  EXPECT_TRUE(printed(cluster.run({"converse", "upper", "--timeout", "30s"}, text),
                      shell("tr a-z A-Z", text).out));
  EXPECT_TRUE(eventually([&] { return cluster.below("a").size() == 1; }));  // the minder
}

TEST(Pipe, AChildsEndIsACrashThatSaysWhyAndTheNodeGoesOn) {
  Cluster cluster;
  cluster.add_node("a", {"picky=pipe:head -c 5 >/dev/null; echo no more >&2; exit 3",
                         "plain=pipe:cat >/dev/null; echo", "echo=pipe:cat"});
  EXPECT_TRUE(failed_with(cluster.run({"ask", "picky", "x"}), 6,
                          {"ParticipantCrashed", "exit status 3: no more"}));
  EXPECT_TRUE(failed_with(cluster.run({"ask", "plain", "x", "--timeout", "3s"}), 5,
                          {"ConversationTimeout"}));
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

TEST(Pipe, AKilledChildIsOneCrashAndAKilledNodeTakesItsChildrenAlong) {
  Cluster cluster;
  cluster.add_node("a", {"echo=pipe:exec cat"});
  Process first{cluster.command({"converse", "echo"}), {.more_input = true}};
  first.feed("one\n");
  EXPECT_EQ(first.line(), "one");  // what was answered stays answered
  const auto cats = cluster.below("a", "cat");
  ASSERT_EQ(cats.size(), 1u);
  ASSERT_EQ(::kill(cats.front(), SIGKILL), 0);
  first.feed("more\n");
  EXPECT_TRUE(failed_with(first.finish(), 6, {"signal 9 (SIGKILL)"}));

  Process second{cluster.command({"converse", "echo"}), {.more_input = true}};
  second.feed("two\n");
  EXPECT_EQ(second.line(), "two");
  EXPECT_EQ(cluster.below("a", "cat").size(), 1u);
  cluster.node("a").signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return cluster.below("a").empty(); }));
  second.feed("more\n");
  EXPECT_TRUE(failed_with(second.finish(), 6, {"noconnection"}));
}

}  // namespace
}  // namespace liminal::test
