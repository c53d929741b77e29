// What a process is to the one who writes it: a handler of messages with a context to act through.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "common/base/ids.hpp"
#include "common/base/random.hpp"
#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/wire/signal.hpp"
#include "node/dead_letters/dead_letter.hpp"

namespace liminal {

/// A message between processes of one node that is a C++ object and never leaves it.
class LocalMessage {
 public:
  virtual ~LocalMessage() = default;
};
using LocalMessagePtr = std::unique_ptr<LocalMessage>;

namespace message {

/// An envelope from a process anywhere.
struct Received {
  Pid from;
  Envelope envelope;
};
/// Somebody linked ended, or exit(pid, reason) was called: only for processes that trap exits.
struct Exited {
  Pid from;
  ExitReason reason;
};
/// A monitored process ended.
struct Down {
  MonitorId monitor;
  Pid process;
  ExitReason reason;
};
struct TimerFired {
  TimerId timer;
};
/// An envelope that this process sent was not taken. Deferred: it may be sent again, and until it
/// was, or was withdrawn, nothing later of this process is taken there. Rejected: it never will be.
struct Refused {
  Pid by;  // who was to get it
  MessageId message;
  signal::RefusalKind kind;
  std::string text;                  // why, if rejected
  std::optional<Envelope> returned;  // set unless it had left this node
};
/// The answer to spawn_service(): the instance, already linked, or why there is none.
struct Spawned {
  SpawnId spawn;
  Result<Pid> instance;
  bool compensates = false;  // whether the instance can undo requests
};
/// Whoever sent the envelope `message` does not want it any more: cancel(). Where this process had
/// not been handed it, it is here, and never will be; otherwise it was handed out before, or never
/// came.
struct Cancelled {
  Pid from;
  MessageId message;
  std::optional<Envelope> taken;
};

}  // namespace message

using Message =
    std::variant<message::Received, message::Exited, message::Down, message::TimerFired,
                 message::Spawned, message::Refused, message::Cancelled, LocalMessagePtr>;

class Process;

/// Everything that a handler may reach: itself, time, randomness, others.
///
/// Valid during the call it was given to, on the thread that makes the call. All functions return
/// at once. Signals to one process arrive in the order sent. Signals to a pid that is gone are
/// answered as DESIGN.md's contract 2 says.
class Context {
 public:
  virtual ~Context() = default;

  [[nodiscard]] virtual const Pid& self() const = 0;
  /// When this message was handed out: a node that was stopped and goes on knows it here.
  [[nodiscard]] virtual TimePoint now() const = 0;
  /// This process's own generator, seeded by the scheduler.
  [[nodiscard]] virtual Random& random() = 0;
  /// Fresh, unique in the world.
  [[nodiscard]] virtual MessageId new_message_id() = 0;

  /// Mailboxes are bounded: message::Refused says that it was not taken.
  virtual void send(const Pid& to, Envelope envelope) = 0;
  /// What was deferred will not be sent again; without it `to` waits for it, and takes nothing
  /// later. The end of a process withdraws all.
  virtual void withdraw(const Pid& to, const MessageId& message) = 0;
  /// Asks `to` not to go on with the envelope `message`, which this process sent it before:
  /// message::Cancelled tells it so, behind everything sent before and ahead of the envelopes that
  /// wait in its mailbox while it takes none. Nothing answers this by itself.
  virtual void cancel(const Pid& to, const MessageId& message) = 0;
  /// While off, envelopes stay in the mailbox and fill it; everything else is handed out, and
  /// overtakes them. On at first.
  virtual void take_envelopes(bool on) = 0;
  /// Notes down an envelope that this process gave up.
  virtual void dead_letter(DeadLetterCause cause, const Pid& from, const Pid& to,
                           const Envelope& envelope) = 0;
  /// Dropped, and counted, if `to` is gone. REQUIRES: `to` is local.
  virtual void send_local(const Pid& to, LocalMessagePtr message) = 0;

  /// With trapping on, exit signals arrive as message::Exited; only kill still kills.
  virtual void trap_exits(bool on) = 0;
  virtual void link(const Pid& to) = 0;
  /// After it returns nothing of the link arrives.
  virtual void unlink(const Pid& to) = 0;
  [[nodiscard]] virtual MonitorId monitor(const Pid& to) = 0;
  /// After it returns nothing of the monitor arrives.
  virtual void demonitor(MonitorId monitor) = 0;

  /// Ends this process with `reason` when the handler returns; the last call counts.
  virtual void exit(ExitReason reason) = 0;
  /// Sends an exit signal: Erlang's exit(Pid, Reason).
  virtual void exit(const Pid& to, ExitReason reason) = 0;

  virtual Pid spawn(std::unique_ptr<Process> process) = 0;
  virtual Pid spawn_link(std::unique_ptr<Process> process) = 0;

  /// Asks `node` (a Pid with serial 0; a local one for this node) for an instance of `service`,
  /// linked to this process from its first moment. message::Spawned answers: with the pid; with an
  /// error (kNoService, or what the factory said); or with kPeerUnreachable when the node is down.
  [[nodiscard]] virtual SpawnId spawn_service(const Pid& node, const ServiceName& service,
                                              const ConversationId& conversation) = 0;
  /// No longer wanted: nothing of it arrives, and an instance that was made ends with shutdown.
  virtual void abandon_spawn(SpawnId spawn) = 0;

  [[nodiscard]] virtual TimerId start_timer(Duration after) = 0;
  /// After it returns the timer does not fire. Unknown and fired timers are fine.
  virtual void cancel_timer(TimerId timer) = 0;

  /// Runs `work` on the pool for blocking work; what it returns arrives as a LocalMessage, where it
  /// is not null. If it throws, this process exits with error(what), as if its handler had thrown.
  /// A process that ends meanwhile does not stop the work; its result is dropped.
  virtual void run_blocking(std::function<LocalMessagePtr()> work) = 0;
};

/// A handler. An exception that leaves it is the process's exit with error(what).
///
/// Thread affinity: called by one thread at a time, with a happens-before from call to call.
/// Ownership: the scheduler owns it from spawn to its exit, and destroys it then, before anybody
/// learns of the exit.
class Process {
 public:
  virtual ~Process() = default;
  /// The first turn, before any message and any signal: what traps exits from here on misses none.
  virtual void on_start(Context&) {}
  virtual void handle(Context& context, Message message) = 0;
};

}  // namespace liminal
