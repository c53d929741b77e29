// `liminal conversations`, `timeline` and `cancel` of a cluster of real processes.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

const std::string kNobodys(32, 'a');

TEST(Conversations, OfAFreshClusterThereAreNone) {
  Cluster cluster;
  EXPECT_TRUE(printed(cluster.run({"conversations"}), "no conversations\n"));
  EXPECT_TRUE(printed(cluster.run({"conversations", "--json"}),
                      "{\"conversations\":[],\"forgotten\":0}\n"));
}

TEST(Conversations, OneThatNobodyToldOfIsSix) {
  Cluster cluster;
  for (const std::string command : {"timeline", "cancel"}) {
    EXPECT_TRUE(failed_with(cluster.run({command, kNobodys}), 6,
                            {"error: ConversationFailed: ", kNobodys}));
  }
}

/// The id of the only conversation that the broker knows; empty: there is none.
std::string only_conversation(const Cluster& cluster) {
  const std::string listed = cluster.run({"conversations", "--json"}).out;
  const std::string key = "\"conversation\":\"";
  const auto at = listed.find(key);
  return at == listed.npos ? std::string{} : listed.substr(at + key.size(), 32);
}

/// The third words of the lines below the table's head that have such an event, in order.
std::vector<std::string> events_of(const std::string& timeline) {
  std::vector<std::string> events;
  std::istringstream lines{timeline};
  bool in_table = false;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words{line};
    std::string seconds, node, event;
    words >> seconds >> node >> event;
    if (in_table) events.push_back(event);
    in_table = in_table || seconds == "SECONDS";
  }
  return events;
}

TEST(Conversations, TheTimelineShowsBothCrashesAndBothReroutes) {
  Cluster cluster;
  std::vector<std::string> left = {"a", "b", "c"};
  for (const std::string& node : left) {
    cluster.add_node(node, {"work=exec:test \"$LIMINAL_CALL_ATTEMPT\" -ge 3 || sleep 600; "
                            "echo done by attempt $LIMINAL_CALL_ATTEMPT"});
  }
  Process ask{
      cluster.command({"ask", "work", "x", "--on-crash", "route-to-next", "--timeout", "60s"})};
  std::vector<std::string> killed;
  for (int i = 0; i < 2; ++i) {
    auto busy = left.end();
    ASSERT_TRUE(eventually(
        [&] {
          busy = std::find_if(left.begin(), left.end(), [&](const std::string& node) {
            return !cluster.below(node, "sleep").empty();
          });
          return busy != left.end();
        },
        20s))
        << ask.log();
    killed.push_back(*busy);
    left.erase(busy);
    cluster.node(killed.back()).signal(SIGKILL);
  }
  const auto ended = ask.finish();
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, "done by attempt 3\n");

  const std::string id = only_conversation(cluster);
  ASSERT_EQ(id.size(), 32u);
  const auto listed = cluster.run({"conversations"});
  EXPECT_NE(listed.out.find(id), listed.out.npos) << listed.out;
  EXPECT_NE(listed.out.find("Closed"), listed.out.npos) << listed.out;

  const auto shown = cluster.run({"timeline", id});
  ASSERT_EQ(shown.code, 0) << shown.err;
  std::vector<std::string> events = events_of(shown.out);
  std::erase_if(events, [](const std::string& event) {
    return event != "sent" && event != "crashed" && event != "rerouted" && event != "replied";
  });
  EXPECT_EQ(events, (std::vector<std::string>{"sent", "crashed", "rerouted", "sent", "crashed",
                                              "rerouted", "sent", "replied"}))
      << shown.out;
  for (const std::string& node : killed) {
    EXPECT_NE(shown.out.find(node + "/"), shown.out.npos) << "its participant: " << shown.out;
  }
  EXPECT_NE(shown.out.find("connection closed"), shown.out.npos) << "the evidence: " << shown.out;
}

TEST(Conversations, OneThatIsCancelledEndsByItsPolicy) {
  Cluster cluster;
  const Folder folder;
  const std::string reserved = folder.path("reserved");
  cluster.add_node("a", {"reserve=exec:cat > " + reserved + " && echo ok"},
                   {"--compensate", "reserve=exec:rm " + reserved});
  Process converse{
      cluster.command({"converse", "reserve", "--on-crash", "compensate", "--timeout", "60s"}),
      {.more_input = true}};
  converse.feed("x\n");
  ASSERT_EQ(converse.line(), "ok") << converse.log();
  ASSERT_TRUE(eventually([&] { return !only_conversation(cluster).empty(); }));
  const std::string id = only_conversation(cluster);
  EXPECT_NE(cluster.run({"conversations"}).out.find("open"), std::string::npos);

  EXPECT_TRUE(printed(cluster.run({"cancel", id}), ""));
  const auto ended = converse.finish();
  EXPECT_TRUE(failed_with(ended, 7, {"error: Compensated: ", "cancel", id}));
  EXPECT_FALSE(std::filesystem::exists(reserved));
  const auto shown = cluster.run({"timeline", id});
  for (const char* part : {"cancel-requested", "compensated", "Failed"}) {
    EXPECT_NE(shown.out.find(part), shown.out.npos) << part << ": " << shown.out;
  }
  EXPECT_TRUE(failed_with(cluster.run({"cancel", id}), 6, {"error: ConversationFailed: ", id}));
}

}  // namespace
}  // namespace liminal::test
