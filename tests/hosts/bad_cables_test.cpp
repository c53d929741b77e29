// Bad cables themselves: what a test asks of one is what datagrams and TCP get.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/hosts/host_cluster.hpp"
#include "tests/support/host_network.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

constexpr const char* kPython = "/usr/bin/python3";

class BadCableTest : public BadCablesTest {
 protected:
  void SetUp() override {
    BadCablesTest::SetUp();
    if (!IsSkipped() && ::access(kPython, X_OK) != 0) GTEST_SKIP() << "there is no " << kPython;
  }
};

struct Arrival {
  int number;
  double ms;  // on its way; all hosts have one clock
};

/// Numbered datagrams from host a to host b, 2 ms apart, while a's cable does `worse` to what
/// leaves it. A last one follows on a cable that only delays, by more than `worse` does: then all
/// have come.
std::vector<Arrival> sent_over(HostNetwork& network, int count, const Impairment& worse,
                               bool from_b = false) {
  const std::string from = from_b ? "b" : "a";
  const std::string to = from_b ? "a" : "b";
  const std::string address = network.address(to);
  Process receiver{
      network.on(to, {kPython, "-c",
                      "import socket,time\n"
                      "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
                      "s.bind(('" +
                          address +
                          "',0)); s.settimeout(30)\n"
                          "print(s.getsockname()[1],flush=True)\n"
                          "got=[]\n"
                          "while True:\n"
                          "  n,at=s.recv(100).split()\n"
                          "  if n==b'end': break\n"
                          "  got.append('%s %f'%(n.decode(),(time.monotonic_ns()-int(at))/1e6))\n"
                          "print(','.join(got),flush=True)\n"})};
  const std::string port = receiver.line();
  const auto send = [&](const std::string& numbers) {
    const auto ended = Process{network.on(from, {kPython, "-c",
                                                 "import socket,time\n"
                                                 "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)"
                                                 "\nfor n in " +
                                                     numbers +
                                                     ":\n"
                                                     "  s.sendto(b'%s %d'%(str(n).encode(),"
                                                     "time.monotonic_ns()),('" +
                                                     address + "'," + port +
                                                     "))\n"
                                                     "  time.sleep(0.002)\n"})}
                           .finish();
    EXPECT_EQ(ended.code, 0) << ended.err;
  };
  const auto make = [&](const Impairment& it) {
    if (from_b) {
      network.impair("a", it, {});
    } else {
      network.impair("a", {}, it);
    }
  };
  make(worse);
  send("range(" + std::to_string(count) + ")");
  make({.delay = worse.delay + worse.jitter + worse.reorder_by});
  send("['end']");
  std::vector<Arrival> all;
  std::istringstream arrivals{receiver.line()};
  for (std::string each; std::getline(arrivals, each, ',');) {
    std::istringstream words{each};
    Arrival arrival{};
    words >> arrival.number >> arrival.ms;
    all.push_back(arrival);
  }
  return all;
}

double shortest(const std::vector<Arrival>& all) {
  double least = 1e9;
  for (const auto& each : all) least = std::min(least, each.ms);
  return least;
}

double longest(const std::vector<Arrival>& all) {
  double most = 0;
  for (const auto& each : all) most = std::max(most, each.ms);
  return most;
}

TEST_F(BadCableTest, DelaysEachWayByItselfAndCanBeChangedWhileItRuns) {
  EXPECT_TRUE(best_of_three([] {
    HostNetwork network{{"a", "b"}};
    network.impair("a", {});
    (void)sent_over(network, 1, {});  // they know each other's hardware addresses
    bool soon = true;
    const auto expect = [&](bool from_b, const Impairment& worse, double ms) {
      const auto all = sent_over(network, 50, worse, from_b);
      EXPECT_EQ(all.size(), 50u);
      EXPECT_GE(shortest(all), ms);
      std::printf("%g ms asked for: %.2f to %.2f ms\n", ms, shortest(all), longest(all));
      soon = soon && shortest(all) < ms + 2 * kSlack && longest(all) < ms + 30 * kSlack;
    };
    expect(false, {.delay = 80ms}, 80);
    expect(true, {}, 0);
    expect(true, {.delay = 30ms}, 30);
    expect(false, {}, 0);
    return soon;
  })) << "no longer than asked for";
}

