// `liminal converse`: a line in, a line out, in order.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "tests/support/source_dir.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

TEST(Converse, ATextThroughACommandEqualsTheCommandLineForLine) {
  const std::string text = contents(source_path("LICENSE"));
  ASSERT_GT(text.size(), 10'000u);
  Cluster cluster;
  cluster.add_node("a", {"upper=exec:tr a-z A-Z"});
  Process converse{cluster.command({"converse", "upper", "--timeout", "30s"}), {.input = text}};
  EXPECT_TRUE(printed(converse.finish(110s), shell("tr a-z A-Z", text).out));
}

TEST(Converse, RepliesComeInTheOrderOfTheRequestsWhateverTheWindow) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "line " + std::to_string(i) + "\n";
  for (const std::string window : {"1", "64", "4096"}) {
    EXPECT_TRUE(printed(cluster.run({"converse", "echo", "--window", window}, lines), lines));
  }
}

// All but two of the window are told to come again, and do, in their order.
TEST(Converse, WhatTheMailboxHasNoRoomForIsRepeated) {
  Cluster cluster;
  cluster.add_node("a", {"upper=exec:tr a-z A-Z"}, {"--mailbox-max", "2"});
  std::string lines, replies;
  for (int i = 0; i < 60; ++i) {
    lines += "line " + std::to_string(i) + "\n";
    replies += "LINE " + std::to_string(i) + "\n";
  }
  EXPECT_TRUE(printed(cluster.run({"converse", "upper", "--timeout", "30s"}, lines), replies));
}

// One request runs, one waits, and the third finds no room until its time is up.
TEST(Converse, ATimeoutSaysThatTheMailboxIsFull) {
  Cluster cluster;
  cluster.add_node("a", {"slow=exec:sleep 20"}, {"--mailbox-max", "1"});
  EXPECT_TRUE(failed_with(
      cluster.run({"converse", "slow", "--timeout", "6s"}, "1\n2\n3\n"), 5,
      {"ConversationTimeout", "no reply to line 1 within 6s: ", "mailbox is full, deferred"}));
}

TEST(Converse, ATimeoutNamesItsLineAndTheTimeThatWasGiven) {
  Cluster cluster;
  cluster.add_node("a", {"picky=exec:read x; test \"$x\" = b && sleep 600; echo \"$x\""});
  const auto ended = cluster.run({"converse", "picky", "--timeout", "6s"}, "a\nb\n");
  EXPECT_EQ(ended.code, 5);
  EXPECT_EQ(ended.out, "a\n");
  EXPECT_NE(ended.err.find("no reply to line 2 within 6s"), ended.err.npos) << ended.err;
}

TEST(Converse, ABlankLineIsAnEmptyPayloadAndTheLastLineNeedsNoNewline) {
  Cluster cluster;
  cluster.add_node("a", {"count=exec:wc -c", "echo=echo"});
  EXPECT_TRUE(printed(cluster.run({"converse", "count"}, "\nab\n\nlast"), "0\n2\n0\n4\n"));
  EXPECT_TRUE(printed(cluster.run({"converse", "echo"}, "\n\nx"), "\n\nx\n"));
  EXPECT_TRUE(printed(cluster.run({"converse", "echo"}, ""), ""));
}

// The first reply ends it; what stdin holds by then of a second line must not be carried out.
TEST(Converse, HalfALineIsNeverARequest) {
  Cluster cluster;
  const Folder folder;
  const std::string log = folder.file("log", "");
  cluster.add_node("a", {"two=exec:echo done >> " + log + "; printf 'a\\nb\\n'"});
  for (int trial = 1; trial <= 5; ++trial) {
    Process converse{cluster.command({"converse", "two"}), {.more_input = true}};
    converse.feed("one\npar");
    EXPECT_EQ(converse.finish().code, 6);
    const auto effects = shell("wc -l < " + log);
    ASSERT_EQ(std::stoi(effects.out), trial);
  }
}

TEST(Converse, AReplyOfTwoLinesIsAnErrorUnlessJson) {
  Cluster cluster;
  cluster.add_node("a", {"two=exec:printf 'a\\nb\\n'", "one=exec:printf 'a\\n'"});
  EXPECT_TRUE(printed(cluster.run({"converse", "one"}, "x\n"), "a\n"));
  EXPECT_TRUE(failed_with(cluster.run({"converse", "two"}, "x\ny\n"), 6, {"line 1", "--json"}));
  const auto json = cluster.run({"converse", "two", "--json"}, "x\ny\n");
  EXPECT_EQ(json.code, 0) << json.err;
  EXPECT_EQ(std::count(json.out.begin(), json.out.end(), '\n'), 2) << json.out;
  std::istringstream objects{json.out};
  for (std::string object; std::getline(objects, object);) {
    EXPECT_TRUE(object.starts_with('{') && object.ends_with('}')) << object;
    EXPECT_NE(object.find("\"reply\":\"a\\nb\\n\""), std::string::npos) << object;
  }
}

TEST(Converse, AnswersEachLineWhenItCameNotAtTheEnd) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  Process converse{cluster.command({"converse", "echo"}), {.more_input = true}};
  for (const std::string line : {"first", "second", ""}) {
    converse.feed(line + "\n");
    EXPECT_EQ(converse.line(), line);
  }
  converse.end_input();
  EXPECT_TRUE(printed(converse.finish(), ""));
}

TEST(Converse, ACrashInTheMiddleKeepsWhatWasAnswered) {
  Cluster cluster;
  cluster.add_node("a", {"picky=exec:read x; test \"$x\" != bad && echo \"$x\""});
  const auto ended = cluster.run({"converse", "picky", "--window", "1"}, "a\nb\nbad\nc\n");
  EXPECT_EQ(ended.code, 6);
  EXPECT_EQ(ended.out, "a\nb\n");
  EXPECT_NE(ended.err.find("ParticipantCrashed"), std::string::npos) << ended.err;
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
}

TEST(Converse, EndsWhenNobodyReadsItsOutputAlthoughInputIsOpen) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  Process converse{cluster.command({"converse", "echo"}), {.more_input = true}};
  converse.feed("one\n");
  EXPECT_EQ(converse.line(), "one");
  converse.close_output();
  converse.feed("two\n");
  EXPECT_TRUE(failed_with(converse.finish(), 1, {"stdout"}));
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

}  // namespace
}  // namespace liminal::test
