// What one session promises, case by case: order, acknowledgement, resending, credit, turns, large
// payloads, and what a peer may not do.
#include "common/session/session.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <string>
#include <vector>

#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr TimePoint kStart{1000s};
constexpr SessionNumber kNumber{3};
constexpr std::size_t kAllFrames = 1000;

Pid pid(std::uint64_t serial) { return {NodeName{"node-a"}, Incarnation{7}, Serial{serial}}; }
const Pid kTo{NodeName{"node-b"}, Incarnation{9}, Serial{1}};

Signal message(std::uint64_t from, std::uint64_t id, std::size_t bytes = 10) {
  return signal::Send{pid(from), kTo,
                      Envelope{.kind = EnvelopeKind::kRequest,
                               .id = {0, id},
                               .conversation = {0, 1},
                               .payload = Payload{std::string(bytes, char('a' + id % 26))}}};
}
Signal link(std::uint64_t from, std::uint64_t id) {
  return signal::Link{pid(from), kTo, LinkId{id}};
}

std::uint64_t id_of(const Signal& signal) {
  if (const auto* send = std::get_if<signal::Send>(&signal)) return send->envelope.id.low;
  return std::get<signal::Link>(signal).link.value();
}
std::vector<std::uint64_t> ids_of(const std::vector<Signal>& signals) {
  std::vector<std::uint64_t> ids;
  for (const Signal& signal : signals) ids.push_back(id_of(signal));
  return ids;
}
std::size_t cost_of(const Signal& signal) { return wire::credit_bytes(Item{signal}); }

class SessionTest : public ::testing::Test {
 protected:
  static Session make(Session::Settings settings = {}) { return Session{kNumber, settings}; }

  /// All frames of `from` reach `to`, until neither has anything more at `now`; `to` and `from`
  /// return what they get at once.
  std::vector<std::uint64_t> exchange(Session& from, Session& to, TimePoint now) {
    std::vector<std::uint64_t> ids;
    for (int turn = 0; turn < 1000; ++turn) {
      const auto there = from.collect(now, kAllFrames);
      for (const std::uint64_t id : deliver(there, to, now)) ids.push_back(id);
      const auto back = to.collect(now, kAllFrames);
      (void)deliver(back, from, now);
      if (there.empty() && back.empty()) return ids;
    }
    ADD_FAILURE() << "they never fall silent";
    return ids;
  }

  static std::vector<std::uint64_t> deliver(const std::vector<SessionFrame>& frames, Session& to,
                                            TimePoint now) {
    std::vector<std::uint64_t> ids;
    for (const SessionFrame& frame : frames) {
      const auto received = to.receive(frame, now);
      EXPECT_TRUE(received) << received.error().detail;
      if (!received) continue;
      for (const Signal& signal : received->signals) {
        ids.push_back(id_of(signal));
        to.returned(signal);
      }
    }
    return ids;
  }

  Session a = make();
  Session b = make();
};

TEST_F(SessionTest, WhatWaitsIsWeighedUntilItIsAcknowledged) {
  const Signal small = message(1, 1), large = message(2, 2, 3 * wire::kChunkBytesMax);
  a.send(small);
  a.send(large);
  a.send(link(1, 3));
  const std::size_t all = cost_of(small) + cost_of(large) + wire::kItemCreditBytes;
  EXPECT_EQ(a.waiting_bytes(), all);
  std::vector<std::uint64_t> unsettled;
  a.for_each_unsettled(
      [&](const signal::Send& send) { unsettled.push_back(send.envelope.id.low); });
  EXPECT_THAT(unsettled, ElementsAre(1, 2));

  const auto frames = a.collect(kStart, kAllFrames);
  EXPECT_EQ(a.waiting_bytes(), all + wire::kItemCreditBytes);  // and an offer
  (void)deliver(frames, b, kStart);
  exchange(b, a, kStart);
  exchange(a, b, kStart);
  exchange(b, a, kStart + 1s);
  ASSERT_TRUE(a.settled());
  EXPECT_EQ(a.waiting_bytes(), 0U);
}

TEST_F(SessionTest, ANewSessionHasNothingToSay) {
  EXPECT_TRUE(a.settled());
  EXPECT_THAT(a.collect(kStart, kAllFrames), IsEmpty());
  EXPECT_EQ(a.next_deadline(), std::nullopt);
}

