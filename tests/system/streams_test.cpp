// Programs that were started without standard streams: a descriptor that a program opened for
// itself must not be taken for one of them.
#include <gtest/gtest.h>

#include <string>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

Cluster::Words without(const std::string& streams, const std::string& command) {
  return {
      "/bin/sh", "-c",
      "LIMINAL_CONNECT_TIMEOUT=30s LIMINAL_TIMEOUT=30s exec " + program(command) + " " + streams};
}

/// How many commands have joined so far.
int joined(const Process& broker) {
  const std::string log = broker.log();
  int count = 0;
  for (auto at = log.find(", light"); at != log.npos; at = log.find(", light", at + 1)) ++count;
  return count;
}

TEST(Streams, CommandsEndWithoutAStdin) {
  Cluster cluster{{"--log-level", "debug"}};
  cluster.add_node("a", {"echo=echo"});
  int commands = 0;
  for (const std::string command : {"ask", "converse"}) {
    SCOPED_TRACE(command);
    Process shell{
        without("<&-", "liminal " + command + " --broker " + cluster.endpoint() + " echo")};
    EXPECT_EQ(shell.finish().out, "");  // an error or an empty input, but it ends
    ++commands;
    EXPECT_TRUE(eventually([&] { return joined(cluster.broker()) == commands; })) << shell.log();
  }
}

TEST(Streams, ACommandWithoutAStdoutSaysNothingToTheBroker) {
  Cluster cluster;
  const Folder folder;
  const std::string asked = folder.file("asked", "");
  cluster.add_node("a", {"echo=echo", "note=exec:cat >> " + asked});
  Process shell{without(">&- 2>&-", "liminal ask --broker " + cluster.endpoint() + " note hello")};
  shell.finish();
  EXPECT_EQ(contents(asked), "hello") << "it was served";
  EXPECT_EQ(cluster.broker().log().find("malformed"), std::string::npos) << cluster.broker().log();
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

TEST(Streams, ANodeWithoutAnyOfThemServes) {
  Cluster cluster;
  Process node{
      without("<&- >&- 2>&-", "liminal-node --name a --broker " + cluster.endpoint() +
                                  " --service cat=exec:cat --service three=exec:'exit 3'")};
  EXPECT_TRUE(printed(cluster.run({"wait", "a", "--timeout", "30s"}), ""));
  EXPECT_TRUE(printed(cluster.run({"ask", "cat", "x"}), "x"));
  EXPECT_TRUE(failed_with(cluster.run({"ask", "three", "x"}), 6, {"exit status 3"}));
  EXPECT_TRUE(node.running());
}

}  // namespace
}  // namespace liminal::test
