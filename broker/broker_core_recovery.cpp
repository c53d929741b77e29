// What nodes report of another broker's time, and what becomes of it.
#include <utility>

#include "broker/broker_core.hpp"
#include "common/base/fault_point.hpp"

namespace liminal::broker {

Evidence BrokerCore::recovery_evidence() const {
  const Duration since_start = now_ - started_;
  return {.source = EvidenceSource::kRecovery,
          .last_heard = since_start,
          .detection = since_start,
          .observer_lag = Duration::zero()};
}

bool BrokerCore::may_resume(const control::Join& join) const {
  if (nodes_.contains(join.name)) return false;
  if (recovery_.find(join.incarnation) != nullptr) return true;
  return join.epoch != epoch_ && recovery_.takes_back() && !recovery_.saw_name(join.name);
}

/// The first incarnation of an earlier epoch: those it knew have their time from now on.
void BrokerCore::begin_recovery(const control::Join& join) {
  if (!join.epoch || join.epoch == epoch_ || !recovery_.took_back(now_)) return;
  effects_.push_back(effect::RecoveryBegins{join.name, join.incarnation});
  announce_version({});
}

/// Of a node that is admitted or resumes, before it is told the list of members: that lists what
/// the node has reported. Claims on the names of those who ended are settled by advance(): they
/// would report in the middle of this.
void BrokerCore::take_reports(ConnectionId connection, const control::Join& join) {
  // a verdict keeps its incarnation from being taken back, which may yet begin recovery
  if (!recovery_.takes_back()) return;
  std::vector<control::Change> changes;
  for (const control::Verdict& verdict : join.verdicts) {
    if (verdict.peer.incarnation == join.incarnation) continue;
    take_verdict(connection, join, verdict, changes);
  }
  if (recovery_.is_running()) expect_all(join, changes);
  announce(changes);
}

void BrokerCore::expect_all(const control::Join& join, std::vector<control::Change>& changes) {
  for (const control::Peer& peer : join.peers) {
    if (peer.incarnation != join.incarnation) expect(join, peer, changes);
  }
}

void BrokerCore::take_verdict(ConnectionId connection, const control::Join& reporter,
                              const control::Verdict& verdict,
                              std::vector<control::Change>& changes) {
  const Incarnation who = verdict.peer.incarnation;
  const Evidence evidence = verdict.evidence.value_or(recovery_evidence());
  const auto living = incarnations_.find(who);
  if (living != incarnations_.end()) {
    if (!nodes_.at(living->second).resumed) {
      bad_frame(connection, BadFrameReason::kOutOfPlace,
                "a verdict on an incarnation that is younger than this broker");
      return;
    }
    if (!recovery_.may_report(reporter.incarnation)) return;
    const auto change = end(NodeName{living->second}, MemberState::kDown, evidence);
    if (change) changes.push_back(*change);
  } else if (ended_.contains(who) || !recovery_.may_report(reporter.incarnation)) {
    return;
  } else if (const control::Peer* expected = recovery_.find(who)) {
    changes.push_back(end_expected(control::Peer{*expected}, evidence));
  } else {
    ended_.add(who);
  }
}

void BrokerCore::expect(const control::Join& reporter, const control::Peer& peer,
                        std::vector<control::Change>& changes) {
  if (ended_.contains(peer.incarnation) || recovery_.find(peer.incarnation) != nullptr) return;
  const auto living = incarnations_.find(peer.incarnation);
  const bool is_here = living != incarnations_.end();
  if (is_here && (living->second != peer.name || nodes_.at(living->second).announced)) return;
  // One that is here but not announced yet is expected like the rest, so that nobody misses it.
  if (!recovery_.may_report(reporter.incarnation)) return;
  const bool name_is_anothers =
      !is_here &&
      (peer.name == reporter.name || nodes_.contains(peer.name) || recovery_.saw_name(peer.name));
  if (name_is_anothers || !recovery_.expect(peer)) {
    if (!is_here) ended_.add(peer.incarnation);  // who reported it finds it nowhere: it is down
    return;
  }
  ++counters_.expected;
  changes.push_back({expected_member(peer), std::nullopt});
}

/// Another incarnation of the name is here.
void BrokerCore::end_expected_of(const NodeName& name, Incarnation but) {
  std::vector<control::Change> changes;
  for (const control::Peer& peer : recovery_.expected()) {
    if (peer.name != name || peer.incarnation == but) continue;
    changes.push_back(end_expected(peer, recovery_evidence()));
  }
  announce(changes);
}

control::Change BrokerCore::end_expected(const control::Peer& peer, const Evidence& evidence) {
  recovery_.forget(peer.incarnation);
  ended_.add(peer.incarnation);
  Member member = expected_member(peer);
  member.state = MemberState::kDown;
  record_down(member, evidence);
  return {std::move(member), evidence};
}

void BrokerCore::record_down(const Member& member, const Evidence& evidence) {
  fault_point(FaultPoint::kBrokerVerdict);
  ++counters_.downs;
  effects_.push_back(effect::NodeDown{member.name, member.incarnation, evidence});
  keep_in_history(member, evidence);
}

/// What status shows; where the name is borne again, that is shown instead.
void BrokerCore::keep_in_history(const Member& member, const Evidence& evidence) {
  if (member.light || nodes_.contains(member.name)) return;
  history_.add({.member = member, .participants = 0, .conversations = 0, .evidence = evidence},
               now_);
}

void BrokerCore::end_recovery() {
  if (!recovery_.is_running() || now_ < *recovery_.ends()) return;
  if (detector_.doubt() == Doubt::kAll) return;  // those who are expected are cut off as well
  std::size_t lost = 0;
  while (const std::size_t now_lost = end_all_expected()) {
    lost += now_lost;
    settle_claims();  // on their names: what those report counts still
  }
  recovery_.end();
  effects_.push_back(effect::RecoveryEnded{lost});
  announce_version({});
}

std::size_t BrokerCore::end_all_expected() {
  std::vector<control::Change> changes;
  for (const control::Peer& peer : recovery_.expected()) {
    // one that is back in person is either announced soon or abandoned
    if (incarnations_.contains(peer.incarnation)) continue;
    changes.push_back(end_expected(peer, recovery_evidence()));
  }
  announce(changes);
  return changes.size();
}

}  // namespace liminal::broker
