// Goal: the right source wins, whatever is wrong is named with its place and its remedy, and
// --print-config prints what --config reads back.
#include "common/config/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>

namespace liminal::config {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;
using Words = std::vector<std::string>;

Options broker_like() {
  return Options{
      {.program = "liminal-test", .summary = "Tests the options."},
      {
          {.name = "name", .placeholder = "NAME", .help = "its name", .wrong = expect::name()},
          {.name = "listen",
           .placeholder = "ENDPOINT",
           .help = "where to listen",
           .default_value = "tcp://127.0.0.1:7411",
           .repeatable = true,
           .wrong = expect::listen_endpoint()},
          {.name = "down-after",
           .placeholder = "DURATION",
           .help = "silent for this long, a node is down",
           .default_value = "3s",
           .wrong = expect::duration(1s, 60s)},
          {.name = "service", .placeholder = "NAME=KIND", .repeatable = true},
          {.name = "json", .help = "machine-readable", .flag = true},
      }};
}

Options with_positionals() {
  return Options{{.program = "liminal ask",
                  .arguments = "[OPTION]... SERVICE [PAYLOAD]",
                  .positionals_min = 1,
                  .positionals_max = 2},
                 {{.name = "timeout",
                   .placeholder = "DURATION",
                   .default_value = "5s",
                   .wrong = expect::duration()},
                  {.name = "node", .placeholder = "NAME", .required = true}}};
}

class OptionsTest : public ::testing::Test {
 protected:
  OptionsTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "options-XXXXXX").string();
    directory = ::mkdtemp(pattern.data());
    file = (directory / "test.conf").string();
  }
  ~OptionsTest() override { std::filesystem::remove_all(directory); }

  void write(const std::string& text) const { std::ofstream{file, std::ios::binary} << text; }

  [[nodiscard]] Result<Parsed> parse(const Words& words) const {
    return options.parse(words, [this](const std::string& name) -> std::optional<std::string> {
      const auto found = environment.find(name);
      if (found == environment.end()) return std::nullopt;
      return found->second;
    });
  }
  [[nodiscard]] std::string error(const Words& words) const {
    const auto parsed = parse(words);
    if (parsed) return "no error";
    EXPECT_EQ(parsed.error().code, Errc::kUsage);
    EXPECT_THAT(parsed.error().detail, Not(HasSubstr("\n")));
    return parsed.error().detail;
  }

  std::filesystem::path directory;
  std::string file;
  std::map<std::string, std::string> environment;
  Options options = broker_like();
};

TEST_F(OptionsTest, TheHigherSourceWins) {
  for (int sources = 0; sources < 8; ++sources) {  // bit 0: file, 1: environment, 2: command line
    SCOPED_TRACE(sources);
    Words words;
    environment.clear();
    if (sources & 1) {
      write("down-after = 11s\n");
      words = {"--config", file};
    }
    if (sources & 2) environment["LIMINAL_DOWN_AFTER"] = "12s";
    if (sources & 4) words.emplace_back("--down-after=13s");
    const auto parsed = parse(words);
    ASSERT_TRUE(parsed) << parsed.error().detail;
    const Duration expected = sources & 4 ? 13s : sources & 2 ? 12s : sources & 1 ? 11s : 3s;
    EXPECT_EQ(parsed->duration("down-after"), expected);
    EXPECT_EQ(parsed->is_set("down-after"), sources != 0);
    EXPECT_TRUE(parsed->has("down-after"));
  }
}

TEST_F(OptionsTest, TheHigherSourceReplacesAllValuesOfTheLower) {
  EXPECT_EQ(parse({})->values("listen"), Words{"tcp://127.0.0.1:7411"});
  write("listen = tcp://127.0.0.1:1\nlisten = tcp://127.0.0.1:2\n");
  const Words with_file{"--config", file};
  EXPECT_EQ(parse(with_file)->values("listen"), (Words{"tcp://127.0.0.1:1", "tcp://127.0.0.1:2"}));
  environment["LIMINAL_LISTEN"] = "tcp://127.0.0.1:3\ntcp://127.0.0.1:4\n";
  EXPECT_EQ(parse(with_file)->values("listen"), (Words{"tcp://127.0.0.1:3", "tcp://127.0.0.1:4"}));
  EXPECT_EQ(parse({"--listen", "tcp://127.0.0.1:5", "--config", file, "--listen=tcp://127.0.0.1:6"})
                ->values("listen"),
            (Words{"tcp://127.0.0.1:5", "tcp://127.0.0.1:6"}));
}

