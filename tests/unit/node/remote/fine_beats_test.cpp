// A node notices a connection on which nothing comes, however many beats fit into down_after.
#include <gtest/gtest.h>

#include <chrono>
#include <limits>

#include "common/wire/codec.hpp"
#include "node/remote/node_core.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{1000s};

/// A node that has joined, and whose broker echoes what it is told to.
class FineBeats : public ::testing::Test {
 protected:
  void join(Duration beat_interval, Duration down_after) {
    interval = beat_interval;
    const ClusterSettings cluster{.beat_interval = beat_interval,
                                  .suspect_after = down_after / 2,
                                  .down_after = down_after,
                                  .reconnect_grace = 500ms,
                                  .payload_bytes_max = 1 << 20,
                                  .recovery = down_after};
    look_at(core.start(now));
    look_at(core.on_control_connected(now));
    say(control::Welcome{Epoch{1}, MembershipVersion{1}, 1, cluster, {}});
    look_at(core.on_data_connected(now));
    look_at(core.on_data_control(wire::encode(ControlFrame{control::Attached{}}), now));
    ASSERT_TRUE(core.joined());
    opened = 0;
  }
  void say(const ControlFrame& frame) { look_at(core.on_control(wire::encode(frame), now)); }

  void look_at(const NodeCore::Effects& effects) {
    for (const auto& effect : effects) {
      if (std::holds_alternative<node_effect::OpenControl>(effect)) ++opened;
      if (const auto* lease = std::get_if<node_effect::Lease>(&effect)) leased_until = lease->until;
    }
  }
  void beat() {
    look_at(core.advance(now));
    look_at(core.on_turn(0, 0, now));
    ++beats;
  }
  /// Beats, of which none is echoed, before `end`.
  void beat_until(TimePoint end) {
    for (; now < end; now += interval) beat();
    now = end;
  }

  TimePoint now = kStart;
  NodeCore core{{.name = NodeName{"a"}, .isolation_timeout = 24h}, Random{1}};
  Duration interval{};
  std::uint64_t beats = 0;
  int opened = 0;
  TimePoint leased_until = TimePoint::min();
};

TEST_F(FineBeats, OfTenMillisecondsASilenceOfThirtySecondsIsNoticedExactlyAtItsEnd) {
  join(10ms, 30s);
  beat_until(kStart + 30s);
  EXPECT_EQ(beats, 3000u);
  EXPECT_EQ(core.next_deadline(), now);
  look_at(core.advance(now - 1ns));
  EXPECT_EQ(opened, 0);
  look_at(core.advance(now));
  EXPECT_EQ(opened, 1);
}

TEST_F(FineBeats, AnEchoThatWasLongUnderWayStillCounts) {
  join(10ms, 30s);
  beat_until(kStart + 25s);
  say(control::BrokerBeat{1, 500});  // of five seconds after the start
  EXPECT_EQ(leased_until, kStart + 30s - 500ms) << "what it heard last was the welcome";
  beat_until(kStart + 35s);
  EXPECT_EQ(opened, 0);
  look_at(core.advance(now));
  EXPECT_EQ(opened, 1) << "since the first beat behind it";
}

TEST_F(FineBeats, FinerThanAnyBookHoldsTheyAreJudgedAllTheSame) {
  join(1us, 1s);
  for (; now < kStart + 1s; now += 20us) beat();
  EXPECT_EQ(beats, 50000u);
  look_at(core.advance(kStart + 1s - 1ns));
  EXPECT_EQ(opened, 0);
  look_at(core.advance(kStart + 1s));
  EXPECT_EQ(opened, 1);
}

}  // namespace
}  // namespace liminal
