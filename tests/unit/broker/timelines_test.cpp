// What is kept of conversations: bounds at the limit and one before, whose they are, what goes
// first.
#include "broker/timelines.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <string>

#include "common/base/random.hpp"
#include "common/wire/limits.hpp"

namespace liminal::broker {
namespace {

using namespace std::chrono_literals;
using control::ConversationStanding;

const NodeName kA{"a"}, kB{"b"};
const Incarnation kIncA{1}, kIncB{2};

ConversationId conv(std::uint64_t number) { return {7, number}; }

class TimelinesTest : public ::testing::Test {
 protected:
  static TimelineRecord record(std::uint64_t id, TimelineEvent event, std::string text = {}) {
    return {.conversation = conv(id), .event = event, .text = std::move(text)};
  }
  void tell(const NodeName& node, TimelineRecord record) {
    kept.take(node, node == kA ? kIncA : kIncB, control::Records{{std::move(record)}}, now);
  }
  void tell(std::uint64_t id, TimelineEvent event, std::string text = {}) {
    tell(kA, record(id, event, std::move(text)));
  }
  void limit(Timelines::Limits limits) { kept = Timelines{limits, now}; }

  control::TimelineReply timeline(std::uint64_t id) {
    control::TimelineReply all = kept.page(control::TimelineQuery{conv(id)}, now);
    while (all.next) {
      auto more = kept.page(control::TimelineQuery{conv(id), *all.next}, now);
      all.told.insert(all.told.end(), more.told.begin(), more.told.end());
      all.next = more.next;
    }
    return all;
  }
  std::vector<TimelineEvent> events(std::uint64_t id) {
    std::vector<TimelineEvent> found;
    for (const auto& told : timeline(id).told) found.push_back(told.record.event);
    return found;
  }
  std::vector<std::uint64_t> listed() {
    std::vector<std::uint64_t> ids;
    control::ConversationsQuery query;
    do {
      const auto page = kept.page(query, now);
      EXPECT_LE(page.summaries.size(), wire::kSummariesMax);
      for (const auto& summary : page.summaries) ids.push_back(summary.conversation.low);
      query.behind = page.next;
    } while (query.behind);
    return ids;
  }
  bool known(std::uint64_t id) { return kept.find(conv(id)).has_value(); }

