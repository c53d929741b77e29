// Nobody, a stranger or a rival at the endpoint, and what exceeds a limit: refused, and the cluster
// serves on.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

// A TCP port that is no broker's.
class Stranger {
 public:
  enum class Manner {
    kRefuses,   // bound, but nobody listens
    kIsSilent,  // accepts and says nothing
    kChatters,  // answers in a protocol of its own and hangs up
  };

  explicit Stranger(Manner manner) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(fd_, reinterpret_cast<sockaddr*>(&address), size);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    endpoint_ = "tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    if (manner != Manner::kRefuses) ::listen(fd_, 64);
    if (manner == Manner::kChatters) thread_ = std::thread{[this] { chatter(); }};
  }
  ~Stranger() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
    ::close(fd_);
  }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;

  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }

 private:
  void chatter() {
    constexpr std::string_view kAnswer = "HTTP/1.1 400 Bad Request\r\n\r\n";
    while (!over_) {
      pollfd wait{fd_, POLLIN, 0};
      if (::poll(&wait, 1, 20) <= 0) continue;
      const int peer = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      (void)::send(peer, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
      ::close(peer);
    }
  }

  int fd_;
  std::string endpoint_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

class AtAStrangersEndpoint : public ::testing::TestWithParam<Stranger::Manner> {};

TEST_P(AtAStrangersEndpoint, CommandsExitThreeWithinTheirConnectTimeout) {
  const Stranger stranger{GetParam()};
  const auto& at = stranger.endpoint();
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"liminal", "ask", "--broker", at, "x", "y"},
        {"liminal", "converse", "--broker", at, "x"},
        {"liminal", "status", "--broker", at}}) {
    auto command = words;
    command.insert(command.end(), {"--connect-timeout", "500ms"});
    SCOPED_TRACE(words[1]);
    EXPECT_TRUE(best_of_three([&] {
      const auto begun = SteadyClock::now();
      const auto ended = run(command);
      EXPECT_TRUE(failed_with(ended, 3, {"error: NoBroker: ", at}));
      EXPECT_GE(ms_between(begun, ended.at), 490) << "it may yet come";
      return ms_between(begun, ended.at) < 500 + 1000 * kSlack;
    })) << "within its connect timeout, and a second";
  }
  EXPECT_TRUE(failed_with(run({"liminal", "wait", "a", "--broker", at, "--timeout", "300ms"}), 3,
                          {"error: NoBroker: ", at}));
}

TEST_P(AtAStrangersEndpoint, ANodeExitsOneAfterItsJoinTimeout) {
  const Stranger stranger{GetParam()};
  const auto begun = SteadyClock::now();
  const auto ended = run({"liminal-node", "--name", "a", "--broker", stranger.endpoint(),
                          "--join-timeout", "300ms", "--service", "cat=exec:cat"});
  EXPECT_TRUE(failed_with(ended, 1, {"error: NoBroker: ", stranger.endpoint(), "--join-timeout"}));
  EXPECT_GE(ms_between(begun, ended.at), 290);
  EXPECT_LT(ms_between(begun, ended.at), 15'000) << "long before any other bound of a node's";
}

INSTANTIATE_TEST_SUITE_P(Refusal, AtAStrangersEndpoint,
                         ::testing::Values(Stranger::Manner::kRefuses, Stranger::Manner::kIsSilent,
                                           Stranger::Manner::kChatters),
                         [](const auto& manner) {
                           switch (manner.param) {
                             case Stranger::Manner::kRefuses:
                               return "ThatRefuses";
                             case Stranger::Manner::kIsSilent:
                               return "ThatIsSilent";
                             case Stranger::Manner::kChatters:
                               return "ThatChatters";
                           }
                           return "";
                         });

TEST(Refusal, ABrokersEndpointInUseIsExitOneAndNamed) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  EXPECT_TRUE(failed_with(run({"liminal-broker", "--listen", cluster.endpoint()}), 1,
                          {cluster.endpoint()}));
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
}

TEST(Refusal, ASecondNodeUnderALivingOnesNameIsTurnedAwayAtOnce) {
  Cluster cluster;
  cluster.add_node("a", {"echo=echo"});
  const auto begun = SteadyClock::now();
  const auto rival = run({"liminal-node", "--name", "a", "--broker", cluster.endpoint(),
                          "--service", "echo=exec:echo rival"});
  EXPECT_TRUE(failed_with(rival, 1, {"error: Refused: ", "'a'", "127.0.0.1"}));
  EXPECT_LT(rival.at - begun, 15s) << "long before --join-timeout";
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "x"}), "x"));
  EXPECT_TRUE(cluster.node("a").running());
}

TEST(Refusal, APayloadOverTheLimitIsExitNineEitherWay) {
  Cluster cluster{{"--payload-max", "1KiB"}};
  cluster.add_node("a", {"echo=echo", "big=exec:head -c 2048 /dev/zero"});
  const std::string fits(1024, 'x');
  const std::string larger(1025, 'x');
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", fits}), fits));
  EXPECT_TRUE(printed(cluster.run({"ask", "echo"}, fits), fits));
  EXPECT_TRUE(failed_with(cluster.run({"ask", "echo", larger}), 9, {"payload-max"}));
  EXPECT_TRUE(failed_with(cluster.run({"ask", "echo"}, larger), 9, {"payload-max"}));
  EXPECT_TRUE(failed_with(cluster.run({"converse", "echo"}, larger + "\n"), 9, {"payload-max"}));
  EXPECT_TRUE(failed_with(cluster.run({"ask", "big", "x"}), 6,
                          {"error: ParticipantCrashed: ", "payload-max"}));
  EXPECT_TRUE(printed(cluster.run({"ask", "echo", "still there"}), "still there"));
}

TEST(Refusal, ACommandWithoutABrokerFindsNoServices) {
  EXPECT_TRUE(failed_with(run({"liminal", "ask", "--broker", "none", "x", "y"}), 4,
                          {"error: NoService: ", "--broker none", "alone"}));
}

}  // namespace
}  // namespace liminal::test