TEST_F(BadCableTest, JitterIsWithinItsLengthAndInOrder) {
  HostNetwork network{{"a", "b"}};
  network.impair("a", {});
  (void)sent_over(network, 1, {});
  const auto all = sent_over(network, 200, {.delay = 20ms, .jitter = 40ms});
  ASSERT_EQ(all.size(), 200u);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)].number, i);
  EXPECT_GE(shortest(all), 20);
  EXPECT_GT(longest(all), 50);
  EXPECT_GT(longest(all) - shortest(all), 20);
}

TEST_F(BadCableTest, LosesReordersAndDoublesTheSharesAskedForAndCountsThem) {
  HostNetwork network{{"a", "b"}};
  network.impair("a", {});
  (void)sent_over(network, 1, {});
  const auto all =
      sent_over(network, 500,
                {.delay = 5ms,
                 .loss_percent = 20,
                 .reorder_percent = 20,
                 .reorder_by = 200ms,  // far beyond the distance of any two, however late a sender
                 .duplicate_percent = 20});
  std::map<int, int> times;
  int overtaken = 0;
  int newest = -1;
  for (const auto& each : all) {
    ++times[each.number];
    if (each.number < newest) ++overtaken;
    newest = std::max(newest, each.number);
  }
  int doubled = 0;
  for (const auto& [number, count] : times) {
    EXPECT_LE(count, 2);
    if (count == 2) ++doubled;
  }
  EXPECT_NEAR(static_cast<double>(times.size()), 400, 54);  // 6 standard deviations
  EXPECT_NEAR(doubled, 80, 50);
  EXPECT_GT(overtaken, 40);
  const auto counts = network.counts("a");
  // A host says more than a test tells it to: whose hardware address that is, for one.
  EXPECT_GE(counts.from_host.taken, 502u);
  EXPECT_GE(counts.from_host.lost, 500 - times.size());
  EXPECT_GE(counts.from_host.duplicated, static_cast<unsigned>(doubled));
  EXPECT_EQ(counts.from_host.refused, 0u);
  EXPECT_EQ(counts.to_host.lost, 0u);
}

TEST_F(BadCableTest, CutsAndLossComeOnTopAndTheCableCanBeUnplugged) {
  HostNetwork network{{"a", "b", "c"}};
  network.delay("a", 5ms);
  const auto reaches = [&](const std::string& from, const std::string& to) {
    const auto listen = "import socket\ns=socket.socket()\ns.settimeout(0.2)\n";
    Process listener{
        network.on(to, {kPython, "-c",
                        "import socket\ns=socket.socket()\ns.bind(('" + network.address(to) +
                            "',0))\ns.listen()\n"
                            "print(s.getsockname()[1],flush=True)\ns.accept()\n"})};
    const std::string port = listener.line();
    return Process{network.on(from, {kPython, "-c",
                                     std::string{listen} + "s.connect(('" + network.address(to) +
                                         "'," + port + "))\n"})}
               .finish()
               .code == 0;
  };
  EXPECT_TRUE(eventually([&] { return reaches("a", "b"); }));
  network.cut("a");
  EXPECT_FALSE(reaches("a", "b"));
  EXPECT_FALSE(reaches("b", "a"));
  EXPECT_TRUE(eventually([&] { return reaches("c", "b"); }));
  network.heal();
  EXPECT_TRUE(eventually([&] { return reaches("a", "b"); }));
  network.unplug("a");
  EXPECT_FALSE(reaches("a", "b"));
  network.plug_in("a");
  EXPECT_TRUE(eventually([&] { return reaches("a", "b"); }));
  network.lose(100);
  EXPECT_FALSE(reaches("b", "c"));
  network.lose(0);
}

TEST_F(BadCableTest, TcpBringsAllBytesInOrderAndTakesTheTimeOfTheWay) {
  HostNetwork network{{"a", "b"}};
  network.impair("a", {.delay = 20ms,
                       .jitter = 5ms,
                       .loss_percent = 1,
                       .reorder_percent = 2,
                       .duplicate_percent = 5});
  Process server{network.on("b", {kPython, "-c",
                                  "import socket\n"
                                  "s=socket.socket(); s.bind(('" +
                                      network.address("b") +
                                      "',0)); s.listen()\n"
                                      "print(s.getsockname()[1],flush=True)\n"
                                      "c,_=s.accept()\n"
                                      "while True:\n"
                                      "  d=c.recv(65536)\n"
                                      "  if not d: break\n"
                                      "  c.sendall(d)\n"
                                      "c.close()\n"})};
  const std::string port = server.line();
  const auto ended =
      Process{network.on("a", {kPython, "-c",
                               "import random,socket,threading,time\n"
                               "what=random.Random(7).randbytes(500000)\n"
                               "s=socket.socket(); s.connect(('" +
                                   network.address("b") + "'," + port +
                                   "))\n"
                                   "s.settimeout(60)\n"
                                   "s.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1)\n"
                                   "began=time.monotonic(); s.sendall(b'x'); s.recv(1)\n"
                                   "took=time.monotonic()-began\n"
                                   "def send():\n"
                                   "  s.sendall(what); s.shutdown(socket.SHUT_WR)\n"
                                   "threading.Thread(target=send).start()\n"
                                   "got=b''\n"
                                   "while True:\n"
                                   "  d=s.recv(65536)\n"
                                   "  if not d: break\n"
                                   "  got+=d\n"
                                   "print(int(got==what),int(took>=0.04))\n"})}
          .finish();
  EXPECT_EQ(ended.out, "1 1\n") << ended.err;
  const auto counts = network.counts("a");
  EXPECT_GT(counts.from_host.lost + counts.to_host.lost, 0u);
  EXPECT_GT(counts.from_host.reordered, 0u);
  EXPECT_GT(counts.to_host.duplicated, 0u);
}

