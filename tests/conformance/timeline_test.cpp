// Contract 38: what the broker shows of a conversation, by what nodes told it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "common/timeline/order.hpp"
#include "tests/conformance/stage.hpp"

namespace liminal::conformance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class Timeline : public Stage {
 protected:
  /// As the broker has it, in order of cause.
  std::vector<control::Told> timeline(const Talk& talk) {
    std::vector<control::Told> told;
    control::TimelineQuery query{talk.state().id};
    for (bool more = true; more;) {
      auto page = world().broker().timelines().page(query, world().now());
      told.insert(told.end(), page.told.begin(), page.told.end());
      more = page.next.has_value();
      if (more) query.from = *page.next;
    }
    std::vector<control::Told> ordered;
    for (const std::size_t at : order_by_cause(told)) ordered.push_back(told[at]);
    return ordered;
  }

  /// "sent work 1", "phase Active", ...: the event, the role, and the attempt; of a phase its name.
  static std::string line_of(const TimelineRecord& record) {
    std::string line{name_of(record.event)};
    if (record.event == TimelineEvent::kPhase) {
      return line + " " + record.text.substr(0, record.text.find(':'));
    }
    if (!record.role.empty()) line += " " + record.role;
    if (record.attempt > 0) line += " " + std::to_string(record.attempt);
    return line;
  }
  std::vector<std::string> lines(const Talk& talk) {
    std::vector<std::string> all;
    for (const control::Told& told : timeline(talk)) all.push_back(line_of(told.record));
    return all;
  }
  std::vector<TimelineRecord> of(const Talk& talk, TimelineEvent event) {
    std::vector<TimelineRecord> found;
    for (const control::Told& told : timeline(talk)) {
      if (told.record.event == event) found.push_back(told.record);
    }
    return found;
  }
};
INSTANTIATE_TEST_SUITE_P(, Timeline, ::testing::Values(Where::kOneNode, Where::kThreeNodes),
                         name_of_where);

TEST_P(Timeline, C38_TheTimelineShowsWhatAReroutedConversationDidInOrderOfCause) {
  offer("work",
        {.process = [](const Request& request,
                       const auto&) { return request.attempt == 1 ? never() : reply("done"); },
         .waits = true},
        {"p1", "p2"});
  start();
  Talk& talk = open(CrashPolicy::kRouteToNext, {"work"});
  const CallPtr asked = talk.ask("x");
  ASSERT_TRUE(run_until([&] { return !deeds().empty(); }));
  run_for(20ms);  // what its node told is on its way
  const NodeName first = talk.participant("work").pid->node;
  lose(talk, "work");
  ASSERT_TRUE(run_until_told(asked));
  EXPECT_EQ(said(asked), "done");
  (void)talk.close();
  ASSERT_TRUE(run_until_ended(talk));
  run_for(1s);

  EXPECT_THAT(lines(talk), ElementsAre("opened", "phase Active", "placed work", "sent work 1",
                                       "begun 1", "crashed work", "rerouted work", "placed work",
                                       "sent work 2", "begun 2", "answered 2", "replied work 2",
                                       "phase Completing", "ended work", "phase Closed"));
  const auto crashes = of(talk, TimelineEvent::kCrashed);
  ASSERT_THAT(crashes, SizeIs(1));
  ASSERT_TRUE(crashes[0].reason);
  if (across()) {
    EXPECT_EQ(crashes[0].participant->node, first);
    EXPECT_EQ(crashes[0].reason->kind, ExitKind::kNoConnection);
    ASSERT_TRUE(crashes[0].reason->evidence);
    EXPECT_EQ(crashes[0].reason->evidence->source, EvidenceSource::kConnectionClosed);
  } else {
    EXPECT_EQ(crashes[0].reason->kind, ExitKind::kKilled);
  }
  ASSERT_THAT(of(talk, TimelineEvent::kRerouted), SizeIs(1));
  const auto sent = of(talk, TimelineEvent::kSent);
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(sent[0].message, sent[1].message) << "the same request";

  const auto summary = world()
                           .broker()
                           .timelines()
                           .page(control::TimelineQuery{talk.state().id}, world().now())
                           .summary;
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->standing, control::ConversationStanding::kEnded);
  EXPECT_EQ(summary->crashes, 1U);
  EXPECT_EQ(summary->requests, 1U);
}

