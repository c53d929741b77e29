// Collects what happens in conversations on this node until the broker can be told.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "common/base/ids.hpp"
#include "common/wire/timeline_frames.hpp"

namespace liminal {

/// A bounded queue of records, which keeps them when they are told: what a broker is not known to
/// have is told again to it, and all that is kept to the next one.
///
/// Of each conversation it passes on as many as the broker keeps of one: routine records up to
/// routine_records_max(), as many others as there is room for in all. Of what has not arrived,
/// routine ones take at most that part of `kept_max` too. What arrived gives way to what is new,
/// oldest first. What is left out is counted and told with the rest; what gave way the next broker
/// is told of in the same way, which knows nothing else of it: for each conversation that it will
/// know, of the others as one sum.
///
/// How a conversation ended (a phase record Closed or Failed) is told whatever its budget, and
/// there is a reserve for it of an eighth of `kept_max` and of `kept_bytes_max`. If it gave way, or
/// found the reserve full, the next broker is told nothing more of that conversation, which it
/// would show as open: what is left of it is counted.
///
/// All that is told has a number, in the order of telling; what one broker is told again has the
/// number that it had.
///
/// Thread-safety: all functions from any thread; none blocks for longer than another one's lock.
/// Cost: where nobody keeps records (wanted() is false) an atomic load.
class TimelineRecorder {
 public:
  struct Limits {
    /// Records, and counts of what was left out, whether told or not; without the reserve for ends.
    std::size_t kept_max = 8192;
    std::size_t kept_bytes_max = std::size_t{16} * 1024 * 1024;
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

  /// The broker keeps so many of one conversation. 0: none, and what is kept here is dropped.
  void set_records_max(std::uint32_t records_max);

  /// A connection to that broker stands: what it is not known to have is told again; another one
  /// than before is told all that is kept. `anew`: it knows nothing of this incarnation, and each
  /// conversation may make as many records again.
  void connected(Epoch broker, bool anew);
  /// The broker has all up to that number.
  void arrived(std::uint64_t up_to);
  /// Local pids in what was told bore this incarnation, and go on doing so.
  void fenced(Incarnation old);

  /// What waits longest, as much as fits into a frame. Local pids are still local.
  [[nodiscard]] control::Records take();
  /// Whether take() would yield nothing.
  [[nodiscard]] bool empty() const;

 private:
  struct Counts {
    std::uint64_t routine = 0, other = 0;            // passed on
    std::uint64_t gone_routine = 0, gone_other = 0;  // of which only this broker knows
    // What a node that is back says again of an open conversation, and may have said before.
    bool opened = false;
    std::string phase = {};  // its name alone
  };
  struct Lost {
    std::uint64_t records;
  };
  struct Item {
    std::variant<std::monostate, TimelineRecord, control::LeftOut, Lost>
        what;  // monostate: settled
    std::size_t bytes = 0;
    bool retold = false;  // what this broker or an earlier one knows: of no use once it arrived
  };

  [[nodiscard]] bool has_budget(const Counts& counts, bool routine) const;
  [[nodiscard]] bool has_room(std::size_t bytes, bool for_end = false) const;
  bool make_room(std::size_t bytes, bool for_end = false);
  void give_up_oldest();
  void settle(Item& item);
  void append(Item item);
  [[nodiscard]] bool note_state(Counts& counts, const TimelineRecord& record);
  Counts& counts_of(const ConversationId& conversation);
  void leave_out(const ConversationId& conversation, std::uint64_t routine, std::uint64_t other);
  void add_gone(const ConversationId& conversation, std::uint64_t routine, std::uint64_t other);
  void take_items(control::Records& frame);
  void take_left_out(control::Records& frame);
  void tell_all();
  [[nodiscard]] std::set<ConversationId> known_to_the_next() const;
  [[nodiscard]] bool is_worth_telling(const Item& item, const std::set<ConversationId>& known);
  [[nodiscard]] bool is_settled(std::uint64_t number);
  void pass_settled();
  void skip_settled();
  [[nodiscard]] Item& item(std::uint64_t number) { return items_[number - first_]; }
  [[nodiscard]] std::uint64_t end() const { return first_ + items_.size(); }
  [[nodiscard]] bool empty_locked() const;

  const std::function<void()> wake_;
  const Limits limits_;
  std::atomic<std::uint32_t> records_max_;

  mutable std::mutex mutex_;
  // all below: GUARDED_BY mutex_
  std::deque<Item> items_;
  std::uint64_t first_ = 1;    // the number of the first item, or of the next one to come
  std::uint64_t next_ = 1;     // the next to be told; settled ones are skipped
  std::uint64_t arrived_ = 0;  // the broker has all up to this
  std::size_t unarrived_routine_ = 0;
  std::size_t bytes_ = 0;
  std::size_t settled_ = 0;  // of items_
  std::optional<Epoch> broker_;
  std::map<ConversationId, Counts> counts_;
  std::deque<ConversationId> counted_;                 // keys of counts_, oldest first
  std::map<ConversationId, control::LeftOut> untold_;  // of those that have something left out
  std::uint64_t lost_ = 0;                             // not told
  std::uint64_t gone_lost_ = 0;                        // of which only this broker knows
};

}  // namespace liminal
