// Wrong command lines, files and names: one line that says what, where and what would be right.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

using Words = std::vector<std::string>;

struct Row {
  Words words;  // of one of our programs
  Words said;   // all of it in the one line
};

void expect_usage_errors(const std::vector<Row>& rows) {
  for (const auto& row : rows) {
    std::string trace;
    for (const auto& word : row.words) trace += word + " ";
    SCOPED_TRACE(trace);
    auto said = row.said;
    said.push_back("error: Usage: ");
    EXPECT_TRUE(failed_with(run(row.words), 2, said));
  }
}

TEST(BadInput, OfTheBrokersCommandLine) {
  expect_usage_errors({
      {{"liminal-broker", "--lisen", "tcp://127.0.0.1:*"}, {"--lisen", "--listen"}},
      {{"liminal-broker", "--listen", "nonsense"}, {"--listen", "nonsense", "tcp://"}},
      {{"liminal-broker", "--listen", "tcp://127.0.0.1:99999"}, {"--listen", "99999"}},
      {{"liminal-broker", "--listen"}, {"--listen"}},
      {{"liminal-broker", "--listen", "tcp://0.0.0.0:0"}, {"0.0.0.0", "--insecure"}},
      {{"liminal-broker", "--listen", "tcp://*:0"}, {"--insecure"}},
      {{"liminal-broker", "--down-after", "soon"}, {"--down-after", "soon", "250ms"}},
      {{"liminal-broker", "--down-after", "-3s"}, {"--down-after", "-3s"}},
      {{"liminal-broker", "--beat-interval", "0s"}, {"--beat-interval", "0s"}},
      {{"liminal-broker", "--beat-interval", "2s", "--suspect-after", "2s"},
       {"beat-interval", "suspect-after", "2s"}},
      {{"liminal-broker", "--suspect-after", "5s", "--down-after", "4s"},
       {"suspect-after", "down-after", "5s", "4s"}},
      {{"liminal-broker", "--payload-max", "lots"}, {"--payload-max", "lots"}},
      {{"liminal-broker", "--timeline-max", "100001"}, {"--timeline-max", "100000"}},
      {{"liminal-broker", "--timelines-max", "0"}, {"--timelines-max", "0"}},
      {{"liminal-broker", "--timeline-bytes-max", "1"}, {"--timeline-bytes-max", "1"}},
      {{"liminal-broker", "--log-level", "loud"}, {"--log-level", "loud"}},
      {{"liminal-broker", "stray"}, {"stray"}},
  });
}

TEST(BadInput, OfTheNodesCommandLine) {
  const std::string long_name(64, 'n');
  expect_usage_errors({
      {{"liminal-node"}, {"--name"}},
      {{"liminal-node", "--name", "a b"}, {"--name", "a b", "63"}},
      {{"liminal-node", "--name", ""}, {"--name"}},
      {{"liminal-node", "--name", long_name}, {"--name", "63"}},
      {{"liminal-node", "--name", "a", "--servise", "x=echo"}, {"--servise", "--service"}},
      {{"liminal-node", "--name", "a", "--service", "x"}, {"--service", "NAME=KIND"}},
      {{"liminal-node", "--name", "a", "--service", "x=foo"},
       {"--service", "foo", "exec:COMMAND", "pipe:COMMAND"}},
      {{"liminal-node", "--name", "a", "--service", "x=pipe:"}, {"--service", "pipe:COMMAND"}},
      {{"liminal-node", "--name", "a", "--service", "x=exec:"}, {"--service", "exec:COMMAND"}},
      {{"liminal-node", "--name", "a", "--service", "x=exec:  "}, {"--service", "exec:COMMAND"}},
      {{"liminal-node", "--name", "a", "--service", "x y=echo"}, {"--service", "x y"}},
      {{"liminal-node", "--name", "a", "--service", "x=echo", "--service", "x=exec:cat"},
       {"--service", "x", "twice"}},
      {{"liminal-node", "--name", "a", "--label", "novalue"}, {"--label", "novalue"}},
      {{"liminal-node", "--name", "a", "--join-timeout", "0"}, {"--join-timeout"}},
      {{"liminal-node", "--name", "a", "--broker", "localhost"}, {"--broker", "localhost"}},
      {{"liminal-node", "--name", "a", "--compensate", "x=exec:cat"}, {"--compensate"}},
  });
}

