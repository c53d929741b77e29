#include "common/base/time.hpp"

#include <time.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>

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

}  // namespace

TimePoint SystemClock::now() const {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return TimePoint{std::chrono::seconds{ts.tv_sec} + std::chrono::nanoseconds{ts.tv_nsec}};
}

Result<Duration> parse_duration(std::string_view text) {
  const auto wrong = [&] {
    return fail(Errc::kUsage,
                "'" + std::string{text} + "' is not a duration: write e.g. 250ms, 5s or 1m");
  };
  const auto digits = text.find_first_not_of("0123456789.");
  if (digits == 0 || digits == std::string_view::npos) return wrong();
  const std::string number{text.substr(0, digits)};
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (*end != '\0' || number == ".") return wrong();
  for (const auto& [unit, nanoseconds] : kUnits) {
    if (text.substr(digits) != unit) continue;
    const double total = value * static_cast<double>(nanoseconds);
    if (!(total < 9.2e18)) return wrong();
    return Duration{std::llround(total)};
  }
  return wrong();
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
