// What is recorded reaches the broker's frames, in order, within bounds, and what does not is
// counted.
#include "node/timeline/timeline_recorder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/random.hpp"
#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"

namespace liminal {
namespace {

using enum TimelineEvent;

TimelineRecord record(TimelineEvent event, std::uint64_t conversation = 1, std::string text = {}) {
  return {.conversation = {1, conversation}, .event = event, .text = std::move(text)};
}

std::uint64_t last_of(const control::Records& frame) {
  return frame.first + frame.records.size() + frame.left_out.size() + (frame.lost > 0 ? 1 : 0) - 1;
}

/// All of it arrives.
control::Records take_all(TimelineRecorder& recorder) {
  control::Records all{.records = {}};
  while (!recorder.empty()) {
    control::Records frame = recorder.take();
    recorder.arrived(last_of(frame));
    EXPECT_LE(frame.records.size(), wire::kRecordsMax);
    EXPECT_LE(frame.left_out.size(), wire::kRecordsMax);
    all.records.insert(all.records.end(), frame.records.begin(), frame.records.end());
    all.left_out.insert(all.left_out.end(), frame.left_out.begin(), frame.left_out.end());
    all.lost += frame.lost;
  }
  return all;
}
using LeftOut = std::vector<control::LeftOut>;

TEST(TimelineRecorder, HandsOutInOrderWhatWasRecorded) {
  TimelineRecorder recorder;
  EXPECT_TRUE(recorder.empty());
  for (std::size_t i = 0; i <= wire::kRecordsMax; ++i) recorder.record(record(kPlaced, i));
  EXPECT_EQ(recorder.take().records.size(), wire::kRecordsMax);
  EXPECT_FALSE(recorder.empty());
  EXPECT_EQ(recorder.take().records, (std::vector{record(kPlaced, wire::kRecordsMax)}));
  EXPECT_TRUE(recorder.empty());
}

TEST(TimelineRecorder, AFrameIsFilledByBytesToo) {
  TimelineRecorder recorder;
  for (int i = 0; i < 40; ++i) recorder.record(record(kCrashed, 1, std::string(16'000, 'x')));
  const auto frame = recorder.take();
  EXPECT_LE(frame.records.size(), wire::kRecordsFillBytes / 16'000 + 1);
  EXPECT_LE(wire::encode(ControlFrame{frame}).size(), wire::kPartBytesMax);
  EXPECT_EQ(frame.records.size() + take_all(recorder).records.size(), 40u);
}

TEST(TimelineRecorder, RoutineRecordsAndOthersHaveEachTheirBudget) {
  TimelineRecorder recorder{8};
  for (int i = 0; i < 6; ++i) recorder.record(record(kSent));
  for (int i = 0; i < 8; ++i) recorder.record(record(kCrashed));
  recorder.record(record(kSent, 2));
  auto all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 15u);
  EXPECT_EQ(all.left_out, LeftOut{});

  recorder.record(record(kBegun));
  recorder.record(record(kCrashed));
  recorder.record(record(kCrashed));
  all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 0u) << "the budget is of the conversation, not of a frame";
  EXPECT_EQ(all.left_out, (LeftOut{{{1, 1}, 1, 2}}));
  EXPECT_EQ(take_all(recorder).left_out, LeftOut{}) << "told once";
}

TEST(TimelineRecorder, WhatWaitsIsBoundedAndRoutineRecordsLeaveRoom) {
  TimelineRecorder recorder{1000, {}, {.kept_max = 8}};
  for (std::uint64_t i = 0; i < 7; ++i) recorder.record(record(kSent, i));
  recorder.record(record(kCrashed, 10));
  recorder.record(record(kCrashed, 11));
  recorder.record(record(kCrashed, 12));
  const auto all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 8u);
  EXPECT_EQ(all.left_out, (LeftOut{{{1, 6}, 1, 0}, {{1, 12}, 0, 1}}));
  recorder.record(record(kSent, 6));
  EXPECT_EQ(take_all(recorder).records.size(), 1u) << "there is room again";
}

TEST(TimelineRecorder, WhatWaitsIsBoundedInBytes) {
  const std::size_t each = weight_bytes(record(kCrashed, 1, std::string(1000, 'x')));
  TimelineRecorder recorder{1000, {}, {.kept_bytes_max = 2 * each}};
  for (int i = 0; i < 3; ++i) recorder.record(record(kCrashed, 1, std::string(1000, 'x')));
  const auto all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 2u);
  EXPECT_EQ(all.left_out, (LeftOut{{{1, 1}, 0, 1}}));
}

TEST(TimelineRecorder, OfTooManyConversationsTheOldestIsCountedAnew) {
  TimelineRecorder recorder{1, {}, {.conversations_max = 2}};
  recorder.record(record(kCrashed, 1));
  recorder.record(record(kCrashed, 1));  // left out
  recorder.record(record(kCrashed, 2));
  recorder.record(record(kCrashed, 3));
  const auto all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 3u);
  EXPECT_EQ(all.left_out, LeftOut{});
  EXPECT_EQ(all.lost, 1u) << "of which conversation is not known any more";
  recorder.record(record(kCrashed, 1));
  EXPECT_EQ(take_all(recorder).records.size(), 1u);
}

TEST(TimelineRecorder, WakesWhoWaitsOnceUntilItIsEmptyAgain) {
  int woken = 0;
  TimelineRecorder recorder{1, [&] { ++woken; }};
  recorder.record(record(kCrashed));
  recorder.record(record(kCrashed));
  EXPECT_EQ(woken, 1);
  take_all(recorder);
  recorder.record(record(kCrashed));  // left out, which is to be told as well
  EXPECT_EQ(woken, 2);
}

TEST(TimelineRecorder, WhereNobodyKeepsRecordsNothingIsTaken) {
  int woken = 0;
  TimelineRecorder recorder{0, [&] { ++woken; }};
  EXPECT_FALSE(recorder.wanted());
  recorder.record(record(kCrashed));
  EXPECT_TRUE(recorder.empty());
  EXPECT_EQ(woken, 0);

  recorder.set_records_max(5);
  EXPECT_TRUE(recorder.wanted());
  recorder.record(record(kCrashed));
  recorder.record(record(kSent));
  recorder.set_records_max(0);
  EXPECT_TRUE(recorder.empty()) << "what waits is dropped";
}

// ---- told again ----

constexpr Epoch kFirst{1}, kSecond{2};

std::vector<std::string> texts(const control::Records& frame) {
  std::vector<std::string> all;
  for (const auto& each : frame.records) all.push_back(each.text);
  return all;
}
using Texts = std::vector<std::string>;

class TimelineRecorderToldAgain : public ::testing::Test {
 protected:
  void make(const std::string& text, TimelineEvent event = kPlaced,
            std::uint64_t conversation = 1) {
    recorder.record(record(event, conversation, text));
  }
  TimelineRecorder recorder{1000, {}, {.kept_max = 4}};
};

TEST_F(TimelineRecorderToldAgain, WhatDidNotArriveGoesOutAgainUnderItsNumber) {
  recorder.connected(kFirst, true);
  for (const char* text : {"a", "b", "c"}) make(text);
  EXPECT_EQ(recorder.take().first, 1u);
  EXPECT_TRUE(recorder.empty());
  recorder.arrived(1);
  recorder.connected(kFirst, false);
  make("d");
  const auto again = recorder.take();
  EXPECT_EQ(again.first, 2u);
  EXPECT_EQ(texts(again), (Texts{"b", "c", "d"}));
  recorder.arrived(4);
  recorder.connected(kFirst, false);
  EXPECT_TRUE(recorder.empty()) << "all of it arrived";
}

TEST_F(TimelineRecorderToldAgain, AFencedNodeTellsTheSameBrokerOnlyWhatDidNotArrive) {
  recorder.connected(kFirst, true);
  make("a");
  make("b");
  (void)recorder.take();
  recorder.arrived(1);
  recorder.connected(kFirst, true);
  EXPECT_EQ(texts(recorder.take()), (Texts{"b"}));
}

TEST_F(TimelineRecorderToldAgain, AnotherBrokerIsToldAllThatIsKept) {
  recorder.connected(kFirst, true);
  make("a");
  make("b");
  (void)take_all(recorder);
  make("c");
  recorder.connected(kSecond, true);
  const auto again = recorder.take();
  EXPECT_EQ(again.first, 4u) << "no number is used twice";
  EXPECT_EQ(texts(again), (Texts{"a", "b", "c"}));
}

TEST_F(TimelineRecorderToldAgain, WhatArrivedGivesWayAndTheNextBrokerIsToldHowMuch) {
  recorder.connected(kFirst, true);
  for (const char* text : {"a", "b", "c", "d"}) make(text);
  make("left out: nothing has arrived");
  (void)take_all(recorder);
  make("e");
  make("f", kSent);
  EXPECT_EQ(texts(recorder.take()), (Texts{"e", "f"}));
  recorder.connected(kSecond, true);
  const auto again = take_all(recorder);
  EXPECT_EQ(texts(again), (Texts{"c", "d", "e", "f"}));
  EXPECT_EQ(again.left_out, (LeftOut{{{1, 1}, 0, 3}})) << "a, b and the one left out";
  recorder.connected(Epoch{3}, true);
  const auto third = take_all(recorder);
  EXPECT_EQ(third.records.size() + third.left_out.at(0).other, 7u) << "of another one not twice";
}

TEST_F(TimelineRecorderToldAgain, CountsOfWhatWasLeftOutAreNotLostEither) {
  recorder.connected(kFirst, true);
  for (const char* text : {"a", "b", "c", "d"}) make(text);
  make("e");
  (void)recorder.take();
  EXPECT_TRUE(recorder.empty()) << "there is no room for the count";
  recorder.arrived(1);
  EXPECT_FALSE(recorder.empty());
  const auto count = recorder.take();
  EXPECT_EQ(count.left_out, (LeftOut{{{1, 1}, 0, 1}}));
  EXPECT_EQ(count.first, 5u);
  recorder.connected(kFirst, false);
  const auto again = recorder.take();
  EXPECT_EQ(again.first, 2u);
  EXPECT_EQ(again.records.size(), 3u);
  EXPECT_EQ(again.left_out, count.left_out);
}

TEST_F(TimelineRecorderToldAgain, ARecordBehindACountGoesIntoAnotherFrame) {
  TimelineRecorder small{1, {}, {}};
  small.connected(kFirst, true);
  small.record(record(kCrashed));
  small.record(record(kCrashed));
  EXPECT_EQ(small.take().left_out.size(), 1u);
  small.record(record(kCrashed, 2));
  (void)small.take();
  small.connected(kFirst, false);
  EXPECT_EQ(last_of(small.take()), 2u);
  EXPECT_EQ(small.take().first, 3u);
  EXPECT_TRUE(small.empty());
}

TEST_F(TimelineRecorderToldAgain, WhatIsSaidAgainOfAnOpenConversationIsNotKeptTwice) {
  recorder.connected(kFirst, true);
  make("fail: upper", kOpened);
  make("Active", kPhase);
  (void)take_all(recorder);
  for (std::uint64_t broker = 2; broker < 9; ++broker) {
    recorder.connected(Epoch{broker}, true);
    make("fail: upper", kOpened);
    make("Active", kPhase);
    const auto again = take_all(recorder);
    EXPECT_EQ(again.left_out, LeftOut{});
    EXPECT_EQ(texts(again), (Texts{"fail: upper", "Active", "fail: upper", "Active"}));
  }
  make("Failed: it did", kPhase);
  make("Failed", kPhase);
  EXPECT_EQ(texts(recorder.take()), (Texts{"Failed: it did", "Failed"}));
}

TEST_F(TimelineRecorderToldAgain, WhatWasToldKeepsItsIncarnation) {
  recorder.connected(kFirst, true);
  const auto local = [](std::uint64_t serial) {
    return Pid{NodeName{"a"}, local_incarnation(), Serial{serial}};
  };
  for (const std::uint64_t serial : {1, 2}) {
    TimelineRecord placed = record(kPlaced);
    placed.participant = local(serial);
    recorder.record(placed);
    if (serial == 1) (void)recorder.take();
  }
  recorder.fenced(Incarnation{77});
  recorder.connected(kFirst, true);
  const auto again = recorder.take();
  EXPECT_EQ(again.records.at(0).participant->incarnation, Incarnation{77});
  EXPECT_EQ(again.records.at(1).participant, local(2));
}

TEST_F(TimelineRecorderToldAgain, CountsThatArrivedTakeNoRoomFromTheNextOnes) {
  recorder.connected(kFirst, true);
  for (const char* text : {"a", "b", "c", "d", "left out"}) make(text);
  for (std::uint64_t broker = 2; broker < 9; ++broker) {
    (void)take_all(recorder);
    recorder.connected(Epoch{broker}, true);
    make("left out", kPlaced, broker);
  }
  const auto all = take_all(recorder);
  std::uint64_t told = all.records.size() + all.lost;
  for (const auto& each : all.left_out) told += each.routine + each.other;
  EXPECT_EQ(told, 12u);
  EXPECT_TRUE(recorder.empty());
}

// ---- ends ----

TEST_F(TimelineRecorderToldAgain, CountsOfWhatEndedLongAgoTakeNoRoomFromWhatIsKept) {
  recorder.connected(kFirst, true);
  for (std::uint64_t ended = 10; ended < 30; ++ended) {
    make("Failed: it did", kPhase, ended);
    make("", kEnded, ended);
    (void)take_all(recorder);
  }
  make("fail: upper", kOpened);
  for (const char* text : {"a", "b", "c"}) make(text);
  (void)take_all(recorder);
  recorder.connected(kSecond, true);
  const auto again = take_all(recorder);
  EXPECT_EQ(again.left_out, LeftOut{}) << "of conversations that this broker does not know";
  EXPECT_EQ(again.lost, 40u);
  recorder.connected(Epoch{3}, true);
  EXPECT_EQ(texts(recorder.take()), (Texts{"a", "b", "c"})) << "the sum alone needed a place";
}

TEST_F(TimelineRecorderToldAgain, CountsOfAnOpenConversationStayItsOwnThoughNothingOfItIsKept) {
  recorder.connected(kFirst, true);
  make("fail: upper", kOpened);
  make("Active", kPhase);
  (void)take_all(recorder);
  for (const char* text : {"a", "b", "c", "d"}) make(text, kPlaced, 2);
  (void)take_all(recorder);
  recorder.connected(kSecond, true);
  make("fail: upper", kOpened);
  const auto again = take_all(recorder);
  EXPECT_EQ(again.left_out, (LeftOut{{{1, 1}, 0, 2}})) << "it is said again, and then known";
  EXPECT_EQ(again.lost, 0u);
}

TEST_F(TimelineRecorderToldAgain, UntoldCountsOfWhatTheNextBrokerDoesNotKnowBecomeOneSum) {
  recorder.connected(kFirst, true);
  for (const char* text : {"a", "b", "c", "d"}) make(text);
  for (std::uint64_t other = 2; other < 6; ++other) make("left out", kPlaced, other);
  (void)recorder.take();
  recorder.arrived(2);
  (void)recorder.take();  // two of the counts are told, two wait
  recorder.connected(kSecond, true);
  const auto again = take_all(recorder);
  EXPECT_EQ(texts(again), (Texts{"c", "d"}));
  EXPECT_EQ(again.left_out, (LeftOut{{{1, 1}, 0, 2}})) << "a and b, which gave way to counts";
  EXPECT_EQ(again.lost, 4u);
}

TEST_F(TimelineRecorderToldAgain, AnEndIsToldThoughNothingElseHasRoom) {
  recorder.connected(kFirst, true);
  for (const char* text : {"a", "b", "c", "d"}) make(text);
  make("left out");
  make("Compensating: it goes on", kPhase);
  make("Failed: it did", kPhase);
  make("Closed", kPhase, 2);  // the reserve is an eighth, here of 4 records
  const auto all = take_all(recorder);
  EXPECT_EQ(texts(all), (Texts{"a", "b", "c", "d", "Failed: it did"}));
  EXPECT_EQ(all.left_out, (LeftOut{{{1, 1}, 0, 2}, {{1, 2}, 0, 1}}));
  for (const char* text : {"e", "f", "g", "h"}) make(text);
  EXPECT_EQ(take_all(recorder).left_out, LeftOut{}) << "what arrived gives way for the reserve too";
}

TEST(TimelineRecorder, AnEndIsToldThoughBytesOrTheBudgetAreUsedUp) {
  const std::size_t each = weight_bytes(record(kCrashed, 1, std::string(1000, 'x')));
  TimelineRecorder full{1000, {}, {.kept_bytes_max = 16 * each}};
  for (int i = 0; i < 16; ++i) full.record(record(kCrashed, 1, std::string(1000, 'x')));
  full.record(record(kPhase, 1, "Closed"));
  EXPECT_EQ(take_all(full).records.size(), 17u);

  TimelineRecorder busy{2};
  for (int i = 0; i < 2; ++i) busy.record(record(kCrashed));
  busy.record(record(kPhase, 1, "Compensating"));
  busy.record(record(kPhase, 1, "Failed: it did"));
  const auto all = take_all(busy);
  EXPECT_EQ(all.records.size(), 3u) << "or the broker would show it open";
  EXPECT_EQ(all.records.back().text, "Failed: it did");
  EXPECT_EQ(all.left_out, (LeftOut{{{1, 1}, 0, 1}}));
}

TEST_F(TimelineRecorderToldAgain, WhatIsLeftOfAConversationWhoseEndGaveWayIsCountedNotTold) {
  recorder.connected(kFirst, true);
  make("Failed: it did", kPhase);
  make("its participant", kEnded);
  make("a", kPlaced, 2);
  make("b", kPlaced, 2);
  (void)take_all(recorder);
  make("c", kPlaced, 2);
  recorder.connected(kSecond, true);
  const auto again = take_all(recorder);
  EXPECT_EQ(texts(again), (Texts{"a", "b", "c"})) << "the broker would show the ended one open";
  EXPECT_EQ(again.left_out, LeftOut{});
  EXPECT_EQ(again.lost, 2u);
  make("d", kPlaced, 2);
  EXPECT_EQ(texts(recorder.take()), (Texts{"d"}));
}

TEST_F(TimelineRecorderToldAgain, AnEndThatIsKeptTakesItsRecordsAlong) {
  recorder.connected(kFirst, true);
  make("a");
  make("Failed: it did", kPhase);
  make("its participant", kEnded);
  (void)take_all(recorder);
  make("b", kPlaced, 2);
  make("c", kPlaced, 2);
  recorder.connected(kSecond, true);
  const auto again = take_all(recorder);
  EXPECT_EQ(texts(again), (Texts{"Failed: it did", "its participant", "b", "c"}));
  EXPECT_EQ(again.left_out, (LeftOut{{{1, 1}, 0, 1}}));
}

TEST_F(TimelineRecorderToldAgain, WhatWasSaidAgainOfAConversationWhoseEndGaveWayIsNotCounted) {
  recorder.connected(kFirst, true);
  make("fail: upper", kOpened);
  make("Failed: it did", kPhase);
  make("a", kPlaced, 2);
  make("b", kPlaced, 2);
  (void)take_all(recorder);
  make("c", kPlaced, 2);
  make("fail: upper", kOpened);  // said again while it was ending, in the place of its end
  recorder.connected(kSecond, true);
  const auto again = take_all(recorder);
  EXPECT_EQ(texts(again), (Texts{"a", "b", "c"}));
  EXPECT_EQ(again.lost, 2u);
}

TEST(TimelineRecorder, WhatIsNotToldTheNextBrokerTakesNoRoom) {
  const TimelineRecord big = record(kPlaced, 1, std::string(1000, 'x'));
  TimelineRecorder recorder{1000, {}, {.kept_bytes_max = 4 * weight_bytes(big)}};
  recorder.connected(kFirst, true);
  recorder.record(record(kPhase, 2, "Closed"));
  for (std::uint64_t of : {2, 2, 1}) recorder.record(record(kEnded, of, big.text));
  (void)take_all(recorder);
  recorder.record(big);  // the end gives way to it
  recorder.connected(kSecond, true);
  recorder.record(big);
  recorder.record(big);
  const auto again = take_all(recorder);
  EXPECT_EQ(again.records.size(), 4u);
  EXPECT_EQ(again.lost, 3u);
  EXPECT_EQ(again.left_out, LeftOut{});
}

TEST_F(TimelineRecorderToldAgain, APhaseSaidAgainIsKnownWhateverStoodBehindItsName) {
  recorder.connected(kFirst, true);
  make("Closed; 5 sends and answers were not noted", kPhase);
  (void)take_all(recorder);
  make("Closed", kPhase);
  (void)take_all(recorder);
  recorder.connected(kSecond, true);
  EXPECT_EQ(texts(take_all(recorder)), (Texts{"Closed; 5 sends and answers were not noted"}));
}

TEST_F(TimelineRecorderToldAgain, AReasonIsNewsThoughItsPhaseWasSaidBefore) {
  recorder.connected(kFirst, true);
  make("Failed", kPhase);  // said again while the decision was under way
  make("Failed: it did", kPhase);
  (void)take_all(recorder);
  recorder.connected(kSecond, true);
  EXPECT_EQ(texts(take_all(recorder)), (Texts{"Failed", "Failed: it did"}));
}

TEST_F(TimelineRecorderToldAgain, AReasonWithoutRoomIsCounted) {
  recorder.connected(kFirst, true);
  make("Compensating", kPhase);
  for (const char* text : {"a", "b", "c"}) make(text);
  make("Compensating: undoing", kPhase);
  EXPECT_EQ(take_all(recorder).left_out, (LeftOut{{{1, 1}, 0, 1}}));
}

// A stream is received as the broker does; frames get lost with connections, brokers with all.
// Texts are numbers, behind the phase of those that have one.
TEST(TimelineRecorderWalk, NothingIsLostUncountedNothingDoubledAndNoEndedOneShownOpen) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    TimelineRecorder recorder{
        1 + static_cast<std::uint32_t>(random.below(40)), {}, {.kept_max = 1 + random.below(20)}};
    std::uint64_t made = 0, epoch = 1, taken = 0, counted = 0;
    std::deque<control::Records> under_way;
    std::vector<TimelineRecord> shown;
    std::uint64_t conversations = 3, ends_before = 0;
    std::vector<std::uint64_t> open{1, 2, 3}, ended;
    const auto make = [&](TimelineEvent event, std::uint64_t conversation, const char* phase) {
      recorder.record(record(event, conversation, phase + std::to_string(++made)));
    };
    const auto receive = [&] {
      const control::Records& frame = under_way.front();
      std::uint64_t number = frame.first;
      const auto fresh = [&] { return number++ > taken; };
      for (const auto& each : frame.records) {
        if (fresh()) shown.push_back(each);
      }
      for (const auto& each : frame.left_out) {
        if (fresh()) counted += each.routine + each.other;
      }
      if (frame.lost > 0 && fresh()) counted += frame.lost;
      taken = std::max(taken, number - 1);
      under_way.pop_front();
    };
    recorder.connected(Epoch{epoch}, true);
    for (int step = 0; step < 200; ++step) {
      switch (random.below(12)) {
        case 0:
          under_way.clear();
          recorder.connected(Epoch{epoch}, random.below(2) == 0);
          break;
        case 1:
          under_way.clear();
          shown.clear();
          taken = counted = 0;
          ends_before = ended.size();
          recorder.connected(Epoch{++epoch}, true);
          break;
        case 2:
          recorder.arrived(taken);
          break;
        case 3:
        case 4:
          if (!under_way.empty()) receive();
          break;
        case 5:
        case 6:
          if (!recorder.empty()) under_way.push_back(recorder.take());
          break;
        case 7: {
          std::uint64_t& ending = open[random.below(3)];
          make(kPhase, ending, "Failed: ");
          for (std::uint64_t n = random.below(3); n > 0; --n) make(kEnded, ending, "");
          ended.push_back(std::exchange(ending, ++conversations));
          break;
        }
        default:
          make(random.below(2) == 0 ? kPlaced : kSent, open[random.below(3)], "");
      }
    }
    for (int i = 0; i < 100; ++i) {
      if (!recorder.empty()) under_way.push_back(recorder.take());
      while (!under_way.empty()) receive();
      recorder.arrived(taken);
    }
    EXPECT_EQ(shown.size() + counted, made);
    std::vector<std::uint64_t> numbers;
    for (const auto& each : shown) {
      numbers.push_back(std::stoull(each.text.substr(each.text.find(' ') + 1)));
    }
    EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
    EXPECT_EQ(std::adjacent_find(numbers.begin(), numbers.end()), numbers.end());
    for (std::uint64_t i = 0; i < ends_before; ++i) {
      const auto of_it = [&](const auto& each) {
        return each.conversation == ConversationId{1, ended[i]};
      };
      EXPECT_EQ(std::any_of(shown.begin(), shown.end(), of_it),
                std::any_of(shown.begin(), shown.end(),
                            [&](const auto& each) { return of_it(each) && each.event == kPhase; }));
    }
  }
}

