// The services that a node offers, and the making of their instances.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/result.hpp"
#include "node/participant/exec_participant.hpp"
#include "node/participant/participant_ledger.hpp"
#include "node/participant/participant_maker.hpp"
#include "node/participant/pipe_participant.hpp"
#include "node/scheduler/scheduler.hpp"

namespace liminal {

/// What an operator can have answer a service; a new kind is a new alternative.
namespace service_kind {

struct Echo {
  friend bool operator==(const Echo&, const Echo&) = default;
};
struct Exec {
  std::string command;
  friend bool operator==(const Exec&, const Exec&) = default;
};
struct Pipe {
  std::string command;
  friend bool operator==(const Pipe&, const Pipe&) = default;
};

}  // namespace service_kind

using ServiceKind = std::variant<service_kind::Echo, service_kind::Exec, service_kind::Pipe>;

/// What parse_service_kind() reads, for messages.
inline constexpr std::string_view kServiceKinds = "echo, exec:COMMAND or pipe:COMMAND";

struct ServiceDefinition {
  ServiceName name;
  ServiceKind kind;
  std::optional<std::string> compensation = {};  // the command that undoes; none: nothing does
  friend bool operator==(const ServiceDefinition&, const ServiceDefinition&) = default;
};

/// Whether its instances have children, be it to undo something: then a node needs a CommandRunner.
[[nodiscard]] bool has_children(const ServiceDefinition& definition);

/// Reads KIND: "echo", "exec:COMMAND" or "pipe:COMMAND". Errors: kUsage, saying what would be
/// right.
[[nodiscard]] Result<ServiceDefinition> parse_service_kind(const ServiceName& name,
                                                           std::string_view kind);

/// Reads NAME=KIND, e.g. "upper=exec:tr a-z A-Z". Errors: kUsage.
[[nodiscard]] Result<ServiceDefinition> parse_service(std::string_view text);

/// What undoes the requests of a service, whatever its kind.
struct CompensationDefinition {
  ServiceName service;
  std::string command;
  friend bool operator==(const CompensationDefinition&, const CompensationDefinition&) = default;
};

/// What parse_compensation() reads, for messages.
inline constexpr std::string_view kCompensationForm =
    "NAME=exec:COMMAND, e.g. charge=exec:./refund";

/// Reads NAME=exec:COMMAND. Errors: kUsage.
[[nodiscard]] Result<CompensationDefinition> parse_compensation(std::string_view text);

/// Makes processes; immutable once set up.
///
/// Thread-safety: make(), participants(), set_payload_bytes_max(), set_lease() and the other const
/// functions from any thread, once every add() is done. Lifetime: outlived by what ExecSupport
/// names. Processes that it made may outlive it.
class ServiceRegistry {
 public:
  struct Settings {
    NodeName node;
    std::size_t participants_max = 10000;  // beyond it make() is kRejected
    std::size_t pipe_children_max =
        256;  // instances of pipe services; beyond it make() is kRejected
    TimelineRecorder* timeline = nullptr;  // told what begins and is answered; null: nobody
  };

  /// What exec and pipe services need. `post` is the scheduler's send_local().
  struct ExecSupport {
    CommandRunner& runner;
    PostLocal post;
  };

  explicit ServiceRegistry(Settings settings, std::optional<ExecSupport> exec = std::nullopt);

  /// A service with a behaviour in C++. It compensates if the behaviour that the factory's type
  /// names does (kCompensates). Errors: kUsage if there is such a service, or its name is not
  /// valid.
  [[nodiscard]] Result<void> add(ServiceName name, ParticipantMaker maker);
  /// The same where the type does not say what it makes.
  [[nodiscard]] Result<void> add(ServiceName name, BehaviourFactory factory, Undo undo) {
    return add(std::move(name), ParticipantMaker{std::move(factory), undo});
  }
  /// Errors: as above; kUnsupported for children without ExecSupport.
  [[nodiscard]] Result<void> add(const ServiceDefinition& definition);

  /// In order.
  [[nodiscard]] std::vector<ServiceName> names() const;

  /// As Scheduler::ServiceFactory. Errors: kNoService; kRejected at participants_max and
  /// pipe_children_max.
  [[nodiscard]] Result<Scheduler::Instance> make(const signal::SpawnRequest& request) const;

  /// A participant of no service, counted like the others. Errors: kRejected at participants_max.
  [[nodiscard]] Result<Scheduler::Instance> make(const ParticipantMaker& maker) const;

  /// Participants that live.
  [[nodiscard]] std::size_t participants() const { return ledger_->live.load(); }
  /// Messages to participants that asked for nothing.
  [[nodiscard]] std::uint64_t ignored_messages() const { return ledger_->ignored_messages.load(); }

  /// Replies to requests that had expired while they were carried out.
  [[nodiscard]] std::uint64_t late_replies() const { return ledger_->late_replies.load(); }

  /// The longest reply; told at join. 16 MiB before.
  void set_payload_bytes_max(std::size_t bytes) { ledger_->payload_bytes_max.store(bytes); }
  /// Until when requests from other nodes may be begun; for ever before it is set.
  void set_lease(TimePoint until) { ledger_->lease_until.store(until); }

 private:
  using Made = Result<std::unique_ptr<Process>>;
  using Maker = std::function<Made(ParticipantSlot, const signal::SpawnRequest&)>;

  struct Offered {
    Maker make;
    bool compensates;
  };

  [[nodiscard]] Maker maker_of(const ServiceDefinition& definition,
                               const service_kind::Echo& echo) const;
  [[nodiscard]] Maker maker_of(const ServiceDefinition& definition,
                               const service_kind::Exec& exec) const;
  [[nodiscard]] Maker maker_of(const ServiceDefinition& definition,
                               const service_kind::Pipe& pipe) const;
  [[nodiscard]] Result<ParticipantSlot> take_slot() const;
  [[nodiscard]] Result<void> add_offered(ServiceName name, Offered offered);

  Settings settings_;
  std::optional<ExecSupport> exec_;
  std::map<ServiceName, Offered> offered_;
  std::shared_ptr<ParticipantLedger> ledger_ = std::make_shared<ParticipantLedger>();
};

}  // namespace liminal
