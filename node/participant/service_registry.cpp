#include "node/participant/service_registry.hpp"

#include <utility>

#include "common/base/text.hpp"

namespace liminal {

namespace {

std::string quoted(std::string_view text) { return "'" + escaped_tail(text, 200) + "'"; }

std::string at_service(const ServiceName& name) { return "service " + quoted(name.value()); }

/// The COMMAND of "exec:COMMAND", or nullopt if `kind` is of another kind. `what` it is for.
std::optional<Result<std::string>> command_of(const std::string& what, std::string_view kind,
                                              const std::string& word) {
  if (!kind.starts_with(word + ':')) return std::nullopt;
  const std::string_view command = kind.substr(word.size() + 1);
  if (command.find_first_not_of(" \t\n") == command.npos) {
    return fail(Errc::kUsage,
                what + ": " + word + " without a command: write " + word + ":COMMAND");
  }
  if (command.find('\0') != command.npos) {
    return fail(Errc::kUsage, what + ": the command has a zero byte in it");
  }
  return std::string{command};
}

/// The halves of NAME=KIND; `what` it is, and how it is written, for the error.
Result<std::pair<ServiceName, std::string_view>> name_and_kind(const std::string& what,
                                                               std::string_view text,
                                                               std::string_view form) {
  const std::size_t equals = text.find('=');
  if (equals == text.npos) {
    return fail(Errc::kUsage, what + " " + quoted(text) + ": write " + std::string{form});
  }
  const std::string_view name = text.substr(0, equals);
  if (!valid_name(name)) {
    return fail(Errc::kUsage, what + " " + quoted(name) +
                                  ": a name is 1 to 63 of letters, digits, '.', '_' and '-'");
  }
  return std::pair{ServiceName{std::string{name}}, text.substr(equals + 1)};
}

template <class Kind>
Result<ServiceDefinition> definition_of(const ServiceName& name, Result<std::string> command) {
  if (!command) return tl::unexpected(std::move(command.error()));
  return ServiceDefinition{name, Kind{*std::move(command)}, std::nullopt};
}

}  // namespace

bool has_children(const ServiceDefinition& definition) {
  return definition.compensation || !std::holds_alternative<service_kind::Echo>(definition.kind);
}

Result<ServiceDefinition> parse_service_kind(const ServiceName& name, std::string_view kind) {
  if (kind == "echo") return ServiceDefinition{name, service_kind::Echo{}};
  if (auto command = command_of(at_service(name), kind, "exec")) {
    return definition_of<service_kind::Exec>(name, *std::move(command));
  }
  if (auto command = command_of(at_service(name), kind, "pipe")) {
    return definition_of<service_kind::Pipe>(name, *std::move(command));
  }
  return fail(Errc::kUsage, at_service(name) + ": kind " + quoted(kind.substr(0, kind.find(':'))) +
                                " does not exist: write " + std::string{kServiceKinds});
}

Result<ServiceDefinition> parse_service(std::string_view text) {
  auto halves = name_and_kind("service", text, "NAME=KIND, e.g. upper=exec:tr a-z A-Z");
  if (!halves) return tl::unexpected(std::move(halves.error()));
  return parse_service_kind(halves->first, halves->second);
}

Result<CompensationDefinition> parse_compensation(std::string_view text) {
  auto halves = name_and_kind("compensation", text, kCompensationForm);
  if (!halves) return tl::unexpected(std::move(halves.error()));
  auto& [name, kind] = *halves;
  const std::string what = "compensation of service " + quoted(name.value());
  auto command = command_of(what, kind, "exec");
  if (!command) {
    return fail(Errc::kUsage, what + ": kind " + quoted(kind.substr(0, kind.find(':'))) +
                                  " undoes nothing: write exec:COMMAND");
  }
  if (!*command) return tl::unexpected(std::move(command->error()));
  return CompensationDefinition{std::move(name), *std::move(*command)};
}

ServiceRegistry::ServiceRegistry(Settings settings, std::optional<ExecSupport> exec)
    : settings_(std::move(settings)), exec_(std::move(exec)) {
  ledger_->timeline = settings_.timeline;
}

Result<void> ServiceRegistry::add(ServiceName name, ParticipantMaker maker) {
  const bool compensates = maker.compensates();
  return add_offered(
      std::move(name),
      {[maker = std::move(maker)](ParticipantSlot slot, const signal::SpawnRequest&) -> Made {
         return maker.make(std::move(slot));
       },
       compensates});
}

Result<void> ServiceRegistry::add(const ServiceDefinition& definition) {
  if (has_children(definition) && !exec_) {
    return fail(Errc::kUnsupported,
                at_service(definition.name) + ": this node was set up without commands");
  }
  return add_offered(
      definition.name,
      {std::visit([&](const auto& kind) { return maker_of(definition, kind); }, definition.kind),
       definition.compensation.has_value()});
}

namespace {

/// Makes the commands of one service.
class CommandMaker {
 public:
  CommandMaker(NodeName node, ServiceName service, ServiceRegistry::ExecSupport support)
      : node_(std::move(node)), service_(std::move(service)), support_(std::move(support)) {}

