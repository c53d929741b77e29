// A context that records what a process does, for tests of one process alone.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "node/scheduler/process.hpp"

namespace liminal::test {

class FakeContext final : public Context {
 public:
  struct Sent {
    Pid to;
    Envelope envelope;
  };

  std::vector<Sent> sent;
  std::vector<DeadLetterCause> dead_letters;
  std::optional<ExitReason> exited;
  std::deque<std::function<LocalMessagePtr()>> blocking;
  std::map<TimerId, TimePoint> timers;  // when each is due
  TimePoint time{};

  const Pid& self() const override { return self_; }
  TimePoint now() const override { return time; }
  Random& random() override { return random_; }
  MessageId new_message_id() override { return {7, ++ids_}; }
  void send(const Pid& to, Envelope envelope) override {
    sent.push_back({to, std::move(envelope)});
  }
  void withdraw(const Pid&, const MessageId&) override {}
  void cancel(const Pid&, const MessageId&) override {}
  void take_envelopes(bool on) override { takes_envelopes = on; }
  void dead_letter(DeadLetterCause cause, const Pid&, const Pid&, const Envelope&) override {
    dead_letters.push_back(cause);
  }
  void send_local(const Pid&, LocalMessagePtr) override {}
  void trap_exits(bool) override { trapped = true; }
  void link(const Pid&) override {}
  void unlink(const Pid&) override {}
  MonitorId monitor(const Pid&) override { return MonitorId{1}; }
  void demonitor(MonitorId) override {}
  void exit(ExitReason reason) override { exited = std::move(reason); }
  void exit(const Pid&, ExitReason) override {}
  Pid spawn(std::unique_ptr<Process>) override { return self_; }
  Pid spawn_link(std::unique_ptr<Process>) override { return self_; }
  SpawnId spawn_service(const Pid&, const ServiceName&, const ConversationId&) override {
    return SpawnId{1};
  }
  void abandon_spawn(SpawnId) override {}
  TimerId start_timer(Duration after) override {
    const TimerId timer{++timers_started_};
    timers.emplace(timer, time + after);
    waits.push_back(after);
    return timer;
  }
  void cancel_timer(TimerId timer) override { timers.erase(timer); }
  void run_blocking(std::function<LocalMessagePtr()> work) override {
    blocking.push_back(std::move(work));
  }

  bool trapped = false;
  bool takes_envelopes = true;
  std::vector<Duration> waits;  // of all timers that were started; their ids count from 1

 private:
  Pid self_{NodeName{"here"}, local_incarnation(), Serial{9}};
  Random random_{1};
  std::uint64_t ids_ = 0;
  std::uint64_t timers_started_ = 0;
};

}  // namespace liminal::test
