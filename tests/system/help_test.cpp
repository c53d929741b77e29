// --help, --version and --print-config of every program and command.
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

using Words = std::vector<std::string>;

const std::vector<Words> kTables{
    {"liminal-broker"},           {"liminal-node"},        {"liminal", "ask"},
    {"liminal", "converse"},      {"liminal", "status"},   {"liminal", "wait"},
    {"liminal", "conversations"}, {"liminal", "timeline"}, {"liminal", "cancel"}};

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(Help, ExitsZeroAndNamesNothingThatIsNotBuilt) {
  auto all = kTables;
  all.push_back({"liminal"});
  for (const auto& words : all) {
    const auto ended = run(with(words, {"--help"}));
    SCOPED_TRACE(words.back());
    EXPECT_EQ(ended.code, 0);
    EXPECT_EQ(ended.err, "");
    EXPECT_NE(ended.out.find(words[0]), std::string::npos) << ended.out;
    for (const std::string word : {"drill", "bench", "--http"}) {
      EXPECT_EQ(ended.out.find(word), std::string::npos) << word << " in " << ended.out;
    }
  }
}

TEST(Help, IsACommandToo) {
  EXPECT_TRUE(printed(run({"liminal", "help"}), run({"liminal", "--help"}).out));
  for (const Words& words : kTables) {
    if (words.size() < 2) continue;
    EXPECT_TRUE(printed(run({"liminal", "help", words[1]}), run(with(words, {"--help"})).out));
  }
}

TEST(Help, VersionIsOneLineWithTheProgramsName) {
  for (const std::string name : {"liminal-broker", "liminal-node", "liminal"}) {
    const auto ended = run({name, "--version"});
    EXPECT_EQ(ended.code, 0);
    EXPECT_TRUE(ended.out.starts_with(name + " ")) << ended.out;
    EXPECT_EQ(ended.out.find('\n'), ended.out.size() - 1) << ended.out;
  }
}

// What remains of it when comments and blank lines are gone.
std::string settings_of(const std::string& text) {
  std::istringstream lines{text};
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line[0] != '#') kept += line + "\n";
  }
  return kept;
}

TEST(Help, PrintConfigIsAcceptedByConfig) {
  Folder folder;
  const std::vector<std::pair<Words, Words>> commands{
      {{"liminal-broker"}, {"--down-after", "4s", "--payload-max", "1MiB"}},
      {{"liminal-node"},
       {"--name", "a", "--service", "x=exec:sed s/#/=/ # not a comment", "--service", "e=echo",
        "--label", "k=v"}},
      {{"liminal", "ask"}, {"service", "--timeout", "90s"}},
      {{"liminal", "converse"}, {"service", "--window", "3"}},
      {{"liminal", "status"}, {"--json"}},
      {{"liminal", "wait"}, {"service", "--timeout", "1m"}},
      {{"liminal", "conversations"}, {"--ended", "7"}},
      {{"liminal", "timeline"}, {"service", "--json"}},
      {{"liminal", "cancel"}, {"service", "--timeout", "7s"}}};
  for (const auto& [words, options] : commands) {
    SCOPED_TRACE(words.back());
    const auto first = run(with(with(words, options), {"--print-config"}));
    ASSERT_EQ(first.code, 0) << first.err;
    EXPECT_NE(settings_of(first.out), "");
    const auto path = folder.file(words.back() + ".conf", first.out);
    auto again = with(words, {"--config", path, "--print-config"});
    if (options[0] == "service") again.push_back("service");
    const auto second = run(again);
    ASSERT_EQ(second.code, 0) << second.err;
    EXPECT_EQ(settings_of(second.out), settings_of(first.out));
  }
}

}  // namespace
}  // namespace liminal::test
