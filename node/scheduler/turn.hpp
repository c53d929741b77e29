// One turn of one process: applies the signals that came, hands out messages, carries out its end.
#pragma once

#include <optional>

#include "node/scheduler/scheduler_impl.hpp"

namespace liminal {

/// The Context that a handler sees, and all that happens to a process.
///
/// Signals are applied when a turn begins and whenever the mailbox is empty, messages wait in the
/// mailbox: as in Erlang, a kill does not queue behind unread messages.
///
/// Thread affinity: made and used by the thread that runs the process.
class Turn final : public Context {
 public:
  /// `clock`: read again for each message; null: the turn takes no time.
  Turn(Scheduler::Impl& scheduler, ProcessControl& process, TimePoint now, const Clock* clock)
      : scheduler_(scheduler), process_(process), now_(now), clock_(clock) {}

  enum class After {
    kResting,   // the next arrival makes it runnable
    kRunnable,  // its budget is used up
    kEnded,
  };
  [[nodiscard]] After run(std::size_t messages_max);

  const Pid& self() const override { return process_.pid; }
  TimePoint now() const override { return now_; }
  Random& random() override { return process_.random; }
  MessageId new_message_id() override { return scheduler_.new_message_id(); }

  void send(const Pid& to, Envelope envelope) override;
  void withdraw(const Pid& to, const MessageId& message) override;
  void cancel(const Pid& to, const MessageId& message) override;
  void take_envelopes(bool on) override { process_.mailbox.hold_envelopes(!on); }
  void dead_letter(DeadLetterCause cause, const Pid& from, const Pid& to,
                   const Envelope& envelope) override {
    scheduler_.dead_letter(cause, from, to, envelope);
  }
  void send_local(const Pid& to, LocalMessagePtr message) override;
  void trap_exits(bool on) override { process_.traps_exits = on; }
  void link(const Pid& to) override;
  void unlink(const Pid& to) override;
  MonitorId monitor(const Pid& to) override;
  void demonitor(MonitorId monitor) override;
  void exit(ExitReason reason) override;
  void exit(const Pid& to, ExitReason reason) override;
  Pid spawn(std::unique_ptr<Process> process) override;
  Pid spawn_link(std::unique_ptr<Process> process) override;
  SpawnId spawn_service(const Pid& node, const ServiceName& service,
                        const ConversationId& conversation) override;
  void abandon_spawn(SpawnId spawn) override;
  TimerId start_timer(Duration after) override;
  void cancel_timer(TimerId timer) override;
  void run_blocking(std::function<LocalMessagePtr()> work) override;

 private:
  // Takes what has arrived: messages to the mailbox, everything else applied at once.
  void receive();
  [[nodiscard]] bool receive_or_rest();
  void apply_batch();

  void apply(LocalMessagePtr message);
  void apply(arrival::TimerDue due);
  void apply(arrival::WorkDone done);
  void apply(arrival::WorkFailed failed);
  void apply(Signal&& arrived);
  void apply(signal::Send&& send);
  void apply(const signal::Link& link);
  void apply(const signal::Unlink& unlink);
  void apply(signal::Exit exit);
  void apply(const signal::Monitor& monitor);
  void apply(const signal::Demonitor& demonitor);
  void apply(signal::Down down);
  void apply(const signal::SpawnRequest&) {}  // goes to the node, never to a process
  void apply(signal::SpawnReply reply);
  void apply(signal::Refusal refusal);
  [[nodiscard]] bool may_be_refused(const signal::Refusal& refusal);
  [[nodiscard]] Incarnation counted_as(Incarnation who) const;
  void apply(const signal::Withdraw&) {}  // takes effect before the mailbox
  void apply(signal::Cancel cancel);

  void handle_next();
  // False if the process took back meanwhile what led to this message.
  [[nodiscard]] bool still_wanted(const Mail& mail);
  // Runs the handler; what it throws is the process's end.
  template <class Call>
  void guarded(Call call);

  // `peer` is gone, or cut off: it sends nothing again.
  void waits_no_longer_for(const Pid& peer);
  [[nodiscard]] bool has_all_ties() const;
  [[nodiscard]] ExitReason too_many_ties() const;

  void die_of(ExitReason reason);
  [[nodiscard]] bool is_ending() const { return death_ || own_exit_; }
  void end();

  Scheduler::Impl& scheduler_;
  ProcessControl& process_;
  TimePoint now_;
  const Clock* clock_;
  std::optional<ExitReason> death_;     // by a signal or an exception: the first one stands
  std::optional<ExitReason> own_exit_;  // by exit(reason): the last one stands
};

}  // namespace liminal
