#include "common/wire/codec_timeline.hpp"

#include <cstdint>
#include <limits>
#include <utility>

#include "common/wire/parts.hpp"

namespace liminal::wire {
namespace {

using control::ConversationStanding;
using control::ConversationSummary;
using control::LeftOut;
using control::ListPosition;

// --- writing ---

void write_name(Writer& w, const std::string& name) { name.empty() ? w.nil() : w.name(name); }

void write(Writer& w, const std::optional<Pid>& pid) {
  if (!pid) {
    w.nil();
    return;
  }
  w.array(3).id(pid->node).id(pid->incarnation).id(pid->serial);
}

// Without an array around them, as all that follow.
constexpr std::size_t kRecordValues = 10;
void write(Writer& w, const TimelineRecord& record) {
  w.id(record.conversation).enumerator(record.event).duration(record.at);
  write_name(w, record.role);
  write(w, record.participant);
  w.optional_id(record.message).optional_id(record.cause).uint(record.attempt);
  record.reason ? wire::write(w, *record.reason, kTextBytesMax) : static_cast<void>(w.nil());
  w.text_cut(record.text, kTextBytesMax);
}

void write(Writer& w, const LeftOut& left_out) {
  w.array(3).id(left_out.conversation).uint(left_out.routine).uint(left_out.other);
}

constexpr std::size_t kSummaryValues = 10;
void write(Writer& w, const ConversationSummary& summary) {
  w.id(summary.conversation).id(summary.node).id(summary.incarnation);
  w.text_cut(summary.about, kSummaryBytesMax).enumerator(summary.standing);
  w.text_cut(summary.phase, kSummaryBytesMax).duration(summary.opened_ago);
  summary.ended_ago ? w.duration(*summary.ended_ago) : w.nil();
  w.uint(summary.crashes).uint(summary.requests);
}

void write(Writer& w, const std::optional<ListPosition>& position) {
  if (!position) {
    w.nil();
    return;
  }
  w.array(2).boolean(position->among_ended).uint(position->order);
}

std::size_t bytes_of(const std::vector<TimelineRecord>& records) {
  std::size_t bytes = 64;
  for (const TimelineRecord& record : records) bytes += weight_bytes(record);
  return bytes;
}

// --- reading ---

ConversationId read_conversation(Reader& r) { return r.wide<ConversationId>("conversation"); }

template <class Wide>
std::optional<Wide> read_optional_wide(Reader& r, const char* field) {
  if (r.nil()) return std::nullopt;
  return r.wide<Wide>(field);
}

std::optional<Pid> read_pid(Reader& r) {
  if (r.nil()) return std::nullopt;
  r.array_of(3, "participant");
  return Pid{NodeName{r.name("participant's node")}, r.incarnation("participant's incarnation"),
             Serial{r.uint("participant's serial")}};
}

TimelineRecord read_record(Reader& r) {
  return TimelineRecord{
      .conversation = read_conversation(r),
      .event = r.enumerator("event", TimelineEvent::kAnswered),
      .at = r.duration("at"),
      .role = r.nil() ? std::string{} : r.name("role"),
      .participant = read_pid(r),
      .message = read_optional_wide<MessageId>(r, "message"),
      .cause = read_optional_wide<MessageId>(r, "cause"),
      .attempt = r.uint32("attempt"),
      .reason = r.nil() ? std::nullopt : std::optional{read_exit_reason(r)},
      .text = std::string{r.text("text")},
  };
}

LeftOut read_left_out(Reader& r) {
  r.array_of(3, "left out");
  return LeftOut{
      .conversation = read_conversation(r), .routine = r.uint("routine"), .other = r.uint("other")};
}

std::string read_summary_text(Reader& r, const char* field) {
  const std::string_view text = r.text(field);
  if (text.size() > kSummaryBytesMax) r.reject(field, "too long");
  return std::string{text};
}

ConversationSummary read_summary(Reader& r) {
  return ConversationSummary{
      .conversation = read_conversation(r),
      .node = NodeName{r.name("node")},
      .incarnation = r.incarnation("incarnation"),
      .about = read_summary_text(r, "about"),
      .standing = r.enumerator("standing", ConversationStanding::kNodeLost),
      .phase = read_summary_text(r, "phase"),
      .opened_ago = r.duration("opened ago"),
      .ended_ago = r.nil() ? std::nullopt : std::optional{r.duration("ended ago")},
      .crashes = r.uint("crashes"),
      .requests = r.uint("requests"),
  };
}

std::optional<ListPosition> read_position(Reader& r) {
  if (r.nil()) return std::nullopt;
  r.array_of(2, "position");
  return ListPosition{.among_ended = r.boolean("among ended"), .order = r.uint("order")};
}

}  // namespace

// --- node to broker ---

std::string encode_frame(const control::Records& records) {
  check(records.records.size() <= kRecordsMax && records.left_out.size() <= kRecordsMax,
        "at most kRecordsMax records in a frame");
  Writer w = begin_frame(FrameKind::kRecords, 5, bytes_of(records.records));
  w.array(records.records.size());
  for (const TimelineRecord& record : records.records) {
    w.array(kRecordValues);
    write(w, record);
  }
  w.array(records.left_out.size());
  for (const LeftOut& left_out : records.left_out) write(w, left_out);
  return w.uint(records.lost).uint(records.stream).uint(records.first).take();
}

// Whatever the frame holds, its last number is one too.
constexpr std::uint64_t kFirstMax = std::numeric_limits<std::uint64_t>::max() - 2 * kRecordsMax - 1;

control::Records read_records(Reader& r) {
  r.frame("records", 5);
  control::Records records{.records = {}};
  const std::size_t size = r.array("records", kRecordsMax);
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(kRecordValues, "record");
    records.records.push_back(read_record(r));
  }
  const std::size_t left_out = r.array("left out", kRecordsMax);
  for (std::size_t i = 0; i < left_out && r.ok(); ++i) {
    records.left_out.push_back(read_left_out(r));
  }
  records.lost = r.uint("lost");
  records.stream = r.uint("stream");
  records.first = r.uint("first");
  if (records.first == 0 || records.first > kFirstMax) r.reject("first", "no number to count from");
  return records;
}

