// The ordered, reliable stream of signals between two incarnations, through whichever broker.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/session/lanes.hpp"
#include "common/session/reassembly.hpp"
#include "common/wire/data.hpp"
#include "common/wire/limits.hpp"

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
/// keep their place in their lane. Both ends begin with wire::kFirstCreditBytes, so that the first
/// envelope waits for nobody; then each is told what the other's window allows.
///
/// When nothing was acknowledged for `resend_after`, one frame goes out as a probe and the rest
/// when that is answered: an end that is only slow does not get everything twice.
///
/// No I/O and no clock. Thread-safety: none; lives where its NodeCore lives.
/// Errors: receive() tells a violation by the peer as kMalformed and changes nothing then. The
/// session cannot go on after that: its owner begins one with a greater number and announces it.
/// A frame of another number is for the owner to look at, before receive().
class Session {
 public:
  struct Settings {
    /// Given to the other end. At least wire::kFirstCreditBytes, or equal at both ends.
    std::size_t credit_window_bytes = 4 * 1024 * 1024;
    std::size_t reassembly_bytes_max = 64 * 1024 * 1024;  // granted to large payloads at once
    std::size_t payload_bytes_max = 16 * 1024 * 1024;     // of a request or a reply
    std::size_t unacknowledged_items_max = 65536;         // sent; beyond it nothing new is sent
    Duration acknowledge_after = std::chrono::milliseconds{10};
    Duration resend_after = std::chrono::milliseconds{300};
    Duration resend_after_max = std::chrono::seconds{3};
  };

  /// A frame of small items ends here, far below wire::kFrameItemsMax: its reader decodes, checks
  /// and hands on all of it before other work goes on, and reads one while this end fills the next.
  /// Also, what 128 items take comes from the allocator's own memory; what many more take, from the
  /// kernel's, page by page.
  static constexpr std::size_t kFrameItemsMax = 128;

  Session(SessionNumber number, Settings settings);

  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  Session(Session&&) = default;
  Session& operator=(Session&&) = default;
  ~Session() = default;

  /// This session replaces one that could not go on: the other end is told, again and again, until
  /// something of this session comes from it.
  void announce();

  /// Takes a signal to be sent; collect() then yields it as credit and order allow.
  /// REQUIRES: a payload of at most payload_bytes_max_of(its kind, the other end's
  /// `payload_bytes_max`), and a reply_at within it; that end would reset the session.
  void send(Signal signal);

  struct Received {
    std::vector<Signal> signals;  // in order, each exactly once
    bool duplicate = false;       // nothing in it was new though it had items
  };
  /// Reads one frame from the other end. After each signal that was put into a mailbox or refused
  /// call returned(). Errors: kMalformed (credit, room or grant overrun; a chunk of no transfer; an
  /// acknowledgement of what was not sent; a frame of another session).
  [[nodiscard]] Result<Received> receive(SessionFrame frame, TimePoint now);

  /// The receiver is done with `signal`: gives its credit back to the other end.
  void returned(const Signal& signal);

  /// The connection was lost and stands again: everything unacknowledged goes out anew, and the
  /// other end is asked for what we miss.
  void reconnected();

  /// The frames to send at `now`, each at most about wire::kFrameFillBytes
  /// and kFrameItemsMax items. Call once at the end of each
  /// turn in which something happened or next_deadline() passed. At most `frames_max` frames; when
  /// more wait, next_deadline() is `now`.
  [[nodiscard]] std::vector<SessionFrame> collect(TimePoint now, std::size_t frames_max);

  /// When collect() has something to send although nothing happens; nullopt if never.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  /// Everything given to send() was acknowledged by the other end.
  [[nodiscard]] bool settled() const;

  /// What waits to be sent or to be acknowledged, nearly as it is on the wire.
  [[nodiscard]] std::size_t waiting_bytes() const { return lanes_.queued_bytes() + sent_bytes_; }
  /// Calls visit(const signal::Send&) for each envelope among it: first those that were sent.
  template <class Visit>
  void for_each_unsettled(Visit&& visit) const {
    for (const Item& item : sent_) {
      if (const auto* begin = std::get_if<item::Begin>(&item)) visit(begin->send);
      const auto* signal = std::get_if<Signal>(&item);
      if (const auto* send = signal ? std::get_if<signal::Send>(signal) : nullptr) visit(*send);
    }
    lanes_.for_each_envelope(visit);
  }

  [[nodiscard]] SessionNumber number() const { return number_; }

 private:
  // --- what the other end says of our items ---
  [[nodiscard]] const char* violation_in(const SessionFrame& frame) const;
  [[nodiscard]] const char* violation_in_new_items(const SessionFrame& frame) const;
  void acknowledged_below(std::uint64_t sequence);
  void stop_waiting();
  void go_back();

  // --- its items ---
  void take_item(Item item, std::vector<Signal>& signals);
  void found_gap();
  void acknowledge_soon();
  void give_credit(std::size_t bytes);
  [[nodiscard]] std::size_t charge(std::size_t credit_bytes) const;
  [[nodiscard]] std::uint64_t credit_limit() const;
  [[nodiscard]] static std::size_t first_credit(const Settings& settings) {
    return std::min(settings.credit_window_bytes, wire::kFirstCreditBytes);
  }

  // --- our frames ---
  void nothing_came();
  [[nodiscard]] bool may_send_items() const;
  [[nodiscard]] bool acknowledgement_is_due() const;
  [[nodiscard]] SessionFrame next_frame();
  void fill(SessionFrame& frame);

  [[nodiscard]] std::uint64_t first_unacknowledged() const { return end_of_sent_ - sent_.size(); }

  SessionNumber number_;
  Settings settings_;
  TimePoint now_{};  // the newest that we were told

  Lanes lanes_;
  std::list<Item> sent_;                   // not acknowledged yet; consecutive
  std::size_t sent_bytes_ = 0;             // of them
  std::uint64_t end_of_sent_ = 1;          // the sequence number behind sent_.back()
  std::list<Item>::iterator resend_from_;  // meaningful if to_resend_ > 0
  std::size_t to_resend_ = 0;              // at the end of sent_, from resend_from_
  bool probing_ = false;                   // nothing goes out until something is acknowledged
  bool probe_is_out_ = false;              // but this one frame
  Duration resend_wait_;
  std::optional<TimePoint> resend_at_;  // set while we wait for acknowledgement or credit

  Reassembly reassembly_;
  std::uint64_t next_expected_ = 1;
  std::uint64_t next_expected_told_ = 1;
  std::uint64_t credit_consumed_ = 0;  // by the other end, in total
  std::uint64_t credit_returned_ = 0;
  std::uint64_t credit_limit_told_;
  std::uint64_t credit_returned_told_ = 0;
  std::optional<TimePoint> acknowledge_at_;
  bool acknowledge_now_ = false;
  bool ask_to_resend_ = false;                   // in the next frame
  bool unconfirmed_ = false;                     // announced, and nothing of it came yet
  std::optional<TimePoint> asked_to_resend_at_;  // since then nothing missing came
};

}  // namespace liminal
