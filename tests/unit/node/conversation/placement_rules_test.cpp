// Goal: each placement rule picks whom it says, among joined nodes only; nodes that were tried
// before come after all others; the reason names what was chosen from; what cannot be found is said
// by name.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "node/conversation/placement.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{10s};
const ServiceName kUpper{"upper"};

struct Given {
  const char* name;
  std::uint64_t incarnation;
  MemberState state = MemberState::kJoined;
  std::vector<std::pair<std::string, std::string>> labels = {};
};

Directory::Snapshot directory(const std::vector<Given>& nodes) {
  Directory::Snapshot snapshot;
  snapshot.connected = true;
  for (const Given& node : nodes) {
    snapshot.members.push_back({NodeName{node.name},
                                Incarnation{node.incarnation},
                                node.state,
                                false,
                                {kUpper},
                                node.labels});
  }
  return snapshot;
}

Pid holder(const char* node, std::uint64_t incarnation, std::uint64_t serial = 1) {
  return {NodeName{node}, Incarnation{incarnation}, Serial{serial}};
}

Placement::Settings settings(PlacementRule rule, std::vector<Pid> tried = {}) {
  return {.service = kUpper, .rule = std::move(rule), .timeout = 5s, .tried = std::move(tried)};
}

/// Whom it picks, by seed, and how often.
std::map<std::string, int> picks(const Placement::Settings& how, const Directory::Snapshot& where,
                                 const Placement::Shares& shares = {}) {
  std::map<std::string, int> picked;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Random random{seed};
    Placement placement{how, kStart};
    const auto next = placement.next(where, shares, random, kStart);
    const auto* attempt = std::get_if<Placement::Try>(&next);
    ++picked[attempt ? attempt->node.node.value() : "nobody"];
  }
  return picked;
}
std::string reason(const Placement::Settings& how, const Directory::Snapshot& where,
                   const Placement::Shares& shares = {}) {
  Random random{1};
  Placement placement{how, kStart};
  (void)placement.next(where, shares, random, kStart);
  return placement.reason();
}
std::string gave_up(const Placement::Settings& how, const Directory::Snapshot& where) {
  Random random{1};
  Placement placement{how, kStart};
  const auto next = placement.next(where, {}, random, kStart);
  const auto* over = std::get_if<Placement::GiveUp>(&next);
  return over ? over->error.detail : "it goes on";
}

TEST(PlacementRules, AnyPicksEachOfThem) {
  const auto where = directory({{"a", 1}, {"b", 2}, {"c", 3}});
  const auto picked = picks(settings(placement_rule::Any{}), where);
  EXPECT_EQ(picked.size(), 3U);
  EXPECT_EQ(reason(settings(placement_rule::Any{}), where), "any, of 3 candidates");
}

TEST(PlacementRules, LeastLoadedPicksTheFewestParticipantsAndWhatIsNotKnownCountsAsNone) {
  auto where = directory({{"a", 1}, {"b", 2}, {"c", 3}});
  where.participants = {{Incarnation{1}, 5}, {Incarnation{2}, 4}, {Incarnation{3}, 6}};
  using Picks = std::map<std::string, int>;
  EXPECT_EQ(picks(settings(placement_rule::LeastLoaded{}), where), (Picks{{"b", 100}}));
  EXPECT_EQ(reason(settings(placement_rule::LeastLoaded{}), where),
            "least loaded, of 3 candidates, with 4 participants");
  where.participants.erase(Incarnation{1});
  EXPECT_EQ(picks(settings(placement_rule::LeastLoaded{}), where), (Picks{{"a", 100}}));
  where.participants.erase(Incarnation{2});
  EXPECT_EQ(picks(settings(placement_rule::LeastLoaded{}), where).size(), 2U) << "a tie: any";
}

TEST(PlacementRules, SpreadPicksTheFewestOfThisConversation) {
  const auto where = directory({{"a", 1}, {"b", 2}, {"c", 3}});
  const Placement::Shares shares = {{{NodeName{"a"}, Incarnation{1}}, 2},
                                    {{NodeName{"c"}, Incarnation{3}}, 1}};
  EXPECT_EQ(picks(settings(placement_rule::Spread{}), where, shares),
            (std::map<std::string, int>{{"b", 100}}));
  EXPECT_EQ(reason(settings(placement_rule::Spread{}), where, shares),
            "spread, of 3 candidates, with 0 of this conversation");
}

