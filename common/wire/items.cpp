#include "common/wire/items.hpp"

#include <limits>
#include <string>
#include <variant>

#include "common/wire/codec.hpp"
#include "common/wire/parts.hpp"

namespace liminal::wire {
namespace {

// The first element of every item. Numbers are never given anew.
enum class ItemKind : std::uint8_t {
  kSend = 0,
  kLink = 1,
  kUnlink = 2,
  kExit = 3,
  kMonitor = 4,
  kDemonitor = 5,
  kDown = 6,
  kSpawnRequest = 7,
  kSpawnReply = 8,
  kOffer = 9,
  kGrant = 10,
  kBegin = 11,
  kChunk = 12,
  kRefusal = 13,
  kWithdraw = 14,
  kCancel = 15,
};

// Error codes travel as these numbers: new ones go to the end.
static_assert(static_cast<int>(Errc::kUsage) == 0 && static_cast<int>(Errc::kNoService) == 10 &&
              static_cast<int>(Errc::kInternal) == 18 && static_cast<int>(Errc::kDeferred) == 19);

constexpr Serial kNodeItself{0};

// --- time ---

// Never negative, and at most what a signed count of nanoseconds holds.
Duration remaining(TimePoint deadline, TimePoint now) {
  if (deadline <= now) return Duration::zero();
  // unsigned: between the two ends of the time line lie more nanoseconds than Duration holds
  const std::uint64_t nanoseconds =
      static_cast<std::uint64_t>(deadline.time_since_epoch().count()) -
      static_cast<std::uint64_t>(now.time_since_epoch().count());
  if (nanoseconds > static_cast<std::uint64_t>(Duration::max().count())) return Duration::max();
  return Duration{static_cast<Duration::rep>(nanoseconds)};
}

// A deadline beyond the end of time is the end of time.
TimePoint after(TimePoint now, Duration remaining) {
  if (now.time_since_epoch() > Duration::zero() && remaining > TimePoint::max() - now) {
    return TimePoint::max();
  }
  return now + remaining;
}

// --- writing ---

void write_serials(Writer& w, const Pid& from, const Pid& to) {
  check(!from.is_local() && !to.is_local(), "local pids stay on their node");
  w.id(from.serial).id(to.serial);
}

// Calls and outcomes say in one more, the first, what they are.
std::size_t headers_max_of(EnvelopeKind kind) {
  const bool has_own = kind == EnvelopeKind::kCall || kind == EnvelopeKind::kOutcome;
  return kEnvelopeHeadersMax + (has_own ? 1 : 0);
}

// Of signals between two processes.
void write_pids(Writer& w, const Pid& from, const Pid& to) {
  check(from.serial != kNodeItself && to.serial != kNodeItself, "both ends are processes");
  write_serials(w, from, to);
}

// Thirteen values, without an array around them: two serials and everything but the payload.
void write_send(Writer& w, const signal::Send& send, const ItemContext& context) {
  const Envelope& envelope = send.envelope;
  write_pids(w, send.from, send.to);
  w.enumerator(envelope.kind)
      .id(envelope.id)
      .id(envelope.conversation)
      .optional_id(envelope.parent)
      .uint(envelope.attempt)
      .boolean(envelope.wants_reply)
      .text(envelope.schema)
      .text(envelope.trace);
  if (envelope.deadline) {
    w.duration(remaining(*envelope.deadline, context.now));
  } else {
    w.nil();
  }
  check(envelope.headers.size() <= headers_max_of(envelope.kind),
        "an envelope's headers are bounded");
  w.array(envelope.headers.size());
  for (const auto& [key, value] : envelope.headers) w.array(2).text(key).text(value);
  check(!envelope.reply_at || envelope.kind == EnvelopeKind::kCompensate,
        "only a compensation has a reply to look at");
  if (envelope.reply_at) {
    w.uint(*envelope.reply_at);
  } else {
    w.nil();
  }
}

void write_item(Writer& w, const signal::Send& send, const ItemContext& context) {
  const Envelope& envelope = send.envelope;
  check(envelope.payload.size() <= kChunkBytesMax, "large payloads travel in chunks");
  check(!envelope.reply_at || *envelope.reply_at <= envelope.payload.size(),
        "a reply begins within the payload");
  w.array(15).enumerator(ItemKind::kSend);
  write_send(w, send, context);
  w.bin(envelope.payload.view());
}

void write_item(Writer& w, const signal::Link& link, const ItemContext&) {
  w.array(4).enumerator(ItemKind::kLink);
  write_pids(w, link.from, link.to);
  w.id(link.link);
}

void write_item(Writer& w, const signal::Unlink& unlink, const ItemContext&) {
  w.array(5).enumerator(ItemKind::kUnlink);
  write_pids(w, unlink.from, unlink.to);
  w.optional_id(unlink.made_by_sender).optional_id(unlink.made_by_receiver);
}

void write_item(Writer& w, const signal::Exit& exit, const ItemContext& context) {
  check(exit.to.serial != kNodeItself, "an exit signal goes to a process");
  w.array(5).enumerator(ItemKind::kExit);
  write_serials(w, exit.from, exit.to);
  write(w, exit.reason, context.reason_bytes_max);
  w.optional_id(exit.link);
}

void write_item(Writer& w, const signal::Monitor& monitor, const ItemContext&) {
  w.array(4).enumerator(ItemKind::kMonitor);
  write_pids(w, monitor.from, monitor.to);
  w.id(monitor.monitor);
}

void write_item(Writer& w, const signal::Demonitor& demonitor, const ItemContext&) {
  w.array(4).enumerator(ItemKind::kDemonitor);
  write_pids(w, demonitor.from, demonitor.to);
  w.id(demonitor.monitor);
}

void write_item(Writer& w, const signal::Down& down, const ItemContext& context) {
  w.array(5).enumerator(ItemKind::kDown);
  write_pids(w, down.from, down.to);
  w.id(down.monitor);
  write(w, down.reason, context.reason_bytes_max);
}

void write_item(Writer& w, const signal::SpawnRequest& request, const ItemContext&) {
  check(request.from.serial != kNodeItself && request.to.serial == kNodeItself,
        "a process asks a node for a spawn");
  w.array(6).enumerator(ItemKind::kSpawnRequest);
  write_serials(w, request.from, request.to);
  w.id(request.spawn).id(request.service).id(request.conversation);
}

void write_item(Writer& w, const signal::SpawnReply& reply, const ItemContext& context) {
  check(reply.link.has_value() != reply.error.has_value(), "an instance or an error");
  check(reply.error.has_value() == (reply.from.serial == kNodeItself),
        "an instance answers for itself, the node with an error");
  check(reply.to.serial != kNodeItself, "a process asked for the spawn");
  check(reply.link.has_value() || !reply.compensates, "only an instance can undo anything");
  w.array(7).enumerator(ItemKind::kSpawnReply);
  write_serials(w, reply.from, reply.to);
  w.id(reply.spawn).optional_id(reply.link);
  if (reply.error) {
    w.array(2).enumerator(reply.error->code);
    w.text_cut(reply.error->detail, context.reason_bytes_max);
  } else {
    w.nil();
  }
  w.boolean(reply.compensates);
}

void write_item(Writer& w, const signal::Refusal& refusal, const ItemContext& context) {
  w.array(6).enumerator(ItemKind::kRefusal);
  write_pids(w, refusal.from, refusal.to);
  w.id(refusal.message).enumerator(refusal.kind);
  w.text_cut(refusal.text, context.reason_bytes_max);
}

void write_item(Writer& w, const signal::Withdraw& withdraw, const ItemContext&) {
  w.array(4).enumerator(ItemKind::kWithdraw);
  write_pids(w, withdraw.from, withdraw.to);
  w.optional_id(withdraw.message);
}

void write_item(Writer& w, const signal::Cancel& cancel, const ItemContext&) {
  w.array(4).enumerator(ItemKind::kCancel);
  write_pids(w, cancel.from, cancel.to);
  w.id(cancel.message);
}

void write_item(Writer& w, const Signal& signal, const ItemContext& context) {
  std::visit([&](const auto& kind) { write_item(w, kind, context); }, signal);
}

void write_item(Writer& w, const item::Offer& offer, const ItemContext&) {
  w.array(3).enumerator(ItemKind::kOffer).id(offer.transfer).uint(offer.payload_bytes);
}

void write_item(Writer& w, const item::Grant& grant, const ItemContext&) {
  w.array(2).enumerator(ItemKind::kGrant).id(grant.transfer);
}

void write_item(Writer& w, const item::Begin& begin, const ItemContext& context) {
  check(begin.send.envelope.payload.size() == 0, "the payload of a transfer follows in chunks");
  w.array(15).enumerator(ItemKind::kBegin).id(begin.transfer);
  write_send(w, begin.send, context);
}

void write_item(Writer& w, const item::Chunk& chunk, const ItemContext&) {
  check(chunk.bytes.size() > 0 && chunk.bytes.size() <= kChunkBytesMax,
        "a chunk has 1 to kChunkBytesMax bytes");
  w.array(3).enumerator(ItemKind::kChunk).id(chunk.transfer).bin(chunk.bytes.view());
}

// --- reading ---

enum class Process : bool { kYes, kNodeToo };

/// Reads the fields of one item, whose kind and number of elements were read.
class ItemReader {
 public:
  ItemReader(Reader& r, const std::optional<Ends>& ends, TimePoint now)
      : r_(r), ends_(ends), now_(now) {}

