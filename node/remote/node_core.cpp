#include "node/remote/node_core.hpp"

#include <algorithm>

#include "common/base/check.hpp"
#include "common/base/fault_point.hpp"
#include "common/base/text.hpp"
#include "common/wire/codec.hpp"

namespace liminal {
namespace {

using namespace node_effect;

void set_from(Signal& signal, Pid pid) {
  std::visit([&](auto& s) { s.from = std::move(pid); }, signal);
}

void set_to(Signal& signal, Pid pid) {
  std::visit([&](auto& s) { s.to = std::move(pid); }, signal);
}

void reject(signal::Send send, std::string why, NodeCore::Effects& effects) {
  effects.push_back(Undeliverable{DeadLetterCause::kRejected, send});
  const MessageId message = send.envelope.id;
  effects.push_back(
      Deliver{signal::Refusal{send.to, send.from, message, signal::RefusalKind::kRejected,
                              std::move(why), std::move(send.envelope)}});
}

// The signal that an item carries; nullptr for parts of transfers.
const Signal* signal_of(const Item& item) { return std::get_if<Signal>(&item); }

}  // namespace

Pid NodeCore::outside(Pid pid) const {
  if (pid.is_local()) pid.incarnation = incarnation_;
  return pid;
}

// --- signals out ---

NodeCore::Peer& NodeCore::open_peer(Incarnation incarnation, const NodeName& name,
                                    MembershipVersion seen_at) {
  // each frame asks: nothing is made for a peer that is there
  const auto at = peers_.lower_bound(incarnation);
  if (at != peers_.end() && at->first == incarnation) return at->second;
  return peers_
      .try_emplace(at, incarnation,
                   Peer{name, Session{SessionNumber{1}, settings_.session}, RemoteTies{}, seen_at})
      ->second;
}

NodeCore::Peer* NodeCore::peer_for(const Pid& to, TimePoint now) {
  if (const auto known = peers_.find(to.incarnation); known != peers_.end()) {
    return known->second.name == to.node ? &known->second : nullptr;
  }
  const auto member = members_.find(to.incarnation);
  if (member == members_.end()) {
    if (!may_yet_appear(to)) return nullptr;
    report_due_ = true;
    if (!epoch_ && peers_.empty()) waits_since_ = now;
    return &open_peer(to.incarnation, to.node, kUnreported);
  }
  if (member->second.name != to.node) return nullptr;
  return &open_peer(to.incarnation, to.node, version_);
}

/// A broker in recovery does not know everybody yet, and this node may be the first to name one.
bool NodeCore::may_yet_appear(const Pid& to) const {
  const bool in_touch =
      phase_ == Phase::kJoining || phase_ == Phase::kAttaching || phase_ == Phase::kJoined;
  return recovering_ && in_touch && to.node != settings_.name &&
         !departed_.contains(to.incarnation) &&
         std::none_of(members_.begin(), members_.end(),
                      [&](const auto& entry) { return entry.second.name == to.node; });
}

NodeCore::Effects NodeCore::on_signal(Signal signal, TimePoint now) {
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
  auto* send = std::get_if<signal::Send>(&signal);
  if (send != nullptr) {
    if (auto why_not = why_not_to_travel(send->envelope)) {
      reject(std::move(*send), *std::move(why_not), effects);
      return effects;
    }
  }
  Peer* peer = peer_for(to, now);
  if (peer == nullptr) {
    answer_unreachable(signal, effects);
    return effects;
  }
  if (send != nullptr && !admit(*peer, *send, effects)) return effects;
  if (const auto* withdraw = std::get_if<signal::Withdraw>(&signal)) {
    const std::pair sender{withdraw->from.serial, withdraw->to.serial};
    // It may be deferred here, there, or first here and then there.
    withdraw->message ? peer->deferrals.withdraw(sender, *withdraw->message)
                      : peer->deferrals.forget(sender);
  }
  peer->ties.note_outgoing(signal);
  set_from(signal, outside(from_of(signal)));
  peer->session.send(std::move(signal));
  dirty_.insert(to.incarnation);
  if (report_due_ && phase_ == Phase::kJoined) join(now, effects);
  return effects;
}

std::optional<std::string> NodeCore::why_not_to_travel(const Envelope& envelope) const {
  if (const auto fits = wire::fits(envelope); !fits) return fits.error().detail;
  const std::size_t payload = envelope.payload.size();
  const std::size_t payload_max = settings_.session.payload_bytes_max;
  if (envelope.reply_at &&
      (envelope.kind != EnvelopeKind::kCompensate || *envelope.reply_at > payload)) {
    return "its payload has no room for a reply where it says one is";
  }
  if (payload <= payload_bytes_max_of(envelope.kind, payload_max)) return std::nullopt;
  return "payload of " + std::to_string(payload) + " bytes exceeds payload-max (" +
         std::to_string(payload_max) + " bytes)";
}

bool NodeCore::admit(Peer& peer, signal::Send& send, Effects& effects) {
  const std::size_t waiting = peer.session.waiting_bytes();
  const std::size_t bytes = wire::credit_bytes(send.envelope);
  const bool has_room = waiting == 0 || waiting + bytes <= settings_.outbox_bytes_max;
  using Verdict = decltype(peer.deferrals)::Verdict;
  switch (peer.deferrals.judge({send.from.serial, send.to.serial}, send.envelope.id, has_room)) {
    case Verdict::kTake:
      return true;
    case Verdict::kDefer: {
      ++counters_.deferred;
      const Pid to = send.to, from = send.from;
      const MessageId message = send.envelope.id;
      effects.push_back(Deliver{signal::Refusal{
          to, from, message, signal::RefusalKind::kDeferred, {}, std::move(send.envelope)}});
      return false;
    }
    case Verdict::kReject:
      reject(std::move(send),
             "too much waits for node " + peer.name.value() + " (outbox-max " +
                 std::to_string(settings_.outbox_bytes_max) + " bytes)",
             effects);
      return false;
  }
  return false;
}

void NodeCore::answer_unreachable(const Signal& signal, Effects& effects) {
  const auto& from = from_of(signal);
  const auto& to = to_of(signal);
  const auto reason = ExitReason::noconnection(departed_.evidence_of(to.incarnation));
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
  } else if (const auto* send = std::get_if<signal::Send>(&signal)) {
    effects.push_back(Undeliverable{DeadLetterCause::kNodeGone, *send});
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
  data_watch_.heard(now);
  const auto route = wire::decode_route_from(header);
  if (!route) {
    ++counters_.malformed_frames;
    return effects;
  }
  const bool listed = members_.contains(route->incarnation);
  // Down or gone, as far as we know; or not listed though our list is not behind.
  const bool fenced =
      departed_.is_down(route->incarnation) ||
      (!listed && (departed_.contains(route->incarnation) || route->version <= version_));
  if (!stands_on_control() || route->epoch != *epoch_ || fenced) {
    ++counters_.foreign_frames;
    return effects;
  }
  if (!listed && bears_a_held_name(*route)) return effects;  // after the end of the one before it
  auto frame = wire::decode_session_frame(bytes, now);
  if (!frame) {
    ++counters_.malformed_frames;
    violated(route->incarnation, effects);
    return effects;
  }
  if (!addressed_rightly(*frame, *route)) {
    ++counters_.foreign_frames;
    violated(route->incarnation, effects);
    return effects;
  }
  Peer& peer = open_peer(route->incarnation, route->node, route->version);
  dirty_.insert(route->incarnation);
  if (frame->session < peer.session.number()) return effects;  // of before a reset
  if (frame->session > peer.session.number()) {
    reset_session(route->incarnation, frame->session, effects);
  }
  auto received = peer.session.receive(std::move(*frame), now);
  if (!received) {
    ++counters_.session_violations;
    violated(route->incarnation, effects);
    return effects;
  }
  fault_point(FaultPoint::kSessionAccepted);
  effects.reserve(effects.size() + received->signals.size());
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
    effects.emplace_back(Deliver{std::move(signal)});
  }
  return effects;
}

