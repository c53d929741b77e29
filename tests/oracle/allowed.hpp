// Every outcome that a script may have, where it leaves open what happens first.
#pragma once

#include <cstddef>
#include <optional>
#include <set>

#include "tests/oracle/script.hpp"
#include "tests/oracle/trace.hpp"

namespace liminal::oracle {

enum class Whose { kErlang, kOurs };

/// The canonical traces of a script, found by trying every order in which operations of different
/// processes can take place and signals of different pairs can arrive; what one process sends to
/// another keeps its order. It knows Erlang's rules, no scheduler: both sides are judged by it, so
/// that a rule that it has wrong shows on Erlang's.
///
/// `whose`: Erlang's exit signals do not name the activation of the link that carries them, so one
/// that was under way when its link was taken back and made anew may count for the new one. Ours
/// name it (contract 3), and may not.
///
/// nullopt: more than `states_max` states were looked at. Cost: some microseconds a state.
[[nodiscard]] std::optional<std::set<Trace>> allowed_traces(const Script& script, Whose whose,
                                                            std::size_t states_max = 100'000);

}  // namespace liminal::oracle
