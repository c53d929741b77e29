// Frames about conversations: what nodes tell the broker of them, and what people ask it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/wire/timeline.hpp"

namespace liminal::control {

// --- node to broker ---

/// Of one conversation, what its node had to leave out.
struct LeftOut {
  ConversationId conversation;
  std::uint64_t routine;  // see is_routine()
  std::uint64_t other;
  friend bool operator==(const LeftOut&, const LeftOut&) = default;
};

/// What happened on the sender, in its order. Local pids bear the incarnation that the sender has.
/// Both lists are at most wire::kRecordsMax long.
///
/// A sender numbers all that it tells, in this order: the records, the entries of left_out, and
/// `lost` if it is not 0. What it does not know to have arrived it tells again, with the same
/// numbers, on each later connection; of one stream the broker takes a number once.
struct Records {
  std::vector<TimelineRecord> records;
  std::vector<LeftOut> left_out = {};
  std::uint64_t lost = 0;  // more that were left out, of whatever conversations
  std::uint64_t stream =
      0;                    // the first incarnation of the sender's process; 0: tells nothing twice
  std::uint64_t first = 1;  // the number of the first of them; the others' follow it
  friend bool operator==(const Records&, const Records&) = default;
};

/// Whether the conversation that a CancelOrder named was open, and is being cancelled.
struct CancelAnswer {
  ConversationId conversation;
  bool accepted;
  friend bool operator==(const CancelAnswer&, const CancelAnswer&) = default;
};

// --- anybody to broker, without a join ---

struct TimelineQuery {
  ConversationId conversation;
  std::uint64_t from = 0;  // `next` of the page before
  friend bool operator==(const TimelineQuery&, const TimelineQuery&) = default;
};

/// Where a page of the list of conversations begins: behind the one that this names.
struct ListPosition {
  bool among_ended;
  std::uint64_t order;
  friend bool operator==(const ListPosition&, const ListPosition&) = default;
};

struct ConversationsQuery {
  std::optional<ListPosition> behind = {};  // none: the first page
  friend bool operator==(const ConversationsQuery&, const ConversationsQuery&) = default;
};

struct CancelQuery {
  ConversationId conversation;
  friend bool operator==(const CancelQuery&, const CancelQuery&) = default;
};

// --- broker to node ---

/// The receiver told of this conversation: it is to be cancelled.
struct CancelOrder {
  ConversationId conversation;
  std::string by;
  friend bool operator==(const CancelOrder&, const CancelOrder&) = default;
};

/// How many participants run on nodes, by their latest beats. A node that was never told of has
/// none.
struct Loads {
  struct Load {
    Incarnation incarnation;
    std::uint32_t participants;
    friend bool operator==(const Load&, const Load&) = default;
  };
  std::vector<Load> loads;  // at most wire::kLoadsMax; the rest stays as it was
  friend bool operator==(const Loads&, const Loads&) = default;
};

// --- broker to whoever asked ---

enum class ConversationStanding : std::uint8_t {
  kOpen = 0,
  kEnded = 1,
  kNodeLost = 2,  // open when its node went
};

struct ConversationSummary {
  ConversationId conversation;
  NodeName node;  // that opened it
  Incarnation incarnation;
  std::string about = {};  // its policy and roles, as its node told
  ConversationStanding standing = ConversationStanding::kOpen;
  std::string phase = {};                  // the latest it told of, and of Failed why
  Duration opened_ago = Duration::zero();  // by the broker's clock, as all here
  std::optional<Duration> ended_ago = {};
  std::uint64_t crashes = 0;
  std::uint64_t requests = 0;
  friend bool operator==(const ConversationSummary&, const ConversationSummary&) = default;
};

/// A record, who told it, and when the broker heard of it (since the broker's start).
struct Told {
  NodeName teller;
  Duration heard = Duration::zero();
  TimelineRecord record;
  friend bool operator==(const Told&, const Told&) = default;
};

/// A page of at most wire::kRecordsMax. What one teller told stands in its order.
struct TimelineReply {
  ConversationId conversation;
  std::optional<ConversationSummary> summary = {};  // none: its own node told nothing of it
  std::vector<Told> told = {};
  LeftOut left_out;                        // in all, at its nodes and here
  std::optional<std::uint64_t> next = {};  // none: that was the last page
  friend bool operator==(const TimelineReply&, const TimelineReply&) = default;
};

/// A page of at most wire::kSummariesMax: first those that are open, oldest first, then those that
/// ended, newest first.
struct ConversationsReply {
  std::vector<ConversationSummary> summaries = {};
  std::uint64_t forgotten = 0;            // in all, for want of room
  std::optional<ListPosition> next = {};  // none: that was the last page
  friend bool operator==(const ConversationsReply&, const ConversationsReply&) = default;
};

enum class CancelOutcome : std::uint8_t {
  kAccepted = 0,
  kEnded = 1,     // it had ended before
  kUnknown = 2,   // the broker was told of no such conversation
  kNodeGone = 3,  // with its node it ended
  kTooMany = 4,   // cancellations wait already
};

struct CancelReply {
  ConversationId conversation;
  CancelOutcome outcome;
  friend bool operator==(const CancelReply&, const CancelReply&) = default;
};

}  // namespace liminal::control
