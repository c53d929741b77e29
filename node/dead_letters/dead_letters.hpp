// A node's list of what could not be delivered.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "node/dead_letters/dead_letter.hpp"

namespace liminal {

/// Counts all, keeps the newest: without their payloads, so that a flood of dead letters costs no
/// memory.
///
/// Thread-safety: all functions. Bound: `kept_max` letters; beyond it the oldest is forgotten.
class DeadLetters {
 public:
  using Counts = std::array<std::uint64_t, kDeadLetterCauses>;  // by DeadLetterCause

  explicit DeadLetters(std::size_t kept_max = 1024) : kept_max_(kept_max) {}

  void add(DeadLetter letter);
  /// Only counts: what is too much to be looked at one by one.
  void add_unseen(DeadLetterCause cause, std::uint64_t letters);

  [[nodiscard]] Counts counts() const;
  [[nodiscard]] std::uint64_t count(DeadLetterCause cause) const;
  [[nodiscard]] std::uint64_t total() const;
  /// Those that are kept, oldest first.
  [[nodiscard]] std::vector<DeadLetter> newest() const;

 private:
  const std::size_t kept_max_;
  mutable std::mutex mutex_;
  Counts counts_{};              // GUARDED_BY mutex_
  std::deque<DeadLetter> kept_;  // GUARDED_BY mutex_
};

}  // namespace liminal
