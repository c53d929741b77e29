#include "node/timeline/timeline_recorder.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/base/text.hpp"
#include "common/wire/limits.hpp"

namespace liminal {
namespace {

// What an encoder requires, and no more than travels: programs make texts and name attached pids.
void make_fit(TimelineRecord& record) {
  record.at = std::max(record.at, Duration::zero());
  if (!record.role.empty() && !valid_name(record.role)) record.role.clear();
  if (record.participant && !valid_name(record.participant->node.value())) {
    record.participant.reset();
  }
  // one byte more than travels, so that the encoder finds the end of the last character
  constexpr std::size_t kTextMax = wire::kTextBytesMax + 1;
  if (record.text.size() > kTextMax) record.text.resize(kTextMax);
  if (record.reason && record.reason->text.size() > kTextMax) record.reason->text.resize(kTextMax);
  if (!record.reason || !record.reason->evidence) return;
  Evidence& evidence = *record.reason->evidence;
  for (Duration* each : {&evidence.last_heard, &evidence.detection, &evidence.observer_lag}) {
    *each = std::max(*each, Duration::zero());
  }
}

// The text of a phase record begins with it: "Failed: ..." is Failed.
std::string_view phase_in(std::string_view text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto end = std::find_if_not(text.begin(), text.end(), is_letter);
  return text.substr(0, static_cast<std::size_t>(end - text.begin()));
}

bool is_terminal(std::string_view phase) { return phase == "Closed" || phase == "Failed"; }

/// What takes a conversation off the list of those that are open.
bool is_end(const TimelineRecord& record) {
  return record.event == TimelineEvent::kPhase && is_terminal(phase_in(record.text));
}

constexpr std::size_t reserve_of(std::size_t limit) { return (limit + 7) / 8; }

}  // namespace

TimelineRecorder::TimelineRecorder(std::uint32_t records_max, std::function<void()> wake,
                                   Limits limits)
    : wake_(std::move(wake)), limits_(limits), records_max_(records_max) {}

void TimelineRecorder::record(TimelineRecord record) {
  if (!wanted()) return;
  make_fit(record);
  const bool routine = is_routine(record.event);
  const bool ends = is_end(record);
  const std::size_t bytes = weight_bytes(record);
  bool wake = false;
  {
    const std::lock_guard lock{mutex_};
    if (!wanted()) return;  // said meanwhile
    wake = empty_locked();
    Counts& counts = counts_of(record.conversation);
    const bool retold = note_state(counts, record);
    const ConversationId conversation = record.conversation;
    if ((retold || ends || has_budget(counts, routine)) && make_room(bytes, ends)) {
      if (!retold) ++(routine ? counts.routine : counts.other);
      unarrived_routine_ += routine;
      append({std::move(record), bytes, retold});
    } else if (!retold) {  // the next one shows as well that it is open
      leave_out(conversation, routine, !routine);
    }
    wake = wake && !empty_locked();
  }
  if (wake && wake_) wake_();
}

/// Whether it says what is known already: the opening, or the phase that is on.
bool TimelineRecorder::note_state(Counts& counts, const TimelineRecord& record) {
  if (record.event == TimelineEvent::kOpened) return std::exchange(counts.opened, true);
  if (record.event != TimelineEvent::kPhase) return false;
  // a reason is news: the phase may have been said again before its decision's own record
  if (record.text == counts.phase) return true;
  counts.phase = phase_in(record.text);
  return false;
}

bool TimelineRecorder::has_budget(const Counts& counts, bool routine) const {
  const std::size_t records_max = records_max_.load(std::memory_order_relaxed);
  if (!routine) return counts.other < records_max;
  return counts.routine < routine_records_max(records_max) &&
         unarrived_routine_ < routine_records_max(limits_.kept_max);
}

bool TimelineRecorder::make_room(std::size_t bytes, bool for_end) {
  while (!has_room(bytes) && first_ <= arrived_) give_up_oldest();
  return has_room(bytes, for_end);
}

/// Settled ones between others are as good as gone; the second bound is theirs.
bool TimelineRecorder::has_room(std::size_t bytes, bool for_end) const {
  const std::size_t kept_max = limits_.kept_max + (for_end ? reserve_of(limits_.kept_max) : 0);
  const std::size_t bytes_max =
      limits_.kept_bytes_max + (for_end ? reserve_of(limits_.kept_bytes_max) : 0);
  return items_.size() - settled_ < kept_max && items_.size() < 2 * kept_max &&
         bytes_ + bytes <= bytes_max;
}

void TimelineRecorder::give_up_oldest() {
  if (const auto* record = std::get_if<TimelineRecord>(&items_.front().what)) {
    const bool routine = is_routine(record->event);
    add_gone(record->conversation, routine, !routine);
  }
  settled_ -= std::holds_alternative<std::monostate>(items_.front().what);
  bytes_ -= items_.front().bytes;
  items_.pop_front();
  ++first_;
  next_ = std::max(next_, first_);
}

void TimelineRecorder::append(Item item) {
  bytes_ += item.bytes;
  items_.push_back(std::move(item));
}

void TimelineRecorder::leave_out(const ConversationId& conversation, std::uint64_t routine,
                                 std::uint64_t other) {
  auto& untold =
      untold_.try_emplace(conversation, control::LeftOut{conversation, 0, 0}).first->second;
  untold.routine += routine;
  untold.other += other;
}

void TimelineRecorder::add_gone(const ConversationId& conversation, std::uint64_t routine,
                                std::uint64_t other) {
  const auto counts = counts_.find(conversation);
  if (counts == counts_.end()) {
    gone_lost_ += routine + other;
    return;
  }
  counts->second.gone_routine += routine;
  counts->second.gone_other += other;
}

TimelineRecorder::Counts& TimelineRecorder::counts_of(const ConversationId& conversation) {
  const auto [found, is_new] = counts_.try_emplace(conversation);
  if (!is_new) return found->second;
  counted_.push_back(conversation);
  if (counted_.size() > limits_.conversations_max) {
    const auto oldest = counts_.find(counted_.front());
    gone_lost_ += oldest->second.gone_routine + oldest->second.gone_other;
    if (const auto untold = untold_.find(oldest->first); untold != untold_.end()) {
      lost_ += untold->second.routine + untold->second.other;
      untold_.erase(untold);
    }
    counts_.erase(oldest);
    counted_.pop_front();
  }
  return found->second;
}

void TimelineRecorder::set_records_max(std::uint32_t records_max) {
  const std::lock_guard lock{mutex_};
  records_max_.store(records_max, std::memory_order_relaxed);
  if (records_max > 0) return;
  first_ = next_ = end();
  arrived_ = first_ - 1;
  items_.clear();
  unarrived_routine_ = bytes_ = settled_ = 0;
  counts_.clear();
  counted_.clear();
  untold_.clear();
  lost_ = gone_lost_ = 0;
}

// ---- told, arrived, told again ----

void TimelineRecorder::connected(Epoch broker, bool anew) {
  const std::lock_guard lock{mutex_};
  if (anew) {
    for (auto& [id, counts] : counts_) counts.routine = counts.other = 0;
  }
  if (broker_ && *broker_ != broker) tell_all();
  broker_ = broker;
  next_ = arrived_ + 1;
  pass_settled();
}

/// The broker of before is gone, with all that it was told.
void TimelineRecorder::tell_all() {
  first_ = end();  // numbers are the new one's own, but none is used twice
  const std::set<ConversationId> known = known_to_the_next();
  std::erase_if(items_, [&](const Item& item) { return !is_worth_telling(item, known); });
  settled_ = 0;
  arrived_ = first_ - 1;
  unarrived_routine_ = 0;
  for (const Item& item : items_) {
    const auto* record = std::get_if<TimelineRecord>(&item.what);
    if (record == nullptr) continue;
    const bool routine = is_routine(record->event);
    unarrived_routine_ += routine;
    const auto counts = counts_.find(record->conversation);
    if (counts == counts_.end() || item.retold) continue;
    ++(routine ? counts->second.routine : counts->second.other);
  }
  for (auto& [id, counts] : counts_) {
    const std::uint64_t routine = std::exchange(counts.gone_routine, 0);
    const std::uint64_t other = std::exchange(counts.gone_other, 0);
    if (routine + other == 0) continue;
    if (known.contains(id)) {
      leave_out(id, routine, other);
    } else {
      lost_ += routine + other;
    }
  }
  std::erase_if(untold_, [&](const auto& each) {
    const bool unknown = !known.contains(each.first);
    if (unknown) lost_ += each.second.routine + each.second.other;
    return unknown;
  });
  lost_ += std::exchange(gone_lost_, 0);
}

/// Those of which records are kept, and those that are open: their opening is said again. Not those
/// whose end was not kept: the rest of their records would show them open.
std::set<ConversationId> TimelineRecorder::known_to_the_next() const {
  std::set<ConversationId> known, ended;
  for (const Item& item : items_) {
    const auto* record = std::get_if<TimelineRecord>(&item.what);
    if (record == nullptr) continue;
    known.insert(record->conversation);
    if (is_end(*record)) ended.insert(record->conversation);
  }
  for (const auto& [id, counts] : counts_) {
    if (is_terminal(counts.phase)) {
      if (!ended.contains(id)) known.erase(id);
    } else if (counts.opened || !counts.phase.empty()) {
      known.insert(id);
    }
  }
  return known;
}

/// What is not is counted: one number for all that the next broker could not place anyway.
bool TimelineRecorder::is_worth_telling(const Item& item, const std::set<ConversationId>& known) {
  if (const auto* record = std::get_if<TimelineRecord>(&item.what)) {
    if (known.contains(record->conversation)) return true;
    lost_ += item.retold ? 0 : 1;
    bytes_ -= item.bytes;
  } else if (const auto* left_out = std::get_if<control::LeftOut>(&item.what)) {
    if (known.contains(left_out->conversation)) return true;
    lost_ += left_out->routine + left_out->other;
  } else if (const auto* lost = std::get_if<Lost>(&item.what)) {
    lost_ += lost->records;
  }
  return false;
}

void TimelineRecorder::arrived(std::uint64_t up_to) {
  bool wake = false;
  {
    const std::lock_guard lock{mutex_};
    wake = empty_locked();
    while (arrived_ < up_to && arrived_ + 1 < next_) settle(item(++arrived_));
    pass_settled();
    wake = wake && !empty_locked();  // there is room for counts that waited
  }
  if (wake && wake_) wake_();
}

/// It arrived: records are kept for the next broker, counts of what was left out are added up.
void TimelineRecorder::settle(Item& item) {
  if (const auto* left_out = std::get_if<control::LeftOut>(&item.what)) {
    add_gone(left_out->conversation, left_out->routine, left_out->other);
  } else if (const auto* lost = std::get_if<Lost>(&item.what)) {
    gone_lost_ += lost->records;
  } else if (const auto* record = std::get_if<TimelineRecord>(&item.what)) {
    unarrived_routine_ -= is_routine(record->event);
    if (!item.retold) return;
  } else {
    return;  // it was before
  }
  bytes_ -= std::exchange(item.bytes, 0);
  item.what = std::monostate{};
  ++settled_;
}

void TimelineRecorder::fenced(Incarnation old) {
  const std::lock_guard lock{mutex_};
  for (std::uint64_t number = first_; number < next_; ++number) {
    auto* record = std::get_if<TimelineRecord>(&item(number).what);
    if (record == nullptr || !record->participant) continue;
    if (record->participant->is_local()) record->participant->incarnation = old;
  }
}

control::Records TimelineRecorder::take() {
  const std::lock_guard lock{mutex_};
  control::Records frame{.records = {}};
  frame.first = next_;
  take_items(frame);
  // behind the records: the broker then knows the conversation
  if (next_ == end() && frame.lost == 0) take_left_out(frame);
  skip_settled();
  return frame;
}

/// Numbers in a frame follow each other, its lists too: what does not fit into that waits.
void TimelineRecorder::take_items(control::Records& frame) {
  for (std::size_t bytes = 0; next_ < end() && frame.lost == 0; ++next_) {
    const Item& next = item(next_);
    if (const auto* record = std::get_if<TimelineRecord>(&next.what)) {
      const bool full =
          frame.records.size() == wire::kRecordsMax || bytes > wire::kRecordsFillBytes;
      if (full || !frame.left_out.empty()) return;
      bytes += next.bytes;
      frame.records.push_back(*record);
    } else if (const auto* left_out = std::get_if<control::LeftOut>(&next.what)) {
      if (frame.left_out.size() == wire::kRecordsMax) return;
      frame.left_out.push_back(*left_out);
    } else if (const auto* lost = std::get_if<Lost>(&next.what)) {
      frame.lost = lost->records;
    } else {
      return;
    }
  }
}

void TimelineRecorder::take_left_out(control::Records& frame) {
  while (!untold_.empty() && frame.left_out.size() < wire::kRecordsMax && make_room(0)) {
    const control::LeftOut left_out = untold_.begin()->second;
    untold_.erase(untold_.begin());
    append({left_out});
    frame.left_out.push_back(left_out);
    ++next_;
  }
  if (untold_.empty() && lost_ > 0 && make_room(0)) {
    frame.lost = std::exchange(lost_, 0);
    append({Lost{frame.lost}});
    ++next_;
  }
}

bool TimelineRecorder::is_settled(std::uint64_t number) {
  return number < end() && std::holds_alternative<std::monostate>(item(number).what);
}

/// Settled ones never wait to be told or to arrive: nothing else could, if they took the room.
void TimelineRecorder::pass_settled() {
  while (is_settled(arrived_ + 1)) ++arrived_;
  next_ = std::max(next_, arrived_ + 1);
  skip_settled();
  while (is_settled(first_)) give_up_oldest();
}

void TimelineRecorder::skip_settled() {
  while (is_settled(next_)) ++next_;
}

bool TimelineRecorder::empty() const {
  const std::lock_guard lock{mutex_};
  return empty_locked();
}

bool TimelineRecorder::empty_locked() const {
  if (next_ < end()) return false;
  if (untold_.empty() && lost_ == 0) return true;
  return !has_room(0) && first_ > arrived_;  // no room for the counts yet
}

}  // namespace liminal
