// What simulated nodes do with ties: processes that link and unlink, monitor and demonitor, while
// the other end dies.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "node/scheduler/process.hpp"
#include "tests/sim/workload.hpp"

namespace liminal::sim {

/// Counted while it lives, so that one that outlives its conversation is noticed.
class Instance : public Process {
 public:
  explicit Instance(std::shared_ptr<int> live) : live_(std::move(live)) { ++*live_; }
  ~Instance() override { --*live_; }

 private:
  std::shared_ptr<int> live_;
};

/// A service whose instances die by themselves within 400 ms; their exit reason says when.
inline const ServiceName kMortal{"mortal"};
std::unique_ptr<Process> make_mortal(const std::shared_ptr<int>& live_instances);

/// What happened to a process that ties and unties itself to a mortal.
struct TieRecord {
  ConversationId id;  // its own: what it spawned its mortal for
  std::optional<Pid> self = {}, instance = {};
  int relinks = 0, remonitors = 0;
  std::optional<ExitReason> exit_reason = {}, down_reason = {};
  bool not_spawned = false;
  bool over = false;  // the process ended by itself

  [[nodiscard]] std::string name() const;
};

/// Spawns a mortal on `node`, another one than its own, and ties itself anew to it again and again;
/// what arrives of a tie that was taken back, or a second time, is a violation.
std::unique_ptr<Process> make_tie_process(std::shared_ptr<TieRecord> record, Reporter reporter,
                                          Pid node);

}  // namespace liminal::sim
