// One run by seed: a cluster, conversations of every kind, faults, healing, and the verdict.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/echo_scene.hpp"
#include "tests/sim/nemesis.hpp"
#include "tests/sim/policy_scene.hpp"
#include "tests/sim/tally.hpp"
#include "tests/sim/world.hpp"

namespace liminal::sim {

/// How many begin in a minute of a storm.
struct Density {
  int talks = 86, policy_talks = 86, pairs = 20, faults = 12, actor_kills = 20,
      participant_kills = 40, attached_kills = 15;
};

/// Everything in it follows from its settings and its seed.
class Storm {
 public:
  struct Settings {
    std::size_t hosts = 4;
    Duration length = std::chrono::seconds{30};  // of what goes wrong; healing comes on top
    Density density = {};
    std::vector<std::string_view> nemeses = {};  // names of kinds; empty: all
    bool calm = false;  // nothing fails but what requests themselves bring about
    /// For tests of what looks after a run: an event that does not return, one that follows itself
    /// at one instant for ever, a violation that is none.
    enum class Flaw : std::uint8_t { kNone, kHangs, kRepeats, kAccused } flaw = Flaw::kNone;
    /// Takes the trace; empty: none is made.
    std::function<void(TimePoint now, const std::string& line)> trace = {};
  };

  Storm(Settings settings, std::uint64_t seed);
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;

  /// Call once.
  void run();

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_->found; }
  [[nodiscard]] const Tally& tally() const { return tally_; }
  /// Of all that was carried over the network, and when: the same for the same run.
  [[nodiscard]] std::uint64_t digest() const { return world_.digest(); }

 private:
  [[nodiscard]] World::Settings world_settings(std::uint64_t seed);
  std::size_t start(std::size_t host);
  void begin();
  void begin_flaw();
  void repeat();
  void run_for(Duration duration);
  void scatter(int per_minute, std::function<void()> action);
  void heal();
  [[nodiscard]] bool is_quiet();
  void hear(std::size_t node, TimelineRecord record);
  [[nodiscard]] bool all_conversations_ended();
  void judge();
  void judge_deaths();
  void find_what_is_left(Violations& violations);

  Settings settings_;
  std::shared_ptr<Violations> violations_ = std::make_shared<Violations>();
  std::vector<std::shared_ptr<int>> live_;                        // instances, by node
  std::vector<std::shared_ptr<ParticipantLedger>> participants_;  // by node
  World world_;
  Random random_;
  Nemesis nemesis_;
  Stage stage_;
  EchoScene echoes_;
  PolicyScene policies_;
  Tally tally_;
  bool capped_ = false;  // too many events: none runs any more
  volatile bool hangs_ = true;
};

}  // namespace liminal::sim
