// liminal-bench-broker: requests through the broker, in turns with a bare ZeroMQ forwarder.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bare_ends.hpp"
#include "measurement.hpp"
#include "node_ends.hpp"
#include "processes.hpp"

namespace liminal::bench {
namespace {

constexpr const char* kUsage =
    R"(usage: liminal-bench-broker [--rounds N] [--seconds S] [--quick] [--json] [--threads]
                            [--case NAME]... [--stack NAME]... [--payload BYTES]...
                            [--conversations N] [--in-flight N] [--workers N] [--anyway]

Requests from one node to another through liminal-broker, and the same bytes through a bare ZeroMQ
forwarder, in turns. Each measurement starts three processes of its own: middle, server, client.

  --rounds N      each round measures everything once (5)
  --seconds S     of each measurement, behind a warm-up of a quarter of it (1)
  --quick         1 round of 0.3 s: to see that it works, not to believe
  --case NAME     one-core: one request at a time, all processes on one core
                  pair: the same on all cores;  many: --in-flight requests at once
                  local, local-many: one process, no broker
                  (all)
  --stack NAME    forwarder: bare DEALERs and a bare ROUTER
                  broker: the same DEALERs through liminal-broker
                  processes: two nodes, a process asks an instance of a service
                  conversations: two nodes, a conversation's handle asks
                  (forwarder and conversations)
  --payload BYTES (64 and 1024)
  --conversations N  of the case many, which share its requests (10)
  --in-flight N   (1000)
  --workers N     of each node's scheduler (0: what it takes by itself)
  --threads       what each thread costs a request: CPU time, and how often it was put onto a core
  --json          one object instead of tables
  --anyway        in a Debug or sanitized build too
)";

[[noreturn]] void usage_error(const std::string& why) {
  std::fprintf(stderr, "error: Usage: %s\n%s", why.c_str(), kUsage);
  std::exit(2);
}

enum class Stack { kForwarder, kBroker, kProcesses, kConversations };
struct NamedStack {
  const char* name;
  Stack stack;
};
constexpr NamedStack kStacks[] = {{"forwarder", Stack::kForwarder},
                                  {"broker", Stack::kBroker},
                                  {"processes", Stack::kProcesses},
                                  {"conversations", Stack::kConversations}};

struct NamedCase {
  const char* name;
  bool one_core;
  bool many;
  bool local;
};
constexpr NamedCase kCases[] = {{"one-core", true, false, false},
                                {"pair", false, false, false},
                                {"many", false, true, false},
                                {"local", false, false, true},
                                {"local-many", false, true, true}};

struct Options {
  int rounds = 5;
  double seconds = 1;
  bool json = false, threads = false, anyway = false;
  std::vector<NamedCase> cases;
  std::vector<NamedStack> stacks;
  std::vector<std::size_t> payloads;
  std::size_t conversations = 10;
  std::size_t in_flight = 1000;
  unsigned workers = 0;
};

double number(std::string_view option, const std::string& text, double least, double most) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value >= least && value <= most)) {
    usage_error(std::string{option} + " takes a number from " + std::to_string(least) + " to " +
                std::to_string(most) + ", not '" + text + "'");
  }
  return value;
}

