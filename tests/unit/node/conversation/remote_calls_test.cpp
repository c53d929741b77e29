// Goal: calls, outcomes and states arrive as they were sent, and bytes that nobody wrote are
// refused.
#include "node/conversation/remote_calls.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/random.hpp"
#include "node/conversation/remote_state.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

constexpr MessageId kOne{1, 2}, kTwo{3, 4};
constexpr TimePoint kNow{100s};
const Pid kHome{NodeName{"home"}, Incarnation{7}, Serial{5}};
const Viewpoint kSeen{kHome, NodeName{"caller"}, Incarnation{9}};

Envelope envelope(EnvelopeKind kind) {
  return {.kind = kind,
          .id = kOne,
          .conversation = ConversationId{5, 6},
          .headers = {{"", "an application's"}, {"key", "value"}},
          .payload = Payload{"payload"}};
}

const std::vector<RemoteCall> kCalls{
    remote_call::Watch{},
    remote_call::Send{"role", ReplyMode::kInbox, WhenDeferred::kTell, false},
    remote_call::Send{"", std::nullopt, WhenDeferred::kRepeat, true},
    remote_call::Receive{kOne},
    remote_call::Receive{std::nullopt},
    remote_call::Abandon{kTwo, true},
    remote_call::Close{},
    remote_call::Cancel{"somebody"},
    remote_call::Received{{kOne, kTwo}},
    remote_call::Received{std::vector<MessageId>(remote_call::kReceivedMax, kOne)},
    remote_call::Detach{},
};

const std::vector<RemoteOutcome> kOutcomes{
    remote_outcome::Taken{},
    remote_outcome::Taken{true},
    remote_outcome::Reply{},
    remote_outcome::Failed{{Errc::kNoService, "why"}, false, true},
    remote_outcome::Failed{{Errc::kCompensationFailed, "why"}, true},
    remote_outcome::State{},
};

RemoteState state() {
  const Pid there{NodeName{"far"}, Incarnation{8}, Serial{1}};
  const Pid at_home{NodeName{"home"}, local_incarnation(), Serial{2}};
  const Evidence evidence{EvidenceSource::kHeartbeatsMissed, 3s, 2s, 1ms};
  RemoteState told{{.id = ConversationId{5, 6}}, CrashPolicy::kCompensate, at_home};
  told.state.phase = ConversationPhase::kFailed;
  told.state.failure = Error{Errc::kCompensated, "undone"};
  told.state.participants = {{.role = "a",
                              .name = "upper",
                              .owned = true,
                              .health = ParticipantHealth::kCrashed,
                              .pid = there,
                              .placement = "any",
                              .incumbent = 2,
                              .exited = at_home,
                              .exited_at = kNow - 1s,
                              .reason = ExitReason::noconnection(evidence),
                              .crashed = true},
                             {.role = "b", .name = "b", .owned = false}};
  told.state.crashes = {{"a", "upper", at_home, ExitReason::error("exit status 3"), 2,
                         CrashPolicy::kCompensate, kNow - 2s}};
  told.state.reroutes = {{"a", at_home, there, 3, kNow - 3s}, {"a", there, std::nullopt, 0, kNow}};
  told.state.compensations = {
      {"a", "upper", kOne, true, CompensationOutcome::kFailed, 3, there, "no", kNow - 4s},
      {"b", "b", kTwo, false, CompensationOutcome::kPending}};
  told.state.counters.sent = 4;
  told.state.counters.calls_ignored = 9;
  told.state.ended = true;
  return told;
}

Result<RemoteState> decode_state(std::string_view bytes, const Viewpoint& seen_from,
                                 TimePoint now) {
  ClockDifference fresh;
  return liminal::decode_state(bytes, seen_from, now, fresh);
}

TEST(RemoteCalls, ArriveAsTheyWereSentAndLeaveTheEnvelopeAsItWas) {
  for (const RemoteCall& call : kCalls) {
    Envelope sent = envelope(EnvelopeKind::kCall);
    put(sent, call);
    const auto taken = take_call(sent);
    ASSERT_TRUE(taken) << taken.error().detail;
    EXPECT_EQ(*taken, call);
    EXPECT_EQ(sent, envelope(EnvelopeKind::kCall));
  }
  for (const RemoteOutcome& outcome : kOutcomes) {
    Envelope sent = envelope(EnvelopeKind::kOutcome);
    put(sent, outcome);
    const auto taken = take_outcome(sent);
    ASSERT_TRUE(taken) << taken.error().detail;
    EXPECT_EQ(*taken, outcome);
    EXPECT_EQ(sent, envelope(EnvelopeKind::kOutcome));
  }
}

TEST(RemoteCalls, TheOneIsNotTakenForTheOther) {
  Envelope call = envelope(EnvelopeKind::kCall), outcome = envelope(EnvelopeKind::kOutcome);
  put(call, kCalls.front());
  put(outcome, kOutcomes.front());
  EXPECT_EQ(take_outcome(call).error().code, Errc::kMalformed);
  EXPECT_EQ(take_call(outcome).error().code, Errc::kMalformed);
  Envelope bare{.kind = EnvelopeKind::kCall, .id = kOne, .conversation = ConversationId{5, 6}};
  EXPECT_EQ(take_call(bare).error().code, Errc::kMalformed);
}

