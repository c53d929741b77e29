// What the scheduler, the turns of its processes and its drivers share.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "node/scheduler/blocking_work.hpp"
#include "node/scheduler/process_control.hpp"
#include "node/scheduler/process_table.hpp"
#include "node/scheduler/run_queue.hpp"
#include "node/scheduler/scheduler.hpp"
#include "node/scheduler/timers.hpp"

namespace liminal {

/// Thread-safety: all functions, except where one says more. No lock is held while a handler, a
/// factory or `forward` is called, or an object of theirs destroyed.
class Scheduler::Impl {
 public:
  Impl(Settings own_settings, Forward forward);
  ~Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  /// Destroys all processes without exit signals. What that destroys may still call in here (the
  /// handle in a message, say): it finds everybody gone.
  void shut_down();

  /// A process in the making: nobody can reach it and it does not run.
  [[nodiscard]] ProcessPtr make(std::unique_ptr<Process> handler);
  /// From now on it can be reached.
  void enlist(const ProcessPtr& process) { table.insert(process); }
  void make_runnable(ProcessPtr process) { run_queue.push(std::move(process)); }

  /// To wherever it is meant for; answers where that is gone.
  void route(Signal&& signal);
  /// kTaken, or why not; `arrival` is then untouched.
  InQueue::Put put(Serial serial, Arrival&& arrival);
  /// What a process that is gone has to say to what came too late for it.
  void answer_for_the_gone(Arrival arrival);

  /// Tells the sender that its envelope was not taken.
  void refuse(signal::Send send, signal::RefusalKind kind, std::string text);
  void dead_letter(DeadLetterCause cause, const Pid& from, const Pid& to,
                   const Envelope& envelope) {
    dead_letters.add(DeadLetter::of(cause, from, to, envelope, now()));
  }

  [[nodiscard]] bool send_local(const Pid& to, LocalMessagePtr message);

  /// Runs one turn. REQUIRES: the process was taken from the run queue by the caller.
  void run_turn(ProcessPtr process, TimePoint now, const Clock* clock);
  void fire_timers(TimePoint now);
  void run_job(BlockingWork::Job job);

  [[nodiscard]] MessageId new_message_id() {
    return MessageId{messages_high_, messages_made_.fetch_add(1, std::memory_order_relaxed) + 1};
  }
  [[nodiscard]] ConversationId new_conversation_id() {
    return ConversationId{conversations_high_,
                          conversations_made_.fetch_add(1, std::memory_order_relaxed) + 1};
  }
  /// When the newest turn began.
  [[nodiscard]] TimePoint now() const {
    return TimePoint{Duration{now_.load(std::memory_order_relaxed)}};
  }
  [[nodiscard]] Pid node() const { return Pid{settings.node, local_incarnation(), Serial{0}}; }

  const Settings settings;
  ServiceFactory factory;
  ProcessTable table;
  Timers timers;
  RunQueue run_queue;
  BlockingWork blocking;
  DeadLetters dead_letters;
  std::atomic<std::uint64_t> dropped_messages = 0;

 private:
  void spawn_on_request(const signal::SpawnRequest& request);
  [[nodiscard]] Result<Instance> make_service(const signal::SpawnRequest& request);

  /// One string for each service of this node; they stay.
  [[nodiscard]] const std::string* name_of_service(const ServiceName& service);

  const Forward forward_;
  std::mutex service_names_mutex_;
  std::set<std::string> service_names_;  // GUARDED_BY service_names_mutex_
  std::uint64_t messages_high_;
  std::uint64_t conversations_high_;
  std::atomic<std::uint64_t> messages_made_ = 0;
  std::atomic<std::uint64_t> conversations_made_ = 0;
  std::atomic<std::uint64_t> serials_made_ = 0;
  std::atomic<Duration::rep> now_ = 0;
};

/// Cuts a text that would be too long for the wire: what a handler throws may be of any length.
[[nodiscard]] std::string bounded_text(std::string text);
[[nodiscard]] inline ExitReason bounded(ExitReason reason) {
  reason.text = bounded_text(std::move(reason.text));
  return reason;
}

}  // namespace liminal
