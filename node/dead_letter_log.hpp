// Tells an operator, now and then, that something could not be delivered.
#pragma once

#include <optional>

#include "common/base/time.hpp"
#include "node/dead_letters/dead_letters.hpp"

namespace liminal {

/// One line for all dead letters since the line before, at most one each ten seconds: how many of
/// each cause, and the newest of them.
///
/// Thread affinity: whoever looks.
class DeadLetterLog {
 public:
  /// Logs what is new in `letters`, unless a line was logged a short while ago.
  void look(const DeadLetters& letters, TimePoint now);

 private:
  DeadLetters::Counts told_{};
  std::optional<TimePoint> told_at_;
};

}  // namespace liminal
