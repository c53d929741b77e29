// Conversations under crash policies, and their participants: real ones, that take their time,
// crash before and after they had an effect, and write down what they did.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/conversation/conversation_supervisor.hpp"
#include "node/participant/participant_ledger.hpp"
#include "node/scheduler/scheduler.hpp"
#include "tests/sim/workload.hpp"

namespace liminal::sim {

/// One thing that a participant did.
struct Deed {
  /// Of a death only who and when counts: of one that crashed, or was killed from outside.
  enum class What : std::uint8_t { kBegun, kEffect, kUndoing, kUndone, kDied };
  What what;
  MessageId request;  // the effect's; of an undoing the one that is undone
  MessageId id;       // that it was asked with
  std::uint32_t attempt;
  ConversationId conversation;
  std::size_t node;  // its index
  Pid by;            // local to that node
  TimePoint at;
  // Of a death:
  std::optional<Pid> seen_as = {};            // at its conversation's node
  std::optional<Duration> known_within = {};  // there; nullopt: who knows
};

/// All that participants did on all nodes, in order: what survives every crash.
using DeedLedger = std::vector<Deed>;

/// What a request has its participant do.
struct Order {
  ConversationId conversation;  // the reply says both
  int number;
  Duration work = Duration::zero();
  bool poison = false;    // kills whoever takes it
  bool stubborn = false;  // undoing it crashes, whoever tries

  [[nodiscard]] Payload to_payload() const;
  [[nodiscard]] std::string reply() const;
  [[nodiscard]] static Order in(const Payload& payload);
};

/// What the participants of one run share.
struct PolicyStage {
  std::shared_ptr<Violations> violations = std::make_shared<Violations>();
  DeedLedger ledger = {};
  bool unlucky = true;  // participants crash now and then
  /// Whether that node lives: who dies at a fault point runs on to the end of its turn, and nothing
  /// of that counts.
  std::function<bool(std::size_t node)> lives = [](std::size_t) { return true; };
  /// Told of each deed, at its instant, before it is on the ledger.
  std::function<void(Deed& deed)> watch = [](Deed&) {};
};

inline constexpr std::size_t kPolicyServices = 4;
/// "s0" to "s3"; the last cannot undo anything.
[[nodiscard]] ServiceName policy_service(std::size_t number);

/// As Scheduler::ServiceFactory, on the node with that index; `stage` outlives what it makes.
Result<Scheduler::Instance> make_policy_service(const signal::SpawnRequest& request,
                                                PolicyStage& stage, std::size_t node,
                                                const std::shared_ptr<ParticipantLedger>& ledger);

/// One that conversations attach to: it does the same, and lives on.
std::unique_ptr<Process> make_policy_attached(PolicyStage& stage, std::size_t node,
                                              const std::shared_ptr<ParticipantLedger>& ledger);

/// What happened in one conversation, as its user saw it.
struct PolicyTalk {
  struct Request {
    int outcomes = 0;
    int replies = 0;
    std::optional<Errc> error;
    bool stubborn = false;
  };
  enum class Ending : std::uint8_t { kClose, kCloseEarly, kCancel, kOrphan };

  std::size_t node = 0;  // the index of the one that it was opened on
  std::optional<ConversationId> id;
  std::optional<Error> not_opened;
  Ending ending = Ending::kClose;
  bool poisoned = false;
  std::map<MessageId, Request> requests;
  std::optional<ConversationHandle> open;  // while it is
  std::optional<ConversationState> end;
  std::map<std::string, int> exits_told;  // how often each role's notifier was called
  bool over = false;
};

/// Opens a conversation with a config, sends requests to all of its roles, a few at a time, and
/// receives each reply; then, or before, ends it.
struct PolicyPlan {
  ConversationConfig config;
  int requests;
  PolicyTalk::Ending ending;
  Duration end_after;       // unless it is closed when all is received
  int poisoned = 0;         // this request, from 1; 0: none
  int stubborn_one_in = 0;  // requests whose undoing always crashes; 0: none
  Duration work_max;
};
/// `record` says where; `stage` outlives it.
std::unique_ptr<Process> make_policy_talk(std::shared_ptr<PolicyTalk> record, PolicyStage& stage,
                                          ConversationSupervisor& supervisor, PolicyPlan plan);

}  // namespace liminal::sim
