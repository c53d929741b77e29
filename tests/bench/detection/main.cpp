// liminal-bench-detection: how soon a waiting receiver knows of a death, and how many are made up.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "cases.hpp"
#include "false_deaths.hpp"
#include "roles.hpp"

namespace liminal::bench {
namespace {

constexpr const char* kUsage =
    R"(usage: liminal-bench-detection [--case NAME]... [--trials N] [--at-once N] [--json] [--anyway]
       liminal-bench-detection --false-deaths [--condition NAME]... [--nodes N] [--minutes M]

How soon a receiver that waits for a reply knows that none will come, from real programs with their
default settings, on loopback or on hosts made of network namespaces. LIMINAL_BIN names the folder
of the programs; without it they are looked for beside this one.

  --case NAME       one of those below (all)
  --trials N        of each case (200 where something is killed, 50 of the others)
  --at-once N       brokers, each with a victim and a receiver of its own (each case's own: 1,
                    4 or 8)
  --false-deaths    instead: nodes that live and do nothing, and how many are declared dead
  --condition NAME  idle, busy (8 busy loops), loss-1, loss-5 (% of frames, each way) (all)
  --nodes N         that join (60)
  --minutes M       for which they live; 60 nodes for 4 minutes are 4 node-hours (4)
  --json            one object instead of a table
  --anyway          in a Debug or sanitized build too

Exit status: 0, and 1 where something could not be measured, went otherwise than promised, took
longer than promised, or was declared dead although it lived.

)";

struct Options {
  std::vector<std::string> cases;
  std::vector<std::string> conditions;
  int trials = 0;   // 0: each case's own
  int at_once = 0;  // 0: each case's own
  bool false_deaths = false;
  int nodes = 60;
  double minutes = 4;
  bool json = false;
  bool anyway = false;
};

[[noreturn]] void usage_error(const std::string& why) {
  std::fprintf(stderr, "error: Usage: %s\n       --help says more\n", why.c_str());
  std::exit(2);
}

[[noreturn]] void help() {
  std::fputs(kUsage, stdout);
  for (const Case& one : all_cases()) std::printf("  %-22s  %s\n", one.name, one.measures);
  std::exit(0);
}

int read_count(const std::string& flag, const std::string& text, int max) {
  int value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc{} || read.ptr != text.data() + text.size() || value < 1 || value > max) {
    usage_error(flag + " wants a number from 1 to " + std::to_string(max) + ", not '" + text + "'");
  }
  return value;
}

double read_minutes(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value > 0 && value <= 1440)) {
    usage_error("--minutes wants a number above 0, at most 1440, not '" + text + "'");
  }
  return value;
}

template <class Named>
std::string read_name(const std::string& flag, const std::string& text,
                      const std::vector<Named>& all) {
  std::string known;
  for (const Named& one : all) {
    if (text == one.name) return text;
    known += std::string{known.empty() ? "" : ", "} + one.name;
  }
  usage_error(flag + " is one of " + known + ", not '" + text + "'");
}

Options read_options(const Words& arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& flag = arguments[i];
    const auto value = [&] {
      if (i + 1 == arguments.size()) usage_error(flag + " wants a value");
      return arguments[++i];
    };
    if (flag == "--help") help();
    if (flag == "--case") {
      options.cases.push_back(read_name(flag, value(), all_cases()));
    } else if (flag == "--condition") {
      options.conditions.push_back(read_name(flag, value(), all_conditions()));
    } else if (flag == "--trials") {
      options.trials = read_count(flag, value(), 100'000);
    } else if (flag == "--at-once") {
      options.at_once = read_count(flag, value(), 64);
    } else if (flag == "--nodes") {
      options.nodes = read_count(flag, value(), 1000);
    } else if (flag == "--minutes") {
      options.minutes = read_minutes(value());
    } else if (flag == "--false-deaths") {
      options.false_deaths = true;
    } else if (flag == "--json") {
      options.json = true;
    } else if (flag == "--anyway") {
      options.anyway = true;
    } else {
      usage_error("there is no option '" + flag + "'");
    }
  }
  if (!options.false_deaths && !options.conditions.empty()) {
    usage_error("--condition goes with --false-deaths");
  }
  if (options.false_deaths && !options.cases.empty()) {
    usage_error("--case does not go with --false-deaths");
  }
  return options;
}

template <class Named>
bool is_wanted(const Named& one, const std::vector<std::string>& wanted) {
  return wanted.empty() || std::find(wanted.begin(), wanted.end(), one.name) != wanted.end();
}

/// The smallest value that at least that share does not exceed. REQUIRES: sorted, not empty.
double quantile(const std::vector<double>& sorted, double share) {
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::max<std::size_t>(rank, 1) - 1];
}

std::string quoted(const std::string& text) {
  std::string all = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') all += '\\';
    all += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return all + "\"";
}

