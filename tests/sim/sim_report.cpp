#include "tests/sim/sim_report.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

namespace liminal::sim {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

double per_minute(std::uint64_t count, Duration time) {
  const double minutes = seconds(time) / 60;
  return minutes > 0 ? static_cast<double>(count) / minutes : 0;
}

double speed(const Tally& tally, Duration took) {
  return took > Duration::zero() ? seconds(tally.simulated) / seconds(took) : 0;
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

template <class Counts>
void list(std::ostream& out, const char* title, const Counts& counts) {
  out << title << '\n';
  for (const auto& [name, count] : counts) out << "  " << name << ": " << count << '\n';
}

}  // namespace

std::string report(const Tally& tally, Duration took) {
  std::ostringstream out;
  list(out, "faults by kind", tally.faults);
  list(out, "conversations by outcome", tally.outcomes);
  list(out, "deaths by evidence", tally.deaths);
  out << "  of those killed undisturbed, declared within the grace: " << tally.timed_deaths << '\n';
  out << "fault points: reached, died there\n";
  for (std::size_t i = 0; i < kFaultPoints; ++i) {
    out << "  " << name_of(static_cast<FaultPoint>(i)) << ": " << tally.points_reached[i] << ", "
        << tally.points_hit[i] << '\n';
  }
  const PolicyTally& policies = tally.policies;
  out << "policies: " << policies.crashes << " crashes, " << policies.reroutes << " reroutes, "
      << policies.steps << " steps of compensation (" << policies.in_doubt << " in doubt, "
      << policies.undone << " undone, " << policies.not_undone << " not), " << policies.cancelled
      << " cancelled, " << policies.expired << " expired; attached " << policies.attached << " ("
      << policies.alternates << " alternates, " << policies.without_alternate
      << " without one left); records shown " << policies.shown << ", left out "
      << policies.left_out << ", deaths learned of in time " << policies.deaths_judged << '\n'

      << "actors killed " << tally.actor_kills << ", restarted " << tally.actor_restarts
      << "; participants killed " << tally.participant_kills << "; deferred " << tally.deferred
      << '\n'
      << "pairs " << tally.pairs << ", of which " << tally.pairs_lost << " lost their other end\n"
      << "seeds " << tally.seeds << ", simulated " << fixed(seconds(tally.simulated) / 3600, 2)
      << " h, conversations " << tally.conversations << " ("
      << fixed(per_minute(tally.conversations, tally.simulated), 1) << " a minute), decided "
      << tally.decided() << " (" << fixed(per_minute(tally.decided(), tally.simulated), 1)
      << " a minute), replies " << tally.replies << " of " << tally.requests << ", faults "
      << tally.faults_in_all() << " ("
      << fixed(per_minute(tally.faults_in_all(), tally.simulated), 1) << " a minute), nodes fenced "
      << tally.fenced << ", brokers " << tally.brokers << '\n'
      << "took " << fixed(seconds(took), 1) << " s, " << fixed(speed(tally, took), 0)
      << " times real time, " << tally.events << " events\n"
      << "violations " << tally.violations << '\n';
  return out.str();
}

std::string report_json(const Tally& tally, Duration took) {
  nlohmann::ordered_json points;
  for (std::size_t i = 0; i < kFaultPoints; ++i) {
    points[std::string{name_of(static_cast<FaultPoint>(i))}] = {
        {"reached", tally.points_reached[i]}, {"died", tally.points_hit[i]}};
  }
  const nlohmann::ordered_json json{
      {"seeds", tally.seeds},
      {"simulated_hours", seconds(tally.simulated) / 3600},
      {"conversations", tally.conversations},
      {"conversations_a_minute", per_minute(tally.conversations, tally.simulated)},
      {"conversations_decided", tally.decided()},
      {"conversations_decided_a_minute", per_minute(tally.decided(), tally.simulated)},
      {"outcomes", tally.outcomes},
      {"requests", tally.requests},
      {"replies", tally.replies},
      {"faults", tally.faults_in_all()},
      {"faults_a_minute", per_minute(tally.faults_in_all(), tally.simulated)},
      {"faults_by_kind", tally.faults},
      {"fault_points", points},
      {"actors_killed", tally.actor_kills},
      {"participants_killed", tally.participant_kills},
      {"pairs", tally.pairs},
      {"deaths", tally.deaths},
      {"deaths_timed", tally.timed_deaths},
      {"fenced", tally.fenced},
      {"violations", tally.violations},
      {"seconds", seconds(took)},
      {"times_real_time", speed(tally, took)}};
  return json.dump() + "\n";
}

}  // namespace liminal::sim
