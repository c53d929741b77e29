// Where everything that is meant for one process waits for it, in the order sent.
#pragma once

#include <mutex>
#include <vector>

#include "node/scheduler/arrival.hpp"
#include "node/scheduler/mailbox_room.hpp"

namespace liminal {

/// Filled by any thread, emptied by the one that runs the process. It also knows whether the
/// process rests: the put() that finds it resting, and no other, must put the process into the run
/// queue, so that it is there at most once. A process is born not resting. Envelopes pass only
/// while the mailbox behind it has room.
///
/// Thread-safety: all functions; the mutex is held for a push or a swap.
class InQueue {
 public:
  explicit InQueue(const MailboxBounds& bounds) : room_(bounds) {}

  enum class Put {
    kTaken,
    kTakenWake,  // the caller puts the process into the run queue
    // `arrival` is untouched and the caller's to answer:
    kClosed,    // the process has ended
    kDeferred,  // an envelope, and no room: to be sent again
    kRejected,  // the same, for good
  };
  [[nodiscard]] Put put(Arrival&& arrival) {
    const std::lock_guard lock(mutex_);
    if (closed_) return Put::kClosed;
    if (const auto* signal = std::get_if<Signal>(&arrival)) {
      if (const auto* send = std::get_if<signal::Send>(signal)) {
        const auto verdict = room_.admit(*send);
        if (verdict == MailboxRoom::Verdict::kDefer) return Put::kDeferred;
        if (verdict == MailboxRoom::Verdict::kReject) return Put::kRejected;
      }
    }
    arrived_.push_back(std::move(arrival));
    if (!resting_) return Put::kTaken;
    resting_ = false;
    return Put::kTakenWake;
  }

  /// `sender` will not send again what was deferred.
  void withdraw(const Pid& sender, const std::optional<MessageId>& message) {
    const std::lock_guard lock(mutex_);
    room_.withdraw(sender, message);
  }

  /// What of it is for any thread.
  [[nodiscard]] MailboxRoom& room() { return room_; }

  /// Moves everything to `into`. REQUIRES: `into` is empty; its memory is used for what comes next.
  void take(std::vector<Arrival>& into) {
    const std::lock_guard lock(mutex_);
    arrived_.swap(into);
  }

  /// The same; false if there was nothing: the process rests from now on.
  [[nodiscard]] bool take_or_rest(std::vector<Arrival>& into) {
    const std::lock_guard lock(mutex_);
    resting_ = arrived_.empty();
    arrived_.swap(into);
    return !resting_;
  }

  /// Nothing enters any more. Returns what had.
  [[nodiscard]] std::vector<Arrival> close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    return std::move(arrived_);
  }

 private:
  std::mutex mutex_;
  // guarded by mutex_:
  MailboxRoom room_;
  std::vector<Arrival> arrived_;
  bool resting_ = false;
  bool closed_ = false;
};

}  // namespace liminal
