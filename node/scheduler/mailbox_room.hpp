// How many envelopes a process may have waiting, and what becomes of those that are too many.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/base/deferrals.hpp"
#include "common/wire/codec.hpp"
#include "common/wire/signal.hpp"

namespace liminal {

struct MailboxBounds {
  std::size_t messages_max = 4096;
  std::size_t bytes_max = std::size_t{64} * 1024 * 1024;  // as credit counts them
  std::size_t deferred_max = 16384;                       // that are remembered: some 32 bytes each
};

/// The envelopes of one process from the sender's put to the handler's taking of it, counted.
///
/// At either bound an envelope is deferred: its sender is to send it again, and until then nothing
/// later of that sender passes (Deferrals; beyond deferred_max an envelope is rejected). An
/// envelope larger than bytes_max passes alone.
///
/// The answer to a request, or to a compensation, always passes: a process that sends requests has
/// room for their answers, or nobody could ever answer one that is busy. What answers nothing is
/// bounded like a request.
///
/// Thread-safety: left(), answer_is_owed() and the counts from any thread; the rest is called by
/// one at a time (under the in-queue's lock).
class MailboxRoom {
 public:
  using Verdict = Deferrals<Pid>::Verdict;

  explicit MailboxRoom(const MailboxBounds& bounds)
      : bounds_(bounds), deferrals_(bounds.deferred_max) {}

  /// Takes the room for it if the verdict is kTake.
  [[nodiscard]] Verdict admit(const signal::Send& send) {
    const std::size_t bytes = wire::credit_bytes(send.envelope);
    if (!is_asked(send.envelope.kind) && owes_answer()) {
      enter(bytes);
      return Verdict::kTake;
    }
    const std::size_t before = messages_.load(std::memory_order_relaxed);
    const bool has_room =
        before == 0 || (before < bounds_.messages_max &&
                        bytes_.load(std::memory_order_relaxed) + bytes <= bounds_.bytes_max);
    if (has_room && deferrals_.empty()) {
      enter(bytes);
      return Verdict::kTake;
    }
    const Verdict verdict = deferrals_.judge(send.from, send.envelope.id, has_room);
    if (verdict == Verdict::kTake) enter(bytes);
    return verdict;
  }

  /// `sender` will not send `message` again; none: nothing of what was deferred.
  void withdraw(const Pid& sender, const std::optional<MessageId>& message) {
    message ? deferrals_.withdraw(sender, *message) : deferrals_.forget(sender);
  }
  [[nodiscard]] bool defers() const { return !deferrals_.empty(); }

  /// The handler took it, or its sender took it back.
  void left(const Envelope& envelope) {
    messages_.fetch_sub(1, std::memory_order_relaxed);
    bytes_.fetch_sub(wire::credit_bytes(envelope), std::memory_order_relaxed);
  }

  /// The process sent something that is to be answered.
  void answer_is_owed() { answers_owed_.fetch_add(1, std::memory_order_relaxed); }

  [[nodiscard]] std::size_t messages() const { return messages_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  void enter(std::size_t bytes) {
    messages_.fetch_add(1, std::memory_order_relaxed);
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }

  // Takes one of the answers that are owed. Only admit() takes: nobody else counts down.
  [[nodiscard]] bool owes_answer() {
    if (answers_owed_.load(std::memory_order_relaxed) == 0) return false;
    answers_owed_.fetch_sub(1, std::memory_order_relaxed);
    return true;
  }

  const MailboxBounds& bounds_;
  Deferrals<Pid> deferrals_;
  std::atomic<std::size_t> messages_ = 0;
  std::atomic<std::size_t> bytes_ = 0;
  // Requests that were refused count too: one may be answered on its next attempt.
  std::atomic<std::size_t> answers_owed_ = 0;
};

}  // namespace liminal