TEST_F(OptionsTest, WithoutAnySourceThereIsNoValue) {
  const auto parsed = parse({});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->outcome(), Parsed::Outcome::kRun);
  EXPECT_FALSE(parsed->has("name"));
  EXPECT_EQ(parsed->values("service"), Words{});
  EXPECT_FALSE(parsed->flag("json"));
  EXPECT_FALSE(parsed->is_set("json"));
}

TEST_F(OptionsTest, AFlagIsTrueByItsNameAndCanBeTakenBack) {
  EXPECT_TRUE(parse({"--json"})->flag("json"));
  environment["LIMINAL_JSON"] = "true";
  EXPECT_TRUE(parse({})->flag("json"));
  EXPECT_FALSE(parse({"--json=false"})->flag("json"));
  EXPECT_EQ(error({"--json=yes"}), "--json 'yes' on the command line: write true or false");
  EXPECT_EQ(error({"--json", "false"}),
            "unexpected argument 'false' on the command line: write liminal-test [OPTION]...");
}

TEST_F(OptionsTest, BothSpellingsOfAValueAreTakenWhateverIsInIt) {
  const std::string odd("a=b # \xFF\t\x01 'x'");
  EXPECT_EQ(parse({"--service", odd, "--service=" + odd, "--service=--x", "--service", "-x",
                   "--service", "-", "--service="})
                ->values("service"),
            (Words{odd, odd, "--x", "-x", "-", ""}));
}

TEST_F(OptionsTest, PositionalsAreWordsWithoutDashesAndAllAfterTwo) {
  options = with_positionals();
  EXPECT_EQ(parse({"--node", "n", "up", "-1"})->positionals(), (Words{"up", "-1"}));
  EXPECT_EQ(parse({"up", "--node", "n", "-"})->positionals(), (Words{"up", "-"}));
  EXPECT_EQ(parse({"--node", "n", "--", "--timeout", "--"})->positionals(),
            (Words{"--timeout", "--"}));
  EXPECT_EQ(parse({"--node", "n", "", "-x=y"})->positionals(), (Words{"", "-x=y"}));
  EXPECT_EQ(error({"--node", "n"}),
            "an argument is missing on the command line: write liminal ask [OPTION]... SERVICE "
            "[PAYLOAD]");
  EXPECT_EQ(error({"--node", "n", "a", "b", "c"}),
            "unexpected argument 'c' on the command line: write liminal ask [OPTION]... SERVICE "
            "[PAYLOAD]");
}

TEST_F(OptionsTest, AWrongCommandLineIsNamedWithItsRemedy) {
  EXPECT_EQ(error({"--litsen", "x"}),
            "unknown option '--litsen' on the command line: did you mean --listen?");
  EXPECT_EQ(error({"--quantum=1"}),
            "unknown option '--quantum' on the command line: --help lists the options");
  EXPECT_EQ(error({"--down", "4s"}),
            "unknown option '--down' on the command line: --help lists the options")
      << "names are not abbreviated";
  EXPECT_EQ(error({"-name", "x"}),
            "unexpected argument '-name' on the command line: did you mean --name?");
  EXPECT_EQ(error({"--name"}), "--name on the command line lacks its value: write --name NAME");
  EXPECT_EQ(error({"--service", "--json"}),
            "--service on the command line lacks its value: write --service NAME=KIND, or "
            "--service=NAME=KIND if it begins with --");
  EXPECT_EQ(error({"--service", "--x"}).substr(0, 9), "--service");
  EXPECT_EQ(error({"--name", "a", "--name=b"}),
            "--name 'a' on the command line and --name 'b' on the command line: write name once");
  EXPECT_EQ(error({"--name", "a b"}),
            "--name 'a b' on the command line: write 1 to 63 of the characters A-Z a-z 0-9 . _ -");
  EXPECT_EQ(error({"--listen", "tcp://127.0.0.1:*", "--listen", "7411"}),
            "--listen '7411' on the command line: write tcp://HOST:PORT (e.g. "
            "tcp://127.0.0.1:7411) or ipc://PATH");
  EXPECT_EQ(error({"--down-after=999ms"}),
            "--down-after '999ms' on the command line: write a duration from 1s to 1m, such as "
            "250ms, 5s or 1m");
  EXPECT_THAT(error({"--name", std::string("\0\xFF\n", 3)}), HasSubstr("'\\x00\\xff\\n'"));
  EXPECT_THAT(error({std::string("--\0\xFF\n", 5)}), HasSubstr("'--\\x00\\xff\\n'"));
}

