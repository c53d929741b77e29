// When an incarnation turns suspect, down and alive again, on which evidence, and that down is
// final.
#include "common/liveness/failure_detector.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <vector>

#include "common/base/random.hpp"

namespace liminal {

void PrintTo(const LivenessChange& change, std::ostream* out) {
  *out << change.who.value() << " -> " << int(change.now);
  if (!change.evidence) return;
  *out << " source " << int(change.evidence->source) << " heard "
       << to_ms(change.evidence->last_heard) << " ms, detected "
       << to_ms(change.evidence->detection) << " ms, lag " << to_ms(change.evidence->observer_lag)
       << " ms";
}

namespace {

using namespace std::chrono_literals;
using Changes = std::vector<LivenessChange>;

constexpr Incarnation kA{1};
constexpr Incarnation kB{2};
constexpr TimePoint kStart{1000s};

LivenessChange alive(Incarnation who) { return {who, Liveness::kAlive, std::nullopt}; }
LivenessChange suspect(Incarnation who) { return {who, Liveness::kSuspect, std::nullopt}; }
LivenessChange silent(Incarnation who, Duration silence, Duration lag = 0ns) {
  return {who, Liveness::kDown, Evidence{EvidenceSource::kHeartbeatsMissed, silence, silence, lag}};
}
LivenessChange closed(Incarnation who, Duration last_heard, Duration detection,
                      Duration lag = 0ns) {
  return {who, Liveness::kDown,
          Evidence{EvidenceSource::kConnectionClosed, last_heard, detection, lag}};
}

constexpr FailureDetector::Settings kSettings{
    .beat_interval = 250ms, .suspect_after = 2s, .down_after = 5s, .reconnect_grace = 500ms};

class FailureDetectorTest : public ::testing::Test {
 protected:
  FailureDetectorTest() { detector.watch(kA, kStart); }

