// Whatever ends a conversation, or dooms it, ends `liminal converse` at once, whatever the command
// is at: a user who looks at a quiet terminal must not find out with the next line.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

// Its child echoes a request of one byte, length and all, and leaves.
const std::string kOnce = "once=pipe:exec head -c 5";
constexpr Milliseconds kAtOnce = 5s * kSlack;  // where "not at once" is never

/// The id of the conversation that a command under this name holds; empty: none is known.
std::string conversation_of(const Cluster& cluster, const std::string& node) {
  const std::string listed = cluster.run({"conversations", "--json"}).out;
  const auto mine = listed.find("\"node\":\"" + node + "\"");
  if (mine == listed.npos) return {};
  const std::string key = "\"conversation\":\"";
  const auto at = listed.rfind(key, mine);
  return at == listed.npos ? std::string{} : listed.substr(at + key.size(), 32);
}

bool has_event(const Cluster& cluster, const std::string& id, const std::string& event) {
  const std::string shown = cluster.run({"timeline", id, "--json"}).out;
  return shown.find("\"event\":\"" + event + "\"") != shown.npos;
}

/// A command whose stdin stays open.
class Idle {
 public:
  Idle(Cluster& cluster, std::string name, Cluster::Words words)
      : cluster_(cluster), name_(std::move(name)) {
    words.insert(words.begin(), "converse");
    words.insert(words.end(), {"--name", name_, "--timeout", "60s"});
    process_ =
        std::make_unique<Process>(cluster.command(words), Process::Setup{.more_input = true});
  }
  Process* operator->() { return process_.get(); }
  std::string id() {
    std::string found;
    EXPECT_TRUE(eventually([&] { return !(found = conversation_of(cluster_, name_)).empty(); }))
        << process_->log();
    return found;
  }
  void exchange(const std::string& line, const std::string& reply) {
    process_->feed(line + "\n");
    EXPECT_EQ(process_->line(), reply) << process_->log();
  }
  void await_left() {
    const std::string conversation = id();
    EXPECT_TRUE(eventually([&] { return has_event(cluster_, conversation, "left"); }))
        << process_->log();
  }
  void await_work() {
    EXPECT_TRUE(eventually([&] { return !cluster_.below("a", "sleep").empty(); }));
  }

 private:
  Cluster& cluster_;
  std::string name_;
  std::unique_ptr<Process> process_;
};

/// What the command is at when the end comes.
struct State {
  const char* name;
  Cluster::Words words;
  std::function<void(Idle&)> reach;
};

const std::vector<State> kStates = {
    {"nothing-sent", {"echo"}, [](Idle&) {}},
    {"idle", {"echo"}, [](Idle& idle) { idle.exchange("x", "x"); }},
    {"half-a-line",
     {"echo"},
     [](Idle& idle) {
       idle.exchange("x", "x");
       idle->feed("half");
       idle->await_fed();
     }},
    {"in-flight", {"slow"}, [](Idle& idle) { idle->feed("x\n"); }},
    {"window-full", {"slow", "--window", "1"}, [](Idle& idle) { idle->feed("x\ny\nz\n"); }},
    {"left",
     {"once"},
     [](Idle& idle) {
       idle.exchange("x", "x");
       idle.await_left();
     }},
    {"left-half-a-line",
     {"once"},
     [](Idle& idle) {
       idle.exchange("x", "x");
       idle.await_left();
       idle->feed("half");
       idle->await_fed();
     }},
    {"one-of-two-left",
     {"once", "echo"},
     [](Idle& idle) {
       idle.exchange("once\tx", "x");
       idle.await_left();
     }},
    {"both-left",
     {"once", "twice"},
     [](Idle& idle) {
       idle.exchange("once\tx", "x");
       idle.exchange("twice\ty", "y");
       idle.await_left();
     }},
    {"left-to-compensate",
     {"once", "--on-crash", "compensate"},
     [](Idle& idle) {
       idle.exchange("x", "x");
       idle.await_left();
     }},
};

void add_services(Cluster& cluster) {
  cluster.add_node(
      "a", {kOnce, "twice=pipe:exec head -c 5", "echo=pipe:exec cat", "slow=exec:sleep 600"});
}

TEST(ConverseEnds, WhenItIsCancelledWhateverItIsAt) {
  Cluster cluster;
  add_services(cluster);
  for (const State& state : kStates) {
    SCOPED_TRACE(state.name);
    Idle idle{cluster, state.name, state.words};
    const std::string id = idle.id();
    state.reach(idle);
    EXPECT_TRUE(printed(cluster.run({"cancel", id}), ""));
    const bool undoes = state.words.back() == "compensate";
    EXPECT_TRUE(failed_with(idle->finish(kAtOnce), undoes ? 7 : 6, {"cancel", id}));
  }
}

