#include "tests/oracle/judge.hpp"

#include <utility>

#include "tests/oracle/allowed.hpp"
#include "tests/oracle/our_side.hpp"

namespace liminal::oracle {
namespace {

constexpr int kOursOpen = 8;   // runs of ours, with other delays, of a script with an open order
constexpr int kOursGiven = 2;  // of one whose order is given
constexpr int kTries = 3;      // of a shorter script with an open order: it may not show at once
constexpr int kShorteningsMax = 300;  // judgements

/// All scripts with one thing less, the larger things first.
std::vector<Script> with_one_less(const Script& script) {
  std::vector<Script> shorter;
  for (std::size_t at = script.steps.size(); at-- > 0;) {
    Script less = script;
    less.steps.erase(less.steps.begin() + static_cast<std::ptrdiff_t>(at));
    shorter.push_back(std::move(less));
  }
  for (std::size_t at = 0; at < script.steps.size(); ++at) {
    const auto* together = std::get_if<Together>(&script.steps[at]);
    if (together == nullptr) continue;
    const auto add = [&](Together step) {
      Script less = script;
      less.steps[at] = std::move(step);
      shorter.push_back(std::move(less));
    };
    if (together->loses && !together->batches.empty()) add({together->batches, false});
    for (std::size_t batch = 0; batch < together->batches.size(); ++batch) {
      Together less = *together;
      less.batches.erase(less.batches.begin() + static_cast<std::ptrdiff_t>(batch));
      if (!less.batches.empty() || less.loses) add(less);
      const std::size_t ops = together->batches[batch].ops.size();
      for (std::size_t op = 0; ops > 1 && op < ops; ++op) {
        less = *together;
        auto& left = less.batches[batch].ops;
        left.erase(left.begin() + static_cast<std::ptrdiff_t>(op));
        add(less);
      }
    }
  }
  return shorter;
}

}  // namespace

Verdict Judge::judge(const Script& script, std::uint64_t seed) {
  Verdict verdict;
  const bool open = leaves_order_open(script);
  verdict.erlang = canonical(erlang_.run(script), script);
  for (int run = 0; run < (open ? kOursOpen : kOursGiven); ++run) {
    const std::uint64_t delays = seed * kOursOpen + static_cast<std::uint64_t>(run);
    verdict.ours.push_back(canonical(run_on_ours(script, delays), script));
  }
  if (!verdict.erlang.broken.empty()) {
    verdict.why = "Erlang's run broke";
    return verdict;
  }
  for (const Trace& ours : verdict.ours) {
    if (!ours.broken.empty()) verdict.why = "our run broke";
    if (!open && ours != verdict.erlang) verdict.why = "the order is given, and they differ";
  }
  if (!verdict.why.empty()) return verdict;

  const auto of_erlang = allowed_traces(script, Whose::kErlang);
  const auto allowed = allowed_traces(script, Whose::kOurs);
  if (of_erlang && allowed) {
    if (open) verdict.allowed = allowed->size();
    if (!of_erlang->contains(verdict.erlang)) {
      verdict.why = "Erlang does what the rules here do not allow: they are wrong";
    }
    for (const Trace& ours : verdict.ours) {
      if (!allowed->contains(ours)) verdict.why = "no order of events makes what we do";
    }
  }
  verdict.agree = verdict.why.empty();
  return verdict;
}

Script Judge::shortened(Script script, std::uint64_t seed) {
  int judged = 0;
  const auto differ = [&](const Script& shorter) {
    for (int i = 0; i < (leaves_order_open(shorter) ? kTries : 1); ++i) {
      if (++judged > kShorteningsMax) return false;
      if (!judge(shorter, seed + static_cast<std::uint64_t>(i)).agree) return true;
    }
    return false;
  };
  for (bool shrinks = true; shrinks;) {
    shrinks = false;
    for (Script& shorter : with_one_less(script)) {
      if (!broken_rule(shorter).empty() || !differ(shorter)) continue;
      script = std::move(shorter);
      shrinks = true;
      break;
    }
  }
  return script;
}

}  // namespace liminal::oracle