  signal::Send send() {
    signal::Send send = send_without_payload();
    send.envelope.payload = Payload{std::string{r_.bin("payload", kChunkBytesMax)}};
    const auto& reply_at = send.envelope.reply_at;
    if (reply_at && *reply_at > send.envelope.payload.size()) {
      r_.reject("reply at", "beyond the payload");
    }
    return send;
  }

  signal::Link link() { return {from(), to(), LinkId{r_.uint("link")}}; }

  signal::Unlink unlink() {
    return {from(), to(), optional_id<LinkId>("made by sender"),
            optional_id<LinkId>("made by receiver")};
  }

  signal::Exit exit() {
    return {from(Process::kNodeToo), to(), read_exit_reason(r_), optional_id<LinkId>("link")};
  }

  signal::Monitor monitor() { return {from(), to(), MonitorId{r_.uint("monitor")}}; }

  signal::Demonitor demonitor() { return {from(), to(), MonitorId{r_.uint("monitor")}}; }

  signal::Down down() {
    return {from(), to(), MonitorId{r_.uint("monitor")}, read_exit_reason(r_)};
  }

  signal::SpawnRequest spawn_request() {
    signal::SpawnRequest request{from(), to(Process::kNodeToo), SpawnId{r_.uint("spawn")},
                                 ServiceName{r_.name("service")},
                                 r_.wide<ConversationId>("conversation")};
    if (request.to.serial != kNodeItself) r_.reject("to", "a spawn is asked of the node itself");
    return request;
  }

