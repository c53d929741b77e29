#include "tests/oracle/allowed.hpp"

#include <utility>

#include "tests/oracle/allowed_state.hpp"

namespace liminal::oracle {
namespace {

// What takes place in `step`, laid out so that it can begin.
State begun(State state, const Step& step) {
  std::erase_if(state.actors, [&](const auto& entry) {  // as if never born, see README
    return !entry.second.alive && entry.second.born_in == state.step;
  });
  ++state.step;
  for (auto& [name, actor] : state.actors) actor.did = false;
  if (const auto* start = std::get_if<Start>(&step)) {
    bear(state, start->name, start->node);
    return state;
  }
  const auto& together = std::get<Together>(step);
  state.will_lose = together.loses;
  for (const Batch& batch : together.batches) {
    const auto actor = state.actors.find(batch.actor);
    if (actor == state.actors.end() || !actor->second.alive) continue;
    actor->second.ops.assign(batch.ops.begin(), batch.ops.end());
  }
  return state;
}

}  // namespace

std::optional<std::set<Trace>> allowed_traces(const Script& script, Whose whose,
                                              std::size_t states_max) {
  State first;
  first.exits_name_their_link = whose == Whose::kOurs;
  std::set<State> quiet{std::move(first)};
  std::size_t looked_at = 0;
  for (const Step& step : script.steps) {
    const bool order_is_given = !leaves_order_open(Script{{step}});
    std::set<State> seen, next;
    std::vector<State> open;
    const auto visit = [&](State state) {
      if (const auto [at, is_new] = seen.insert(std::move(state)); is_new) open.push_back(*at);
    };
    for (const State& state : quiet) visit(begun(state, step));
    while (!open.empty()) {
      if (++looked_at > states_max) return std::nullopt;
      const State state = std::move(open.back());
      open.pop_back();
      auto following = successors(state, order_is_given);
      if (following.empty()) next.insert(state);
      for (State& one : following) visit(std::move(one));
    }
    quiet = std::move(next);
  }
  std::set<Trace> traces;
  for (const State& state : quiet) traces.insert(canonical(state.trace, script));
  return traces;
}

}  // namespace liminal::oracle
