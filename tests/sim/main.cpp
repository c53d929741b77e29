// liminal-sim: storms over simulated clusters, by seed.
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/standard_streams.hpp"
#include "common/base/text.hpp"
#include "tests/sim/last_words.hpp"
#include "tests/sim/sim_options.hpp"
#include "tests/sim/sim_report.hpp"
#include "tests/sim/trace_book.hpp"

namespace liminal::sim {
namespace {

constexpr int kViolations = 1;
constexpr int kUsage = 2;
// Of seeds that failed; the others are counted.
constexpr std::uint64_t kFailuresShown = 5;

/// The tests of this program see what looks after a run at work; nobody else sets this.
Storm::Settings::Flaw flaw_for_tests() {
  using Flaw = Storm::Settings::Flaw;
  const char* const text = std::getenv("LIMINAL_SIM_TEST_FLAW");
  const std::string_view name = text == nullptr ? "" : text;
  return name == "hangs"     ? Flaw::kHangs
         : name == "repeats" ? Flaw::kRepeats
         : name == "accused" ? Flaw::kAccused
                             : Flaw::kNone;
}

void list() {
  std::puts("nemeses");
  for (const Nemesis::Kind& kind : Nemesis::kinds()) {
    std::printf("  %-14s %s\n", std::string{kind.name}.c_str(), std::string{kind.what}.c_str());
  }
  std::puts("fault points");
  for (std::size_t i = 0; i < kFaultPoints; ++i) {
    std::printf("  %s\n", std::string{name_of(static_cast<FaultPoint>(i))}.c_str());
  }
}

/// Runs it once more, for its trace: one seed is one run.
void show_failure(const SimOptions& options, std::uint64_t seed, const Storm& first) {
  const std::vector<std::string>& violations = first.violations();
  std::fprintf(stderr, "seed %llu: %zu violations\n", static_cast<unsigned long long>(seed),
               violations.size());
  std::vector<std::string> lines;
  auto settings = options.storm();
  settings.trace = [&](TimePoint now, const std::string& line) {
    lines.push_back(trace_line(now, line));
  };
  Storm storm{std::move(settings), seed};
  storm.run();
  if (storm.violations() != violations || storm.digest() != first.digest()) {
    std::fprintf(stderr,
                 "not reproduced: the same seed ran differently; digest %s, and %s the second "
                 "time, with %zu violations; the trace is the second's\n",
                 to_hex(first.digest()).c_str(), to_hex(storm.digest()).c_str(),
                 storm.violations().size());
  }
  for (const std::string& line : shortened(lines, violations)) {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  for (const std::string& violation : violations) {
    std::fprintf(stderr, "violation: %s\n", violation.c_str());
  }
  std::fprintf(stderr, "again: %s\n\n", options.replay(seed).c_str());
}

int run(const SimOptions& options) {
  std::ofstream trace;
  if (!options.trace_file.empty()) {
    trace.open(options.trace_file, std::ios::trunc);
    if (!trace) {
      std::fprintf(stderr, "liminal-sim: --trace: '%s' cannot be written\n",
                   options.trace_file.c_str());
      return kUsage;
    }
  }
  Tally sum;
  std::uint64_t failures = 0;
  const auto begin = std::chrono::steady_clock::now();
  const auto flaw = flaw_for_tests();
  flaw == Storm::Settings::Flaw::kHangs ? speak_at_death(1) : speak_at_death();
  for (std::uint64_t i = 0; i < options.seeds; ++i) {
    const std::uint64_t seed = options.first + i;
    set_last_words(options.replay(seed));
    auto settings = options.storm();
    settings.flaw = flaw;
    if (trace.is_open()) {
      trace << "seed " << seed << '\n';
      settings.trace = [&](TimePoint now, const std::string& line) {
        trace << trace_line(now, line) << '\n';
      };
    }
    Storm storm{std::move(settings), seed};
    storm.run();
    sum.add(storm.tally());
    if (storm.violations().empty()) continue;
    if (++failures <= kFailuresShown) show_failure(options, seed, storm);
  }
  const auto took = std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - begin);
  std::fputs((options.json ? report_json(sum, took) : report(sum, took)).c_str(), stdout);
  if (failures > 0) {
    std::fprintf(stderr, "%llu of %llu seeds failed\n", static_cast<unsigned long long>(failures),
                 static_cast<unsigned long long>(options.seeds));
  }
  if (trace.is_open() && !trace.flush()) {
    std::fprintf(stderr, "liminal-sim: --trace: not all of it was written\n");
    return kUsage;
  }
  return failures > 0 ? kViolations : 0;
}

}  // namespace
}  // namespace liminal::sim

int main(int argc, char** argv) {
  liminal::open_standard_streams();
  // the next run wants the memory of this one: giving it back in between takes a fifth of the time
  ::mallopt(M_TRIM_THRESHOLD, 512 << 20);
  ::mallopt(M_MMAP_THRESHOLD, 64 << 20);
  const auto options = liminal::sim::read_sim_options(argc, argv);
  if (!options) {
    std::fprintf(stderr, "liminal-sim: %s\n", options.error().detail.c_str());
    return liminal::sim::kUsage;
  }
  if (options->help) {
    std::fputs(liminal::sim::sim_usage().c_str(), stdout);
    return 0;
  }
  if (options->list) {
    liminal::sim::list();
    return 0;
  }
  return liminal::sim::run(*options);
}
