#include "node/participant/service_registry.hpp"

#include <utility>

#include "common/base/text.hpp"

namespace liminal {

namespace {

std::string quoted(std::string_view text) { return "'" + escaped_tail(text, 200) + "'"; }

std::string at_service(const ServiceName& name) { return "service " + quoted(name.value()); }

}  // namespace

Result<ServiceDefinition> parse_service_kind(const ServiceName& name, std::string_view kind) {
  constexpr std::string_view kExecPrefix = "exec:";
  if (kind == "echo") return ServiceDefinition{name, service_kind::Echo{}};
  if (kind.starts_with(kExecPrefix)) {
    const std::string_view command = kind.substr(kExecPrefix.size());
    if (command.find_first_not_of(" \t\n") == command.npos) {
      return fail(Errc::kUsage, at_service(name) + ": exec without a command: write exec:COMMAND");
    }
    if (command.find('\0') != command.npos) {
      return fail(Errc::kUsage, at_service(name) + ": the command has a zero byte in it");
    }
    return ServiceDefinition{name, service_kind::Exec{std::string{command}}};
  }
  return fail(Errc::kUsage, at_service(name) + ": kind " + quoted(kind.substr(0, kind.find(':'))) +
                                " does not exist: write echo or exec:COMMAND");
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
  return add_maker(
      std::move(name),
      [factory = std::move(factory),
       requests_max = settings_.requests_max](ParticipantSlot slot) -> std::unique_ptr<Process> {
        return std::make_unique<BehaviourParticipant>(std::move(slot), requests_max, factory);
      });
}

Result<void> ServiceRegistry::add(const ServiceDefinition& definition) {
  if (std::holds_alternative<service_kind::Echo>(definition.kind)) {
    return add(definition.name, [] { return std::make_unique<EchoBehaviour>(); });
  }
  const auto& exec = std::get<service_kind::Exec>(definition.kind);
  if (!exec_) {
    return fail(Errc::kUnsupported,
                at_service(definition.name) + ": this node was set up without commands");
  }
  ExecParticipant::Settings settings{.node = settings_.node,
                                     .service = definition.name,
                                     .command = exec.command,
                                     .requests_max = settings_.requests_max};
  return add_maker(definition.name,
                   [settings = std::move(settings),
                    support = *exec_](ParticipantSlot slot) -> std::unique_ptr<Process> {
                     return std::make_unique<ExecParticipant>(std::move(slot), settings,
                                                              support.runner, support.post);
                   });
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
  return maker->second(*std::move(slot));
}

}  // namespace liminal
