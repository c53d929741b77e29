#include "common/liveness/failure_detector.hpp"

#include <algorithm>

#include "common/base/check.hpp"

namespace liminal {
namespace {

constexpr int kRestartsMax = 3;  // a loop that is late again and again must not keep the dead alive
constexpr std::size_t kManyMin = 3;

}  // namespace

FailureDetector::FailureDetector(Settings settings) : settings_(settings) {
  check(settings.beat_interval > Duration::zero() &&
            settings.beat_interval < settings.suspect_after &&
            settings.suspect_after < settings.down_after &&
            settings.reconnect_grace >= Duration::zero(),
        "0 < beat_interval < suspect_after < down_after, 0 <= reconnect_grace");
}

void FailureDetector::watch(Incarnation who, TimePoint now, bool light) {
  const bool is_new =
      watched_.try_emplace(who, Watched{.last_heard = now, .silent_since = now, .light = light})
          .second;
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
  watched->closed_in_silence = watched->liveness == Liveness::kSuspect;
  const bool is_doubtful = late_at_ == now || watched->doubted;
  watched->grace_ends = now + (is_doubtful ? extended_grace() : settings_.reconnect_grace);
}

void FailureDetector::closing_was_ours(Incarnation who) {
  Watched* watched = find_living(who);
  if (watched == nullptr || !watched->closed) return;
  watched->grace_ends = std::max(*watched->grace_ends, *watched->closed + extended_grace());
  // its echoes may have waited behind what it did not read
  watched->silent_since = std::max(watched->silent_since, *watched->closed);
}

std::optional<LivenessChange> FailureDetector::resumed(Incarnation who, TimePoint now) {
  Watched* watched = find_living(who);
  if (watched == nullptr) return std::nullopt;

  watched->last_heard = std::max(watched->last_heard, now);
  watched->silent_since = std::max(watched->silent_since, now);
  watched->restarts = 0;
  watched->closed.reset();
  watched->grace_ends.reset();
  watched->closed_in_silence = false;
  watched->doubted = false;
  return recover(who, *watched, now);
}

void FailureDetector::observer_late(Duration lag, TimePoint now) {
  while (!lags_.empty() && lags_.back().lag <= lag) lags_.pop_back();
  while (!lags_.empty() && lags_.front().at < now - settings_.down_after) lags_.pop_front();
  lags_.push_back({now, lag});
  late_at_ = now;

  for (auto& [who, watched] : watched_) {
    if (watched.liveness == Liveness::kDown) continue;
    if (watched.closed) {
      watched.grace_ends = std::max(*watched.grace_ends, *watched.closed + extended_grace());
    }
    if (watched.restarts == kRestartsMax) continue;
    ++watched.restarts;
    watched.silent_since = std::max(watched.silent_since, now);
    if (watched.closed) {
      watched.grace_ends = std::max(*watched.grace_ends, now + extended_grace());
    }
  }
}

std::vector<LivenessChange> FailureDetector::advance(TimePoint now) {
  while (!lags_.empty() && lags_.front().at < now - settings_.down_after) lags_.pop_front();

  doubt_itself(now);
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

Doubt FailureDetector::doubt() const {
  if (all_silent_) return Doubt::kAll;
  const bool any_held = std::any_of(watched_.begin(), watched_.end(), [](const auto& entry) {
    return entry.second.held && entry.second.liveness == Liveness::kSuspect;
  });
  return any_held ? Doubt::kMany : Doubt::kNone;
}

std::optional<TimePoint> FailureDetector::next_deadline() const {
  std::optional<TimePoint> next;
  const auto consider = [&next](TimePoint at) {
    if (!next || at < *next) next = at;
  };
  const bool all_silent = all_silent_ && all_are_silent(TimePoint::min());
  for (const auto& [who, watched] : watched_) {
    if (watched.liveness == Liveness::kDown) continue;
    if (watched.liveness == Liveness::kAlive) {
      consider(watched.silent_since + settings_.suspect_after);
    }
    if (all_silent && is_spared(watched)) continue;
    if (watched.grace_ends) consider(*watched.grace_ends);
    if (watched.liveness == Liveness::kSuspect) consider(silence_ends(watched));
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
  watched.turned.reset();
  watched.held = false;
  watched.doubted = false;
  return LivenessChange{who, Liveness::kAlive, std::nullopt};
}

/// Before anybody is judged: what is to be seen of many at once.
void FailureDetector::doubt_itself(TimePoint now) {
  std::optional<TimePoint> newest;
  for (auto& [who, watched] : watched_) {
    if (watched.liveness == Liveness::kDown || watched.turned || !is_silent(watched, now)) continue;
    watched.turned = watched.silent_since + settings_.suspect_after;
    if (!watched.light && !watched.closed)
      newest = std::max(newest.value_or(*watched.turned), *watched.turned);
  }
  if (newest && many_turned(*newest)) many_until_ = now + settings_.down_after;
  for (auto& [who, watched] : watched_) {
    if (!watched.turned || watched.held || !many_until_ || now >= *many_until_) continue;
    watched.held = true;
    watched.doubted = true;
    if (watched.closed_in_silence) watched.grace_ends = *watched.closed + extended_grace();
  }

  const bool all_silent = all_are_silent(now);
  if (all_silent_ && !all_silent) start_anew(now);
  all_silent_ = all_silent;
}

/// After all had been silent one was heard.
void FailureDetector::start_anew(TimePoint now) {
  for (auto& [who, watched] : watched_) {
    if (watched.liveness == Liveness::kDown || watched.restarts == kRestartsMax) continue;
    ++watched.restarts;
    watched.silent_since = std::max(watched.silent_since, now);
    if (watched.liveness == Liveness::kAlive) {
      watched.turned.reset();
      watched.held = false;
    } else {
      watched.doubted = true;
    }
    if (watched.closed_in_silence) watched.grace_ends = now + extended_grace();
  }
}

/// Two beats: what a node echoed last is up to one beat older than its last word, and the observer
/// sends its beats up to one beat late without doubting itself.
bool FailureDetector::many_turned(TimePoint newest) const {
  std::size_t full = 0;
  std::size_t turned = 0;
  for (const auto& [who, watched] : watched_) {
    if (watched.light || watched.liveness == Liveness::kDown) continue;
    ++full;
    const bool together = watched.turned && *watched.turned + 2 * settings_.beat_interval >= newest;
    if (together && (!watched.closed || watched.closed_in_silence)) ++turned;
  }
  return turned >= kManyMin && 3 * turned > full;
}

bool FailureDetector::all_are_silent(TimePoint now) const {
  if (outsider_) return false;
  std::size_t silent = 0;
  for (const auto& [who, watched] : watched_) {
    if (watched.liveness == Liveness::kDown) continue;
    if (watched.closed && !watched.closed_in_silence) continue;  // its end was heard
    if (!is_silent(watched, now)) return false;
    ++silent;
  }
  return silent >= 2;
}

bool FailureDetector::is_silent(const Watched& watched, TimePoint now) const {
  return watched.liveness == Liveness::kSuspect ||
         now >= watched.silent_since + settings_.suspect_after;
}

TimePoint FailureDetector::silence_ends(const Watched& watched) const {
  return watched.silent_since + (watched.held ? 2 : 1) * settings_.down_after;
}

bool FailureDetector::is_spared(const Watched& watched) const {
  return !watched.closed || watched.closed_in_silence;
}

std::optional<LivenessChange> FailureDetector::judge(Incarnation who, Watched& watched,
                                                     TimePoint now) const {
  if (watched.liveness == Liveness::kDown) return std::nullopt;  // final

  const TimePoint silent_until = silence_ends(watched);
  const bool closing_first = watched.grace_ends && *watched.grace_ends <= silent_until;
  const bool is_due = now >= (closing_first ? *watched.grace_ends : silent_until);
  if (is_due && !(all_silent_ && is_spared(watched))) {
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