TEST(ConverseEnds, AtItsDeadlineWhateverItIsAt) {
  Cluster cluster;
  add_services(cluster);
  std::map<std::string, std::unique_ptr<Idle>> all;
  for (const State& state : kStates) {
    Cluster::Words words = state.words;
    words.insert(words.end(), {"--deadline", kSlack == 1 ? "6s" : "20s"});
    all[state.name] = std::make_unique<Idle>(cluster, state.name, words);
    state.reach(*all[state.name]);
  }
  for (const State& state : kStates) {
    SCOPED_TRACE(state.name);
    const bool undoes =
        std::find(state.words.begin(), state.words.end(), "compensate") != state.words.end();
    // of a request under way its participant may say so first
    const char* why = state.words.front() == "slow" ? "ConversationTimeout" : "has passed";
    EXPECT_TRUE(failed_with((*all[state.name])->finish(20s * kSlack), undoes ? 7 : 5, {why}));
  }
}

// What stdin holds by then of the payload must not be carried out.
TEST(AskEnds, WhileItReadsItsPayload) {
  Cluster cluster;
  const Folder folder;
  const std::string log = folder.file("log", "");
  cluster.add_node("a", {"note=exec:cat >> " + log});
  Process cancelled{cluster.command({"ask", "note", "--name", "cancelled", "--timeout", "60s"}),
                    {.more_input = true}};
  Process late{cluster.command({"ask", "note", "--deadline", "500ms", "--timeout", "60s"}),
               {.more_input = true}};
  for (Process* ask : {&cancelled, &late}) {
    ask->feed("half");
    ask->await_fed();
  }
  std::string id;
  ASSERT_TRUE(eventually([&] { return !(id = conversation_of(cluster, "cancelled")).empty(); }));
  EXPECT_TRUE(printed(cluster.run({"cancel", id}), ""));
  EXPECT_TRUE(failed_with(cancelled.finish(kAtOnce), 6, {"cancel", id}));
  EXPECT_TRUE(failed_with(late.finish(kAtOnce), 5, {"has passed"}));
  EXPECT_EQ(shell("cat " + log).out, "");
}

// A reader that has stopped, as `| less` does, holds up the replies and not the end.
TEST(ConverseEnds, AtASignalAlthoughNobodyReadsItsOutput) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  const Folder folder;
  const std::string line = folder.file("line", std::string(1'000'000, 'x') + "\n");
  for (const std::string command : {"ask", "converse"}) {
    for (const std::string options : {"", " --json"}) {
      SCOPED_TRACE(command + options);
      const std::string name = command + (options.empty() ? "" : "-json");
      Process process{{"/bin/sh", "-c",
                       "LIMINAL_CONNECT_TIMEOUT=30s LIMINAL_TIMEOUT=30s exec " +
                           program("liminal") + " " + command + " echo --broker " +
                           cluster.endpoint() + " --name " + name + options + " < " + line}};
      std::string id;
      EXPECT_TRUE(eventually([&] { return !(id = conversation_of(cluster, name)).empty(); }));
      EXPECT_TRUE(eventually([&] { return has_event(cluster, id, "replied"); }));
      process.signal(SIGINT);
      EXPECT_TRUE(eventually([&] { return !process.running(); }, kAtOnce));
      EXPECT_EQ(process.finish(kAtOnce).code, 130);
    }
  }
}

// Then neither the end of stdin is a success, nor is another line carried out.
TEST(ConverseEnds, WhenAllIsUndoneWhateverStdinDoesMeanwhile) {
  for (const std::string service : {"once", "echo"}) {
    for (const std::string more : {"", "y\n", "half"}) {
      SCOPED_TRACE(service + ", then '" + more + "'");
      const Folder folder;
      const std::string gate = folder.path("gate");
      ASSERT_EQ(shell("mkfifo " + gate).code, 0);
      Cluster cluster;
      cluster.add_node(
          "a", {kOnce, "echo=echo"},
          {"--compensate", "once=exec:cat < " + gate, "--compensate", "echo=exec:cat < " + gate});
      Idle idle{cluster, "undoing", {service, "--on-crash", "compensate"}};
      idle.exchange("x", "x");
      if (service == "once") idle.await_left();
      const std::string id = idle.id();
      EXPECT_TRUE(printed(cluster.run({"cancel", id}), ""));
      EXPECT_TRUE(eventually([&] { return has_event(cluster, id, "compensating"); }));
      idle->feed(more);
      idle->end_input();
      EXPECT_TRUE(idle->running());
      EXPECT_EQ(shell("echo > " + gate).code, 0);
      EXPECT_TRUE(failed_with(idle->finish(kAtOnce), 7, {"error: Compensated: ", "cancel", id}));
    }
  }
}

}  // namespace
}  // namespace liminal::test
