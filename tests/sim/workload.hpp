// What the simulated nodes do: pairs of processes that count, and conversations, each keeping a
// record that is judged at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/conversation/conversation_supervisor.hpp"
#include "node/scheduler/process.hpp"

namespace liminal::sim {

/// How long who was told of an end stays to see whether it is told again.
inline constexpr Duration kLinger = std::chrono::seconds{3};

/// What went against a promise, in words.
struct Violations {
  std::vector<std::string> found;
  void add(std::string what) {
    if (found.size() < 20) found.push_back(std::move(what));
  }
};

/// What happened to one pair: a process, and the instance elsewhere that it is linked to, monitors
/// and sends numbers to.
struct PairRecord {
  ConversationId id;    // its own: what it spawned its instance for
  std::uint64_t total;  // that it is to send
  std::uint64_t sent = 0;
  std::uint64_t echoed = 0;
  std::uint64_t deferred = 0;
  std::optional<Pid> self = {}, instance = {};
  std::vector<ExitReason> told = {};  // by exit and DOWN, in order
  std::optional<ExitReason> exit_reason = {}, down_reason = {};
  bool not_spawned = false;
  bool over = false;  // the process ended by itself

  [[nodiscard]] std::string name() const;
};

/// What processes of a run tell while they run.
struct Reporter {
  std::shared_ptr<Violations> violations;
  std::function<void(const std::string& line)> trace = {};           // empty: nobody reads it
  std::shared_ptr<const bool> ends = std::make_shared<bool>(false);  // no more is begun
};

/// Spawns "counter" on `node`, sends it `total` numbers a few at a time, then ends it (earlier, if
/// `reporter.ends` says so: its total is then what it has sent); finds out
/// for itself when the other end is lost, and stays a while to see whether it is told again.
std::unique_ptr<Process> make_pair_process(std::shared_ptr<PairRecord> record, Reporter reporter,
                                           Pid node);

/// What happened in one conversation.
struct TalkRecord {
  std::optional<ConversationId> id;
  std::optional<Error> not_opened;
  int requests = 0;
  int outcomes = 0;  // of requests; each exactly one
  int replies = 0;
  std::map<Errc, int> errors;
  bool closed = false;
  std::optional<ConversationState> end;
  std::optional<ConversationHandle> open;  // while it is
  int exits_told = 0;                      // how often its exit notifier was called
};

/// Opens a conversation with `service`, sends `requests` one after another, a few at a time, waits
/// for each with a timeout, closes.
std::unique_ptr<Process> make_talk_process(std::shared_ptr<TalkRecord> record,
                                           std::shared_ptr<Violations> violations,
                                           ConversationSupervisor& supervisor, ServiceName service,
                                           int requests, Duration timeout);

/// The services that simulated nodes offer: "counter" and "echo", "fragile", an echo that crashes
/// on its third request, and "mortal" (workload_ties.hpp).
Result<std::unique_ptr<Process>> make_service(const signal::SpawnRequest& request,
                                              const std::shared_ptr<Violations>& violations,
                                              const std::shared_ptr<int>& live_instances);

}  // namespace liminal::sim
