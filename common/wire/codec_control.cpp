#include <algorithm>
#include <utility>

#include "common/wire/codec.hpp"
#include "common/wire/codec_timeline.hpp"
#include "common/wire/parts.hpp"

namespace liminal::wire {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

// --- writing ---

void write(Writer& w, const std::vector<ServiceName>& services) {
  check(services.size() <= kServicesMax, "a node offers at most kServicesMax services");
  w.array(services.size());
  for (const ServiceName& service : services) w.id(service);
}

void write(Writer& w, const Labels& labels) {
  check(labels.size() <= kLabelsMax, "a node has at most kLabelsMax labels");
  w.array(labels.size());
  for (const auto& [key, value] : labels) w.array(2).name(key).text(value);
}

// Without an array around them.
constexpr std::size_t kMemberValues = 7;
void write(Writer& w, const Member& member) {
  w.id(member.name).id(member.incarnation).enumerator(member.state).boolean(member.light);
  write(w, member.services);
  write(w, member.labels);
  w.duration(member.isolation_timeout);
}

constexpr std::size_t kPeerValues = 4;
void write(Writer& w, const control::Peer& peer) {
  w.id(peer.name).id(peer.incarnation).boolean(peer.light).duration(peer.isolation_timeout);
}

std::size_t bytes_of(const Member& member) {
  std::size_t bytes = 128;
  for (const ServiceName& service : member.services) bytes += service.value().size() + 2;
  for (const auto& [key, value] : member.labels) bytes += key.size() + value.size() + 6;
  return bytes;
}

std::string encode_frame(const control::Join& join) {
  check(join.peers.size() <= kPeersMax && join.verdicts.size() <= kPeersMax,
        "a join reports at most kPeersMax peers and verdicts");
  constexpr std::size_t kBytesOfPeer = 96;
  Writer w = begin_frame(FrameKind::kJoin, 11,
                         512 + kBytesOfPeer * (join.peers.size() + join.verdicts.size()));
  w.id(join.name).id(join.incarnation).boolean(join.light);
  write(w, join.services);
  write(w, join.labels);
  w.duration(join.isolation_timeout).optional_id(join.epoch).uint(join.secret).uint(join.number);
  w.array(join.peers.size());
  for (const control::Peer& peer : join.peers) {
    w.array(kPeerValues);
    write(w, peer);
  }
  w.array(join.verdicts.size());
  for (const control::Verdict& verdict : join.verdicts) {
    w.array(kPeerValues + 1);
    write(w, verdict.peer);
    wire::write(w, verdict.evidence);
  }
  return w.take();
}

std::string encode_frame(const control::Attach& attach) {
  return begin_frame(FrameKind::kAttach, 2, 32).uint(attach.token).uint(attach.number).take();
}

std::string encode_frame(const control::NodeBeat& beat) {
  return begin_frame(FrameKind::kNodeBeat, 4, 40)
      .uint(beat.number)
      .uint(beat.echo)
      .uint(beat.participants)
      .uint(beat.conversations)
      .take();
}

std::string encode_frame(const control::Leave&) {
  return begin_frame(FrameKind::kLeave, 0, 8).take();
}

std::string encode_frame(const control::StatusQuery&) {
  return begin_frame(FrameKind::kStatusQuery, 0, 8).take();
}

std::string encode_frame(const control::Welcome& welcome) {
  std::size_t bytes = 128;
  for (const Member& member : welcome.members) bytes += bytes_of(member);
  Writer w = begin_frame(FrameKind::kWelcome, 6, bytes);
  w.id(welcome.epoch).id(welcome.version).uint(welcome.token);
  const ClusterSettings& settings = welcome.settings;
  w.array(8)
      .duration(settings.beat_interval)
      .duration(settings.suspect_after)
      .duration(settings.down_after)
      .duration(settings.reconnect_grace)
      .uint(settings.payload_bytes_max)
      .duration(settings.lease_margin)
      .duration(settings.recovery)
      .uint(settings.timeline_records_max);
  w.array(welcome.members.size());
  for (const Member& member : welcome.members) {
    w.array(kMemberValues);
    write(w, member);
  }
  return w.boolean(welcome.recovering).take();
}

std::string encode_frame(const control::Refused& refused) {
  return begin_frame(FrameKind::kRefused, 2, refused.text.size() + 16)
      .enumerator(refused.code)
      .text_cut(refused.text, kTextBytesMax)
      .take();
}

std::string encode_frame(const control::Attached&) {
  return begin_frame(FrameKind::kAttached, 0, 8).take();
}

std::string encode_frame(const control::BrokerBeat& beat) {
  return begin_frame(FrameKind::kBrokerBeat, 2, 24).uint(beat.number).uint(beat.echo).take();
}

std::string encode_frame(const control::Changes& changes) {
  std::size_t bytes = 32;
  for (const control::Change& change : changes.changes) bytes += bytes_of(change.member) + 32;
  Writer w = begin_frame(FrameKind::kChanges, 3, bytes);
  w.id(changes.version).array(changes.changes.size());
  for (const control::Change& change : changes.changes) {
    w.array(kMemberValues + 1);
    write(w, change.member);
    wire::write(w, change.evidence);
  }
  return w.boolean(changes.recovering).take();
}

std::string encode_frame(const control::Unknown& unknown) {
  return begin_frame(FrameKind::kUnknown, 1, 16).id(unknown.epoch).take();
}

std::string encode_frame(const control::StatusReply& reply) {
  std::size_t bytes = 64;
  for (const control::NodeStatus& node : reply.nodes) bytes += bytes_of(node.member) + 64;
  Writer w = begin_frame(FrameKind::kStatusReply, 3, bytes);
  w.id(reply.epoch).duration(reply.uptime).array(reply.nodes.size());
  for (const control::NodeStatus& node : reply.nodes) {
    w.array(kMemberValues + 3);
    write(w, node.member);
    w.uint(node.participants).uint(node.conversations);
    wire::write(w, node.evidence);
  }
  return w.take();
}

// --- reading ---

// Sorted, as Member promises, whatever the order on the wire.
std::vector<ServiceName> read_services(Reader& r) {
  std::vector<ServiceName> services;
  const std::size_t size = r.array("services", kServicesMax);
  for (std::size_t i = 0; i < size && r.ok(); ++i) services.emplace_back(r.name("service"));
  std::sort(services.begin(), services.end());
  if (std::adjacent_find(services.begin(), services.end()) != services.end()) {
    r.reject("services", "one twice");
  }
  return services;
}

Labels read_labels(Reader& r) {
  Labels labels;
  const std::size_t size = r.array("labels", kLabelsMax);
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(2, "label");
    std::string key = r.name("label key");
    labels.emplace_back(std::move(key), r.text("label value"));
  }
  std::sort(labels.begin(), labels.end());
  const auto same_key = [](const auto& a, const auto& b) { return a.first == b.first; };
  if (std::adjacent_find(labels.begin(), labels.end(), same_key) != labels.end()) {
    r.reject("labels", "one key twice");
  }
  return labels;
}

