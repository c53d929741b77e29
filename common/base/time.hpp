// Monotonic time as every core sees it, and durations as people write them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "common/base/result.hpp"

namespace liminal {

using Duration = std::chrono::nanoseconds;

/// The clock that time points belong to. It cannot be read: only a Clock can be.
struct MonotonicTime {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicTime, duration>;
  static constexpr bool is_steady = true;
};
using TimePoint = MonotonicTime::time_point;

/// Where a loop reads the time, once a turn. Cores never hold one: they are told.
/// Thread-safety: now() may be called from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint now() const = 0;
};

/// CLOCK_BOOTTIME: a jump of the wall clock changes nothing, and the time for which the host slept
/// counts. What the kernel or the library waits for (poll, condition variables) does not count it:
/// such a wait is for a duration, ends late by the sleep, and is cut where that matters.
class SystemClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override;
};

/// Reads "250ms", "5s", "1m", "2h", "10us", "7ns"; fractions such as "1.5s" too.
/// Errors: kUsage, naming the text and what would be right.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);

/// Exact, in the largest unit that it is a whole number of, e.g. "250ms", "90s", "2m". What is not
/// negative, parse_duration() reads back.
[[nodiscard]] std::string to_string(Duration duration);

/// Milliseconds with a fraction, for JSON and messages.
[[nodiscard]] double to_ms(Duration duration);

}  // namespace liminal
