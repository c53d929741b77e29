// Decides from echoed beats and closed connections which incarnations are suspected or down.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/wire/exit_reason.hpp"

namespace liminal {

/// Whether the observer holds verdicts back because of what it sees of many at once.
enum class Doubt : std::uint8_t {
  kNone,
  kMany,  // turned suspect together: the verdicts wait one more bound
  kAll,   // are silent: nobody silent is judged
};

enum class Liveness : std::uint8_t {
  kAlive,
  kSuspect,  // silent for suspect_after: give it no new participants, break nothing
  kDown,     // a verdict: links fire, final for the incarnation
};

struct LivenessChange {
  Incarnation who;
  Liveness now;
  std::optional<Evidence> evidence;  // of kDown

  friend bool operator==(const LivenessChange&, const LivenessChange&) = default;
};

/// Tracks, for each watched incarnation, its silence and its lost connection.
///
/// Silence is the time since we sent the newest of our beats that it has echoed, so that a cut in
/// one direction is noticed as well. Silence for suspect_after makes suspect, for down_after down.
/// A control connection that closed, and was not resumed when reconnect_grace has passed, makes
/// down too.
///
/// Down is final: whatever comes of that incarnation later is ignored.
///
/// The observer doubts itself, for what it sees of many at once is most likely its own fault:
/// - When its own loop was late by more than a beat (observer_late()), every deadline starts anew,
///   a grace that runs included, which is then down_after; so is that of closings of that moment.
/// - When at least three and more than a third of the full nodes turn suspect within a beat of each
///   other's last words, the verdicts on the silent wait one more down_after.
/// - When all, at least two, are silent, nobody silent is judged until one is heard; then every
///   deadline starts anew. Whoever closed its connection while it was heard is judged all the same.
/// A deadline starts anew at most three times without a beat between.
///
/// No I/O and no clock. Thread-safety: none; lives on the broker's loop thread.
/// Cost: O(watched) per advance() and next_deadline(); a broker watches hundreds, not millions.
class FailureDetector {
 public:
  struct Settings {
    Duration beat_interval;
    Duration suspect_after;
    Duration down_after;
    Duration reconnect_grace;  // 0: a closing is a verdict at the next advance()
  };

  /// REQUIRES: 0 < beat_interval < suspect_after < down_after, 0 <= reconnect_grace (the
  /// configuration loader rejects anything else).
  explicit FailureDetector(Settings settings);

  /// Begins to watch, alive. Light nodes come and go: they do not count among the many, but one
  /// that is heard is somebody to whom the rest can be told. REQUIRES: not watched yet.
  void watch(Incarnation who, TimePoint now, bool light = false);

  /// It echoed a beat that we sent at `sent`. Returns kAlive if it was suspect.
  [[nodiscard]] std::optional<LivenessChange> heard_from(Incarnation who, TimePoint sent,
                                                         TimePoint now);

  /// Its control connection closed; the grace begins, if it has not already.
  void connection_closed(Incarnation who, TimePoint now);

  /// The observer itself ended the connection that closed last: it gets down_after from then on,
  /// instead of the grace and of what is left of its silence.
  void closing_was_ours(Incarnation who);

  /// It resumed on a new control connection: counts as heard from `now`. Returns kAlive if it was
  /// suspect.
  [[nodiscard]] std::optional<LivenessChange> resumed(Incarnation who, TimePoint now);

  /// The observer's loop came `lag` too late, at `now`; it has read everything that waited.
  void observer_late(Duration lag, TimePoint now);

  /// Whether somebody who is not watched is in touch, and waits for a verdict: an observer that
  /// hears it is not cut off, and judges although all whom it watches are silent.
  void set_outsider(bool in_touch) { outsider_ = in_touch; }

  /// Moves time forward and returns what became due, in order of incarnation.
  [[nodiscard]] std::vector<LivenessChange> advance(TimePoint now);

  /// Stops watching, after a leave or when nobody asks any more.
  void forget(Incarnation who);

  /// Alive, suspect or down; nullopt if not watched.
  [[nodiscard]] std::optional<Liveness> liveness(Incarnation who) const;

  /// As of the last advance().
  [[nodiscard]] Doubt doubt() const;

  /// The next time at which advance() can return something; nullopt if there is none.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

 private:
  struct Watched {
    TimePoint last_heard;    // when the newest of our beats it echoed was sent
    TimePoint silent_since;  // last_heard, or when its deadlines started anew
    bool light;
    int restarts = 0;  // of its deadlines, without a beat between
    Liveness liveness = Liveness::kAlive;
    std::optional<TimePoint> turned = {};  // suspect, at its deadline
    bool held = false;                     // its verdict waits one more bound
    bool doubted = false;  // not heard since the observer doubted itself because of many
    std::optional<TimePoint> closed = {};      // its control connection, not resumed since
    std::optional<TimePoint> grace_ends = {};  // set with `closed`
    bool closed_in_silence = false;            // it was suspect then
  };
  struct Lag {
    TimePoint at;
    Duration lag;
  };

  [[nodiscard]] Watched* find_living(Incarnation who);
  [[nodiscard]] std::optional<LivenessChange> recover(Incarnation who, Watched& watched,
                                                      TimePoint now) const;
  void doubt_itself(TimePoint now);
  void start_anew(TimePoint now);
  [[nodiscard]] bool many_turned(TimePoint newest) const;
  [[nodiscard]] bool all_are_silent(TimePoint now) const;
  [[nodiscard]] bool is_silent(const Watched& watched, TimePoint now) const;
  [[nodiscard]] TimePoint silence_ends(const Watched& watched) const;
  /// Nothing is due of it, whatever the time.
  [[nodiscard]] bool is_spared(const Watched& watched) const;
  [[nodiscard]] std::optional<LivenessChange> judge(Incarnation who, Watched& watched,
                                                    TimePoint now) const;
  [[nodiscard]] Evidence evidence(const Watched& watched, EvidenceSource source,
                                  TimePoint now) const;
  [[nodiscard]] Duration extended_grace() const;

  Settings settings_;
  std::map<Incarnation, Watched> watched_;  // ordered, so that two runs report in the same order
  std::deque<Lag> lags_;                    // of the last down_after, falling: front is the largest
  std::optional<TimePoint> late_at_;        // of the newest observer_late()
  std::optional<TimePoint> many_until_;     // who turns suspect before is held with the many
  bool all_silent_ = false;                 // as of the last advance()
  bool outsider_ = false;
};

}  // namespace liminal