std::string encode_frame(const control::CancelAnswer& answer) {
  return begin_frame(FrameKind::kCancelAnswer, 2, 24)
      .id(answer.conversation)
      .boolean(answer.accepted)
      .take();
}

control::CancelAnswer read_cancel_answer(Reader& r) {
  r.frame("cancel answer", 2);
  return {.conversation = read_conversation(r), .accepted = r.boolean("accepted")};
}

// --- anybody to broker ---

std::string encode_frame(const control::TimelineQuery& query) {
  return begin_frame(FrameKind::kTimelineQuery, 2, 32)
      .id(query.conversation)
      .uint(query.from)
      .take();
}

control::TimelineQuery read_timeline_query(Reader& r) {
  r.frame("timeline query", 2);
  return {.conversation = read_conversation(r), .from = r.uint("from")};
}

std::string encode_frame(const control::ConversationsQuery& query) {
  Writer w = begin_frame(FrameKind::kConversationsQuery, 1, 16);
  write(w, query.behind);
  return w.take();
}

control::ConversationsQuery read_conversations_query(Reader& r) {
  r.frame("conversations query", 1);
  return {.behind = read_position(r)};
}

std::string encode_frame(const control::CancelQuery& query) {
  return begin_frame(FrameKind::kCancelQuery, 1, 24).id(query.conversation).take();
}

control::CancelQuery read_cancel_query(Reader& r) {
  r.frame("cancel query", 1);
  return {.conversation = read_conversation(r)};
}

// --- broker to node ---

std::string encode_frame(const control::Loads& loads) {
  check(loads.loads.size() <= kLoadsMax, "at most kLoadsMax loads in a frame");
  Writer w = begin_frame(FrameKind::kLoads, 1, 16 + 16 * loads.loads.size());
  w.array(loads.loads.size());
  for (const auto& [incarnation, participants] : loads.loads) {
    w.array(2).id(incarnation).uint(participants);
  }
  return w.take();
}

