// Runs light processes: mailboxes, run queue, timers, links, monitors, exit propagation.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "node/dead_letters/dead_letters.hpp"
#include "node/scheduler/mailbox_room.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

/// The processes of one node. It has two drivers that share all of its code: Workers
/// (node/scheduler/workers.hpp) run it on threads; run_until_idle() runs it step by step in the
/// calling thread, on whatever time it is told, in an order that depends on nothing else.
///
/// Signals obey DESIGN.md's contracts 1 to 6, on one node and between nodes alike: what is meant
/// for another node leaves through `forward`, what comes from one enters through deliver().
///
/// Thread-safety: all functions may be called from any thread, except where a driver says more.
/// Lifetime: drivers are stopped before it is destroyed; what it still holds is then destroyed
/// without exit signals.
class Scheduler {
 public:
  struct Settings {
    NodeName node;
    std::uint64_t seed;                  // of message ids and of every process's generator
    std::size_t turn_messages_max = 64;  // then the process goes to the end of the run queue
    MailboxBounds mailbox = {};          // of each process; beyond it envelopes are refused
    /// Links and monitors, either way, of one process; one more is answered as if the other had
    /// ended with an error that says so. What is linked from its first moment is not refused.
    std::size_t links_max = 100'000;
    std::size_t dead_letters_max = 1024;  // that are kept
  };

  /// Takes each signal whose destination is not local, in the order in which each process sent
  /// them; called on the thread that runs the sending process, or, for what is said on behalf of
  /// one that does not run yet or any more, on any thread. Returns at once; may call deliver().
  using Forward = std::function<void(Signal)>;

  /// An instance of a service: its process, and whether it can undo requests.
  struct Instance {
    std::unique_ptr<Process> process;
    bool compensates = false;

    Instance() = default;
    /// Implicit: most make a process, of which there is no more to say.
    template <std::derived_from<Process> Made>
    Instance(std::unique_ptr<Made> made, bool can_undo = false)
        : process(std::move(made)), compensates(can_undo) {}
  };

  /// Makes an instance of a service. Errors: kNoService, or a typed reason; one
  /// that throws is kInternal. Called by any thread, several at a time, and returns at once.
  using ServiceFactory = std::function<Result<Instance>(const signal::SpawnRequest&)>;

  Scheduler(Settings settings, Forward forward);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// REQUIRES: called before any driver runs. Without one every spawn_service() here is kNoService.
  void set_service_factory(ServiceFactory factory);

  /// Spawns from outside, linked to nobody.
  Pid spawn(std::unique_ptr<Process> process);

  /// A signal from another node. One to a pid that is gone is answered through `forward` (noproc).
  /// REQUIRES: `to` is local, `from` is not.
  void deliver(Signal signal);

  /// False if `to` is gone: the message is dropped. REQUIRES: `to` is local.
  bool send_local(const Pid& to, LocalMessagePtr message);

  /// Sends exit(pid, reason) from outside; the sender is the node itself (serial 0).
  void exit(const Pid& to, ExitReason reason);

  /// Fresh, unique in the world.
  [[nodiscard]] MessageId new_message_id();
  [[nodiscard]] ConversationId new_conversation_id();

  struct Counts {
    std::size_t processes;
    std::size_t timers;
    std::uint64_t dropped_messages;  // local ones, to processes that were gone
  };
  [[nodiscard]] Counts counts() const;

  /// Envelopes that nobody got, of all of this node.
  [[nodiscard]] DeadLetters& dead_letters();
  /// Of a process's mailbox at the moment: envelopes and their bytes; zero if it is gone.
  struct MailboxLoad {
    std::size_t messages = 0;
    std::size_t bytes = 0;
    friend bool operator==(const MailboxLoad&, const MailboxLoad&) = default;
  };
  /// REQUIRES: `process` is local.
  [[nodiscard]] MailboxLoad mailbox_load(const Pid& process) const;

  // --- for drivers ---

  /// Fires the timers due at `now` and runs processes, and blocking work in line, until nothing is
  /// runnable. REQUIRES: no Workers; one thread.
  void run_until_idle(TimePoint now);

  /// When the next timer is due; nullopt if there is none.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

 private:
  friend class Workers;
  friend class Turn;
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace liminal
