#include "node/conversation/waiter.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace liminal {
namespace {

constexpr Duration kWaitMax = std::chrono::hours{24 * 365};  // beyond it clocks would overflow

}  // namespace

bool Waiter::offer(Outcome outcome) {
  {
    const std::lock_guard lock{mutex_};
    if (state_ != State::kWaiting) return false;
    state_ = State::kFilled;
    if (!completion_) outcome_ = std::move(outcome);
  }
  if (completion_) {
    try {
      completion_(std::move(outcome));
    } catch (...) {
      const std::lock_guard lock{mutex_};
      completion_threw_ = true;
    }
  } else {
    filled_.notify_all();
  }
  return true;
}

bool Waiter::completion_threw() {
  const std::lock_guard lock{mutex_};
  return completion_threw_;
}

bool Waiter::abandon() {
  const std::lock_guard lock{mutex_};
  if (state_ == State::kWaiting) state_ = State::kAbandoned;
  return state_ == State::kAbandoned;
}

bool Waiter::is_waiting() {
  const std::lock_guard lock{mutex_};
  return state_ == State::kWaiting;
}

std::optional<Outcome> Waiter::wait_for(Duration timeout) {
  std::unique_lock lock{mutex_};
  filled_.wait_for(lock, std::clamp(timeout, Duration::zero(), kWaitMax),
                   [this] { return state_ == State::kFilled; });
  if (state_ != State::kFilled) {
    state_ = State::kAbandoned;
    return std::nullopt;
  }
  return std::exchange(outcome_, std::nullopt);
}

}  // namespace liminal
