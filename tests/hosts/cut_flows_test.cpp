// One TCP connection of a node dies in silence while its other one goes on, as a NAT or one path of
// several may do it: the node notices, opens another, and nobody is declared dead.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/hosts/host_cluster.hpp"
#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

constexpr double kDownAfterMs = 1000;
constexpr double kBeatMs = 100;
// So long before a cut may silence begin. It counts from the last echo, which is up to a beat older
// than the node's last word, that is up to a beat old, and the broker may send a beat late.
constexpr double kEarlyMs = 3 * kBeatMs;
const HostCluster::Words kQuick{"--down-after",    "1s",   "--suspect-after", "500ms",
                                "--beat-interval", "100ms"};

class CutFlowsTest : public HostsTest {
 protected:
  /// Node b, whose two connections are told apart by what they carry, and a conversation with it.
  struct Scene {
    HostCluster cluster{{"b"}, kQuick};
    std::string incarnation;
    HostNetwork::Connection control;
    HostNetwork::Connection data;
    std::unique_ptr<Process> waiting;
    std::unique_ptr<EchoTalk> talk;
    SteadyClock::time_point talked;  // data were heard then, or later

    Scene() {
      cluster.add_node("b", {"echo=echo", "slow=exec:sleep 600"});
      incarnation = cluster.told_of("b", "incarnation");
    }

    void begin() {
      const std::string much(500'000, 'x');
      if (!printed(cluster.run({"ask", "echo"}, much), much)) throw std::runtime_error{"no echo"};
      waiting = cluster.ask_slow("b");
      talk = std::make_unique<EchoTalk>(cluster);
      talked = SteadyClock::now();
      talk->say(100);
      talk->read_all();
      auto all = cluster.network().connections("b");
      if (all.size() != 2) throw std::runtime_error{"a node has two connections"};
      if (all[0].bytes > all[1].bytes) std::swap(all[0], all[1]);
      if (all[1].bytes < 5 * all[0].bytes) throw std::runtime_error{"which of them is data?"};
      control = all[0];
      data = all[1];
    }

    /// Whether that connection has gone, and as many stand.
    [[nodiscard]] bool is_replaced(const HostNetwork::Connection& connection) {
      const auto now = cluster.network().connections("b");
      return now.size() == 2 && std::none_of(now.begin(), now.end(), [&](const auto& each) {
               return each.port == connection.port;
             });
    }
    [[nodiscard]] bool nobody_lost() {
      const bool lost = cluster.told_of("b", "incarnation") != incarnation ||
                        !cluster.eventually_is("b", "joined") || (waiting && !waiting->running()) ||
                        times_said(cluster.node("b"), "fenced") != 0 ||
                        times_said(cluster.broker(), " is down") != 0;
      if (lost) print_logs();
      return !lost;
    }
    void print_logs() {
      std::printf("node b: %s\nbroker: %s\n", cluster.node("b").log().c_str(),
                  cluster.broker().log().c_str());
    }
  };