TEST_P(Timeline, C38_TheTimelineShowsWhatWasUndoneInOrderOfCause) {
  const auto replies = [](const std::string& text) {
    return [text](const auto&, const auto&) { return reply(text); };
  };
  offer("reserve", {.process = replies("reserved"), .compensates = true}, {"p1"});
  offer("charge", {.process = replies("charged"), .compensates = true}, {"p2"});
  offer("ship", {.process = [](const auto&, const auto&) { return never(); }, .waits = true},
        {"p3"});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"reserve", "charge", "ship"});
  ASSERT_TRUE(run_until_told(talk.ask("x", {.role = "reserve"})));
  ASSERT_TRUE(run_until_told(talk.ask("y", {.role = "charge"})));
  (void)talk.ask("z", {.role = "ship"});
  ASSERT_TRUE(run_until([&] { return !deeds("ship").empty(); }));
  run_for(20ms);
  lose(talk, "ship");
  ASSERT_TRUE(run_until_ended(talk));
  run_for(1s);

  std::vector<std::string> all = lines(talk);  // participants come and end in any order
  std::erase_if(all, [](const std::string& line) {
    return line.starts_with("placed") || line.starts_with("ended");
  });
  EXPECT_THAT(all,
              ElementsAre("opened", "phase Active", "sent reserve 1", "begun 1", "answered 1",
                          "replied reserve 1", "sent charge 1", "begun 1", "answered 1",
                          "replied charge 1", "sent ship 1", "begun 1", "crashed ship",
                          "phase Compensating", "nothing-to-undo ship", "compensating charge 1",
                          "begun 1", "answered 1", "compensated charge 1", "compensating reserve 1",
                          "begun 1", "answered 1", "compensated reserve 1", "phase Failed"));
  const auto sent = of(talk, TimelineEvent::kSent);
  const auto compensated = of(talk, TimelineEvent::kCompensated);
  ASSERT_THAT(sent, SizeIs(3));
  ASSERT_THAT(compensated, SizeIs(2));
  EXPECT_EQ(compensated[0].cause, sent[1].message) << "charge first";
  EXPECT_EQ(compensated[1].cause, sent[0].message);
  const auto crashes = of(talk, TimelineEvent::kCrashed);
  ASSERT_THAT(crashes, SizeIs(1));
  EXPECT_EQ(crashes[0].role, "ship");
  ASSERT_TRUE(crashes[0].reason);
  EXPECT_EQ(crashes[0].reason->evidence.has_value(), across());
}

/// A conversation that runs one long request, all on one node, so that nothing of it is remote.
class LongRequest : public Timeline {
 protected:
  Talk& begin() {
    offer("slow", {.process = [](const auto&, const auto&) { return never(); }, .waits = true});
    start();
    Talk& talk = open(CrashPolicy::kFail, {"slow"});
    asked = talk.ask("x");
    EXPECT_TRUE(run_until([&] { return !deeds().empty(); }));
    run_for(100ms);
    return talk;
  }
  std::optional<broker::Timelines::Whereabouts> whereabouts(const Talk& talk) {
    return world().broker().timelines().find(talk.state().id);
  }
  CallPtr asked;
};
INSTANTIATE_TEST_SUITE_P(, LongRequest, ::testing::Values(Where::kOneNode), name_of_where);

