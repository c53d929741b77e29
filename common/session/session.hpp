// The ordered, reliable stream of signals between two incarnations, through whichever broker.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/wire/data.hpp"

namespace liminal {

/// One end of a session.
///
/// Promises, whatever is lost, doubled or delayed between the ends while both live: every signal
/// given to send() comes out of the other end's receive() exactly once, and those of one sending
/// process in the order sent. Frames may be lost at any time; they are sent again when the other
/// end misses something, when the connection was reopened, or when no acknowledgement came for
/// `resend_after` (doubled at each further try up to `resend_after_max`).
///
/// Signals of one process form a lane. Lanes take turns, so that a large payload, which travels in
/// chunks after the receiver granted room for the whole, holds up its own sender only. Envelopes
/// and chunks consume the credit that the receiver gave, in bytes; all other signals need none but
/// keep their place in their lane.
///
/// No I/O and no clock. Thread-safety: none; lives where its NodeCore lives.
/// Errors: receive() tells a violation by the peer as kMalformed and changes nothing then.
class Session {
 public:
  struct Settings {
    std::size_t credit_window_bytes = 4 * 1024 * 1024;      // given to the other end
    std::size_t reassembly_bytes_max = 64 * 1024 * 1024;    // granted to large payloads at once
    std::size_t payload_bytes_max = 16 * 1024 * 1024;       // of one envelope
    std::size_t unacknowledged_items_max = 65536;           // sent; beyond it nothing new is sent
    Duration acknowledge_after = std::chrono::milliseconds{10};
    Duration resend_after = std::chrono::milliseconds{300};
    Duration resend_after_max = std::chrono::seconds{3};
  };

  Session(SessionNumber number, Settings settings);

  /// Takes a signal to be sent; collect() then yields it as credit and order allow.
  void send(Signal signal);

  struct Received {
    std::vector<Signal> signals;  // in order, each exactly once
    bool duplicate = false;       // nothing in it was new though it had items
  };
  /// Reads one frame from the other end. After each signal that was put into a mailbox or refused
  /// call returned(). Errors: kMalformed (credit, room or grant overrun; a chunk of no transfer).
  [[nodiscard]] Result<Received> receive(SessionFrame frame, TimePoint now);

  /// The receiver is done with `signal`: gives its credit back to the other end.
  void returned(const Signal& signal);

  /// The connection was lost and stands again: everything unacknowledged goes out anew, and the
  /// other end is asked for what we miss.
  void reconnected();

  /// The frames to send at `now`, each at most about kFrameFillBytes. Call once at the end of each
  /// turn in which something happened or next_deadline() passed. At most `frames_max` frames; when
  /// more wait, next_deadline() is `now`.
  [[nodiscard]] std::vector<SessionFrame> collect(TimePoint now, std::size_t frames_max);

  /// When collect() has something to send although nothing happens; nullopt if never.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  /// Everything given to send() was acknowledged by the other end.
  [[nodiscard]] bool settled() const;

  [[nodiscard]] SessionNumber number() const { return number_; }

 private:
  SessionNumber number_;
  Settings settings_;
  // the state belongs to the implementation
};

}  // namespace liminal
