// The thread that owns a node's sockets and drives its NodeCore.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/net/sockets.hpp"
#include "node/remote/directory.hpp"
#include "node/remote/node_core.hpp"
#include "node/scheduler/scheduler.hpp"
#include "node/timeline/timeline_recorder.hpp"

namespace liminal {

/// Where the scheduler's threads leave what the loop is to do, and wake it.
/// Thread-safety: push and the requests from any thread; take() and may_sleep() on the loop's.
class NodeInbox {
 public:
  struct Taken {
    std::vector<Signal> signals;  // in order, for each sending process
    bool turn_done = false;
    bool records_wait = false;
    bool leave = false;
  };

  void push(Signal signal);
  void turn_done();
  void records_wait();
  void leave();
  [[nodiscard]] Taken take();
  /// The loop is about to wait. False if something is here already; else whoever brings the next
  /// thing wakes it. While the loop runs nobody need wake it: it calls take() before it waits.
  [[nodiscard]] bool may_sleep();
  [[nodiscard]] net::Waker& waker() { return waker_; }

 private:
  template <class Change>
  void change(Change&& apply);

  net::Waker waker_;
  std::mutex mutex_;
  Taken waiting_;        // GUARDED_BY mutex_
  bool asleep_ = false;  // GUARDED_BY mutex_; the loop waits, and nobody has woken it
};

/// Runs from start() until the node left or was refused; stop() has it leave.
///
/// Thread affinity: the sockets belong to its own thread. Public functions: any thread.
/// Lifetime: what the constructor takes outlives it; the destructor stops and joins.
class NodeLoop {
 public:
  struct Settings {
    std::string endpoint;
    NodeCore::Settings core;
    std::uint64_t seed;
  };
  struct Load {
    std::uint32_t participants;
    std::uint32_t conversations;
  };
  /// What is shared with other nodes; both zero when nothing is.
  struct Shared {
    std::size_t sessions;
    std::size_t ties;  // links, monitors and open spawns
  };
  /// Called on the loop's thread; they return at once.
  struct Hooks {
    std::function<Load()> load;                 // for each beat
    std::function<void()> joined = {};          // after each join, the directory published
    std::function<void(TimePoint)> lease = {};  // node_effect::Lease
    /// node_effect::CancelConversation; whether it was open, and is being cancelled.
    std::function<bool(const ConversationId&, const std::string& by)> cancel = {};
    /// The broker knows nothing of the conversations that are open.
    std::function<void()> retell = {};
  };

  NodeLoop(Settings settings, const Clock& clock, Scheduler& scheduler, Directory& directory,
           NodeInbox& inbox, TimelineRecorder& recorder, Hooks hooks);
  ~NodeLoop();
  NodeLoop(const NodeLoop&) = delete;
  NodeLoop& operator=(const NodeLoop&) = delete;

  /// Begins to connect. Errors: kUsage (not an endpoint), kTransport.
  [[nodiscard]] Result<void> start();

  /// Waits until the node has joined. Errors: kRefused with the broker's words, at once; kUsage,
  /// what failure() says; kNoBroker after `timeout`, saying how far it came.
  [[nodiscard]] Result<void> wait_joined(Duration timeout);

  /// Waits until the node was refused or left, or `timeout` passed; says whether it ended.
  [[nodiscard]] bool wait_ended(Duration timeout);
  /// As of its last turn.
  [[nodiscard]] Shared shared() const { return {sessions_.load(), ties_.load()}; }
  /// Why the node ended by itself: the broker's refusal, or kUsage where its settings do not go
  /// with the cluster's; nullopt while it runs or if it left.
  [[nodiscard]] std::optional<Error> failure() const;

  /// Leaves and ends the thread; returns when that is done (within NodeCore's leave_bound).
  void stop();

 private:
  // How far a join came, for the message when it goes no further.
  enum class Contact : std::uint8_t { kNothing, kForeign, kConnected };

  void run();
  void turn();
  bool receive(TimePoint now);
  void carry_out(NodeCore::Effects effects);
  void carry_out(node_effect::Joined effect);
  void carry_out(node_effect::Refused effect);
  void carry_out(node_effect::CancelConversation effect);
  void tell_records(TimePoint now);
  void open_control();
  void open_data();
  void open(std::optional<net::DealerSocket>& socket, bool steady_retries);
  void send_data(net::Parts parts);
  void drain_outbox();
  [[nodiscard]] Duration time_to_wait(TimePoint now) const;
  void set_contact(Contact contact);
  void end(std::optional<Error> failure);

  Settings settings_;
  const Clock& clock_;
  Scheduler& scheduler_;
  Directory& directory_;
  NodeInbox& inbox_;
  TimelineRecorder& recorder_;
  Hooks hooks_;
  Pid beat_process_;

  // the loop's thread alone
  NodeCore core_;
  net::NetContext context_;
  std::optional<net::DealerSocket> control_, data_;
  bool control_wanted_ = false, data_wanted_ = false;    // opened again if that failed
  std::deque<net::Parts> control_outbox_, data_outbox_;  // refused by libzmq for the moment

  std::optional<TimePoint> records_due_;  // nullopt: none wait
  bool leaving_ = false;

  std::atomic<std::size_t> sessions_ = 0, ties_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool joined_ = false;                  // GUARDED_BY mutex_
  bool ended_ = false;                   // GUARDED_BY mutex_
  std::optional<Error> failure_;         // GUARDED_BY mutex_
  Contact contact_ = Contact::kNothing;  // GUARDED_BY mutex_
  std::thread thread_;                   // last: it uses everything above
};

}  // namespace liminal
