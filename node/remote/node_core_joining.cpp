// Joining and resuming, the membership, the lease, and fencing.
#include <algorithm>
#include <iterator>

#include "common/base/fault_point.hpp"
#include "common/base/text.hpp"
#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"
#include "node/remote/node_core.hpp"

namespace liminal {
namespace {

using namespace node_effect;

// Those who went and are remembered; as many as a join may report.
constexpr std::size_t kDepartedMax = wire::kPeersMax;
// Before a refused node joins again; twice as long each time.
constexpr Duration kRefusalDelay = std::chrono::seconds{1};
constexpr Duration kRefusalDelayMax = std::chrono::seconds{8};
constexpr int kPatienceMax = 8;  // times down_after, for a join that nobody answers
// Twice what a broker may be told (down_after 30 s, beat_interval 10 ms), and more.
constexpr std::size_t kUnechoedBeatsMax = 8192;
// Of the envelopes that a lost session leaves, told one by one; the rest is counted.
constexpr std::size_t kUnsettledTold = 256;

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

/// An echo that comes when the connection was given up long ago proves nothing any more.
std::size_t unechoed_beats_max(const ClusterSettings& cluster) {
  constexpr Duration::rep kMax = kUnechoedBeatsMax;
  const auto in_time = std::min<Duration::rep>(cluster.down_after / cluster.beat_interval, kMax);
  return static_cast<std::size_t>(std::min(2 * in_time + 16, kMax));
}

bool is_there(MemberState state) {
  return state != MemberState::kDown && state != MemberState::kLeft;
}

}  // namespace

NodeCore::NodeCore(Settings settings, Random random)
    : settings_(std::move(settings)),
      tokens_(random),
      incarnation_(tokens_.next()),
      secret_(tokens_.next()),
      records_stream_(incarnation_.value()),
      beats_(0),
      departed_(kDepartedMax) {}

bool NodeCore::stands_on_control() const {
  return phase_ == Phase::kAttaching || phase_ == Phase::kJoined || phase_ == Phase::kLeaving;
}

// --- joining ---

NodeCore::Effects NodeCore::start(TimePoint) {
  Effects effects;
  publish(effects);
  effects.push_back(OpenControl{});
  return effects;
}

NodeCore::Effects NodeCore::on_control_connected(TimePoint now) {
  Effects effects;
  if (phase_ != Phase::kConnecting) return effects;
  asked_at_ = now;
  join(now, effects);
  return effects;
}

void NodeCore::join(TimePoint now, Effects& effects) {
  phase_ = Phase::kJoining;
  control_since_ = now;
  beat_due_.reset();  // until the welcome
  rejoin_at_.reset();
  report_due_ = false;
  control::Join frame{.name = settings_.name,
                      .incarnation = incarnation_,
                      .light = settings_.light,
                      .services = settings_.services,
                      .labels = settings_.labels,
                      .isolation_timeout = settings_.isolation_timeout,
                      .epoch = epoch_,
                      .secret = secret_,
                      .peers = {},
                      .verdicts = departed_.verdicts(now),
                      .number = ++joins_};
  reported_.clear();
  for (const auto& [incarnation, peer] : peers_) {
    if (reported_.size() == wire::kPeersMax) break;
    const auto member = members_.find(incarnation);
    frame.peers.push_back(member == members_.end()
                              ? control::Peer{peer.name, incarnation, false, Duration::zero()}
                              : peer_of(member->second));
    reported_.insert(incarnation);
  }
  fault_point(FaultPoint::kJoinDecided);
  effects.push_back(SendControl{wire::encode(ControlFrame{std::move(frame)})});
}

NodeCore::Effects NodeCore::on_control_closed(TimePoint now) {
  Effects effects;
  if (phase_ == Phase::kEnded) return effects;
  if (phase_ == Phase::kLeaving) {  // there is nobody left to take leave of
    phase_ = Phase::kEnded;
    effects.push_back(Left{});
    return effects;
  }
  lose_control(effects);
  if (leave_wanted_) {
    auto more = leave(now);
    std::move(more.begin(), more.end(), std::back_inserter(effects));
  }
  return effects;
}

/// The broker may have seen its closing too: its verdict then comes after the grace, which may be
/// sooner than the lease would end.
void NodeCore::lose_control(Effects& effects) {
  const bool was_joined = phase_ == Phase::kJoined;
  phase_ = Phase::kConnecting;
  beat_due_.reset();
  rejoin_at_.reset();
  refused_since_.reset();  // the next broker may refuse for a while as well
  turn_asked_ = false;
  effects.push_back(Lease{TimePoint::min()});
  if (was_joined) {
    publish(effects);
    effects.push_back(Interrupted{});
  }
  effects.push_back(OpenControl{});
}

/// Beats are counted as well as time: a node that was stopped, or whose scheduler hangs, has sent
/// few, and must not blame the connection.
std::optional<TimePoint> NodeCore::control_silent_at() const {
  if (!cluster_ || !control_since_ || rejoin_at_) return std::nullopt;
  if (phase_ == Phase::kJoining) return *control_since_ + join_patience_;
  if (phase_ != Phase::kAttaching && phase_ != Phase::kJoined) return std::nullopt;
  const auto enough =
      std::max<Duration::rep>(cluster_->down_after / cluster_->beat_interval / 2, 2);
  const auto remembered = static_cast<Duration::rep>(beats_.unechoed_max());
  if (static_cast<Duration::rep>(beats_.unechoed()) < std::min(enough, remembered)) {
    return std::nullopt;
  }
  return std::max(*beats_.unechoed_since(), *control_since_) + cluster_->down_after;
}

/// With it the data connection, which most likely went the same way.
void NodeCore::give_up_control(TimePoint now, Effects& effects) {
  effects.push_back(BrokerSilent{since_heard(EvidenceSource::kHeartbeatsMissed, now).last_heard});
  if (phase_ == Phase::kJoining) {
    join_patience_ = std::min(2 * join_patience_, kPatienceMax * cluster_->down_after);
  }
  lose_control(effects);
  attached_ = false;
  data_watch_.closed();
  effects.push_back(CloseData{});
}

void NodeCore::send_attach(Effects& effects) const {
  effects.push_back(
      SendOnData{wire::encode(ControlFrame{control::Attach{token_, data_connections_}})});
}

void NodeCore::open_data(TimePoint now, Effects& effects) {
  data_watch_.opening(now, beats_.newest());
  ++data_connections_;
  effects.push_back(OpenData{});
}

void NodeCore::give_up_data(TimePoint now, Effects& effects) {
  effects.push_back(BrokerSilent{data_watch_.given_up(now), true});
  auto more = on_data_closed(now);
  std::move(more.begin(), more.end(), std::back_inserter(effects));
}

NodeCore::Effects NodeCore::on_data_connected(TimePoint) {
  Effects effects;
  if (stands_on_control() && !attached_) send_attach(effects);
  return effects;
}

NodeCore::Effects NodeCore::on_data_closed(TimePoint now) {
  Effects effects;
  attached_ = false;
  data_watch_.closed();
  if (phase_ == Phase::kJoined) {
    phase_ = Phase::kAttaching;
    publish(effects);
    effects.push_back(Interrupted{});
  }
  if (stands_on_control()) open_data(now, effects);
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
                 [&](control::Refused& refusal) {
                   if (phase_ == Phase::kJoining) refused(std::move(refusal), now, effects);
                 },
                 [&](control::BrokerBeat& beat) {
                   if (!stands_on_control()) return;
                   broker_beat_ = std::max(broker_beat_, beat.number);
                   heard_echo(beat.echo, effects);
                 },
                 [&](control::Changes& changes) {
                   if (stands_on_control()) changed(std::move(changes), now, effects);
                 },
                 [&](control::Loads& loads) {
                   if (stands_on_control()) loaded(loads, effects);
                 },
                 [&](control::CancelOrder& order) {
                   if (!stands_on_control()) return;
                   effects.push_back(CancelConversation{order.conversation, std::move(order.by)});
                 },
                 [&](control::Unknown&) {
                   if (phase_ == Phase::kConnecting) return;
                   fence("the broker does not know this incarnation any more", now, effects);
                   // A new connection: on this one more answers to the old one's frames may come.
                   effects.push_back(OpenControl{});
                 },
                 [&](auto&) { ++counters_.foreign_frames; },
             },
             *frame);
  return effects;
}

