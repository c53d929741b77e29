// How much of what was sent to each connection its peer has not taken.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"

namespace liminal::broker {

/// libzmq queues a number of messages toward each peer, however long they are, and says nothing of
/// them: a peer that reads nothing and lets itself be sent much costs far more than an outbox. Here
/// the bytes are counted that were sent, and compared with what the peer's machine has taken.
///
/// `taken` below is a callable as std::optional<std::uint64_t>(ConnectionId): all bytes taken since
/// the connection began, nullopt if unknown; then there is no bound here, and libzmq's number of
/// messages remains. It is asked when a bound seems to be passed, and at a connection's first
/// frame.
///
/// Thread-safety: none. Cost: O(log connections); while all askers together pass their bound,
/// O(connections) for each that is given up; while they pass half of it, once in kLookAgain a look
/// at each that asked.
class Unread {
 public:
  struct Limits {
    std::size_t answers_bytes_max;  // of one connection: beyond it no more questions are answered
    std::size_t all_answers_bytes_max;  // of all connections that asked: then one has to go
    std::size_t bytes_max;              // of one connection: beyond it the connection is given up
  };
  /// What a reader far away is sent is taken within this.
  static constexpr Duration kLookAgain = std::chrono::seconds{1};

  explicit Unread(Limits limits) : limits_(limits) {}

  /// Counts a message. Returns false if the connection has taken so little that it is to be given
  /// up.
  template <class Taken>
  [[nodiscard]] bool sent(ConnectionId connection, std::size_t bytes, Taken&& taken) {
    const auto [found, is_new] = peers_.try_emplace(connection);
    Peer& peer = found->second;
    if (is_new) peer.taken = taken(connection);
    add(peer, on_the_wire(bytes));
    if (peer.bytes <= limits_.bytes_max) return true;
    look(connection, peer, taken);
    return peer.bytes <= limits_.bytes_max || !peer.taken;
  }

  /// Whether another question of this connection may be answered, with whatever number of bytes, as
  /// far as it is concerned itself. REQUIRES: then worst() is asked until it says nullopt.
  template <class Taken>
  [[nodiscard]] bool may_answer(ConnectionId connection, Taken&& taken) {
    const auto [found, is_new] = peers_.try_emplace(connection);
    Peer& peer = found->second;
    if (is_new) peer.taken = taken(connection);
    if (!peer.taken) return true;
    if (!peer.asked) {
      peer.asked = true;
      all_answers_ += peer.bytes;
    }
    if (peer.bytes >= limits_.answers_bytes_max) look(connection, peer, taken);
    return peer.bytes < limits_.answers_bytes_max;
  }

  /// Who is to be given up, so that those who read are served, although others together do not
  /// take what they asked for; nullopt where their bound is kept. Of those that took nothing for
  /// kLookAgain and more of what they had then, and if there is none of all that asked, it is the
  /// one with the most unread. Never `asker`, whom this is for. The caller forget()s who is named.
  template <class Taken>
  [[nodiscard]] std::optional<ConnectionId> worst(ConnectionId asker, TimePoint now,
                                                  Taken&& taken) {
    const bool is_bound_kept = all_answers_ < limits_.all_answers_bytes_max;
    if (const auto own = peers_.find(asker); !is_bound_kept && own != peers_.end()) {
      look(asker, own->second, taken);
    }
    if (all_answers_ < limits_.all_answers_bytes_max / 2) return std::nullopt;
    if (now >= look_again_) {  // from half of the bound on: when it is passed it is known who reads
      look_again_ = now + kLookAgain;
      for (auto& [each, other] : peers_) {
        if (!other.asked) continue;
        look(each, other, taken);
        other.is_stuck = other.taken_then && other.taken == other.taken_then;
        other.taken_then = other.bytes > 0 ? other.taken : std::nullopt;
      }
    }
    if (all_answers_ < limits_.all_answers_bytes_max) return std::nullopt;
    for (int tries = 1;; ++tries) {
      auto found = peers_.end();
      const auto rank = [](const Peer& peer) { return std::pair{peer.is_stuck, peer.bytes}; };
      for (auto each = peers_.begin(); each != peers_.end(); ++each) {
        if (each->first == asker || !each->second.asked || each->second.bytes == 0) continue;
        if (found == peers_.end() || rank(each->second) > rank(found->second)) found = each;
      }
      if (found == peers_.end()) return std::nullopt;
      const std::uint64_t before = found->second.bytes;
      look(found->first, found->second, taken);
      if (found->second.bytes == before || tries == kTriesMax) return found->first;
      found->second.is_stuck = false;  // it reads after all: it has less now, or another has more
      if (all_answers_ < limits_.all_answers_bytes_max) return std::nullopt;
    }
  }

  void forget(ConnectionId connection) {
    const auto found = peers_.find(connection);
    if (found == peers_.end()) return;
    if (found->second.asked) all_answers_ -= found->second.bytes;
    peers_.erase(found);
  }

  /// As of the latest look.
  [[nodiscard]] std::uint64_t of_askers() const { return all_answers_; }
  [[nodiscard]] std::size_t connections() const { return peers_.size(); }

 private:
  struct Peer {
    std::uint64_t bytes = 0;                  // sent and, as of the latest look, not taken
    std::optional<std::uint64_t> taken = {};  // at the latest look
    bool asked = false;
    /// At the latest look at all; nullopt: it had nothing to take.
    std::optional<std::uint64_t> taken_then = {};
    bool is_stuck = false;  // it took nothing between the latest two of those
  };
  static constexpr int kTriesMax = 8;  // among those who read a little

  /// With ZMTP's header, so that what is taken never counts for more than was sent.
  [[nodiscard]] static std::uint64_t on_the_wire(std::size_t bytes) {
    return bytes + (bytes > 255 ? 9 : 2);
  }
  void add(Peer& peer, std::uint64_t bytes) {
    peer.bytes += bytes;
    if (peer.asked) all_answers_ += bytes;
  }
  template <class Taken>
  void look(ConnectionId connection, Peer& peer, Taken& taken) {
    const std::optional<std::uint64_t> now = taken(connection);
    if (!now) return;
    const std::uint64_t before = peer.taken.value_or(*now);
    const std::uint64_t more = *now > before ? *now - before : 0;
    const std::uint64_t less = std::min(more, peer.bytes);
    peer.taken = *now;
    peer.bytes -= less;
    if (peer.asked) all_answers_ -= less;
  }

  Limits limits_;
  std::map<ConnectionId, Peer> peers_;
  std::uint64_t all_answers_ = 0;  // bytes, of those that asked
  TimePoint look_again_ = TimePoint::min();
};

}  // namespace liminal::broker
