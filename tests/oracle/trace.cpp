#include "tests/oracle/trace.hpp"

#include <algorithm>

namespace liminal::oracle {
namespace {

bool is_tie(const std::string& what) {
  return what.starts_with("exit ") || what.starts_with("down ");
}

// In each run of what ties said: exits in their order, then DOWNs by label.
void order_ties(std::vector<std::string>& whats) {
  for (auto run = whats.begin(); run != whats.end();) {
    const auto begin = std::find_if(run, whats.end(), is_tie);
    const auto end = std::find_if_not(begin, whats.end(), is_tie);
    const auto downs = std::stable_partition(
        begin, end, [](const std::string& what) { return what.starts_with("exit "); });
    std::sort(downs, end);
    run = end;
  }
}

std::size_t step_of_loss(const Script& script) {
  for (std::size_t at = 0; at < script.steps.size(); ++at) {
    if (loses_a_node(Script{{script.steps[at]}})) return at + 1;
  }
  return 0;
}

}  // namespace

Trace canonical(Trace trace, const Script& script) {
  const std::size_t loss = step_of_loss(script);
  for (const Made& made : made_in(script)) {
    const auto end = trace.ends.find(made.name);
    // Whether it was there for a moment, and what it died of, only its step could tell.
    if (!trace.born.contains(made.name) ||
        (end != trace.ends.end() && end->second.step == made.step)) {
      trace.ends[made.name] = {made.step, "gone"};
    } else if (loss != 0 && made.node == 2 && end != trace.ends.end() && end->second.step == loss) {
      end->second.reason = "lost";
    }
  }
  trace.born.clear();
  std::erase_if(trace.seen, [&](const auto& entry) {
    const auto end = trace.ends.find(entry.first.process);
    return end != trace.ends.end() && end->second.step == entry.first.step;
  });
  for (auto& [key, whats] : trace.seen) order_ties(whats);
  return trace;
}

std::string to_text(const Trace& trace) {
  if (!trace.broken.empty()) return "  the run broke: " + trace.broken + "\n";
  std::map<std::size_t, std::string> steps;
  for (const auto& [key, whats] : trace.seen) {
    for (const std::string& what : whats) {
      steps[key.step] += "  step " + std::to_string(key.step) + ": " + key.process +
                         (key.after ? " then saw " : " saw ") + what + " from " + key.sender + "\n";
    }
  }
  for (const auto& [process, end] : trace.ends) {
    steps[end.step] +=
        "  step " + std::to_string(end.step) + ": " + process + " ended: " + end.reason + "\n";
  }
  std::string text;
  for (const auto& [step, lines] : steps) text += lines;
  return text.empty() ? "  nothing\n" : text;
}

}  // namespace liminal::oracle
