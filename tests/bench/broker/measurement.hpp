// What is measured and how it is summed up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace liminal::bench {

using BenchClock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::nanoseconds;

/// How an end loads the path, told to it before it starts.
struct Load {
  std::size_t in_flight;  // requests under way at once; 1: the latency of each is measured
  std::size_t payload_bytes;
  Nanoseconds warm_up;  // before anything counts
  Nanoseconds measured;
  std::size_t conversations;  // over which they are spread, where there are conversations
  unsigned workers;           // of a node's scheduler; 0: as many as it takes by itself
};

/// What one run yielded.
struct Sample {
  double median_us = 0;  // of one request and its reply; zero unless in_flight is 1
  double p99_us = 0;
  double rate = 0;  // requests answered in a second
};

/// REQUIRES: not empty.
inline double quantile(std::vector<double> values, double q) {
  const auto at = static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}
/// REQUIRES: not empty.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[values.size() / 2] + values[(values.size() - 1) / 2]) / 2;
}

/// Counts replies from the end of the warm-up on, until the time is over.
///
/// Thread-safety: none; whoever gets the replies owns it.
class Stopwatch {
 public:
  explicit Stopwatch(const Load& load)
      : from_(BenchClock::now() + load.warm_up), until_(from_ + load.measured) {}

  [[nodiscard]] BenchClock::time_point from() const { return from_; }
  [[nodiscard]] BenchClock::time_point until() const { return until_; }

  /// A reply to what was sent at `sent` came at `now`. False when the time is over.
  bool replied(BenchClock::time_point sent, BenchClock::time_point now) {
    if (now >= until_) return false;
    if (sent >= from_) {
      latencies_us_.push_back(std::chrono::duration<double, std::micro>(now - sent).count());
    }
    if (now >= from_) ++replies_;
    return true;
  }

  [[nodiscard]] Sample sample() const {
    Sample sample;
    sample.rate =
        static_cast<double>(replies_) / std::chrono::duration<double>(until_ - from_).count();
    if (!latencies_us_.empty()) {
      sample.median_us = median(latencies_us_);
      sample.p99_us = quantile(latencies_us_, 0.99);
    }
    return sample;
  }

 private:
  BenchClock::time_point from_, until_;
  std::uint64_t replies_ = 0;
  std::vector<double> latencies_us_;
};

}  // namespace liminal::bench
