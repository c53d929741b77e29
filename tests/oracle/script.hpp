// The small language in which the oracle is asked: what processes do to each other, step by step.
#pragma once

#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/result.hpp"

namespace liminal::oracle {

enum class Verb {
  kTrap,  // word: on, off
  kLink,  // the target, here and below, is another process's name
  kUnlink,
  kMonitor,     // word: the monitor's label
  kDemonitor,   // word: the label
  kSend,        // word: the text
  kExitSignal,  // word: the reason
  kKill,
  kExit,   // word: the reason
  kThrow,  // word: what the exception says
  kSpawn,
  kSpawnLink,
  kAsk,         // word: the node that is asked for an instance; linked from its first moment
  kAskUnknown,  // the same, of a service that nobody offers
  kAbandon,
};

struct Op {
  Verb verb;
  std::string target = {};
  std::string word = {};
  friend auto operator<=>(const Op&, const Op&) = default;
};

/// What one process does without looking at its mailbox in between.
struct Batch {
  std::string actor;
  std::vector<Op> ops;
  friend auto operator<=>(const Batch&, const Batch&) = default;
};

/// A process made by the harness, tied to nobody.
struct Start {
  std::string name;
  int node;  // 1 or 2
  friend auto operator<=>(const Start&, const Start&) = default;
};

/// Batches that nobody waits between, and the loss of node two among them if `loses`. A single
/// operation and a single loss are steps of this kind too.
struct Together {
  std::vector<Batch> batches;
  bool loses = false;
  friend auto operator<=>(const Together&, const Together&) = default;
};

/// Nothing is under way when a step begins.
using Step = std::variant<Start, Together>;

struct Script {
  std::vector<Step> steps;
  friend auto operator<=>(const Script&, const Script&) = default;
};

/// Errors: kUsage, with the line and what is wrong with it.
[[nodiscard]] Result<Script> parse(std::string_view text);
[[nodiscard]] std::string to_text(const Script& script);
/// As the Erlang side reads it, on one line.
[[nodiscard]] std::string to_term(const Script& script);

/// A process that a script makes, and where: its making may still fail.
struct Made {
  std::string name;
  int node;
  std::size_t step;  // counted from 1
};
[[nodiscard]] std::vector<Made> made_in(const Script& script);
/// Whether some step leaves open what happens first.
[[nodiscard]] bool leaves_order_open(const Script& script);
[[nodiscard]] bool loses_a_node(const Script& script);

/// Nothing, or the first rule that a script breaks: names made before they are used and once, what
/// only one process may use in the step that makes it, what would be ambiguous.
[[nodiscard]] std::string broken_rule(const Script& script);

}  // namespace liminal::oracle