TEST_F(OptionsTest, AWrongVariableIsNamedAndForeignOnesAreIgnored) {
  environment["LIMINAL_QUANTUM"] = "1";
  environment["LIMINAL_HELP"] = "true";
  EXPECT_EQ(error({}), "no error");
  environment["LIMINAL_DOWN_AFTER"] = "5x";
  EXPECT_EQ(error({}),
            "LIMINAL_DOWN_AFTER '5x' in the environment: write a duration from 1s to 1m, such as "
            "250ms, 5s or 1m");
  environment["LIMINAL_DOWN_AFTER"] = "";
  EXPECT_THAT(error({}), HasSubstr("LIMINAL_DOWN_AFTER '' in the environment: write a duration"));
  environment.erase("LIMINAL_DOWN_AFTER");
  environment["LIMINAL_LISTEN"] = "";
  EXPECT_THAT(error({}), HasSubstr("LIMINAL_LISTEN '' in the environment: write tcp://"));
}

TEST_F(OptionsTest, AWrongFileIsNamedWithItsLine) {
  const Words words{"--config", file};
  const auto with = [&](const std::string& text) {
    write(text);
    std::string found = error(words);
    if (const auto at = found.find(file); at != std::string::npos)
      found.replace(at, file.size(), "F");
    return found;
  };
  EXPECT_EQ(with("\nlisen = x\n"), "unknown key 'lisen' at F:2: did you mean listen?");
  EXPECT_EQ(with("quantum = x\n"), "unknown key 'quantum' at F:1: --print-config lists the keys");
  EXPECT_EQ(with("--name = x\n"), "unknown key '--name' at F:1: did you mean name?");
  EXPECT_EQ(with("config = x\n"), "unknown key 'config' at F:1: --print-config lists the keys");
  EXPECT_EQ(with("help = true\n"), "unknown key 'help' at F:1: --print-config lists the keys");
  EXPECT_EQ(with("[section]\n"), "'[section]' at F:1: a line without '=': write key = value");
  EXPECT_EQ(with("name = a\n#\nname = b\n"),
            "name 'a' at F:1 and name 'b' at " + file + ":3: write name once");
  EXPECT_EQ(with("# x\ndown-after = soon\n"),
            "down-after 'soon' at F:2: write a duration from 1s to 1m, such as 250ms, 5s or 1m");
  EXPECT_EQ(with("json = 1\n"), "json '1' at F:1: write true or false");
  EXPECT_EQ(with(""), "no error");
}

TEST_F(OptionsTest, AFileThatCannotBeReadIsNamedWithItsReason) {
  EXPECT_EQ(error({"--config", file}),
            "--config '" + file +
                "' on the command line: No such file or directory: write the "
                "name of a readable file");
  EXPECT_EQ(error({"--config", directory.string()}),
            "--config '" + directory.string() +
                "' on the command line: it is a directory: write "
                "the name of a readable file");
  environment["LIMINAL_CONFIG"] = file;
  EXPECT_EQ(error({}), "LIMINAL_CONFIG '" + file +
                           "' in the environment: No such file or directory: write "
                           "the name of a readable file");
  write("down-after = 7s\n");
  EXPECT_EQ(parse({})->duration("down-after"), 7s);
  environment["LIMINAL_CONFIG"] = "";
  EXPECT_THAT(error({}), HasSubstr("LIMINAL_CONFIG '' in the environment: write "));
}

TEST_F(OptionsTest, AMissingOptionIsNamedWithAllItsSpellings) {
  options = with_positionals();
  EXPECT_EQ(error({"up"}),
            "--node is missing: write --node NAME on the command line, LIMINAL_NODE in the "
            "environment or node = NAME in the --config file");
}