// Three connections between the same hosts; each answers every byte.
class CutConnectionTest : public BadCableTest {
 protected:
  struct Talk {
    HostNetwork network{{"a", "b"}};
    std::unique_ptr<Process> server;
    std::unique_ptr<Process> client;
    std::vector<HostNetwork::Connection> connections;

    Talk() {
      server = std::make_unique<Process>(
          network.on("b", {kPython, "-c",
                           "import socket,threading\n"
                           "s=socket.socket(); s.bind(('" +
                               network.address("b") +
                               "',0)); s.listen()\n"
                               "print(s.getsockname()[1],flush=True)\n"
                               "def answer(c):\n"
                               "  while True:\n"
                               "    d=c.recv(9)\n"
                               "    if not d: break\n"
                               "    print('got',flush=True)\n"
                               "    c.sendall(d)\n"
                               "while True: threading.Thread(target=answer,args=(s.accept()[0],),"
                               "daemon=True).start()\n"}));
      const std::string port = server->line();
      client = std::make_unique<Process>(
          network.on("a", {kPython, "-c",
                           "import socket,sys\n"
                           "all={}\n"
                           "for i in range(3):\n"
                           "  s=socket.socket(); s.connect(('" +
                               network.address("b") + "'," + port +
                               ")); s.settimeout(0.3)\n"
                               "  all[s.getsockname()[1]]=s\n"
                               "print('connected',flush=True)\n"
                               "for line in sys.stdin:\n"
                               "  s=all[int(line)]\n"
                               "  s.sendall(b'x')\n"
                               "  try: s.recv(9); print('answered',flush=True)\n"
                               "  except socket.timeout: print('silent',flush=True)\n"}),
          Process::Setup{.more_input = true});
      EXPECT_EQ(client->line(), "connected");
      connections = network.connections("a");
    }

    std::string asked(std::size_t which) {
      client->feed(std::to_string(connections.at(which).port) + "\n");
      return client->line();
    }
  };
};

TEST_F(CutConnectionTest, NothingOfThatOneGetsThroughAndAllOfTheOthers) {
  Talk talk;
  ASSERT_EQ(talk.connections.size(), 3u);
  EXPECT_EQ(talk.asked(1), "answered");
  EXPECT_EQ(talk.server->line(), "got");
  EXPECT_EQ(talk.network.connections("a")[1].bytes, talk.connections[1].bytes + 2);
  talk.network.cut_connection(talk.connections[1]);
  EXPECT_EQ(talk.asked(1), "silent");
  EXPECT_EQ(talk.asked(0), "answered");
  EXPECT_EQ(talk.asked(2), "answered");
  talk.network.heal();
  EXPECT_TRUE(eventually([&] { return talk.asked(1) == "answered"; }));
}

TEST_F(CutConnectionTest, OneWayTheOtherWayStillArrives) {
  Talk talk;
  ASSERT_EQ(talk.connections.size(), 3u);
  talk.network.cut_to_host(talk.connections[2]);
  EXPECT_EQ(talk.asked(2), "silent");
  EXPECT_EQ(talk.server->line(), "got") << "what the host sends";
  talk.network.heal();
  EXPECT_TRUE(eventually([&] { return talk.asked(2) == "answered"; }));
  talk.network.cut_from_host(talk.connections[0]);
  EXPECT_EQ(talk.asked(0), "silent");
  EXPECT_EQ(talk.asked(1), "answered");
}

}  // namespace
}  // namespace liminal::test