  [[nodiscard]] ServiceCommand make(const std::string& command) const {
    return {
        {.node = node_, .service = service_, .command = command}, support_.runner, support_.post};
  }
  [[nodiscard]] std::optional<ServiceCommand> make(
      const std::optional<std::string>& command) const {
    if (!command) return std::nullopt;
    return make(*command);
  }

 private:
  NodeName node_;
  ServiceName service_;
  ServiceRegistry::ExecSupport support_;
};

}  // namespace

ServiceRegistry::Maker ServiceRegistry::maker_of(const ServiceDefinition& definition,
                                                 const service_kind::Echo&) const {
  const auto factory = [] { return std::make_unique<EchoBehaviour>(); };
  if (!definition.compensation) {
    return [factory](ParticipantSlot slot, const signal::SpawnRequest&) -> Made {
      return std::make_unique<BehaviourParticipant>(std::move(slot), factory);
    };
  }
  return [factory, undo = definition.compensation,
          commands = CommandMaker{settings_.node, definition.name, *exec_}](
             ParticipantSlot slot, const signal::SpawnRequest&) -> Made {
    return std::make_unique<BehaviourParticipant>(std::move(slot), factory, commands.make(undo));
  };
}

ServiceRegistry::Maker ServiceRegistry::maker_of(const ServiceDefinition& definition,
                                                 const service_kind::Exec& exec) const {
  return [command = exec.command, undo = definition.compensation,
          commands = CommandMaker{settings_.node, definition.name, *exec_}](
             ParticipantSlot slot, const signal::SpawnRequest&) -> Made {
    return std::make_unique<ExecParticipant>(std::move(slot), commands.make(command),
                                             commands.make(undo));
  };
}

ServiceRegistry::Maker ServiceRegistry::maker_of(const ServiceDefinition& definition,
                                                 const service_kind::Pipe& pipe) const {
  return [name = definition.name, command = pipe.command, undo = definition.compensation,
          commands = CommandMaker{settings_.node, definition.name, *exec_}, support = *exec_,
          settings = settings_,
          ledger = ledger_](ParticipantSlot slot, const signal::SpawnRequest& request) -> Made {
    auto child = PipeChildSlot::take(ledger, settings.pipe_children_max);
    if (!child) {
      return fail(Errc::kRejected, "node " + quoted(settings.node.value()) + " has " +
                                       std::to_string(settings.pipe_children_max) +
                                       " children of pipe services (pipe-children-max)");
    }
    return std::make_unique<PipeParticipant>(
        std::move(slot), *std::move(child),
        PipeParticipant::Settings{.node = settings.node,
                                  .service = name,
                                  .conversation = request.conversation,
                                  .command = command},
        support.runner, support.post, commands.make(undo));
  };
}

Result<void> ServiceRegistry::add_offered(ServiceName name, Offered offered) {
  if (!valid_name(name.value())) return fail(Errc::kUsage, at_service(name) + ": not a valid name");
  std::string twice = at_service(name) + " is defined twice";
  const bool is_new = offered_.try_emplace(std::move(name), std::move(offered)).second;
  if (!is_new) return fail(Errc::kUsage, std::move(twice));
  return {};
}

std::vector<ServiceName> ServiceRegistry::names() const {
  std::vector<ServiceName> names;
  names.reserve(offered_.size());
  for (const auto& [name, offered] : offered_) names.push_back(name);
  return names;
}

Result<Scheduler::Instance> ServiceRegistry::make(const signal::SpawnRequest& request) const {
  const auto found = offered_.find(request.service);
  if (found == offered_.end()) {
    return fail(Errc::kNoService, "no service " + quoted(request.service.value()) + " on node " +
                                      quoted(settings_.node.value()));
  }
  auto slot = take_slot();
  if (!slot) return tl::unexpected(std::move(slot.error()));
  auto made = found->second.make(*std::move(slot), request);
  if (!made) return tl::unexpected(std::move(made.error()));
  return Scheduler::Instance{*std::move(made), found->second.compensates};
}

Result<Scheduler::Instance> ServiceRegistry::make(const ParticipantMaker& maker) const {
  auto slot = take_slot();
  if (!slot) return tl::unexpected(std::move(slot.error()));
  return Scheduler::Instance{maker.make(*std::move(slot)), maker.compensates()};
}

Result<ParticipantSlot> ServiceRegistry::take_slot() const {
  if (auto slot = ParticipantSlot::take(ledger_, settings_.participants_max)) {
    return *std::move(slot);
  }
  return fail(Errc::kRejected, "node " + quoted(settings_.node.value()) + " has " +
                                   std::to_string(settings_.participants_max) +
                                   " participants (participants-max)");
}

}  // namespace liminal
