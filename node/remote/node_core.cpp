#include "node/remote/node_core.hpp"

#include <algorithm>

#include "common/base/check.hpp"
#include "common/base/text.hpp"
#include "common/wire/codec.hpp"

namespace liminal {
namespace {

using namespace node_effect;

// Reasons of incarnations that went, kept to be told to those who ask after them later.
constexpr std::size_t kLostRemembered = 256;

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

bool lives(MemberState state) {
  return state == MemberState::kJoined || state == MemberState::kSuspect;
}

void set_from(Signal& signal, Pid pid) {
  std::visit([&](auto& s) { s.from = std::move(pid); }, signal);
}

void set_to(Signal& signal, Pid pid) {
  std::visit([&](auto& s) { s.to = std::move(pid); }, signal);
}

// The signal that an item carries; nullptr for parts of transfers.
const Signal* signal_of(const Item& item) { return std::get_if<Signal>(&item); }

}  // namespace

NodeCore::NodeCore(Settings settings, Random random)
    : settings_(std::move(settings)), random_(random), incarnation_(random_.next_id()) {}

bool NodeCore::stands_on_control() const {
  return phase_ == Phase::kAttaching || phase_ == Phase::kJoined || phase_ == Phase::kLeaving;
}

Pid NodeCore::outside(Pid pid) const {
  if (pid.is_local()) pid.incarnation = incarnation_;
  return pid;
}

// --- joining ---

NodeCore::Effects NodeCore::start(TimePoint) {
  Effects effects;
  publish(effects);
  effects.push_back(OpenControl{});
  return effects;
}

NodeCore::Effects NodeCore::on_control_connected(TimePoint) {
  Effects effects;
  if (phase_ == Phase::kConnecting) join(effects);
  return effects;
}

void NodeCore::join(Effects& effects) {
  phase_ = Phase::kJoining;
  effects.push_back(SendControl{wire::encode(ControlFrame{control::Join{
      settings_.name, incarnation_, settings_.light, settings_.services, settings_.labels}})});
}

NodeCore::Effects NodeCore::on_control_closed(TimePoint now) {
  Effects effects;
  if (phase_ == Phase::kEnded) return effects;
  const bool was_joined = phase_ == Phase::kJoined;
  beat_due_.reset();
  turn_asked_ = false;
  if (phase_ == Phase::kLeaving) {  // there is nobody left to take leave of
    phase_ = Phase::kEnded;
    effects.push_back(Left{});
    return effects;
  }
  phase_ = Phase::kConnecting;
  if (was_joined) {
    publish(effects);
    effects.push_back(Interrupted{});
  }
  effects.push_back(OpenControl{});
  if (leave_wanted_) {
    auto more = leave(now);
    std::move(more.begin(), more.end(), std::back_inserter(effects));
  }
  return effects;
}

NodeCore::Effects NodeCore::on_data_connected(TimePoint) {
  Effects effects;
  if (!stands_on_control() || attached_) return effects;
  effects.push_back(SendOnData{wire::encode(ControlFrame{control::Attach{token_}})});
  return effects;
}

NodeCore::Effects NodeCore::on_data_closed(TimePoint) {
  Effects effects;
  attached_ = false;
  if (phase_ == Phase::kJoined) {
    phase_ = Phase::kAttaching;
    publish(effects);
    effects.push_back(Interrupted{});
  }
  if (stands_on_control()) effects.push_back(OpenData{});
  return effects;
}

NodeCore::Effects NodeCore::on_control(std::string_view bytes, TimePoint now) {
  Effects effects;
  auto frame = wire::decode_control(bytes);
  if (!frame) {
    ++counters_.malformed_frames;
    return effects;
  }
  if (phase_ == Phase::kEnded) return effects;
  std::visit(Overloaded{
                 [&](control::Welcome& welcome) {
                   if (phase_ == Phase::kJoining) welcomed(std::move(welcome), now, effects);
                 },
                 [&](control::Refused& refused) {
                   if (phase_ != Phase::kJoining) return;
                   phase_ = Phase::kEnded;
                   members_.clear();
                   publish(effects);
                   lose_all_peers(effects);
                   effects.push_back(node_effect::Refused{refused.code, std::move(refused.text)});
                 },
                 [&](control::BrokerBeat& beat) {
                   if (stands_on_control()) broker_beat_ = std::max(broker_beat_, beat.number);
                 },
                 [&](control::Changes& changes) {
                   if (stands_on_control()) changed(std::move(changes), effects);
                 },
                 [&](control::Unknown&) {
                   if (phase_ == Phase::kConnecting) return;
                   fence("the broker had declared this incarnation down", now, effects);
                   // A new connection: on this one more answers to the old one's frames may come.
                   effects.push_back(OpenControl{});
                 },
                 [&](auto&) { ++counters_.foreign_frames; },
             },
             *frame);
  return effects;
}

NodeCore::Effects NodeCore::on_data_control(std::string_view bytes, TimePoint now) {
  Effects effects;
  auto frame = wire::decode_control(bytes);
  if (!frame) {
    ++counters_.malformed_frames;
  } else if (std::holds_alternative<control::Attached>(*frame) && stands_on_control()) {
    attached(now, effects);
  } else if (!std::holds_alternative<control::Unknown>(*frame)) {
    ++counters_.foreign_frames;  // Unknown: the control connection will say the same
  }
  return effects;
}

void NodeCore::welcomed(control::Welcome welcome, TimePoint now, Effects& effects) {
  if (epoch_ && *epoch_ != welcome.epoch) {
    effects.push_back(SendControl{wire::encode(ControlFrame{control::Leave{}})});
    epoch_.reset();
    fence("the broker is another one than before", now, effects);
    join(effects);  // behind the Leave, so that the name is free
    return;
  }
  phase_ = Phase::kAttaching;
  epoch_ = welcome.epoch;
  version_ = welcome.version;
  token_ = welcome.token;
  cluster_ = welcome.settings;
  settings_.session.payload_bytes_max = welcome.settings.payload_bytes_max;
  members_.clear();
  for (auto& member : welcome.members) {
    if (lives(member.state)) members_.insert_or_assign(member.incarnation, std::move(member));
  }
  beat_due_ = now;
  drop_unlisted_peers(effects);
  if (attached_) {  // only the control connection had been lost
    attached(now, effects);
  } else {
    publish(effects);
    effects.push_back(OpenData{});
  }
}

void NodeCore::attached(TimePoint now, Effects& effects) {
  if (!attached_) {
    attached_ = true;
    for (auto& [incarnation, peer] : peers_) {
      peer.session.reconnected();
      dirty_.insert(incarnation);
    }
  }
  if (phase_ != Phase::kAttaching) return;
  phase_ = Phase::kJoined;
  publish(effects);
  effects.push_back(Joined{*epoch_, incarnation_});
  if (leave_wanted_) {
    auto more = leave(now);
    std::move(more.begin(), more.end(), std::back_inserter(effects));
  }
}

void NodeCore::fence(std::string why, TimePoint, Effects& effects) {
  const Incarnation old = incarnation_;
  incarnation_ = Incarnation{random_.next_id()};
  members_.clear();
  attached_ = false;
  beat_due_.reset();
  turn_asked_ = false;
  beat_number_ = 0;
  broker_beat_ = 0;
  phase_ = Phase::kConnecting;
  publish(effects);
  lose_all_peers(effects);
  effects.push_back(Fenced{old, incarnation_, std::move(why)});
  effects.push_back(CloseData{});
}

// --- membership ---

void NodeCore::publish(Effects& effects) const {
  Directory::Snapshot snapshot;
  snapshot.connected = phase_ == Phase::kJoined;
  snapshot.payload_bytes_max =
      cluster_ ? cluster_->payload_bytes_max : settings_.session.payload_bytes_max;
  snapshot.members.push_back({settings_.name, local_incarnation(), MemberState::kJoined,
                              settings_.light, settings_.services, settings_.labels});
  for (const auto& [incarnation, member] : members_) snapshot.members.push_back(member);
  std::sort(snapshot.members.begin(), snapshot.members.end(),
            [](const Member& a, const Member& b) { return a.name < b.name; });
  effects.push_back(Publish{std::move(snapshot)});
}

void NodeCore::changed(control::Changes changes, Effects& effects) {
  if (changes.version.value() <= version_.value()) return;  // of before our welcome
  if (changes.version.value() != version_.value() + 1) {
    // A broker never skips one on a connection that stands: ask for the whole list again.
    ++counters_.malformed_frames;
    phase_ = Phase::kConnecting;
    beat_due_.reset();
    effects.push_back(OpenControl{});
    return;
  }
  version_ = changes.version;
  std::vector<std::pair<Incarnation, std::optional<Evidence>>> gone;
  for (auto& [member, evidence] : changes.changes) {
    if (lives(member.state)) {
      members_.insert_or_assign(member.incarnation, member);
    } else {
      members_.erase(member.incarnation);
      gone.emplace_back(member.incarnation, evidence);
    }
  }
  publish(effects);  // before the exits: whoever reacts to them must not choose the dead
  for (const auto& [incarnation, evidence] : gone) peer_lost(incarnation, evidence, effects);
  drop_unlisted_peers(effects);
}

void NodeCore::drop_unlisted_peers(Effects& effects) {
  std::vector<Incarnation> unlisted;
  for (const auto& [incarnation, peer] : peers_) {
    if (!members_.contains(incarnation) && peer.seen_at <= version_) {
      unlisted.push_back(incarnation);
    }
  }
  for (const Incarnation incarnation : unlisted) peer_lost(incarnation, std::nullopt, effects);
}

void NodeCore::peer_lost(Incarnation incarnation, std::optional<Evidence> evidence,
                         Effects& effects) {
  if (evidence && lost_.insert_or_assign(incarnation, *evidence).second) {
    lost_order_.push_back(incarnation);
    if (lost_order_.size() > kLostRemembered) {
      lost_.erase(lost_order_.front());
      lost_order_.pop_front();
    }
  }
  const auto found = peers_.find(incarnation);
  if (found == peers_.end()) return;
  Peer peer = std::move(found->second);
  peers_.erase(found);
  dirty_.erase(incarnation);
  const auto pid_of = [&](Serial serial) { return Pid{peer.name, incarnation, serial}; };
  for (auto& signal :
       peer.ties.break_all(settings_.name, ExitReason::noconnection(evidence), pid_of)) {
    effects.push_back(Deliver{std::move(signal)});
  }
}

void NodeCore::lose_all_peers(Effects& effects) {
  while (!peers_.empty()) {
    peer_lost(
        peers_.begin()->first,
        Evidence{EvidenceSource::kIsolated, Duration::zero(), Duration::zero(), Duration::zero()},
        effects);
  }
}

// --- signals out ---

NodeCore::Peer& NodeCore::open_peer(Incarnation incarnation, const NodeName& name,
                                    MembershipVersion seen_at) {
  return peers_
      .try_emplace(incarnation,
                   Peer{name, Session{SessionNumber{1}, settings_.session}, RemoteTies{}, seen_at})
      .first->second;
}

NodeCore::Peer* NodeCore::peer_for(const Pid& to) {
  if (const auto known = peers_.find(to.incarnation); known != peers_.end()) {
    return known->second.name == to.node ? &known->second : nullptr;
  }
  const auto member = members_.find(to.incarnation);
  if (member == members_.end() || member->second.name != to.node) return nullptr;
  return &open_peer(to.incarnation, to.node, version_);
}

NodeCore::Effects NodeCore::on_signal(Signal signal, TimePoint) {
  check(!to_of(signal).is_local(), "a signal to a local process stays in the scheduler");
  Effects effects;
  const Pid to = to_of(signal);
  if (to.incarnation == incarnation_ && to.node == settings_.name) {
    // Our own pid came back to us; its answers come this way too.
    set_to(signal, Pid{to.node, local_incarnation(), to.serial});
    set_from(signal, outside(from_of(signal)));
    effects.push_back(Deliver{std::move(signal)});
    return effects;
  }
  if (const auto* send = std::get_if<signal::Send>(&signal);
      send && (!wire::fits(send->envelope) ||
               send->envelope.payload.size() > settings_.session.payload_bytes_max)) {
    ++counters_.oversized;
    return effects;
  }
  Peer* peer = peer_for(to);
  if (peer == nullptr) {
    answer_unreachable(signal, effects);
    return effects;
  }
  peer->ties.note_outgoing(signal);
  set_from(signal, outside(from_of(signal)));
  peer->session.send(std::move(signal));
  dirty_.insert(to.incarnation);
  return effects;
}

void NodeCore::answer_unreachable(const Signal& signal, Effects& effects) {
  const auto& from = from_of(signal);
  const auto& to = to_of(signal);
  const auto lost = lost_.find(to.incarnation);
  const auto reason = ExitReason::noconnection(
      lost == lost_.end() ? std::nullopt : std::optional<Evidence>{lost->second});
  if (const auto* link = std::get_if<signal::Link>(&signal)) {
    effects.push_back(Deliver{signal::Exit{to, from, reason, link->link}});
  } else if (const auto* monitor = std::get_if<signal::Monitor>(&signal)) {
    effects.push_back(Deliver{signal::Down{to, from, monitor->monitor, reason}});
  } else if (const auto* request = std::get_if<signal::SpawnRequest>(&signal)) {
    effects.push_back(Deliver{
        signal::SpawnReply{to, from, request->spawn, std::nullopt,
                           Error{Errc::kPeerUnreachable,
                                 "node '" + to.node.value() + "' is gone: " + to_string(reason)}}});
  } else if (const auto* reply = std::get_if<signal::SpawnReply>(&signal); reply && reply->link) {
    // The requester's node went while the instance was made: the instance ends as if linked before.
    effects.push_back(Deliver{signal::Exit{to, from, reason, reply->link}});
  } else if (std::holds_alternative<signal::Send>(signal)) {
    ++counters_.undeliverable;
  }
}

// --- frames in ---

bool NodeCore::addressed_rightly(const SessionFrame& frame, const RouteFrom& route) const {
  const auto right = [&](const Pid& from, const Pid& to) {
    return from.node == route.node && from.incarnation == route.incarnation &&
           to.node == settings_.name && to.incarnation == incarnation_;
  };
  return std::all_of(frame.items.begin(), frame.items.end(), [&](const Item& item) {
    if (const Signal* signal = signal_of(item)) return right(from_of(*signal), to_of(*signal));
    if (const auto* begin = std::get_if<item::Begin>(&item)) {
      return right(begin->send.from, begin->send.to);
    }
    return true;
  });
}

NodeCore::Effects NodeCore::on_frame(std::string_view header, std::string_view bytes,
                                     TimePoint now) {
  Effects effects;
  const auto route = wire::decode_route_from(header);
  if (!route) {
    ++counters_.malformed_frames;
    return effects;
  }
  const bool listed = members_.contains(route->incarnation);
  if (!stands_on_control() || route->epoch != *epoch_ ||
      (!listed && route->version <= version_)) {  // fenced, if our list is not behind
    ++counters_.foreign_frames;
    return effects;
  }
  auto frame = wire::decode_session_frame(bytes, now);
  if (!frame) {
    ++counters_.malformed_frames;
    return effects;
  }
  if (!addressed_rightly(*frame, *route)) {
    ++counters_.foreign_frames;
    return effects;
  }
  Peer& peer = open_peer(route->incarnation, route->node, route->version);
  auto received = peer.session.receive(std::move(*frame), now);
  dirty_.insert(route->incarnation);
  if (!received) {
    ++counters_.session_violations;
    return effects;
  }
  for (auto& signal : received->signals) {
    set_to(signal, Pid{settings_.name, local_incarnation(), to_of(signal).serial});
    peer.ties.note_incoming(signal);
    peer.session.returned(signal);
    if (const auto* request = std::get_if<signal::SpawnRequest>(&signal);
        request != nullptr && leave_wanted_) {
      peer.session.send(signal::SpawnReply{{settings_.name, incarnation_, Serial{0}},
                                           request->from,
                                           request->spawn,
                                           std::nullopt,
                                           Error{Errc::kPeerUnreachable, "the node is leaving"}});
      continue;
    }
    effects.push_back(Deliver{std::move(signal)});
  }
  return effects;
}

// --- time ---

NodeCore::Effects NodeCore::on_turn(std::uint32_t participants, std::uint32_t conversations,
                                    TimePoint now) {
  Effects effects;
  if (!turn_asked_) return effects;
  turn_asked_ = false;
  if (!stands_on_control()) return effects;
  beat_due_ = now + cluster_->beat_interval;
  effects.push_back(SendControl{wire::encode(
      ControlFrame{control::NodeBeat{++beat_number_, broker_beat_, participants, conversations}})});
  return effects;
}

NodeCore::Effects NodeCore::leave(TimePoint now) {
  Effects effects;
  if (phase_ == Phase::kEnded || phase_ == Phase::kLeaving) return effects;
  const bool first = !leave_deadline_;
  leave_wanted_ = true;
  if (first) leave_deadline_ = now + settings_.leave_bound;
  if (first) {
    for (const auto& [incarnation, peer] : peers_) {
      for (const Serial serial : peer.ties.owned()) {
        effects.push_back(Deliver{signal::Exit{{settings_.name, incarnation_, Serial{0}},
                                               {settings_.name, local_incarnation(), serial},
                                               ExitReason::shutdown(),
                                               std::nullopt}});
      }
    }
  }
  if (phase_ == Phase::kJoined) phase_ = Phase::kLeaving;
  leave_when_settled(now, effects);
  return effects;
}

void NodeCore::leave_when_settled(TimePoint now, Effects& effects) {
  if (!leave_wanted_ || phase_ == Phase::kEnded) return;
  const bool late = now >= *leave_deadline_;
  const auto is_settled = [](const auto& entry) {
    return entry.second.session.settled() && entry.second.ties.owned().empty();
  };
  // Without a connection nothing more will be acknowledged, but there may be one again in time.
  const bool settled = peers_.empty() || (phase_ == Phase::kLeaving &&
                                          std::all_of(peers_.begin(), peers_.end(), is_settled));
  if (!late && !settled) return;
  if (stands_on_control()) {
    effects.push_back(SendControl{wire::encode(ControlFrame{control::Leave{}})});
  }
  phase_ = Phase::kEnded;
  effects.push_back(Left{});
}

NodeCore::Effects NodeCore::advance(TimePoint now) {
  Effects effects;
  if (phase_ == Phase::kEnded) return effects;
  if (beat_due_ && now >= *beat_due_ && !turn_asked_) {
    turn_asked_ = true;
    effects.push_back(CertifyTurn{});
  }
  for (auto& [incarnation, peer] : peers_) {
    const auto due = peer.session.next_deadline();
    if (due && *due <= now) dirty_.insert(incarnation);
  }
  leave_when_settled(now, effects);
  return effects;
}

NodeCore::Effects NodeCore::flush(TimePoint now) {
  Effects effects;
  if (!attached_ || !stands_on_control()) return effects;
  for (const Incarnation incarnation : std::exchange(dirty_, {})) {
    const auto found = peers_.find(incarnation);
    if (found == peers_.end()) continue;
    auto& [name, session, ties, seen_at] = found->second;
    const std::string header = wire::encode(RouteTo{name, incarnation});
    for (const auto& frame : session.collect(now, settings_.frames_per_flush_max)) {
      effects.push_back(SendFrame{header, wire::encode(frame, now)});
    }
  }
  return effects;
}

std::optional<TimePoint> NodeCore::next_deadline() const {
  std::optional<TimePoint> next;
  const auto consider = [&](std::optional<TimePoint> due) {
    if (due && (!next || *due < *next)) next = due;
  };
  if (phase_ == Phase::kEnded) return next;
  if (!turn_asked_) consider(beat_due_);
  consider(leave_deadline_);
  if (attached_ && stands_on_control()) {
    for (const auto& [incarnation, peer] : peers_) consider(peer.session.next_deadline());
  }
  return next;
}

std::size_t NodeCore::ties() const {
  std::size_t total = 0;
  for (const auto& [incarnation, peer] : peers_) total += peer.ties.size();
  return total;
}

}  // namespace liminal
