// Hosts on which nodes run, and what happens to them and to their broker: by name, alone and
// several at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/fault_point.hpp"
#include "common/base/random.hpp"
#include "tests/sim/workload.hpp"
#include "tests/sim/world.hpp"

namespace liminal::sim {

/// By kind.
using Faults = std::map<std::string_view, std::uint64_t>;

/// Strikes hosts with faults, ends each again, and knows which deaths they excuse.
///
/// Draws everything from `random`, which is its caller's, so that a failure replays.
class Nemesis {
 public:
  struct Kind {
    std::string_view name;
    /// Says whether it took place: what is armed only counts when it does.
    bool (Nemesis::*strike)(std::size_t host);
    unsigned weight;  // of a draw among all
    std::string_view what;
  };
  /// All there are, in the order of their names.
  [[nodiscard]] static std::span<const Kind> kinds();
  [[nodiscard]] static const Kind* kind_named(std::string_view name);

  struct Settings {
    std::size_t hosts;
    ClusterSettings cluster;              // the world's
    std::vector<std::string_view> kinds;  // to draw from; empty: all
    /// Starts a node for a host, and returns its index.
    std::function<std::size_t(std::size_t host)> start;
  };
  /// One node for each host runs when this returns.
  Nemesis(World& world, Random& random, Settings settings);

  /// One fault, or now and then two to four at once, now; their ends follow by themselves.
  void strike();
  /// Ends all that lasts, and starts what is dead; no fault begins from then on.
  void heal();

  /// Starts what was refused or left since; call now and then.
  void tend();

  [[nodiscard]] World::Node& on(std::size_t host) { return world_.node(hosts_[host]); }
  /// The index of the node that runs there now, or did last.
  [[nodiscard]] std::size_t index_on(std::size_t host) const { return hosts_[host]; }
  [[nodiscard]] const std::vector<std::size_t>& indexes() const { return hosts_; }
  /// A host whose node runs, if there is any.
  [[nodiscard]] std::size_t some_host();
  /// Whether what happened to that incarnation's node explains that it was declared dead.
  [[nodiscard]] bool excuses(const World::Death& death) const;
  /// Of those who were killed while nothing else was wrong that could delay it: whether each was
  /// declared dead within the grace. Returns how many there were.
  std::uint64_t judge_detection(Violations& violations) const;
  /// At the end: of two under one name at most one is left.
  void judge_names(Violations& violations) const;
  [[nodiscard]] const Faults& faults() const { return faults_; }
  [[nodiscard]] std::uint64_t count(std::string_view kind) const;
  /// When each of them struck, and those that came to nothing; in order.
  [[nodiscard]] const std::vector<TimePoint>& strikes() const { return strikes_; }
  /// How often something died at each fault point.
  [[nodiscard]] const World::FaultPointCounts& points_hit() const { return points_hit_; }
  /// At random, shorter than `bound`.
  [[nodiscard]] Duration below(Duration bound);

 private:
  friend struct NemesisKinds;

  /// For that long it could not do what keeps it alive. Silent: not even its beats came through.
  struct Impairment {
    TimePoint from, until;
    bool silent;
  };
  struct Killed {
    Incarnation incarnation;
    NodeName name;
    TimePoint when;
  };
  /// What several faults may do to a node at once: it lasts as long as any of them.
  enum class Hold : std::uint8_t { kPaused, kHung, kPlugged, kStalled, kBlockedFrom, kBlockedTo };
  struct Armed {
    std::string_view kind;
    FaultPoint point;
    std::uint64_t times_left;
    World::Fate fate;
  };

