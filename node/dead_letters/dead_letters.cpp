#include "node/dead_letters/dead_letters.hpp"

#include <numeric>
#include <utility>

namespace liminal {

std::string_view name_of(DeadLetterCause cause) {
  switch (cause) {
    case DeadLetterCause::kNoProcess:
      return "no such process";
    case DeadLetterCause::kNotRead:
      return "ended with it unread";
    case DeadLetterCause::kNodeGone:
      return "node gone";
    case DeadLetterCause::kSessionLost:
      return "session lost";
    case DeadLetterCause::kLateReply:
      return "late reply";
    case DeadLetterCause::kExpired:
      return "expired";
    case DeadLetterCause::kRejected:
      return "rejected";
  }
  return "?";
}

void DeadLetters::add(DeadLetter letter) {
  const std::lock_guard lock{mutex_};
  ++counts_[static_cast<std::size_t>(letter.cause)];
  kept_.push_back(std::move(letter));
  if (kept_.size() > kept_max_) kept_.pop_front();
}

void DeadLetters::add_unseen(DeadLetterCause cause, std::uint64_t letters) {
  const std::lock_guard lock{mutex_};
  counts_[static_cast<std::size_t>(cause)] += letters;
}

DeadLetters::Counts DeadLetters::counts() const {
  const std::lock_guard lock{mutex_};
  return counts_;
}

std::uint64_t DeadLetters::count(DeadLetterCause cause) const {
  return counts()[static_cast<std::size_t>(cause)];
}

std::uint64_t DeadLetters::total() const {
  const Counts all = counts();
  return std::accumulate(all.begin(), all.end(), std::uint64_t{0});
}

std::vector<DeadLetter> DeadLetters::newest() const {
  const std::lock_guard lock{mutex_};
  return {kept_.begin(), kept_.end()};
}

}  // namespace liminal
