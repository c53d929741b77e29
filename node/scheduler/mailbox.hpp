// The messages of one process that it has received and not handled yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "node/scheduler/process.hpp"

namespace liminal {

/// A message and, for the exit of a link, the activation that carried it.
struct Mail {
  Message message;
  std::optional<LinkId> link = {};
};

/// First in, first out. A vector rather than a deque: an idle process holds no memory for it.
class MailQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return head_ == mails_.size(); }

  void push(std::uint64_t number, Mail&& mail) {
    make_room();
    mails_.emplace_back(number, std::move(mail));
  }

  /// REQUIRES of both: not empty.
  [[nodiscard]] std::uint64_t first_number() const { return mails_[head_].number; }
  [[nodiscard]] Mail pop() {
    Mail mail = std::move(mails_[head_++].mail);
    if (empty()) {
      mails_.clear();
      head_ = 0;
      if (mails_.capacity() > kKeptMax) mails_.shrink_to_fit();
    }
    return mail;
  }

  /// Takes the first one out, wherever it stands, for which `wanted(mail)` holds. Cost: linear.
  template <class Wanted>
  [[nodiscard]] std::optional<Mail> take_first(Wanted wanted) {
    for (std::size_t at = head_; at < mails_.size(); ++at) {
      if (!wanted(std::as_const(mails_[at].mail))) continue;
      if (at == head_) return pop();
      std::optional<Mail> mail = std::move(mails_[at].mail);
      mails_.erase(mails_.begin() + static_cast<std::ptrdiff_t>(at));
      return mail;
    }
    return std::nullopt;
  }

 private:
  struct Numbered {
    Numbered(std::uint64_t the_number, Mail&& the_mail)
        : number(the_number), mail(std::move(the_mail)) {}
    std::uint64_t number;
    Mail mail;
  };

  // Takes back what was popped, each time it is at least half: constant time on the average.
  void make_room() {
    if (head_ == 0 || head_ < mails_.size() - head_) return;
    mails_.erase(mails_.begin(), mails_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }

  static constexpr std::size_t kKeptMax = 16;  // after a burst the memory goes back

  std::vector<Numbered> mails_;
  std::size_t head_ = 0;
};

/// Hands messages out in the order in which they came; while envelopes are held back, everything
/// else in that order.
///
/// Thread affinity: the thread that runs the process.
class Mailbox {
 public:
  void hold_envelopes(bool hold) { holds_envelopes_ = hold; }

  /// Whether there is nothing to hand out.
  [[nodiscard]] bool empty() const noexcept {
    return others_.empty() && (holds_envelopes_ || envelopes_.empty());
  }

  void push(Mail&& mail) {
    const bool is_envelope = std::holds_alternative<message::Received>(mail.message);
    (is_envelope ? envelopes_ : others_).push(++pushed_, std::move(mail));
  }

  /// REQUIRES: not empty.
  [[nodiscard]] Mail pop() {
    if (holds_envelopes_ || envelopes_.empty()) return others_.pop();
    if (others_.empty() || envelopes_.first_number() < others_.first_number()) {
      return envelopes_.pop();
    }
    return others_.pop();
  }

  /// The envelope `message` of `from`, out of the mailbox; nullopt if it does not wait here.
  [[nodiscard]] std::optional<Envelope> take(const Pid& from, const MessageId& message) {
    std::optional<Mail> mail = envelopes_.take_first([&](const Mail& waiting) {
      const auto& received = std::get<message::Received>(waiting.message);
      return received.envelope.id == message && received.from == from;
    });
    if (!mail) return std::nullopt;
    return std::move(std::get<message::Received>(mail->message).envelope);
  }

 private:
  MailQueue envelopes_, others_;
  std::uint64_t pushed_ = 0;
  bool holds_envelopes_ = false;
};

}  // namespace liminal
