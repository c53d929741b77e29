// Goal: what liminal-node refuses to start with.
#include "node/node_options.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/source_dir.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

Result<NodeOptions> read(const std::vector<std::string>& arguments) {
  const auto parsed = node_option_table().parse(
      arguments, [](const std::string&) -> std::optional<std::string> { return std::nullopt; });
  if (!parsed) return tl::unexpected(parsed.error());
  return read_node_options(*parsed);
}

TEST(NodeOptions, ANameIsAllItNeeds) {
  const auto options = read({"--name", "a"});
  ASSERT_TRUE(options) << options.error().detail;
  EXPECT_EQ(options->node.name, NodeName{"a"});
  EXPECT_EQ(options->node.broker, "tcp://127.0.0.1:7411");
  EXPECT_TRUE(options->services.empty());
  EXPECT_EQ(options->join_timeout, 30s);
}

TEST(NodeOptions, NoneIsNoBroker) {
  EXPECT_EQ(read({"--name", "a", "--broker", "none"})->node.broker, std::nullopt);
}

TEST(NodeOptions, ATurnMayTakeAsLongAsItSays) {
  EXPECT_EQ(read({"--name", "a"})->node.turn_max, 500ms);
  EXPECT_EQ(read({"--name", "a", "--turn-max", "700ms"})->node.turn_max, 700ms);
  EXPECT_FALSE(read({"--name", "a", "--turn-max", "0s"}));
}

TEST(NodeOptions, TheShippedExampleIsValid) {
  const auto options = read({"--config", test::source_path("config/node.conf")});
  ASSERT_TRUE(options) << options.error().detail;
  EXPECT_FALSE(options->services.empty());
}

TEST(NodeOptions, ACompensationGoesWithItsServiceWhateverItsKind) {
  const auto options =
      read({"--name", "a", "--compensate", "y=exec:undo y=1", "--service", "x=echo", "--service",
            "y=pipe:cat", "--service", "z=exec:cat", "--compensate", "x=exec:undo"});
  ASSERT_TRUE(options) << options.error().detail;
  EXPECT_EQ(options->services[0],
            (ServiceDefinition{ServiceName{"x"}, service_kind::Echo{}, "undo"}));
  EXPECT_EQ(options->services[1].compensation, "undo y=1");
  EXPECT_EQ(options->services[2].compensation, std::nullopt);
}

TEST(NodeOptions, CompensationsComeFromTheEnvironmentTooAndArePrinted) {
  const auto parsed = node_option_table().parse(
      {"--name", "a", "--service", "x=echo", "--service", "y=echo", "--print-config"},
      [](const std::string& name) -> std::optional<std::string> {
        if (name != "LIMINAL_COMPENSATE") return std::nullopt;
        return "x=exec:one\ny=exec:two";
      });
  ASSERT_TRUE(parsed) << parsed.error().detail;
  EXPECT_NE(parsed->text().find("compensate = x=exec:one\n"), std::string::npos) << parsed->text();
  EXPECT_NE(parsed->text().find("compensate = y=exec:two\n"), std::string::npos);
}

TEST(NodeOptions, EverythingThatMayGrowHasABoundWithAName) {
  const auto options = read({"--name",
                             "a",
                             "--mailbox-max",
                             "10",
                             "--mailbox-bytes-max",
                             "1MiB",
                             "--outbox-max",
                             "2MiB",
                             "--participants-max",
                             "3",
                             "--conversations-max",
                             "4",
                             "--links-max",
                             "5",
                             "--credit-window",
                             "256KiB",
                             "--reassembly-max",
                             "20MiB",
                             "--dead-letters-max",
                             "6"});
  ASSERT_TRUE(options) << options.error().detail;
  constexpr std::size_t kMiB = 1024 * 1024;
  const auto& limits = options->node.limits;
  EXPECT_EQ(limits.mailbox.messages_max, 10u);
  EXPECT_EQ(limits.mailbox.bytes_max, kMiB);
  EXPECT_EQ(limits.outbox_bytes_max, 2 * kMiB);
  EXPECT_EQ(limits.participants_max, 3u);
  EXPECT_EQ(limits.conversations_max, 4u);
  EXPECT_EQ(limits.links_max, 5u);
  EXPECT_EQ(limits.credit_window_bytes, kMiB / 4);
  EXPECT_EQ(limits.reassembly_bytes_max, 20 * kMiB);
  EXPECT_EQ(limits.dead_letters_max, 6u);
  EXPECT_FALSE(read({"--name", "a", "--mailbox-max", "0"}));
  EXPECT_FALSE(read({"--name", "a", "--credit-window", "262143"}));
}

