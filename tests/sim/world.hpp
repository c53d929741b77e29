// One broker and some nodes in one thread: the real cores and schedulers on virtual time, joined by
// a network that delays, loses connections, and dies on demand.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "broker/broker_core.hpp"
#include "common/base/random.hpp"
#include "node/conversation/conversation_supervisor.hpp"
#include "node/participant/participant_ledger.hpp"
#include "node/remote/node_core.hpp"
#include "node/scheduler/scheduler.hpp"
#include "node/timeline/timeline_recorder.hpp"
#include "tests/sim/event_queue.hpp"

namespace liminal::sim {

/// Everything that happens follows from the seed and the calls made here, so that a failure
/// replays.
class World {
 public:
  struct Settings {
    ClusterSettings cluster;
    Duration delay_min = std::chrono::microseconds{50};
    Duration delay_max = std::chrono::milliseconds{5};
    MailboxBounds mailbox = {};  // of every process on every node
    /// Told what happens in the conversations of each node, by its index. Empty: the broker is.
    std::function<void(std::size_t node, TimelineRecord)> timeline = {};
    TimelineRecorder::Limits recorder = {};  // of each node
  };

  World(Settings settings, std::uint64_t seed);
  ~World();

  /// One OS process that is a node; killed and started again it is another Node of the same name.
  class Node {
   public:
    Node(World& world, std::size_t index, NodeCore::Settings settings, std::uint64_t seed);

    [[nodiscard]] const NodeName& name() const { return name_; }
    [[nodiscard]] bool alive() const { return alive_; }
    [[nodiscard]] bool paused() const { return paused_; }
    [[nodiscard]] bool left() const { return left_; }
    [[nodiscard]] bool refused() const { return refused_; }
    [[nodiscard]] NodeCore& core() { return core_; }
    [[nodiscard]] Scheduler& scheduler() { return scheduler_; }
    [[nodiscard]] Directory& directory() { return directory_; }
    [[nodiscard]] ConversationSupervisor& supervisor() { return *supervisor_; }
    [[nodiscard]] TimelineRecorder& timeline() { return recorder_; }
    /// What it does about a CancelConversation; says whether the conversation was open.
    void on_cancel(std::function<bool(const ConversationId&, const std::string& by)> cancel) {
      cancel_ = std::move(cancel);
    }
    /// Fences so far.
    [[nodiscard]] int fenced() const { return fenced_; }
    /// Until when it may begin work for others.
    [[nodiscard]] TimePoint lease_until() const { return lease_until_; }

    /// Has it do what became possible: call after acting on its scheduler from outside.
    void poke();

    /// Name, index and incarnation, for traces.
    [[nodiscard]] std::string label() const;

   private:
    friend class World;

    void handle(std::function<void()> event);  // now, or when it goes on after a pause
    void carry_out(NodeCore::Effects effects);
    void turn();
    void sleep();

    World& world_;
    std::size_t index_;
    NodeName name_;
    bool alive_ = true, paused_ = false, left_ = false, refused_ = false;
    int fenced_ = 0;
    TimePoint lease_until_ = TimePoint::min();
    std::shared_ptr<ParticipantLedger> participants_;
    std::deque<std::function<void()>> pending_;  // while paused
    std::vector<Signal> forwarded_;
    bool turn_done_ = false;
    Directory directory_;
    TimelineRecorder recorder_;
    std::function<bool(const ConversationId&, const std::string& by)> cancel_;
    Scheduler scheduler_;
    std::unique_ptr<ConversationSupervisor> supervisor_;
    NodeCore core_;
    Pid beat_process_;
    std::optional<std::uint64_t> control_, data_;  // connections
    std::optional<TimePoint> wake_;
  };

