#include "tests/support/delay_line.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace liminal::test {

// 53 random bits, which are a double below 1; the library's distributions differ between libraries.
double DelayLine::percent() { return std::ldexp(static_cast<double>(draws_() >> 11), -53) * 100; }

DelayLine::Draw DelayLine::draw() {
  const double late = percent() / 100;
  return {late, percent()};
}

void DelayLine::take(std::string frame, TimePoint now) {
  // All draws of a frame, whether or not they count: the next frame's do not depend on it.
  const double lost = percent();
  const double duplicated = percent();
  const Draw own = draw();
  const Draw of_copy = draw();
  ++counts_.taken;
  if (lost < impairment_.loss_percent) {
    ++counts_.lost;
    return;
  }
  if (duplicated < impairment_.duplicate_percent) {
    ++counts_.duplicated;
    hold(frame, own, now);
    hold(std::move(frame), of_copy, now);
  } else {
    hold(std::move(frame), own, now);
  }
}

void DelayLine::hold(std::string frame, const Draw& draw, TimePoint now) {
  if (waiting_.size() >= frames_max_) {
    ++counts_.refused;
    return;
  }
  const auto jitter =
      Duration{std::llround(draw.late * static_cast<double>(impairment_.jitter.count()))};
  TimePoint leaves = std::max(turn_, now + impairment_.delay + jitter);
  if (draw.reordered < impairment_.reorder_percent) {
    ++counts_.reordered;
    leaves += impairment_.reorder_by;
  } else {
    turn_ = leaves;
  }
  waiting_.emplace(leaves, std::move(frame));
}

std::optional<TimePoint> DelayLine::next_deadline() const {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.begin()->first;
}

std::optional<std::string> DelayLine::next(TimePoint now) {
  if (waiting_.empty() || waiting_.begin()->first > now) return std::nullopt;
  auto first = waiting_.extract(waiting_.begin());
  return std::move(first.mapped());
}

}  // namespace liminal::test
