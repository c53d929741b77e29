#include "common/timeline/order.hpp"

#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <string_view>
#include <utility>

namespace liminal {
namespace {

using Index = std::size_t;
using Attempt = std::pair<MessageId, std::uint32_t>;

bool is_sending(TimelineEvent event) {
  return event == TimelineEvent::kSent || event == TimelineEvent::kCompensating;
}

bool is_exit(TimelineEvent event) {
  return event == TimelineEvent::kLeft || event == TimelineEvent::kCrashed ||
         event == TimelineEvent::kEnded;
}

template <class Key>
std::optional<Index> find(const std::map<Key, Index>& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? std::nullopt : std::optional{found->second};
}

class Graph {
 public:
  explicit Graph(const std::vector<control::Told>& told)
      : told_(told), successors_(told.size()), waits_for_(told.size(), 0) {
    note_firsts();
    std::map<NodeName, Index> last;
    for (Index i = 0; i < told.size(); ++i) {
      if (const auto before = find(last, told[i].teller)) precedes(*before, i);
      last.insert_or_assign(told[i].teller, i);
      add_causes_of(i);
    }
    add_exits();
  }

  std::vector<Index> sorted() {
    std::priority_queue<Index, std::vector<Index>, std::greater<>> ready;
    for (Index i = 0; i < told_.size(); ++i) {
      if (waits_for_[i] == 0) ready.push(i);
    }
    std::vector<Index> order;
    std::vector<bool> taken(told_.size(), false);
    Index earliest = 0;  // that is not taken
    while (order.size() < told_.size()) {
      while (taken[earliest]) ++earliest;
      Index next = earliest;  // of a circle; it is the first of its teller's that are left
      if (!ready.empty()) {
        next = ready.top();
        ready.pop();
        if (taken[next]) continue;
      }
      taken[next] = true;
      order.push_back(next);
      for (const Index after : successors_[next]) {
        if (--waits_for_[after] == 0) ready.push(after);
      }
    }
    return order;
  }

 private:
  [[nodiscard]] const TimelineRecord& at(Index i) const { return told_[i].record; }

  // The first of each kind stands for all that follow: so there are few edges.
  void note_firsts() {
    for (Index i = 0; i < told_.size(); ++i) {
      const TimelineRecord& record = at(i);
      if (!record.message) continue;
      const Attempt attempt{*record.message, record.attempt};
      if (is_sending(record.event)) {
        first_sent_.try_emplace(attempt, i);
        first_sent_of_.try_emplace(*record.message, i);
      } else if (record.event == TimelineEvent::kBegun) {
        first_begun_.try_emplace(attempt, i);
      } else if (record.event == TimelineEvent::kAnswered) {
        first_answered_.try_emplace(attempt, i);
      }
    }
  }

  void add_causes_of(Index i) {
    const TimelineRecord& record = at(i);
    note_sending(i);
    if (record.cause) precedes(find(first_sent_of_, *record.cause), i);
    switch (record.event) {
      case TimelineEvent::kBegun:
        if (record.message) precedes(sending_of(record), i);
        if (record.participant) last_begun_by_.insert_or_assign(*record.participant, i);
        break;
      case TimelineEvent::kAnswered:
        if (!record.message) break;
        precedes(sending_of(record), i);
        precedes(find(first_begun_, Attempt{*record.message, record.attempt}), i);
        break;
      case TimelineEvent::kReplied:
      case TimelineEvent::kDone:
        if (record.message) precedes(answer_to(i, *record.message), i);
        break;
      case TimelineEvent::kExpired:
      case TimelineEvent::kCancelled:
        if (record.message) {
          const auto answer = answer_to(i, *record.message);
          if (answer && at(*answer).text.starts_with(name_of(record.event))) precedes(answer, i);
        }
        break;
      case TimelineEvent::kCompensated:
      case TimelineEvent::kNotCompensated:
        if (record.cause) {
          const auto undoing = undoing_.find({told_[i].teller, *record.cause});
          if (undoing != undoing_.end()) {
            precedes(find(first_answered_, undoing->second), i);
          }
        }
        break;
      default:
        break;
    }
  }

  void add_exits() {
    for (Index i = 0; i < told_.size(); ++i) {
      const TimelineRecord& record = at(i);
      if (!is_exit(record.event) || !record.participant || !record.reason) continue;
      if (record.reason->kind == ExitKind::kNoConnection) continue;
      precedes(find(last_begun_by_, *record.participant), i);
    }
  }

  // What this teller sent last for a message, and for undoing one.
  void note_sending(Index i) {
    const TimelineRecord& record = at(i);
    if (!is_sending(record.event) || !record.message) return;
    const Attempt attempt{*record.message, record.attempt};
    latest_sent_.insert_or_assign({told_[i].teller, *record.message}, record.attempt);
    if (record.event == TimelineEvent::kCompensating && record.cause) {
      undoing_.insert_or_assign({told_[i].teller, *record.cause}, attempt);
    }
  }

  [[nodiscard]] std::optional<Index> sending_of(const TimelineRecord& record) const {
    const auto exact = find(first_sent_, Attempt{*record.message, record.attempt});
    return exact ? exact : find(first_sent_of_, *record.message);
  }

  // Of the attempt that the record names; where it names none, of the one its teller sent last.
  [[nodiscard]] std::optional<Index> answer_to(Index i, const MessageId& message) const {
    std::uint32_t attempt = at(i).attempt;
    const auto latest = latest_sent_.find({told_[i].teller, message});
    if (attempt == 0 && latest != latest_sent_.end()) attempt = latest->second;
    return find(first_answered_, Attempt{message, attempt});
  }

  void precedes(std::optional<Index> before, Index after) {
    if (!before || *before == after) return;
    successors_[*before].push_back(after);
    ++waits_for_[after];
  }

  const std::vector<control::Told>& told_;
  std::vector<std::vector<Index>> successors_;
  std::vector<std::size_t> waits_for_;
  std::map<Attempt, Index> first_sent_, first_begun_, first_answered_;
  std::map<MessageId, Index> first_sent_of_;
  std::map<std::pair<NodeName, MessageId>, std::uint32_t> latest_sent_;
  std::map<std::pair<NodeName, MessageId>, Attempt> undoing_;
  std::map<Pid, Index> last_begun_by_;
};

}  // namespace

std::vector<std::size_t> order_by_cause(const std::vector<control::Told>& told) {
  return Graph{told}.sorted();
}

}  // namespace liminal
