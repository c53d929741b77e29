// Keeps what nodes tell of conversations, within bounds, and answers who asks for it. No I/O.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/wire/timeline_frames.hpp"

namespace liminal::broker {

/// The timelines of conversations, those that ended included, until room is needed.
///
/// What a node tells again, because it does not know whether it arrived, is dropped: of each stream
/// (control::Records) a number is taken once.
///
/// A conversation belongs to the node whose records first told of it as only its opener does
/// (is_told_by_opener()); from others only what participants' nodes tell is kept. Records of one
/// node stay in the order in which they came.
///
/// Bounds: of one conversation `records_max` records, of which routine ones take at most
/// routine_records_max(); where room is missing, another record displaces the newest routine one.
/// Beyond `conversations_max` or `bytes_max` whole conversations are forgotten: first those that no
/// opener told of, then the ones that ended, then open ones, each time the oldest; but if one node
/// holds more than half of what is kept, its own go, so that a node that tells without end leaves
/// half to the others. Everything left out is counted.
///
/// Thread-safety: none. Cost: a record O(log conversations + log records); what another than the
/// conversation's node left out O(records).
class Timelines {
 public:
  struct Limits {
    std::size_t records_max = 1000;  // of one conversation; 0: nothing is kept of any
    std::size_t conversations_max = 10'000;
    std::size_t bytes_max = std::size_t{256} * 1024 * 1024;
    /// Nodes of which it is known what they told last; beyond it, who told nothing for longest is
    /// forgotten, and what that one tells again would stand twice.
    std::size_t tellers_max = 65536;
  };

  /// REQUIRES: conversations_max, bytes_max and tellers_max are not 0.
  Timelines(Limits limits, TimePoint started) : limits_(limits), started_(started) {}

  /// `incarnation` of `teller` told this.
  void take(const NodeName& teller, Incarnation incarnation, control::Records records,
            TimePoint now);

  /// The incarnation went down or left: what it has open is lost with it. Should its node go on
  /// under another one and tell of a conversation again, that is open again.
  void node_gone(const NodeName& node, Incarnation incarnation, TimePoint now);

  [[nodiscard]] control::TimelineReply page(const control::TimelineQuery& query,
                                            TimePoint now) const;
  [[nodiscard]] control::ConversationsReply page(const control::ConversationsQuery& query,
                                                 TimePoint now) const;

  struct Whereabouts {
    NodeName node;
    Incarnation incarnation;
    control::ConversationStanding standing;
    friend bool operator==(const Whereabouts&, const Whereabouts&) = default;
  };
  /// Where a conversation runs or ran; nullopt if no opener told of it.
  [[nodiscard]] std::optional<Whereabouts> find(const ConversationId& conversation) const;

  struct Counters {
    std::uint64_t taken = 0;      // records kept, if only for a while
    std::uint64_t left_out = 0;   // records for which a bound had no room, here
    std::uint64_t displaced = 0;  // routine records that gave way
    std::uint64_t repeated = 0;   // told again, and dropped
    std::uint64_t foreign = 0;    // records of another node's conversation
    std::uint64_t lost = 0;       // that nodes left out, of no conversation that they tell of
    std::uint64_t forgotten = 0;  // conversations, with all their records
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] std::size_t conversations() const { return conversations_.size(); }
  /// Roughly what all of it takes in memory; at most bytes_max.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  // In the order in which they are forgotten.
  enum Place : std::uint8_t { kUnowned, kEnded, kOpen };
  static constexpr std::size_t kPlaces = 3;
  using Order = std::map<std::uint64_t, ConversationId>;  // oldest first
  using Places = std::array<Order, kPlaces>;

  struct Entry {
    NodeName teller;
    Duration heard;  // since the broker's start
    TimelineRecord record;
  };
  struct Conversation {
    NodeName holder;  // counts as this node's: its own, or while that is not known who told first
    Incarnation incarnation;
    bool owned = false;  // its own node told of it
    control::ConversationStanding standing = control::ConversationStanding::kOpen;
    std::string about = {};
    std::string phase = {};
    TimePoint opened;
    TimePoint ended = {};
    std::uint64_t crashes = 0;
    std::uint64_t requests = 0;
    std::uint64_t left_out_routine = 0;
    std::uint64_t left_out_other = 0;
    std::uint64_t order = 0;  // its key among those of its place
    std::uint64_t next_entry = 0;
    std::map<std::uint64_t, Entry> entries = {};
    std::vector<std::uint64_t> routine = {};  // keys of entries, ascending
    std::size_t bytes = 0;
  };
  struct Share {  // of one node
    Places places;
    std::size_t conversations = 0;
    std::size_t bytes = 0;
  };
  using Found = std::map<ConversationId, Conversation>::iterator;

  struct Stream {
    std::uint64_t id;
    std::uint64_t taken;  // all up to this number
    std::uint64_t order;  // its key in told_
  };

  /// The numbers of the stream that were taken before, up to this; notes that those of `records`
  /// are from now on.
  std::uint64_t taken_before(const NodeName& teller, const control::Records& records);
  void take(const NodeName& teller, Incarnation incarnation, TimelineRecord record, TimePoint now);
  void take(const NodeName& teller, const control::LeftOut& left_out);
  [[nodiscard]] static bool is_told_by(const Conversation& conversation, const NodeName& node);
  [[nodiscard]] static bool is_known(const Conversation& conversation,
                                     const TimelineRecord& record);
  void note(Found found, const TimelineRecord& record, TimePoint now);
  void keep(Found found, const NodeName& teller, TimelineRecord record, TimePoint now);
  void drop_entry(Found found, std::uint64_t key);

  [[nodiscard]] Found add(const NodeName& holder, Incarnation incarnation, const ConversationId& id,
                          TimePoint now);
  void own(Found found, const NodeName& node, Incarnation incarnation);
  void set_standing(Found found, control::ConversationStanding standing, TimePoint now);
  [[nodiscard]] static Place place_of(const Conversation& conversation);
  void enlist(Found found);
  void delist(Found found);
  void forget(Found found);
  /// Forgets others than `but` until the bounds are kept. False if that was not enough.
  bool make_room(const ConversationId& but);
  [[nodiscard]] std::optional<ConversationId> victim(const ConversationId& but) const;
  void set_bytes(Found found, std::size_t bytes);
  void set_text(Found found, std::string& text, const std::string& value);
  [[nodiscard]] control::ConversationSummary summary_of(const ConversationId& id,
                                                        const Conversation& conversation,
                                                        TimePoint now) const;

  Limits limits_;
  TimePoint started_;
  std::map<ConversationId, Conversation> conversations_;
  Places places_;
  std::map<NodeName, Share> shares_;  // none is empty
  std::optional<NodeName> heavy_;     // the last that was seen to hold more than half
  std::map<NodeName, Stream> streams_;
  std::map<std::uint64_t, NodeName> told_;  // keys of streams_; who told last comes last
  std::uint64_t next_order_ = 0;
  std::size_t bytes_ = 0;
  Counters counters_;
};

}  // namespace liminal::broker
