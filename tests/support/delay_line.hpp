// What one direction of a bad cable does to frames: which of them leaves when, and which never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>

#include "common/base/time.hpp"

namespace liminal::test {

/// How one direction of a cable is bad. Shares are of all frames, each drawn for itself.
struct Impairment {
  Duration delay{};
  /// Up to so much more, and never so that a frame overtakes an earlier one.
  Duration jitter{};
  double loss_percent = 0;
  /// These are overtaken: they leave `reorder_by` after their turn, and nobody waits for them.
  double reorder_percent = 0;
  Duration reorder_by = std::chrono::milliseconds{10};
  /// These come twice; the copy's delay is drawn for itself.
  double duplicate_percent = 0;
};

/// Holds the frames of one direction until they may leave. Their fates follow from the seed and
/// their numbers alone, not from when they come; an impairment changes which of the draws count,
/// never the draws.
///
/// Bounds: at most `frames_max` wait; what comes then is lost, and counted as refused.
/// Cost: logarithmic in what waits.
class DelayLine {
 public:
  struct Counts {
    std::uint64_t taken = 0;       // frames that came
    std::uint64_t lost = 0;        // by the impairment
    std::uint64_t refused = 0;     // too many waited
    std::uint64_t reordered = 0;   // copies included
    std::uint64_t duplicated = 0;  // the copies
  };

  /// At first it is a good cable.
  DelayLine(std::uint64_t seed, std::size_t frames_max) : draws_(seed), frames_max_(frames_max) {}

  /// From the next frame on. What waits keeps its time, and in-order frames keep behind it.
  /// REQUIRES: nothing negative.
  void impair(const Impairment& impairment) { impairment_ = impairment; }

  void take(std::string frame, TimePoint now);
  /// When next() has something; nullopt when nothing waits.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  /// The next frame whose time has come, or nullopt.
  [[nodiscard]] std::optional<std::string> next(TimePoint now);

  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  struct Draw {
    double late;       // of the jitter
    double reordered;  // as percent, like those below
  };

  [[nodiscard]] double percent();
  [[nodiscard]] Draw draw();
  void hold(std::string frame, const Draw& draw, TimePoint now);

  std::mt19937_64 draws_;
  std::size_t frames_max_;
  Impairment impairment_;
  TimePoint turn_ = TimePoint::min();              // of the last frame that keeps the order
  std::multimap<TimePoint, std::string> waiting_;  // equal times: in the order taken
  Counts counts_;
};

}  // namespace liminal::test