/// The verdict on the incarnation that we know by that name is under way; the session sends again.
bool NodeCore::bears_a_held_name(const RouteFrom& route) const {
  return std::any_of(members_.begin(), members_.end(),
                     [&](const auto& entry) { return entry.second.name == route.node; });
}

void NodeCore::reset_session(Incarnation incarnation, SessionNumber number, Effects& effects) {
  Peer& peer = peers_.at(incarnation);
  ++counters_.sessions_reset;
  bury_unsettled(peer.session, effects);
  peer.session = Session{number, settings_.session};
  peer.deferrals = decltype(peer.deferrals){kDeferredMax};  // senders are told by their ties
  const Evidence evidence{EvidenceSource::kReset, Duration::zero(), Duration::zero(),
                          Duration::zero()};
  break_ties(incarnation, peer, evidence, effects);
  dirty_.insert(incarnation);
}

void NodeCore::violated(Incarnation incarnation, Effects& effects) {
  const auto found = peers_.find(incarnation);
  if (found == peers_.end()) return;  // nothing is shared with it
  const std::uint32_t number = found->second.session.number().value();
  if (number == std::numeric_limits<std::uint32_t>::max()) return;  // it has had its chances
  reset_session(incarnation, SessionNumber{number + 1}, effects);
  found->second.session.announce();
}

