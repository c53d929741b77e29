#include "node/remote/data_watch.hpp"

#include <algorithm>

namespace liminal {
namespace {

constexpr int kPatienceMax = 8;  // times down_after

}  // namespace

void DataWatch::set_bounds(Duration down_after, Duration beat_interval) {
  down_after_ = down_after;
  patience_ = down_after;
  echoes_enough_ = std::max<std::int64_t>(down_after / beat_interval / 2, 2);
  state_ = State::kClosed;
}

void DataWatch::opening(TimePoint now, std::uint64_t newest_beat) {
  asked(now, newest_beat);
  state_ = State::kOpening;
  heard_ = now;
}

void DataWatch::attached(TimePoint now) {
  state_ = State::kQuiet;
  heard_ = now;
}

void DataWatch::heard(TimePoint now) {
  heard_ = now;
  if (state_ != State::kQuiet && state_ != State::kAsked) return;
  state_ = State::kQuiet;
  patience_ = down_after_;
}

void DataWatch::echoed(std::uint64_t beat) {
  if (beat > beat_before_) ++echoes_;
}

std::optional<TimePoint> DataWatch::ask_at() const {
  if (state_ != State::kQuiet) return std::nullopt;
  return heard_ + down_after_ / 2;
}

void DataWatch::asked(TimePoint now, std::uint64_t newest_beat) {
  state_ = State::kAsked;
  asked_ = now;
  beat_before_ = newest_beat;
  echoes_ = 0;
}

std::optional<TimePoint> DataWatch::silent_at() const {
  if (state_ != State::kOpening && state_ != State::kAsked) return std::nullopt;
  if (echoes_ < echoes_enough_) return std::nullopt;
  return asked_ + patience_;
}

Duration DataWatch::given_up(TimePoint now) {
  patience_ = std::min(2 * patience_, kPatienceMax * down_after_);
  return now - heard_;
}

}  // namespace liminal
