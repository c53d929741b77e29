// Goal: the promises of DESIGN.md under faults at every point: the real broker core, node cores,
// schedulers, sessions and conversations in one thread, on virtual time, by seed. The same storms
// as liminal-sim's.
//
// A failure prints the command that shows it; LIMINAL_SIM_SEED=N runs that seed alone,
// LIMINAL_SIM_SEEDS=N that many, LIMINAL_STORM_SEEDS=N that many of StormSim.
#include "tests/sim/storm.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/last_words.hpp"
#include "tests/sim/sim_report.hpp"
#include "tests/sim/trace_book.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

std::optional<std::uint64_t> from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  return std::strtoull(text, nullptr, 10);
}

/// Every `step`th seed from `first`, up to the first that fails.
Tally explore(const Storm::Settings& settings, std::uint64_t first, std::uint64_t step,
              std::uint64_t seeds, const std::string& again) {
  const auto chosen = from_environment("LIMINAL_SIM_SEED");
  const std::uint64_t end = chosen ? *chosen + 1 : seeds;
  Tally sum;
  speak_at_death();
  for (std::uint64_t seed = chosen.value_or(first); seed < end; seed += step) {
    set_last_words(again + std::to_string(seed));
    Storm storm{settings, seed};
    storm.run();
    sum.add(storm.tally());
    set_last_words("");  // what another test dies of is not this seed's
    for (const auto& violation : storm.violations()) {
      ADD_FAILURE() << "seed " << seed << ": " << violation << "; " << again << seed;
    }
    if (::testing::Test::HasFailure()) break;
  }
  return sum;
}

std::uint64_t seeds_otherwise(std::uint64_t seeds) {
  return from_environment("LIMINAL_SIM_SEEDS").value_or(seeds);
}

void expect_policies_tried(const Tally& tally) {
  EXPECT_GT(tally.policies.undone, 0U);
  EXPECT_GT(tally.policies.reroutes, 0U);
  EXPECT_GT(tally.policies.in_doubt, 0U);
  EXPECT_GT(tally.policies.alternates, 0U);
  EXPECT_GT(tally.policies.without_alternate, 0U);
}

/// So short a storm is within every bound: then the broker shows all that was told.
void expect_no_record_left_out(const Tally& tally) {
  EXPECT_GT(tally.policies.shown, 0U);
  EXPECT_EQ(tally.policies.left_out, 0U);
}

// Split, so that the parts run side by side.
constexpr std::uint64_t kParts = 4;

class StormSim : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(StormSim, KeepsItsPromisesUnderFaults) {
  const auto begin = std::chrono::steady_clock::now();
  const auto seeds = from_environment("LIMINAL_STORM_SEEDS").value_or(seeds_otherwise(1000));
  const Tally tally = explore({}, GetParam(), kParts, seeds, "liminal-sim --seed ");
  const auto took = std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - begin);
  std::printf("%s", report(tally, took).c_str());
  expect_no_record_left_out(tally);
  RecordProperty("seeds", std::to_string(tally.seeds));
  if (tally.seeds < 10) return;  // too few to have tried everything
  if (tally.seeds >= 100) {  // of fewer the mean says little
    const double minutes = std::chrono::duration<double, std::ratio<60>>(tally.simulated).count();
    EXPECT_GE(static_cast<double>(tally.decided()), 100 * minutes);
    EXPECT_GE(static_cast<double>(tally.faults_in_all()), 10 * minutes);
  }
  EXPECT_GT(tally.actor_restarts, tally.seeds);
  if (GetParam() % 2 == 0) {
    EXPECT_GT(tally.deferred, 0U);
  }
  expect_policies_tried(tally);
}
INSTANTIATE_TEST_SUITE_P(Parts, StormSim, ::testing::Range<std::uint64_t>(0, kParts));

// Small mailboxes, many policies, short: what crash policies do under fire, in many variations.
class PoliciesSim : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(PoliciesSim, KeepTheirPromisesUnderFaults) {
  Storm::Settings settings;
  settings.length = 12s;
  settings.density = {.talks = 0,
                      .policy_talks = 240,
                      .pairs = 0,
                      .faults = 30,
                      .actor_kills = 30,
                      .participant_kills = 120,
                      .attached_kills = 60};
  const Tally tally =
      explore(settings, GetParam(), kParts, seeds_otherwise(1000) / 2, "LIMINAL_SIM_SEED=");
  expect_no_record_left_out(tally);
  if (tally.seeds < 10) return;  // too few to have tried everything
  expect_policies_tried(tally);
}
INSTANTIATE_TEST_SUITE_P(Parts, PoliciesSim, ::testing::Range<std::uint64_t>(0, kParts));