TEST(PlacementRules, ALabelIsKeyAndValue) {
  const auto where = directory({{"a", 1, MemberState::kJoined, {{"zone", "east"}}},
                                {"b", 2, MemberState::kJoined, {{"zone", "west"}, {"x", "east"}}},
                                {"c", 3}});
  const auto east = settings(placement_rule::ByLabel{"zone", "east"});
  EXPECT_EQ(picks(east, where), (std::map<std::string, int>{{"a", 100}}));
  EXPECT_EQ(gave_up(settings(placement_rule::ByLabel{"zone", "north"}), where),
            "no node with label zone=north offers service 'upper'");
}

TEST(PlacementRules, ANodeIsItsName) {
  const auto where = directory({{"a", 1}, {"b", 2}});
  EXPECT_EQ(picks(settings(placement_rule::ByNode{NodeName{"b"}}), where),
            (std::map<std::string, int>{{"b", 100}}));
  EXPECT_EQ(gave_up(settings(placement_rule::ByNode{NodeName{"x"}}), where),
            "no node 'x' offers service 'upper'");
}

TEST(PlacementRules, NoneEverPicksASuspect) {
  const std::vector<PlacementRule> rules = {
      placement_rule::Any{}, placement_rule::LeastLoaded{}, placement_rule::Spread{},
      placement_rule::ByNode{NodeName{"a"}}, placement_rule::ByLabel{"k", "v"}};
  const auto where = directory({{"a", 1, MemberState::kSuspect, {{"k", "v"}}}});
  for (const PlacementRule& rule : rules) {
    EXPECT_EQ(picks(settings(rule), where), (std::map<std::string, int>{{"nobody", 100}}))
        << to_string(rule);
    EXPECT_EQ(gave_up(settings(rule), where), "it goes on") << "it may come back";
  }
}

TEST(PlacementRules, TriedOnesComeAfterAllOthersTheOneTriedLongestAgoFirst) {
  const auto where = directory({{"a", 1}, {"b", 2}, {"c", 3}});
  using Picks = std::map<std::string, int>;
  EXPECT_EQ(picks(settings(placement_rule::Any{}, {holder("a", 1), holder("b", 2)}), where),
            (Picks{{"c", 100}}));
  const auto all = settings(placement_rule::Any{},
                            {holder("a", 1), holder("b", 2), holder("c", 3), holder("a", 1, 2)});
  EXPECT_EQ(picks(all, where), (Picks{{"b", 100}})) << "a was tried again since";
  EXPECT_EQ(reason(all, where), "any, of 3 candidates, tried before, as all others that are there");
}

TEST(PlacementRules, ALivingTriedNodeIsUsableWhereAllOthersAreSuspect) {
  const auto where = directory({{"a", 1}, {"b", 2, MemberState::kSuspect}});
  EXPECT_EQ(picks(settings(placement_rule::Any{}, {holder("a", 1)}), where),
            (std::map<std::string, int>{{"a", 100}}));
}

TEST(PlacementRules, AnotherIncarnationWasNotTried) {
  const auto where = directory({{"a", 9}, {"b", 2}});
  EXPECT_EQ(picks(settings(placement_rule::Any{}, {holder("a", 1), holder("b", 2)}), where),
            (std::map<std::string, int>{{"a", 100}}));
}

TEST(PlacementRules, APersistentOneWaitsForAllItsTimeAndAsksAgain) {
  auto how = settings(placement_rule::Any{});
  how.persistent = true;
  Random random{1};
  Placement placement{how, kStart};
  EXPECT_TRUE(
      std::holds_alternative<Placement::Wait>(placement.next(directory({}), {}, random, kStart)));
  const auto where = directory({{"a", 1}});
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(
        std::holds_alternative<Placement::Try>(placement.next(where, {}, random, kStart + 1s)));
    placement.failed({Errc::kNoService, "cannot compensate"});
    EXPECT_TRUE(
        std::holds_alternative<Placement::Wait>(placement.next(where, {}, random, kStart + 1s)));
  }
  EXPECT_TRUE(std::holds_alternative<Placement::Wait>(
      placement.next(directory({}), {}, random, kStart + 5s - 1ns)));
  const auto over = placement.next(directory({}), {}, random, kStart + 5s);
  ASSERT_TRUE(std::holds_alternative<Placement::GiveUp>(over));
  EXPECT_EQ(std::get<Placement::GiveUp>(over).error.detail,
            "no node offers service 'upper', waited 5s");
}

}  // namespace
}  // namespace liminal