  /// What is under way is answered over another data connection, by when decision 027 says so: half
  /// of down-after after it was last heard the broker is asked, down-after later it is given up.
  /// Requests may have been heard until a beat ago; opening takes some milliseconds.
  template <class Cut>
  void expect_data_replaced_after(const Cut& cut) {
    EXPECT_TRUE(best_of_three([&] {
      Scene scene;
      bool soon = false;  // and no sooner
      const auto nobody_lost = [&] { return scene.nobody_lost(); };
      const auto talk = [&] {
        scene.begin();
        cut(scene);
        const auto after = SteadyClock::now();
        scene.talk->say(100);
        scene.talk->read_all();
        const auto answered = SteadyClock::now();
        std::printf("answered %.0f ms after the cut\n", ms_between(after, answered));
        soon = ms_between(scene.talked, answered) >= 1.5 * kDownAfterMs &&
               ms_between(after, answered) <= (1.5 * kDownAfterMs + 4 * kBeatMs) * kSlack;
        scene.talk->say(1'000);  // new ones, at once
        scene.talk->finish();
      };
      if (!nobody_is_lost_by(talk, nobody_lost)) return false;
      EXPECT_TRUE(eventually([&] { return scene.is_replaced(scene.data); }));
      const Process& broker = scene.cluster.broker();
      const bool alone =
          times_said(scene.cluster.node("b"), "on a connection that stands: given up") == 1 &&
          times_said(broker, " is suspect") == 0 &&
          times_said(broker, "control connection closed") == 0;
      if (!alone) scene.print_logs();
      return soon && alone;
    }));
  }
};

TEST_F(CutFlowsTest, OfDataAloneIsNoticedAndWhatIsUnderWayIsAnsweredOverAnother) {
  expect_data_replaced_after(
      [](Scene& scene) { scene.cluster.network().cut_connection(scene.data); });
}

// Requests arrive, and their replies do not: what is heard meanwhile only puts the question off.
TEST_F(CutFlowsTest, OfDataFromTheNodeAloneIsNoticedAsSoon) {
  expect_data_replaced_after(
      [](Scene& scene) { scene.cluster.network().cut_from_host(scene.data); });
}

// Nothing waits for it, nobody would notice; the node asks all the same, for its peers' sake.
TEST_F(CutFlowsTest, OfDataWhileNothingIsSaidIsNoticedToo) {
  EXPECT_TRUE(best_of_three([] {
    Scene scene;
    bool soon = false;
    const auto wait = [&] {
      scene.begin();
      scene.talk->finish();
      const auto before = SteadyClock::now();
      scene.cluster.network().cut_connection(scene.data);
      EXPECT_TRUE(eventually([&] { return scene.is_replaced(scene.data); }))
          << scene.cluster.node("b").log();
      const double took = ms_between(before, SteadyClock::now());
      std::printf("replaced %.0f ms after the cut\n", took);
      // It was last heard up to half of down-after before, when it was asked; then it is asked
      // again.
      soon = took <= (2 * kDownAfterMs + 4 * kBeatMs) * kSlack;
      EXPECT_TRUE(printed(scene.cluster.run({"ask", "echo", "x"}), "x"));
    };
    return nobody_is_lost_by(wait, [&] { return scene.nobody_lost(); }) && soon;
  }));
}

// A node whose control connection is half open is silent to itself or to the broker, whichever way
// is cut, and it is declared dead after the bound: data prove nothing. A cut that ends in time, or
// another connection in time, is no death.
class HalfOpenTest : public CutFlowsTest {
 protected:
  /// Control is cut in one way for so long; data is not. Requests may have to wait for the lease.
  template <class Cut>
  void expect_forgiven(Milliseconds lasts, const Cut& cut) {
    EXPECT_TRUE(best_of_three([&] {
      Scene scene;
      const auto talk = [&] {
        scene.begin();
        cut(scene);
        scene.talk->say(50);
        keep_it_so(lasts);
        scene.cluster.network().heal();
        scene.talk->say(50);
        scene.talk->finish();
      };
      return nobody_is_lost_by(talk, [&] { return scene.nobody_lost(); });
    }));
  }
  template <class Cut>
  void expect_dead_and_back(const Cut& cut) {
    EXPECT_TRUE(best_of_three([&] {
      Scene scene;
      if (!nobody_is_lost_by([&] { scene.begin(); }, [&] { return scene.nobody_lost(); })) {
        return false;
      }
      const auto before = SteadyClock::now();
      cut(scene);
      const auto after = SteadyClock::now();
      const auto ended = scene.waiting->finish();
      EXPECT_EQ(ended.code, 6) << ended.err;
      EXPECT_NE(ended.out.find("\"source\":\"heartbeats missed\""), std::string::npos) << ended.out;
      EXPECT_GE(number_after(ended.out, "detection_ms"), kDownAfterMs);
      // The cut stays. Another connection is another flow, on which it comes back as another one.
      EXPECT_TRUE(eventually([&] {
        const std::string now = scene.cluster.told_of("b", "incarnation");
        return !now.empty() && now != scene.incarnation &&
               scene.cluster.told_of("b", "state") == "joined";
      })) << scene.cluster.node("b").log();
      EXPECT_TRUE(printed(scene.cluster.run({"ask", "echo", "x"}), "x"));
      EXPECT_TRUE(scene.is_replaced(scene.control));
      std::printf("known %.0f ms after the cut\n", ms_between(after, ended.at));
      const bool once = times_said(scene.cluster.broker(), " is down: ") == 1;
      if (!once) scene.print_logs();
      return once && ms_between(before, ended.at) >= kDownAfterMs - kEarlyMs &&
             ms_between(after, ended.at) <= kDownAfterMs * (1 + 0.1 * kSlack);
    }));
  }
};

TEST_F(HalfOpenTest, TowardTheNodeIsADeathAfterTheBoundAndItComesBackOnAnotherConnection) {
  expect_dead_and_back([](Scene& scene) { scene.cluster.network().cut_to_host(scene.control); });
}

TEST_F(HalfOpenTest, TowardTheBrokerIsADeathAfterTheBoundAndItComesBackOnAnotherConnection) {
  expect_dead_and_back([](Scene& scene) { scene.cluster.network().cut_from_host(scene.control); });
}

TEST_F(HalfOpenTest, TowardTheNodeForFourTenthsOfTheBoundKillsNobody) {
  expect_forgiven(400ms, [](Scene& scene) { scene.cluster.network().cut_to_host(scene.control); });
}

TEST_F(HalfOpenTest, TowardTheBrokerForFourTenthsOfTheBoundKillsNobody) {
  expect_forgiven(400ms,
                  [](Scene& scene) { scene.cluster.network().cut_from_host(scene.control); });
}

}  // namespace
}  // namespace liminal::test
