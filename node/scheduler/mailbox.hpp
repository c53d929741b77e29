// The messages of one process that it has received and not handled yet.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "node/scheduler/process.hpp"

namespace liminal {

/// A message and, for the exit of a link, the activation that carried it.
struct Mail {
  Message message;
  std::optional<LinkId> link = {};
};

/// First in, first out. A vector rather than a deque: an idle process holds no memory for it.
/// Thread affinity: the thread that runs the process.
class Mailbox {
 public:
  [[nodiscard]] bool empty() const noexcept { return head_ == mails_.size(); }

  void push(Mail mail) {
    make_room();
    mails_.push_back(std::move(mail));
  }

  /// REQUIRES: not empty.
  [[nodiscard]] Mail pop() {
    Mail mail = std::move(mails_[head_++]);
    if (empty()) {
      mails_.clear();
      head_ = 0;
      if (mails_.capacity() > kKeptMax) mails_.shrink_to_fit();
    }
    return mail;
  }

 private:
  // Takes back what was popped, each time it is at least half: constant time on the average.
  void make_room() {
    if (head_ == 0 || head_ < mails_.size() - head_) return;
    mails_.erase(mails_.begin(), mails_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }

  static constexpr std::size_t kKeptMax = 16;  // after a burst the memory goes back

  std::vector<Mail> mails_;
  std::size_t head_ = 0;
};

}  // namespace liminal
