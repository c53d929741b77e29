// One call on a conversation, seen from both of its ends: who waits, and who will answer.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>

#include "node/conversation/conversation_core.hpp"

namespace liminal {

/// Ends in exactly one of two ways: an outcome was taken, or the caller gave up. Who offers an
/// outcome learns which, so that a reply offered to a caller that is gone is kept and not lost.
///
/// Thread-safety: all functions from any thread. Shared by both ends, since either may go first.
class Waiter {
 public:
  /// Called once, on the thread that offers the outcome; never after abandon() returned true.
  using Completion = std::function<void(Outcome)>;

  /// Its caller blocks in wait_for().
  Waiter() = default;
  /// Its caller is told.
  explicit Waiter(Completion completion) : completion_(std::move(completion)) {}

  /// False if the caller gave up, or was answered before; the outcome was then not taken. What a
  /// completion throws goes no further: it runs in a turn that is not its own.
  bool offer(Outcome outcome);
  [[nodiscard]] bool completion_threw();

  /// The caller gives up. False if the outcome was there first.
  bool abandon();

  /// Whether an outcome would be taken now; it may change at any moment, but never back to true.
  [[nodiscard]] bool is_waiting();

  /// Blocks for an outcome, and gives up when `timeout` has passed: nullopt. Made without a
  /// completion only.
  [[nodiscard]] std::optional<Outcome> wait_for(Duration timeout);

 private:
  enum class State { kWaiting, kFilled, kAbandoned };

  Completion completion_;
  std::mutex mutex_;
  std::condition_variable filled_;
  State state_ = State::kWaiting;   // GUARDED_BY mutex_
  bool completion_threw_ = false;   // GUARDED_BY mutex_
  std::optional<Outcome> outcome_;  // GUARDED_BY mutex_
};

}  // namespace liminal
