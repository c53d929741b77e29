// The Python child of docs/clients/python, through a node: in order, and its death known once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

#include "node/node.hpp"
#include "participant/proc.hpp"
#include "tests/support/source_dir.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRequests = 10'000;  // the sanitizers look at code, not at throughput
#else
constexpr int kRequests = 100'000;
#endif
constexpr std::size_t kWindow = 64;

std::string line(int number) { return "request " + std::to_string(number); }
std::string reply_to(int number) { return "REQUEST " + std::to_string(number); }

class PythonClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(std::system("python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))'"), 0)
        << "python3 is missing; compose/packages test installs it";
    auto service = parse_service("upper=pipe:exec python3 " +
                                 test::source_path("docs/clients/python/upper.py"));
    ASSERT_TRUE(service);
    mark = std::to_string(::getpid()) + "-python";
    ::setenv("LIMINAL_TEST_MARK", mark.c_str(), 1);  // the minder hands it on
    auto created = Node::create({.name = NodeName{"py"}, .broker = std::nullopt}, {*service});
    ::unsetenv("LIMINAL_TEST_MARK");
    ASSERT_TRUE(created) << created.error().detail;
    node = *std::move(created);
    ASSERT_TRUE(node->start(10s));
  }

  ConversationHandle open() {
    auto opened = node->conversations().spawn(
        {CrashPolicy::kFail, {ParticipantConfig::owned(ServiceName{"upper"})}});
    EXPECT_TRUE(opened);
    return opened->handle();
  }

  /// Sends all, at most kWindow unanswered; the outcomes in order. `look` is called before each is
  /// received.
  template <class Look>
  std::vector<Result<Payload>> ask_all(ConversationHandle& conversation, Look look) {
    std::vector<Result<Payload>> outcomes;
    std::deque<MessageId> open_requests;
    for (int sent = 0; sent < kRequests || !open_requests.empty();) {
      while (sent < kRequests && open_requests.size() < kWindow) {
        open_requests.push_back(
            conversation.start_send(Payload{line(sent++)}, {}, [](const Outcome&) {}));
      }
      look(outcomes.size());
      outcomes.push_back(conversation.receive(open_requests.front(), 30s));
      open_requests.pop_front();
    }
    return outcomes;
  }

  /// Children of the service; the minder and its guards are none.
  std::vector<pid_t> children() const {
    std::vector<pid_t> found;
    for (const pid_t pid : test::marked(mark)) {
      const std::string name = test::contents("/proc/" + std::to_string(pid) + "/comm");
      if (!name.empty() && !name.starts_with("liminal-")) found.push_back(pid);
    }
    return found;
  }

  std::string mark;
  std::unique_ptr<Node> node;
};

TEST_F(PythonClientTest, AHundredThousandRequestsAreAnsweredInOrderByOneChild) {
  ConversationHandle conversation = open();
  std::vector<pid_t> at_first;
  const auto begin = std::chrono::steady_clock::now();
  const auto outcomes = ask_all(conversation, [&](std::size_t answered) {
    if (answered == 1) at_first = children();
  });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::printf("%d requests to a Python child: %.0f per second\n", kRequests,
              kRequests / took.count());
  ASSERT_EQ(outcomes.size(), static_cast<std::size_t>(kRequests));
  for (int i = 0; i < kRequests; ++i) {
    const auto& outcome = outcomes[static_cast<std::size_t>(i)];
    ASSERT_TRUE(outcome) << i << ": " << outcome.error().detail;
    ASSERT_EQ(outcome->view(), reply_to(i));
  }
  EXPECT_EQ(at_first.size(), 1u);
  EXPECT_EQ(children(), at_first);
  EXPECT_TRUE(conversation.query_state().crashes.empty());
  ASSERT_TRUE(conversation.close());
  EXPECT_TRUE(test::eventually([this] { return children().empty(); }));
}

TEST_F(PythonClientTest, AChildKilledInTheMiddleIsOneCrashAndEachRequestHasOneOutcome) {
  ConversationHandle conversation = open();
  constexpr std::size_t kKilledAt = kRequests / 2;
  const auto outcomes = ask_all(conversation, [&](std::size_t answered) {
    if (answered != kKilledAt) return;
    const auto living = children();
    ASSERT_EQ(living.size(), 1u);
    ASSERT_EQ(::kill(living.front(), SIGKILL), 0);
  });
  ASSERT_EQ(outcomes.size(), static_cast<std::size_t>(kRequests));
  std::size_t answered = 0;
  while (answered < outcomes.size() && outcomes[answered]) {
    ASSERT_EQ(outcomes[answered]->view(), reply_to(static_cast<int>(answered)));
    ++answered;
  }
  EXPECT_GE(answered, kKilledAt);
  EXPECT_LE(answered, kKilledAt + kWindow);
  for (std::size_t i = answered; i < outcomes.size(); ++i) ASSERT_FALSE(outcomes[i]) << i;
  EXPECT_EQ(outcomes[answered].error().code, Errc::kParticipantCrashed);

  const ConversationState state = conversation.query_state();
  EXPECT_EQ(state.phase, ConversationPhase::kFailed);
  ASSERT_EQ(state.crashes.size(), 1u);
  EXPECT_EQ(state.crashes.front().reason, ExitReason::error("signal 9 (SIGKILL)"));
  EXPECT_EQ(state.crashes.front().name, "upper");
  EXPECT_EQ(state.counters.completed, answered);
  EXPECT_TRUE(children().empty());
}

}  // namespace
}  // namespace liminal