  FailureDetector detector{kSettings};
};

TEST_F(FailureDetectorTest, SilenceTurnsSuspectThenDownExactlyAtTheLimits) {
  EXPECT_EQ(detector.next_deadline(), kStart + 2s);
  EXPECT_EQ(detector.advance(kStart + 2s - 1ns), Changes{});
  EXPECT_EQ(detector.liveness(kA), Liveness::kAlive);
  EXPECT_EQ(detector.advance(kStart + 2s), Changes{suspect(kA)});
  EXPECT_EQ(detector.liveness(kA), Liveness::kSuspect);
  EXPECT_EQ(detector.next_deadline(), kStart + 5s);
  EXPECT_EQ(detector.advance(kStart + 5s - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 5s), Changes{silent(kA, 5s)});
  EXPECT_EQ(detector.liveness(kA), Liveness::kDown);
  EXPECT_EQ(detector.next_deadline(), std::nullopt);
  EXPECT_EQ(detector.advance(kStart + 50s), Changes{});
}

TEST_F(FailureDetectorTest, SilenceCountsFromTheSendingOfTheEchoedBeat) {
  EXPECT_EQ(detector.heard_from(kA, kStart + 1s, kStart + 1900ms), std::nullopt);
  EXPECT_EQ(detector.advance(kStart + 3s - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 3s), Changes{suspect(kA)});
  EXPECT_EQ(detector.advance(kStart + 6s - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 6s), Changes{silent(kA, 5s)});
}

TEST_F(FailureDetectorTest, AnEchoThatIsOnlyRepeatedDoesNotKeepAlive) {
  EXPECT_EQ(detector.heard_from(kA, kStart + 100ms, kStart + 110ms), std::nullopt);
  EXPECT_EQ(detector.heard_from(kA, kStart + 100ms, kStart + 2s), std::nullopt);
  EXPECT_EQ(detector.heard_from(kA, kStart + 50ms, kStart + 2s), std::nullopt);
  EXPECT_EQ(detector.advance(kStart + 2100ms), Changes{suspect(kA)});
  EXPECT_EQ(detector.heard_from(kA, kStart + 100ms, kStart + 3s), std::nullopt);
  EXPECT_EQ(detector.heard_from(kA, kStart + 50ms, kStart + 3s), std::nullopt);
  EXPECT_EQ(detector.liveness(kA), Liveness::kSuspect);
  EXPECT_EQ(detector.advance(kStart + 5100ms), Changes{silent(kA, 5s)});
}

TEST_F(FailureDetectorTest, ASuspectThatIsHeardIsAliveAgain) {
  EXPECT_EQ(detector.advance(kStart + 2s), Changes{suspect(kA)});
  EXPECT_EQ(detector.heard_from(kA, kStart + 3s, kStart + 3100ms), alive(kA));
  EXPECT_EQ(detector.heard_from(kA, kStart + 3050ms, kStart + 3100ms), std::nullopt);
  EXPECT_EQ(detector.advance(kStart + 5049ms), Changes{});
}

TEST_F(FailureDetectorTest, AnEchoTooOldToClearTheSuspicionPutsOffTheVerdictOnly) {
  EXPECT_EQ(detector.advance(kStart + 3s), Changes{suspect(kA)});
  EXPECT_EQ(detector.heard_from(kA, kStart + 1s, kStart + 3s), std::nullopt);
  EXPECT_EQ(detector.advance(kStart + 6s - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 6s), Changes{silent(kA, 5s)});
}

TEST_F(FailureDetectorTest, ABeatThatIsReadLateButBeforeTheVerdictCounts) {
  EXPECT_EQ(detector.heard_from(kA, kStart + 7s, kStart + 8s), std::nullopt);
  EXPECT_EQ(detector.advance(kStart + 8s), Changes{});
}

TEST_F(FailureDetectorTest, WhoeverIsMuchTooLongSilentIsDownWithoutASuspicionBefore) {
  EXPECT_EQ(detector.advance(kStart + 9s), Changes{silent(kA, 9s)});
}

TEST_F(FailureDetectorTest, DownIsFinalWhateverComes) {
  ASSERT_EQ(detector.advance(kStart + 5s), Changes{silent(kA, 5s)});
  EXPECT_EQ(detector.heard_from(kA, kStart + 6s, kStart + 6s), std::nullopt);
  EXPECT_EQ(detector.resumed(kA, kStart + 6s), std::nullopt);
  detector.connection_closed(kA, kStart + 6s);
  detector.observer_late(1s, kStart + 6s);
  EXPECT_EQ(detector.advance(kStart + 60s), Changes{});
  EXPECT_EQ(detector.liveness(kA), Liveness::kDown);
  EXPECT_EQ(detector.next_deadline(), std::nullopt);
}

TEST_F(FailureDetectorTest, AClosingIsAVerdictExactlyAtTheEndOfTheGrace) {
  EXPECT_EQ(detector.heard_from(kA, kStart + 900ms, kStart + 901ms), std::nullopt);
  detector.connection_closed(kA, kStart + 1s);
  EXPECT_EQ(detector.next_deadline(), kStart + 1500ms);
  EXPECT_EQ(detector.advance(kStart + 1500ms - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 1500ms), Changes{closed(kA, 600ms, 500ms)});
}

TEST_F(FailureDetectorTest, ASecondClosingAndABeatReadLateDoNotProlongTheGrace) {
  detector.connection_closed(kA, kStart + 1s);
  detector.connection_closed(kA, kStart + 1400ms);
  EXPECT_EQ(detector.heard_from(kA, kStart + 1s, kStart + 1400ms), std::nullopt);
  EXPECT_EQ(detector.advance(kStart + 1500ms), Changes{closed(kA, 500ms, 500ms)});
}

TEST_F(FailureDetectorTest, AResumeWithinTheGraceCancelsIt) {
  detector.connection_closed(kA, kStart + 1s);
  EXPECT_EQ(detector.resumed(kA, kStart + 1500ms - 1ns), std::nullopt);
  EXPECT_EQ(detector.advance(kStart + 3500ms - 2ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 3500ms - 1ns), Changes{suspect(kA)});
  EXPECT_EQ(detector.resumed(kA, kStart + 4s), alive(kA));
  detector.connection_closed(kA, kStart + 5s);
  EXPECT_EQ(detector.next_deadline(), kStart + 5500ms);
}

TEST_F(FailureDetectorTest, WithoutAGraceAClosingIsAVerdictAtOnce) {
  FailureDetector strict{
      {.beat_interval = 1s, .suspect_after = 2s, .down_after = 5s, .reconnect_grace = 0s}};
  strict.watch(kA, kStart);
  strict.connection_closed(kA, kStart + 1s);
  EXPECT_EQ(strict.advance(kStart + 1s), Changes{closed(kA, 1s, 0s)});
}

// The cause whose limit ended first is the evidence, also when both are noticed at once.
TEST(FailureDetectorEvidenceTest, TheEarlierDeadlineIsTheCause) {
  struct Case {
    const char* name;
    Duration closing;
    Duration judged;
    LivenessChange expected;
  };
  // clang-format off
  const std::vector<Case> cases = {
      {"closing long before",     1s,             9s, closed(kA, 9s, 8s)},
      {"grace ends just before",  4500ms - 1ns,   9s, closed(kA, 9s, 4500ms + 1ns)},
      {"both end at once",        4500ms,         9s, closed(kA, 9s, 4500ms)},
      {"silence ends just before", 4500ms + 1ns,  9s, silent(kA, 9s)},
      {"closing while suspect",   3s,         3500ms, closed(kA, 3500ms, 500ms)},
      {"closing at the end",      4900ms,         5s, silent(kA, 5s)},
  };
  // clang-format on
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    FailureDetector detector{kSettings};
    detector.watch(kA, kStart);
    detector.connection_closed(kA, kStart + c.closing);
    EXPECT_EQ(detector.advance(kStart + c.judged), Changes{c.expected});
  }
}

TEST_F(FailureDetectorTest, ALateObserverStartsEveryDeadlineAnew) {
  detector.watch(kB, kStart);
  detector.set_outsider(true);  // so that both, all there are, are judged
  EXPECT_EQ(detector.advance(kStart + 2s), (Changes{suspect(kA), suspect(kB)}));
  EXPECT_EQ(detector.heard_from(kB, kStart + 3s, kStart + 3s), alive(kB));
  detector.observer_late(1500ms, kStart + 6s);
  EXPECT_EQ(detector.liveness(kA), Liveness::kSuspect);
  EXPECT_EQ(detector.advance(kStart + 8s - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 8s), Changes{suspect(kB)});
  EXPECT_EQ(detector.advance(kStart + 11s - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 11s),
            (Changes{silent(kA, 11s, 1500ms), silent(kB, 8s, 1500ms)}));
}

TEST_F(FailureDetectorTest, DeadlinesStartAnewAtMostThreeTimesWithoutABeatBetween) {
  for (const Duration at : {1s, 2s, 3s}) detector.observer_late(300ms, kStart + at);
  EXPECT_EQ(detector.heard_from(kA, kStart, kStart + 4s), std::nullopt);  // an old echo
  detector.observer_late(300ms, kStart + 4s);
  EXPECT_EQ(detector.advance(kStart + 5s), Changes{suspect(kA)});  // 2 s after the third
  detector.observer_late(300ms, kStart + 6s);
  EXPECT_EQ(detector.advance(kStart + 8s - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 8s), Changes{silent(kA, 8s, 300ms)});
}

TEST_F(FailureDetectorTest, ABeatAllowsThreeMoreStarts) {
  for (const Duration at : {1s, 2s, 3s}) detector.observer_late(300ms, kStart + at);
  EXPECT_EQ(detector.heard_from(kA, kStart + 3s, kStart + 3s), std::nullopt);
  for (const Duration at : {4s, 5s, 6s, 7s}) detector.observer_late(300ms, kStart + at);
  EXPECT_EQ(detector.advance(kStart + 8s - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 8s), Changes{suspect(kA)});
  EXPECT_EQ(detector.advance(kStart + 11s), Changes{silent(kA, 8s, 300ms)});
}

TEST_F(FailureDetectorTest, ClosingsOfALateMomentGetDownAfterInsteadOfTheGrace) {
  detector.watch(kB, kStart);
  detector.connection_closed(kA, kStart + 1s);
  detector.observer_late(400ms, kStart + 1200ms);
  detector.connection_closed(kB, kStart + 1200ms);  // read in the same turn
  for (const Duration at : {4s, 5s}) {
    EXPECT_EQ(detector.heard_from(kA, kStart + at, kStart + at), std::nullopt);
    EXPECT_EQ(detector.heard_from(kB, kStart + at, kStart + at), std::nullopt);
  }
  EXPECT_EQ(detector.advance(kStart + 6200ms - 1ns), Changes{});
  EXPECT_EQ(detector.advance(kStart + 6200ms),
            (Changes{closed(kA, 1200ms, 5200ms, 400ms), closed(kB, 1200ms, 5s, 400ms)}));
}

TEST_F(FailureDetectorTest, AGraceThatRunsStartsAnewWithALateObserver) {
  detector.connection_closed(kA, kStart);
  detector.observer_late(5s, kStart + 5100ms);
  EXPECT_EQ(detector.advance(kStart + 5100ms), Changes{});
  EXPECT_EQ(detector.advance(kStart + 10100ms - 1ns), Changes{suspect(kA)});
  EXPECT_EQ(detector.advance(kStart + 10100ms), Changes{closed(kA, 10100ms, 10100ms, 5s)});
}

TEST_F(FailureDetectorTest, AGraceStartsAnewAtMostThreeTimes) {
  detector.connection_closed(kA, kStart);
  for (const Duration at : {1s, 2s, 3s, 4s}) detector.observer_late(300ms, kStart + at);
  EXPECT_EQ(detector.advance(kStart + 8s - 1ns), Changes{suspect(kA)});
  EXPECT_EQ(detector.advance(kStart + 8s), Changes{closed(kA, 8s, 8s, 300ms)});
}

TEST_F(FailureDetectorTest, AClosingAfterTheLateMomentGetsTheGrace) {
  detector.observer_late(400ms, kStart + 1s);
  detector.connection_closed(kA, kStart + 1s + 1ns);
  EXPECT_EQ(detector.next_deadline(), kStart + 1500ms + 1ns);
}

TEST_F(FailureDetectorTest, ALateObserverNeverShortensALongGrace) {
  FailureDetector patient{
      {.beat_interval = 250ms, .suspect_after = 2s, .down_after = 5s, .reconnect_grace = 20s}};
  patient.watch(kA, kStart);
  patient.connection_closed(kA, kStart);
  patient.observer_late(400ms, kStart);
  EXPECT_EQ(patient.heard_from(kA, kStart + 19s, kStart + 19s), std::nullopt);
  EXPECT_EQ(patient.advance(kStart + 20s - 1ns), Changes{});
  EXPECT_EQ(patient.advance(kStart + 20s), Changes{closed(kA, 1s, 20s)});
}

TEST_F(FailureDetectorTest, EvidenceTellsTheLargestLagOfTheLastDownAfter) {
  struct Case {
    Duration judged;
    Duration lag;
  };
  // lags of 900 ms at 1 s, 300 ms at 2 s, 600 ms at 3 s
  for (const Case& c :
       {Case{6s, 900ms}, Case{6s + 1ns, 600ms}, Case{8s, 600ms}, Case{8s + 1ns, 0ms}}) {
    SCOPED_TRACE(to_ms(c.judged));
    FailureDetector fresh{kSettings};
    fresh.watch(kA, kStart);
    fresh.observer_late(900ms, kStart + 1s);
    fresh.observer_late(300ms, kStart + 2s);
    fresh.observer_late(600ms, kStart + 3s);
    EXPECT_EQ(fresh.heard_from(kA, kStart + 5s, kStart + 5s), std::nullopt);
    fresh.connection_closed(kA, kStart + 5s);
    EXPECT_EQ(fresh.advance(kStart + c.judged),
              Changes{closed(kA, c.judged - 5s, c.judged - 5s, c.lag)});
  }
}

TEST_F(FailureDetectorTest, WhoeverIsForgottenIsNotJudged) {
  detector.forget(kA);
  EXPECT_EQ(detector.liveness(kA), std::nullopt);
  EXPECT_EQ(detector.next_deadline(), std::nullopt);
  EXPECT_EQ(detector.heard_from(kA, kStart, kStart), std::nullopt);
  EXPECT_EQ(detector.resumed(kA, kStart), std::nullopt);
  detector.connection_closed(kA, kStart);
  EXPECT_EQ(detector.advance(kStart + 60s), Changes{});
}

TEST_F(FailureDetectorTest, ChangesComeInOrderOfIncarnation) {
  detector.watch(Incarnation{7}, kStart - 1s);
  detector.watch(Incarnation{3}, kStart + 1s);
  EXPECT_EQ(detector.advance(kStart + 3s),
            (Changes{suspect(kA), suspect(Incarnation{3}), suspect(Incarnation{7})}));
}

// --- what is seen of many at once ---

/// Nodes 1 to n that joined at the start; those told to be are heard again and again.
class ManyNodes {
 public:
  explicit ManyNodes(std::uint64_t full, std::uint64_t light = 0) {
    for (std::uint64_t i = 1; i <= full + light; ++i) {
      detector.watch(Incarnation{i}, kStart, i > full);
    }
  }
  /// Their newest echo is of a beat sent at `sent`.
  Changes hear(std::uint64_t first, std::uint64_t last, Duration sent) {
    Changes changes;
    for (std::uint64_t i = first; i <= last; ++i) {
      const auto change = detector.heard_from(Incarnation{i}, kStart + sent, kStart + sent);
      if (change) changes.push_back(*change);
    }
    return changes;
  }
  Changes at(Duration when) { return detector.advance(kStart + when); }
  std::size_t down_at(Duration when) {
    std::size_t down = 0;
    for (const LivenessChange& change : at(when)) down += change.now == Liveness::kDown ? 1 : 0;
    return down;
  }

