// A node as a whole: what a program embeds to take part in a cluster, or to run one alone.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "node/async/async_behaviour.hpp"
#include "node/conversation/conversation_supervisor.hpp"
#include "node/node_loop.hpp"
#include "node/participant/command_runner.hpp"
#include "node/participant/service_registry.hpp"
#include "node/remote/directory.hpp"
#include "node/remote/node_core.hpp"
#include "node/scheduler/scheduler.hpp"
#include "node/scheduler/workers.hpp"
#include "node/timeline/timeline_recorder.hpp"

namespace liminal {

/// Scheduler, services, conversations and, where there is a broker, the connection to it.
///
/// It logs where spdlog's default logger writes: node_log.hpp has that be stderr, or nothing.
///
/// Life: create(), offer() what it offers, start(), use, stop() or destroy.
/// Thread-safety: conversations(), scheduler(), directory(), counts() and wait_ended() from any
/// thread; the rest from the thread that created it.
class Node {
 public:
  /// Of durations in the settings: others remember a death for twice the isolation_timeout.
  static constexpr Duration kShortestTimeout = std::chrono::milliseconds{1};
  static constexpr Duration kLongestTimeout = std::chrono::hours{24};

  struct Settings {
    NodeName name;
    std::optional<std::string> broker = {};  // endpoint; nullopt: no broker, the node runs alone
    bool light = false;                      // offers nothing, is not listed
    std::vector<std::pair<std::string, std::string>> labels = {};
    /// So long without a broker it gives its incarnation up; longer than the cluster's down-after
    /// and recovery together, or joining ends in kUsage. From kShortestTimeout to kLongestTimeout.
    Duration isolation_timeout = std::chrono::seconds{60};
    /// Everything that can grow on this node; operations.md says what happens at each.
    struct Limits {
      MailboxBounds mailbox = {};
      std::size_t outbox_bytes_max = std::size_t{64} * 1024 * 1024;
      std::size_t participants_max = 10'000;
      std::size_t conversations_max = 10'000;
      std::size_t links_max = 100'000;
      std::size_t credit_window_bytes = Session::Settings{}.credit_window_bytes;
      std::size_t reassembly_bytes_max = Session::Settings{}.reassembly_bytes_max;
      std::size_t dead_letters_max = 1024;
    };
    Limits limits = {};
    unsigned workers = 0;  // threads that run processes; 0: as many as there are processors
    /// So many more take the places of workers whose turns last turn_max; 0: as many as workers.
    unsigned spare_workers = 0;
    /// A turn of this length is logged with its service; shorter than the cluster's down-after, or
    /// joining ends in kUsage. From kShortestTimeout to kLongestTimeout.
    Duration turn_max = std::chrono::milliseconds{500};
    unsigned blocking = 8;  // threads for behaviours that declare themselves blocking
  };

  /// `services` are what an operator configured; C++ behaviours are offered afterwards.
  /// Errors: kUsage (a service twice, no minder to be found, a duration of the settings out of its
  /// bounds), kInternal.
  [[nodiscard]] static Result<std::unique_ptr<Node>> create(
      Settings settings, const std::vector<ServiceDefinition>& services = {});
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// A service with a behaviour in C++, made by factory(), which may be called from any thread and
  /// returns a unique_ptr to it: if that behaviour has a compensate() of its own, the service
  /// compensates. REQUIRES: not started. Errors: kUsage.
  [[nodiscard]] Result<void> offer(ServiceName name, ParticipantMaker maker);
  /// The same where the factory returns a unique_ptr<ParticipantBehaviour>, which does not say.
  [[nodiscard]] Result<void> offer(ServiceName name, BehaviourFactory factory, Undo undo) {
    return offer(std::move(name), ParticipantMaker{std::move(factory), undo});
  }

  /// One whose behaviour awaits, and may converse itself: an AsyncBehaviour.
  template <TypedAsyncBehaviourFactory Factory>
  [[nodiscard]] Result<void> offer(ServiceName name, Factory factory) {
    return offer(std::move(name), async_participants(*supervisor_, std::move(factory)));
  }

  /// Starts its threads and begins to join. Errors: kUsage (not an endpoint), kTransport.
  [[nodiscard]] Result<void> begin();
  /// Blocks until its services can be asked; at once where there is no broker. Errors: kRefused;
  /// kUsage (a timeout that does not go with the broker's settings); kNoBroker after `timeout`,
  /// saying how far it came: it may be called again.
  [[nodiscard]] Result<void> wait_joined(Duration timeout);
  /// Both.
  [[nodiscard]] Result<void> start(Duration join_timeout);

  [[nodiscard]] ConversationSupervisor& conversations() { return *supervisor_; }
  [[nodiscard]] Scheduler& scheduler() { return *scheduler_; }
  [[nodiscard]] const Directory& directory() const { return directory_; }
  /// What happens in conversations here, on its way to the broker; a node alone keeps nothing. From
  /// any thread.
  [[nodiscard]] TimelineRecorder& timeline() { return recorder_; }
  /// What of this node could not be delivered, and why. From any thread.
  [[nodiscard]] DeadLetters& dead_letters() { return scheduler_->dead_letters(); }

  /// What the node holds at the moment; all but `processes` and the sessions with nodes that stay
  /// are zero when nothing runs on it or for it.
  struct Counts {
    std::size_t participants;   // instances of its services
    std::size_t conversations;  // open, of its own
    std::size_t processes;      // those above, actors, and what the node keeps for itself
    std::size_t timers;
    std::size_t sessions;  // with other nodes
    std::size_t ties;      // links, monitors and open spawns between its processes and others'
  };
  [[nodiscard]] Counts counts() const;

  /// Waits until the broker refused to take the node back, or `timeout` passed; the refusal, if so.
  [[nodiscard]] std::optional<Error> wait_ended(Duration timeout);

  /// Closes the conversations, ends the participants with shutdown, leaves. Blocks for a bounded
  /// time, some seconds at most. A second call does nothing.
  void stop();

 private:
  explicit Node(Settings settings);
  [[nodiscard]] Result<void> add_services(const std::vector<ServiceDefinition>& services);
  void answer_alone(Signal signal);
  void run_alone();

  Settings settings_;
  SystemClock clock_;
  Directory directory_;
  NodeInbox inbox_;
  TimelineRecorder recorder_;
  std::mutex alone_mutex_;
  std::optional<NodeCore>
      alone_;  // GUARDED_BY alone_mutex_; without a broker: says that nobody is there
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<CommandRunner> runner_;  // posts into the scheduler
  std::unique_ptr<ServiceRegistry> registry_;
  std::unique_ptr<ConversationSupervisor> supervisor_;
  std::unique_ptr<Workers> workers_;
  std::unique_ptr<NodeLoop> loop_;
};

/// ask() by the node's conversations: `ask(*node, ServiceName{"upper"}, Payload{"x"}, 5s,
/// CrashPolicy::kFail)`.
[[nodiscard]] inline Result<Payload> ask(Node& node, const ServiceName& service, Payload payload,
                                         Duration timeout, CrashPolicy on_crash) {
  return ask(node.conversations(), service, std::move(payload), timeout, on_crash);
}

}  // namespace liminal
