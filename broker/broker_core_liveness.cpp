// Beats, leaves, verdicts, and how all nodes learn of them.
#include <algorithm>
#include <utility>

#include "broker/broker_core.hpp"
#include "common/wire/codec.hpp"

namespace liminal::broker {

void BrokerCore::on_frame(ConnectionId connection, const control::NodeBeat& beat) {
  const Binding* binding = binding_of(connection);
  if (binding == nullptr) {
    answer_unknown(connection);
    return;
  }
  if (is_past(binding->role)) {
    ++counters_.ignored_control;
    return;
  }
  if (binding->role == Role::kData) {
    bad_frame(connection, BadFrameReason::kOutOfPlace, "a beat on a data connection");
    return;
  }
  Node& node = node_of(*binding);
  if (beat.number == 0) {
    bad_frame(connection, BadFrameReason::kMalformed, "beats count from 1");
    return;
  }
  if (!node.beats.was_sent(beat.echo)) {
    bad_frame(connection, BadFrameReason::kBadEcho,
              "it echoes " + std::to_string(beat.echo) + ", which was never sent");
    return;
  }
  const bool first = node.newest_beat == 0;
  node.newest_beat = std::max(node.newest_beat, beat.number);
  if (first) send_beat(node);  // its echo says that the node may work for others
  node.participants = beat.participants;
  node.conversations = beat.conversations;
  if (connection != gone_) node.echoed = std::max(node.echoed, beat.echo);  // else: last words
  const auto sent = node.beats.record_echo(beat.echo);
  if (!sent) return;
  // only its data connection is missing, which TCP may be late with
  node.attach_by =
      std::max(node.attach_by, std::min(now_ + settings_.cluster.down_after, node.attach_limit));
  const auto change = detector_.heard_from(node.member.incarnation, *sent, now_);
  if (!change) return;
  std::vector<control::Change> changes;
  apply(*change, changes);
  announce(changes);
}

void BrokerCore::on_frame(ConnectionId connection, const control::Leave& /*leave*/) {
  const Binding* binding = binding_of(connection);
  if (binding == nullptr) {
    answer_unknown(connection);
    return;
  }
  if (binding->role == Role::kReplaced) {
    ++counters_.ignored_control;
    return;
  }
  if (binding->role == Role::kData) {
    bad_frame(connection, BadFrameReason::kOutOfPlace, "a leave on a data connection");
    return;
  }
  const NodeName name = binding->node;
  const auto change = end(name, MemberState::kLeft,
                          Evidence{.source = EvidenceSource::kLeft,
                                   .last_heard = Duration::zero(),
                                   .detection = Duration::zero(),
                                   .observer_lag = Duration::zero()});
  if (change) announce({*change});
  settle_claim(name);
}

void BrokerCore::apply(const LivenessChange& change, std::vector<control::Change>& changes) {
  const auto found = incarnations_.find(change.who);
  if (found == incarnations_.end()) return;
  Node& node = nodes_.at(found->second);
  switch (change.now) {
    case Liveness::kAlive:
      node.member.state = MemberState::kJoined;
      if (!node.announced) return;
      effects_.push_back(effect::NodeRecovered{node.member.name, change.who});
      changes.push_back({node.member, std::nullopt});
      return;
    case Liveness::kSuspect:
      node.member.state = MemberState::kSuspect;
      if (!node.announced) return;
      effects_.push_back(effect::NodeSuspect{node.member.name, change.who});
      changes.push_back({node.member, std::nullopt});
      return;
    case Liveness::kDown:
      const auto ended =
          end(NodeName{node.member.name}, MemberState::kDown, change.evidence.value_or(Evidence{}));
      if (ended) changes.push_back(*ended);
      return;
  }
}

std::optional<control::Change> BrokerCore::end(const NodeName& name, MemberState state,
                                               const Evidence& evidence) {
  const auto found = nodes_.find(name);
  Node node = std::move(found->second);
  nodes_.erase(found);
  nodes_bytes_ -= node.bytes;
  incarnations_.erase(node.member.incarnation);
  if (node.control) connections_.erase(*node.control);
  if (node.data) connections_.erase(*node.data);
  for (const ConnectionId connection : node.replaced) connections_.erase(connection);
  for (const std::uint64_t token : node.tokens) tokens_.erase(token);
  detector_.forget(node.member.incarnation);
  end_cancels(node);
  timelines_.node_gone(node.member.name, node.member.incarnation, now_);
  ended_.add(node.member.incarnation);
  if (nodes_.empty()) next_beat_.reset();

  const bool was_expected = recovery_.forget(node.member.incarnation);
  if (!node.announced) {
    effects_.push_back(effect::JoinAbandoned{node.member.name, node.member.incarnation});
    if (!was_expected) {
      if (node.control) fence(*node.control);
      return std::nullopt;
    }
  }
  node.member.state = state;
  if (state == MemberState::kLeft) {
    ++counters_.leaves;
    effects_.push_back(effect::NodeLeft{node.member.name, node.member.incarnation});
    keep_in_history(node.member, evidence);
  } else {
    record_down(node.member, evidence);
    if (node.control) fence(*node.control);  // it must not begin anything more
  }
  return control::Change{std::move(node.member), evidence};
}

void BrokerCore::announce(const std::vector<control::Change>& changes) {
  if (!changes.empty()) announce_version(changes);
}

void BrokerCore::announce_version(const std::vector<control::Change>& changes) {
  ++version_;
  const auto encode = [this](const std::vector<control::Change>& those) {
    return wire::encode(ControlFrame{control::Changes{version(), those, recovery_.is_running()}});
  };
  const std::string for_others = encode(changes);
  for (const auto& [name, node] : nodes_) {
    if (!node.control) continue;  // it gets the whole list when it resumes
    const auto is_own = [&node = node](const control::Change& change) {
      return change.member.incarnation == node.member.incarnation;
    };
    if (std::none_of(changes.begin(), changes.end(), is_own)) {
      effects_.push_back(effect::Send{*node.control, for_others});
      continue;
    }
    std::vector<control::Change> of_others = changes;
    std::erase_if(of_others, is_own);
    effects_.push_back(effect::Send{*node.control, encode(of_others)});
  }
}

void BrokerCore::send_beats() {
  if (!next_beat_ || now_ < *next_beat_) return;
  for (auto& [name, node] : nodes_) {
    if (node.control) send_beat(node);
  }
  tell_loads();  // behind the beats
  *next_beat_ += settings_.cluster.beat_interval;
  // after a pause: one beat, not all that were missed
  if (*next_beat_ <= now_) next_beat_ = now_ + settings_.cluster.beat_interval;
}

void BrokerCore::send_beat(Node& node) {
  node.beats_sent = node.beats.record_sent(now_);
  send(*node.control, control::BrokerBeat{.number = node.beats_sent, .echo = node.newest_beat});
}

}  // namespace liminal::broker
