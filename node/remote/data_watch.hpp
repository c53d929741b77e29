// Notices that a data connection which stands carries nothing any more.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/time.hpp"

namespace liminal {

/// Watches the data connection, on which no beats go: what drops that one flow silently (a NAT, one
/// path of several) would else stop two living nodes until TCP or ZMTP gives up.
///
/// Silence proves nothing by itself, since peers may have nothing to say, or be stopped. So when
/// nothing came for half of down_after the broker is asked: an Attach is answered each time. When
/// down_after after that nothing came at all, but the broker kept echoing beats that were sent
/// later, on the control connection, then this connection is to be given up for another one. Half
/// as many echoes are needed as fit into that time: a node or broker that was stopped itself, or
/// that is in no touch at all, blames nobody. The Attach of a new connection is such a question
/// too.
///
/// Whoever gives up again although nothing came in between waits twice as long, up to eight times:
/// a question can wait behind much data on a slow line.
///
/// Not judged by it: nodes. Thread-safety: none; lives where its NodeCore lives.
class DataWatch {
 public:
  /// As a welcome told them; what is asked is forgotten. REQUIRES: 0 < beat_interval < down_after.
  void set_bounds(Duration down_after, Duration beat_interval);

  /// A connection is being opened; `newest_beat`: the last that was sent on control.
  void opening(TimePoint now, std::uint64_t newest_beat);
  /// It stands and is attached.
  void attached(TimePoint now);
  /// There is none.
  void closed() { state_ = State::kClosed; }
  /// Anything came on it.
  void heard(TimePoint now);
  /// The broker echoed that beat of ours, on control.
  void echoed(std::uint64_t beat);

  /// When the broker is to be asked, unless something is heard.
  [[nodiscard]] std::optional<TimePoint> ask_at() const;
  /// It was.
  void asked(TimePoint now, std::uint64_t newest_beat);

  /// When the connection is to be given up, unless something is heard.
  [[nodiscard]] std::optional<TimePoint> silent_at() const;
  /// It was; returns for how long nothing had been heard on it.
  Duration given_up(TimePoint now);

 private:
  enum class State : std::uint8_t {
    kClosed,
    kOpening,  // asked with the first message
    kQuiet,    // nothing is asked
    kAsked,
  };

  Duration down_after_{};
  std::int64_t echoes_enough_ = 0;
  Duration patience_{};  // down_after_, or more
  State state_ = State::kClosed;
  TimePoint heard_{};  // or begun to listen
  TimePoint asked_{};
  std::uint64_t beat_before_ = 0;  // of the question
  std::int64_t echoes_ = 0;        // since, of beats that came after it
};

}  // namespace liminal
