// What waits to be sent to the other end of a session, and whose turn it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <variant>

#include "common/base/ids.hpp"
#include "common/wire/data.hpp"

namespace liminal {

/// The lanes of the sending processes. Each is first in, first out; they take turns, one item each.
///
/// A payload above wire::kChunkBytesMax is offered, and its lane alone waits until room is granted;
/// then it goes out as Begin and Chunks, one each turn.
///
/// Envelopes and chunks consume credit. Whoever lacks it queues, and no other lane's envelope
/// passes the first in that queue, however small it is, so that a large one does not starve;
/// everything that needs no credit does pass.
///
/// Thread-safety: none. Cost: O(log lanes) per signal, O(1) per item taken.
class Lanes {
 public:
  /// At most this many payloads are offered and not yet sent; other large ones wait.
  static constexpr std::size_t kTransfersMax = 1024;

  /// `first_credit_bytes` is where the credit limit starts, and the most that one item takes.
  explicit Lanes(std::size_t first_credit_bytes);

  void add(Signal signal);
  /// Answers an offer of the other end; goes out before everything else.
  void add_grant(TransferId transfer);

  /// Whether the payload was offered, and no room for it was granted yet.
  [[nodiscard]] bool is_offered(TransferId transfer) const;
  /// REQUIRES: is_offered(transfer).
  void granted(TransferId transfer);

  /// The total that may be consumed. False, and nothing changes, unless it is more than before.
  bool raise_credit_limit(std::uint64_t total_bytes);

  /// Appends the next item to `out`; false if none may go now.
  bool take(std::list<Item>& out);
  /// Whether take() is worth a try: false only if it would say so too.
  [[nodiscard]] bool may_take() const;
  /// Whether an envelope or chunk was refused by take() for want of credit, and still would be.
  [[nodiscard]] bool is_short_of_credit() const;

  /// What the signals that were not taken weigh, as wire::weight_bytes() says.
  [[nodiscard]] std::size_t queued_bytes() const { return queued_bytes_; }
  /// Calls visit(const signal::Send&) for each envelope that was not begun to be taken.
  template <class Visit>
  void for_each_envelope(Visit&& visit) const {
    for (const auto& [owner, lane] : lanes_) {
      for (const Item& item : lane.queue) {
        const auto* signal = std::get_if<Signal>(&item);
        if (const auto* send = signal ? std::get_if<signal::Send>(signal) : nullptr) visit(*send);
      }
    }
  }

  /// Whether everything given to add() and add_grant() was taken, to the last chunk.
  [[nodiscard]] bool empty() const { return grants_.empty() && lanes_.empty(); }

 private:
  enum class Phase : std::uint8_t {
    kHead,   // the next item is queue.front(), or its offer
    kBegin,  // queue.front() was offered
    kChunk,  // `payload` is under way
  };
  struct Lane {
    Serial owner;
    std::list<Item> queue = {};  // signals; nodes, so that they move on without a copy
    Phase phase = Phase::kHead;
    TransferId transfer{0};
    Payload payload = {};
    std::size_t payload_sent_bytes = 0;
  };

  [[nodiscard]] std::size_t credit_needed(const Lane& lane) const;
  [[nodiscard]] bool affordable(std::size_t bytes) const { return bytes <= limit_ - used_; }
  [[nodiscard]] static bool is_large(const Lane& lane);
  [[nodiscard]] bool must_wait_to_offer(const Lane& lane) const;
  void take_from(Lane& lane, std::size_t credit_bytes, std::list<Item>& out);
  void take_offer(Lane& lane, std::list<Item>& out);
  void take_begin(Lane& lane, std::list<Item>& out);
  void take_chunk(Lane& lane, std::list<Item>& out);
  void end_turn(Lane& lane);

  std::size_t window_;
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
  std::uint64_t last_transfer_ = 0;
  std::size_t queued_bytes_ = 0;
  std::size_t open_transfers_ = 0;  // offered, and not sent to the last chunk

  std::list<Item> grants_;
  std::map<Serial, Lane> lanes_;  // only those that have something to send
  // each lane is in exactly one of these
  std::deque<Lane*> ready_;
  std::deque<Lane*> short_of_credit_;
  std::deque<Lane*> waiting_to_offer_;
  std::map<TransferId, Lane*> offered_;
};

}  // namespace liminal
