// What the participants of one node share: how many there are, what they ignored, their limits.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "common/base/time.hpp"
#include "node/timeline/timeline_recorder.hpp"

namespace liminal {

/// Thread-safety: all of it.
struct ParticipantLedger {
  std::atomic<std::size_t> live = 0;
  std::atomic<std::size_t> pipe_children = 0;                     // those with a child for life
  std::atomic<std::uint64_t> ignored_messages = 0;                // that were no requests
  std::atomic<std::uint64_t> late_replies = 0;                    // to requests that had expired
  std::atomic<std::size_t> payload_bytes_max = 16 * 1024 * 1024;  // told at join
  // Requests from other nodes are begun until then.
  std::atomic<TimePoint> lease_until = TimePoint::max();
  // Told what begins and is answered; null: nobody keeps it. Set before there are participants.
  TimelineRecorder* timeline = nullptr;
};

/// One place among those that `count` counts, given back when it is destroyed.
///
/// The ledger is held by shared_ptr, because a scheduler destroys its last processes when what made
/// them may be gone.
template <std::atomic<std::size_t> ParticipantLedger::*count>
class LedgerSlot {
 public:
  /// nullopt if `max` are taken.
  [[nodiscard]] static std::optional<LedgerSlot> take(std::shared_ptr<ParticipantLedger> ledger,
                                                      std::size_t max) {
    if (((*ledger).*count).fetch_add(1) >= max) {
      ((*ledger).*count).fetch_sub(1);
      return std::nullopt;
    }
    return LedgerSlot{std::move(ledger)};
  }

  LedgerSlot(LedgerSlot&&) = default;
  LedgerSlot& operator=(LedgerSlot&&) = delete;
  ~LedgerSlot() {
    if (ledger_) ((*ledger_).*count).fetch_sub(1);
  }

  [[nodiscard]] ParticipantLedger& ledger() const { return *ledger_; }

 private:
  explicit LedgerSlot(std::shared_ptr<ParticipantLedger> ledger) : ledger_(std::move(ledger)) {}

  std::shared_ptr<ParticipantLedger> ledger_;  // null: moved from
};

using ParticipantSlot = LedgerSlot<&ParticipantLedger::live>;
using PipeChildSlot = LedgerSlot<&ParticipantLedger::pipe_children>;

}  // namespace liminal
