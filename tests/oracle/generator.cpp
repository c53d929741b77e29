#include "tests/oracle/generator.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "common/base/random.hpp"

namespace liminal::oracle {
namespace {

constexpr std::size_t kActorsMax = 7;

struct Weight {
  Verb verb;
  std::uint64_t weight;
};
constexpr std::array kWeights{
    Weight{Verb::kTrap, 6},       Weight{Verb::kLink, 18},      Weight{Verb::kUnlink, 9},
    Weight{Verb::kMonitor, 14},   Weight{Verb::kDemonitor, 6},  Weight{Verb::kSend, 8},
    Weight{Verb::kExitSignal, 9}, Weight{Verb::kKill, 3},       Weight{Verb::kExit, 7},
    Weight{Verb::kThrow, 2},      Weight{Verb::kSpawn, 2},      Weight{Verb::kSpawnLink, 3},
    Weight{Verb::kAsk, 5},        Weight{Verb::kAskUnknown, 2}, Weight{Verb::kAbandon, 2},
};

class Generator {
 public:
  explicit Generator(std::uint64_t seed) : random_(seed) {
    two_nodes_ = seed % 2 == 0;
    loses_ = two_nodes_ && random_.below(8) == 0;
    keeps_order_ = seed % 3 == 0;
  }

  Script make() {
    const std::size_t first = 2 + random_.below(3);
    for (std::size_t i = 0; i < first; ++i) start_one();
    const std::size_t steps = 8 + random_.below(14);
    const std::size_t loss = loses_ ? steps / 2 + random_.below(steps / 2) : steps;
    for (std::size_t i = 0; i < steps; ++i) {
      if (random_.below(12) == 0) {  // others may all have ended
        start_one();
      } else if (i == loss) {
        add(keeps_order_ || random_.below(2) == 0 ? Together{{}, true} : together(true));
      } else {
        add(!keeps_order_ && random_.below(4) == 0 ? together(false) : alone(batch(1)));
      }
    }
    return std::move(script_);
  }

 private:
  void start_one() {
    const std::string name = fresh_name();
    add(Start{name, some_node()});
    if (random_.below(2) == 0) add(alone({name, {{Verb::kTrap, {}, "on"}}}));
  }

  static Together alone(Batch batch) { return {{std::move(batch)}, false}; }

  Together together(bool loses) {
    Together step{{}, loses};
    const std::size_t batches = (loses ? 1 : 2) + random_.below(2);
    for (std::size_t i = 0; i < batches; ++i) {
      Batch made = batch(1 + random_.below(3));
      const bool has = std::any_of(step.batches.begin(), step.batches.end(),
                                   [&](const Batch& other) { return other.actor == made.actor; });
      if (!has && !made.ops.empty()) step.batches.push_back(std::move(made));
    }
    return step;
  }

  Batch batch(std::size_t ops) {
    Batch made{some_name(), {}};
    // Often between the same two: what crosses is what is hard.
    const std::string other = some_name();
    for (std::size_t i = 0; i < ops; ++i) made.ops.push_back(op(made.actor, other));
    return made;
  }

  Op op(const std::string& actor, const std::string& other) {
    const Verb verb = some_verb();
    const std::string target = random_.below(4) != 0 ? other : some_name();
    switch (verb) {
      case Verb::kTrap:
        return {verb, {}, random_.below(3) == 0 ? "off" : "on"};
      case Verb::kMonitor:
        labels_.emplace_back(actor, "m" + std::to_string(++made_labels_));
        return {verb, target, labels_.back().second};
      case Verb::kDemonitor: {
        std::vector<std::string> own;
        for (const auto& [owner, label] : labels_) {
          if (owner == actor) own.push_back(label);
        }
        return {verb, {}, own.empty() ? "none" : own[random_.below(own.size())]};
      }
      case Verb::kSend:
        return {verb, target, "t" + std::to_string(++texts_)};
      case Verb::kExitSignal:
      case Verb::kExit:
        return {verb, verb == Verb::kExit ? "" : target, some_reason()};
      case Verb::kThrow:
        return {verb, {}, "e" + std::to_string(++texts_)};
      case Verb::kSpawn:
      case Verb::kSpawnLink:
        return {verb, fresh_name(), {}};
      case Verb::kAsk:
      case Verb::kAskUnknown:
        return {verb, fresh_name(), some_node() == 1 ? "one" : "two"};
      case Verb::kLink:
      case Verb::kUnlink:
      case Verb::kKill:
      case Verb::kAbandon:
        break;
    }
    return {verb, verb == Verb::kAbandon && !names_.empty() ? names_.back() : target, {}};
  }

  // What breaks a rule of the language is left out.
  void add(Step step) {
    if (const auto* together = std::get_if<Together>(&step)) {
      if (together->batches.empty() && !together->loses) return;
    }
    script_.steps.push_back(std::move(step));
    if (!broken_rule(script_).empty()) script_.steps.pop_back();
    names_.clear();
    for (const Made& made : made_in(script_)) names_.push_back(made.name);
  }

  std::string fresh_name() {
    if (names_.size() >= kActorsMax) return some_name();  // taken: the step is left out
    return std::string(1, static_cast<char>('A' + names_.size()));
  }
  const std::string& some_name() { return names_[random_.below(names_.size())]; }
  int some_node() { return two_nodes_ ? 1 + static_cast<int>(random_.below(2)) : 1; }
  std::string some_reason() {
    switch (random_.below(7)) {
      case 0:
      case 1:
        return "normal";
      case 2:
        return "shutdown";
      case 3:
        return "kill";
      case 4:
        return "killed";
      default:
        return "error(e" + std::to_string(++texts_) + ")";
    }
  }
  Verb some_verb() {
    std::uint64_t total = 0;
    for (const Weight& weight : kWeights) total += weight.weight;
    std::uint64_t at = random_.below(total);
    for (const Weight& weight : kWeights) {
      if (at < weight.weight) return weight.verb;
      at -= weight.weight;
    }
    return Verb::kLink;
  }

  Random random_;
  bool two_nodes_ = false, loses_ = false, keeps_order_ = false;
  Script script_;
  std::vector<std::string> names_;
  std::vector<std::pair<std::string, std::string>> labels_;  // owner, label
  int made_labels_ = 0, texts_ = 0;
};

}  // namespace

Script generate(std::uint64_t seed) { return Generator{seed}.make(); }

}  // namespace liminal::oracle