template <class Named, std::size_t size>
Named named(std::string_view option, const std::string& text, const Named (&all)[size]) {
  for (const Named& each : all) {
    if (text == each.name) return each;
  }
  usage_error("there is no " + std::string{option.substr(2)} + " '" + text + "'");
}

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) usage_error(std::string{option} + " needs a value");
      return argv[++i];
    };
    if (option == "--help" || option == "-h") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    } else if (option == "--rounds") {
      options.rounds = static_cast<int>(number(option, value(), 1, 1000));
    } else if (option == "--seconds") {
      options.seconds = number(option, value(), 0.05, 15);
    } else if (option == "--quick") {
      options.rounds = 1;
      options.seconds = 0.3;
    } else if (option == "--case") {
      options.cases.push_back(named(option, value(), kCases));
    } else if (option == "--stack") {
      options.stacks.push_back(named(option, value(), kStacks));
    } else if (option == "--payload") {
      options.payloads.push_back(static_cast<std::size_t>(number(option, value(), 0, 64 * 1024)));
    } else if (option == "--conversations") {
      options.conversations = static_cast<std::size_t>(number(option, value(), 1, 1000));
    } else if (option == "--in-flight") {
      options.in_flight = static_cast<std::size_t>(number(option, value(), 2, 4000));
    } else if (option == "--workers") {
      options.workers = static_cast<unsigned>(number(option, value(), 0, 256));
    } else if (option == "--threads") {
      options.threads = true;
    } else if (option == "--json") {
      options.json = true;
    } else if (option == "--anyway") {
      options.anyway = true;
    } else {
      usage_error("there is no option '" + std::string{option} + "'");
    }
  }
  if (options.cases.empty()) options.cases.assign(std::begin(kCases), std::end(kCases));
  if (options.stacks.empty()) options.stacks = {kStacks[0], kStacks[3]};
  if (options.payloads.empty()) options.payloads = {64, 1024};
  return options;
}

// --- one measurement ---

/// What each thread used for each request, by role and name; threads of one name are added up.
struct ThreadCost {
  double cpu_us = 0;
  double slices = 0;
};
using ThreadCosts = std::map<std::string, ThreadCost>;

struct Run {
  Sample sample;
  ThreadCosts threads;
};

struct Role {
  const char* name;
  const Child* child;
};
using Uses = std::map<pid_t, ThreadUse>;

Uses uses_of(const std::vector<Role>& roles) {
  Uses uses;
  for (const Role& role : roles) {
    for (ThreadUse& use : threads_of(role.child->pid())) {
      use.name = std::string{role.name} + " " + use.name;
      uses.emplace(use.id, std::move(use));
    }
  }
  return uses;
}

std::filesystem::path own_folder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path();
}

std::string endpoint_of(Stack stack, Child& middle) {
  std::string line = middle.line();
  if (stack == Stack::kForwarder) return line;
  constexpr std::string_view kReady = "ready broker ";
  if (!line.starts_with(kReady)) give_up("the broker said '" + line + "'");
  return line.substr(kReady.size());
}

/// Follows the client through its measurement.
Run follow(Child& client, const std::vector<Role>& roles, const Load& load) {
  if (client.line() != "begin") give_up("the client did not begin");
  const Uses before = uses_of(roles);
  Run run{sample_in(client.line()), {}};
  const double requests = run.sample.rate * std::chrono::duration<double>(load.measured).count();
  for (const auto& [id, after] : uses_of(roles)) {
    const auto found = before.find(id);
    if (found == before.end()) continue;
    ThreadCost& cost = run.threads[after.name];
    cost.cpu_us += static_cast<double>(after.cpu_ns - found->second.cpu_ns) / 1000 / requests;
    cost.slices += static_cast<double>(after.slices - found->second.slices) / requests;
  }
  return run;
}

Run measure_local(Stack stack, const Load& load, std::optional<int> core) {
  const Asker asker = stack == Stack::kConversations ? Asker::kConversation : Asker::kProcess;
  Child client{core,
               [&](const ChildLine& line) { run_node_client(line, asker, std::nullopt, load); }};
  return follow(client, {{"client", &client}}, load);
}