  /// Starts a node; `services` is its factory, whose participants hold their lease by what
  /// `participants` says. Its index stays its own.
  std::size_t start_node(
      NodeCore::Settings settings, Scheduler::ServiceFactory services,
      std::shared_ptr<ParticipantLedger> participants = std::make_shared<ParticipantLedger>());
  [[nodiscard]] Node& node(std::size_t index) { return *nodes_[index]; }
  [[nodiscard]] const Node& node(std::size_t index) const { return *nodes_[index]; }
  [[nodiscard]] std::size_t nodes() const { return nodes_.size(); }
  /// REQUIRES: broker_runs().
  [[nodiscard]] broker::BrokerCore& broker() { return *broker_; }
  [[nodiscard]] bool broker_runs() const { return broker_ != nullptr; }
  [[nodiscard]] EventQueue& events() { return events_; }
  [[nodiscard]] TimePoint now() const { return events_.now(); }
  [[nodiscard]] std::uint64_t events_run() const { return events_.events_run(); }
  [[nodiscard]] Random& random() { return random_; }

  /// Writes a line, with the virtual time, to stderr if LIMINAL_SIM_TRACE is set.
  void trace(const std::string& line) const;

  void run_for(Duration duration) { events_.run_until(events_.now() + duration); }

  // --- faults ---

  void kill(std::size_t node);         // SIGKILL: its connections close
  void pause(std::size_t node);        // SIGSTOP
  void resume(std::size_t node);       // SIGCONT
  void leave(std::size_t node);        // SIGTERM
  void cut_control(std::size_t node);  // the connection is lost with all that is on it
  void cut_data(std::size_t node);
  void kill_broker();   // SIGKILL: everything it knew is gone, its connections close
  void start_broker();  // another one, with a new epoch
  void pause_broker();
  void resume_broker();
  /// The next session frame to that node breaks a rule: its session cannot go on.
  void spoil_frame_to(std::size_t node) { spoiled_.insert(node); }
  void set_delay_max(Duration delay) { settings_.delay_max = delay; }

  /// Deaths that the broker declared, by name, in order.
  struct Death {
    NodeName name;
    Incarnation incarnation;
    TimePoint when;
    Evidence evidence;
    std::uint64_t broker;  // which one declared it: the first is 1
    bool leased;           // it believed at that moment that it may begin work for others
  };
  [[nodiscard]] const std::vector<Death>& deaths() const { return deaths_; }

 private:
  struct Connection {
    std::size_t node;
    bool data;
    bool open_at_node = false, open_at_broker = false;
    std::uint64_t broker = 0;                    // which one it was made to
    bool severed = false;                        // nothing on it arrives any more
    TimePoint last_to_broker{}, last_to_node{};  // it keeps the order
  };
  using Message = std::vector<std::string>;  // parts

  std::uint64_t connect(std::size_t node, bool data);
  void close_from_node(std::uint64_t connection);
  void sever(std::optional<std::uint64_t> connection);
  void to_broker(std::uint64_t connection, Message message);
  void to_node(std::uint64_t connection, Message message);
  void knock(std::uint64_t connection);
  [[nodiscard]] bool reaches_broker(const Connection& connection) const;
  void tell_broker_closed(std::uint64_t connection);
  void broker_handle(std::function<void()> event);
  void broker_carry_out(const broker::Effects& effects, const std::string* held_frame);
  void broker_sleep();
  [[nodiscard]] TimePoint arrival(TimePoint& last);

  Settings settings_;
  Random random_;
  EventQueue events_;
  std::unique_ptr<broker::BrokerCore> broker_;  // null: none runs
  std::vector<std::uint64_t> knocking_;         // connections that wait for one
  const bool tracing_ = std::getenv("LIMINAL_SIM_TRACE") != nullptr;
  bool broker_paused_ = false;
  TimePoint broker_paused_at_{};
  std::deque<std::function<void()>> broker_pending_;
  std::deque<std::uint64_t> broker_pending_closings_;
  std::optional<TimePoint> broker_wake_;
  std::uint64_t brokers_ = 0;  // that were started
  std::uint64_t next_connection_ = 1;
  std::map<std::uint64_t, Connection> connections_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Death> deaths_;
  std::set<std::size_t> spoiled_;
};

}  // namespace liminal::sim