/// Objects of an array, with commas between them, or lines.
class Report {
 public:
  Report(bool json, const char* of) : json_(json) {
    if (json_) std::printf("{\"%s\":[", of);
  }
  ~Report() {
    if (json_) std::printf("]}\n");
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;
  void begin_object() {
    if (json_ && !first_) std::printf(",");
    first_ = false;
  }

 private:
  bool json_;
  bool first_ = true;
};

/// Whether it went as promised.
bool report_case(const Case& one, const std::vector<Trial>& trials, const Options& options,
                 Report& report) {
  std::vector<double> ms;
  std::vector<std::string> wrong;
  for (const Trial& trial : trials) {
    if (trial.wrong.empty()) {
      ms.push_back(trial.ms);
    } else {
      wrong.push_back(trial.wrong);
    }
  }
  std::sort(ms.begin(), ms.end());
  const bool any = !ms.empty();
  const double least = any ? ms.front() : 0, p50 = any ? quantile(ms, 0.5) : 0,
               p99 = any ? quantile(ms, 0.99) : 0, most = any ? ms.back() : 0;
  const bool held = any && wrong.empty() && (!one.p99_max_ms || p99 <= *one.p99_max_ms);
  report.begin_object();
  if (options.json) {
    std::printf(
        "{\"case\":%s,\"measures\":%s,\"trials\":%zu,\"wrong\":%zu,\"min_ms\":%.2f,"
        "\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f,\"p99_promised_ms\":%s,"
        "\"held\":%s}",
        quoted(one.name).c_str(), quoted(one.measures).c_str(), trials.size(), wrong.size(), least,
        p50, p99, most, one.p99_max_ms ? std::to_string(*one.p99_max_ms).c_str() : "null",
        held ? "true" : "false");
  } else {
    std::printf("%-22s %6zu %9.2f %9.2f %9.2f %9.2f  ", one.name, trials.size(), least, p50, p99,
                most);
    if (one.p99_max_ms) std::printf("%9.0f", *one.p99_max_ms);
    std::printf("%s\n", held ? "" : "  NOT HELD");
  }
  std::fflush(stdout);
  if (!wrong.empty()) {
    std::fprintf(stderr, "%s: %zu of %zu trials went otherwise, e.g.: %s\n", one.name, wrong.size(),
                 trials.size(), wrong.front().c_str());
  }
  return held;
}

bool measure_cases(const Options& options) {
  bool all_held = true;
  if (!options.json) {
    std::printf("%-22s %6s %9s %9s %9s %9s  %9s\n", "ms to the receiver", "trials", "min", "p50",
                "p99", "max", "promised");
  }
  Report report{options.json, "cases"};
  for (const Case& one : all_cases()) {
    if (!is_wanted(one, options.cases)) continue;
    if (const auto reason = test::HostNetwork::why_not(); one.lane.on_hosts && reason) {
      std::fprintf(stderr, "%s: not measured: %s\n", one.name, reason->c_str());
      all_held = false;
      continue;
    }
    const int trials = options.trials > 0 ? options.trials : one.trials;
    const int at_once = options.at_once > 0 ? options.at_once : one.at_once;
    all_held &= report_case(one, run_trials(one, trials, at_once), options, report);
  }
  return all_held;
}

bool measure_false_deaths(const Options& options) {
  bool none = true;
  if (!options.json) {
    std::printf("%-8s %6s %11s %7s %7s %11s\n", "", "nodes", "node-hours", "deaths", "fenced",
                "suspicions");
  }
  Report report{options.json, "false_deaths"};
  for (const Condition& one : all_conditions()) {
    if (!is_wanted(one, options.conditions)) continue;
    if (const auto reason = test::HostNetwork::why_not(); one.loss_percent > 0 && reason) {
      std::fprintf(stderr, "%s: not measured: %s\n", one.name, reason->c_str());
      none = false;
      continue;
    }
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(
        std::chrono::duration<double, std::ratio<60>>{options.minutes});
    const FalseDeaths found = count_false_deaths(one, options.nodes, seconds);
    none &= found.deaths == 0 && found.fenced == 0;
    report.begin_object();
    std::printf(options.json ? "{\"condition\":\"%s\",\"nodes\":%d,\"node_hours\":%.3f,"
                               "\"deaths\":%d,\"fenced\":%d,\"suspicions\":%d}"
                             : "%-8s %6d %11.3f %7d %7d %11d\n",
                one.name, found.nodes, found.node_hours, found.deaths, found.fenced,
                found.suspicions);
    std::fflush(stdout);
  }
  return none;
}

bool is_fast_build() {
  return std::strcmp(LIMINAL_BUILD_TYPE, "Release") == 0 && std::strlen(LIMINAL_SANITIZED) == 0;
}

int run(const Words& arguments) {
  if (const int status = run_role(arguments); status >= 0) return status;
  const Options options = read_options(arguments);
  if (!is_fast_build() && !options.anyway) {
    usage_error("this is no Release build, and its figures mean little; --anyway makes them");
  }
  try {
    (void)test::HostNetwork::why_not();  // while this process has one thread
    return (options.false_deaths ? measure_false_deaths(options) : measure_cases(options)) ? 0 : 1;
  } catch (const std::runtime_error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace liminal::bench

int main(int argc, char** argv) { return liminal::bench::run({argv + 1, argv + argc}); }
