// Whatever processes do to each other, on one node or on two: the promises of contracts 1 to 4.
// On failure the seed is printed; run it again with that seed as the only one.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "tests/unit/node/scheduler/troupe.hpp"

namespace liminal {
namespace {

constexpr std::size_t kProcesses = 7;
constexpr int kRounds = 14;
constexpr int kActionsPerRound = 10;

/// Plays one random story and checks what must hold of it.
class Story {
 public:
  Story(std::uint64_t seed, std::size_t nodes)
      : random_(seed), nodes_(nodes), troupe_(nodes, 1 + random_.below(4), seed) {}

  void play() {
    const std::size_t witness = troupe_.spawn(0);
    for (std::size_t i = 1; i <= kProcesses; ++i) {
      traps_.push_back(random_.below(2) == 0);
      troupe_.spawn(random_.below(2) % nodes_, traps_.back());
    }
    troupe_.run();
    for (std::size_t who = 1; who <= kProcesses; ++who) {
      troupe_.act(witness,
                  [&](Context& c) { static_cast<void>(c.monitor(troupe_.pid(witness, who))); });
    }
    for (round_ = 0; round_ < kRounds; ++round_) {
      for (int i = 0; i < kActionsPerRound; ++i) {
        post_something();
        stir();
      }
      troupe_.run();
    }
    read_deaths(witness);
    check_order();
    check_monitors();
    check_links();
    std::size_t processes = 0;
    for (std::size_t node = 0; node < nodes_; ++node) {
      processes += troupe_.node(node).counts().processes;
    }
    EXPECT_EQ(processes, 1 + kProcesses - reason_of_.size());
  }

 private:
  struct Monitor {
    std::size_t watched;
    bool demonitored = false;
    std::size_t downs_then = 0;  // seen when it was taken back
  };
  using Pair = std::pair<std::size_t, std::size_t>;

  std::size_t anybody() { return 1 + random_.below(kProcesses); }

  void post_something() {
    const std::size_t who = anybody();
    const std::size_t other = anybody();
    const std::uint64_t dice = random_.below(100);
    troupe_.post(who, [this, who, other, dice](Context& c) {
      const Pid pid = troupe_.pid(who, other);
      if (dice < 25) {
        c.link(pid);
        last_link_[{who, other}] = round_;
        ++links_made_[{who, other}];
        last_call_was_link_[{who, other}] = true;
      } else if (dice < 40) {
        c.unlink(pid);
        last_unlink_[{who, other}] = round_;
        last_call_was_link_[{who, other}] = false;
        notes_at_unlink_[{who, other}] = troupe_.seen(who).size();
      } else if (dice < 55) {
        const MonitorId made = c.monitor(pid);
        monitors_[who].emplace(made.value(), Monitor{other});
      } else if (dice < 63) {
        if (monitors_[who].empty()) return;
        const std::uint64_t id = 1 + c.random().below(monitors_[who].size());
        Monitor& monitor = monitors_[who].at(id);
        c.demonitor(MonitorId{id});
        if (!monitor.demonitored) monitor.downs_then = downs(who, id);
        monitor.demonitored = true;
      } else if (dice < 90) {
        const auto number = ++sent_[{who, other}];
        c.send(pid, test::envelope(c, std::to_string(number)));
      } else if (dice < 94) {
        c.exit(pid, ExitReason::error("sent-" + std::to_string(++exits_sent_)));
      } else if (dice < 96) {
        c.exit(pid, ExitReason::kill());
      } else if (dice < 98) {
        c.exit(ExitReason::error("own-" + std::to_string(who)));
      } else {
        c.exit(ExitReason::normal());
      }
    });
  }

  // Lets some things move before others.
  void stir() {
    if (random_.below(3) == 0) troupe_.run_node(random_.below(nodes_));
    if (nodes_ < 2) return;
    const std::size_t from = random_.below(2);
    for (std::uint64_t n = random_.below(4); n > 0; --n) troupe_.carry(from, 1 - from);
  }

  void read_deaths(std::size_t witness) {
    for (const std::string& note : troupe_.seen(witness)) {
      std::istringstream in(note);
      std::string down, reason;
      std::size_t id = 0;
      std::size_t who = 0;
      in >> down >> id >> who;
      std::getline(in >> std::ws, reason);
      EXPECT_TRUE(reason_of_.emplace(who, reason).second) << "two Downs of " << who;
    }
    for (std::size_t who = 1; who <= kProcesses; ++who) {
      EXPECT_EQ(troupe_.alive(who), !reason_of_.contains(who)) << who;
    }
  }

  void check_order() {
    for (std::size_t who = 1; who <= kProcesses; ++who) {
      std::map<std::string, std::uint64_t> last;
      for (const std::string& note : troupe_.seen(who)) {
        std::istringstream in(note);
        std::string got, from;
        std::uint64_t number = 0;
        in >> got >> from >> number;
        if (got != "got") continue;
        EXPECT_EQ(number, ++last[from]) << "from " << from << " to " << who;
      }
      if (!troupe_.alive(who)) continue;
      for (std::size_t from = 1; from <= kProcesses; ++from) {
        EXPECT_EQ(last[std::to_string(from)], (sent_[{from, who}])) << from << " to " << who;
      }
    }
  }

