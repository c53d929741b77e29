#include "broker/broker_core.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"

namespace liminal::broker {
namespace {

constexpr Duration kStrangerReplyPeriod = std::chrono::seconds{1};
constexpr std::size_t kStrangersMax = 1024;

// The version that a frame of another version begins with, in words; its array may be small, its
// version any unsigned byte.
std::string version_spoken(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  constexpr unsigned char kUint8 = 0xcc;
  if (bytes.size() >= 2 && byte(1) < 0x80) return "version " + std::to_string(byte(1));
  if (bytes.size() >= 3 && byte(1) == kUint8) return "version " + std::to_string(byte(2));
  return "another version";
}

}  // namespace

std::string_view name_of(BadFrameReason reason) {
  switch (reason) {
    case BadFrameReason::kMalformed:
      return "malformed";
    case BadFrameReason::kVersion:
      return "unsupported version";
    case BadFrameReason::kOversized:
      return "oversized";
    case BadFrameReason::kOutOfPlace:
      return "out of place";
    case BadFrameReason::kBadEcho:
      return "echo of a beat never sent";
  }
  return "";
}

std::string_view name_of(DropCause cause) {
  switch (cause) {
    case DropCause::kUnknownSender:
      return "unknown sender";
    case DropCause::kReplacedConnection:
      return "replaced connection";
    case DropCause::kDestinationGone:
      return "destination gone";
    case DropCause::kDestinationDetached:
      return "destination detached";
  }
  return "";
}

BrokerCore::BrokerCore(Settings settings, Random random, TimePoint now)
    : settings_(settings),
      token_source_(random),
      epoch_(token_source_.next()),
      started_(now),
      now_(now),
      detector_({.beat_interval = settings.cluster.beat_interval,
                 .suspect_after = settings.cluster.suspect_after,
                 .down_after = settings.cluster.down_after,
                 .reconnect_grace = settings.cluster.reconnect_grace}),
      recovery_(settings.cluster.recovery,
                {.expected_max = settings.expected_max,
                 .reports_max = settings.reports_max,
                 .reporters_max = settings.expected_max,
                 .names_max = settings.ended_incarnations_max},
                now),
      ended_(settings.ended_incarnations_max),
      history_({.entries_max = settings.history_max,
                .bytes_max = settings.history_bytes_max,
                .kept = settings.history_kept}),
      strangers_(kStrangerReplyPeriod, kStrangersMax),
      timelines_({.records_max = settings.cluster.timeline_records_max,
                  .conversations_max = settings.timelines_max,
                  .bytes_max = settings.timeline_bytes_max},
                 now) {}

Effects BrokerCore::on_control(ConnectionId connection, std::string_view peer_address,
                               std::string_view bytes, TimePoint now, Line line) {
  move_time_to(now);
  if (line == Line::kClosed) gone_ = connection;
  auto frame = wire::decode_control(bytes);
  if (!frame) {
    on_undecodable(connection, bytes, frame.error());
    return take_effects();
  }
  std::visit(
      [&](auto& decoded) {
        using Frame = std::decay_t<decltype(decoded)>;
        constexpr bool is_for_an_answer = std::is_same_v<Frame, control::Attach> ||
                                          std::is_same_v<Frame, control::StatusQuery> ||
                                          std::is_same_v<Frame, control::TimelineQuery> ||
                                          std::is_same_v<Frame, control::ConversationsQuery>;
        if (is_for_an_answer && line == Line::kClosed) {
          ++counters_.ignored_control;
          return;
        }
        if constexpr (std::is_same_v<Frame, control::Join>) {
          if (line == Line::kClosed) return on_late_join(connection, peer_address, decoded);
          on_frame(connection, peer_address, decoded);
        } else if constexpr (std::is_same_v<Frame, control::StatusQuery>) {
          answer(connection, status(now_));
        } else if constexpr (std::is_same_v<Frame, control::TimelineQuery> ||
                             std::is_same_v<Frame, control::ConversationsQuery>) {
          answer(connection, timelines_.page(decoded, now_));
        } else if constexpr (std::is_same_v<Frame, control::CancelQuery>) {
          on_frame(connection, peer_address, decoded);
        } else if constexpr (std::is_same_v<Frame, control::Attach> ||
                             std::is_same_v<Frame, control::NodeBeat> ||
                             std::is_same_v<Frame, control::Records> ||
                             std::is_same_v<Frame, control::CancelAnswer> ||
                             std::is_same_v<Frame, control::Leave>) {
          on_frame(connection, decoded);
        } else {
          bad_frame(connection, BadFrameReason::kOutOfPlace, "only a broker sends such a frame");
        }
      },
      *frame);
  return take_effects();
}

Effects BrokerCore::on_data(ConnectionId connection, std::string_view header,
                            std::size_t frame_bytes, TimePoint now, Line line) {
  move_time_to(now);
  if (line == Line::kClosed) gone_ = connection;
  const Binding* binding = binding_of(connection);
  if (binding == nullptr) {
    drop(DropCause::kUnknownSender);
    answer_unknown(connection);
    return take_effects();
  }
  if (is_past(binding->role)) {
    drop(DropCause::kReplacedConnection);
    return take_effects();
  }
  if (binding->role == Role::kControl) {
    bad_frame(connection, BadFrameReason::kOutOfPlace, "data on a control connection");
    return take_effects();
  }
  if (header.size() > wire::kHeaderBytesMax || frame_bytes > wire::kPartBytesMax) {
    bad_frame(connection, BadFrameReason::kOversized,
              "a header of " + std::to_string(header.size()) + " and a frame of " +
                  std::to_string(frame_bytes) + " bytes");
    return take_effects();
  }
  const auto route = wire::decode_route_to(header);
  if (!route) {
    on_undecodable(connection, header, route.error());
    return take_effects();
  }

  const Node& sender = node_of(*binding);
  const auto found = nodes_.find(route->node);
  if (!sender.announced) {
    // attached while its control connection is lost: others do not know it yet
    drop(DropCause::kUnknownSender);
  } else if (found == nodes_.end() || !found->second.announced ||
             found->second.member.incarnation != route->incarnation) {
    drop(DropCause::kDestinationGone);
  } else if (!found->second.data) {
    drop(DropCause::kDestinationDetached);
  } else {
    ++counters_.forwarded;
    counters_.forwarded_bytes += frame_bytes;
    effects_.push_back(effect::Forward{
        *found->second.data, wire::encode(RouteFrom{.node = sender.member.name,
                                                    .incarnation = sender.member.incarnation,
                                                    .epoch = epoch_,
                                                    .version = version()})});
  }
  return take_effects();
}

Effects BrokerCore::on_closed(ConnectionId connection, TimePoint now, Others others) {
  move_time_to(now);
  strangers_.forget(connection);
  forget_asker(connection);
  const auto claimant = std::find_if(claims_.begin(), claims_.end(), [&](const auto& entry) {
    return entry.second.connection == connection;
  });
  if (claimant != claims_.end()) (void)unpark(NodeName{claimant->first});

  const Binding* binding = binding_of(connection);
  if (binding == nullptr) return take_effects();
  Node& node = node_of(*binding);
  switch (binding->role) {
    case Role::kControl:
      lose_control(node, others);
      break;
    case Role::kData:
      node.data.reset();  // it opens another; its sessions send again what gets lost meanwhile
      begin_grace(node);
      break;
    case Role::kReplaced:
    case Role::kLate:
      std::erase(node.replaced, connection);
      break;
  }
  connections_.erase(connection);
  return take_effects();
}

Effects BrokerCore::on_given_up(ConnectionId connection, TimePoint now) {
  const Binding* binding = binding_of(connection);
  if (binding == nullptr || binding->role != Role::kControl) return on_closed(connection, now);
  move_time_to(now);
  give_up_control(node_of(*binding));
  return take_effects();
}

Effects BrokerCore::on_read_out(ConnectionId connection, TimePoint now) {
  move_time_to(now);
  const Binding* binding = binding_of(connection);
  if (binding != nullptr && binding->role == Role::kData) begin_grace(node_of(*binding));
  return take_effects();
}

void BrokerCore::lose_control(Node& node, Others others) {
  node.control.reset();
  effects_.push_back(effect::ControlLost{node.member.name, node.member.incarnation});
  node.closing_waits = now_;
  // a closing of a moment in which we were late has the longer grace, which must begin now
  if (others == Others::kUnread && node.data && late_at_ != now_) {
    node.closing_waits = now_ + settings_.cluster.suspect_after;
    effects_.push_back(effect::Watch{*node.data});
  } else {
    begin_grace(node);
  }
}

void BrokerCore::begin_grace(Node& node) {
  if (!std::exchange(node.closing_waits, std::nullopt)) return;
  detector_.connection_closed(node.member.incarnation, now_);
}

void BrokerCore::begin_overdue_graces() {
  for (auto& [name, node] : nodes_) {
    if (node.closing_waits && now_ >= *node.closing_waits) begin_grace(node);
  }
}

/// It takes nothing more, but what it sent before may be a leave. REQUIRES: it has one.
void BrokerCore::give_up_control(Node& node) {
  const ConnectionId connection = *node.control;
  forget_asker(connection);
  lose_control(node, Others::kRead);
  detector_.closing_was_ours(node.member.incarnation);
  replace(node, connection, Role::kLate);
}

Effects BrokerCore::on_withheld(ConnectionId connection, TimePoint now) {
  move_time_to(now);
  if (strangers_.may_reply(connection, now_)) {
    ++counters_.refusals;
    refuse(connection, control::RefusalCode::kLimit,
           "too many of the broker's answers wait to be read; ask again when they are");
  } else {
    ++counters_.replies_withheld;
  }
  return take_effects();
}

void BrokerCore::observer_late(Duration lag, TimePoint now) {
  move_time_to(now);
  late_at_ = now_;
  detector_.observer_late(lag, now_);
  recovery_.extend(lag);
  for (auto& [name, node] : nodes_) {  // it could not be heard meanwhile
    node.attach_by += lag;
    node.attach_limit += lag;
  }
}

Effects BrokerCore::advance(TimePoint now) {
  move_time_to(now);
  std::vector<control::Change> changes;
  begin_overdue_graces();
  const Doubt doubt = detector_.doubt();
  detector_.set_outsider(!claims_.empty());  // it waits for a verdict, and others may hear of it
  for (const LivenessChange& change : detector_.advance(now_)) apply(change, changes);
  if (detector_.doubt() != doubt) tell_doubt();
  if (doubt == Doubt::kAll && detector_.doubt() != Doubt::kAll) recovery_.start_anew(now_);
  announce(changes);
  end_recovery();
  abandon_late_joins();
  settle_claims();
  send_beats();
  strangers_.expire(now_);
  history_.expire(now_);
  return take_effects();
}

Effects BrokerCore::beat(TimePoint now) {
  move_time_to(now);
  send_beats();
  return take_effects();
}

void BrokerCore::tell_doubt() {
  const auto suspects = std::count_if(nodes_.begin(), nodes_.end(), [](const auto& entry) {
    return entry.second.member.state == MemberState::kSuspect;
  });
  effects_.push_back(
      effect::DoubtsItself{detector_.doubt(), static_cast<std::size_t>(suspects), nodes_.size()});
}

std::optional<TimePoint> BrokerCore::next_deadline() const {
  std::optional<TimePoint> next = detector_.next_deadline();
  const auto consider = [&next](std::optional<TimePoint> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  consider(next_beat_);
  // later, while all are silent: when one is heard
  if (detector_.doubt() != Doubt::kAll) consider(recovery_.ends());
  for (const auto& [name, node] : nodes_) {
    if (!node.announced) consider(node.attach_by);
    consider(node.closing_waits);
  }
  return next;
}

// ---- status ----

std::vector<Member> BrokerCore::members() const {
  std::vector<Member> members;
  for (const auto& [name, node] : nodes_) {
    if (node.announced) members.push_back(node.member);
  }
  return members;
}

control::StatusReply BrokerCore::status(TimePoint now) const {
  control::StatusReply reply{
      .epoch = epoch_, .uptime = std::max(now, now_) - started_, .nodes = {}};
  for (const auto& [name, node] : nodes_) {
    if (!node.announced || node.member.light) continue;
    reply.nodes.push_back({.member = node.member,
                           .participants = node.participants,
                           .conversations = node.conversations,
                           .evidence = std::nullopt});
  }
  for (const auto& [name, entry] : history_.entries()) {
    if (now - entry.ended < settings_.history_kept) reply.nodes.push_back(entry.status);
  }
  std::sort(reply.nodes.begin(), reply.nodes.end(),
            [](const auto& a, const auto& b) { return a.member.name < b.member.name; });
  return reply;
}

// ---- helpers ----

void BrokerCore::on_undecodable(ConnectionId connection, std::string_view bytes,
                                const Error& error) {
  const bool is_version = error.code == Errc::kUnsupportedVersion;
  bad_frame(connection, is_version ? BadFrameReason::kVersion : BadFrameReason::kMalformed,
            error.detail);
  if (binding_of(connection) != nullptr || connection == gone_) return;
  if (!strangers_.may_reply(connection, now_)) {
    ++counters_.replies_withheld;
    return;
  }
  ++counters_.refusals;
  if (is_version) {
    refuse(connection, control::RefusalCode::kVersion,
           "this broker speaks version " + std::to_string(wire::kProtocolVersion) +
               " of the protocol, the peer " + version_spoken(bytes));
  } else {
    refuse(connection, control::RefusalCode::kMalformed, error.detail);
  }
}

const BrokerCore::Binding* BrokerCore::binding_of(ConnectionId connection) const {
  const auto found = connections_.find(connection);
  return found == connections_.end() ? nullptr : &found->second;
}

void BrokerCore::send(ConnectionId connection, const ControlFrame& frame) {
  if (connection == gone_) return;
  effects_.push_back(effect::Send{connection, wire::encode(frame)});
}

void BrokerCore::answer(ConnectionId connection, const ControlFrame& frame) {
  if (connection == gone_) return;
  effects_.push_back(effect::Send{connection, wire::encode(frame), true});
}

void BrokerCore::refuse(ConnectionId connection, control::RefusalCode code, std::string text) {
  send(connection, control::Refused{code, std::move(text)});
}

void BrokerCore::refuse_join(ConnectionId connection, const control::Join& join,
                             control::RefusalCode code, std::string text) {
  ++counters_.refusals;
  effects_.push_back(effect::JoinRefused{join.name, join.incarnation, text});
  refuse(connection, code, std::move(text));
}

void BrokerCore::answer_unknown(ConnectionId connection) {
  if (connection == gone_) return;
  if (!strangers_.may_reply(connection, now_)) {
    ++counters_.replies_withheld;
    return;
  }
  fence(connection);
}

void BrokerCore::fence(ConnectionId connection) {
  ++counters_.unknown_replies;
  send(connection, control::Unknown{epoch_});
}

void BrokerCore::bad_frame(ConnectionId connection, BadFrameReason reason, std::string detail) {
  ++counters_.rejected[static_cast<std::size_t>(reason)];
  effects_.push_back(effect::BadFrame{connection, reason, std::move(detail)});
}

void BrokerCore::drop(DropCause cause) { ++counters_.dropped[static_cast<std::size_t>(cause)]; }

void BrokerCore::move_time_to(TimePoint now) { now_ = std::max(now_, now); }

Effects BrokerCore::take_effects() {
  gone_.reset();
  return std::exchange(effects_, {});
}

}  // namespace liminal::broker
