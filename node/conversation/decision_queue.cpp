#include "node/conversation/decision_queue.hpp"

#include <algorithm>
#include <utility>

namespace liminal {
namespace {

bool is_call_of(const Input& input, WaiterId waiter) {
  if (const auto* send = std::get_if<input::SendRequested>(&input)) {
    return send->accepted == waiter || send->reply == waiter;
  }
  const auto* receive = std::get_if<input::ReceiveRequested>(&input);
  return receive != nullptr && receive->waiter == waiter;
}

}  // namespace

void DecisionQueue::count_in(const Entry& entry) {
  if (entry.from_elsewhere) ++from_elsewhere_;
  if (std::holds_alternative<input::CancelRequested>(*entry.input)) ++cancels_;
  if (const auto* answered = std::get_if<input::Answered>(entry.input.get())) {
    ++answers_[answered->from];
  }
}

void DecisionQueue::count_out(const Entry& entry) {
  if (entry.from_elsewhere) --from_elsewhere_;
  if (std::holds_alternative<input::CancelRequested>(*entry.input)) --cancels_;
  if (const auto* answered = std::get_if<input::Answered>(entry.input.get())) {
    const auto found = answers_.find(answered->from);
    if (--found->second == 0) answers_.erase(found);
  }
}

void DecisionQueue::push(Input input) {
  entries_.push_back({std::make_shared<const Input>(std::move(input))});
  count_in(entries_.back());
}

void DecisionQueue::push_from_elsewhere(Input input) {
  entries_.push_back({std::make_shared<const Input>(std::move(input)), true});
  count_in(entries_.back());
}

void DecisionQueue::push_front(std::vector<Input> inputs) {
  for (auto it = inputs.rbegin(); it != inputs.rend(); ++it) {
    entries_.push_front({std::make_shared<const Input>(std::move(*it))});
    count_in(entries_.front());
  }
}

void DecisionQueue::push_urgent(Input input) {
  const auto next = std::find_if(entries_.begin(), entries_.end(), [](const Entry& entry) {
    return !std::holds_alternative<input::OfferRefused>(*entry.input);
  });
  count_in(*entries_.insert(next, {std::make_shared<const Input>(std::move(input))}));
}

void DecisionQueue::pop() {
  count_out(entries_.front());
  entries_.pop_front();
}

void DecisionQueue::clear() {
  entries_.clear();
  answers_.clear();
  from_elsewhere_ = cancels_ = 0;
}

std::size_t DecisionQueue::answers_of(const Pid& participant) const {
  const auto found = answers_.find(participant);
  return found == answers_.end() ? 0 : found->second;
}

bool DecisionQueue::drop_call(WaiterId waiter, bool being_decided) {
  const auto begin = entries_.begin() + (being_decided && !entries_.empty() ? 1 : 0);
  const auto found = std::find_if(
      begin, entries_.end(), [&](const Entry& entry) { return is_call_of(*entry.input, waiter); });
  if (found == entries_.end()) return false;
  count_out(*found);
  entries_.erase(found);
  return true;
}

std::set<std::pair<MessageId, WaiterId>> DecisionQueue::forgotten() const {
  std::set<std::pair<MessageId, WaiterId>> forgotten;
  for (const Entry& entry : entries_) {
    const auto* abandoned = std::get_if<input::ReceiveAbandoned>(entry.input.get());
    if (abandoned != nullptr && abandoned->forget) {
      forgotten.emplace(*abandoned->forget, abandoned->waiter);
    }
  }
  return forgotten;
}

std::vector<input::OfferRefused> DecisionQueue::returned_replies() const {
  const auto forgotten = this->forgotten();
  std::vector<input::OfferRefused> replies;
  for (const Entry& entry : entries_) {
    const auto* refused = std::get_if<input::OfferRefused>(entry.input.get());
    if (refused == nullptr) continue;
    const HandedOut& reply = refused->reply;
    if (reply.taken_for && forgotten.contains({reply.request, *reply.taken_for})) continue;
    replies.push_back(*refused);
  }
  return replies;
}

}  // namespace liminal
