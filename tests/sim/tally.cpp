#include "tests/sim/tally.hpp"

namespace liminal::sim {
namespace {

template <class Counts>
void add_each(Counts& sum, const Counts& more) {
  for (const auto& [key, count] : more) sum[key] += count;
}

}  // namespace

void PolicyTally::add(const PolicyTally& more) {
  for (const auto member : members()) this->*member += more.*member;
}

void Tally::add(const Tally& more) {
  simulated += more.simulated;
  for (const auto member :
       {&Tally::seeds, &Tally::actor_kills, &Tally::participant_kills, &Tally::conversations,
        &Tally::requests, &Tally::replies, &Tally::actor_restarts, &Tally::deferred, &Tally::pairs,
        &Tally::pairs_lost, &Tally::timed_deaths, &Tally::fenced, &Tally::brokers, &Tally::events,
        &Tally::violations}) {
    this->*member += more.*member;
  }
  add_each(faults, more.faults);
  add_each(outcomes, more.outcomes);
  add_each(deaths, more.deaths);
  for (std::size_t i = 0; i < kFaultPoints; ++i) {
    points_reached[i] += more.points_reached[i];
    points_hit[i] += more.points_hit[i];
  }
  policies.add(more.policies);
}

std::uint64_t Tally::decided() const {
  std::uint64_t sum = conversations;
  for (const char* undecided : {"lost with its node", "not opened", "never ended"}) {
    const auto found = outcomes.find(undecided);
    if (found != outcomes.end()) sum -= found->second;
  }
  return sum;
}

std::uint64_t Tally::faults_in_all() const {
  std::uint64_t sum = 0;
  for (const auto& [kind, count] : faults) sum += count;
  return sum;
}

}  // namespace liminal::sim
