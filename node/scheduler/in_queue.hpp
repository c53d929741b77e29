// Where everything that is meant for one process waits for it, in the order sent.
#pragma once

#include <cstddef>
#include <map>
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
/// A Cancel takes no room in it. Of one other node cancels_max() wait unread: more than its
/// requests here can be, so that only a node that makes them up sees one dropped.
///
/// Thread-safety: all functions; the mutex is held for a push or a swap.
class InQueue {
 public:
  explicit InQueue(const MailboxBounds& bounds) : room_(bounds), bounds_(bounds) {}

  /// Of one other node: for all that can wait here, as much again that was cancelled before, and
  /// what was deferred.
  [[nodiscard]] static std::size_t cancels_max(const MailboxBounds& bounds) {
    return 2 * bounds.messages_max + bounds.deferred_max;
  }

  enum class Put {
    kTaken,
    kTakenWake,  // the caller puts the process into the run queue
    // `arrival` is untouched and the caller's to answer:
    kClosed,    // the process has ended
    kDeferred,  // an envelope, and no room: to be sent again
    kRejected,  // the same, for good
    kDropped,   // a Cancel, and cancels_max() of its node wait
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
      const auto* cancel = std::get_if<signal::Cancel>(signal);
      if (cancel != nullptr && !admits_cancel(cancel->from)) return Put::kDropped;
    }
    arrived_.push_back(std::move(arrival));
    if (!resting_) return Put::kTaken;
    resting_ = false;
    return Put::kTakenWake;
  }

  /// The handler took what a Cancel of `sender` became.
  void cancel_was_read(const Pid& sender) {
    if (sender.is_local()) return;
    const std::lock_guard lock(mutex_);
    const auto found = cancels_.find(sender.incarnation);
    if (--found->second == 0) cancels_.erase(found);
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
  // REQUIRES: mutex_ is held
  [[nodiscard]] bool admits_cancel(const Pid& sender) {
    if (sender.is_local()) return true;
    std::size_t& waiting = cancels_[sender.incarnation];
    if (waiting >= cancels_max(bounds_)) return false;
    ++waiting;
    return true;
  }

  std::mutex mutex_;
  // guarded by mutex_:
  MailboxRoom room_;
  const MailboxBounds& bounds_;
  std::map<Incarnation, std::size_t> cancels_;  // unread, by the node that sent them; none is 0
  std::vector<Arrival> arrived_;
  bool resting_ = false;
  bool closed_ = false;
};

}  // namespace liminal
