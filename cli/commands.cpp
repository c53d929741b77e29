#include "cli/commands.hpp"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <utility>

#include "cli/ask.hpp"
#include "cli/conversations.hpp"
#include "cli/output.hpp"
#include "cli/status.hpp"
#include "common/base/text.hpp"
#include "common/config/options.hpp"

namespace liminal::cli {
namespace {

using namespace std::chrono_literals;
using config::Option;
using config::Options;
using config::Parsed;
namespace expect = config::expect;

constexpr std::string_view kHelp =
    "usage: liminal COMMAND [OPTION]... [ARGUMENT]...\n"
    "\n"
    "  ask SERVICE [PAYLOAD]   one request; its reply on stdout, byte for byte\n"
    "  converse SERVICE...     a request per line of stdin; its reply as a line on stdout\n"
    "  status                  the broker and its nodes\n"
    "  conversations           those that are open, and the last that ended\n"
    "  timeline ID             what happened in one conversation, in order of cause\n"
    "  cancel ID               ends a conversation by its policy\n"
    "  wait NODE|SERVICE       returns when it is there\n"
    "\n"
    "  liminal COMMAND --help  says more, as does liminal help COMMAND; liminal --version\n";

Option broker_option(bool may_be_none) {
  return {.name = "broker",
          .placeholder = "ENDPOINT",
          .help = may_be_none ? "the broker to join; 'none': no broker" : "the broker to ask",
          .default_value = "tcp://127.0.0.1:7411",
          .wrong = may_be_none ? expect::connect_endpoint_or_none() : expect::connect_endpoint()};
}

Option duration_option(std::string name, std::string help, std::string otherwise) {
  return {.name = std::move(name),
          .placeholder = "DURATION",
          .help = std::move(help),
          .default_value = std::move(otherwise),
          .wrong = expect::duration(1ms)};
}

Option json_option(std::string help) {
  return {.name = "json", .help = std::move(help), .flag = true};
}

std::optional<CrashPolicy> policy_of(const std::string& name) {
  for (const CrashPolicy policy :
       {CrashPolicy::kFail, CrashPolicy::kRouteToNext, CrashPolicy::kCompensate}) {
    if (name == name_of(policy)) return policy;
  }
  return std::nullopt;
}

std::optional<std::string> wrong_policy(const std::string& value) {
  if (policy_of(value)) return std::nullopt;
  return "fail, route-to-next or compensate";
}

// What ask and converse have in common.
std::vector<Option> conversation_options() {
  std::vector<Option> options;
  options.push_back(broker_option(true));
  options.push_back(duration_option("timeout",
                                    "how long a reply may take, from the later of its request's "
                                    "sending and the answer to the one before",
                                    "5s"));
  options.push_back(
      duration_option("connect-timeout", "how long joining the broker may take", "2s"));
  options.push_back({.name = "on-crash",
                     .placeholder = "POLICY",
                     .help = "what a participant's crash means; fail: the conversation fails; "
                             "route-to-next: another node takes over what is unanswered; "
                             "compensate: what was done is undone",
                     .default_value = "fail",
                     .wrong = wrong_policy});
  options.push_back({.name = "deadline",
                     .placeholder = "DURATION",
                     .help = "how long the whole conversation may take; without it: no limit",
                     .wrong = expect::duration(1ms)});
  options.push_back({.name = "max-attempts",
                     .placeholder = "N",
                     .help = "route-to-next: how many participants one request is given to, one "
                             "after the other",
                     .default_value = "3",
                     .wrong = expect::number(1, 1000)});
  options.push_back({.name = "max-reroutes",
                     .placeholder = "N",
                     .help = "route-to-next: how often participants of the conversation may be "
                             "replaced",
                     .default_value = "8",
                     .wrong = expect::number(1, 1'000'000)});
  options.push_back(duration_option("compensation-timeout",
                                    "compensate: how long the undoing of one request may take, its "
                                    "waiting for a node included",
                                    "15s"));
  options.push_back({.name = "name",
                     .placeholder = "NAME",
                     .help = "of the node that this command is while it runs",
                     .wrong = expect::name()});
  return options;
}

ConversationOptions read_conversation_options(const Parsed& parsed) {
  ConversationOptions options{
      .broker = parsed.value("broker"),
      .name = parsed.has("name") ? parsed.value("name") : "",
      .timeout = parsed.duration("timeout"),
      .connect_timeout = parsed.duration("connect-timeout"),
      .on_crash = *policy_of(parsed.value("on-crash")),
      .compensation_timeout = parsed.duration("compensation-timeout"),
      .max_attempts = static_cast<std::uint32_t>(parsed.number("max-attempts")),
      .max_reroutes = static_cast<std::size_t>(parsed.number("max-reroutes")),
      .json = parsed.flag("json")};
  if (options.broker == "none") options.broker.reset();
  if (parsed.has("deadline")) options.deadline = parsed.duration("deadline");
  return options;
}

Result<ServiceName> service_argument(const std::string& text) {
  if (const auto right = expect::name()(text)) {
    return fail(Errc::kUsage,
                "service '" + escaped_tail(text, 100) + "' on the command line: write " + *right);
  }
  return ServiceName{text};
}

struct Command {
  std::string_view name;
  Options options;
  std::function<ExitCode(SignalWatch&, const Parsed&)> run;
};

ExitCode run_ask(SignalWatch& signals, const Parsed& parsed) {
  const auto& words = parsed.positionals();
  const auto service = service_argument(words[0]);
  if (!service) return report(service.error());
  std::optional<std::string> payload;
  if (words.size() > 1 && words[1] != "-") payload = words[1];
  return ask(signals, read_conversation_options(parsed), *service, payload);
}

ExitCode run_converse(SignalWatch& signals, const Parsed& parsed) {
  std::vector<ServiceName> services;
  for (const std::string& word : parsed.positionals()) {
    const auto service = service_argument(word);
    if (!service) return report(service.error());
    if (std::find(services.begin(), services.end(), *service) != services.end()) {
      return report({Errc::kUsage, "service '" + word + "' is named twice on the command line"});
    }
    services.push_back(*service);
  }
  return converse(signals, read_conversation_options(parsed), services,
                  static_cast<std::size_t>(parsed.number("window")));
}

// For commands that hold nothing that would have to be put in order.
void end_at_a_signal(SignalWatch& signals) {
  signals.on_signal([] { std::_Exit(static_cast<int>(ExitCode::kInterrupted)); });
}

ExitCode run_status(SignalWatch& signals, const Parsed& parsed) {
  end_at_a_signal(signals);
  return status(parsed.value("broker"), parsed.duration("connect-timeout"), parsed.flag("json"));
}

ExitCode run_conversations(SignalWatch& signals, const Parsed& parsed) {
  end_at_a_signal(signals);
  return conversations(parsed.value("broker"), parsed.duration("connect-timeout"),
                       static_cast<std::size_t>(parsed.number("ended")), parsed.flag("json"));
}

ExitCode run_timeline(SignalWatch& signals, const Parsed& parsed) {
  end_at_a_signal(signals);
  const auto conversation = conversation_argument(parsed.positionals()[0]);
  if (!conversation) return report(conversation.error());
  return timeline(parsed.value("broker"), parsed.duration("connect-timeout"), *conversation,
                  parsed.flag("json"));
}

ExitCode run_cancel(SignalWatch& signals, const Parsed& parsed) {
  end_at_a_signal(signals);
  const auto conversation = conversation_argument(parsed.positionals()[0]);
  if (!conversation) return report(conversation.error());
  return cancel(parsed.value("broker"), parsed.duration("connect-timeout"),
                parsed.duration("timeout"), *conversation);
}

ExitCode run_wait(SignalWatch& signals, const Parsed& parsed) {
  const std::string& name = parsed.positionals()[0];
  if (const auto right = expect::name()(name)) {
    return report(
        {Errc::kUsage, "'" + escaped_tail(name, 100) + "' on the command line: write " + *right});
  }
  return wait(signals, parsed.value("broker"), name, parsed.duration("timeout"));
}

std::vector<Command> commands() {
  std::vector<Command> all;

  auto options = conversation_options();
  options.push_back(json_option("print an object that also tells of the conversation"));
  all.push_back({"ask",
                 {{.program = "liminal ask",
                   .arguments = "[OPTION]... SERVICE [PAYLOAD]",
                   .summary = "One request to a participant of SERVICE; its reply on stdout, byte "
                              "for byte. Without PAYLOAD, or with -, stdin is the payload.",
                   .positionals_min = 1,
                   .positionals_max = 2},
                  std::move(options)},
                 run_ask});

  options = conversation_options();
  options.push_back({.name = "window",
                     .placeholder = "N",
                     .help = "how many requests may be unanswered at once; with several services "
                             "always one",
                     .default_value = "64",
                     .wrong = expect::number(1, 4096)});
  options.push_back(json_option("print one object a line, which also tells of the conversation"));
  all.push_back({"converse",
                 {{.program = "liminal converse",
                   .arguments = "[OPTION]... SERVICE...",
                   .summary = "One conversation: a request per line of stdin, its reply as a line "
                              "on stdout, in order. With several services each line is SERVICE, a "
                              "tab, the payload, and is sent when the one before was answered.",
                   .positionals_min = 1,
                   .positionals_max = 64},
                  std::move(options)},
                 run_converse});

  options = {broker_option(false),
             duration_option("connect-timeout", "how long the broker's answer may take", "2s"),
             json_option("print one JSON object")};
  all.push_back({"status",
                 {{.program = "liminal status",
                   .summary = "The broker, its nodes, their services, participants and "
                              "conversations."},
                  std::move(options)},
                 run_status});

  options = {broker_option(false),
             duration_option("connect-timeout", "how long the broker's answer may take", "2s"),
             {.name = "ended",
              .placeholder = "N",
              .help = "how many of those that ended are listed, the last first",
              .default_value = "100",
              .wrong = expect::number(0)},
             json_option("print one JSON object")};
  all.push_back({"conversations",
                 {{.program = "liminal conversations",
                   .summary = "The conversations that are open, and the last that ended, as their "
                              "nodes told the broker."},
                  std::move(options)},
                 run_conversations});

  options = {broker_option(false),
             duration_option("connect-timeout", "how long the broker's answer may take", "2s"),
             json_option("print one JSON object")};
  all.push_back({"timeline",
                 {{.program = "liminal timeline",
                   .arguments = "[OPTION]... ID",
                   .summary = "What happened in the conversation ID (32 hex digits), on all nodes, "
                              "in order of cause.",
                   .positionals_min = 1,
                   .positionals_max = 1},
                  std::move(options)},
                 run_timeline});

  options = {
      broker_option(false),
      duration_option("connect-timeout", "how long the broker's answer may take", "2s"),
      duration_option("timeout", "how long the conversation's node may take to answer", "5s")};
  all.push_back({"cancel",
                 {{.program = "liminal cancel",
                   .arguments = "[OPTION]... ID",
                   .summary = "Ends the conversation ID (32 hex digits) by its policy; returns "
                              "when its node has answered that it does.",
                   .positionals_min = 1,
                   .positionals_max = 1},
                  std::move(options)},
                 run_cancel});

  options = {broker_option(false), duration_option("timeout", "how long to wait", "30s")};
  all.push_back(
      {"wait",
       {{.program = "liminal wait",
         .arguments = "[OPTION]... NODE|SERVICE",
         .summary = "Returns when a node of that name has joined, or a joined node offers "
                    "a service of that name.",
         .positionals_min = 1,
         .positionals_max = 1},
        std::move(options)},
       run_wait});
  return all;
}

ExitCode print(SignalWatch& signals, std::string_view text) {
  end_at_a_signal(signals);  // it may wait for a reader
  const auto written = write_out(text);
  return written ? ExitCode::kDone : report(written.error());
}

}  // namespace

ExitCode run(SignalWatch& signals, const std::vector<std::string>& arguments) {
  const auto all = commands();
  std::string known;
  for (const auto& command : all) known += (known.empty() ? "" : ", ") + std::string{command.name};
  if (arguments.empty()) {
    return report({Errc::kUsage, "no command given: write one of " + known + ", or --help"});
  }
  if (arguments[0] == "--help" || arguments[0] == "-h") return print(signals, kHelp);
  if (arguments[0] == "help") {
    if (arguments.size() == 1) return print(signals, kHelp);
    return run(signals, {arguments[1], "--help"});
  }
  if (arguments[0] == "--version") {
    return print(signals, "liminal " + std::string{config::kProgramVersion} + "\n");
  }
  const auto command = std::find_if(all.begin(), all.end(),
                                    [&](const Command& c) { return c.name == arguments[0]; });
  if (command == all.end() && arguments[0].starts_with("-")) {
    return report({Errc::kUsage, "'" + escaped_tail(arguments[0], 63) +
                                     "' stands before the command: write liminal COMMAND "
                                     "[OPTION]..., with a COMMAND of " +
                                     known + "; or --help"});
  }
  if (command == all.end()) {
    return report({Errc::kUsage, "there is no command '" + escaped_tail(arguments[0], 63) +
                                     "': write one of " + known + ", or --help"});
  }
  std::vector<std::string> rest{arguments.begin() + 1, arguments.end()};
  if (!rest.empty() && rest[0] == "-h") rest[0] = "--help";
  const auto parsed = command->options.parse(rest, config::process_environment());
  if (!parsed) return report(parsed.error());
  if (parsed->outcome() != Parsed::Outcome::kRun) return print(signals, parsed->text());
  return command->run(signals, *parsed);
}

}  // namespace liminal::cli
