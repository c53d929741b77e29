// Talks that send requests to an echo, pairs of linked processes that count, and processes that tie
// and untie themselves.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "tests/sim/stage.hpp"
#include "tests/sim/tally.hpp"
#include "tests/sim/workload.hpp"
#include "tests/sim/workload_ties.hpp"

namespace liminal::sim {

class EchoScene {
 public:
  explicit EchoScene(Stage stage) : stage_(std::move(stage)) {}

  /// On some host that runs.
  void start_talk();
  /// Every second time with a process that ties and unties itself to another.
  void start_pair();
  /// A fault that nobody may notice: of a conversation that is open, if there is any.
  bool kill_some_actor();
  void judge(Tally& tally);

 private:
  struct Talk {
    std::size_t node;
    std::shared_ptr<TalkRecord> record;
  };
  /// Where a process with ties was begun.
  struct Home {
    std::size_t node;
    int fenced;  // how often its node was at the beginning
  };
  struct Pair {
    Home home;
    std::shared_ptr<PairRecord> record;
  };
  struct Tie {
    Home home;
    std::shared_ptr<TieRecord> record;
  };

  void start_tie();
  [[nodiscard]] Reporter reporter() const;
  [[nodiscard]] ConversationId fresh_id(std::uint64_t kind);
  void judge_talk(const Talk& talk, Tally& tally);
  void judge_pair(const Pair& pair, Tally& tally);
  void judge_tie(const Tie& tie);
  /// Whether that noconnection about `of` may be told there.
  [[nodiscard]] bool is_lost(const Home& home, const Pid& of, const ExitReason& reason) const;
  [[nodiscard]] bool is_left(const Pid& pid) const;
  /// Its incarnation, at the end.
  [[nodiscard]] bool is_living(const Pid& pid) const;

  Stage stage_;
  std::vector<Talk> talks_;
  std::vector<Pair> pairs_;
  std::vector<Tie> ties_;
  std::uint64_t ids_ = 0;
};

}  // namespace liminal::sim