control::Loads read_loads(Reader& r) {
  r.frame("loads", 1);
  control::Loads loads{.loads = {}};
  const std::size_t size = r.array("loads", kLoadsMax);
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(2, "load");
    const Incarnation incarnation = r.incarnation("incarnation");
    loads.loads.push_back({incarnation, r.uint32("participants")});
  }
  return loads;
}

std::string encode_frame(const control::CancelOrder& order) {
  return begin_frame(FrameKind::kCancelOrder, 2, 32 + order.by.size())
      .id(order.conversation)
      .text_cut(order.by, kTextBytesMax)
      .take();
}

control::CancelOrder read_cancel_order(Reader& r) {
  r.frame("cancel order", 2);
  return {.conversation = read_conversation(r), .by = std::string{r.text("by")}};
}

// --- broker to whoever asked ---

std::string encode_frame(const control::TimelineReply& reply) {
  check(reply.told.size() <= kRecordsMax, "at most kRecordsMax records in a frame");
  std::size_t bytes = 2 * kSummaryBytesMax;
  for (const control::Told& told : reply.told) bytes += 64 + weight_bytes(told.record);
  Writer w = begin_frame(FrameKind::kTimelineReply, 5, bytes);
  w.id(reply.conversation);
  if (reply.summary) {
    w.array(kSummaryValues);
    write(w, *reply.summary);
  } else {
    w.nil();
  }
  w.array(reply.told.size());
  for (const auto& [teller, heard, record] : reply.told) {
    w.array(kRecordValues + 2).id(teller).duration(heard);
    write(w, record);
  }
  write(w, reply.left_out);
  return (reply.next ? w.uint(*reply.next) : w.nil()).take();
}

control::TimelineReply read_timeline_reply(Reader& r) {
  r.frame("timeline reply", 5);
  const ConversationId conversation = read_conversation(r);
  control::TimelineReply reply{.conversation = conversation, .left_out = {conversation, 0, 0}};
  if (!r.nil()) {
    r.array_of(kSummaryValues, "summary");
    reply.summary = read_summary(r);
  }
  const std::size_t size = r.array("told", kRecordsMax);
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(kRecordValues + 2, "told");
    NodeName teller{r.name("teller")};
    const Duration heard = r.duration("heard");
    reply.told.push_back({std::move(teller), heard, read_record(r)});
  }
  reply.left_out = read_left_out(r);
  if (!r.nil()) reply.next = r.uint("next");
  return reply;
}

std::string encode_frame(const control::ConversationsReply& reply) {
  check(reply.summaries.size() <= kSummariesMax, "at most kSummariesMax summaries in a frame");
  Writer w = begin_frame(FrameKind::kConversationsReply, 3, 32 + 256 * reply.summaries.size());
  w.array(reply.summaries.size());
  for (const ConversationSummary& summary : reply.summaries) {
    w.array(kSummaryValues);
    write(w, summary);
  }
  w.uint(reply.forgotten);
  write(w, reply.next);
  return w.take();
}

control::ConversationsReply read_conversations_reply(Reader& r) {
  r.frame("conversations reply", 3);
  control::ConversationsReply reply;
  const std::size_t size = r.array("summaries", kSummariesMax);
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(kSummaryValues, "summary");
    reply.summaries.push_back(read_summary(r));
  }
  reply.forgotten = r.uint("forgotten");
  reply.next = read_position(r);
  return reply;
}

std::string encode_frame(const control::CancelReply& reply) {
  return begin_frame(FrameKind::kCancelReply, 2, 24)
      .id(reply.conversation)
      .enumerator(reply.outcome)
      .take();
}

control::CancelReply read_cancel_reply(Reader& r) {
  r.frame("cancel reply", 2);
  return {.conversation = read_conversation(r),
          .outcome = r.enumerator("outcome", control::CancelOutcome::kTooMany)};
}

}  // namespace liminal::wire
