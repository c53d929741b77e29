// Programs that were started without standard streams: a descriptor that a program opened for
// itself must not be taken for one of them.
#include <gtest/gtest.h>

#include <string>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

Cluster::Words without(const std::string& streams, const std::string& command) {
  return {"/bin/sh", "-c", "exec " + program(command) + " " + streams};
}

TEST(Streams, CommandsEndWithoutAStdin) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  for (const std::string command : {"ask", "converse"}) {
    SCOPED_TRACE(command);
    Process shell{
        without("<&-", "liminal " + command + " --broker " + cluster.endpoint() + " echo")};
    EXPECT_EQ(shell.finish(10s).out, "");  // an error or an empty input, but it ends
  }
}

TEST(Streams, ACommandWithoutAStdoutSaysNothingToTheBroker) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  Process shell{without(">&- 2>&-", "liminal ask --broker " + cluster.endpoint() + " echo hello")};
  shell.finish(10s);
  EXPECT_EQ(cluster.broker().log().find("malformed"), std::string::npos) << cluster.broker().log();
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

TEST(Streams, ANodeWithoutAnyOfThemServes) {
  Cluster cluster;
  Process node{
      without("<&- >&- 2>&-", "liminal-node --name a --broker " + cluster.endpoint() +
                                  " --service cat=exec:cat --service three=exec:'exit 3'")};
  EXPECT_TRUE(printed(cluster.run({"wait", "a", "--timeout", "10s"}), ""));
  EXPECT_TRUE(printed(cluster.run({"ask", "cat", "x"}), "x"));
  EXPECT_TRUE(failed_with(cluster.run({"ask", "three", "x"}), 6, {"exit status 3"}));
  EXPECT_TRUE(node.running());
}

}  // namespace
}  // namespace liminal::test