Member read_member(Reader& r) {
  return Member{
      .name = NodeName{r.name("name")},
      .incarnation = r.incarnation("incarnation"),
      .state = r.enumerator("state", MemberState::kExpected),
      .light = r.boolean("light"),
      .services = read_services(r),
      .labels = read_labels(r),
      .isolation_timeout = r.duration("isolation timeout"),
  };
}

control::Peer read_peer(Reader& r) {
  return control::Peer{
      .name = NodeName{r.name("name")},
      .incarnation = r.incarnation("incarnation"),
      .light = r.boolean("light"),
      .isolation_timeout = r.duration("isolation timeout"),
  };
}

std::optional<Epoch> read_optional_epoch(Reader& r) {
  if (r.nil()) return std::nullopt;
  return Epoch{r.uint("epoch")};
}

std::vector<control::Peer> read_peers(Reader& r) {
  std::vector<control::Peer> peers;
  const std::size_t size = r.array("peers", kPeersMax);
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(kPeerValues, "peer");
    peers.push_back(read_peer(r));
  }
  return peers;
}

std::vector<control::Verdict> read_verdicts(Reader& r) {
  std::vector<control::Verdict> verdicts;
  const std::size_t size = r.array("verdicts", kPeersMax);
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(kPeerValues + 1, "verdict");
    control::Peer peer = read_peer(r);
    verdicts.push_back({std::move(peer), read_evidence(r)});
  }
  return verdicts;
}

control::Join read_join(Reader& r) {
  r.frame("join", 11);
  control::Join join{
      .name = NodeName{r.name("name")},
      .incarnation = r.incarnation("incarnation"),
      .light = r.boolean("light"),
      .services = read_services(r),
      .labels = read_labels(r),
      .isolation_timeout = r.duration("isolation timeout"),
      .epoch = read_optional_epoch(r),
      .secret = r.uint("secret"),
      .peers = {},
      .verdicts = {},
      .number = r.uint("number"),
  };
  join.peers = read_peers(r);
  join.verdicts = read_verdicts(r);
  return join;
}

control::Attach read_attach(Reader& r) {
  r.frame("attach", 2);
  return control::Attach{.token = r.uint("token"), .number = r.uint("number")};
}

control::NodeBeat read_node_beat(Reader& r) {
  r.frame("node beat", 4);
  return control::NodeBeat{
      .number = r.uint("number"),
      .echo = r.uint("echo"),
      .participants = r.uint32("participants"),
      .conversations = r.uint32("conversations"),
  };
}

control::Leave read_leave(Reader& r) {
  r.frame("leave", 0);
  return {};
}

control::StatusQuery read_status_query(Reader& r) {
  r.frame("status query", 0);
  return {};
}

ClusterSettings read_settings(Reader& r) {
  r.array_of(8, "settings");
  return ClusterSettings{
      .beat_interval = r.duration("beat interval"),
      .suspect_after = r.duration("suspect after"),
      .down_after = r.duration("down after"),
      .reconnect_grace = r.duration("reconnect grace"),
      .payload_bytes_max = r.uint("payload bytes"),
      .lease_margin = r.duration("lease margin"),
      .recovery = r.duration("recovery"),
      .timeline_records_max = r.uint32("timeline records"),
  };
}

