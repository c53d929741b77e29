// Goal: instances go to joined nodes that offer the service, each tried once; hope is waited for,
// within the bound.
#include "node/conversation/placement.hpp"

#include <gtest/gtest.h>

#include <set>

namespace liminal {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{10s};
const ServiceName kUpper{"upper"};

Member member(const char* name, std::uint64_t incarnation, MemberState state = MemberState::kJoined,
              const char* service = "upper") {
  return {NodeName{name}, Incarnation{incarnation}, state, false, {ServiceName{service}}, {}};
}
Directory::Snapshot directory(Directory::Members members, bool connected = true) {
  return {std::move(members), connected, 0};
}

class PlacementTest : public ::testing::Test {
 protected:
  Random random{1};
  Placement placement{Placement::Settings{.service = kUpper, .timeout = 5s}, kStart};

  std::optional<Pid> tried(const Directory::Snapshot& where) {
    const auto next = placement.next(where, {}, random, kStart);
    const auto* attempt = std::get_if<Placement::Try>(&next);
    return attempt ? std::optional{attempt->node} : std::nullopt;
  }
  Error gave_up(const Directory::Snapshot& where, TimePoint now = kStart) {
    const auto next = placement.next(where, {}, random, now);
    const auto* over = std::get_if<Placement::GiveUp>(&next);
    return over ? over->error : Error{Errc::kInternal, "it goes on"};
  }
};

TEST_F(PlacementTest, OwnNodeIsACandidateAndLocal) {
  EXPECT_EQ(tried(directory({member("a", 0)})),
            (Pid{NodeName{"a"}, local_incarnation(), Serial{0}}));
}

TEST_F(PlacementTest, EachCandidateIsTriedOnce) {
  const auto where = directory({member("a", 0), member("b", 2), member("c", 3)});
  std::set<Pid> all;
  for (int i = 0; i < 3; ++i) {
    const auto node = tried(where);
    ASSERT_TRUE(node);
    all.insert(*node);
    placement.failed({Errc::kNoService, "not here"});
  }
  EXPECT_EQ(all.size(), 3U);
  EXPECT_EQ(gave_up(where), (Error{Errc::kNoService, "no node offers service 'upper'"}));
}

TEST_F(PlacementTest, ANewIncarnationOfATriedNodeIsAnotherCandidate) {
  EXPECT_TRUE(tried(directory({member("b", 2)})));
  EXPECT_FALSE(tried(directory({member("b", 2)})));
  EXPECT_TRUE(tried(directory({member("b", 3)})));
}

TEST_F(PlacementTest, NobodyWhoDoesNotOfferItOrIsDownOrHasLeft) {
  EXPECT_EQ(
      gave_up(directory({member("a", 1, MemberState::kJoined, "lower"),
                         member("b", 2, MemberState::kDown), member("c", 3, MemberState::kLeft)}))
          .code,
      Errc::kNoService);
}

TEST_F(PlacementTest, SuspectsAreWaitedForUntilTheLimit) {
  const auto where = directory({member("b", 2, MemberState::kSuspect)});
  const auto next = placement.next(where, {}, random, kStart);
  ASSERT_TRUE(std::holds_alternative<Placement::Wait>(next));
  EXPECT_EQ(std::get<Placement::Wait>(next).before_next, 50ms);
  const auto last = placement.next(where, {}, random, kStart + 5s - 1ns);
  ASSERT_TRUE(std::holds_alternative<Placement::Wait>(last));
  EXPECT_EQ(std::get<Placement::Wait>(last).before_next, 1ns);
  EXPECT_EQ(gave_up(where, kStart + 5s).code, Errc::kNoService);
}

TEST_F(PlacementTest, ABrokerIsWaitedFor) {
  EXPECT_TRUE(std::holds_alternative<Placement::Wait>(
      placement.next(directory({}, false), {}, random, kStart)));
  EXPECT_EQ(gave_up(directory({}, false), kStart + 5s).code, Errc::kNoService);
  EXPECT_EQ(gave_up(directory({}, true)).code, Errc::kNoService);
}

TEST_F(PlacementTest, InRecoveryWhoeverOffersItMayYetComeBack) {
  auto where = directory({});
  where.recovering = true;
  EXPECT_TRUE(std::holds_alternative<Placement::Wait>(placement.next(where, {}, random, kStart)));
  const Error error = gave_up(where, kStart + 5s);
  EXPECT_EQ(error.code, Errc::kNoService);
  EXPECT_NE(error.detail.find("recovery"), std::string::npos) << error.detail;
}

TEST_F(PlacementTest, OneThatCouldNotBeReachedIsAskedAgainWhileItIsListed) {
  const auto where = directory({member("b", 2)});
  EXPECT_TRUE(tried(where));
  placement.failed({Errc::kPeerUnreachable, "the session was reset"});
  EXPECT_TRUE(std::holds_alternative<Placement::Wait>(placement.next(where, {}, random, kStart)));
  EXPECT_TRUE(tried(where));
  placement.failed({Errc::kPeerUnreachable, "down"});
  EXPECT_EQ(gave_up(directory({})).code, Errc::kNoService) << "the directory knows better";
}

TEST_F(PlacementTest, ARefusalWithAReasonIsTold) {
  const auto where = directory({member("b", 2)});
  EXPECT_TRUE(tried(where));
  placement.failed({Errc::kRejected, "too many instances"});
  EXPECT_EQ(gave_up(where), (Error{Errc::kRejected, "too many instances"}));
}

}  // namespace
}  // namespace liminal
