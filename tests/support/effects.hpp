// Reads a ledger of effects, whoever wrote it, so that a test can judge by it.
#pragma once

#include <cstddef>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace liminal::test {

/// A line of a ledger, its text as it stands there.
struct EffectLine {
  std::string action, service, node, message, attempt, text;
  friend bool operator==(const EffectLine&, const EffectLine&) = default;
};

/// In the order in which they took place. A line of another form is one whose action is "?" and
/// whose text is the line, so that it is noticed. No file: no effects.
inline std::vector<EffectLine> effects_in(const std::string& path) {
  std::vector<EffectLine> effects;
  std::ifstream file{path};
  for (std::string line; std::getline(file, line);) {
    std::vector<std::string> fields;
    std::string_view rest = line;
    for (std::size_t tab; fields.size() < 5 && (tab = rest.find('\t')) != rest.npos;) {
      fields.emplace_back(rest.substr(0, tab));
      rest.remove_prefix(tab + 1);
    }
    if (fields.size() == 5 && rest.find('\t') == rest.npos) {
      effects.push_back({fields[0], fields[1], fields[2], fields[3], fields[4], std::string{rest}});
    } else {
      effects.push_back({"?", {}, {}, {}, {}, line});
    }
  }
  return effects;
}

/// "process reserve", "compensate reserve": what was done, in order, and by which service.
inline std::vector<std::string> actions_in(const std::string& path) {
  std::vector<std::string> actions;
  for (const EffectLine& effect : effects_in(path)) {
    actions.push_back(effect.action + " " + effect.service);
  }
  return actions;
}

}  // namespace liminal::test
