#include <algorithm>
#include <limits>
#include <utility>

#include "common/wire/codec.hpp"
#include "common/wire/items.hpp"
#include "common/wire/parts.hpp"

namespace liminal::wire {
namespace {

// What the texts of all exit reasons and errors of one frame may take together, so that a frame
// full of them stays below kPartBytesMax: they take no credit, which bounds everything else.
constexpr std::size_t kReasonBytesMax = 1024 * 1024;

const Error* error_in(const Item& item) {
  const auto* signal = std::get_if<Signal>(&item);
  const auto* reply = signal ? std::get_if<signal::SpawnReply>(signal) : nullptr;
  return reply && reply->error ? &*reply->error : nullptr;
}

std::size_t reason_bytes(const Item& item) {
  if (const Error* error = error_in(item)) return error->detail.size();
  const auto* signal = std::get_if<Signal>(&item);
  if (!signal) return 0;
  if (const auto* exit = std::get_if<signal::Exit>(signal)) return exit->reason.text.size();
  if (const auto* down = std::get_if<signal::Down>(signal)) return down->reason.text.size();
  if (const auto* refusal = std::get_if<signal::Refusal>(signal)) return refusal->text.size();
  return 0;
}

// How long each of these texts may be in this frame.
std::size_t reason_bytes_max(const std::vector<Item>& items) {
  const auto texts = std::count_if(items.begin(), items.end(),
                                   [](const Item& item) { return reason_bytes(item) > 0; });
  if (texts == 0) return kTextBytesMax;
  return std::min(kTextBytesMax, kReasonBytesMax / static_cast<std::size_t>(texts));
}

bool same_node(const Pid& a, const Pid& b) {
  return a.incarnation == b.incarnation && a.node == b.node;
}

// The two incarnations that all pids of a frame belong to; nullopt where it contains no pid.
std::optional<Ends> ends_of(const std::vector<Item>& items) {
  std::optional<Ends> ends;
  for (const Item& item : items) {
    const auto pids = pids_of(item);
    if (!pids) continue;
    const auto& [from, to] = *pids;
    if (!ends) ends = Ends{*from, *to};
    check(same_node(*from, ends->from) && same_node(*to, ends->to),
          "a session frame goes from one incarnation to another");
  }
  return ends;
}

std::size_t bytes_of(const std::vector<Item>& items) {
  std::size_t bytes = 128;
  for (const Item& item : items) bytes += credit_bytes(item) + reason_bytes(item) + 64;
  return bytes;
}

Pid read_end(Reader& r) {
  NodeName node{r.name("node")};
  return Pid{std::move(node), r.incarnation("incarnation"), Serial{0}};
}

}  // namespace

std::string encode(const RouteTo& header) {
  return begin_frame(FrameKind::kRouteTo, 2, 80).id(header.node).id(header.incarnation).take();
}

Result<RouteTo> decode_route_to(std::string_view bytes) {
  Reader r{bytes, kHeaderBytesMax, "route to"};
  if (r.kind() != static_cast<std::uint64_t>(FrameKind::kRouteTo)) r.reject("kind", "another");
  r.frame("route to", 2);
  NodeName node{r.name("node")};
  return r.finish(RouteTo{std::move(node), r.incarnation("incarnation")});
}

std::string encode(const RouteFrom& header) {
  return begin_frame(FrameKind::kRouteFrom, 4, 100)
      .id(header.node)
      .id(header.incarnation)
      .id(header.epoch)
      .id(header.version)
      .take();
}

Result<RouteFrom> decode_route_from(std::string_view bytes) {
  Reader r{bytes, kHeaderBytesMax, "route from"};
  if (r.kind() != static_cast<std::uint64_t>(FrameKind::kRouteFrom)) r.reject("kind", "another");
  r.frame("route from", 4);
  RouteFrom header{
      .node = NodeName{r.name("node")},
      .incarnation = r.incarnation("incarnation"),
      .epoch = Epoch{r.uint("epoch")},
      .version = MembershipVersion{r.uint("membership version")},
  };
  return r.finish(std::move(header));
}

std::string encode(const SessionFrame& frame, TimePoint now) {
  check(frame.items.size() <= kFrameItemsMax, "a frame has at most kFrameItemsMax items");
  Writer w = begin_frame(FrameKind::kSession, 7, bytes_of(frame.items));
  w.id(frame.session)
      .uint(frame.next_expected)
      .uint(frame.credit_limit)
      .boolean(frame.resend)
      .uint(frame.first_sequence);

  if (const auto ends = ends_of(frame.items)) {
    w.array(4)
        .id(ends->from.node)
        .id(ends->from.incarnation)
        .id(ends->to.node)
        .id(ends->to.incarnation);
  } else {
    w.nil();
  }

  const ItemContext context{now, reason_bytes_max(frame.items)};
  w.array(frame.items.size());
  for (const Item& item : frame.items) write(w, item, context);

  std::string bytes = w.take();
  check(bytes.size() <= kPartBytesMax, "the session filled the frame within its limits");
  return bytes;
}

Result<SessionFrame> decode_session_frame(std::string_view bytes, TimePoint now) {
  Reader r{bytes, kPartBytesMax, "session frame"};
  if (r.kind() != static_cast<std::uint64_t>(FrameKind::kSession)) r.reject("kind", "another");
  r.frame("session frame", 7);
  SessionFrame frame{
      .session = SessionNumber{r.uint32("session")},
      .next_expected = r.uint("next expected"),
      .credit_limit = r.uint("credit limit"),
      .resend = r.boolean("resend"),
      .first_sequence = r.uint("first sequence"),
      .items = {},
  };
  if (frame.next_expected == 0) r.reject("next expected", "is zero");
  if (frame.first_sequence == 0) r.reject("first sequence", "is zero");

  std::optional<Ends> ends;
  if (!r.nil()) {
    r.array_of(4, "ends");
    Pid from = read_end(r);
    ends = Ends{std::move(from), read_end(r)};
  }

  const std::size_t size = r.array("items", kFrameItemsMax);
  if (frame.first_sequence > std::numeric_limits<std::uint64_t>::max() - size) {
    r.reject("first sequence", "leaves no numbers for the items");
  }
  // an envelope takes more than 32 bytes; many small items let the vector grow
  frame.items.reserve(std::min(size, bytes.size() / 32));
  bool any_pid = false;
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    frame.items.push_back(read_item(r, ends, now));
    any_pid = any_pid || pids_of(frame.items.back()).has_value();
  }
  if (ends && !any_pid) r.reject("ends", "given, though no item has a pid");
  return r.finish(std::move(frame));
}

}  // namespace liminal::wire