Run measure(Stack stack, const Load& load, std::optional<int> core) {
  std::unique_ptr<Child> middle;
  if (stack == Stack::kForwarder) {
    middle = std::make_unique<Child>(core, run_forwarder);
  } else {
    // Bounds beyond what a run takes, since the bare ends of one stack do not beat.
    middle = std::make_unique<Child>(
        core, std::vector<std::string>{own_folder() / "liminal-broker", "--listen",
                                       "tcp://127.0.0.1:*", "--suspect-after", "25s",
                                       "--down-after", "30s", "--log-level", "off"});
  }
  const std::string endpoint = endpoint_of(stack, *middle);
  const bool bare = stack == Stack::kForwarder || stack == Stack::kBroker;
  const Middle kind = stack == Stack::kForwarder ? Middle::kForwarder : Middle::kBroker;
  const Asker asker = stack == Stack::kConversations ? Asker::kConversation : Asker::kProcess;
  Child server{core, [&](const ChildLine& line) {
                 if (bare) return run_bare_server(line, kind, endpoint, load);
                 run_node_server(line, endpoint, load);
               }};
  if (server.line() != "ready") give_up("the server is not ready");
  Child client{core, [&](const ChildLine& line) {
                 if (bare) return run_bare_client(line, kind, endpoint, load);
                 run_node_client(line, asker, endpoint, load);
               }};
  return follow(client, {{"middle", middle.get()}, {"server", &server}, {"client", &client}}, load);
}

// --- results ---

struct Row {
  NamedCase in;
  std::size_t payload_bytes;
  NamedStack stack;
  std::vector<Run> runs = {};
  const Row* forwarder = nullptr;  // the row that it is compared with
};

/// A figure of each run; a ratio in which more than one is better or worse as the figure is.
struct Figure {
  const char* name;
  double Sample::*value;
};
std::vector<Figure> figures_of(const Row& row) {
  if (row.in.many) return {{"rate, 1/s", &Sample::rate}};
  return {{"median, us", &Sample::median_us}, {"p99, us", &Sample::p99_us}};
}
std::vector<double> values(const Row& row, const Figure& figure) {
  std::vector<double> all;
  for (const Run& run : row.runs) all.push_back(run.sample.*figure.value);
  return all;
}
/// Of each round, since its two measurements followed each other.
std::vector<double> ratios(const Row& row, const Figure& figure) {
  std::vector<double> all;
  if (row.forwarder == nullptr) return all;
  const auto ours = values(row, figure), theirs = values(*row.forwarder, figure);
  for (std::size_t i = 0; i < ours.size(); ++i) all.push_back(ours[i] / theirs[i]);
  return all;
}

struct Summary {
  double median, min, max;
};
Summary summary(const std::vector<double>& values) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  return {median(values), *min, *max};
}

ThreadCosts median_costs(const Row& row) {
  std::map<std::string, std::vector<double>> cpu, slices;
  for (const Run& run : row.runs) {
    for (const auto& [name, cost] : run.threads) {
      cpu[name].push_back(cost.cpu_us);
      slices[name].push_back(cost.slices);
    }
  }
  ThreadCosts costs;
  for (const auto& [name, each] : cpu) costs[name] = {median(each), median(slices[name])};
  return costs;
}