  FailureDetector detector{kSettings};
};

TEST(ManyAtOnceTest, VerdictsWaitOneMoreBoundFromThreeAndMoreThanAThirdOn) {
  struct Case {
    const char* name;
    std::uint64_t full, light, silent;  // the first of them
    bool waits;
  };
  // clang-format off
  for (const Case& c : {Case{"two of two and a light one", 2, 1, 2, false},
                        Case{"two of four",      4, 0, 2, false},
                        Case{"three of four",    4, 0, 3, true},
                        Case{"three of eight",   8, 0, 3, true},
                        Case{"three of nine, a third", 9, 0, 3, false},
                        Case{"four of nine",     9, 0, 4, true},
                        Case{"three of eight, and light ones", 8, 9, 3, true},
                        Case{"light ones are not counted", 3, 4, 2, false}}) {
    // clang-format on
    SCOPED_TRACE(c.name);
    ManyNodes nodes{c.full, c.light};
    const std::uint64_t all = c.full + c.light;
    for (const Duration sent : {1s, 2s, 3s, 4s, 5s, 6s, 7s, 8s, 9s, 10s}) {
      (void)nodes.hear(c.silent + 1, all, sent);
      (void)nodes.at(sent);
      const bool past = sent >= (c.waits ? 10s : 5s);
      EXPECT_EQ(nodes.detector.liveness(kA), past        ? Liveness::kDown
                                             : sent < 2s ? Liveness::kAlive
                                                         : Liveness::kSuspect)
          << to_ms(sent);
      EXPECT_EQ(nodes.detector.doubt(),
                c.waits && sent >= 2s && !past ? Doubt::kMany : Doubt::kNone);
    }
  }
}

TEST(ManyAtOnceTest, TheVerdictThatWaitedFallsExactlyAfterTheSecondBound) {
  ManyNodes nodes{4};
  (void)nodes.hear(4, 4, 1s);
  (void)nodes.at(2s);
  (void)nodes.hear(4, 4, 9s);
  EXPECT_EQ(nodes.at(10s - 1ns), Changes{});
  EXPECT_EQ(nodes.detector.next_deadline(), kStart + 10s);
  EXPECT_EQ(nodes.at(10s), (Changes{silent(Incarnation{1}, 10s), silent(Incarnation{2}, 10s),
                                    silent(Incarnation{3}, 10s)}));
}

TEST(ManyAtOnceTest, TogetherIsWithinTwoBeats) {
  for (const auto& [apart, waits] : {std::pair{500ms + 0ns, true}, std::pair{500ms + 1ns, false}}) {
    SCOPED_TRACE(apart.count());
    ManyNodes nodes{4};
    (void)nodes.hear(3, 3, apart);
    (void)nodes.hear(4, 4, 4s);
    for (const Duration when : {2s + 0ns, 2s + apart, 4s + 0ns}) EXPECT_EQ(nodes.down_at(when), 0u);
    EXPECT_EQ(nodes.down_at(5s), waits ? 0u : 2u);
  }
}

TEST(ManyAtOnceTest, WhoTurnsSuspectWhileTheManyAreHeldIsHeldToo) {
  ManyNodes nodes{6};
  (void)nodes.hear(4, 6, 2s);
  EXPECT_EQ(nodes.down_at(2s), 0u);
  (void)nodes.hear(5, 6, 3s);
  EXPECT_EQ(nodes.down_at(4s), 0u);  // the fourth turns suspect
  (void)nodes.hear(5, 6, 12s);
  EXPECT_EQ(nodes.down_at(10s), 3u);
  EXPECT_EQ(nodes.detector.liveness(Incarnation{4}), Liveness::kSuspect);
  EXPECT_EQ(nodes.down_at(12s - 1ns), 0u);
  EXPECT_THAT(nodes.at(12s), ::testing::Contains(silent(Incarnation{4}, 10s)));
}

TEST(ManyAtOnceTest, OneOfTheManyThatIsHeardIsJudgedAsAnyoneAfterwards) {
  for (const auto& [heard, is_held] : {std::pair{5s - 1ns, true}, std::pair{5s + 0ns, false}}) {
    SCOPED_TRACE(heard.count());
    ManyNodes nodes{4};
    (void)nodes.hear(4, 4, 1s);
    (void)nodes.at(2s);
    EXPECT_EQ(nodes.hear(1, 1, heard), Changes{alive(kA)});
    (void)nodes.hear(4, 4, heard + 1s);
    (void)nodes.at(heard + 2s);  // until 7 s whoever turns suspect is held with the many
    (void)nodes.hear(4, 4, 9s);
    EXPECT_EQ(nodes.down_at(heard + 5s - 1ns), 0u);
    (void)nodes.at(10s);
    EXPECT_EQ(nodes.detector.liveness(kA), is_held ? Liveness::kSuspect : Liveness::kDown);
  }
}

TEST(ManyAtOnceTest, AClosingOfANodeThatIsHeardIsJudgedAsAlways) {
  ManyNodes nodes{5};
  (void)nodes.hear(4, 5, 1s);
  (void)nodes.at(2s);
  nodes.detector.connection_closed(Incarnation{4}, kStart + 2s);
  EXPECT_EQ(nodes.at(2500ms), Changes{closed(Incarnation{4}, 1500ms, 500ms)});
}

TEST(ManyAtOnceTest, AClosingOfOneOfTheManyGetsDownAfter) {
  ManyNodes nodes{4};
  (void)nodes.hear(4, 4, 1s);
  (void)nodes.at(2s);
  nodes.detector.connection_closed(kA, kStart + 3s);
  (void)nodes.hear(4, 4, 7s);
  EXPECT_EQ(nodes.at(8s - 1ns), Changes{});
  EXPECT_EQ(nodes.at(8s), Changes{closed(kA, 8s, 5s)});
}

TEST(AllSilentTest, NobodyIsJudgedUntilOneIsHeardThenEveryDeadlineStartsAnew) {
  ManyNodes nodes{2};
  EXPECT_EQ(nodes.at(2s), (Changes{suspect(kA), suspect(kB)}));
  EXPECT_EQ(nodes.detector.doubt(), Doubt::kAll);
  EXPECT_EQ(nodes.detector.next_deadline(), std::nullopt);
  EXPECT_EQ(nodes.at(1h), Changes{});

  EXPECT_EQ(nodes.hear(2, 2, 1h), Changes{alive(kB)});
  EXPECT_LE(nodes.detector.next_deadline(), kStart + 1h);
  EXPECT_EQ(nodes.at(1h), Changes{});
  EXPECT_EQ(nodes.detector.doubt(), Doubt::kNone);
  (void)nodes.hear(2, 2, 1h + 4s);
  EXPECT_EQ(nodes.at(1h + 5s - 1ns), Changes{});
  EXPECT_EQ(nodes.at(1h + 5s), Changes{silent(kA, 1h + 5s)});
}

TEST(AllSilentTest, OneNodeAloneIsJudged) {
  ManyNodes nodes{1};
  EXPECT_EQ(nodes.down_at(5s), 1u);
}

TEST(AllSilentTest, ALightNodeThatIsHeardHasTheRestJudged) {
  ManyNodes nodes{2, 1};
  (void)nodes.hear(3, 3, 1s);
  (void)nodes.at(2s);
  (void)nodes.hear(3, 3, 4s);
  EXPECT_EQ(nodes.down_at(5s - 1ns), 0u);
  EXPECT_EQ(nodes.down_at(5s), 2u);
}

TEST(AllSilentTest, AJoinAndALeaveAreHeardToo) {
  ManyNodes joined{2};
  (void)joined.at(2s);
  joined.detector.watch(Incarnation{3}, kStart + 20s);
  EXPECT_EQ(joined.at(20s), Changes{});
  (void)joined.hear(3, 3, 24s);
  EXPECT_EQ(joined.down_at(25s - 1ns), 0u);
  EXPECT_EQ(joined.down_at(25s), 2u);

  ManyNodes left{2};
  (void)left.at(2s);
  left.detector.forget(kB);
  EXPECT_EQ(left.at(20s), Changes{});
  EXPECT_EQ(left.down_at(25s - 1ns), 0u);
  EXPECT_EQ(left.down_at(25s), 1u);
}

TEST(AllSilentTest, WhoClosedWhileItWasHeardIsJudgedAndTheRestIsNot) {
  FailureDetector patient{
      {.beat_interval = 250ms, .suspect_after = 2s, .down_after = 5s, .reconnect_grace = 4s}};
  for (const std::uint64_t i : {1u, 2u, 3u}) patient.watch(Incarnation{i}, kStart);
  patient.connection_closed(kA, kStart + 1s);
  (void)patient.advance(kStart + 2s);
  EXPECT_EQ(patient.doubt(), Doubt::kAll);
  EXPECT_EQ(patient.next_deadline(), kStart + 5s);
  EXPECT_EQ(patient.advance(kStart + 5s), Changes{closed(kA, 5s, 4s)});
  EXPECT_EQ(patient.advance(kStart + 1h), Changes{});
}

TEST(AllSilentTest, ClosingsOfTheSilentWaitAndGetDownAfterOnceOneIsHeard) {
  ManyNodes nodes{3};
  (void)nodes.at(2s);
  nodes.detector.connection_closed(kA, kStart + 4s);
  EXPECT_EQ(nodes.at(30s), Changes{});
  EXPECT_EQ(nodes.detector.resumed(kB, kStart + 30s), alive(kB));
  EXPECT_EQ(nodes.at(30s), Changes{});
  nodes.detector.connection_closed(Incarnation{3}, kStart + 31s);
  (void)nodes.hear(2, 2, 34s);
  EXPECT_EQ(nodes.at(35s - 1ns), Changes{});
  EXPECT_EQ(nodes.detector.resumed(Incarnation{3}, kStart + 35s), alive(Incarnation{3}));
  EXPECT_THAT(nodes.at(35s), ::testing::Contains(closed(kA, 35s, 31s)));
}

TEST(AllSilentTest, OneThatFlapsDoesNotKeepTheDeadAlive) {
  ManyNodes nodes{2};
  (void)nodes.at(2s);
  std::size_t down = 0;
  for (const Duration when : {3s, 6s, 9s, 12s, 15s}) {
    (void)nodes.hear(2, 2, when);
    down += nodes.down_at(when);
    EXPECT_EQ(down, when == 15s ? 1u : 0u) << to_ms(when);  // three times anew, and no more
    (void)nodes.at(when + 2s);
  }
  EXPECT_EQ(nodes.detector.liveness(kA), Liveness::kDown);
}

TEST(AllSilentTest, AnOutsiderThatWaitsForAVerdictGetsItAfterOneMoreBound) {
  ManyNodes nodes{2};
  (void)nodes.at(2s);
  nodes.detector.set_outsider(true);
  EXPECT_EQ(nodes.at(60s), Changes{});
  EXPECT_EQ(nodes.down_at(65s - 1ns), 0u);
  EXPECT_EQ(nodes.down_at(65s), 2u);
}

// Whatever the interleaving: down at most once and nothing afterwards, no two equal changes in a
// row, nothing due before next_deadline(), nothing of it left due after advance().
TEST(FailureDetectorPropertyTest, ChangesAreConsistentInAnyInterleaving) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    FailureDetector detector{kSettings};
    std::map<Incarnation, Liveness> known;
    TimePoint now = kStart;
    std::uint64_t next_incarnation = 1;

