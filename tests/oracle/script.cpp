#include "tests/oracle/script.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

namespace liminal::oracle {
namespace {

enum class Word { kNone, kOnOff, kLabel, kText, kReason, kNode };

struct Form {
  Verb verb;
  std::string_view name;  // as it is written
  std::string_view term;  // as the Erlang side calls it
  bool has_target;
  Word word;
};

constexpr std::array kForms{
    Form{Verb::kTrap, "trap", "trap", false, Word::kOnOff},
    Form{Verb::kLink, "link", "link", true, Word::kNone},
    Form{Verb::kUnlink, "unlink", "unlink", true, Word::kNone},
    Form{Verb::kMonitor, "monitor", "monitor", true, Word::kLabel},
    Form{Verb::kDemonitor, "demonitor", "demonitor", false, Word::kLabel},
    Form{Verb::kSend, "send", "send", true, Word::kText},
    Form{Verb::kExitSignal, "exit-signal", "signal", true, Word::kReason},
    Form{Verb::kKill, "kill", "kill", true, Word::kNone},
    Form{Verb::kExit, "exit", "exit", false, Word::kReason},
    Form{Verb::kThrow, "throw", "throw", false, Word::kText},
    Form{Verb::kSpawn, "spawn", "spawn", true, Word::kNone},
    Form{Verb::kSpawnLink, "spawn-link", "spawn_link", true, Word::kNone},
    Form{Verb::kAsk, "ask", "ask", true, Word::kNode},
    Form{Verb::kAskUnknown, "ask-unknown", "ask_unknown", true, Word::kNode},
    Form{Verb::kAbandon, "abandon", "abandon", true, Word::kNone},
};

const Form& form_of(Verb verb) {
  return *std::find_if(kForms.begin(), kForms.end(),
                       [&](const Form& form) { return form.verb == verb; });
}

bool makes(Verb verb) {
  return verb == Verb::kSpawn || verb == Verb::kSpawnLink || verb == Verb::kAsk ||
         verb == Verb::kAskUnknown;
}

bool is_plain(std::string_view word) {
  return !word.empty() && word.size() <= 32 && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

/// The WORD of error(WORD).
std::optional<std::string_view> error_text(std::string_view reason) {
  if (!reason.starts_with("error(") || !reason.ends_with(")")) return std::nullopt;
  const auto text = reason.substr(6, reason.size() - 7);
  return is_plain(text) ? std::optional{text} : std::nullopt;
}

bool suits(Word kind, std::string_view word) {
  switch (kind) {
    case Word::kNone:
      return word.empty();
    case Word::kOnOff:
      return word == "on" || word == "off";
    case Word::kLabel:
    case Word::kText:
      return is_plain(word);
    case Word::kReason:
      return word == "normal" || word == "shutdown" || word == "kill" || word == "killed" ||
             error_text(word).has_value();
    case Word::kNode:
      return word == "one" || word == "two";
  }
  return false;
}

Result<Op> parse_op(const std::vector<std::string>& words) {  // words[0] is the actor
  const auto form = std::find_if(kForms.begin(), kForms.end(),
                                 [&](const Form& known) { return known.name == words[1]; });
  if (form == kForms.end()) return fail(Errc::kUsage, "there is no verb '" + words[1] + "'");
  const std::size_t expected =
      2 + (form->has_target ? 1U : 0U) + (form->word == Word::kNone ? 0U : 1U);
  if (words.size() != expected) {
    return fail(Errc::kUsage, "'" + words[1] + "' takes " + std::to_string(expected - 2) +
                                  " words, not " + std::to_string(words.size() - 2));
  }
  Op op{form->verb};
  if (form->has_target) op.target = words[2];
  if (form->word != Word::kNone) op.word = words.back();
  if (form->has_target && !is_plain(op.target)) {
    return fail(Errc::kUsage, "'" + op.target + "' is no name");
  }
  if (!suits(form->word, op.word)) {
    return fail(Errc::kUsage, "'" + op.word + "' does not suit '" + words[1] + "'");
  }
  return op;
}

std::string op_text(const std::string& actor, const Op& op) {
  std::string text = actor + " " + std::string{form_of(op.verb).name};
  if (!op.target.empty()) text += " " + op.target;
  if (!op.word.empty()) text += " " + op.word;
  return text;
}

std::string quoted(std::string_view word) { return "'" + std::string{word} + "'"; }

std::string op_term(const Op& op) {
  const Form& form = form_of(op.verb);
  std::string term = "{" + std::string{form.term};
  if (form.has_target) term += "," + quoted(op.target);
  switch (form.word) {
    case Word::kNone:
      break;
    case Word::kOnOff:
      term += op.word == "on" ? ",true" : ",false";
      break;
    case Word::kReason:
      if (const auto text = error_text(op.word)) {
        term += ",{error," + quoted(*text) + "}";
        break;
      }
      [[fallthrough]];
    case Word::kLabel:
    case Word::kText:
    case Word::kNode:
      term += "," + quoted(op.word);
  }
  return term + "}";
}

}  // namespace

Result<Script> parse(std::string_view text) {
  Script script;
  Together* open = nullptr;
  std::istringstream lines{std::string{text}};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const auto wrong = [&](const std::string& why) {
      return fail(Errc::kUsage, "line " + std::to_string(number) + ": " + why);
    };
    line.erase(std::find(line.begin(), line.end(), '#'), line.end());
    std::istringstream in{line};
    std::vector<std::string> words;
    for (std::string word; in >> word;) words.push_back(word);
    if (words.empty()) continue;

    if (words[0] == "together" && words.size() == 1) {
      if (open) return wrong("'together' within 'together'");
      script.steps.emplace_back(Together{});
      open = &std::get<Together>(script.steps.back());
    } else if (words[0] == "end" && words.size() == 1) {
      if (!open) return wrong("'end' without 'together'");
      open = nullptr;
    } else if (words[0] == "start") {
      if (words.size() != 3 || !is_plain(words[1]) || !suits(Word::kNode, words[2])) {
        return wrong("it is 'start NAME one' or 'start NAME two'");
      }
      if (open) return wrong("'start' stands alone, not in 'together'");
      script.steps.emplace_back(Start{words[1], words[2] == "one" ? 1 : 2});
    } else if (words[0] == "lose") {
      if (words.size() != 2 || words[1] != "two") return wrong("only 'lose two': it is node two");
      if (!open) script.steps.emplace_back(Together{{}, true});
      if (open) open->loses = true;
    } else {
      if (words.size() < 2) return wrong("a verb is missing after '" + words[0] + "'");
      if (!is_plain(words[0])) return wrong("'" + words[0] + "' is no name");
      auto op = parse_op(words);
      if (!op) return wrong(op.error().detail);
      if (!open) {
        script.steps.emplace_back(Together{{{words[0], {std::move(*op)}}}});
        continue;
      }
      const auto batch = std::find_if(open->batches.begin(), open->batches.end(),
                                      [&](const Batch& b) { return b.actor == words[0]; });
      if (batch != open->batches.end()) batch->ops.push_back(std::move(*op));
      if (batch == open->batches.end()) open->batches.push_back({words[0], {std::move(*op)}});
    }
  }
  if (open) return fail(Errc::kUsage, "the last line: 'together' without 'end'");
  if (auto rule = broken_rule(script); !rule.empty()) return fail(Errc::kUsage, std::move(rule));
  return script;
}

std::string to_text(const Script& script) {
  std::string text;
  for (const Step& step : script.steps) {
    if (const auto* start = std::get_if<Start>(&step)) {
      text += "start " + start->name + (start->node == 1 ? " one\n" : " two\n");
      continue;
    }
    const auto& together = std::get<Together>(step);
    const bool alone = !leaves_order_open(Script{{step}}) &&
                       (together.batches.empty() || together.batches[0].ops.size() == 1);
    if (!alone) text += "together\n";
    const std::string indent = alone ? "" : "  ";
    for (const Batch& batch : together.batches) {
      for (const Op& op : batch.ops) text += indent + op_text(batch.actor, op) + "\n";
    }
    if (together.loses) text += indent + "lose two\n";
    if (!alone) text += "end\n";
  }
  return text;
}

std::string to_term(const Script& script) {
  std::string term = "{script,[";
  const char* comma = "";
  for (const Step& step : script.steps) {
    term += std::exchange(comma, ",");
    if (const auto* start = std::get_if<Start>(&step)) {
      term += "{start," + quoted(start->name) + (start->node == 1 ? ",one}" : ",two}");
      continue;
    }
    const auto& together = std::get<Together>(step);
    term += "{together,[";
    const char* batch_comma = "";
    for (const Batch& batch : together.batches) {
      term += std::exchange(batch_comma, ",") + ("{" + quoted(batch.actor)) + ",[";
      const char* op_comma = "";
      for (const Op& op : batch.ops) term += std::exchange(op_comma, ",") + op_term(op);
      term += "]}";
    }
    term += together.loses ? "],true}" : "],false}";
  }
  return term + "]}.\n";
}

std::vector<Made> made_in(const Script& script) {
  std::vector<Made> made;
  std::map<std::string, int> nodes;
  std::size_t number = 0;
  const auto add = [&](const std::string& name, int node) {
    nodes[name] = node;
    made.push_back({name, node, number});
  };
  for (const Step& step : script.steps) {
    ++number;
    if (const auto* start = std::get_if<Start>(&step)) {
      add(start->name, start->node);
      continue;
    }
    for (const Batch& batch : std::get<Together>(step).batches) {
      for (const Op& op : batch.ops) {
        if (op.verb == Verb::kSpawn || op.verb == Verb::kSpawnLink) {
          add(op.target, nodes[batch.actor]);
        } else if (makes(op.verb)) {
          add(op.target, op.word == "one" ? 1 : 2);
        }
      }
    }
  }
  return made;
}

bool leaves_order_open(const Script& script) {
  return std::any_of(script.steps.begin(), script.steps.end(), [](const Step& step) {
    const auto* together = std::get_if<Together>(&step);
    return together != nullptr &&
           together->batches.size() + (together->loses ? 1U : 0U) +
                   (together->batches.empty() ? 0U : together->batches[0].ops.size() - 1) >
               1;
  });
}

bool loses_a_node(const Script& script) {
  return std::any_of(script.steps.begin(), script.steps.end(), [](const Step& step) {
    const auto* together = std::get_if<Together>(&step);
    return together != nullptr && together->loses;
  });
}

std::string broken_rule(const Script& script) {
  std::set<std::string> names, labels;        // of earlier steps
  std::map<std::string, std::string> askers;  // by the name asked for
  std::map<std::string, std::string> owners;  // of monitors, by label
  bool lost = false;
  for (std::size_t at = 0; at < script.steps.size(); ++at) {
    const auto wrong = [&](const std::string& what, const std::string& why) {
      return "step " + std::to_string(at + 1) + ": '" + what + "': " + why;
    };
    if (const auto* start = std::get_if<Start>(&script.steps[at])) {
      if (!names.insert(start->name).second) return wrong(start->name, "is another's name");
      if (lost && start->node == 2) return wrong(start->name, "node two is lost");
      continue;
    }
    const auto& together = std::get<Together>(script.steps[at]);
    if (together.loses && std::exchange(lost, true)) return wrong("lose two", "it is lost already");
    std::set<std::string> fresh = names;  // with those that are made in this step
    for (const Batch& batch : together.batches) {
      if (!names.contains(batch.actor))
        return wrong(batch.actor, "was not made in an earlier step");
      std::set<std::string> usable = names;
      for (const Op& op : batch.ops) {
        const auto bad = [&](const std::string& why) {
          return wrong(op_text(batch.actor, op), why);
        };
        const bool is_last = &op == &batch.ops.back();
        if (makes(op.verb)) {
          if (!fresh.insert(op.target).second) return bad("the name is another's");
          if (op.verb == Verb::kSpawn || op.verb == Verb::kSpawnLink) usable.insert(op.target);
          if (op.verb == Verb::kAsk || op.verb == Verb::kAskUnknown)
            askers[op.target] = batch.actor;
        } else if (op.verb == Verb::kAbandon) {
          const auto asker = askers.find(op.target);
          if (asker == askers.end() || asker->second != batch.actor)
            return bad("did not ask for it");
        } else if (!op.target.empty() && !usable.contains(op.target)) {
          return bad("the target was not made before");
        }
        if (op.verb == Verb::kMonitor) {
          if (!owners.try_emplace(op.word, batch.actor).second) return bad("the label is taken");
        }
        if (op.verb == Verb::kDemonitor) {
          const auto owner = owners.find(op.word);
          if (owner == owners.end() || owner->second != batch.actor)
            return bad("has no such monitor");
        }
        if ((op.verb == Verb::kExit || op.verb == Verb::kThrow ||
             ((op.verb == Verb::kExitSignal || op.verb == Verb::kKill) &&
              op.target == batch.actor)) &&
            !is_last) {
          return bad("must be the last of its process in this step");
        }
        if (op.verb != Verb::kExitSignal || op.word != "normal") continue;
        for (const Batch& other : together.batches) {
          if (other.actor != op.target) continue;
          for (const Op& his : other.ops) {
            if (his.verb == Verb::kUnlink && his.target == batch.actor) {
              return bad("cannot be told from a link's exit that is taken back in this step");
            }
          }
        }
      }
    }
    names = std::move(fresh);
  }
  return {};
}

}  // namespace liminal::oracle
