// One broker and some nodes in one thread: the real cores and schedulers on virtual time, joined by
// a network that delays, loses connections, and dies on demand.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/broker_core.hpp"
#include "broker/own_lag.hpp"
#include "common/base/fault_point.hpp"
#include "common/base/random.hpp"
#include "node/conversation/conversation_supervisor.hpp"
#include "node/participant/participant_ledger.hpp"
#include "node/remote/node_core.hpp"
#include "node/scheduler/scheduler.hpp"
#include "node/timeline/timeline_recorder.hpp"
#include "tests/sim/action.hpp"
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
    /// Told what happens in the conversations of each node, by its index, while it lives. Empty:
    /// the broker is.
    std::function<void(std::size_t node, TimelineRecord)> timeline = {};
    TimelineRecorder::Limits recorder = {};  // of each node
    /// Takes the trace. Empty: stderr does, if LIMINAL_SIM_TRACE is set.
    std::function<void(TimePoint now, const std::string& line)> trace = {};
    /// Told what goes against a promise that the world itself can judge.
    std::function<void(const std::string& what)> violation = {};
  };

  enum class Direction : std::uint8_t { kToBroker, kToNode };

  /// What becomes of who reaches a fault point: the node (or the broker) whose code it is, or the
  /// process whose turn it is.
  enum class Fate : std::uint8_t { kLives, kDies, kActorDies };

  World(Settings settings, std::uint64_t seed);
  ~World();

  /// Who dies in the midst of its effects.
  struct Torn {
    int effects_left;
    std::function<void()> struck;
  };

  /// One OS process that is a node; killed and started again it is another Node of the same name.
  class Node final : private FaultListener {
   public:
    Node(World& world, std::size_t index, NodeCore::Settings settings, std::uint64_t seed);

    [[nodiscard]] const NodeName& name() const { return name_; }
    [[nodiscard]] bool alive() const { return alive_; }
    [[nodiscard]] bool paused() const { return paused_; }
    [[nodiscard]] bool hung() const { return hung_; }
    [[nodiscard]] bool left() const { return left_; }
    [[nodiscard]] bool refused() const { return refused_; }
    [[nodiscard]] NodeCore& core() { return core_; }
    [[nodiscard]] Scheduler& scheduler() { return scheduler_; }
    [[nodiscard]] Directory& directory() { return directory_; }
    [[nodiscard]] ConversationSupervisor& supervisor() { return *supervisor_; }
    [[nodiscard]] TimelineRecorder& timeline() { return recorder_; }
    /// Of its participants.
    [[nodiscard]] const std::shared_ptr<ParticipantLedger>& ledger() const { return participants_; }
    /// What it does about a CancelConversation; says whether the conversation was open.
    void on_cancel(std::function<bool(const ConversationId&, const std::string& by)> cancel) {
      cancel_ = std::move(cancel);
    }
    [[nodiscard]] bool ran_at(TimePoint when) const {
      return started_ <= when && (!ended_ || *ended_ > when);
    }
    /// It was told to leave while it bore that incarnation, or before.
    [[nodiscard]] bool was_to_leave(Incarnation incarnation) const {
      return leaving_ && bore(incarnation);
    }
    /// The same, and it was under way at that time or shortly before it.
    [[nodiscard]] bool leaves_around(TimePoint when) const;
    /// Fences so far.
    [[nodiscard]] int fenced() const { return fenced_; }
    /// Since its start, the present one included.
    [[nodiscard]] bool bore(Incarnation incarnation) const { return borne_.contains(incarnation); }
    /// When it fenced that one; nullopt: it did not.
    [[nodiscard]] std::optional<TimePoint> gave_up(Incarnation incarnation) const;
    /// Until when it may begin work for others.
    [[nodiscard]] TimePoint lease_until() const { return lease_until_; }

    /// Has it do what became possible: call after acting on its scheduler from outside.
    void poke();

    /// Name, index and incarnation, for traces.
    [[nodiscard]] std::string label() const;

   private:
    friend class World;

    template <class Event>
    void handle(Event event);  // now, or when it goes on after a pause
    template <class Event>
    void receive(std::uint64_t connection, Event event);
    void read_on();
    [[nodiscard]] TimePoint now() const { return reads_as_of_.value_or(world_.now()); }
    void carry_out(NodeCore::Effects effects);
    void deliver(Signal signal);
    void hear(const std::string& header, const std::string& frame);
    void publish(Directory::Snapshot snapshot);
    void turn();
    void tell_records(TimePoint now);
    void take_turns_between();
    void sleep();
    void end();
    void reached(FaultPoint point) override;

    World& world_;
    std::size_t index_;
    NodeName name_;
    TimePoint started_;
    std::optional<TimePoint> ended_;
    bool alive_ = true, paused_ = false, left_ = false, refused_ = false;
    int fenced_ = 0;
    std::map<Incarnation, std::optional<TimePoint>> borne_;  // each, and when it was fenced
    TimePoint lease_until_ = TimePoint::min();
    std::shared_ptr<ParticipantLedger> participants_;
    TimePoint paused_at_{};
    std::optional<TimePoint> leaving_;           // since then
    std::optional<TimePoint> records_due_;       // nullopt: none wait
    std::deque<std::function<void()>> pending_;  // while paused
    std::map<std::uint64_t, std::deque<std::function<void()>>>
        unread_;                            // by connection; none empty
    std::optional<TimePoint> reads_as_of_;  // it was stopped in this turn, which goes on
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

    // --- what it suffers ---
    bool hears_frame_ = false;  // what it carries out came over a session
    bool hung_ = false;         // no process gets a turn
    bool plugged_ = false;      // its data connection takes nothing
    bool stalled_ = false;      // nothing on its data connection is read
    std::array<bool, 2> blocked_{};
    std::array<std::vector<std::pair<std::uint64_t, Action>>, 2> held_;
    unsigned loss_percent_ = 0;
    std::optional<Torn> torn_;
    std::set<Incarnation> lost_forever_;  // nothing of these may come any more
    std::set<Incarnation> gone_;          // it knows them as down: their frames do nothing
    std::optional<Epoch> epoch_;
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
  /// That were started.
  [[nodiscard]] std::uint64_t brokers() const { return brokers_; }
  [[nodiscard]] std::uint64_t events_run() const { return events_.events_run(); }
  [[nodiscard]] Random& random() { return random_; }

  /// Whether anybody reads the trace: lines are dear to make.
  [[nodiscard]] bool tracing() const { return tracing_; }
  void trace(const std::string& line) const;
  /// Of all that was carried over the network so far, when, and of who drew how often.
  [[nodiscard]] std::uint64_t digest() const { return digest_; }

  void run_for(Duration duration) { events_.run_until(events_.now() + duration); }

  // --- faults ---

  void kill(std::size_t node);    // SIGKILL: its connections close
  void vanish(std::size_t node);  // its machine: nothing closes
  void pause(std::size_t node);   // SIGSTOP
  void resume(std::size_t node);  // SIGCONT
  void leave(std::size_t node);   // SIGTERM
  // the connection is lost with all that is on it; says whether there was one
  bool cut_control(std::size_t node);
  bool cut_data(std::size_t node);
  bool kill_broker();   // SIGKILL: everything it knew is gone, its connections close
  void start_broker();  // another one, with a new epoch
  /// SIGSTOP, or its loop alone, while its I/O threads go on: it hangs in the midst of a turn, or
  /// sleeps longer than it asked for. Of several at once the worst counts, until resume_broker().
  void pause_broker(bool loop_alone = false);
  /// Messages of a stranger are always there to be read, in turn with those of others.
  void flood_broker(bool on);
  void resume_broker();  // it reads what waits in pieces, and settles as BrokerLoop does
  /// SIGKILL when it has carried out so many effects more; `struck` is called then.
  void kill_amid_effects(std::size_t node, int effects, std::function<void()> struck);
  void kill_broker_amid_effects(int effects, std::function<void()> struck) {
    broker_torn_ = Torn{effects, std::move(struck)};
  }
  /// Its processes get no turn, though it reads and answers.
  void hang(std::size_t node, bool on);
  /// Its data connection takes nothing more; nothing that comes on it is read.
  void plug(std::size_t node, bool on);
  void stall(std::size_t node, bool on);
  /// A silent cut: what is sent waits, and arrives after the cut, up to `late` later.
  void block(std::size_t node, Direction direction);
  void unblock(std::size_t node, Direction direction, Duration late);
  /// So many messages of a hundred are sent again, 200 ms later, then 400, ...
  void lose(std::size_t node, unsigned percent);
  /// The next session frame to that node breaks a rule: its session cannot go on.
  void spoil_frame_to(std::size_t node, std::function<void()> struck = {}) {
    spoiled_.insert_or_assign(node, std::move(struck));
  }
  void set_delay_max(Duration delay) { settings_.delay_max = delay; }
  /// What it never meant to send.
  void inject_control(std::size_t node, std::string bytes);
  void inject_data(std::size_t node, std::string header, std::string frame);
  void inject_attach(std::size_t node, std::uint64_t token);  // on its data connection
  /// Over its own sessions, in their order: from whom it is says the signal.
  void inject_signal(std::size_t node, Signal signal);
  /// One part, or two: a header and a body, which the broker moves on as it is. A copy shares it.
  class Message {
   public:
    explicit Message(std::string only) : first_(std::move(only)) {}
    Message(std::string header, std::shared_ptr<const std::string> body)
        : first_(std::move(header)), body_(std::move(body)) {}
    Message(std::string header, std::string body)
        : Message(std::move(header), std::make_shared<const std::string>(std::move(body))) {}

    [[nodiscard]] bool has_body() const { return body_ != nullptr; }
    [[nodiscard]] const std::string& front() const { return first_; }
    [[nodiscard]] const std::string& back() const { return body_ ? *body_ : first_; }
    [[nodiscard]] const std::shared_ptr<const std::string>& body() const { return body_; }

   private:
    std::string first_;
    std::shared_ptr<const std::string> body_;  // null: there is one part
  };
  /// The latest frames that nodes sent: header and frame.
  using SessionFrames = std::deque<Message>;
  [[nodiscard]] const SessionFrames& overheard() const { return overheard_; }
  void overhear(bool on) { overhears_ = on; }

  /// `decide` says what a fault point does; the node's index, or nullopt for the broker.
  void at_fault_points(
      std::function<Fate(FaultPoint point, std::optional<std::size_t> node)> decide) {
    fate_ = std::move(decide);
  }
  /// How often each was reached.
  using FaultPointCounts = std::array<std::uint64_t, kFaultPoints>;
  [[nodiscard]] const FaultPointCounts& points_reached() const { return points_reached_; }

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
  /// Whether a broker died while it told that verdict: then some heard it.
  [[nodiscard]] bool is_half_told(Incarnation incarnation, EvidenceSource source) const {
    return half_told_.contains({incarnation, source});
  }
  /// Sessions that a frame broke: from whom it was, to whom, and when.
  struct Spoiled {
    Incarnation from, to;
    TimePoint when;
  };
  [[nodiscard]] const std::vector<Spoiled>& spoiled_sessions() const { return spoiled_sessions_; }
  /// Whether the broker that runs declared it down.
  [[nodiscard]] bool is_down(Incarnation incarnation) const { return down_.contains(incarnation); }

 private:
  struct Connection {
    std::size_t node;
    bool data;
    bool open_at_node = false, open_at_broker = false;
    bool spoke = false;                          // a message of it was read
    TimePoint closed_at{};                       // if open_at_broker is over
    std::uint64_t broker = 0;                    // which one it was made to
    bool severed = false;                        // nothing on it arrives any more
    TimePoint last_to_broker{}, last_to_node{};  // it keeps the order
  };

  /// What a broker's loop has beside its core.
  struct BrokerLoop {
    broker::OwnLag lag;
    std::map<std::uint64_t, std::deque<std::function<void()>>> unread = {};  // by connection
    std::set<std::uint64_t> closings = {};                                   // not yet judged
    std::map<std::uint64_t, std::size_t> watched = {};   // what each had delivered and is not read
    std::vector<std::function<void()>> handshakes = {};  // not yet answered
    bool all_read = true;
    bool stopped = false;                       // it gets no time
    bool flooded = false;                       // somebody sends more than it can read
    bool io_stopped = false;                    // nor do its I/O threads
    std::optional<TimePoint> turn_of = {};      // it was stopped in this turn
    std::optional<TimePoint> reads_as_of = {};  // that turn goes on, with the time of its beginning
  };

  class BrokerListener final : public FaultListener {
   public:
    explicit BrokerListener(World& world) : world_(world) {}
    void reached(FaultPoint point) override;

   private:
    World& world_;
  };

  std::uint64_t connect(std::size_t node, bool data);
  void close_from_node(std::uint64_t connection);
  bool sever(std::optional<std::uint64_t> connection);
  void carry(std::uint64_t connection, Direction direction, Action arrived);
  void release_held(Node& node, Direction direction, Duration late);
  void to_broker(std::uint64_t connection, Message message);
  void to_node(std::uint64_t connection, Message message);
  void hear(Node& owner, const Message& frame);
  void knock(std::uint64_t connection);
  [[nodiscard]] bool reaches_broker(const Connection& connection) const;
  void tell_broker_closed(std::uint64_t connection);
  template <class Event>
  void broker_hear(std::uint64_t connection, Event event);
  void broker_closed(std::uint64_t connection);
  [[nodiscard]] TimePoint broker_now() const;
  void broker_turn();
  [[nodiscard]] bool broker_reads(std::uint64_t messages);
  void broker_goes_on();
  void broker_judges();
  void broker_judges_closings();
  [[nodiscard]] bool broker_knows_closed(const Connection& connection) const;
  [[nodiscard]] broker::Line line_of_next(std::uint64_t connection);
  /// `held`: what came on a data connection, and is to be forwarded.
  void broker_carry_out(broker::Effects effects, const Message* held);
  void broker_watches(std::uint64_t connection);
  void broker_did(const broker::Effect& effect);
  void lives(const NodeName& name, Incarnation incarnation, const char* what);
  void broker_sleep();
  [[nodiscard]] BrokerLoop fresh_loop() const;
  void bury_broker();
  [[nodiscard]] Duration delay(const Node& host);
  [[nodiscard]] Connection& at(std::uint64_t connection) { return connections_[connection - 1]; }
  void digest(const Message& message);
  void digest_part(const std::string& part);
  void digest_value(std::uint64_t value);
  void note_spoiled(const std::string& header, Incarnation to);

  Settings settings_;
  Random random_;
  EventQueue events_;
  std::unique_ptr<broker::BrokerCore> broker_;  // null: none runs
  std::vector<std::uint64_t> knocking_;         // connections that wait for one
  const bool tracing_;
  const bool takes_turns_between_;  // processes do, between the effects of one step of their node
  std::uint64_t digest_ = 0;
  BrokerListener broker_listener_{*this};
  std::function<Fate(FaultPoint, std::optional<std::size_t>)> fate_;
  FaultPointCounts points_reached_{};
  bool broker_dying_ = false;  // it is in the middle of something, and nothing of that comes out
  std::optional<Torn> broker_torn_;
  std::optional<BrokerLoop> loop_;  // while one runs
  std::optional<TimePoint> broker_wake_;
  std::uint64_t brokers_ = 0;           // that were started
  std::deque<Connection> connections_;  // by number, from 1
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Death> deaths_;
  std::set<Incarnation> down_;  // of deaths_, those that the present broker declared
  std::set<std::pair<Incarnation, EvidenceSource>> half_told_;
  std::map<std::size_t, std::function<void()>> spoiled_;
  std::vector<Spoiled> spoiled_sessions_;
  bool overhears_ = false;
  SessionFrames overheard_;
};

}  // namespace liminal::sim
