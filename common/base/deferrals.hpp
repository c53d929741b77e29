// Whose envelopes were not taken for want of room, and in which order they must come again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>

#include "common/base/ids.hpp"

namespace liminal {

/// Keeps the order of each sender where a bound makes it send again: what was deferred first is the
/// next that is taken of that sender, and nothing of it overtakes.
///
/// A sender is named by whatever tells it, and what it sends to, from others. Whoever gives up what
/// was deferred must say so (withdraw, forget), or nothing later of that sender is ever taken.
///
/// Bound: `messages_max` deferred messages of all senders; beyond it one is rejected, for good.
/// Thread-safety: none. Cost: O(log senders); O(deferred of the sender) for one that comes out of
/// turn. Empty, it holds no memory.
template <class Sender>
class Deferrals {
 public:
  enum class Verdict : std::uint8_t {
    kTake,    // it may pass now
    kDefer,   // it must come again
    kReject,  // too much is deferred to remember this one
  };

  explicit Deferrals(std::size_t messages_max) : messages_max_(messages_max) {}

  /// `has_room`: whether there is room for it, if its turn has come.
  [[nodiscard]] Verdict judge(const Sender& sender, const MessageId& message, bool has_room) {
    const auto found = senders_.find(sender);
    if (found == senders_.end()) {
      if (has_room) return Verdict::kTake;
      if (messages_ >= messages_max_) return Verdict::kReject;
      return remember(senders_[sender], message);
    }
    std::deque<MessageId>& waiting = found->second;
    if (waiting.front() == message) {
      if (!has_room) return Verdict::kDefer;
      --messages_;
      waiting.pop_front();
      if (waiting.empty()) senders_.erase(found);
      return Verdict::kTake;
    }
    if (std::find(waiting.begin(), waiting.end(), message) != waiting.end()) return Verdict::kDefer;
    if (messages_ >= messages_max_) return Verdict::kReject;
    return remember(waiting, message);
  }

  /// The sender will not send it again.
  void withdraw(const Sender& sender, const MessageId& message) {
    const auto found = senders_.find(sender);
    if (found == senders_.end()) return;
    messages_ -= std::erase(found->second, message);
    if (found->second.empty()) senders_.erase(found);
  }

  /// The sender is gone.
  void forget(const Sender& sender) {
    const auto found = senders_.find(sender);
    if (found == senders_.end()) return;
    messages_ -= found->second.size();
    senders_.erase(found);
  }

  [[nodiscard]] bool empty() const { return senders_.empty(); }
  [[nodiscard]] std::size_t messages() const { return messages_; }

 private:
  Verdict remember(std::deque<MessageId>& waiting, const MessageId& message) {
    ++messages_;
    waiting.push_back(message);
    return Verdict::kDefer;
  }

  std::size_t messages_max_;
  std::size_t messages_ = 0;
  std::map<Sender, std::deque<MessageId>> senders_;  // none is empty
};

}  // namespace liminal