void NodeCore::refused(control::Refused refusal, TimePoint now, Effects& effects) {
  if (rejoin_at_) return;  // of a join before the one that was refused
  // shown as part of a line, to whoever reads the log or the program's last words
  refusal.text = escaped_tail(refusal.text, wire::kTextBytesMax);
  if (const auto delay = patience_with(refusal.code, now)) {
    if (!refused_since_) refused_since_ = now;
    refusal_delay_ = *delay;
    rejoin_at_ = now + *delay;
    effects.push_back(RefusedForNow{refusal.code, std::move(refusal.text), *delay});
    return;
  }
  end_outside(now, effects);
  effects.push_back(node_effect::Refused{refusal.code, std::move(refusal.text)});
}

/// For good. Whoever is written to from now on cannot be reached, and is not listed.
void NodeCore::end_outside(TimePoint now, Effects& effects) {
  phase_ = Phase::kEnded;
  members_.clear();
  publish(effects);
  lose_all_peers(now, effects);
}

/// The last join comes when the patience ends.
std::optional<Duration> NodeCore::patience_with(control::RefusalCode code, TimePoint now) const {
  const bool may_pass =
      code == control::RefusalCode::kNameTaken || code == control::RefusalCode::kLimit;
  if (!had_joined_ || !may_pass) return std::nullopt;
  if (!refused_since_) return std::min(kRefusalDelay, settings_.isolation_timeout);
  const TimePoint ends = *refused_since_ + settings_.isolation_timeout;
  if (now >= ends) return std::nullopt;
  return std::min({2 * refusal_delay_, kRefusalDelayMax, Duration{ends - now}});
}