std::string processor() {
  std::ifstream file{"/proc/cpuinfo"};
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

void print_tables(const std::vector<Row>& rows, const Options& options) {
  std::printf("%s, %zu cores, build type %s, %d rounds of %g s\n", processor().c_str(),
              cores().size(), LIMINAL_BUILD_TYPE, options.rounds, options.seconds);
  std::printf("median of the rounds (least .. most); ratios to the forwarder, round by round\n\n");
  std::printf("%-10s %7s  %-14s %-11s %10s %22s  %s\n", "case", "payload", "stack", "figure",
              "median", "range", "ratio");
  for (const Row& row : rows) {
    for (const Figure& figure : figures_of(row)) {
      const Summary all = summary(values(row, figure));
      std::printf("%-10s %7zu  %-14s %-11s %10.1f %10.1f ..%9.1f", row.in.name, row.payload_bytes,
                  row.stack.name, figure.name, all.median, all.min, all.max);
      if (row.forwarder != nullptr) {
        const Summary ratio = summary(ratios(row, figure));
        std::printf("   %.2f (%.2f .. %.2f)", ratio.median, ratio.min, ratio.max);
      }
      std::printf("\n");
    }
    if (!options.threads) continue;
    double total = 0;
    for (const auto& [name, cost] : median_costs(row)) {
      std::printf("    %-28s %8.2f us CPU %8.2f times on a core, a request\n", name.c_str(),
                  cost.cpu_us, cost.slices);
      total += cost.cpu_us;
    }
    std::printf("    %-28s %8.2f us CPU\n", "all threads", total);
  }
}

void print_json(const std::vector<Row>& rows, const Options& options) {
  std::printf(
      "{\"cores\": %zu, \"build_type\": \"%s\", \"rounds\": %d, \"seconds\": %g, \"rows\": [",
      cores().size(), LIMINAL_BUILD_TYPE, options.rounds, options.seconds);
  const char* separator = "\n";
  const auto print_list = [](const char* name, const std::vector<double>& list) {
    std::printf(", \"%s\": [", name);
    for (std::size_t i = 0; i < list.size(); ++i) std::printf(i > 0 ? ", %.4f" : "%.4f", list[i]);
    std::printf("]");
  };
  for (const Row& row : rows) {
    for (const Figure& figure : figures_of(row)) {
      std::printf(
          "%s  {\"case\": \"%s\", \"payload_bytes\": %zu, \"stack\": \"%s\", \"figure\": \"%s\"",
          separator, row.in.name, row.payload_bytes, row.stack.name, figure.name);
      print_list("rounds", values(row, figure));
      if (row.forwarder != nullptr) print_list("ratios", ratios(row, figure));
      std::printf("}");
      separator = ",\n";
    }
  }
  std::printf("\n]}\n");
}

/// Those of one case and payload follow each other, so that a round measures them side by side.
std::vector<Row> rows_for(const Options& options) {
  std::vector<Row> rows;
  for (const NamedCase& in : options.cases) {
    for (const std::size_t bytes : options.payloads) {
      for (const NamedStack& stack : options.stacks) {
        const bool bare = stack.stack == Stack::kForwarder || stack.stack == Stack::kBroker;
        if (!in.local || !bare) rows.push_back({in, bytes, stack});
      }
    }
  }
  for (Row& row : rows) {
    for (const Row& other : rows) {
      if (other.stack.stack == Stack::kForwarder && row.stack.stack != Stack::kForwarder &&
          other.payload_bytes == row.payload_bytes &&
          row.in.name == std::string_view{other.in.name})
        row.forwarder = &other;
    }
  }
  return rows;
}

int run(const Options& options) {
  const std::string build = LIMINAL_BUILD_TYPE, sanitized = LIMINAL_SANITIZED;
  if (build != "Release" || !sanitized.empty()) {
    std::fprintf(stderr, "%s: a %s build%s%s is not what ships\n",
                 options.anyway ? "warning" : "error", build.empty() ? "nameless" : build.c_str(),
                 sanitized.empty() ? "" : " with sanitizers ", sanitized.c_str());
    if (!options.anyway) return 1;
  }
  std::vector<Row> rows = rows_for(options);
  const std::vector<int> usable = cores();
  const auto measured =
      std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(options.seconds));
  for (int round = 0; round < options.rounds; ++round) {
    for (Row& row : rows) {
      const Load load{.in_flight = row.in.many ? options.in_flight : 1,
                      .payload_bytes = row.payload_bytes,
                      .warm_up = measured / 4,
                      .measured = measured,
                      .conversations = options.conversations,
                      .workers = options.workers};
      const std::optional<int> core =
          row.in.one_core ? std::optional<int>{usable.back()} : std::nullopt;
      row.runs.push_back(row.in.local ? measure_local(row.stack.stack, load, core)
                                      : measure(row.stack.stack, load, core));
    }
    if (::isatty(STDERR_FILENO) != 0) {
      std::fprintf(stderr, "\rround %d of %d%s", round + 1, options.rounds,
                   round + 1 == options.rounds ? "\n" : "");
    }
  }
  options.json ? print_json(rows, options) : print_tables(rows, options);
  return 0;
}

}  // namespace
}  // namespace liminal::bench

int main(int argc, char** argv) {
  return liminal::bench::run(liminal::bench::read_options(argc, argv));
}
