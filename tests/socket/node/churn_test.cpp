// Nothing is left behind (contract 29): many conversations, one after another and at once, through
// a real broker, and everything is as it was.
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/socket/node/participant/proc.hpp"
#include "tests/socket/node/start_node.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::RunningBroker;
using test::start_node;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // their allocators keep what is freed
constexpr int kInTurn = 1'000;
#else
constexpr bool kSanitized = false;
constexpr int kInTurn = 10'000;
#endif
constexpr int kAtOnce = 500;
constexpr int kLightNodes = 50;
constexpr int kCommands = 50;
constexpr std::size_t kGrowthMax = std::size_t{2} * 1024 * 1024;

ConversationHandle open(Node& node, const char* service) {
  auto actor = node.conversations().spawn(
      {CrashPolicy::kFail, {ParticipantConfig::owned(ServiceName{service})}});
  if (!actor) throw std::runtime_error{actor.error().detail};
  return actor->handle();
}

void talk(ConversationHandle handle) {
  const auto reply = handle.ask(Payload{"hello"}, 20s);
  EXPECT_TRUE(reply) << reply.error().detail;
  if (reply) {
    EXPECT_EQ(reply->view(), "hello");
  }
  EXPECT_TRUE(handle.close(20s));
}

std::size_t entries(const char* folder) {
  const auto all = std::filesystem::directory_iterator{folder};
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

std::size_t resident_bytes() {
  ::malloc_trim(0);
  std::ifstream file{"/proc/self/statm"};
  std::size_t pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

class Churn : public ::testing::Test {
 protected:
  void round(int number) {
    for (int i = 0; i < kInTurn; ++i) talk(open(*client, "echo"));
    for (int i = 0; i < kCommands; ++i) talk(open(*client, "cat"));
    std::vector<ConversationHandle> at_once;
    for (int i = 0; i < kAtOnce; ++i) at_once.push_back(open(*client, "echo"));
    std::vector<MessageId> requests;
    for (auto& handle : at_once) requests.push_back(*handle.send(Payload{"x"}));
    for (std::size_t i = 0; i < at_once.size(); ++i) {
      EXPECT_TRUE(at_once[i].receive(requests[i], 20s));
    }
    for (auto& handle : at_once) EXPECT_TRUE(handle.close(20s));
    at_once.clear();
    for (int i = 0; i < kLightNodes; ++i) {
      const auto light =
          start_node(broker, "light-" + std::to_string(number) + "-" + std::to_string(i), true, 1);
      talk(open(*light, "echo"));
    }
    await_rest();
  }

  // Sessions with light nodes end when their leaving is told.
  void await_rest() {
    const auto rests = [](const Node& node) {
      const auto counts = node.counts();
      return counts.participants == 0 && counts.conversations == 0 && counts.processes <= 1 &&
             counts.timers == 0 && counts.sessions <= 1 && counts.ties == 0;
    };
    EXPECT_TRUE(eventually([&] { return rests(*server) && rests(*client); }, 20s))
        << server->counts().participants << " participants, " << client->counts().conversations
        << " conversations, " << server->counts().sessions << " sessions, "
        << server->counts().processes << " processes, " << server->counts().ties << " ties";
  }

  RunningBroker broker;
  std::unique_ptr<Node> server = start_node(broker, "server", false, 1);
  std::unique_ptr<Node> client = start_node(broker, "client", true, 1);
};

TEST_F(Churn, LeavesNothingBehind) {
  ASSERT_TRUE(broker::set_up_log("warning"));
  round(1);
  const std::size_t threads = entries("/proc/self/task");
  const std::size_t descriptors = entries("/proc/self/fd");
  const std::size_t children = test::children_of(::getpid()).size();
  const std::size_t bytes = resident_bytes();
  round(2);
  EXPECT_TRUE(eventually([&] { return entries("/proc/self/task") <= threads; }, 10s))
      << threads << " threads before, " << entries("/proc/self/task") << " after";
  EXPECT_TRUE(eventually([&] { return entries("/proc/self/fd") <= descriptors; }, 10s))
      << descriptors << " descriptors before, " << entries("/proc/self/fd") << " after";
  EXPECT_TRUE(eventually([&] { return test::children_of(::getpid()).size() <= children; }, 10s));
  const std::size_t after = resident_bytes();
  std::printf(
      "%d + %d conversations and %d light nodes a round: %zu KiB after the first, %zu KiB "
      "after the second\n",
      kInTurn, kAtOnce, kLightNodes, bytes / 1024, after / 1024);
  if (!kSanitized) {
    EXPECT_LE(after, bytes + kGrowthMax);
  }
}

}  // namespace
}  // namespace liminal