TEST(TimelineRecorder, WhateverIsRecordedEncodes) {
  TimelineRecorder recorder;
  TimelineRecord bad = record(kCrashed, 1, std::string(100'000, 'x'));
  bad.at = Duration{-1};
  bad.role = "not a name";
  bad.participant = Pid{NodeName{"no name"}, Incarnation{1}, Serial{1}};
  bad.reason = ExitReason::error(std::string(100'000, 'x'));
  bad.reason->evidence = Evidence{EvidenceSource::kReset, Duration{-1}, Duration{-1}, Duration{-1}};
  recorder.record(bad);
  const auto decoded = wire::decode_control(wire::encode(ControlFrame{recorder.take()}));
  ASSERT_TRUE(decoded) << decoded.error().detail;
  const auto& got = std::get<control::Records>(*decoded).records.at(0);
  EXPECT_EQ(got.role, "");
  EXPECT_EQ(got.participant, std::nullopt);
  EXPECT_EQ(got.text.size(), wire::kTextBytesMax);
}

TEST(TimelineRecorder, ThreadsRecordAtOnceAndNothingIsLostUncounted) {
  constexpr std::uint64_t kThreads = 4, kEach = 5000;
  TimelineRecorder recorder{1000, {}, {.kept_max = 512}};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&recorder, t] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        recorder.record(record(i % 3 == 0 ? kCrashed : kSent, 100 * t + i % 50));
      }
    });
  }
  std::uint64_t seen = 0;
  const auto count = [&](const control::Records& all) {
    seen += all.records.size() + all.lost;
    for (const auto& each : all.left_out) seen += each.routine + each.other;
  };
  while (seen < kThreads * kEach / 2) {
    const control::Records frame = recorder.take();
    recorder.arrived(last_of(frame));
    count(frame);
  }
  for (auto& thread : threads) thread.join();
  count(take_all(recorder));
  EXPECT_EQ(seen, kThreads * kEach);
}

}  // namespace
}  // namespace liminal
