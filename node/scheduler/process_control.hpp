// All that the scheduler knows of one process.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "node/scheduler/in_queue.hpp"
#include "node/scheduler/links.hpp"
#include "node/scheduler/mailbox.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

/// Thread affinity: `pid`, `in_queue` and `service` (set before it can run) are for every thread,
/// all else for the one that runs the process; the run queue hands it from one to the next.
struct ProcessControl {
  /// Lifetime: `bounds` outlives it.
  ProcessControl(Pid own_pid, std::unique_ptr<Process> own_handler, Random own_random,
                 const MailboxBounds& bounds)
      : pid(std::move(own_pid)),
        in_queue(bounds),
        handler(std::move(own_handler)),
        random(own_random),
        links(pid) {}

  const Pid pid;
  InQueue in_queue;
  const std::string* service = nullptr;  // whose instance it is; the scheduler's, which outlives it

  std::unique_ptr<Process> handler;
  Random random;
  bool started = false;
  bool traps_exits = false;

  Mailbox mailbox;
  std::vector<Arrival> batch;  // empty between calls; keeps its memory

  Links links;

  // What follows is kept until the message it leads to is handed out, so that what the process
  // takes back meanwhile is no longer wanted and is dropped at that point.
  struct Monitored {
    Pid process;
    bool down_waits = false;  // Down is in the mailbox
  };
  std::map<MonitorId, Monitored> monitors;
  struct Spawning {
    Pid node;
    bool answered = false;             // Spawned is in the mailbox
    std::optional<Pid> instance = {};  // what it says, unless it is an error
  };
  std::map<SpawnId, Spawning> spawns;
  std::map<TimerId, TimePoint> timers;

  std::set<std::pair<Pid, MonitorId>> watchers;

  std::set<Pid> deferred_by;  // mailboxes that wait for something to come again
  /// By other nodes, which may make refusals up: envelopes sent there, less those that were
  /// refused. Of at most 1024 incarnations apart.
  std::map<Incarnation, std::uint64_t> may_be_refused;

  std::uint64_t monitors_made = 0;
  std::uint64_t spawns_made = 0;
};

/// Shared, because a sender that found it in the table puts a signal into it while the thread that
/// runs it may be ending it.
using ProcessPtr = std::shared_ptr<ProcessControl>;

}  // namespace liminal
