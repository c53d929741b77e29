// A moment of a script that is being played by the rules alone: processes, ties, what is under way.
#pragma once

#include <compare>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tests/oracle/script.hpp"
#include "tests/oracle/trace.hpp"

namespace liminal::oracle {

using Name =
    std::string;  // of a process; of a node where it is asked for an instance: "one", "two"

/// What one process (or node) tells another.
struct Told {
  enum class What {
    kMessage,     // word: the text
    kLink,        // id: the activation
    kUnlink,      // id, other_id: of the sender, of the receiver
    kLinkExit,    // id, word: the reason
    kExitSignal,  // word: the reason
    kMonitor,     // id
    kDemonitor,   // id
    kDown,        // id, word
    kAsk,         // name: of the instance; word: empty, or why it will be refused
    kSpawned,     // name, id of its link
    kNotSpawned,  // name, word
    kNodeLost,    // in the sender's place: its node is gone
  } what;
  int id = 0, other_id = 0;
  std::string word = {};
  Name name = {};
  friend auto operator<=>(const Told&, const Told&) = default;
};

/// What waits in a mailbox: an event to be, and what can take it back.
struct Mail {
  Name sender;
  std::string event;
  int link = 0;        // of a link's exit
  int monitor = 0;     // of a DOWN
  bool spawn = false;  // an answer
  friend auto operator<=>(const Mail&, const Mail&) = default;
};

struct Actor {
  int node;
  int ordinal = 0;          // of all, by birth
  std::size_t born_in = 0;  // which step
  bool alive = true, traps = false, began = false, did = false;
  int ids_made = 0;         // of links and monitors
  std::deque<Op> ops = {};  // that are left in this step
  struct Tie {
    int mine = 0, theirs = 0;
    friend auto operator<=>(const Tie&, const Tie&) = default;
  };
  std::map<Name, Tie> links = {};
  struct Monitored {
    Name process;
    std::string label;
    friend auto operator<=>(const Monitored&, const Monitored&) = default;
  };
  std::map<int, Monitored> monitors = {};
  std::set<std::pair<Name, int>> watchers = {};
  std::set<Name> asked = {};
  std::deque<Mail> mails = {};
  friend auto operator<=>(const Actor&, const Actor&) = default;
};

struct State {
  std::map<Name, Actor> actors = {};
  std::map<std::pair<Name, Name>, std::deque<Told>> under_way = {};  // (from, to); none is empty
  bool exits_name_their_link = true;  // else a stale one may count for the link of the moment
  bool will_lose = false, lost = false;
  std::size_t step = 0;
  Trace trace = {};
  friend auto operator<=>(const State&, const State&) = default;
};

/// A process that is there from now on.
void bear(State& state, const Name& name, int node);

/// The states that can follow `state` by one thing happening; none: nothing is under way.
/// Where something takes place that changes nothing for whatever else may take place meanwhile,
/// that alone is looked at: it leads to the same ends. `one_is_enough`: any single one will do.
[[nodiscard]] std::vector<State> successors(const State& state, bool one_is_enough);

}  // namespace liminal::oracle