control::Welcome read_welcome(Reader& r) {
  r.frame("welcome", 6);
  control::Welcome welcome{
      .epoch = Epoch{r.uint("epoch")},
      .version = MembershipVersion{r.uint("membership version")},
      .token = r.uint("token"),
      .settings = read_settings(r),
      .members = {},
  };
  const std::size_t size = r.array("members");
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(kMemberValues, "member");
    welcome.members.push_back(read_member(r));
  }
  welcome.recovering = r.boolean("recovering");
  return welcome;
}

control::Refused read_refused(Reader& r) {
  r.frame("refused", 2);
  return control::Refused{
      .code = r.enumerator("code", control::RefusalCode::kLimit),
      .text = std::string{r.text("text")},
  };
}

control::Attached read_attached(Reader& r) {
  r.frame("attached", 0);
  return {};
}

control::BrokerBeat read_broker_beat(Reader& r) {
  r.frame("broker beat", 2);
  return control::BrokerBeat{.number = r.uint("number"), .echo = r.uint("echo")};
}

control::Changes read_changes(Reader& r) {
  r.frame("changes", 3);
  control::Changes changes{.version = MembershipVersion{r.uint("membership version")},
                           .changes = {}};
  const std::size_t size = r.array("changes");
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(kMemberValues + 1, "change");
    Member member = read_member(r);
    changes.changes.push_back({std::move(member), read_evidence(r)});
  }
  changes.recovering = r.boolean("recovering");
  return changes;
}

control::Unknown read_unknown(Reader& r) {
  r.frame("unknown", 1);
  return control::Unknown{.epoch = Epoch{r.uint("epoch")}};
}

control::StatusReply read_status_reply(Reader& r) {
  r.frame("status reply", 3);
  control::StatusReply reply{
      .epoch = Epoch{r.uint("epoch")}, .uptime = r.duration("uptime"), .nodes = {}};
  const std::size_t size = r.array("nodes");
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    r.array_of(kMemberValues + 3, "node");
    reply.nodes.push_back(control::NodeStatus{
        .member = read_member(r),
        .participants = r.uint32("participants"),
        .conversations = r.uint32("conversations"),
        .evidence = read_evidence(r),
    });
  }
  return reply;
}

template <class Frame>
Result<ControlFrame> finish(Reader& r, Frame frame) {
  return r.finish<ControlFrame>(std::move(frame));
}

}  // namespace

std::string encode(const ControlFrame& frame) {
  return std::visit([](const auto& kind) { return encode_frame(kind); }, frame);
}

Result<ControlFrame> decode_control(std::string_view bytes) {
  Reader r{bytes, kPartBytesMax, "control frame"};
  switch (static_cast<FrameKind>(r.kind())) {
    case FrameKind::kJoin:
      return finish(r, read_join(r));
    case FrameKind::kAttach:
      return finish(r, read_attach(r));
    case FrameKind::kNodeBeat:
      return finish(r, read_node_beat(r));
    case FrameKind::kLeave:
      return finish(r, read_leave(r));
    case FrameKind::kStatusQuery:
      return finish(r, read_status_query(r));
    case FrameKind::kRecords:
      return finish(r, read_records(r));
    case FrameKind::kCancelAnswer:
      return finish(r, read_cancel_answer(r));
    case FrameKind::kTimelineQuery:
      return finish(r, read_timeline_query(r));
    case FrameKind::kConversationsQuery:
      return finish(r, read_conversations_query(r));
    case FrameKind::kCancelQuery:
      return finish(r, read_cancel_query(r));
    case FrameKind::kWelcome:
      return finish(r, read_welcome(r));
    case FrameKind::kRefused:
      return finish(r, read_refused(r));
    case FrameKind::kAttached:
      return finish(r, read_attached(r));
    case FrameKind::kBrokerBeat:
      return finish(r, read_broker_beat(r));
    case FrameKind::kChanges:
      return finish(r, read_changes(r));
    case FrameKind::kUnknown:
      return finish(r, read_unknown(r));
    case FrameKind::kStatusReply:
      return finish(r, read_status_reply(r));
    case FrameKind::kLoads:
      return finish(r, read_loads(r));
    case FrameKind::kCancelOrder:
      return finish(r, read_cancel_order(r));
    case FrameKind::kTimelineReply:
      return finish(r, read_timeline_reply(r));
    case FrameKind::kConversationsReply:
      return finish(r, read_conversations_reply(r));
    case FrameKind::kCancelReply:
      return finish(r, read_cancel_reply(r));
    case FrameKind::kRouteTo:
    case FrameKind::kRouteFrom:
    case FrameKind::kSession:
      break;
  }
  r.reject("kind", "not a control frame's");
  return finish(r, control::Leave{});  // never that: it was rejected
}

}  // namespace liminal::wire