  signal::SpawnReply spawn_reply() {
    signal::SpawnReply reply{from(Process::kNodeToo),     to(),    SpawnId{r_.uint("spawn")},
                             optional_id<LinkId>("link"), error(), r_.boolean("compensates")};
    if (reply.link.has_value() == reply.error.has_value()) {
      r_.reject("spawn reply", "neither link nor error, or both");
    }
    if (reply.error.has_value() != (reply.from.serial == kNodeItself)) {
      r_.reject("from", "an instance answers for itself, the node with an error");
    }
    if (reply.compensates && !reply.link) r_.reject("compensates", "without an instance");
    return reply;
  }

  signal::Refusal refusal() {
    return {from(), to(), r_.wide<MessageId>("message"),
            r_.enumerator("refusal kind", signal::RefusalKind::kRejected),
            std::string{r_.text("refusal text")}};
  }

  signal::Withdraw withdraw() { return {from(), to(), optional_message("message")}; }

  signal::Cancel cancel() { return {from(), to(), r_.wide<MessageId>("message")}; }

  item::Offer offer() { return {TransferId{r_.uint("transfer")}, r_.uint("payload bytes")}; }

  item::Grant grant() { return {TransferId{r_.uint("transfer")}}; }

  item::Begin begin() { return {TransferId{r_.uint("transfer")}, send_without_payload()}; }