TEST(RemoteCalls, TextsAreCutWhereTheyWouldNotFit) {
  Envelope sent = envelope(EnvelopeKind::kCall);
  put(sent, RemoteCall{remote_call::Cancel{std::string(100'000, 'x')}});
  const auto taken = take_call(sent);
  ASSERT_TRUE(taken);
  EXPECT_EQ(std::get<remote_call::Cancel>(*taken).by.size(), kCallTextBytesMax);
}

// What a stranger sends is refused or is some call; nothing else happens.
TEST(RemoteCalls, ChangedAndRandomBytesAreRefusedOrRead) {
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    Envelope sent = envelope(EnvelopeKind::kCall);
    const bool is_call = random.below(2) == 0;
    is_call ? put(sent, kCalls[random.below(kCalls.size())])
            : put(sent, kOutcomes[random.below(kOutcomes.size())]);
    std::string& bytes = sent.headers.front().second;
    if (random.below(4) == 0) {
      bytes.resize(random.below(80));
      for (char& byte : bytes) byte = static_cast<char>(random.below(256));
    } else if (random.below(4) == 0) {
      bytes.resize(random.below(bytes.size() + 1));
    } else {
      bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
    }
    if (is_call) {
      const auto taken = take_call(sent);
      if (!taken) continue;
      Envelope again = envelope(EnvelopeKind::kCall);
      put(again, *taken);
      EXPECT_EQ(*take_call(again), *taken);
    } else {
      static_cast<void>(take_outcome(sent));
    }
  }
}

TEST(RemoteState, ArrivesWithPidsAsTheyAreSeenThere) {
  const auto bytes = encode_state(state(), kNow);
  ASSERT_TRUE(bytes);
  const auto told = decode_state(*bytes, kSeen, kNow + 10s);
  ASSERT_TRUE(told) << told.error().detail;

  RemoteState expected = state();
  const Pid at_home{NodeName{"home"}, Incarnation{7}, Serial{2}};
  expected.actor = at_home;
  expected.state.participants[0].exited = at_home;
  expected.state.crashes[0].pid = at_home;
  expected.state.reroutes[0].from = at_home;
  expected.state.participants[0].exited_at = kNow + 9s;
  expected.state.crashes[0].at = kNow + 8s;
  expected.state.reroutes[0].at = kNow + 7s;
  expected.state.reroutes[1].at = kNow + 10s;
  expected.state.compensations[0].at = kNow + 6s;
  EXPECT_EQ(*told, expected);
}

TEST(RemoteState, ThePidsOfWhoLooksAreItsOwn) {
  const Viewpoint from_far{kHome, NodeName{"far"}, Incarnation{8}};
  const auto told = decode_state(*encode_state(state(), kNow), from_far, kNow);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->state.participants[0].pid,
            (Pid{NodeName{"far"}, local_incarnation(), Serial{1}}));
}

TEST(RemoteState, AnInstantIsTheSameInEveryState) {
  ClockDifference clocks;
  const auto first = liminal::decode_state(*encode_state(state(), kNow), kSeen, kNow + 10s, clocks);
  const auto later =
      liminal::decode_state(*encode_state(state(), kNow + 5s), kSeen, kNow + 15s + 3ms, clocks);
  ASSERT_TRUE(first && later);
  EXPECT_EQ(first->state.crashes, later->state.crashes);
  EXPECT_EQ(first->state.crashes[0].at, kNow + 8s);
}

TEST(RemoteState, OfALongHistoryTheNewestIsTold) {
  RemoteState told = state();
  const CompensationRecord one = told.state.compensations.front();
  told.state.compensations.assign(5000, one);
  told.state.compensations.back().text = "the newest";
  told.state.failure->detail.assign(100'000, 'x');
  const auto bytes = encode_state(told, kNow);
  ASSERT_TRUE(bytes);
  EXPECT_LE(bytes->size(), kStateBytesMax);
  const auto read = decode_state(*bytes, kSeen, kNow);
  ASSERT_TRUE(read) << read.error().detail;
  ASSERT_FALSE(read->state.compensations.empty());
  EXPECT_EQ(read->state.compensations.back().text, "the newest");
  EXPECT_EQ(read->state.participants.size(), told.state.participants.size());
}

TEST(RemoteState, TooManyParticipantsAreNotTold) {
  RemoteState told = state();
  told.state.participants.assign(100, told.state.participants.front());
  EXPECT_TRUE(encode_state(told, kNow));
  told.state.participants.assign(10'000, told.state.participants.front());
  EXPECT_FALSE(encode_state(told, kNow));
}

TEST(RemoteState, AnAgeBeyondTheBeginningOfTimeIsTheBeginning) {
  RemoteState told = state();
  told.state.crashes[0].at = TimePoint{Duration::min() + 1ns};
  const auto bytes = encode_state(told, TimePoint{Duration{-1}});
  ASSERT_TRUE(bytes);
  const auto read = decode_state(*bytes, kSeen, TimePoint::min() + 1ns);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->state.crashes[0].at, TimePoint::min());
}

TEST(RemoteState, ChangedAndRandomBytesAreRefusedOrRead) {
  const std::string written = *encode_state(state(), kNow);
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    std::string bytes = written;
    switch (random.below(4)) {
      case 0:
        bytes.resize(random.below(bytes.size()));
        break;
      case 1:
        for (char& byte : bytes) byte = static_cast<char>(random.below(256));
        break;
      default:
        bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
    }
    const auto told = decode_state(bytes, kSeen, kNow);
    if (!told) continue;
    EXPECT_LE(told->state.participants.size(), bytes.size());
  }
}

}  // namespace
}  // namespace liminal