  void start(std::size_t host);
  void restart(std::size_t host);
  void restart_soon(std::size_t host, Duration within);
  void died(std::size_t index);
  void took_place(std::string_view kind);
  void hold(std::size_t index, Hold what);
  void release(std::size_t index, Hold what, Duration late = Duration::zero());
  void hold_for(std::size_t index, Hold what, Duration length);
  void lose_for(std::size_t index, unsigned percent, Duration length);
  void start_broker_within(Duration within);
  void impair(std::size_t index, Duration length, bool silent = true);
  void until_healed(Duration length, std::function<void()> end);
  World::Fate fate_at(FaultPoint point, std::optional<std::size_t> node);
  [[nodiscard]] std::size_t hostile_node();
  [[nodiscard]] Duration impaired(std::size_t index, TimePoint from, TimePoint until,
                                  bool silent) const;
  /// Whether another process ran under its name at that time.
  [[nodiscard]] bool shares_its_name(std::size_t index, TimePoint when) const;

  // --- kinds ---
  bool kill(std::size_t host);
  bool kill_joining(std::size_t host);
  bool kill_torn(std::size_t host);
  bool kill_fan_out(std::size_t host);
  bool kill_at_point(std::size_t host);
  bool vanish(std::size_t host);
  bool late_frames(std::size_t host);
  void send_and_die(std::size_t host, std::size_t to, int tries);
  bool leave(std::size_t host);
  bool pause(std::size_t host, Duration length);
  bool pause_100ms(std::size_t host);
  bool pause_1s(std::size_t host);
  bool pause_under(std::size_t host);
  bool pause_over(std::size_t host);
  bool pause_60s(std::size_t host);
  bool hang(std::size_t host);
  bool starve(std::size_t host);
  bool cut_for(std::size_t host, bool from, bool to, Duration length, Duration late);
  bool cut(std::size_t host);
  bool cut_from(std::size_t host);
  bool cut_to(std::size_t host);
  bool flap(std::size_t host);
  bool loss(std::size_t host);
  bool heavy_loss(std::size_t host);
  bool jitter(std::size_t host);
  bool reset_control(std::size_t host);
  bool reset_data(std::size_t host);
  bool reset_both(std::size_t host);
  bool slow_consumer(std::size_t host);
  bool plug(std::size_t host);
  bool spoil(std::size_t host);
  bool malformed(std::size_t host);
  bool hostile(std::size_t host);
  void forge_frame(std::size_t from);
  void forge_signals(std::size_t from);
  void forge_control(std::size_t from);
  bool two_names(std::size_t host);
  bool broker_flood(std::size_t host);
  bool broker_kill(std::size_t host);
  bool broker_kills(std::size_t host);
  bool broker_torn(std::size_t host);
  bool broker_pause(std::size_t host);
  bool broker_starve(std::size_t host);
  void pause_broker_for(Duration length, bool loop_alone);

  World& world_;
  Random& random_;
  Settings settings_;
  std::vector<std::size_t> hosts_;
  std::map<std::size_t, std::size_t> seconds_;        // of two under one name: the host, by node
  std::vector<std::vector<Impairment>> impairments_;  // by node
  std::vector<std::optional<TimePoint>> gone_;        // by node: killed
  std::optional<std::size_t> hostile_;
  std::vector<Armed> armed_;
  std::map<std::pair<std::size_t, Hold>, int> holders_;    // by node
  std::map<std::size_t, std::multiset<unsigned>> losing_;  // percent, by node
  int jitters_ = 0;
  std::uint64_t paused_broker_ = 0;
  int broker_pauses_ = 0;  // of that one
  World::FaultPointCounts points_hit_{};
  std::map<std::uint64_t, std::function<void()>> lasting_;  // what ends each fault
  std::uint64_t next_lasting_ = 0;
  bool healed_ = false;
  Faults faults_;
  std::vector<Killed> killed_;  // while they were joined
  std::vector<TimePoint> strikes_;
  std::vector<TimePoint> disturbances_;  // strikes that may delay a verdict on a closing
};

/// At the end of a run, when there was time to heal: every node is joined and knows the others, and
/// nothing is left of conversations: no process, timer, tie, or session with the dead.
void nothing_is_left(World& world, Nemesis& nemesis, Violations& violations);

}  // namespace liminal::sim
