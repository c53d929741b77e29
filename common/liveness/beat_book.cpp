#include "common/liveness/beat_book.hpp"

namespace liminal {

std::uint64_t BeatBook::record_sent(TimePoint now) {
  if (unechoed_.empty()) unechoed_since_ = now;
  unechoed_.push_back(now);
  if (unechoed_.size() > unechoed_max_) unechoed_.pop_front();
  return ++newest_;
}

std::optional<TimePoint> BeatBook::record_echo(std::uint64_t number) {
  const std::uint64_t oldest = newest_ - unechoed_.size() + 1;
  if (number < oldest || number > newest_) return std::nullopt;
  const auto found = unechoed_.begin() + static_cast<std::ptrdiff_t>(number - oldest);
  const TimePoint sent = *found;
  unechoed_.erase(unechoed_.begin(), found + 1);
  if (!unechoed_.empty()) unechoed_since_ = unechoed_.front();
  return sent;
}

}  // namespace liminal