  item::Chunk chunk() {
    item::Chunk chunk{TransferId{r_.uint("transfer")},
                      Payload{std::string{r_.bin("bytes", kChunkBytesMax)}}};
    if (chunk.bytes.size() == 0) r_.reject("bytes", "none");
    return chunk;
  }

 private:
  Pid from(Process process = Process::kYes) { return pid("from", process, &Ends::from); }
  Pid to(Process process = Process::kYes) { return pid("to", process, &Ends::to); }

  Pid pid(const char* field, Process process, Pid Ends::*end) {
    const Serial serial{r_.uint(field)};
    if (process == Process::kYes && serial == kNodeItself) r_.reject(field, "names no process");
    if (!ends_) {
      r_.reject(field, "the frame does not say whose pids it carries");
      return Pid{NodeName{""}, local_incarnation(), serial};
    }
    const Pid& node = *ends_.*end;
    return Pid{node.node, node.incarnation, serial};
  }

  template <class Id>
  std::optional<Id> optional_id(const char* field) {
    if (r_.nil()) return std::nullopt;
    return Id{r_.uint(field)};
  }

  std::optional<Error> error() {
    if (r_.nil()) return std::nullopt;
    r_.array_of(2, "error");
    const Errc code = r_.enumerator("error code", Errc::kDeferred);
    return Error{code, std::string{r_.text("error detail")}};
  }

  std::optional<MessageId> optional_message(const char* field) {
    if (r_.nil()) return std::nullopt;
    return r_.wide<MessageId>(field);
  }

  std::optional<TimePoint> deadline() {
    if (r_.nil()) return std::nullopt;
    return after(now_, r_.duration("remaining time"));
  }

  std::vector<std::pair<std::string, std::string>> headers(EnvelopeKind kind) {
    std::vector<std::pair<std::string, std::string>> headers;
    const std::size_t size = r_.array("headers", headers_max_of(kind));
    for (std::size_t i = 0; i < size && r_.ok(); ++i) {
      r_.array_of(2, "header");
      std::string key{r_.text("header key")};
      headers.emplace_back(std::move(key), r_.text("header value"));
    }
    return headers;
  }

  std::optional<std::uint64_t> reply_at(EnvelopeKind kind) {
    if (r_.nil()) return std::nullopt;
    if (kind != EnvelopeKind::kCompensate) r_.reject("reply at", "in what is no compensation");
    return r_.uint("reply at");
  }

  signal::Send send_without_payload() {
    signal::Send send = send_without_reply_at();
    send.envelope.reply_at = reply_at(send.envelope.kind);
    return send;
  }

  signal::Send send_without_reply_at() {
    Pid sender = from(), receiver = to();
    const EnvelopeKind kind = r_.enumerator("envelope kind", EnvelopeKind::kOutcome);
    return {std::move(sender), std::move(receiver),
            Envelope{
                .kind = kind,
                .id = r_.wide<MessageId>("id"),
                .conversation = r_.wide<ConversationId>("conversation"),
                .parent = optional_message("parent"),
                .attempt = r_.uint32("attempt"),
                .wants_reply = r_.boolean("wants reply"),
                .schema = std::string{r_.text("schema")},
                .trace = std::string{r_.text("trace")},
                .deadline = deadline(),
                .headers = headers(kind),
                .payload = {},
            }};
  }

