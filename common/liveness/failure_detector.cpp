#include "common/liveness/failure_detector.hpp"

#include <algorithm>

#include "common/base/check.hpp"

namespace liminal {
namespace {

constexpr int kRestartsMax = 3;  // a loop that is late again and again must not keep the dead alive

}  // namespace

FailureDetector::FailureDetector(Settings settings) : settings_(settings) {
  check(settings.beat_interval > Duration::zero() &&
            settings.beat_interval < settings.suspect_after &&
            settings.suspect_after < settings.down_after &&
            settings.reconnect_grace >= Duration::zero(),
        "0 < beat_interval < suspect_after < down_after, 0 <= reconnect_grace");
}

void FailureDetector::watch(Incarnation who, TimePoint now) {
  const bool is_new =
      watched_.try_emplace(who, Watched{.last_heard = now, .silent_since = now}).second;
  check(is_new, "an incarnation is watched once");
}

std::optional<LivenessChange> FailureDetector::heard_from(Incarnation who, TimePoint sent,
                                                          TimePoint now) {
  Watched* watched = find_living(who);
  // an echo it repeats says that its beats reach us, not that ours still reach it
  if (watched == nullptr || sent <= watched->last_heard) return std::nullopt;

  watched->last_heard = sent;
  watched->silent_since = std::max(watched->silent_since, sent);
  watched->restarts = 0;
  return recover(who, *watched, now);
}

void FailureDetector::connection_closed(Incarnation who, TimePoint now) {
  Watched* watched = find_living(who);
  if (watched == nullptr || watched->closed) return;

  watched->closed = now;
  watched->grace_ends = now + (late_at_ == now ? extended_grace() : settings_.reconnect_grace);
}

std::optional<LivenessChange> FailureDetector::resumed(Incarnation who, TimePoint now) {
  Watched* watched = find_living(who);
  if (watched == nullptr) return std::nullopt;

  watched->last_heard = std::max(watched->last_heard, now);
  watched->silent_since = std::max(watched->silent_since, now);
  watched->restarts = 0;
  watched->closed.reset();
  watched->grace_ends.reset();
  return recover(who, *watched, now);
}

void FailureDetector::observer_late(Duration lag, TimePoint now) {
  while (!lags_.empty() && lags_.back().lag <= lag) lags_.pop_back();
  while (!lags_.empty() && lags_.front().at < now - settings_.down_after) lags_.pop_front();
  lags_.push_back({now, lag});
  late_at_ = now;

  for (auto& [who, watched] : watched_) {
    if (watched.liveness == Liveness::kDown) continue;
    if (watched.closed) watched.grace_ends = *watched.closed + extended_grace();
    if (watched.restarts == kRestartsMax) continue;
    ++watched.restarts;
    watched.silent_since = std::max(watched.silent_since, now);
  }
}

std::vector<LivenessChange> FailureDetector::advance(TimePoint now) {
  while (!lags_.empty() && lags_.front().at < now - settings_.down_after) lags_.pop_front();

  std::vector<LivenessChange> changes;
  for (auto& [who, watched] : watched_) {
    if (auto change = judge(who, watched, now)) changes.push_back(*change);
  }
  return changes;
}

void FailureDetector::forget(Incarnation who) { watched_.erase(who); }

std::optional<Liveness> FailureDetector::liveness(Incarnation who) const {
  const auto found = watched_.find(who);
  if (found == watched_.end()) return std::nullopt;
  return found->second.liveness;
}

std::optional<TimePoint> FailureDetector::next_deadline() const {
  std::optional<TimePoint> next;
  const auto consider = [&next](TimePoint at) {
    if (!next || at < *next) next = at;
  };
  for (const auto& [who, watched] : watched_) {
    if (watched.liveness == Liveness::kDown) continue;
    if (watched.grace_ends) consider(*watched.grace_ends);
    consider(watched.silent_since + (watched.liveness == Liveness::kAlive ? settings_.suspect_after
                                                                          : settings_.down_after));
  }
  return next;
}

FailureDetector::Watched* FailureDetector::find_living(Incarnation who) {
  const auto found = watched_.find(who);
  if (found == watched_.end() || found->second.liveness == Liveness::kDown) return nullptr;
  return &found->second;
}

std::optional<LivenessChange> FailureDetector::recover(Incarnation who, Watched& watched,
                                                       TimePoint now) const {
  if (watched.liveness != Liveness::kSuspect) return std::nullopt;
  // an echo so old that it would be suspect again at once is no recovery
  if (now - watched.silent_since >= settings_.suspect_after) return std::nullopt;
  watched.liveness = Liveness::kAlive;
  return LivenessChange{who, Liveness::kAlive, std::nullopt};
}

std::optional<LivenessChange> FailureDetector::judge(Incarnation who, Watched& watched,
                                                     TimePoint now) const {
  if (watched.liveness == Liveness::kDown) return std::nullopt;  // final

  const TimePoint silence_ends = watched.silent_since + settings_.down_after;
  const bool closing_first = watched.grace_ends && *watched.grace_ends <= silence_ends;
  if (now >= (closing_first ? *watched.grace_ends : silence_ends)) {
    const EvidenceSource source =
        closing_first ? EvidenceSource::kConnectionClosed : EvidenceSource::kHeartbeatsMissed;
    watched.liveness = Liveness::kDown;
    return LivenessChange{who, Liveness::kDown, evidence(watched, source, now)};
  }
  if (watched.liveness == Liveness::kAlive &&
      now >= watched.silent_since + settings_.suspect_after) {
    watched.liveness = Liveness::kSuspect;
    return LivenessChange{who, Liveness::kSuspect, std::nullopt};
  }
  return std::nullopt;
}

Evidence FailureDetector::evidence(const Watched& watched, EvidenceSource source,
                                   TimePoint now) const {
  const Duration silence = now - watched.last_heard;
  const bool by_closing = source == EvidenceSource::kConnectionClosed;
  return {.source = source,
          .last_heard = silence,
          .detection = by_closing ? now - *watched.closed : silence,
          .observer_lag = lags_.empty() ? Duration::zero() : lags_.front().lag};
}

Duration FailureDetector::extended_grace() const {
  return std::max(settings_.reconnect_grace, settings_.down_after);
}

}  // namespace liminal
