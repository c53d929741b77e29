// What the simulated nodes do: pairs of processes that count, and conversations, each keeping a
// record that is judged at the end.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/conversation/conversation_supervisor.hpp"
#include "node/scheduler/process.hpp"

namespace liminal::sim {

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
  std::uint64_t sent = 0;
  std::uint64_t echoed = 0;
  std::uint64_t deferred = 0;
  int exits = 0;
  int downs = 0;
  std::optional<ExitReason> exit_reason, down_reason;
  bool spawned = false, not_spawned = false;
  bool over = false;  // the process ended by itself
};

/// Spawns "counter" on `node`, sends it `total` numbers a few at a time, then ends it; finds out
/// for itself when the other end is lost.
std::unique_ptr<Process> make_pair_process(std::shared_ptr<PairRecord> record,
                                           std::shared_ptr<Violations> violations, Pid node,
                                           std::uint64_t total);

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

/// The services that simulated nodes offer: "counter" and "echo", and "fragile", an echo that
/// crashes on its third request.
Result<std::unique_ptr<Process>> make_service(const signal::SpawnRequest& request,
                                              const std::shared_ptr<Violations>& violations,
                                              const std::shared_ptr<int>& live_instances);

}  // namespace liminal::sim
