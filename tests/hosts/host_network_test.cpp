// The network of hosts itself: what a test says is cut is cut, and nothing else.
#include "tests/support/host_network.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <stdexcept>
#include <string>

#include "tests/hosts/host_cluster.hpp"

namespace liminal::test {
namespace {

constexpr const char* kPython = "/usr/bin/python3";

class HostNetworkTest : public HostsTest {
 protected:
  void SetUp() override {
    HostsTest::SetUp();
    if (!IsSkipped() && ::access(kPython, X_OK) != 0) GTEST_SKIP() << "there is no " << kPython;
  }

  /// `from` can send a datagram to `to`, which says so; asked `times` times.
  int arrived(HostNetwork& network, const std::string& from, const std::string& to, int times) {
    const std::string& address = network.address(to);
    Process receiver{network.on(to, {kPython, "-c",
                                     "import socket,sys\n"
                                     "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
                                     "s.setsockopt(socket.SOL_SOCKET,socket.SO_RCVBUF,212992)\n"
                                     "s.bind(('" +
                                         address +
                                         "',0)); s.settimeout(10)\n"
                                         "print(s.getsockname()[1],flush=True)\n"
                                         "t=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
                                         "n=0\n"
                                         "while True:\n"
                                         "  d=s.recv(10)\n"
                                         "  if d==b'end': break\n"
                                         "  n+=1\n"
                                         "print(n,flush=True)\n"})};
    const std::string port = receiver.line();
    const auto send = [&](const std::string& host, const std::string& what, int count) {
      const auto ended =
          Process{network.on(host, {kPython, "-c",
                                    "import socket,time\n"
                                    "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
                                    "for i in range(" +
                                        std::to_string(count) +
                                        "):\n"
                                        "  s.sendto(b'" +
                                        what + "',('" + address + "'," + port +
                                        "))\n"
                                        "  time.sleep(0.0005)\n"})}
              .finish();
      EXPECT_EQ(ended.code, 0) << ended.err;
    };
    send(from, "x", times);
    send(to, "end", 1);  // by its own loopback: no cut is in its way, and it comes last
    return std::stoi(receiver.line());
  }
};

TEST_F(HostNetworkTest, HostsReachEachOtherUntilCutAndAgainWhenHealed) {
  HostNetwork network{{"a", "b", "c"}};
  EXPECT_EQ(arrived(network, "a", "b", 5), 5);
  network.cut("b");
  EXPECT_EQ(arrived(network, "a", "b", 5), 0);
  EXPECT_EQ(arrived(network, "b", "a", 5), 0);
  EXPECT_EQ(arrived(network, "a", "c", 5), 5);
  network.heal();
  EXPECT_EQ(arrived(network, "a", "b", 5), 5);
}

TEST_F(HostNetworkTest, AOneWayCutLosesOneWayOnly) {
  HostNetwork network{{"a", "b", "c"}};
  EXPECT_EQ(arrived(network, "a", "b", 1), 1);  // they know each other's hardware addresses
  EXPECT_EQ(arrived(network, "b", "a", 1), 1);
  network.cut_one_way("a", "b");
  EXPECT_EQ(arrived(network, "a", "b", 5), 0);
  EXPECT_EQ(arrived(network, "b", "a", 5), 5);
  EXPECT_EQ(arrived(network, "a", "c", 5), 5);
}

TEST_F(HostNetworkTest, LossIsTheShareThatWasAskedFor) {
  HostNetwork network{{"a", "b"}};
  EXPECT_EQ(arrived(network, "a", "b", 1), 1);  // they know each other's hardware addresses
  network.lose(20);
  const int got = arrived(network, "a", "b", 500);  // so many that one socket holds them all
  EXPECT_GT(got, 346);                              // 6 standard deviations
  EXPECT_LT(got, 454);
  network.lose(0);
  EXPECT_EQ(arrived(network, "a", "b", 100), 100);
}

TEST_F(HostNetworkTest, AnUnpluggedHostIsAloneUntilItIsPluggedIn) {
  HostNetwork network{{"a", "b"}};
  EXPECT_EQ(arrived(network, "a", "b", 5), 5);
  network.unplug("b");
  EXPECT_EQ(arrived(network, "b", "b", 5), 5);
  EXPECT_EQ(arrived(network, "a", "b", 5), 0);
  network.plug_in("b");
  EXPECT_TRUE(eventually([&] { return arrived(network, "a", "b", 1) == 1; }));
}

TEST_F(HostNetworkTest, TwoNetworksDoNotMeet) {
  HostNetwork one{{"a", "b"}};
  HostNetwork other{{"a", "b"}};
  one.cut("b");
  EXPECT_EQ(arrived(other, "a", "b", 5), 5);
  EXPECT_EQ(arrived(one, "a", "b", 5), 0);
}

TEST_F(HostNetworkTest, AHostSeesNothingOfThisMachine) {
  HostNetwork network{{"a"}};
  const auto seen = Process{network.on("a", {"/bin/sh", "-c", "cat /proc/self/net/dev"})}.finish();
  std::set<std::string> names;
  for (std::size_t at = 0; (at = seen.out.find(':', at)) != std::string::npos; ++at) {
    const auto begin = seen.out.find_last_of(" \n", at) + 1;
    names.insert(seen.out.substr(begin, at - begin));
  }
  EXPECT_EQ(names, (std::set<std::string>{"lo", "eth0"})) << seen.out;
}

TEST_F(HostNetworkTest, NothingIsLeftOfARunThatWasKilled) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t run = ::fork();
  ASSERT_GE(run, 0);
  if (run == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      HostNetwork network{{"a", "b"}};
      Process on_a{network.on("a", {"/bin/cat"}), {.more_input = true}};
      Process on_b{network.on("b", {"/bin/cat"}), {.more_input = true}};
      pid_t pids[] = {on_a.pid(), on_b.pid(), on_b.pid()};
      if (!HostNetwork::why_no_impairment()) {
        network.delay("a", 1ms);
        for (const auto& child : children_of(::getpid())) {
          if (child.name.starts_with("liminal-bad")) pids[2] = child.pid;
        }
        if (pids[2] == pids[1]) throw std::runtime_error{"no program is in the cable"};
      }
      if (::write(ends[1], pids, sizeof pids) == sizeof pids) ::pause();
    } catch (...) {  // nothing but an end of ours may leave this copy of the test
    }
    ::_exit(1);
  }
  ::close(ends[1]);    // so that its end is seen
  pid_t pids[3] = {};  // of what ran on the hosts, and of the program in a cable
  ASSERT_EQ(::read(ends[0], pids, sizeof pids), static_cast<ssize_t>(sizeof pids));
  ::kill(run, SIGKILL);
  ASSERT_EQ(::waitpid(run, nullptr, 0), run);
  // With its processes gone nothing holds a namespace, and the kernel takes all of it back.
  EXPECT_TRUE(eventually([&] {
    for (const auto& process : all_processes()) {
      for (const pid_t pid : pids) {
        if (process.pid == pid && process.state != 'Z') return false;
      }
    }
    return true;
  }));
  ::close(ends[0]);
}

}  // namespace
}  // namespace liminal::test
