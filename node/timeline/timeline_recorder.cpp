#include "node/timeline/timeline_recorder.hpp"

#include <algorithm>
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

}  // namespace

TimelineRecorder::TimelineRecorder(std::uint32_t records_max, std::function<void()> wake,
                                   Limits limits)
    : wake_(std::move(wake)), limits_(limits), records_max_(records_max) {}

void TimelineRecorder::record(TimelineRecord record) {
  if (!wanted()) return;
  make_fit(record);
  const bool routine = is_routine(record.event);
  const std::size_t bytes = weight_bytes(record);
  bool wake = false;
  {
    const std::lock_guard lock{mutex_};
    if (!wanted()) return;  // said meanwhile
    wake = empty_locked();
    Counts& counts = counts_of(record.conversation);
    if (has_room(counts, routine, bytes)) {
      ++(routine ? counts.routine : counts.other);
      waiting_routine_ += routine;
      waiting_bytes_ += bytes;
      waiting_.push_back(std::move(record));
    } else {
      auto& untold =
          untold_.try_emplace(record.conversation, control::LeftOut{record.conversation, 0, 0})
              .first->second;
      ++(routine ? untold.routine : untold.other);
    }
  }
  if (wake && wake_) wake_();
}

bool TimelineRecorder::has_room(const Counts& counts, bool routine, std::size_t bytes) const {
  const std::size_t records_max = records_max_.load(std::memory_order_relaxed);
  if (waiting_.size() >= limits_.waiting_max) return false;
  if (waiting_bytes_ + bytes > limits_.waiting_bytes_max) return false;
  if (!routine) return counts.other < records_max;
  return counts.routine < routine_records_max(records_max) &&
         waiting_routine_ < routine_records_max(limits_.waiting_max);
}

TimelineRecorder::Counts& TimelineRecorder::counts_of(const ConversationId& conversation) {
  const auto [found, is_new] = counts_.try_emplace(conversation);
  if (!is_new) return found->second;
  counted_.push_back(conversation);
  if (counted_.size() > limits_.conversations_max) {
    const ConversationId oldest = counted_.front();
    counted_.pop_front();
    counts_.erase(oldest);
    if (const auto untold = untold_.find(oldest); untold != untold_.end()) {
      lost_ += untold->second.routine + untold->second.other;
      untold_.erase(untold);
    }
  }
  return found->second;
}

void TimelineRecorder::set_records_max(std::uint32_t records_max) {
  const std::lock_guard lock{mutex_};
  records_max_.store(records_max, std::memory_order_relaxed);
  if (records_max > 0) return;
  waiting_.clear();
  waiting_routine_ = waiting_bytes_ = 0;
  counts_.clear();
  counted_.clear();
  untold_.clear();
  lost_ = 0;
}

void TimelineRecorder::count_anew() {
  const std::lock_guard lock{mutex_};
  for (auto& [id, counts] : counts_) counts = {};
}

control::Records TimelineRecorder::take() {
  const std::lock_guard lock{mutex_};
  control::Records frame{.records = {}};
  std::size_t bytes = 0;
  while (!waiting_.empty() && frame.records.size() < wire::kRecordsMax &&
         bytes <= wire::kRecordsFillBytes) {
    TimelineRecord& next = waiting_.front();
    const std::size_t weight = weight_bytes(next);
    bytes += weight;
    waiting_bytes_ -= weight;
    waiting_routine_ -= is_routine(next.event);
    frame.records.push_back(std::move(next));
    waiting_.pop_front();
  }
  // behind the records: the broker then knows the conversation
  while (waiting_.empty() && !untold_.empty() && frame.left_out.size() < wire::kRecordsMax) {
    frame.left_out.push_back(untold_.begin()->second);
    untold_.erase(untold_.begin());
  }
  frame.lost = std::exchange(lost_, 0);
  return frame;
}

bool TimelineRecorder::empty() const {
  const std::lock_guard lock{mutex_};
  return empty_locked();
}

bool TimelineRecorder::empty_locked() const {
  return waiting_.empty() && untold_.empty() && lost_ == 0;
}

}  // namespace liminal