// --- time ---

NodeCore::Effects NodeCore::on_turn(std::uint32_t participants, std::uint32_t conversations,
                                    TimePoint now) {
  Effects effects;
  if (!turn_asked_) return effects;
  turn_asked_ = false;
  participants_ = participants;
  if (!stands_on_control()) return effects;
  beat_due_ = now + cluster_->beat_interval;
  const std::uint64_t number = beats_.record_sent(now);
  mark_records(number);
  told_after_at_.emplace(number, told_after_);
  if (told_after_at_.size() > beats_.unechoed_max()) told_after_at_.erase(told_after_at_.begin());
  effects.push_back(SendControl{wire::encode(
      ControlFrame{control::NodeBeat{number, broker_beat_, participants, conversations}})});
  return effects;
}

void NodeCore::mark_records(std::uint64_t beat) {
  if (!records_unmarked_) return;
  // An echo of a later beat proves as much: beyond the bound the newest mark stands for two.
  if (beats_behind_.size() == kBeatsBehindMax) beats_behind_.pop_back();
  beats_behind_.push_back({beat, *std::exchange(records_unmarked_, std::nullopt)});
}

bool NodeCore::takes_records() const {
  return stands_on_control() && cluster_->timeline_records_max > 0;
}

NodeCore::Effects NodeCore::on_records(control::Records records) {
  check(takes_records(), "records are sent to a broker that keeps them");
  for (TimelineRecord& record : records.records) {
    if (record.participant) record.participant = outside(*std::move(record.participant));
  }
  records.stream = records_stream_;
  const std::uint64_t items =
      records.records.size() + records.left_out.size() + (records.lost > 0 ? 1 : 0);
  if (items > 0) records_unmarked_ = records.first + items - 1;
  Effects effects;
  effects.push_back(SendControl{wire::encode(ControlFrame{std::move(records)})});
  return effects;
}

NodeCore::Effects NodeCore::on_cancelled(const ConversationId& conversation, bool accepted) {
  Effects effects;
  if (!stands_on_control()) return effects;  // it is ordered anew when the node is back
  effects.push_back(
      SendControl{wire::encode(ControlFrame{control::CancelAnswer{conversation, accepted}})});
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
  const auto isolated = isolated_at();
  const bool is_isolated = isolated && now >= *isolated;
  // Nobody knows an incarnation that was never welcomed: there is nothing to fence.
  if (is_isolated && !epoch_) lose_all_peers(now, effects);
  if (is_isolated && epoch_) {
    fence("no broker for " + to_string(settings_.isolation_timeout), now, effects);
    effects.push_back(OpenControl{});
  } else if (const auto silent = control_silent_at(); silent && now >= *silent) {
    give_up_control(now, effects);
  } else if (rejoin_at_ && now >= *rejoin_at_) {
    join(now, effects);
  } else if (stands_on_control()) {
    if (const auto due = data_watch_.silent_at(); due && now >= *due) give_up_data(now, effects);
    if (const auto due = data_watch_.ask_at(); due && now >= *due) {
      data_watch_.asked(now, beats_.newest());
      send_attach(effects);
    }
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
    auto& [name, session, ties, seen_at, deferrals] = found->second;
    const auto frames = session.collect(now, settings_.frames_per_flush_max);
    if (frames.empty()) continue;
    const std::string header = wire::encode(RouteTo{name, incarnation});
    for (const auto& frame : frames) {
      fault_point(FaultPoint::kSessionCollected);
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
  consider(isolated_at());
  consider(control_silent_at());
  if (stands_on_control()) {
    consider(data_watch_.ask_at());
    consider(data_watch_.silent_at());
  }
  consider(rejoin_at_);
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
