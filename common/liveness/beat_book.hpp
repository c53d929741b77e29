// When each of our recent beats to one peer was sent, so that its echoes become times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "common/base/time.hpp"

namespace liminal {

/// Remembers at most `unechoed_max` beats: an echo of an older one proves nothing any more, since
/// whoever waited for it has judged long before it came.
class BeatBook {
 public:
  explicit BeatBook(std::size_t unechoed_max) : unechoed_max_(unechoed_max) {}

  /// The number of the beat that is being sent now; they count from 1.
  [[nodiscard]] std::uint64_t record_sent(TimePoint now);

  /// The number of the newest that was sent; 0: none was.
  [[nodiscard]] std::uint64_t newest() const { return newest_; }
  [[nodiscard]] bool was_sent(std::uint64_t number) const { return number <= newest_; }

  [[nodiscard]] std::size_t unechoed_max() const { return unechoed_max_; }
  /// Sent since the newest echo; at most `unechoed_max`.
  [[nodiscard]] std::size_t unechoed() const { return unechoed_.size(); }
  /// When the first since the newest echo was sent, remembered or not.
  [[nodiscard]] std::optional<TimePoint> unechoed_since() const {
    if (unechoed_.empty()) return std::nullopt;
    return unechoed_since_;
  }

  /// When the echoed beat was sent, if this echo is newer than all before it and the beat is still
  /// remembered. Forgets it and all older ones.
  [[nodiscard]] std::optional<TimePoint> record_echo(std::uint64_t number);

 private:
  std::size_t unechoed_max_;
  std::uint64_t newest_ = 0;
  std::deque<TimePoint> unechoed_;  // the last of them is newest_'s
  TimePoint unechoed_since_{};      // while there are any
};

}  // namespace liminal