  void check_monitors() {
    for (const auto& [who, monitors] : monitors_) {
      for (const auto& [id, monitor] : monitors) {
        const std::size_t seen = downs(who, id);
        EXPECT_LE(seen, 1U);
        if (monitor.demonitored) {
          EXPECT_EQ(seen, monitor.downs_then) << "a Down after demonitor";
        } else if (troupe_.alive(who)) {
          EXPECT_EQ(seen, reason_of_.contains(monitor.watched) ? 1U : 0U)
              << who << " watched " << monitor.watched;
        }
      }
    }
  }

  void check_links() {
    for (std::size_t who = 1; who <= kProcesses; ++who) {
      for (std::size_t peer = 1; peer <= kProcesses; ++peer) {
        if (who != peer) check_link(who, peer);
      }
    }
  }

  void check_link(std::size_t who, std::size_t peer) {
    SCOPED_TRACE(::testing::Message() << who << " and its peer " << peer);
    const Pair there{who, peer};
    const Pair back{peer, who};
    // The peer ends once, and each link made after that is answered once.
    const std::string begin = "exited " + std::to_string(peer) + " ";
    const std::string end = reason_of_.contains(peer) ? reason_of_[peer] : "";
    EXPECT_LE(count(who, begin + "noproc"), links_made_[there] + (end == "noproc" ? 1 : 0));
    if (end != "noproc") {
      EXPECT_LE(count(who, begin + end), 1U);
    }

    // What crossed is another activation: only pairs where nothing can have crossed are judged.
    const bool was_unlinked = last_call_was_link_.contains(there) && !last_call_was_link_[there];
    if (was_unlinked && (!last_link_.contains(back) || last_link_[back] < last_unlink_[there])) {
      EXPECT_EQ(exits_by_link(who, peer, notes_at_unlink_[there]), 0U) << "an exit after unlink";
    }
    const bool is_linked = last_call_was_link_.contains(there) && last_call_was_link_[there] &&
                           (!last_unlink_.contains(back) || last_unlink_[back] < last_link_[there]);
    if (!is_linked || !reason_of_.contains(peer) || reason_of_[peer] == "normal") return;
    if (traps_[who - 1]) {
      if (!troupe_.alive(who)) return;
      EXPECT_GE(exits_by_link(who, peer, 0), 1U) << "an exit was lost";
    } else {
      EXPECT_FALSE(troupe_.alive(who)) << "survived " << reason_of_[peer];
    }
  }

  std::size_t count(std::size_t who, const std::string& note) const {
    std::size_t n = 0;
    for (const std::string& seen : troupe_.seen(who)) n += seen == note ? 1 : 0;
    return n;
  }
  std::size_t downs(std::size_t who, std::uint64_t id) const {
    std::size_t n = 0;
    const std::string begin = "down " + std::to_string(id) + " ";
    for (const std::string& seen : troupe_.seen(who)) n += seen.starts_with(begin) ? 1 : 0;
    return n;
  }
  // Exits from the peer that a link carried: those sent by exit(pid, reason) are known by their
  // text, unless the peer itself died of one that was sent to it.
  std::size_t exits_by_link(std::size_t who, std::size_t peer, std::size_t first_note) const {
    std::size_t n = 0;
    const std::string begin = "exited " + std::to_string(peer) + " ";
    for (std::size_t i = first_note; i < troupe_.seen(who).size(); ++i) {
      const std::string& seen = troupe_.seen(who)[i];
      if (!seen.starts_with(begin)) continue;
      const std::string reason = seen.substr(begin.size());
      const bool sent = reason.starts_with("error sent-");
      const auto death = reason_of_.find(peer);
      if (!sent || (death != reason_of_.end() && death->second == reason)) ++n;
    }
    return n;
  }

  Random random_;
  std::size_t nodes_;
  test::Troupe troupe_;
  std::vector<bool> traps_;
  int round_ = 0;
  int exits_sent_ = 0;
  std::map<std::size_t, std::string> reason_of_;
  std::map<std::size_t, std::map<std::uint64_t, Monitor>> monitors_;
  std::map<Pair, std::uint64_t> sent_;
  std::map<Pair, std::size_t> links_made_;
  std::map<Pair, int> last_link_, last_unlink_;
  std::map<Pair, bool> last_call_was_link_;
  std::map<Pair, std::size_t> notes_at_unlink_;
};

void play(std::uint64_t seed, std::size_t nodes) {
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  Story(seed, nodes).play();
}

TEST(SignalsPropertyTest, HoldOnOneNodeInAnyStory) {
  for (std::uint64_t seed = 0; seed < 150 && !::testing::Test::HasFailure(); ++seed) play(seed, 1);
}

TEST(SignalsPropertyTest, HoldBetweenTwoNodesInAnyStory) {
  for (std::uint64_t seed = 0; seed < 150 && !::testing::Test::HasFailure(); ++seed) play(seed, 2);
}

}  // namespace
}  // namespace liminal
