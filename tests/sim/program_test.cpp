// Goal: liminal-sim as its users have it: options, exit codes, a seed that replays byte for byte,
// and what is shown of a failure.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/sim/sim_options.hpp"
#include "tests/sim/trace_book.hpp"

namespace liminal::sim {
namespace {

struct Ended {
  int status;
  std::string text;  // both streams
};

Ended run(const std::string& arguments) {
  const char* folder = std::getenv("LIMINAL_BIN");
  if (folder == nullptr) return {-1, "LIMINAL_BIN names no folder"};
  const std::string command = std::string{folder} + "/liminal-sim " + arguments + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return {-1, "no pipe"};
  std::string text;
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    text.append(buffer, n);
  }
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

std::string contents(const std::filesystem::path& path) {
  std::ifstream file{path};
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class Program : public ::testing::Test {
 protected:
  Program() {
    std::string name = (std::filesystem::temp_directory_path() / "liminal-sim-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) folder = name;
  }
  ~Program() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  std::filesystem::path folder;
};

TEST_F(Program, OneSeedWritesOneTraceByteForByte) {
  for (const char* file : {"first", "second"}) {
    const Ended ended = run("--seed 7 --trace " + (folder / file).string());
    ASSERT_EQ(ended.status, 0) << ended.text;
  }
  const std::string first = contents(folder / "first");
  EXPECT_GT(first.size(), 10'000U);
  EXPECT_TRUE(first == contents(folder / "second"));
  EXPECT_NE(first.find("nemesis: "), std::string::npos);
  EXPECT_NE(first.find("digest "), std::string::npos);
}

TEST_F(Program, SaysWhatItRanInWordsAndInJson) {
  const Ended words = run("--seeds 2 --minutes 0.2 --nemesis kill --nemesis cut --nodes 3");
  EXPECT_EQ(words.status, 0) << words.text;
  for (const char* figure : {"seeds 2", "simulated ", "faults by kind", "conversations by outcome",
                             "times real time", "violations 0"}) {
    EXPECT_NE(words.text.find(figure), std::string::npos) << figure << " in\n" << words.text;
  }
  const Ended json = run("--seeds 1 --minutes 0.2 --json");
  EXPECT_EQ(json.status, 0) << json.text;
  EXPECT_EQ(json.text.substr(0, 10), "{\"seeds\":1");
  EXPECT_NE(json.text.find("\"violations\":0"), std::string::npos);
}

TEST_F(Program, NamesABadOption) {
  const std::vector<std::pair<std::string, std::string>> bad{
      {"--seeds 0", "--seeds"},
      {"--seeds x", "--seeds"},
      {"--seeds=-1", "--seeds=-1"},
      {"--seed -1", "-1"},
      {"--seed 3 --seeds 4", "--seed"},
      {"--minutes 0", "--minutes"},
      {"--minutes nan", "--minutes"},
      {"--nodes 1", "--nodes"},
      {"--nodes 21", "--nodes"},
      {"--nemesis meteor", "meteor"},
      {"--colour", "colour"},
      {"word", "positional"},
      {"--trace " + folder.string(), "--trace"},
  };
  for (const auto& [arguments, named] : bad) {
    const Ended ended = run(arguments);
    EXPECT_EQ(ended.status, 2) << arguments;
    EXPECT_NE(ended.text.find(named), std::string::npos) << arguments << ": " << ended.text;
  }
}

TEST_F(Program, WhoeverKillsItIsToldWhatReplaysTheStorm) {
  const char* bin = std::getenv("LIMINAL_BIN");
  ASSERT_NE(bin, nullptr) << "LIMINAL_BIN names no folder";
  const std::string command = "echo $$; exec " + std::string{bin} +
                              "/liminal-sim --seed 5 --minutes 900 --trace /dev/stdout 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char line[4096];
  ASSERT_NE(std::fgets(line, sizeof line, pipe), nullptr);
  const auto pid = static_cast<pid_t>(std::strtol(line, nullptr, 10));
  ASSERT_GT(pid, 1);
  ASSERT_NE(std::fgets(line, sizeof line, pipe), nullptr);  // it storms
  ASSERT_EQ(::kill(pid, SIGABRT), 0);
  std::string text;  // half a line of the trace may stand before
  while (std::fgets(line, sizeof line, pipe) != nullptr) text += line;
  ::pclose(pipe);
  EXPECT_NE(text.find("again: liminal-sim --seed 5 --minutes 900\n"), std::string::npos);
}

/// With something wrong that only its own tests bring about.
Ended run_flawed(const std::string& flaw, const std::string& arguments) {
  ::setenv("LIMINAL_SIM_TEST_FLAW", flaw.c_str(), 1);
  Ended ended = run(arguments);
  ::unsetenv("LIMINAL_SIM_TEST_FLAW");
  return ended;
}

TEST_F(Program, AnEventThatDoesNotReturnEndsItAndTellsWhatReplaysTheStorm) {
  const Ended ended = run_flawed("hangs", "--seed 5");
  EXPECT_NE(ended.status, 0);
  EXPECT_NE(ended.text.find("an event does not return"), std::string::npos) << ended.text;
  EXPECT_NE(ended.text.find("again: liminal-sim --seed 5\n"), std::string::npos) << ended.text;
  EXPECT_EQ(ended.text.find("violations"), std::string::npos) << "it ended before its report";
}

TEST_F(Program, EventsAtOneInstantForEverAreAViolation) {
  const Ended ended = run_flawed("repeats", "--seed 5 --minutes 0.05 --nodes 2");
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.text.find("violation: more than "), std::string::npos) << ended.text;
  EXPECT_NE(ended.text.find("none runs any more"), std::string::npos) << ended.text;
}

TEST_F(Program, AViolationThatIsNotThereASecondTimeIsSaidToBeNotReproduced) {
  const Ended ended = run_flawed("accused", "--seed 5 --minutes 0.05");
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.text.find("violation: accused"), std::string::npos) << ended.text;
  EXPECT_NE(ended.text.find("not reproduced: the same seed ran differently"), std::string::npos)
      << ended.text;
  EXPECT_EQ(run("--seed 5 --minutes 0.05").text.find("not reproduced"), std::string::npos);
}

TEST(SimOptions, TheCommandThatReplaysNamesWhatChangesTheRun) {
  const char* const words[] = {"liminal-sim", "--seeds",     "9",       "--minutes", "2",
                               "--nemesis",   "broker-kill", "--nodes", "5"};
  const auto options = read_sim_options(9, words);
  ASSERT_TRUE(options.has_value()) << options.error().detail;
  EXPECT_EQ(options->replay(7), "liminal-sim --seed 7 --minutes 2 --nodes 5 --nemesis broker-kill");
  EXPECT_EQ(SimOptions{}.replay(7), "liminal-sim --seed 7");
}

TEST(SimOptions, TheCommandThatReplaysStormsToTheNanosecondAsLong) {
  const char* const words[] = {"liminal-sim", "--minutes", "0.123456789012345"};
  const auto options = read_sim_options(3, words);
  ASSERT_TRUE(options.has_value()) << options.error().detail;
  const std::string command = options->replay(7);
  const std::string minutes = command.substr(command.rfind(' ') + 1);
  const char* const again[] = {"liminal-sim", "--minutes", minutes.c_str()};
  const auto read = read_sim_options(3, again);
  ASSERT_TRUE(read.has_value()) << command;
  EXPECT_EQ(read->minutes, options->minutes) << command;
}

TEST(TraceBook, AShortenedTraceKeepsFaultsAndTheLastWordsOfTheAccused) {
  const std::string accused(32, 'a'), other(32, 'b');
  std::vector<std::string> lines{"1 kill x"};
  for (int i = 0; i < 10; ++i) {
    lines.push_back(std::to_string(i) + " " + accused + " Sent");
    lines.push_back(std::to_string(i) + " " + other + " Sent");
  }
  lines.push_back("9 broker: x down");
  const std::vector<std::string> expected{
      "1 kill x",        "    ... 16 lines",       "8 " + accused + " Sent",
      "    ... 1 lines", "9 " + accused + " Sent", "    ... 1 lines",
      "9 broker: x down"};
  EXPECT_EQ(shortened(lines, {"conversation " + accused + " (Fail): never ended"}, 2), expected);
}

}  // namespace
}  // namespace liminal::sim