TEST_F(OptionsTest, HelpAndVersionNeedNothingElse) {
  options = with_positionals();
  const auto help = parse({"--help", "--bogus"});
  ASSERT_TRUE(help);
  EXPECT_EQ(help->outcome(), Parsed::Outcome::kHelp);
  EXPECT_THAT(help->text(), HasSubstr("Usage: liminal ask [OPTION]... SERVICE [PAYLOAD]\n"));
  EXPECT_THAT(help->text(), HasSubstr("--timeout DURATION (=5s)"));
  EXPECT_THAT(help->text(), HasSubstr("(required)"));
  for (const char* name : {"--config FILE", "--print-config ", "--help ", "--version "}) {
    EXPECT_THAT(help->text(), HasSubstr(name));
  }
  const auto version = parse({"--version"});
  ASSERT_TRUE(version);
  EXPECT_EQ(version->outcome(), Parsed::Outcome::kVersion);
  EXPECT_EQ(version->text(), "liminal ask " + std::string{kProgramVersion} + "\n");
  EXPECT_EQ(error({"--", "--help"}).substr(0, 6), "--node");
}

TEST_F(OptionsTest, PrintConfigTellsEachSource) {
  write("listen = tcp://127.0.0.1:1\n");
  environment["LIMINAL_NAME"] = "a";
  const auto parsed = parse({"--config", file, "--down-after", "4s", "--print-config"});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->outcome(), Parsed::Outcome::kPrintConfig);
  EXPECT_EQ(
      parsed->text(),
      "# The effective options of liminal-test.\n"
      "\n# its name\n# from the environment, LIMINAL_NAME\nname = a\n"
      "\n# where to listen\n# from " +
          file +
          ":1\nlisten = tcp://127.0.0.1:1\n"
          "\n# silent for this long, a node is down\n# from the command line\ndown-after = 4s\n"
          "\n# not set:\n# service = NAME=KIND\n"
          "\n# machine-readable\n# from the default\njson = false\n");
}

TEST_F(OptionsTest, WhatPrintConfigPrintsConfigReadsBack) {
  const Words services{"a=b",   "#",  "=", " lead", "trail\t", "two\nlines\r",
                       "\"q\"", "\"", "",  "a # b", "\\n",     std::string("n\0l\xFF", 4)};
  Words words{"--print-config", "--json", "--name=x"};
  for (const std::string& service : services) words.push_back("--service=" + service);
  const auto printed = parse(words);
  ASSERT_TRUE(printed) << printed.error().detail;
  write(printed->text());
  const auto again = parse({"--config", file});
  ASSERT_TRUE(again) << again.error().detail;
  for (const char* name : {"name", "listen", "down-after", "service", "json"}) {
    EXPECT_EQ(again->values(name), printed->values(name)) << name;
  }
  EXPECT_EQ(again->values("service"), services);
  options = with_positionals();
  const auto incomplete = parse({"--print-config"});
  ASSERT_TRUE(incomplete) << "shows what is missing, too";
  EXPECT_THAT(incomplete->text(), HasSubstr("# not set:\n# node = NAME\n"));
}

TEST_F(OptionsTest, AComplaintAboutTwoValuesNamesTheirPlace) {
  write("\ndown-after = 4s\n");
  EXPECT_EQ(parse({"--config", file})->complaint("down-after", "more than suspect-after").detail,
            "down-after '4s' at " + file + ":2: write more than suspect-after");
  EXPECT_EQ(parse({})->complaint("down-after", "more").detail,
            "--down-after '3s' by default: write more");
}

TEST_F(OptionsTest, ReadsMainsArguments) {
  const char* argv[] = {"liminal", "ask", "--name", "x"};
  EXPECT_EQ(options.parse(4, argv, 2)->value("name"), "x");
  EXPECT_TRUE(options.parse(0, argv));
}

using OptionsDeathTest = OptionsTest;

TEST_F(OptionsDeathTest, AskingForWhatIsNotInTheTableIsABug) {
  const auto parsed = parse({});
  EXPECT_DEATH(static_cast<void>(parsed->has("bogus")), "in the program's table");
  EXPECT_DEATH(static_cast<void>(parsed->value("name")), "has one value");
  EXPECT_DEATH((Options{{.program = "x"}, {{.name = "help"}}}), "name of its own");
  EXPECT_DEATH((Options{{.program = "x"}, {{.name = "a"}, {.name = "a"}}}), "name of its own");
}

}  // namespace
}  // namespace liminal::config