  TimePoint now{1h};
  Timelines kept{{}, now};
};

using enum TimelineEvent;

TEST_F(TimelinesTest, ASummarySaysWhatItsNodeTold) {
  tell(1, kOpened, "fail: upper");
  tell(1, kPhase, "Active");
  for (const std::uint32_t attempt : {1u, 2u}) {
    auto sent = record(1, kSent);
    sent.attempt = attempt;
    tell(kA, sent);
  }
  tell(1, kCrashed);
  now += 5s;
  auto summary = timeline(1).summary.value();
  EXPECT_EQ(summary.node, kA);
  EXPECT_EQ(summary.incarnation, kIncA);
  EXPECT_EQ(summary.about, "fail: upper");
  EXPECT_EQ(summary.phase, "Active");
  EXPECT_EQ(summary.standing, ConversationStanding::kOpen);
  EXPECT_EQ(summary.opened_ago, 5s);
  EXPECT_EQ(summary.ended_ago, std::nullopt);
  EXPECT_EQ(summary.crashes, 1u);
  EXPECT_EQ(summary.requests, 1u) << "another attempt is no other request";

  tell(1, kPhase, "Failed: upper on b");
  now += 1s;
  summary = timeline(1).summary.value();
  EXPECT_EQ(summary.standing, ConversationStanding::kEnded);
  EXPECT_EQ(summary.phase, "Failed: upper on b");
  EXPECT_EQ(summary.ended_ago, 1s);
}

TEST_F(TimelinesTest, OnlyClosedAndFailedAreTheEnd) {
  for (const char* phase :
       {"Created", "Active", "Completing", "Compensating", "Failing", "Close"}) {
    tell(1, kPhase, phase);
    EXPECT_EQ(kept.find(conv(1))->standing, ConversationStanding::kOpen) << phase;
  }
  tell(1, kPhase, "Closed");
  EXPECT_EQ(kept.find(conv(1))->standing, ConversationStanding::kEnded);
  tell(1, kPhase, "Active");
  EXPECT_EQ(kept.find(conv(1))->standing, ConversationStanding::kEnded) << "the end is the end";
}

TEST_F(TimelinesTest, AConversationIsItsOpenersAndOthersTellOfTheirPartOnly) {
  tell(kB, record(1, kBegun));  // may come first: it goes another way
  EXPECT_FALSE(known(1));
  EXPECT_EQ(timeline(1).summary, std::nullopt);
  tell(kA, record(1, kOpened));
  EXPECT_EQ(kept.find(conv(1))->node, kA);
  tell(kB, record(1, kAnswered));
  for (const auto lie : {kOpened, kPhase, kCrashed, kSent, kCancelRequested}) {
    tell(kB, record(1, lie, "Closed"));
  }
  EXPECT_EQ(kept.counters().foreign, 5u);
  EXPECT_EQ(events(1), (std::vector{kBegun, kOpened, kAnswered}));
  EXPECT_EQ(kept.find(conv(1)), (Timelines::Whereabouts{kA, kIncA, ConversationStanding::kOpen}));
}

TEST_F(TimelinesTest, WithItsNodeItIsLostUnlessTheNodeTellsOn) {
  tell(1, kOpened);
  tell(2, kOpened);
  tell(2, kPhase, "Closed");
  tell(kB, record(3, kOpened));
  kept.node_gone(kA, kIncB, now);  // another incarnation than the one that told
  EXPECT_EQ(kept.find(conv(1))->standing, ConversationStanding::kOpen);
  kept.node_gone(kA, kIncA, now);
  EXPECT_EQ(kept.find(conv(1))->standing, ConversationStanding::kNodeLost);
  EXPECT_EQ(kept.find(conv(2))->standing, ConversationStanding::kEnded);
  EXPECT_EQ(kept.find(conv(3))->standing, ConversationStanding::kOpen);

  const Incarnation fresh{9};  // it had been fenced, and its conversations live on
  kept.take(kA, fresh, control::Records{{record(1, kSent)}}, now);
  EXPECT_EQ(kept.find(conv(1)), (Timelines::Whereabouts{kA, fresh, ConversationStanding::kOpen}));
}

TEST_F(TimelinesTest, RoutineRecordsLeaveAQuarterToTheOthers) {
  limit({.records_max = 8});
  for (int i = 0; i < 6; ++i) tell(1, kSent);
  EXPECT_EQ(timeline(1).left_out.routine, 0u);
  tell(1, kReplied);
  EXPECT_EQ(timeline(1).left_out.routine, 1u);
  EXPECT_EQ(events(1).size(), 6u);
  tell(1, kCrashed);
  tell(1, kRerouted);
  EXPECT_EQ(timeline(1).left_out.routine, 1u) << "the reserve";
  tell(1, kCrashed);  // now a routine one gives way, the newest
  EXPECT_EQ(timeline(1).left_out.routine, 2u);
  EXPECT_EQ(events(1),
            (std::vector{kSent, kSent, kSent, kSent, kSent, kCrashed, kRerouted, kCrashed}));
  tell(1, kSent);
  EXPECT_EQ(timeline(1).left_out.routine, 3u);
}

TEST_F(TimelinesTest, OfTheOthersTheFirstAreKept) {
  limit({.records_max = 3});
  for (int i = 0; i < 3; ++i) tell(1, kCrashed, std::to_string(i));
  EXPECT_EQ(timeline(1).left_out.other, 0u);
  tell(1, kPhase, "Failed");
  EXPECT_EQ(timeline(1).left_out.other, 1u);
  EXPECT_EQ(events(1).size(), 3u);
  EXPECT_EQ(timeline(1).summary->standing, ConversationStanding::kEnded) << "noted all the same";
}

TEST_F(TimelinesTest, OfOneStreamANumberIsTakenOnce) {
  const auto numbered = [&](std::uint64_t first, std::vector<TimelineRecord> records,
                            std::vector<control::LeftOut> left_out = {}, std::uint64_t lost = 0,
                            std::uint64_t stream = 5) {
    return control::Records{std::move(records), std::move(left_out), lost, stream, first};
  };
  kept.take(kA, kIncA, numbered(1, {record(1, kPlaced), record(1, kCrashed)}), now);
  kept.take(kA, kIncA,
            numbered(2, {record(1, kCrashed), record(1, kRerouted)}, {{conv(1), 1, 0}}, 3), now);
  EXPECT_EQ(events(1), (std::vector{kPlaced, kCrashed, kRerouted}));
  EXPECT_EQ(kept.counters().repeated, 1u);
  // of a connection that was replaced, and then as another incarnation
  kept.take(kA, kIncA, numbered(2, {record(1, kCrashed)}), now);
  kept.take(kA, Incarnation{9}, numbered(3, {record(1, kRerouted)}, {{conv(1), 1, 0}}, 3), now);
  EXPECT_EQ(events(1).size(), 3u);
  EXPECT_EQ(timeline(1).left_out, (control::LeftOut{conv(1), 1, 0}));
  EXPECT_EQ(kept.counters().lost, 3u);
  EXPECT_EQ(kept.counters().repeated, 5u);

  kept.take(kB, kIncB, numbered(1, {record(1, kBegun)}), now);
  EXPECT_EQ(events(1).size(), 4u) << "each node counts for itself";
  kept.take(kA, Incarnation{10}, numbered(1, {record(1, kCrashed)}, {}, 0, 6), now);
  EXPECT_EQ(events(1).size(), 5u) << "another process under its name counts from 1";
}

TEST_F(TimelinesTest, BeyondTheBoundTheNodeThatToldNothingForLongestIsNotKnownAnyMore) {
  limit({.tellers_max = 2});
  const auto tell_as = [&](const NodeName& node) {
    kept.take(node, kIncA, control::Records{{record(1, kBegun)}, {}, 0, 5, 1}, now);
  };
  for (const NodeName& node : {kA, kB, kA, NodeName{"c"}}) tell_as(node);
  EXPECT_EQ(events(1).size(), 3u);
  tell_as(kA);
  EXPECT_EQ(events(1).size(), 3u) << "told again";
  tell_as(kB);
  EXPECT_EQ(events(1).size(), 4u) << "forgotten";
}

TEST_F(TimelinesTest, WhatNodesLeftOutIsAddedUp) {
  tell(1, kOpened);
  kept.take(kA, kIncA, control::Records{{}, {{conv(1), 5, 2}, {conv(99), 3, 1}}, 10}, now);
  EXPECT_EQ(timeline(1).left_out, (control::LeftOut{conv(1), 5, 2}));
  EXPECT_EQ(kept.counters().lost, 14u);
}

TEST_F(TimelinesTest, WhatIsLeftOutIsTakenFromThoseWhoTellOfItOnly) {
  tell(1, kOpened);
  const control::Records left_out{{}, {{conv(1), 5, 2}}};
  kept.take(kB, kIncB, left_out, now);  // it may know the id, and has told nothing of it
  EXPECT_EQ(timeline(1).left_out, (control::LeftOut{conv(1), 0, 0}));
  EXPECT_EQ(kept.counters().lost, 7u);
  tell(kB, record(1, kOpened));  // nor is it its own by saying so
  kept.take(kB, kIncB, left_out, now);
  EXPECT_EQ(timeline(1).left_out, (control::LeftOut{conv(1), 0, 0}));

  tell(kB, record(1, kBegun));  // a participant's node
  kept.take(kB, kIncB, left_out, now);
  EXPECT_EQ(timeline(1).left_out, (control::LeftOut{conv(1), 5, 2}));
  EXPECT_EQ(kept.counters().lost, 14u);
}

TEST_F(TimelinesTest, WhatANodeThatIsBackSaysAgainIsNotedAndNotKeptTwice) {
  tell(1, kOpened, "fail: upper");
  tell(1, kPhase, "Active");
  kept.node_gone(kA, kIncA, now);
  ASSERT_EQ(kept.find(conv(1))->standing, ConversationStanding::kNodeLost);
  const Incarnation fresh{9};
  kept.take(kA, fresh, control::Records{{record(1, kOpened, "fail: upper")}}, now);
  kept.take(kA, fresh, control::Records{{record(1, kPhase, "Active")}}, now);
  EXPECT_EQ(kept.find(conv(1)), (Timelines::Whereabouts{kA, fresh, ConversationStanding::kOpen}));
  EXPECT_EQ(events(1), (std::vector{kOpened, kPhase}));
  EXPECT_EQ(kept.counters().repeated, 2u);
  tell(1, kPhase, "Closed");
  EXPECT_EQ(events(1).size(), 3u);
}

TEST_F(TimelinesTest, WithoutRoomForRecordsNothingIsKept) {
  limit({.records_max = 0});
  tell(1, kOpened);
  EXPECT_EQ(kept.conversations(), 0u);
  EXPECT_EQ(kept.counters().left_out, 1u);
}

TEST_F(TimelinesTest, TheOldestThatEndedGoFirstThenTheOldestThatIsOpen) {
  limit({.conversations_max = 4});
  tell(kB, record(1, kOpened));
  tell(2, kOpened);
  tell(kB, record(3, kOpened));
  tell(4, kOpened);
  tell(4, kPhase, "Closed");
  tell(2, kPhase, "Closed");
  EXPECT_EQ(kept.counters().forgotten, 0u);
  tell(5, kOpened);
  EXPECT_FALSE(known(4)) << "it ended first";
  tell(6, kOpened);
  EXPECT_FALSE(known(2));
  tell(kB, record(7, kOpened));
  EXPECT_FALSE(known(1)) << "the oldest open one";
  EXPECT_EQ(kept.counters().forgotten, 3u);
  EXPECT_EQ(listed(), (std::vector<std::uint64_t>{3, 5, 6, 7}));
}

TEST_F(TimelinesTest, OnesThatNoOpenerToldOfGoBeforeAll) {
  limit({.conversations_max = 4});
  tell(1, kOpened);
  tell(1, kPhase, "Closed");
  tell(kB, record(2, kBegun));
  tell(3, kOpened);
  tell(kB, record(4, kOpened));
  EXPECT_EQ(timeline(2).told.size(), 1u);
  tell(NodeName{"c"}, record(5, kOpened));
  EXPECT_TRUE(timeline(2).told.empty());
  EXPECT_TRUE(known(1));
}

TEST_F(TimelinesTest, ANodeThatHoldsMoreThanHalfGivesWayItself) {
  limit({.conversations_max = 8});
  for (std::uint64_t i = 1; i <= 3; ++i) {
    tell(kB, record(i, kOpened));
    tell(kB, record(i, kPhase, "Closed"));
  }
  for (std::uint64_t i = 100; i < 1000; ++i) tell(i, kOpened);
  for (std::uint64_t i = 1; i <= 3; ++i) EXPECT_TRUE(known(i)) << "B's, though they ended";
  EXPECT_EQ(kept.conversations(), 8u);
  tell(kB, record(4, kOpened));
  EXPECT_EQ(listed().size(), 8u);
  EXPECT_TRUE(known(1) && known(4));
}

TEST_F(TimelinesTest, BytesAreBoundedAndOneThatIsTooMuchIsCut) {
  limit({.bytes_max = 64 * 1024});
  tell(kB, record(1, kOpened));
  for (int i = 0; i < 20; ++i) {
    tell(2, kCrashed, std::string(8000, 'x'));
    EXPECT_LE(kept.bytes(), 64u * 1024);
  }
  EXPECT_FALSE(known(1)) << "an open one had to give way to a larger one";
  EXPECT_EQ(events(2).size() + timeline(2).left_out.other, 20u);
  EXPECT_EQ(events(2).size(), 7u);
}

TEST_F(TimelinesTest, PagesAreBoundedAndLeaveNothingOut) {
  limit({.records_max = 1000});
  for (std::size_t i = 0; i < wire::kRecordsMax; ++i) tell(1, kCrashed);
  EXPECT_EQ(kept.page(control::TimelineQuery{conv(1)}, now).next, std::nullopt);
  tell(1, kCrashed);
  const auto first = kept.page(control::TimelineQuery{conv(1)}, now);
  EXPECT_EQ(first.told.size(), wire::kRecordsMax);
  EXPECT_EQ(first.next, wire::kRecordsMax);
  EXPECT_EQ(events(1).size(), wire::kRecordsMax + 1);

  for (int i = 0; i < 40; ++i) tell(2, kCrashed, std::string(16'000, 'x'));
  const auto heavy = kept.page(control::TimelineQuery{conv(2)}, now);
  EXPECT_LE(heavy.told.size(), wire::kRecordsFillBytes / 16'000 + 1);
  EXPECT_EQ(events(2).size(), 40u);
}

TEST_F(TimelinesTest, TheListIsOpenOnesByAgeThenEndedOnesNewestFirst) {
  const std::uint64_t count = 3 * wire::kSummariesMax;
  for (std::uint64_t i = 1; i <= count; ++i) tell(i, kOpened);
  for (std::uint64_t i = 1; i <= count; i += 2) tell(i, kPhase, "Closed");
  std::vector<std::uint64_t> expected;
  for (std::uint64_t i = 2; i <= count; i += 2) expected.push_back(i);
  for (std::uint64_t i = count - 1; i < count; i -= 2) expected.push_back(i);
  EXPECT_EQ(listed(), expected);
}

TEST_F(TimelinesTest, AFullPageThatIsTheLastOneSaysSo) {
  for (std::uint64_t i = 1; i <= wire::kSummariesMax; ++i) tell(i, kOpened);
  EXPECT_EQ(kept.page(control::ConversationsQuery{}, now).next, std::nullopt);
  tell(0, kOpened);
  EXPECT_NE(kept.page(control::ConversationsQuery{}, now).next, std::nullopt);
}

// On failure the seed is printed: make it the only one.
TEST_F(TimelinesTest, WhateverIsToldTheBoundsHoldAndTheCountsAddUp) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    const Timelines::Limits limits{.records_max = 1 + random.below(10),
                                   .conversations_max = 1 + random.below(8),
                                   .bytes_max = 4096 + random.below(30'000)};
    limit(limits);
    std::uint64_t told = 0;
    for (int step = 0; step < 300; ++step) {
      const NodeName node{std::string(1, static_cast<char>('a' + random.below(3)))};
      const auto id = random.below(12);
      if (random.below(20) == 0) {
        kept.node_gone(node, Incarnation{1 + random.below(2)}, now);
        continue;
      }
      static const char* const kTexts[] = {"", "Active", "Closed", "Failed: so"};
      std::string text = kTexts[random.below(4)];
      if (random.below(10) == 0) text.resize(random.below(3000), 'x');
      kept.take(node, Incarnation{1 + random.below(2)},
                control::Records{{record(id, static_cast<TimelineEvent>(random.below(21)), text)}},
                now);
      ++told;
      ASSERT_LE(kept.conversations(), limits.conversations_max);
      ASSERT_LE(kept.bytes(), limits.bytes_max);
      const auto page = timeline(id);
      ASSERT_LE(page.told.size(), limits.records_max);
      std::size_t routine = 0;
      for (const auto& each : page.told) routine += is_routine(each.record.event);
      ASSERT_LE(routine, routine_records_max(limits.records_max));
    }
    const auto ids = listed();
    EXPECT_EQ(std::set<std::uint64_t>(ids.begin(), ids.end()).size(), ids.size()) << "listed twice";
    EXPECT_LE(ids.size(), kept.conversations());
    const auto& counters = kept.counters();
    EXPECT_LE(counters.taken + counters.foreign + counters.repeated, told);
    EXPECT_GE(counters.taken + counters.left_out + counters.foreign + counters.repeated, told);
  }
}

}  // namespace
}  // namespace liminal::broker
