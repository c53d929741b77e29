// Talks that send requests to an echo, and pairs of linked processes that count.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "tests/sim/stage.hpp"
#include "tests/sim/tally.hpp"
#include "tests/sim/workload.hpp"

namespace liminal::sim {

class EchoScene {
 public:
  explicit EchoScene(Stage stage) : stage_(std::move(stage)) {}

  /// On some host that runs.
  void start_talk();
  void start_pair();
  /// A fault that nobody may notice: of a conversation that is open, if there is any.
  bool kill_some_actor();
  void judge(Tally& tally);

 private:
  struct Talk {
    std::size_t node;
    std::shared_ptr<TalkRecord> record;
  };
  struct Pair {
    std::size_t node;
    std::shared_ptr<PairRecord> record;
  };

  void judge_talk(const Talk& talk, Tally& tally);
  void judge_pair(const Pair& pair, Tally& tally);

  Stage stage_;
  std::vector<Talk> talks_;
  std::vector<Pair> pairs_;
};

}  // namespace liminal::sim
