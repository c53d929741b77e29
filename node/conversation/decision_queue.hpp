// What a conversation is still to decide.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "node/conversation/conversation_core.hpp"

namespace liminal {

/// Inputs in the order in which they are decided, and how many of them others have caused, so that
/// whoever adds one can hold to a bound.
///
/// Bounds: none of its own; see answers_of() and from_elsewhere().
/// Thread affinity: that of the conversation's process, which owns it.
class DecisionQueue {
 public:
  void push(Input input);
  /// For a handle on another node.
  void push_from_elsewhere(Input input);
  /// Before all else, in this order.
  void push_front(std::vector<Input> inputs);
  /// Before all but the replies that are to be put back: those come before any other input.
  void push_urgent(Input input);

  [[nodiscard]] bool empty() const { return entries_.empty(); }
  [[nodiscard]] const std::shared_ptr<const Input>& front() const { return entries_.front().input; }
  void pop();
  void clear();

  /// Answers of this participant that are not decided.
  [[nodiscard]] std::size_t answers_of(const Pid& participant) const;
  [[nodiscard]] std::size_t from_elsewhere() const { return from_elsewhere_; }
  /// A second cancel would change nothing.
  [[nodiscard]] bool has_cancel() const { return cancels_ > 0; }

  /// Its caller gave up: true if it was a send or a receive that waited here, and is gone now. The
  /// first stays if it is `being_decided`. Cost: O(inputs).
  [[nodiscard]] bool drop_call(WaiterId waiter, bool being_decided);

  /// Requests that those calls have given up for which they were to be taken: nobody will ask for
  /// their replies.
  [[nodiscard]] std::set<std::pair<MessageId, WaiterId>> forgotten() const;

  /// Replies that are to be put back, in order, without those that nobody will ask for.
  [[nodiscard]] std::vector<input::OfferRefused> returned_replies() const;

 private:
  struct Entry {
    std::shared_ptr<const Input> input;
    bool from_elsewhere = false;
  };

  void count_in(const Entry& entry);
  void count_out(const Entry& entry);

  std::deque<Entry> entries_;
  std::map<Pid, std::size_t> answers_;
  std::size_t from_elsewhere_ = 0, cancels_ = 0;
};

}  // namespace liminal
