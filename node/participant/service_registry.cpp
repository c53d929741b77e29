#include "node/participant/service_registry.hpp"

#include <utility>

#include "common/base/text.hpp"

namespace liminal {

namespace {

std::string quoted(std::string_view text) { return "'" + escaped_tail(text, 200) + "'"; }

std::string at_service(const ServiceName& name) { return "service " + quoted(name.value()); }

/// The COMMAND of "exec:COMMAND", or nullopt if `kind` is of another kind.
std::optional<Result<std::string>> command_of(const ServiceName& name, std::string_view kind,
                                              const std::string& word) {
  if (!kind.starts_with(word + ':')) return std::nullopt;
  const std::string_view command = kind.substr(word.size() + 1);
  if (command.find_first_not_of(" \t\n") == command.npos) {
    return fail(Errc::kUsage,
                at_service(name) + ": " + word + " without a command: write " + word + ":COMMAND");
  }
  if (command.find('\0') != command.npos) {
    return fail(Errc::kUsage, at_service(name) + ": the command has a zero byte in it");
  }
  return std::string{command};
}

template <class Kind>
Result<ServiceDefinition> definition_of(const ServiceName& name, Result<std::string> command) {
  if (!command) return tl::unexpected(std::move(command.error()));
  return ServiceDefinition{name, Kind{*std::move(command)}};
}

}  // namespace

bool has_children(const ServiceKind& kind) {
  return !std::holds_alternative<service_kind::Echo>(kind);
}

Result<ServiceDefinition> parse_service_kind(const ServiceName& name, std::string_view kind) {
  if (kind == "echo") return ServiceDefinition{name, service_kind::Echo{}};
  if (auto command = command_of(name, kind, "exec")) {
    return definition_of<service_kind::Exec>(name, *std::move(command));
  }
  if (auto command = command_of(name, kind, "pipe")) {
    return definition_of<service_kind::Pipe>(name, *std::move(command));
  }
  return fail(Errc::kUsage, at_service(name) + ": kind " + quoted(kind.substr(0, kind.find(':'))) +
                                " does not exist: write " + std::string{kServiceKinds});
}

Result<ServiceDefinition> parse_service(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == text.npos) {
    return fail(Errc::kUsage,
                "service " + quoted(text) + ": write NAME=KIND, e.g. upper=exec:tr a-z A-Z");
  }
  const std::string_view name = text.substr(0, equals);
  if (!valid_name(name)) {
    return fail(Errc::kUsage, "service " + quoted(name) +
                                  ": a name is 1 to 63 of letters, digits, '.', '_' and '-'");
  }
  return parse_service_kind(ServiceName{std::string{name}}, text.substr(equals + 1));
}

ServiceRegistry::ServiceRegistry(Settings settings, std::optional<ExecSupport> exec)
    : settings_(std::move(settings)), exec_(std::move(exec)) {}

Result<void> ServiceRegistry::add(ServiceName name, BehaviourFactory factory) {
  return add_maker(std::move(name), maker_of(std::move(factory)));
}

Result<void> ServiceRegistry::add(const ServiceDefinition& definition) {
  if (has_children(definition.kind) && !exec_) {
    return fail(Errc::kUnsupported,
                at_service(definition.name) + ": this node was set up without commands");
  }
  return add_maker(definition.name,
                   std::visit([&](const auto& kind) { return maker_of(definition.name, kind); },
                              definition.kind));
}

ServiceRegistry::Maker ServiceRegistry::maker_of(BehaviourFactory factory) const {
  return [factory = std::move(factory)](ParticipantSlot slot, const signal::SpawnRequest&) -> Made {
    return std::make_unique<BehaviourParticipant>(std::move(slot), factory);
  };
}

ServiceRegistry::Maker ServiceRegistry::maker_of(const ServiceName&,
                                                 const service_kind::Echo&) const {
  return maker_of([] { return std::make_unique<EchoBehaviour>(); });
}

ServiceRegistry::Maker ServiceRegistry::maker_of(const ServiceName& name,
                                                 const service_kind::Exec& exec) const {
  ExecParticipant::Settings settings{
      .node = settings_.node, .service = name, .command = exec.command};
  return [settings = std::move(settings), support = *exec_](ParticipantSlot slot,
                                                            const signal::SpawnRequest&) -> Made {
    return std::make_unique<ExecParticipant>(std::move(slot), settings, support.runner,
                                             support.post);
  };
}

ServiceRegistry::Maker ServiceRegistry::maker_of(const ServiceName& name,
                                                 const service_kind::Pipe& pipe) const {
  return [name, command = pipe.command, support = *exec_, settings = settings_, ledger = ledger_](
             ParticipantSlot slot, const signal::SpawnRequest& request) -> Made {
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
        support.runner, support.post);
  };
}

Result<void> ServiceRegistry::add_maker(ServiceName name, Maker maker) {
  if (!valid_name(name.value())) return fail(Errc::kUsage, at_service(name) + ": not a valid name");
  std::string twice = at_service(name) + " is defined twice";
  const bool is_new = makers_.try_emplace(std::move(name), std::move(maker)).second;
  if (!is_new) return fail(Errc::kUsage, std::move(twice));
  return {};
}

std::vector<ServiceName> ServiceRegistry::names() const {
  std::vector<ServiceName> names;
  names.reserve(makers_.size());
  for (const auto& [name, maker] : makers_) names.push_back(name);
  return names;
}

Result<std::unique_ptr<Process>> ServiceRegistry::make(const signal::SpawnRequest& request) const {
  const auto maker = makers_.find(request.service);
  if (maker == makers_.end()) {
    return fail(Errc::kNoService, "no service " + quoted(request.service.value()) + " on node " +
                                      quoted(settings_.node.value()));
  }
  auto slot = ParticipantSlot::take(ledger_, settings_.participants_max);
  if (!slot) {
    return fail(Errc::kRejected, "node " + quoted(settings_.node.value()) + " has " +
                                     std::to_string(settings_.participants_max) +
                                     " participants (participants-max)");
  }
  return maker->second(*std::move(slot), request);
}

}  // namespace liminal