    const auto apply = [&](const LivenessChange& change) {
      ASSERT_TRUE(known.contains(change.who));
      ASSERT_NE(known.at(change.who), Liveness::kDown);
      ASSERT_NE(known.at(change.who), change.now);
      ASSERT_EQ(change.evidence.has_value(), change.now == Liveness::kDown);
      if (change.evidence) {
        ASSERT_GE(change.evidence->last_heard, 0ns);
        ASSERT_GE(change.evidence->detection, 0ns);
      }
      known.at(change.who) = change.now;
    };

    for (int step = 0; step < 150; ++step) {
      now += Duration{random.below(2) == 0 ? 0 : std::int64_t(random.below(1'500'000'000))};
      const Incarnation who{1 + random.below(next_incarnation)};
      switch (random.below(8)) {
        case 0:
          if (known.size() < 4) {
            const Incarnation fresh{next_incarnation++};
            detector.watch(fresh, now, random.below(3) == 0);
            known.emplace(fresh, Liveness::kAlive);
          }
          break;
        case 1:
        case 2:
          if (auto change = detector.heard_from(
                  who, now - Duration{std::int64_t(random.below(3'000'000'000))}, now))
            apply(*change);
          break;
        case 3:
          detector.connection_closed(who, now);
          break;
        case 4:
          if (auto change = detector.resumed(who, now)) apply(*change);
          break;
        case 5:
          if (random.below(4) == 0) detector.observer_late(300ms, now);
          if (random.below(4) == 0) detector.set_outsider(random.below(2) == 0);
          break;
        case 6:
          if (random.below(4) == 0) {
            detector.forget(who);
            known.erase(who);
          }
          break;
        default: {
          const auto due = detector.next_deadline();
          const Changes changes = detector.advance(now);
          if (!due || *due > now) {
            ASSERT_EQ(changes, Changes{});
          }
          for (const LivenessChange& change : changes) apply(change);
          const auto next = detector.next_deadline();
          ASSERT_GT(next.value_or(TimePoint::max()), now);
        }
      }
      if (::testing::Test::HasFatalFailure()) return;
      for (const auto& [incarnation, liveness] : known)
        ASSERT_EQ(detector.liveness(incarnation), liveness);
    }
  }
}

// As long as echoes come within suspect_after and closings are resumed within the grace, nobody is
// ever suspected; and a node that falls silent is down within its bound, restarts included.
TEST(FailureDetectorPropertyTest, NoFalseDeathAndNoMissedOne) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    FailureDetector detector{kSettings};
    detector.watch(kA, kStart);
    detector.watch(kB, kStart);
    TimePoint now = kStart;
    const TimePoint silence_of_b = kStart + Duration{std::int64_t(random.below(10'000'000'000))};
    std::optional<TimePoint> down_b;

    while (now < kStart + 40s) {
      const TimePoint sent = now;
      now += Duration{std::int64_t(random.below(1'900'000'000))};
      ASSERT_EQ(detector.heard_from(kA, sent, now), std::nullopt);
      if (now < silence_of_b) (void)detector.heard_from(kB, sent, now);
      if (random.below(4) == 0) detector.connection_closed(kA, now);
      if (random.below(5) == 0) detector.observer_late(300ms, now);
      for (const LivenessChange& change : detector.advance(now)) {
        ASSERT_NE(change.who, kA);
        if (change.now != Liveness::kDown) continue;
        down_b = now;
        ASSERT_GE(change.evidence->last_heard, kSettings.down_after);
      }
      now += Duration{std::int64_t(random.below(90'000'000))};
      ASSERT_EQ(detector.resumed(kA, now), std::nullopt);
    }
    ASSERT_TRUE(down_b);
    ASSERT_LE(*down_b - silence_of_b, 4 * kSettings.down_after + 2s);  // four bounds and a turn
  }
}

}  // namespace
}  // namespace liminal