TEST_F(SessionTest, SignalsArriveInOrderAndAreAcknowledgedExactlyAtTheLimit) {
  for (std::uint64_t i = 1; i <= 3; ++i) a.send(message(1, i));
  const auto frames = a.collect(kStart, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_EQ(frames[0].first_sequence, 1u);
  EXPECT_FALSE(frames[0].resend);
  EXPECT_THAT(deliver(frames, b, kStart), ElementsAre(1, 2, 3));

  EXPECT_EQ(b.next_deadline(), kStart + 10ms);
  EXPECT_THAT(b.collect(kStart + 10ms - 1ns, kAllFrames), IsEmpty());
  const auto acknowledgement = b.collect(kStart + 10ms, kAllFrames);
  ASSERT_THAT(acknowledgement, SizeIs(1));
  EXPECT_THAT(acknowledgement[0].items, IsEmpty());
  EXPECT_EQ(acknowledgement[0].next_expected, 4u);
  EXPECT_EQ(b.next_deadline(), std::nullopt);

  EXPECT_FALSE(a.settled());
  (void)deliver(acknowledgement, a, kStart + 10ms);
  EXPECT_TRUE(a.settled());
  EXPECT_EQ(a.next_deadline(), std::nullopt) << "an acknowledgement is not acknowledged";
}

TEST_F(SessionTest, WhateverIsSentBackCarriesTheAcknowledgement) {
  a.send(message(1, 1));
  (void)deliver(a.collect(kStart, kAllFrames), b, kStart);
  b.send(message(2, 2));
  const auto frames = b.collect(kStart, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_EQ(frames[0].next_expected, 2u);
  EXPECT_EQ(b.next_deadline(), kStart + 300ms) << "nothing else to tell";
  EXPECT_THAT(deliver(frames, a, kStart), ElementsAre(2));
  EXPECT_TRUE(a.settled());
}

TEST_F(SessionTest, ManyItemsAreAcknowledgedAtOnce) {
  for (std::uint64_t i = 1; i <= 63; ++i) a.send(link(1, i));
  (void)deliver(a.collect(kStart, kAllFrames), b, kStart);
  EXPECT_THAT(b.collect(kStart, kAllFrames), IsEmpty());
  a.send(link(1, 64));
  (void)deliver(a.collect(kStart, kAllFrames), b, kStart);
  EXPECT_EQ(b.next_deadline(), kStart);
  EXPECT_THAT(b.collect(kStart, kAllFrames), SizeIs(1));
  a.send(link(1, 65));
  (void)deliver(a.collect(kStart, kAllFrames), b, kStart);
  EXPECT_EQ(b.next_deadline(), kStart + 10ms) << "the count begins anew";
}

TEST_F(SessionTest, WhatWasHadAlreadyIsDroppedAndAcknowledgedAtOnce) {
  a.send(message(1, 1));
  const auto frames = a.collect(kStart, kAllFrames);
  (void)deliver(frames, b, kStart);
  (void)b.collect(kStart + 10ms, kAllFrames);  // lost

  const auto again = b.receive(frames[0], kStart + 20ms);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->duplicate);
  EXPECT_THAT(again->signals, IsEmpty());
  EXPECT_THAT(b.collect(kStart + 20ms, kAllFrames), SizeIs(1));
}

TEST_F(SessionTest, OfAFrameThatIsPartlyKnownTheRestIsTaken) {
  a.send(message(1, 1));
  (void)deliver(a.collect(kStart, kAllFrames), b, kStart);
  a.send(message(1, 2));
  a.reconnected();
  const auto frames = a.collect(kStart, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_EQ(frames[0].first_sequence, 1u);
  const auto received = b.receive(frames[0], kStart);
  ASSERT_TRUE(received);
  EXPECT_FALSE(received->duplicate);
  EXPECT_THAT(ids_of(received->signals), ElementsAre(2));
}

TEST_F(SessionTest, ForAGapItAsksOnceAndGetsWhatIsMissing) {
  a.send(message(1, 1));
  (void)a.collect(kStart, kAllFrames);  // lost
  a.send(message(1, 2));
  EXPECT_THAT(deliver(a.collect(kStart, kAllFrames), b, kStart), IsEmpty());
  const auto request = b.collect(kStart, kAllFrames);
  ASSERT_THAT(request, SizeIs(1));
  EXPECT_TRUE(request[0].resend);
  EXPECT_EQ(request[0].next_expected, 1u);

  a.send(message(1, 3));
  EXPECT_THAT(deliver(a.collect(kStart, kAllFrames), b, kStart), IsEmpty());
  EXPECT_THAT(b.collect(kStart, kAllFrames), IsEmpty()) << "asked already";

  (void)deliver(request, a, kStart);
  EXPECT_EQ(a.next_deadline(), kStart);
  EXPECT_THAT(deliver(a.collect(kStart, kAllFrames), b, kStart), ElementsAre(1, 2, 3));
}

TEST_F(SessionTest, ForAGapThatStaysItAsksAgainExactlyAfterResendAfter) {
  a.send(message(1, 1));
  (void)a.collect(kStart, kAllFrames);  // lost
  a.send(message(1, 2));
  const auto early = a.collect(kStart, kAllFrames);
  (void)deliver(early, b, kStart);
  EXPECT_THAT(b.collect(kStart, kAllFrames), SizeIs(1));  // lost
  (void)deliver(early, b, kStart + 300ms - 1ns);
  EXPECT_THAT(b.collect(kStart + 300ms - 1ns, kAllFrames), IsEmpty());
  (void)deliver(early, b, kStart + 300ms);
  const auto request = b.collect(kStart + 300ms, kAllFrames);
  ASSERT_THAT(request, SizeIs(1));
  EXPECT_TRUE(request[0].resend);
}

TEST_F(SessionTest, ForAnotherGapItAsksAtOnce) {
  for (const std::uint64_t i : {1u, 2u, 3u, 4u}) {
    a.send(message(1, i));
    auto frames = a.collect(kStart, kAllFrames);
    if (i % 2 == 0) (void)deliver(frames, b, kStart);  // the odd ones are lost
    if (i == 4) break;
    for (SessionFrame& request : b.collect(kStart, kAllFrames)) {
      EXPECT_TRUE(request.resend);
      (void)deliver({request}, a, kStart);
      (void)deliver(a.collect(kStart, kAllFrames), b, kStart);
    }
  }
  const auto request = b.collect(kStart, kAllFrames);
  ASSERT_THAT(request, SizeIs(1));
  EXPECT_TRUE(request[0].resend);
  EXPECT_EQ(request[0].next_expected, 3u);
}

TEST_F(SessionTest, AnEmptyFrameTellsOfAGapToo) {
  a.send(message(1, 1));
  (void)a.collect(kStart, kAllFrames);  // lost
  b.send(message(2, 9));
  (void)deliver(b.collect(kStart, kAllFrames), a, kStart);
  const auto acknowledgement = a.collect(kStart + 10ms, kAllFrames);
  ASSERT_THAT(acknowledgement, SizeIs(1));
  EXPECT_THAT(acknowledgement[0].items, IsEmpty());
  (void)deliver(acknowledgement, b, kStart + 10ms);
  const auto request = b.collect(kStart + 10ms, kAllFrames);
  ASSERT_THAT(request, SizeIs(1));
  EXPECT_TRUE(request[0].resend);
}

TEST_F(SessionTest, WithoutAcknowledgementAProbeGoesOutAndTheWaitDoubles) {
  a.send(message(1, 1));
  (void)a.collect(kStart, kAllFrames);
  TimePoint due = kStart;
  for (const Duration wait : {300ms, 600ms, 1200ms, 2400ms, 3000ms, 3000ms}) {
    due += wait;
    EXPECT_EQ(a.next_deadline(), due);
    EXPECT_THAT(a.collect(due - 1ns, kAllFrames), IsEmpty());
    EXPECT_THAT(a.collect(due, kAllFrames), SizeIs(1));
  }
  a.send(message(1, 2));
  EXPECT_THAT(a.collect(due, kAllFrames), IsEmpty()) << "until the probe is answered";
  ASSERT_TRUE(a.receive({kNumber, 1, 0, false, 1, {}}, due));
  EXPECT_THAT(a.collect(due, kAllFrames), IsEmpty()) << "no progress";
  EXPECT_EQ(a.next_deadline(), due + 3s);
  due += 3s;
  const auto probe = a.collect(due, kAllFrames);
  ASSERT_THAT(probe, SizeIs(1));
  EXPECT_THAT(probe[0].items, SizeIs(1));

  SessionFrame acknowledgement{kNumber, 2, 0, false, 1, {}};
  ASSERT_TRUE(a.receive(acknowledgement, due));
  EXPECT_THAT(a.collect(due, kAllFrames), SizeIs(1));
  EXPECT_EQ(a.next_deadline(), due + 300ms) << "progress ends the doubling";
}

TEST_F(SessionTest, AnAnsweredProbeIsFollowedByOnlyWhatIsStillMissing) {
  for (std::uint64_t i = 1; i <= 8; ++i) a.send(message(1, i, 31'000));
  const auto frames = a.collect(kStart, kAllFrames);
  ASSERT_THAT(frames, SizeIs(2));
  ASSERT_THAT(frames[0].items, SizeIs(5));
  (void)deliver({frames.begin(), frames.end() - 1}, b, kStart);  // the last one is lost
  (void)b.collect(kStart + 10ms, kAllFrames);                    // lost too

  const auto probe = a.collect(kStart + 300ms, kAllFrames);
  ASSERT_THAT(probe, SizeIs(1));
  EXPECT_EQ(probe[0].first_sequence, 1u);
  (void)deliver(probe, b, kStart + 300ms);
  (void)deliver(b.collect(kStart + 300ms, kAllFrames), a, kStart + 300ms);
  const auto rest = a.collect(kStart + 300ms, kAllFrames);
  ASSERT_THAT(rest, SizeIs(1));
  EXPECT_EQ(rest[0].first_sequence, 6u);
  EXPECT_THAT(deliver(rest, b, kStart + 300ms), ElementsAre(6, 7, 8));
}

TEST_F(SessionTest, EndsWithDifferentWindowsBeginAlikeAndThenKeepToWhatTheOtherGives) {
  Session wide = make({.credit_window_bytes = 16 * wire::kFirstCreditBytes});
  Session narrow = make({.credit_window_bytes = wire::kFirstCreditBytes});
  const auto bytes_in = [](const std::vector<SessionFrame>& frames) {
    std::size_t bytes = 0;
    for (const auto& frame : frames) {
      for (const Item& item : frame.items) bytes += wire::credit_bytes(item);
    }
    return bytes;
  };
  for (std::uint64_t i = 1; i <= 100; ++i) {
    wide.send(message(1, i, 50'000));
    narrow.send(message(2, i, 50'000));
  }
  const auto there = wide.collect(kStart, kAllFrames);
  const auto back = narrow.collect(kStart, kAllFrames);
  for (const auto& frames : {there, back}) {
    EXPECT_LE(bytes_in(frames), wire::kFirstCreditBytes);
    EXPECT_GT(bytes_in(frames), wire::kFirstCreditBytes - 51'000);
  }
  (void)deliver(there, narrow, kStart);
  (void)deliver(back, wide, kStart);
  TimePoint now = kStart;
  for (int turn = 0; turn < 100 && !(wide.settled() && narrow.settled()); ++turn) {
    now += 10ms;
    exchange(wide, narrow, now);
    exchange(narrow, wide, now);
  }
  EXPECT_TRUE(wide.settled() && narrow.settled());
}

TEST_F(SessionTest, AfterAReconnectEverythingUnacknowledgedGoesOutAndTheOtherIsAsked) {
  a.send(message(1, 1));
  (void)a.collect(kStart, kAllFrames);  // lost with the connection
  b.send(message(2, 5));
  (void)b.collect(kStart, kAllFrames);  // lost as well, and b has not noticed
  a.reconnected();
  const auto frames = a.collect(kStart + 1ms, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_TRUE(frames[0].resend);
  EXPECT_THAT(deliver(frames, b, kStart + 1ms), ElementsAre(1));
  EXPECT_THAT(deliver(b.collect(kStart + 1ms, kAllFrames), a, kStart + 1ms), ElementsAre(5));
}

TEST_F(SessionTest, FramesThatComeLateFromAnOlderConnectionAreHarmless) {
  a.send(message(1, 1));
  auto old = a.collect(kStart, kAllFrames);
  old[0].resend = true;
  const auto copy = old;
  EXPECT_THAT(deliver(old, b, kStart), ElementsAre(1));
  b.send(message(2, 5));
  EXPECT_THAT(exchange(b, a, kStart + 20ms), ElementsAre(5));
  (void)exchange(b, a, kStart + 30ms);
  ASSERT_TRUE(b.settled());
  b.send(message(2, 6));
  (void)b.collect(kStart + 30ms, kAllFrames);
  EXPECT_THAT(deliver(copy, b, kStart + 40ms), IsEmpty());
  const auto frames = b.collect(kStart + 40ms, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_THAT(frames[0].items, IsEmpty()) << "what the old request misses is acknowledged since";
}

TEST_F(SessionTest, LanesTakeTurns) {
  for (std::uint64_t i = 0; i < 3; ++i) a.send(message(1, 10 + i));
  for (std::uint64_t i = 0; i < 3; ++i) a.send(message(2, 20 + i));
  a.send(link(3, 30));
  EXPECT_THAT(exchange(a, b, kStart), ElementsAre(10, 20, 30, 11, 21, 12, 22));
}

TEST_F(SessionTest, FramesAreFilledToTheirLimitsAndNoMoreThanAskedForAreMade) {
  for (std::uint64_t i = 0; i < 3000; ++i) a.send(link(1, i));
  const auto first = a.collect(kStart, 1);
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_THAT(first[0].items, SizeIs(Session::kFrameItemsMax));
  EXPECT_EQ(a.next_deadline(), kStart) << "more waits";
  EXPECT_THAT(a.collect(kStart, kAllFrames), SizeIs((3000 - 1) / Session::kFrameItemsMax));
  EXPECT_EQ(a.next_deadline(), kStart + 300ms);
}

TEST_F(SessionTest, LongTextsDoNotMakeAFrameTooLongForItsPart) {
  for (std::uint64_t i = 0; i < 1000; ++i)
    a.send(signal::Exit{pid(1), kTo, ExitReason::error(std::string(16000, 'x')), LinkId{i}});
  for (const SessionFrame& frame : a.collect(kStart, kAllFrames))
    EXPECT_LE(frame.items.size(), wire::kFrameFillBytes / 16000 + 1);
}

TEST_F(SessionTest, NothingNewIsSentBeyondTheUnacknowledgedItems) {
  a = make({.unacknowledged_items_max = 5});
  for (std::uint64_t i = 1; i <= 8; ++i) a.send(link(1, i));
  const auto frames = a.collect(kStart, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_THAT(frames[0].items, SizeIs(5));
  EXPECT_EQ(a.next_deadline(), kStart + 300ms);
  EXPECT_THAT(deliver(frames, b, kStart), SizeIs(5));
  (void)deliver(b.collect(kStart + 10ms, kAllFrames), a, kStart + 10ms);
  EXPECT_THAT(deliver(a.collect(kStart + 10ms, kAllFrames), b, kStart + 10ms),
              ElementsAre(6, 7, 8));
}

// --- a session that replaces another ---

TEST_F(SessionTest, AnAnnouncedSessionAsksUntilTheOtherEndSpeaks) {
  a.announce();
  auto frames = a.collect(kStart, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_TRUE(frames[0].resend);
  EXPECT_EQ(a.next_deadline(), kStart + 300ms);
  EXPECT_THAT(a.collect(kStart + 300ms - 1ns, kAllFrames), IsEmpty());
  frames = a.collect(kStart + 300ms, kAllFrames);  // the first one was lost
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_TRUE(frames[0].resend);

  EXPECT_THAT(deliver(frames, b, kStart + 301ms), IsEmpty());
  const auto answer = b.collect(kStart + 301ms, kAllFrames);
  ASSERT_THAT(answer, SizeIs(1));
  (void)deliver(answer, a, kStart + 302ms);
  EXPECT_EQ(a.next_deadline(), std::nullopt);
}

TEST_F(SessionTest, WhatAnAnnouncedSessionSendsIsSentAgainAsEver) {
  a.announce();
  a.send(message(1, 1));
  (void)a.collect(kStart, kAllFrames);  // lost
  EXPECT_THAT(exchange(a, b, kStart + 300ms), ElementsAre(1));
  EXPECT_THAT(exchange(a, b, kStart + 310ms), IsEmpty());
  EXPECT_TRUE(a.settled());
  EXPECT_EQ(a.next_deadline(), std::nullopt);
}

TEST_F(SessionTest, ASessionThatIsMovedGoesOn) {
  for (std::uint64_t i = 1; i <= 3; ++i) a.send(message(1, i));
  a.send(message(2, 4, 100'000));
  (void)a.collect(kStart, kAllFrames);  // lost
  a.reconnected();
  Session moved = std::move(a);
  moved.send(message(1, 5));
  EXPECT_THAT(exchange(moved, b, kStart), ElementsAre(1, 2, 3, 5, 4));
}

// --- credit ---

TEST_F(SessionTest, EnvelopesWaitForCreditToTheByteAndSignalsOfOthersPass) {
  const std::size_t cost = cost_of(message(1, 1));
  for (const std::size_t window : {3 * cost, 3 * cost - 1}) {
    SCOPED_TRACE(window);
    a = make({.credit_window_bytes = window});
    for (std::uint64_t i = 1; i <= 4; ++i) a.send(message(1, i));
    a.send(link(1, 5));  // behind the envelopes of its own sender
    a.send(link(2, 6));
    std::vector<std::uint64_t> sent;
    for (const SessionFrame& frame : a.collect(kStart, kAllFrames))
      for (const Item& item : frame.items) sent.push_back(id_of(std::get<Signal>(item)));
    if (window == 3 * cost)
      EXPECT_THAT(sent, ElementsAre(1, 6, 2, 3));
    else
      EXPECT_THAT(sent, ElementsAre(1, 6, 2));
  }
}

TEST_F(SessionTest, NoSmallEnvelopePassesALargerOneThatWaitsForCredit) {
  const std::size_t window = 10'000;
  a = make({.credit_window_bytes = window});
  b = make({.credit_window_bytes = window});
  a.send(message(1, 1, 6'000));
  a.send(message(2, 2, 9'000));
  a.send(message(3, 3, 10));
  a.send(link(4, 4));
  const auto frames = a.collect(kStart, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  const auto received = b.receive(frames[0], kStart);
  EXPECT_THAT(ids_of(received->signals), ElementsAre(1, 4));
  b.returned(received->signals[0]);
  (void)deliver(b.collect(kStart, kAllFrames), a, kStart);
  EXPECT_THAT(deliver(a.collect(kStart, kAllFrames), b, kStart), ElementsAre(2, 3));
}

TEST_F(SessionTest, CreditComesBackAtOnceFromAQuarterOfTheWindowElseSoon) {
  const Session::Settings settings{.credit_window_bytes = 4 * cost_of(message(1, 1))};
  for (const std::size_t more : {0u, 1u}) {
    a = make(settings);
    b = make({.credit_window_bytes = settings.credit_window_bytes + 4 * more});
    a.send(message(1, 1));
    const auto received = b.receive(a.collect(kStart, kAllFrames)[0], kStart);
    EXPECT_THAT(b.collect(kStart + 10ms, kAllFrames), SizeIs(1));  // acknowledges
    EXPECT_EQ(b.next_deadline(), std::nullopt);
    b.returned(received->signals[0]);
    EXPECT_EQ(b.next_deadline(), kStart + (more == 0 ? 10ms : 20ms));
  }
}

TEST_F(SessionTest, CreditThatWasLostOnItsWayIsAskedFor) {
  const Session::Settings settings{.credit_window_bytes = cost_of(message(1, 1))};
  a = make(settings);
  b = make(settings);
  a.send(message(1, 1));
  a.send(message(1, 2));
  const auto received = b.receive(a.collect(kStart, kAllFrames)[0], kStart);
  (void)deliver(b.collect(kStart + 10ms, kAllFrames), a, kStart + 10ms);
  b.returned(received->signals[0]);
  EXPECT_THAT(b.collect(kStart + 10ms, kAllFrames), SizeIs(1));  // lost

  EXPECT_THAT(a.collect(kStart + 10ms, kAllFrames), IsEmpty());
  EXPECT_EQ(a.next_deadline(), kStart + 310ms);
  const auto question = a.collect(kStart + 310ms, kAllFrames);
  ASSERT_THAT(question, SizeIs(1));
  EXPECT_TRUE(question[0].resend);
  (void)deliver(question, b, kStart + 310ms);
  (void)deliver(b.collect(kStart + 310ms, kAllFrames), a, kStart + 310ms);
  EXPECT_THAT(deliver(a.collect(kStart + 310ms, kAllFrames), b, kStart + 310ms), ElementsAre(2));
}

TEST_F(SessionTest, CreditThatComesEndsTheWaitForIt) {
  a = make({.credit_window_bytes = cost_of(message(1, 1))});
  a.send(message(1, 1));
  a.send(message(1, 2));
  (void)a.collect(kStart, kAllFrames);
  ASSERT_TRUE(a.receive({kNumber, 2, 0, false, 1, {}}, kStart));  // no credit yet
  EXPECT_THAT(a.collect(kStart, kAllFrames), IsEmpty());
  EXPECT_EQ(a.next_deadline(), kStart + 300ms);
  ASSERT_TRUE(a.receive({kNumber, 2, 1000, false, 1, {}}, kStart + 200ms));
  EXPECT_THAT(a.collect(kStart + 200ms, kAllFrames), SizeIs(1));
  EXPECT_EQ(a.next_deadline(), kStart + 500ms);
}

TEST_F(SessionTest, AnEnvelopeGreaterThanTheWindowPassesWhenTheWindowIsFree) {
  a = make({.credit_window_bytes = 1000});
  b = make({.credit_window_bytes = 1000});
  a.send(message(1, 1, 10));
  a.send(message(1, 2, 5000));
  a.send(message(1, 3, 5000));
  EXPECT_THAT(exchange(a, b, kStart), ElementsAre(1));  // 138 returned bytes are told soon
  EXPECT_THAT(exchange(a, b, kStart + 10ms), ElementsAre(2, 3));
}

TEST_F(SessionTest, ResendingTakesNoCreditTwice) {
  const Session::Settings settings{.credit_window_bytes = 2 * cost_of(message(1, 1))};
  a = make(settings);
  b = make(settings);
  a.send(message(1, 1));
  a.send(message(1, 2));
  (void)a.collect(kStart, kAllFrames);
  for (int i = 0; i < 3; ++i) {
    a.reconnected();
    (void)a.collect(kStart, kAllFrames);
  }
  a.reconnected();
  const auto frames = a.collect(kStart, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(b.receive(frames[0], kStart));
}

TEST_F(SessionTest, CreditOfEnvelopesIsWhatTheWireSays) {
  Envelope envelope{.kind = EnvelopeKind::kReply, .id = {0, 1}, .conversation = {0, 1}};
  EXPECT_EQ(wire::credit_bytes(envelope),
            wire::credit_bytes(Signal{signal::Send{kTo, kTo, envelope}}));
  envelope.schema = "schema";
  envelope.trace = "trace context";
  envelope.headers = {{"key", "value"}, {"another", ""}};
  envelope.payload = Payload{"payload"};
  EXPECT_EQ(wire::credit_bytes(envelope),
            wire::credit_bytes(Signal{signal::Send{kTo, kTo, envelope}}));
  EXPECT_EQ(wire::kItemCreditBytes + 3,
            wire::credit_bytes(item::Chunk{TransferId{1}, Payload{"abc"}}));
}

// --- large payloads ---

TEST_F(SessionTest, OnlyAPayloadAboveTheChunkSizeIsOffered) {
  a.send(message(1, 1, wire::kChunkBytesMax));
  a.send(message(2, 2, wire::kChunkBytesMax + 1));
  const auto frames = a.collect(kStart, kAllFrames);
  ASSERT_THAT(frames, SizeIs(1));
  ASSERT_THAT(frames[0].items, SizeIs(2));
  EXPECT_TRUE(std::holds_alternative<Signal>(frames[0].items[0]));
  EXPECT_EQ(std::get<item::Offer>(frames[0].items[1]),
            (item::Offer{TransferId{1}, wire::kChunkBytesMax + 1}));
}

TEST_F(SessionTest, ALargePayloadHoldsUpItsOwnSenderOnly) {
  a.send(message(1, 1, 1'000'000));
  a.send(message(1, 2));
  a.send(message(2, 3));
  const auto offer = a.collect(kStart, kAllFrames);
  EXPECT_THAT(deliver(offer, b, kStart), ElementsAre(3));
  a.send(message(3, 4));
  EXPECT_THAT(deliver(a.collect(kStart, kAllFrames), b, kStart), ElementsAre(4));
  (void)deliver(b.collect(kStart, kAllFrames), a, kStart);  // the grant
  a.send(message(2, 5));
  EXPECT_THAT(exchange(a, b, kStart), ElementsAre(5, 1, 2));
}

TEST_F(SessionTest, ALargePayloadArrivesWholeAndGivesItsCreditBack) {
  const Session::Settings settings{.credit_window_bytes = 100'000};
  a = make(settings);
  b = make(settings);
  const Signal large = message(1, 1, 700'001);
  for (int i = 0; i < 3; ++i) {
    a.send(large);
    std::vector<Signal> got;
    for (TimePoint now = kStart; now < kStart + 2s && got.empty(); now += 10ms) {
      for (SessionFrame& frame : a.collect(now, kAllFrames)) {
        auto received = b.receive(std::move(frame), now);
        ASSERT_TRUE(received) << received.error().detail;
        for (Signal& signal : received->signals) got.push_back(std::move(signal));
      }
      (void)deliver(b.collect(now, kAllFrames), a, now);
    }
    ASSERT_THAT(got, SizeIs(1));
    EXPECT_TRUE(got[0] == large);
    b.returned(got[0]);
  }
  EXPECT_EQ(b.collect(kStart + 3s, kAllFrames)[0].credit_limit - 100'000,
            3 * (cost_of(large) + 11 * wire::kItemCreditBytes));
}

TEST_F(SessionTest, RoomIsGrantedInOrderAndNotBeyondTheLimit) {
  b = make({.reassembly_bytes_max = 600'000, .payload_bytes_max = 300'000});
  a.send(message(1, 1, 250'000));
  a.send(message(2, 2, 250'000));
  a.send(message(3, 3, 300'000));
  a.send(message(4, 4, 100'000));  // would find room, but the third one was earlier
  (void)deliver(a.collect(kStart, kAllFrames), b, kStart);
  const auto grants = b.collect(kStart, kAllFrames);
  ASSERT_THAT(grants, SizeIs(1));
  EXPECT_THAT(grants[0].items,
              ElementsAre(Item{item::Grant{TransferId{1}}}, Item{item::Grant{TransferId{2}}}));
  (void)deliver(grants, a, kStart);
  EXPECT_THAT(exchange(a, b, kStart), UnorderedElementsAre(1, 2, 3, 4));
}

TEST_F(SessionTest, ThePayloadThatIsGreatestFindsRoomWhateverTheLimit) {
  b = make({.reassembly_bytes_max = 100'000, .payload_bytes_max = 200'000});
  a.send(message(1, 1, 200'000));
  EXPECT_THAT(exchange(a, b, kStart), ElementsAre(1));
}

TEST_F(SessionTest, OffersOfMoreSendersThanTransfersAreAllowedWaitTheirTurn) {
  const std::uint64_t senders = Lanes::kTransfersMax + 10;
  for (std::uint64_t i = 1; i <= senders; ++i) a.send(message(i, i, wire::kChunkBytesMax + 1));
  const auto first = a.collect(kStart, kAllFrames);
  std::size_t offers = 0;
  for (const SessionFrame& frame : first) offers += frame.items.size();
  EXPECT_EQ(offers, Lanes::kTransfersMax);
  (void)deliver(first, b, kStart);
  (void)deliver(b.collect(kStart, kAllFrames), a, kStart);
  EXPECT_THAT(exchange(a, b, kStart), SizeIs(senders));
  (void)exchange(a, b, kStart + 10ms);
  EXPECT_TRUE(a.settled());
}

// --- what a peer may not do ---

class SessionViolationTest : public SessionTest {
 protected:
  static SessionFrame frame_of(std::vector<Item> items) {
    return {kNumber, 1, 0, false, 1, std::move(items)};
  }
  static std::string violation(Session& session, const SessionFrame& frame) {
    const auto received = session.receive(frame, kStart);
    if (received) return "none";
    EXPECT_EQ(received.error().code, Errc::kMalformed);
    return received.error().detail;
  }
  static item::Begin begin(std::uint64_t transfer, std::size_t payload = 0) {
    return {TransferId{transfer}, std::get<signal::Send>(message(1, 1, payload))};
  }
  static item::Chunk chunk(std::uint64_t transfer, std::size_t bytes) {
    return {TransferId{transfer}, Payload{std::string(bytes, 'c')}};
  }
  static item::Begin compensation(std::uint64_t transfer, std::optional<std::uint64_t> reply_at) {
    item::Begin made = begin(transfer);
    made.send.envelope.kind = EnvelopeKind::kCompensate;
    made.send.envelope.reply_at = reply_at;
    return made;
  }
  static item::Offer offer(std::uint64_t transfer, std::uint64_t bytes) {
    return {TransferId{transfer}, bytes};
  }
};

TEST_F(SessionViolationTest, NumbersOutOfRange) {
  SessionFrame frame = frame_of({link(1, 1)});
  frame.session = SessionNumber{4};
  EXPECT_EQ(violation(b, frame), "a frame of another session");
  for (const std::uint64_t next_expected :
       {std::uint64_t{0}, std::uint64_t{2}, std::numeric_limits<std::uint64_t>::max()}) {
    frame = frame_of({link(1, 1)});
    frame.next_expected = next_expected;
    EXPECT_EQ(violation(b, frame), "an acknowledgement of what was not sent");
  }
  for (const std::uint64_t first : {std::uint64_t{0}, std::numeric_limits<std::uint64_t>::max()}) {
    frame = frame_of({link(1, 1)});
    frame.first_sequence = first;
    EXPECT_EQ(violation(b, frame), "a sequence number out of range");
  }
}

TEST_F(SessionViolationTest, ItemsThatCannotBe) {
  struct Case {
    std::vector<Item> items;
    std::string violation;
  };
  const std::size_t large = wire::kChunkBytesMax + 1;
  std::vector<Item> too_many;
  for (std::uint64_t i = 1; i <= Lanes::kTransfersMax + 1; ++i)
    too_many.emplace_back(offer(i + 1, large));
  // b has granted transfer 1 of 100,000 bytes before each case
  const std::vector<Case> cases = {
      {{message(1, 1, large)}, "a payload that should travel in chunks"},
      {{offer(2, large - 1)}, "an offer of a payload that needs none"},
      {{offer(2, 2 * 16 * 1024 * 1024)}, "none"},  // may be a request with its reply
      {{offer(2, 2 * 16 * 1024 * 1024 + 1)}, "an offer of a payload that is too large"},
      {{compensation(1, 100'000)}, "none"},
      {{compensation(1, 100'001)}, "a reply that begins beyond the payload"},
      {{offer(1, large)}, "an offer out of order"},
      {{offer(2, large), offer(2, large)}, "an offer out of order"},
      {too_many, "too many offers"},
      {{item::Grant{TransferId{1}}}, "a grant of no offer"},
      {{begin(2)}, "the beginning of a transfer that was not granted"},
      {{offer(2, large), begin(2)}, "the beginning of a transfer that was not granted"},
      {{begin(1, 1)}, "the beginning of a transfer has a payload"},
      {{begin(1), begin(1)}, "a transfer that begins twice"},
      {{chunk(1, 5)}, "a chunk of a transfer that was not begun"},
      {{chunk(2, 5)}, "a chunk of a transfer that was not begun"},
      {{begin(1), chunk(1, 0)}, "a chunk of a wrong size"},
      {{begin(1), chunk(1, large)}, "a chunk of a wrong size"},
      {{begin(1), chunk(1, 60'000), chunk(1, 40'000)}, "none"},
      {{begin(1), chunk(1, 60'000), chunk(1, 40'001)}, "more bytes than were offered"},
      {{begin(1), chunk(1, 60'000), chunk(1, 40'000), chunk(1, 1)}, "more bytes than were offered"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.violation);
    Session victim = make();
    (void)deliver({frame_of({offer(1, 100'000)})}, victim, kStart);
    SessionFrame frame = frame_of(c.items);
    frame.first_sequence = 2;
    EXPECT_EQ(violation(victim, frame), c.violation);
  }
}

TEST_F(SessionViolationTest, OnlyACompensationIsLargerThanARequest) {
  const std::size_t most = 16 * 1024 * 1024;
  const auto begun = [&](std::size_t bytes, const item::Begin& begin) {
    Session victim = make();
    (void)deliver({frame_of({offer(1, bytes)})}, victim, kStart);
    SessionFrame frame = frame_of({begin});
    frame.first_sequence = 2;
    return violation(victim, frame);
  };
  EXPECT_EQ(begun(most, begin(1)), "none");
  EXPECT_EQ(begun(most + 1, begin(1)), "the beginning of a payload that is too large");
  EXPECT_EQ(begun(most + 1, compensation(1, std::nullopt)), "none");
  EXPECT_EQ(begun(2 * most, compensation(1, most)), "none");
}

TEST_F(SessionTest, ACompensationOfTheGreatestSizeFindsRoomHoweverSmallItIs) {
  Session::Settings settings;
  settings.payload_bytes_max = 100'000;
  settings.reassembly_bytes_max = 1;
  Session from = make(settings), to = make(settings);
  Envelope envelope = std::get<signal::Send>(message(1, 1, 200'000)).envelope;
  envelope.kind = EnvelopeKind::kCompensate;
  envelope.reply_at = 100'000;
  from.send(signal::Send{pid(1), kTo, envelope});
  from.send(signal::Cancel{pid(1), kTo, envelope.id});
  std::vector<Signal> got;
  for (int turn = 0; turn < 10; ++turn) {
    for (const SessionFrame& frame : from.collect(kStart, kAllFrames)) {
      auto received = to.receive(frame, kStart);
      ASSERT_TRUE(received);
      for (Signal& signal : received->signals) got.push_back(std::move(signal));
    }
    (void)deliver(to.collect(kStart, kAllFrames), from, kStart);
  }
  ASSERT_THAT(got, SizeIs(2));  // and a cancelling never overtakes what it cancels
  EXPECT_EQ(std::get<signal::Send>(got[0]).envelope, envelope);
  EXPECT_TRUE(std::holds_alternative<signal::Cancel>(got[1]));
}

TEST_F(SessionViolationTest, WhatWentWrongLaterIsFoundLaterToo) {
  (void)deliver({frame_of({offer(1, 100'000)})}, b, kStart);
  SessionFrame frame = frame_of({begin(1), chunk(1, 60'000)});
  frame.first_sequence = 2;
  (void)deliver({frame}, b, kStart);
  frame.first_sequence = 4;
  frame.items = {begin(1)};
  EXPECT_EQ(violation(b, frame), "a transfer that begins twice");
  frame.items = {chunk(1, 40'001)};
  EXPECT_EQ(violation(b, frame), "more bytes than were offered");
  frame.items = {chunk(1, 40'000)};
  EXPECT_EQ(violation(b, frame), "none");
  frame.first_sequence = 5;
  frame.items = {chunk(1, 1)};
  EXPECT_EQ(violation(b, frame), "a chunk of a transfer that was not begun");
}

TEST_F(SessionViolationTest, ATransferThatBecomesWholeMakesPlaceForAnotherOffer) {
  const std::size_t large = wire::kChunkBytesMax + 1;
  std::vector<Item> offers;
  for (std::uint64_t i = 1; i <= Lanes::kTransfersMax; ++i) offers.emplace_back(offer(i, large));
  (void)deliver({frame_of(std::move(offers))}, b, kStart);
  const Item another = offer(Lanes::kTransfersMax + 1, large);
  SessionFrame frame = frame_of({begin(1), chunk(1, large - 1), another});
  frame.first_sequence = Lanes::kTransfersMax + 1;
  EXPECT_EQ(violation(b, frame), "too many offers");
  frame.items = {begin(1), chunk(1, large - 1), chunk(1, 1), another};
  EXPECT_EQ(violation(b, frame), "none");
}

TEST_F(SessionViolationTest, AGrantIsTakenOnce) {
  a.send(message(1, 1, 100'000));
  (void)a.collect(kStart, kAllFrames);
  const item::Grant grant{TransferId{1}};
  EXPECT_EQ(violation(a, frame_of({grant, grant})), "a grant of no offer");
  EXPECT_EQ(violation(a, frame_of({grant})), "none");
  SessionFrame again = frame_of({grant});
  again.first_sequence = 2;
  EXPECT_EQ(violation(a, again), "a grant of no offer");
}

TEST_F(SessionViolationTest, CreditIsCountedToTheByte) {
  const Signal one = message(1, 1, 1000);
  for (const std::size_t missing : {0u, 1u}) {
    Session victim = make({.credit_window_bytes = 2 * cost_of(one) - missing});
    EXPECT_EQ(violation(victim, frame_of({one, one})),
              missing == 0 ? "none" : "more envelopes than there is credit for");
  }
}

TEST_F(SessionViolationTest, CreditCountsWhenItWasTold) {
  const Signal one = message(1, 1, 1000);
  Session victim = make({.credit_window_bytes = cost_of(one)});
  (void)deliver({frame_of({one})}, victim, kStart);  // returned, not told
  SessionFrame next = frame_of({one});
  next.first_sequence = 2;
  EXPECT_EQ(violation(victim, next), "more envelopes than there is credit for");
  (void)victim.collect(kStart, kAllFrames);
  EXPECT_EQ(violation(victim, next), "none");
}

TEST_F(SessionViolationTest, AViolationChangesNothing) {
  a.send(message(1, 1));
  const auto ours = a.collect(kStart, kAllFrames);
  SessionFrame bad = frame_of({offer(1, 100'000), link(1, 1), item::Grant{TransferId{7}}});
  bad.next_expected = 2;
  bad.credit_limit = 1'000'000'000;
  EXPECT_EQ(violation(a, bad), "a grant of no offer");
  EXPECT_FALSE(a.settled());
  EXPECT_EQ(a.next_deadline(), kStart + 300ms);
  bad.items.pop_back();
  EXPECT_THAT(a.receive(bad, kStart)->signals, SizeIs(1));
  EXPECT_EQ(std::get<item::Grant>(a.collect(kStart, kAllFrames)[0].items[0]).transfer,
            TransferId{1});
}

}  // namespace
}  // namespace liminal
