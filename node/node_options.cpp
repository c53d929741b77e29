#include "node/node_options.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "common/wire/limits.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kMost = 1'000'000'000;
constexpr std::uint64_t kSmallest = std::uint64_t{64} * 1024;  // below, a bound stops everything

std::optional<std::string> wrong_service(const std::string& value) {
  if (parse_service(value)) return std::nullopt;
  return "NAME=KIND, where KIND is " + std::string{kServiceKinds} + ", e.g. upper=exec:tr a-z A-Z";
}

std::optional<std::string> wrong_compensation(const std::string& value) {
  if (parse_compensation(value)) return std::nullopt;
  return std::string{kCompensationForm};
}

/// Gives each service its compensation. Errors: kUsage.
Result<void> add_compensations(const config::Parsed& parsed,
                               std::vector<ServiceDefinition>& services) {
  const auto& texts = parsed.values("compensate");
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto compensation = parse_compensation(texts[i]);
    if (!compensation) return tl::unexpected<Error>(std::move(compensation.error()));
    const auto service = std::find_if(
        services.begin(), services.end(),
        [&](const ServiceDefinition& each) { return each.name == compensation->service; });
    if (service == services.end()) {
      return tl::unexpected(
          parsed.complaint("compensate", i, "the name of a --service of this node"));
    }
    if (service->compensation) {
      return tl::unexpected(parsed.complaint("compensate", i, "each service once"));
    }
    service->compensation = std::move(compensation->command);
  }
  return {};
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
  options.push_back({.name = "compensate",
                     .placeholder = "NAME=exec:COMMAND",
                     .help = "what undoes the requests of a service: the request on stdin, its "
                             "reply on descriptor 3",
                     .repeatable = true,
                     .wrong = wrong_compensation});
  options.push_back({.name = "label",
                     .placeholder = "KEY=VALUE",
                     .help = "something to know the node by",
                     .repeatable = true,
                     .wrong = expect::label()});
  options.push_back({.name = "join-timeout",
                     .placeholder = "DURATION",
                     .help = "how long to try an absent broker",
                     .default_value = "30s",
                     .wrong = expect::duration(1ms, Node::kLongestTimeout)});
  options.push_back({.name = "isolation-timeout",
                     .placeholder = "DURATION",
                     .help = "how long without a broker the node keeps what it shares with others; "
                             "longer than the broker's down-after and recovery together",
                     .default_value = "60s",
                     .wrong = expect::duration(1s, Node::kLongestTimeout)});
  options.push_back({.name = "turn-max",
                     .placeholder = "DURATION",
                     .help = "a turn of a behaviour this long is logged, and a spare thread takes "
                             "over the others; shorter than the broker's down-after",
                     .default_value = "500ms",
                     .wrong = expect::duration(1ms, 1h)});
  options.push_back({.name = "log-level",
                     .placeholder = "LEVEL",
                     .help = "debug, info, warning, error or off",
                     .default_value = "info",
                     .wrong = expect::one_of({"debug", "info", "warning", "error", "off"})});
  const auto limit = [&](const char* name, const char* placeholder, const char* help,
                         const char* default_value, config::Wrong wrong) {
    options.push_back({.name = name,
                       .placeholder = placeholder,
                       .help = help,
                       .default_value = default_value,
                       .wrong = std::move(wrong)});
  };
  limit("mailbox-max", "N", "messages that wait for one process", "4096", expect::number(1, kMost));
  limit("mailbox-bytes-max", "SIZE", "what they take together", "64MiB", expect::size(kSmallest));
  limit("outbox-max", "SIZE", "what waits for one other node", "64MiB", expect::size(kSmallest));
  limit("participants-max", "N", "instances of services at once", "10000",
        expect::number(1, kMost));
  limit("conversations-max", "N", "conversations at once", "10000", expect::number(1, kMost));
  limit("links-max", "N", "links and monitors of one process", "100000", expect::number(1, kMost));
  limit("credit-window", "SIZE", "what another node may have under way to this one", "4MiB",
        expect::size(wire::kFirstCreditBytes));
  limit("reassembly-max", "SIZE", "large payloads of one other node that are taken in at once",
        "64MiB", expect::size(kSmallest));
  limit("dead-letters-max", "N", "undelivered messages that are kept to be looked at", "1024",
        expect::number(1, kMost));
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
  options.node.turn_max = parsed.duration("turn-max");
  const auto number = [&](const char* name) {
    return static_cast<std::size_t>(parsed.number(name));
  };
  const auto size = [&](const char* name) { return static_cast<std::size_t>(parsed.size(name)); };
  options.node.limits = {
      .mailbox = {.messages_max = number("mailbox-max"), .bytes_max = size("mailbox-bytes-max")},
      .outbox_bytes_max = size("outbox-max"),
      .participants_max = number("participants-max"),
      .conversations_max = number("conversations-max"),
      .links_max = number("links-max"),
      .credit_window_bytes = size("credit-window"),
      .reassembly_bytes_max = size("reassembly-max"),
      .dead_letters_max = number("dead-letters-max")};
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
  if (auto added = add_compensations(parsed, options.services); !added) {
    return tl::unexpected<Error>(std::move(added.error()));
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