NodeCore::Effects NodeCore::on_data_control(std::string_view bytes, TimePoint now) {
  Effects effects;
  data_watch_.heard(now);
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

std::optional<std::string> NodeCore::why_unsuitable(const ClusterSettings& cluster) const {
  // neither sum nor product: whatever a broker says, nothing overflows
  const std::string down_after = "the broker's down-after (" + to_string(cluster.down_after) + ")";
  if (cluster.down_after >= settings_.isolation_timeout ||
      cluster.recovery >= settings_.isolation_timeout - cluster.down_after) {
    return "isolation-timeout is " + to_string(settings_.isolation_timeout) +
           ", but must be longer than " + down_after + " and recovery (" +
           to_string(cluster.recovery) + ") together";
  }
  if (cluster.beat_interval <= Duration::zero() || cluster.beat_interval >= cluster.down_after) {
    return "the broker's beat-interval is " + to_string(cluster.beat_interval) +
           ", but must be longer than nothing and shorter than " + down_after;
  }
  if (settings_.turn_max >= cluster.down_after) {
    return "turn-max is " + to_string(settings_.turn_max) + ", but must be shorter than " +
           down_after + ", or one long turn looks like this node's death";
  }
  if (settings_.reap_after - cluster.down_after <= cluster.down_after) {
    return "this node gives up silent connections after " + to_string(settings_.reap_after) +
           ", which must be longer than twice " + down_after;
  }
  return std::nullopt;
}

void NodeCore::welcomed(control::Welcome welcome, TimePoint now, Effects& effects) {
  if (auto why = why_unsuitable(welcome.settings)) {
    effects.push_back(SendControl{wire::encode(ControlFrame{control::Leave{}})});
    end_outside(now, effects);
    effects.push_back(Unsuitable{*std::move(why)});
    return;
  }
  fault_point(FaultPoint::kWelcomed);
  const bool new_epoch = epoch_ != welcome.epoch;
  const bool resumed = epoch_.has_value();
  const Evidence unlisted = since_heard(EvidenceSource::kRecovery, now);
  phase_ = Phase::kAttaching;
  rejoin_at_.reset();
  refused_since_.reset();
  control_since_ = now;
  join_patience_ = welcome.settings.down_after;
  resumed_ = resumed;
  epoch_ = welcome.epoch;
  version_ = welcome.version;
  token_ = welcome.token;
  cluster_ = welcome.settings;
  data_watch_.set_bounds(cluster_->down_after, cluster_->beat_interval);
  recovering_ = welcome.recovering;
  settings_.session.payload_bytes_max = welcome.settings.payload_bytes_max;
  broker_heard_ = now;
  if (asked_at_) told_after_ = *std::exchange(asked_at_, std::nullopt);
  beat_due_ = now;
  loads_.clear();  // all of them follow
  // Of what was sent before, only an echo of before proved anything.
  beats_behind_.clear();
  records_unmarked_.reset();
  effects.push_back(KeepRecords{cluster_->timeline_records_max, *epoch_, new_epoch});
  if (new_epoch) begin_epoch(effects);
  count_reports(new_epoch);

  // An incarnation that ended is told before its name's next one is shown.
  std::map<Incarnation, Member> members;
  for (auto& member : welcome.members) {
    if (is_there(member.state) && !departed_.is_down(member.incarnation)) {
      members.insert_or_assign(member.incarnation, std::move(member));
    }
  }
  for (const auto& [incarnation, member] : members) came(member);
  remember_missing(members, new_epoch, now);
  std::erase_if(members_, [&](const auto& entry) { return !members.contains(entry.first); });
  publish(effects);
  std::optional<Evidence> evidence;
  if (new_epoch && resumed) evidence = unlisted;
  std::swap(members_, members);
  drop_unlisted_peers(evidence, effects);
  publish(effects);

  const bool more_to_report = std::any_of(peers_.begin(), peers_.end(), [&](const auto& entry) {
    return entry.second.seen_at == kUnreported && !members_.contains(entry.first);
  });
  if (more_to_report) {
    join(now, effects);
  } else if (attached_) {  // only the control connection had been lost
    attached(now, effects);
  } else {
    open_data(now, effects);
  }
}

/// Those whose end was told while this node could not hear it; a broker of another epoch is final
/// only about those who were reported to it.
void NodeCore::remember_missing(const std::map<Incarnation, Member>& listed, bool new_epoch,
                                TimePoint now) {
  for (const auto& [incarnation, member] : members_) {
    if (listed.contains(incarnation)) continue;
    if (new_epoch && !reported_.contains(incarnation)) continue;
    Member gone = member;
    gone.state = MemberState::kDown;
    departed_.add(gone, std::nullopt, now);
  }
}

/// Its broker is another one than before.
void NodeCore::begin_epoch(Effects& effects) {
  attached_ = false;
  broker_beat_ = 0;
  beats_ = BeatBook{unechoed_beats_max(*cluster_)};
  told_after_at_.clear();
  effects.push_back(Lease{TimePoint::min()});
}

/// What the broker was told of, it lists, or it is down; the rest is reported next.
void NodeCore::count_reports(bool new_epoch) {
  const bool all = peers_.size() > wire::kPeersMax;  // no more fit into a join
  for (auto& [incarnation, peer] : peers_) {
    if (all || reported_.contains(incarnation)) {
      if (new_epoch || peer.seen_at == kUnreported) peer.seen_at = MembershipVersion{0};
    } else if (new_epoch) {
      peer.seen_at = kUnreported;
    }
  }
}

void NodeCore::attached(TimePoint now, Effects& effects) {
  data_watch_.attached(now);
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
  had_joined_ = true;
  effects.push_back(Joined{*epoch_, incarnation_, resumed_});
  if (report_due_) join(now, effects);
  if (leave_wanted_) {
    auto more = leave(now);
    std::move(more.begin(), more.end(), std::back_inserter(effects));
  }
}

// --- the lease and the loss of it ---

/// The broker counts our silence from its newest beat that we have echoed, which may have been long
/// on its way to us. That beat was sent after our own that it echoed: so the lease counts from that
/// one, and not from the beat whose echo tells that the broker knows.
void NodeCore::heard_echo(std::uint64_t number, Effects& effects) {
  std::optional<std::uint64_t> arrived;
  while (!beats_behind_.empty() && beats_behind_.front().beat <= number &&
         beats_.was_sent(number)) {
    arrived = beats_behind_.front().records;
    beats_behind_.pop_front();
  }
  if (arrived) effects.push_back(RecordsArrived{*arrived});
  const auto sent = beats_.record_echo(number);
  if (!sent) return;
  data_watch_.echoed(number);
  broker_heard_ = std::max(*broker_heard_, *sent);
  const auto at = told_after_at_.find(number);
  if (at == told_after_at_.end()) return;
  const TimePoint known_since = at->second;
  told_after_at_.erase(told_after_at_.begin(), std::next(at));
  told_after_ = std::max(told_after_, *sent);
  effects.push_back(Lease{known_since + cluster_->down_after - cluster_->lease_margin});
}

std::optional<TimePoint> NodeCore::isolated_at() const {
  if (phase_ == Phase::kEnded) return std::nullopt;
  if (epoch_) return *broker_heard_ + settings_.isolation_timeout;
  // Fenced in a recovery, it waits for those who may yet appear there: no longer than for a broker.
  if (!waits_since_ || peers_.empty()) return std::nullopt;
  return *waits_since_ + settings_.isolation_timeout;
}

void NodeCore::fence(std::string why, TimePoint now, Effects& effects) {
  const Incarnation old = incarnation_;
  const Evidence evidence = since_heard(EvidenceSource::kIsolated, now);
  incarnation_ = Incarnation{tokens_.next()};
  secret_ = tokens_.next();
  epoch_.reset();
  members_.clear();
  loads_.clear();
  attached_ = false;
  beat_due_.reset();
  turn_asked_ = false;
  beats_ = BeatBook{0};  // none is sent before the next welcome
  told_after_at_.clear();
  broker_beat_ = 0;
  rejoin_at_.reset();
  phase_ = Phase::kConnecting;
  effects.push_back(Lease{TimePoint::min()});
  publish(effects);
  fault_point(FaultPoint::kFencing);
  while (!peers_.empty()) peer_lost(peers_.begin()->first, evidence, effects);
  effects.push_back(Fenced{old, incarnation_, std::move(why)});
  data_watch_.closed();
  effects.push_back(CloseData{});
}

// --- membership ---

void NodeCore::publish(Effects& effects) const {
  Directory::Snapshot snapshot;
  snapshot.connected = phase_ == Phase::kJoined;
  snapshot.recovering = recovering_;
  if (epoch_ && phase_ != Phase::kEnded) snapshot.incarnation = incarnation_;
  snapshot.payload_bytes_max =
      cluster_ ? cluster_->payload_bytes_max : settings_.session.payload_bytes_max;
  snapshot.members.push_back({settings_.name, local_incarnation(), MemberState::kJoined,
                              settings_.light, settings_.services, settings_.labels});
  for (const auto& [incarnation, member] : members_) {
    if (member.state != MemberState::kExpected) snapshot.members.push_back(member);
  }
  snapshot.participants = loads_;
  if (participants_ > 0) snapshot.participants.emplace(local_incarnation(), participants_);
  std::sort(snapshot.members.begin(), snapshot.members.end(),
            [](const Member& a, const Member& b) { return a.name < b.name; });
  effects.push_back(Publish{std::move(snapshot)});
}

void NodeCore::changed(control::Changes changes, TimePoint now, Effects& effects) {
  if (changes.version.value() <= version_.value()) return;  // of before our welcome
  if (changes.version.value() != version_.value() + 1) {
    // A broker never skips one on a connection that stands: ask for the whole list again.
    ++counters_.malformed_frames;
    lose_control(effects);
    return;
  }
  version_ = changes.version;
  recovering_ = changes.recovering;
  std::vector<std::pair<Incarnation, std::optional<Evidence>>> gone;
  for (auto& [member, evidence] : changes.changes) {
    if (is_there(member.state)) {
      if (departed_.is_down(member.incarnation)) continue;  // of a broker that was not told
      came(member);
      members_.insert_or_assign(member.incarnation, std::move(member));
    } else {
      departed_.add(member, evidence, now);
      members_.erase(member.incarnation);
      loads_.erase(member.incarnation);
      gone.emplace_back(member.incarnation, evidence);
    }
  }
  publish(effects);  // before the exits: whoever reacts to them must not choose the dead
  for (const auto& [incarnation, evidence] : gone) peer_lost(incarnation, evidence, effects);
  drop_unlisted_peers(std::nullopt, effects);
}

/// This node's own load comes as well, and has its beat published.
void NodeCore::loaded(const control::Loads& loads, Effects& effects) {
  for (const auto& [incarnation, participants] : loads.loads) {
    if (participants == 0) {
      loads_.erase(incarnation);
    } else if (members_.contains(incarnation)) {
      loads_.insert_or_assign(incarnation, participants);
    }
  }
  publish(effects);
}

/// What was sent to it while it was expected got lost on the way.
void NodeCore::came(const Member& member) {
  const auto before = members_.find(member.incarnation);
  if (before == members_.end() || before->second.state != MemberState::kExpected) return;
  const auto peer = peers_.find(member.incarnation);
  if (peer == peers_.end()) return;
  peer->second.session.reconnected();
  dirty_.insert(member.incarnation);
}

void NodeCore::drop_unlisted_peers(const std::optional<Evidence>& evidence, Effects& effects) {
  std::vector<Incarnation> unlisted;
  for (const auto& [incarnation, peer] : peers_) {
    if (!members_.contains(incarnation) && peer.seen_at <= version_) {
      unlisted.push_back(incarnation);
    }
  }
  for (const Incarnation incarnation : unlisted) peer_lost(incarnation, evidence, effects);
}

void NodeCore::peer_lost(Incarnation incarnation, std::optional<Evidence> evidence,
                         Effects& effects) {
  const auto found = peers_.find(incarnation);
  if (found == peers_.end()) return;
  Peer peer = std::move(found->second);
  peers_.erase(found);
  dirty_.erase(incarnation);
  bury_unsettled(peer.session, effects);
  break_ties(incarnation, peer, evidence, effects);
}

void NodeCore::bury_unsettled(const Session& session, Effects& effects) const {
  std::uint64_t unsettled = 0;
  session.for_each_unsettled([&](const signal::Send& send) {
    if (++unsettled > kUnsettledTold) return;
    signal::Send told = send;
    told.from.incarnation = local_incarnation();  // as people know it
    effects.push_back(Undeliverable{DeadLetterCause::kSessionLost, std::move(told)});
  });
  if (unsettled <= kUnsettledTold) return;
  effects.push_back(UndeliverableUnseen{DeadLetterCause::kSessionLost, unsettled - kUnsettledTold});
}

void NodeCore::break_ties(Incarnation incarnation, Peer& peer,
                          const std::optional<Evidence>& evidence, Effects& effects) const {
  const auto pid_of = [&](Serial serial) { return Pid{peer.name, incarnation, serial}; };
  for (auto& signal :
       peer.ties.break_all(settings_.name, ExitReason::noconnection(evidence), pid_of)) {
    fault_point(FaultPoint::kTiesBreaking);
    effects.push_back(Deliver{std::move(signal)});
  }
}

void NodeCore::lose_all_peers(TimePoint now, Effects& effects) {
  const Evidence evidence = since_heard(EvidenceSource::kIsolated, now);
  while (!peers_.empty()) peer_lost(peers_.begin()->first, evidence, effects);
}

/// Of what this node concludes by itself: how long it has not heard its broker.
Evidence NodeCore::since_heard(EvidenceSource source, TimePoint now) const {
  const Duration silence = broker_heard_ ? now - *broker_heard_ : Duration::zero();
  return {source, silence, silence, Duration::zero()};
}

}  // namespace liminal
