#include "broker/timelines.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/wire/limits.hpp"

namespace liminal::broker {
namespace {

using control::ConversationStanding;

constexpr std::size_t kConversationBytes = 768;  // its fixed parts, in all the maps

std::size_t bytes_of(const TimelineRecord& record) {
  constexpr std::size_t kFixed = 512;
  return kFixed + record.text.size() + (record.reason ? record.reason->text.size() : 0);
}

// The text of a phase record begins with it: "Failed: ..." is Failed.
std::string_view phase_in(std::string_view text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto end = std::find_if_not(text.begin(), text.end(), is_letter);
  return text.substr(0, static_cast<std::size_t>(end - text.begin()));
}

bool is_terminal(std::string_view phase) { return phase == "Closed" || phase == "Failed"; }

}  // namespace

// ---- what is told ----

void Timelines::take(const NodeName& teller, Incarnation incarnation, control::Records records,
                     TimePoint now) {
  const std::uint64_t before = taken_before(teller, records);
  std::uint64_t number = records.first;
  const auto is_repeated = [&] {
    const bool repeated = before > 0 && number <= before;
    ++number;
    counters_.repeated += repeated;
    return repeated;
  };
  for (TimelineRecord& record : records.records) {
    if (!is_repeated()) take(teller, incarnation, std::move(record), now);
  }
  for (const control::LeftOut& left_out : records.left_out) {
    if (!is_repeated()) take(teller, left_out);
  }
  if (records.lost > 0 && !is_repeated()) counters_.lost += records.lost;
}

std::uint64_t Timelines::taken_before(const NodeName& teller, const control::Records& records) {
  const std::uint64_t items =
      records.records.size() + records.left_out.size() + (records.lost > 0 ? 1 : 0);
  if (records.stream == 0 || items == 0 || limits_.records_max == 0) return 0;
  const auto found = streams_.try_emplace(teller, Stream{records.stream, 0, 0}).first;
  Stream& stream = found->second;
  told_.erase(stream.order);
  stream.order = ++next_order_;
  told_.emplace(stream.order, teller);
  if (stream.id != records.stream) stream = {records.stream, 0, stream.order};
  const std::uint64_t before = stream.taken;
  stream.taken = std::max(before, records.first + items - 1);
  if (streams_.size() > limits_.tellers_max) {
    streams_.erase(told_.begin()->second);
    told_.erase(told_.begin());
  }
  return before;
}

void Timelines::take(const NodeName& teller, const control::LeftOut& left_out) {
  const auto found = conversations_.find(left_out.conversation);
  if (found == conversations_.end() || !is_told_by(found->second, teller)) {
    counters_.lost += left_out.routine + left_out.other;
    return;
  }
  found->second.left_out_routine += left_out.routine;
  found->second.left_out_other += left_out.other;
}

bool Timelines::is_told_by(const Conversation& conversation, const NodeName& node) {
  if (conversation.holder == node) return true;
  return std::any_of(conversation.entries.begin(), conversation.entries.end(),
                     [&](const auto& entry) { return entry.second.teller == node; });
}

void Timelines::take(const NodeName& teller, Incarnation incarnation, TimelineRecord record,
                     TimePoint now) {
  if (limits_.records_max == 0) {
    ++counters_.left_out;
    return;
  }
  const ConversationId id = record.conversation;
  auto found = conversations_.find(id);
  if (found == conversations_.end()) found = add(teller, incarnation, id, now);
  if (is_told_by_opener(record.event)) {
    const bool anothers = found->second.owned && found->second.holder != teller;
    if (anothers) {
      ++counters_.foreign;
      return;
    }
    own(found, teller, incarnation);
    if (found->second.standing == ConversationStanding::kNodeLost) {  // so it was not lost
      set_standing(found, ConversationStanding::kOpen, now);
    }
    if (is_known(found->second, record)) {
      ++counters_.repeated;
      return;
    }
    note(found, record, now);
  }
  keep(found, teller, std::move(record), now);
  Conversation& conversation = found->second;
  while (!make_room(id) && !conversation.entries.empty()) {  // it alone is too much
    const auto& [key, newest] = *conversation.entries.rbegin();
    ++(is_routine(newest.record.event) ? conversation.left_out_routine
                                       : conversation.left_out_other);
    ++counters_.left_out;
    drop_entry(found, key);
  }
}

/// A node that is back says again what is open, for a broker that may not know.
bool Timelines::is_known(const Conversation& conversation, const TimelineRecord& record) {
  if (record.event == TimelineEvent::kOpened) {
    return !record.text.empty() &&
           conversation.about == record.text.substr(0, wire::kSummaryBytesMax);
  }
  return record.event == TimelineEvent::kPhase && !record.text.empty() &&
         phase_in(conversation.phase) == record.text;
}

/// What the summary shows, whether or not there is room for the record.
void Timelines::note(Found found, const TimelineRecord& record, TimePoint now) {
  Conversation& conversation = found->second;
  switch (record.event) {
    case TimelineEvent::kOpened:
      set_text(found, conversation.about, record.text);
      break;
    case TimelineEvent::kPhase:
      set_text(found, conversation.phase, record.text);
      if (is_terminal(phase_in(record.text)) &&
          conversation.standing == ConversationStanding::kOpen) {
        set_standing(found, ConversationStanding::kEnded, now);
      }
      break;
    case TimelineEvent::kCrashed:
      ++conversation.crashes;
      break;
    case TimelineEvent::kSent:
      if (record.attempt <= 1) ++conversation.requests;
      break;
    default:
      break;
  }
}

void Timelines::keep(Found found, const NodeName& teller, TimelineRecord record, TimePoint now) {
  Conversation& conversation = found->second;
  const bool full = conversation.entries.size() >= limits_.records_max;
  if (is_routine(record.event)) {
    if (full || conversation.routine.size() >= routine_records_max(limits_.records_max)) {
      ++conversation.left_out_routine;
      ++counters_.left_out;
      return;
    }
    conversation.routine.push_back(conversation.next_entry);
  } else if (full && conversation.routine.empty()) {
    ++conversation.left_out_other;
    ++counters_.left_out;
    return;
  } else if (full) {
    ++conversation.left_out_routine;
    ++counters_.displaced;
    drop_entry(found, conversation.routine.back());
  }
  ++counters_.taken;
  const std::size_t bytes = bytes_of(record);
  conversation.entries.emplace(conversation.next_entry++,
                               Entry{teller, now - started_, std::move(record)});
  set_bytes(found, conversation.bytes + bytes);
}

void Timelines::drop_entry(Found found, std::uint64_t key) {
  Conversation& conversation = found->second;
  const auto entry = conversation.entries.find(key);
  const std::size_t bytes = bytes_of(entry->second.record);
  if (!conversation.routine.empty() && conversation.routine.back() == key) {
    conversation.routine.pop_back();
  }
  conversation.entries.erase(entry);
  set_bytes(found, conversation.bytes - bytes);
}

void Timelines::node_gone(const NodeName& node, Incarnation incarnation, TimePoint now) {
  const auto share = shares_.find(node);
  if (share == shares_.end()) return;
  std::vector<ConversationId> open;
  for (const auto& [order, id] : share->second.places[kOpen]) open.push_back(id);
  for (const ConversationId& id : open) {
    const auto found = conversations_.find(id);
    if (found->second.incarnation == incarnation) {
      set_standing(found, ConversationStanding::kNodeLost, now);
    }
  }
}

// ---- what is asked ----

std::optional<Timelines::Whereabouts> Timelines::find(const ConversationId& conversation) const {
  const auto found = conversations_.find(conversation);
  if (found == conversations_.end() || !found->second.owned) return std::nullopt;
  return Whereabouts{found->second.holder, found->second.incarnation, found->second.standing};
}

control::TimelineReply Timelines::page(const control::TimelineQuery& query, TimePoint now) const {
  control::TimelineReply reply{.conversation = query.conversation,
                               .left_out = {query.conversation, 0, 0}};
  const auto found = conversations_.find(query.conversation);
  if (found == conversations_.end()) return reply;
  const Conversation& conversation = found->second;
  if (conversation.owned) reply.summary = summary_of(found->first, conversation, now);
  reply.left_out.routine = conversation.left_out_routine;
  reply.left_out.other = conversation.left_out_other;
  std::size_t bytes = 0;
  for (auto entry = conversation.entries.lower_bound(query.from);
       entry != conversation.entries.end(); ++entry) {
    if (reply.told.size() == wire::kRecordsMax || bytes > wire::kRecordsFillBytes) {
      reply.next = entry->first;
      break;
    }
    bytes += weight_bytes(entry->second.record);
    reply.told.push_back({entry->second.teller, entry->second.heard, entry->second.record});
  }
  return reply;
}

control::ConversationsReply Timelines::page(const control::ConversationsQuery& query,
                                            TimePoint now) const {
  control::ConversationsReply reply{.summaries = {}, .forgotten = counters_.forgotten};
  const auto add = [&](bool among_ended, std::uint64_t order, const ConversationId& id) {
    if (reply.summaries.size() == wire::kSummariesMax) return false;
    reply.summaries.push_back(summary_of(id, conversations_.at(id), now));
    reply.next = {among_ended, order};
    return true;
  };
  bool done = true;
  if (!query.behind || !query.behind->among_ended) {
    const std::uint64_t behind = query.behind ? query.behind->order : 0;  // orders count from 1
    for (auto each = places_[kOpen].upper_bound(behind); done && each != places_[kOpen].end();
         ++each) {
      done = add(false, each->first, each->second);
    }
  }
  const std::uint64_t before = query.behind && query.behind->among_ended
                                   ? query.behind->order
                                   : std::numeric_limits<std::uint64_t>::max();
  for (auto each = places_[kEnded].lower_bound(before); done && each != places_[kEnded].begin();) {
    --each;
    done = add(true, each->first, each->second);
  }
  if (done) reply.next.reset();
  return reply;
}

control::ConversationSummary Timelines::summary_of(const ConversationId& id,
                                                   const Conversation& conversation,
                                                   TimePoint now) const {
  const auto ago = [&](TimePoint then) { return std::max(now - then, Duration::zero()); };
  control::ConversationSummary summary{.conversation = id,
                                       .node = conversation.holder,
                                       .incarnation = conversation.incarnation,
                                       .about = conversation.about,
                                       .standing = conversation.standing,
                                       .phase = conversation.phase,
                                       .opened_ago = ago(conversation.opened),
                                       .ended_ago = std::nullopt,
                                       .crashes = conversation.crashes,
                                       .requests = conversation.requests};
  if (conversation.standing != ConversationStanding::kOpen) {
    summary.ended_ago = ago(conversation.ended);
  }
  return summary;
}

// ---- whose they are, and what is forgotten ----

Timelines::Found Timelines::add(const NodeName& holder, Incarnation incarnation,
                                const ConversationId& id, TimePoint now) {
  const auto found =
      conversations_
          .emplace(id, Conversation{.holder = holder, .incarnation = incarnation, .opened = now})
          .first;
  enlist(found);
  set_bytes(found, kConversationBytes);
  return found;
}

void Timelines::own(Found found, const NodeName& node, Incarnation incarnation) {
  Conversation& conversation = found->second;
  conversation.incarnation = incarnation;
  if (conversation.owned) return;
  delist(found);
  conversation.holder = node;
  conversation.owned = true;
  enlist(found);
}

void Timelines::set_standing(Found found, ConversationStanding standing, TimePoint now) {
  delist(found);
  found->second.standing = standing;
  found->second.ended = now;
  enlist(found);
}

Timelines::Place Timelines::place_of(const Conversation& conversation) {
  if (!conversation.owned) return kUnowned;
  return conversation.standing == ConversationStanding::kOpen ? kOpen : kEnded;
}

void Timelines::enlist(Found found) {
  Conversation& conversation = found->second;
  const Place place = place_of(conversation);
  Share& share = shares_[conversation.holder];
  conversation.order = ++next_order_;
  places_[place].emplace(conversation.order, found->first);
  share.places[place].emplace(conversation.order, found->first);
  share.bytes += conversation.bytes;
  if (2 * ++share.conversations > limits_.conversations_max) heavy_ = conversation.holder;
}

void Timelines::delist(Found found) {
  const Conversation& conversation = found->second;
  const Place place = place_of(conversation);
  const auto share = shares_.find(conversation.holder);
  places_[place].erase(conversation.order);
  share->second.places[place].erase(conversation.order);
  share->second.bytes -= conversation.bytes;
  if (--share->second.conversations == 0) shares_.erase(share);
}

void Timelines::forget(Found found) {
  delist(found);
  bytes_ -= found->second.bytes;
  conversations_.erase(found);
  ++counters_.forgotten;
}

bool Timelines::make_room(const ConversationId& but) {
  while (conversations_.size() > limits_.conversations_max || bytes_ > limits_.bytes_max) {
    const auto who = victim(but);
    if (!who) return false;
    forget(conversations_.find(*who));
  }
  return true;
}

std::optional<ConversationId> Timelines::victim(const ConversationId& but) const {
  const auto oldest_in = [&](const Places& places) -> std::optional<ConversationId> {
    for (const Order& order : places) {
      for (const auto& [key, id] : order) {
        if (id != but) return id;
      }
    }
    return std::nullopt;
  };
  if (heavy_) {
    const auto share = shares_.find(*heavy_);
    if (share != shares_.end() && (2 * share->second.conversations > limits_.conversations_max ||
                                   2 * share->second.bytes > limits_.bytes_max)) {
      if (const auto own = oldest_in(share->second.places)) return own;
    }
  }
  return oldest_in(places_);
}

void Timelines::set_bytes(Found found, std::size_t bytes) {
  Share& share = shares_.at(found->second.holder);
  share.bytes += bytes - found->second.bytes;  // unsigned arithmetic: right in both directions
  bytes_ += bytes - found->second.bytes;
  found->second.bytes = bytes;
  if (2 * share.bytes > limits_.bytes_max) heavy_ = found->second.holder;
}

void Timelines::set_text(Found found, std::string& text, const std::string& value) {
  const std::size_t before = text.size();
  text = value.substr(0, wire::kSummaryBytesMax);
  set_bytes(found, found->second.bytes + text.size() - before);
}

}  // namespace liminal::broker
