// What the participants of one node share: how many there are, what they ignored, their limits.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace liminal {

/// Thread-safety: all of it.
struct ParticipantLedger {
  std::atomic<std::size_t> live = 0;
  std::atomic<std::uint64_t> ignored_messages = 0;                // that were no requests
  std::atomic<std::size_t> payload_bytes_max = 16 * 1024 * 1024;  // told at join
};

/// One place among a node's participants, given back when it is destroyed.
///
/// The ledger is held by shared_ptr, because a scheduler destroys its last processes when what made
/// them may be gone.
class ParticipantSlot {
 public:
  /// nullopt if `participants_max` live.
  [[nodiscard]] static std::optional<ParticipantSlot> take(
      std::shared_ptr<ParticipantLedger> ledger, std::size_t participants_max) {
    if (ledger->live.fetch_add(1) >= participants_max) {
      ledger->live.fetch_sub(1);
      return std::nullopt;
    }
    return ParticipantSlot{std::move(ledger)};
  }

  ParticipantSlot(ParticipantSlot&&) = default;
  ParticipantSlot& operator=(ParticipantSlot&&) = delete;
  ~ParticipantSlot() {
    if (ledger_) ledger_->live.fetch_sub(1);
  }

  [[nodiscard]] ParticipantLedger& ledger() const { return *ledger_; }

 private:
  explicit ParticipantSlot(std::shared_ptr<ParticipantLedger> ledger)
      : ledger_(std::move(ledger)) {}

  std::shared_ptr<ParticipantLedger> ledger_;  // null: moved from
};

}  // namespace liminal
