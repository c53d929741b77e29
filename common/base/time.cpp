#include "common/base/time.hpp"

#include <time.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <utility>

#include "common/base/text.hpp"

namespace liminal {
namespace {

constexpr std::array<std::pair<std::string_view, std::int64_t>, 6> kUnits{{
    {"h", 3'600'000'000'000},
    {"m", 60'000'000'000},
    {"s", 1'000'000'000},
    {"ms", 1'000'000},
    {"us", 1'000},
    {"ns", 1},
}};

// Independent of the locale, unlike strtod.
template <class Number>
bool reads_all(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

TimePoint SystemClock::now() const {
  timespec ts{};
  ::clock_gettime(CLOCK_BOOTTIME, &ts);
  return TimePoint{std::chrono::seconds{ts.tv_sec} + std::chrono::nanoseconds{ts.tv_nsec}};
}

Result<Duration> parse_duration(std::string_view text) {
  const auto wrong = [&] {
    return fail(Errc::kUsage,
                "'" + escaped_tail(text, 100) + "' is not a duration: write e.g. 250ms, 5s or 1m");
  };
  const auto unit_at = text.find_first_not_of("0123456789.");
  if (unit_at == std::string_view::npos) return wrong();
  const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const auto& candidate) {
    return candidate.first == text.substr(unit_at);
  });
  if (unit == kUnits.end()) return wrong();

  const std::string_view number = text.substr(0, unit_at);
  const auto point = std::min(number.find('.'), number.size());
  std::int64_t whole = 0;  // apart from the fraction, so that large numbers stay exact
  if (!reads_all(number.substr(0, point), whole)) return wrong();
  double fraction = 0;
  if (point < number.size() && !reads_all(number.substr(point), fraction)) return wrong();

  const std::int64_t nanoseconds = unit->second;
  const std::int64_t rest = std::llround(fraction * static_cast<double>(nanoseconds));
  if (whole > (Duration::max().count() - rest) / nanoseconds) return wrong();
  return Duration{whole * nanoseconds + rest};
}

std::string to_string(Duration duration) {
  if (duration == Duration::zero()) return "0s";
  for (const auto& [unit, nanoseconds] : kUnits) {
    if (duration.count() % nanoseconds == 0) {
      return std::to_string(duration.count() / nanoseconds) + std::string{unit};
    }
  }
  return std::to_string(duration.count()) + "ns";
}

double to_ms(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace liminal
