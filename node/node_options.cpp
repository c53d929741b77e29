#include "node/node_options.hpp"

#include <set>
#include <utility>

#include "common/wire/limits.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

std::optional<std::string> wrong_service(const std::string& value) {
  if (parse_service(value)) return std::nullopt;
  return "NAME=KIND, where KIND is " + std::string{kServiceKinds} + ", e.g. upper=exec:tr a-z A-Z";
}

}  // namespace

config::Options node_option_table() {
  using config::Option;
  namespace expect = config::expect;
  std::vector<Option> options;
  options.push_back({.name = "name",
                     .placeholder = "NAME",
                     .help = "the node's name, unique in the cluster",
                     .required = true,
                     .wrong = expect::name()});
  options.push_back({.name = "broker",
                     .placeholder = "ENDPOINT",
                     .help = "the broker to join; 'none' runs the node alone",
                     .default_value = "tcp://127.0.0.1:7411",
                     .wrong = expect::connect_endpoint_or_none()});
  options.push_back({.name = "service",
                     .placeholder = "NAME=KIND",
                     .help = "a service to offer; KIND is " + std::string{kServiceKinds},
                     .repeatable = true,
                     .wrong = wrong_service});
  options.push_back({.name = "label",
                     .placeholder = "KEY=VALUE",
                     .help = "something to know the node by",
                     .repeatable = true,
                     .wrong = expect::label()});
  options.push_back({.name = "join-timeout",
                     .placeholder = "DURATION",
                     .help = "how long to try an absent broker",
                     .default_value = "30s",
                     .wrong = expect::duration(1ms)});
  options.push_back({.name = "isolation-timeout",
                     .placeholder = "DURATION",
                     .help = "how long without a broker the node keeps what it shares with others; "
                             "longer than the broker's down-after and recovery together",
                     .default_value = "60s",
                     .wrong = expect::duration(1s)});
  options.push_back({.name = "log-level",
                     .placeholder = "LEVEL",
                     .help = "debug, info, warning, error or off",
                     .default_value = "info",
                     .wrong = expect::one_of({"debug", "info", "warning", "error", "off"})});
  return {{.program = "liminal-node",
           .arguments = "--name NAME [OPTION]...",
           .summary = "Runs participants: joins a broker and answers for the services it offers."},
          std::move(options)};
}

Result<NodeOptions> read_node_options(const config::Parsed& parsed) {
  NodeOptions options{.node = {.name = NodeName{parsed.value("name")}, .broker = {}},
                      .services = {},
                      .join_timeout = parsed.duration("join-timeout"),
                      .log_level = parsed.value("log-level")};
  options.node.isolation_timeout = parsed.duration("isolation-timeout");
  if (parsed.value("broker") != "none") options.node.broker = parsed.value("broker");

  std::set<ServiceName> names;
  for (const auto& text : parsed.values("service")) {
    auto service = parse_service(text);
    if (!service) return tl::unexpected<Error>(std::move(service.error()));
    if (!names.insert(service->name).second) {
      return fail(Errc::kUsage, "service '" + service->name.value() +
                                    "' is given twice (--service): give each service once");
    }
    options.services.push_back(std::move(*service));
  }
  std::set<std::string> keys;
  for (const auto& text : parsed.values("label")) {
    const auto equals = text.find('=');
    std::string key = text.substr(0, equals);
    if (!keys.insert(key).second) {
      return fail(Errc::kUsage, "label '" + key + "' is given twice (--label): give each key once");
    }
    options.node.labels.emplace_back(std::move(key), text.substr(equals + 1));
  }
  const auto too_many = [](const char* what, std::size_t max) {
    return fail(Errc::kUsage, std::string{"too many values of --"} + what + ": give at most " +
                                  std::to_string(max));
  };
  if (options.services.size() > wire::kServicesMax) return too_many("service", wire::kServicesMax);
  if (options.node.labels.size() > wire::kLabelsMax) return too_many("label", wire::kLabelsMax);
  return options;
}

}  // namespace liminal