  Reader& r_;
  const std::optional<Ends>& ends_;
  TimePoint now_;
};

// Of the array that is the item, its kind included.
std::size_t size_of(ItemKind kind) {
  switch (kind) {
    case ItemKind::kGrant:
      return 2;
    case ItemKind::kOffer:
    case ItemKind::kChunk:
      return 3;
    case ItemKind::kLink:
    case ItemKind::kMonitor:
    case ItemKind::kDemonitor:
    case ItemKind::kWithdraw:
    case ItemKind::kCancel:
      return 4;
    case ItemKind::kUnlink:
    case ItemKind::kExit:
    case ItemKind::kDown:
      return 5;
    case ItemKind::kSpawnRequest:
    case ItemKind::kRefusal:
      return 6;
    case ItemKind::kSpawnReply:
      return 7;
    case ItemKind::kSend:
    case ItemKind::kBegin:
      return 15;
  }
  return 0;
}

}  // namespace

std::optional<std::pair<const Pid*, const Pid*>> pids_of(const Item& item) {
  if (const auto* signal = std::get_if<Signal>(&item)) {
    return std::pair{&from_of(*signal), &to_of(*signal)};
  }
  if (const auto* begin = std::get_if<item::Begin>(&item)) {
    return std::pair{&begin->send.from, &begin->send.to};
  }
  return std::nullopt;
}

void write(Writer& w, const Item& item, const ItemContext& context) {
  std::visit([&](const auto& kind) { write_item(w, kind, context); }, item);
}

Item read_item(Reader& r, const std::optional<Ends>& ends, TimePoint now) {
  const std::size_t size = r.array("item");
  const ItemKind kind = r.enumerator("item kind", ItemKind::kCancel);
  if (size != size_of(kind)) r.reject("item", "wrong number of values");

  ItemReader item{r, ends, now};
  switch (kind) {
    case ItemKind::kSend:
      return Signal{item.send()};
    case ItemKind::kLink:
      return Signal{item.link()};
    case ItemKind::kUnlink:
      return Signal{item.unlink()};
    case ItemKind::kExit:
      return Signal{item.exit()};
    case ItemKind::kMonitor:
      return Signal{item.monitor()};
    case ItemKind::kDemonitor:
      return Signal{item.demonitor()};
    case ItemKind::kDown:
      return Signal{item.down()};
    case ItemKind::kSpawnRequest:
      return Signal{item.spawn_request()};
    case ItemKind::kSpawnReply:
      return Signal{item.spawn_reply()};
    case ItemKind::kRefusal:
      return Signal{item.refusal()};
    case ItemKind::kWithdraw:
      return Signal{item.withdraw()};
    case ItemKind::kCancel:
      return Signal{item.cancel()};
    case ItemKind::kOffer:
      return item.offer();
    case ItemKind::kGrant:
      return item.grant();
    case ItemKind::kBegin:
      return item.begin();
    case ItemKind::kChunk:
      return item.chunk();
  }
  r.reject("item kind", "unknown");
  return item::Grant{TransferId{0}};  // never that: it was rejected
}

Result<void> fits(const Envelope& envelope) {
  const auto too_large = [](const char* what) {
    return fail(Errc::kTooLarge, std::string{what} + " over the limit of an envelope");
  };
  if (envelope.headers.size() > headers_max_of(envelope.kind))
    return too_large("the number of headers is");
  if (envelope.schema.size() > kTextBytesMax) return too_large("the schema's name is");
  if (envelope.trace.size() > kTextBytesMax) return too_large("the trace context is");
  for (const auto& [key, value] : envelope.headers) {
    if (key.size() > kTextBytesMax || value.size() > kTextBytesMax) return too_large("a header is");
  }
  return {};
}

}  // namespace liminal::wire
