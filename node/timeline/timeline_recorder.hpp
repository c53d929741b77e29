// Collects what happens in conversations on this node until the broker can be told.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "common/base/ids.hpp"
#include "common/wire/timeline_frames.hpp"

namespace liminal {

/// A bounded queue of records.
///
/// Of each conversation it passes on as many as the broker keeps of one: routine records up to
/// routine_records_max(), as many others as there is room for in all. Of what waits, routine ones
/// take at most that part of `waiting_max` too. What is left out is counted and told with the rest.
///
/// Thread-safety: all functions from any thread; none blocks for longer than another one's lock.
/// Cost: where nobody keeps records (wanted() is false) an atomic load.
class TimelineRecorder {
 public:
  struct Limits {
    std::size_t waiting_max = 8192;
    std::size_t waiting_bytes_max = std::size_t{16} * 1024 * 1024;
    /// Whose counts are kept; beyond it the oldest is counted anew from zero.
    std::size_t conversations_max = 16384;
  };
  /// How many records a conversation may make before a broker said how many it keeps.
  static constexpr std::uint32_t kUntold = 1000;

  /// `records_max` as in set_records_max(); `wake` is called, on the recording thread, when
  /// something waits and nothing did.
  explicit TimelineRecorder(std::uint32_t records_max = kUntold, std::function<void()> wake = {})
      : TimelineRecorder(records_max, std::move(wake), Limits{}) {}
  TimelineRecorder(std::uint32_t records_max, std::function<void()> wake, Limits limits);

  /// Whether anybody keeps what is recorded: ask before making a record that is costly to make.
  [[nodiscard]] bool wanted() const noexcept {
    return records_max_.load(std::memory_order_relaxed) > 0;
  }
  /// What the wire has no room for is cut; a role or a node that is no name is left away.
  void record(TimelineRecord record);

  /// The broker keeps so many of one conversation. 0: none, and what waits is dropped.
  void set_records_max(std::uint32_t records_max);

  /// Another broker keeps them, or as another incarnation's: each conversation may make as many
  /// again. What waits goes on waiting.
  void count_anew();

  /// What waits longest, as much as fits into a frame. Local pids are still local.
  [[nodiscard]] control::Records take();
  /// Whether take() would yield nothing.
  [[nodiscard]] bool empty() const;

 private:
  struct Counts {
    std::uint64_t routine = 0, other = 0;  // passed on
  };

  [[nodiscard]] bool has_room(const Counts& counts, bool routine, std::size_t bytes) const;
  Counts& counts_of(const ConversationId& conversation);
  [[nodiscard]] bool empty_locked() const;

  const std::function<void()> wake_;
  const Limits limits_;
  std::atomic<std::uint32_t> records_max_;

  mutable std::mutex mutex_;
  // all below: GUARDED_BY mutex_
  std::deque<TimelineRecord> waiting_;
  std::size_t waiting_routine_ = 0;
  std::size_t waiting_bytes_ = 0;
  std::map<ConversationId, Counts> counts_;
  std::deque<ConversationId> counted_;                 // keys of counts_, oldest first
  std::map<ConversationId, control::LeftOut> untold_;  // of those that have something left out
  std::uint64_t lost_ = 0;
};

}  // namespace liminal