TEST(PoisonSim, APoisonRequestEndsItsOwnConversationAndNoOther) {
  Storm::Settings settings;
  settings.calm = true;
  settings.length = 12s;
  settings.density = {.talks = 0, .policy_talks = 120, .pairs = 0, .faults = 0};
  const Tally tally = explore(settings, 0, 10, seeds_otherwise(1000), "LIMINAL_SIM_SEED=");
  EXPECT_TRUE(tally.policies.poisoned > 0 || tally.seeds < 5) << "it was tried";
}

class NemesisSim : public ::testing::TestWithParam<std::string> {};

TEST_P(NemesisSim, AloneBreaksNoPromise) {
  Storm::Settings settings;
  settings.nemeses = {Nemesis::kind_named(GetParam())->name};
  const Tally tally = explore(settings, 0, 1, seeds_otherwise(1000) / 100 + 1,
                              "liminal-sim --nemesis " + GetParam() + " --seed ");
  EXPECT_GT(tally.faults.at(GetParam()), 0U);
}

std::vector<std::string> names_of_kinds() {
  std::vector<std::string> names;
  for (const Nemesis::Kind& kind : Nemesis::kinds()) names.emplace_back(kind.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Kinds, NemesisSim, ::testing::ValuesIn(names_of_kinds()),
                         [](const auto& each) {
                           std::string name;
                           for (const char c : each.param) {
                             if (c != '-') name += c;
                           }
                           return name;
                         });

TEST(Detection, WhoIsKilledIsDeclaredDeadWithinTheGrace) {
  Storm::Settings settings;
  settings.nemeses = {Nemesis::kind_named("kill")->name};
  const Tally tally = explore(settings, 0, 1, seeds_otherwise(1000) / 50 + 1, "LIMINAL_SIM_SEED=");
  EXPECT_GT(tally.timed_deaths, 0U);
}

TEST(FaultPoints, EachIsReachedAndSomethingDiesThere) {
  Storm::Settings settings;
  settings.nemeses = {
      Nemesis::kind_named("kill-at-point")->name, Nemesis::kind_named("pause-over")->name,
      Nemesis::kind_named("broker-kill")->name, Nemesis::kind_named("reset-control")->name};
  settings.density.faults = 60;
  Tally sum;
  const auto all_hit = [&] {
    for (const std::uint64_t hits : sum.points_hit) {
      if (hits == 0) return false;
    }
    return true;
  };
  for (std::uint64_t seed = 0; seed < 60 && !all_hit(); ++seed) {
    Storm storm{settings, seed};
    storm.run();
    sum.add(storm.tally());
    EXPECT_EQ(storm.violations(), std::vector<std::string>{}) << "seed " << seed;
  }
  for (std::size_t i = 0; i < kFaultPoints; ++i) {
    EXPECT_GT(sum.points_reached[i], 0U) << name_of(static_cast<FaultPoint>(i));
    EXPECT_GT(sum.points_hit[i], 0U) << name_of(static_cast<FaultPoint>(i));
  }
}

std::vector<std::string> trace_of(std::uint64_t seed) {
  std::vector<std::string> lines;
  Storm::Settings settings;
  settings.trace = [&](TimePoint now, const std::string& line) {
    lines.push_back(trace_line(now, line));
  };
  Storm storm{std::move(settings), seed};
  storm.run();
  return lines;
}

TEST(Determinism, OneSeedIsOneTrace) {
  for (const std::uint64_t seed : {3u, 16u, 99u}) {
    const auto first = trace_of(seed);
    EXPECT_GT(first.size(), 100U);
    EXPECT_EQ(first, trace_of(seed)) << "seed " << seed;
  }
  EXPECT_NE(trace_of(3), trace_of(4));
}

TEST(Determinism, WhoWatchesChangesNothing) {
  Storm unwatched{{}, 17};
  unwatched.run();
  const auto lines = trace_of(17);
  const std::string events = "events " + std::to_string(unwatched.tally().events);
  EXPECT_NE(lines.back().find(events), std::string::npos) << lines.back() << ", " << events;
}

}  // namespace
}  // namespace liminal::sim
