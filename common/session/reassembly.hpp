// Room for large payloads, and their chunks until they are whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.hpp"
#include "common/wire/data.hpp"

namespace liminal {

/// The receiving half of all transfers of a session.
///
/// Room is granted in the order of the offers, as long as the payloads that are granted and not yet
/// whole take no more than `granted_bytes_max`. Memory is taken as chunks come, at most four times
/// what came, never because of a promise.
///
/// Errors: a peer's mistakes are found by a Trial before anything is done; the functions that do it
/// take only what a Trial has passed.
/// Thread-safety: none.
class Reassembly {
 public:
  struct Limits {
    std::size_t granted_bytes_max;
    std::size_t payload_bytes_max;  // of a request or reply; a compensation has one of each
    std::size_t transfers_max;      // offered and not yet whole

    [[nodiscard]] std::size_t largest() const {
      return payload_bytes_max_of(EnvelopeKind::kCompensate, payload_bytes_max);
    }
  };

  explicit Reassembly(Limits limits);

  /// Follows the items of one frame without doing what they say. Each function tells what is wrong
  /// with the item, or nullptr; after the first mistake the Trial is over.
  class Trial {
   public:
    explicit Trial(const Reassembly& reassembly);

    [[nodiscard]] const char* check(const item::Offer& offer);
    [[nodiscard]] const char* check(const item::Begin& begin);
    [[nodiscard]] const char* check(const item::Chunk& chunk);

   private:
    const Reassembly& reassembly_;
    TransferId last_offered_;
    std::size_t open_;
    std::map<TransferId, std::uint64_t> missing_;  // of the transfers that the frame goes on with
  };

  void take(const item::Offer& offer);
  void take(item::Begin begin);
  /// Yields the signal that became whole.
  [[nodiscard]] std::optional<signal::Send> take(const item::Chunk& chunk);

  /// The transfers that room was granted to since the last call.
  [[nodiscard]] std::vector<TransferId> take_grants();

 private:
  struct Transfer {
    std::uint64_t payload_bytes;
    bool granted = false;
    std::optional<signal::Send> send = {};  // set by Begin
    std::string bytes = {};
  };

  void grant_room();

  Limits limits_;
  std::map<TransferId, Transfer> transfers_;
  std::deque<TransferId> waiting_;   // offered, no room yet
  std::vector<TransferId> granted_;  // not told yet
  std::uint64_t granted_bytes_ = 0;  // of the payloads granted and not yet whole
  TransferId last_offered_{0};
};

}  // namespace liminal