TEST(NodeOptions, TheDefaultsOfTheProgramAreThoseOfTheLibrary) {
  const auto options = read({"--name", "a"});
  ASSERT_TRUE(options);
  const Node::Settings::Limits library, program = options->node.limits;
  EXPECT_EQ(program.mailbox.messages_max, library.mailbox.messages_max);
  EXPECT_EQ(program.mailbox.bytes_max, library.mailbox.bytes_max);
  EXPECT_EQ(program.outbox_bytes_max, library.outbox_bytes_max);
  EXPECT_EQ(program.participants_max, library.participants_max);
  EXPECT_EQ(program.conversations_max, library.conversations_max);
  EXPECT_EQ(program.links_max, library.links_max);
  EXPECT_EQ(program.credit_window_bytes, library.credit_window_bytes);
  EXPECT_EQ(program.reassembly_bytes_max, library.reassembly_bytes_max);
  EXPECT_EQ(program.dead_letters_max, library.dead_letters_max);
}

TEST(NodeOptions, WhatIsWrongIsNamedOnOneLine) {
  struct Case {
    std::vector<std::string> arguments;
    std::string said;
  };
  std::vector<std::string> crowd{"--name", "a"};
  for (int i = 0; i < 65; ++i) {
    crowd.insert(crowd.end(), {"--label", "k" + std::to_string(i) + "=v"});
  }
  const std::vector<Case> cases{
      {{}, "name"},
      {{"--name", "a b"}, "a b"},
      {{"--name", "a", "--service", "x=foo"}, "foo"},
      {{"--name", "a", "--service", "x=pipe:"}, "x"},
      {{"--name", "a", "--service", "x=exec:"}, "x"},
      {{"--name", "a", "--service", "echo"}, "echo"},
      {{"--name", "a", "--service", "x=echo", "--service", "x=exec:cat"}, "'x' is given twice"},
      {{"--name", "a", "--service", "x=echo", "--compensate", "x=pipe:cat"},
       "--compensate 'x=pipe:cat' on the command line: write NAME=exec:COMMAND"},
      {{"--name", "a", "--service", "x=echo", "--compensate", "x=exec: "},
       "--compensate 'x=exec: ' on the command line: write NAME=exec:COMMAND"},
      {{"--name", "a", "--service", "x=echo", "--compensate", "x"}, "write NAME=exec:COMMAND"},
      {{"--name", "a", "--service", "x=echo", "--compensate", "z=exec:u"},
       "--compensate 'z=exec:u' on the command line: write the name of a --service of this node"},
      {{"--name", "a", "--service", "x=echo", "--compensate", "x=exec:u", "--compensate",
        "x=exec:v"},
       "--compensate 'x=exec:v' on the command line: write each service once"},
      {{"--name", "a", "--label", "k=1", "--label", "k=2"}, "'k' is given twice"},
      {{"--name", "a", "--broker", "localhost"}, "localhost"},
      {{"--name", "a", "--join-timeout", "soon"}, "soon"},
      {{"--name", "a", "--join-timeout", "24.001h"}, "write a duration from 1ms to 24h"},
      {{"--name", "a", "--isolation-timeout", "2562047h"}, "write a duration from 1s to 24h"},
      {{"--name", "a", "--isolation-timeout", "999ms"}, "write a duration from 1s to 24h"},
      {crowd, "at most 64"},
  };
  for (const auto& each : cases) {
    const auto options = read(each.arguments);
    ASSERT_FALSE(options) << each.said;
    EXPECT_EQ(options.error().code, Errc::kUsage);
    EXPECT_NE(options.error().detail.find(each.said), std::string::npos) << options.error().detail;
    EXPECT_EQ(options.error().detail.find('\n'), std::string::npos);
  }
}

TEST(NodeOptions, TheLongestTimeoutsAreTaken) {
  const auto options =
      read({"--name", "a", "--join-timeout", "24h", "--isolation-timeout", "1440m"});
  ASSERT_TRUE(options) << options.error().detail;
  EXPECT_EQ(options->join_timeout, 24h);
  EXPECT_EQ(options->node.isolation_timeout, 24h);
}

TEST(NodeSettings, OfDurationsOutOfTheirBoundsNoNodeIsMade) {
  struct Case {
    Duration isolation_timeout, turn_max;
    const char* said;  // nullptr: it is made
  };
  for (const Case& each :
       {Case{24h, 24h, nullptr}, Case{1ms, 1ms, nullptr},
        Case{24h + 1ns, 1s, "isolation_timeout is 86400000000001ns"},
        Case{Duration::max(), 1s, "isolation_timeout"}, Case{0s, 1s, "isolation_timeout is 0s"},
        Case{-1s, 1s, "isolation_timeout is -1s"}, Case{60s, 24h + 1ns, "turn_max"},
        Case{60s, 1ms - 1ns, "turn_max is 999999ns"}, Case{60s, 0s, "turn_max is 0s"}}) {
    Node::Settings settings{.name = NodeName{"a"}};
    settings.isolation_timeout = each.isolation_timeout;
    settings.turn_max = each.turn_max;
    const auto node = Node::create(settings);
    ASSERT_EQ(node.has_value(), each.said == nullptr);
    if (node) continue;
    EXPECT_EQ(node.error().code, Errc::kUsage);
    EXPECT_NE(node.error().detail.find(each.said), std::string::npos) << node.error().detail;
    EXPECT_NE(node.error().detail.find("at most 24h"), std::string::npos);
  }
}

}  // namespace
}  // namespace liminal