TEST(BadInput, OfTheCommand) {
  expect_usage_errors({
      {{"liminal"}, {"ask"}},
      {{"liminal", "help", "frobnicate"}, {"frobnicate", "converse"}},
      {{"liminal", "--broker", "tcp://127.0.0.1:1", "ask", "upper", "x"},
       {"'--broker' stands before the command", "liminal COMMAND [OPTION]"}},
      {{"liminal", "two\nlines"}, {"two\\nlines"}},
      {{"liminal", "ask", "two\nlines"}, {"two\\nlines"}},
      {{"liminal", "converse", "two\nlines"}, {"two\\nlines"}},
      {{"liminal", "wait", "two\nlines"}, {"two\\nlines"}},
      {{"liminal", "nosuch"}, {"nosuch", "ask"}},
      {{"liminal", "cancel", "1"}, {"'1'", "32 hex digits"}},
      {{"liminal", "cancel"}, {"ID"}},
      {{"liminal", "timeline", "1"}, {"'1'", "32 hex digits"}},
      {{"liminal", "timeline", std::string(33, 'a')}, {"32 hex digits"}},
      {{"liminal", "conversations", "--ended", "-1"}, {"--ended", "-1"}},
      {{"liminal", "drill", "run", "x"}, {"drill"}},
      {{"liminal", "ask"}, {"SERVICE"}},
      {{"liminal", "ask", "bad name", "x"}, {"bad name", "63"}},
      {{"liminal", "ask", "x", "y", "z"}, {"z"}},
      {{"liminal", "ask", "x", "--timout", "1s"}, {"--timout", "--timeout"}},
      {{"liminal", "ask", "x", "--timeout", "1 hour"}, {"--timeout", "1 hour"}},
      {{"liminal", "ask", "x", "--on-crash", "shrug"},
       {"shrug", "fail, route-to-next or compensate"}},
      {{"liminal", "ask", "x", "--max-attempts", "0"}, {"max-attempts", "0"}},
      {{"liminal", "ask", "x", "--max-reroutes", "none"}, {"max-reroutes", "none"}},
      {{"liminal", "ask", "x", "--compensation-timeout", "-1s"}, {"compensation-timeout", "-1s"}},
      {{"liminal", "ask", "x", "--deadline", "soon"}, {"deadline", "soon"}},
      {{"liminal", "converse", "x", "y", "x"}, {"'x'", "twice"}},
      {{"liminal", "converse", "x", "y z"}, {"y z"}},
      {{"liminal", "ask", "x", "--name", "a b"}, {"--name", "a b"}},
      {{"liminal", "converse"}, {"SERVICE"}},
      {{"liminal", "converse", "one", "--window", "0"}, {"--window", "0"}},
      {{"liminal", "status", "extra"}, {"extra"}},
      {{"liminal", "status", "--broker", "none"}, {"--broker", "none"}},
      {{"liminal", "wait"}, {"NODE|SERVICE"}},
      {{"liminal", "wait", "a/b"}, {"a/b"}},
  });
}

TEST(BadInput, OfAFileIsNamedWithItsLine) {
  Folder folder;
  const auto unknown = folder.file("unknown.conf", "# comment\n\ndown-afer = 3s\n");
  const auto no_equals = folder.file("shape.conf", "down-after = 3s\nbeat-interval 250ms\n");
  const auto bad_value = folder.file("value.conf", "\npayload-max = many\n");
  const auto twice = folder.file("twice.conf", "down-after = 3s\ndown-after = 4s\n");
  const auto services = folder.file("node.conf", "name = a\nservice = x=echo\nservice = x=echo\n");
  const auto contradiction = folder.file("order.conf", "suspect-after = 9s\n");
  expect_usage_errors({
      {{"liminal-broker", "--config", unknown}, {unknown + ":3", "down-afer", "down-after"}},
      {{"liminal-broker", "--config", no_equals}, {no_equals + ":2"}},
      {{"liminal-broker", "--config", bad_value}, {bad_value + ":2", "payload-max", "many"}},
      {{"liminal-broker", "--config", twice}, {twice + ":1", twice + ":2", "down-after"}},
      {{"liminal-broker", "--config", contradiction}, {"suspect-after", "down-after", "9s"}},
      {{"liminal-broker", "--config", unknown + ".missing"}, {"--config", unknown + ".missing"}},
      {{"liminal-broker", "--config", "/"}, {"--config"}},
      {{"liminal-node", "--config", services}, {"service", "x", "twice"}},
      {{"liminal-node", "--config", unknown}, {unknown + ":3", "down-afer"}},
      {{"liminal", "status", "--config", unknown}, {unknown + ":3", "down-afer"}},
  });
}

TEST(BadInput, OfTheEnvironmentIsNamed) {
  const auto ended =
      Process{{program("liminal-broker")}, {.environment = {"LIMINAL_DOWN_AFTER=later"}}}.finish();
  EXPECT_TRUE(failed_with(ended, 2, {"LIMINAL_DOWN_AFTER", "later", "environment"}));
}

}  // namespace
}  // namespace liminal::test