TEST_P(LongRequest, C38_ANodeThatWasFencedTellsAgainWhatIsOpen) {
  Talk& talk = begin();
  const Incarnation before = node("c").core().incarnation();
  ASSERT_EQ(whereabouts(talk)->incarnation, before);
  world().pause(0);
  run_for(10s);
  ASSERT_EQ(whereabouts(talk)->standing, control::ConversationStanding::kNodeLost);
  world().resume(0);
  ASSERT_TRUE(run_until([&] { return node("c").fenced() == 1 && node("c").core().joined(); }));
  run_for(1s);
  const Incarnation after = node("c").core().incarnation();
  EXPECT_NE(after, before);
  EXPECT_EQ(said(asked), "(waiting)") << "it lives on";
  EXPECT_EQ(whereabouts(talk), (broker::Timelines::Whereabouts{
                                   node("c").name(), after, control::ConversationStanding::kOpen}));
  EXPECT_THAT(of(talk, TimelineEvent::kOpened), SizeIs(1)) << "what is known is not kept twice";
}

TEST_P(LongRequest, C38_AnotherBrokerIsToldWhatIsOpenAndWhatHappenedInIt) {
  Talk& talk = begin();
  const auto before = lines(talk);
  ASSERT_FALSE(before.empty());
  world().kill_broker();
  run_for(1s);
  world().start_broker();
  ASSERT_TRUE(run_until([&] { return node("c").core().joined(); }));
  run_for(1s);
  ASSERT_TRUE(whereabouts(talk));
  EXPECT_EQ(whereabouts(talk)->standing, control::ConversationStanding::kOpen);
  EXPECT_EQ(lines(talk), before);
  EXPECT_THAT(of(talk, TimelineEvent::kOpened).at(0).text, HasSubstr("slow"));
}

TEST_P(LongRequest, C38_AllThatIsOpenIsToldAgainThoughItIsMoreThanFitsAtOnce) {
  Talk& talk = begin();
  constexpr std::size_t kMany = 2 * ConversationSupervisor::kRetoldAtOnce + 1;
  std::vector<ConversationHandle> held;
  for (std::size_t i = 1; i < kMany; ++i) {
    auto opened = node("c").supervisor().spawn(config(CrashPolicy::kFail, {"slow"}));
    ASSERT_TRUE(opened);
    held.push_back(opened->handle());
  }
  node("c").poke();
  world().kill_broker();
  run_for(1s);
  world().start_broker();
  ASSERT_TRUE(run_until([&] { return node("c").core().joined(); }));
  run_for(1s);
  EXPECT_EQ(world().broker().timelines().conversations(), kMany);
  EXPECT_TRUE(whereabouts(talk));
  for (ConversationHandle& each : held) each.cancel("its test");
  node("c").poke();
}

// What CancelConversation promises: whether it was open, and is being cancelled.
TEST_P(Timeline, C38_WhatIsEndingAlreadyIsNotCancelled) {
  offer("reserve",
        {.process = [](const auto&, const auto&) { return reply("reserved"); },
         .undo = [](const auto&, const auto&) { return done().in(1s); },
         .compensates = true,
         .waits = true},
        {"p1"});
  start();
  Talk& talk = open(CrashPolicy::kCompensate, {"reserve"});
  ASSERT_TRUE(run_until_told(talk.ask("x")));
  auto& supervisor = node("c").supervisor();
  const ConversationId id = talk.state().id;
  EXPECT_TRUE(supervisor.cancel(id, "somebody"));
  node("c").poke();
  ASSERT_TRUE(run_until([&] { return talk.state().phase == Phase::kCompensating; }));
  EXPECT_FALSE(supervisor.cancel(id, "somebody else"));
  ASSERT_TRUE(run_until_ended(talk));
  EXPECT_FALSE(supervisor.cancel(id, "somebody else"));
  run_for(1s);
  ASSERT_THAT(of(talk, TimelineEvent::kCancelRequested), SizeIs(1));
  EXPECT_EQ(of(talk, TimelineEvent::kCancelRequested)[0].text, "somebody");
}

}  // namespace
}  // namespace liminal::conformance
