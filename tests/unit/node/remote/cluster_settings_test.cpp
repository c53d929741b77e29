// Goal: a node does not live by settings that contradict each other, whatever a broker tells it.
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "common/wire/codec.hpp"
#include "node/remote/node_core.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kNow{1000s};
constexpr Duration kIsolation = 60s;

ClusterSettings usual() {
  return {.beat_interval = 250ms,
          .suspect_after = 1250ms,
          .down_after = 3s,
          .reconnect_grace = 500ms,
          .payload_bytes_max = 1 << 20,
          .recovery = 6s};
}

/// Why a node that is welcomed with these ends; empty: it does not.
std::string refusal_of(const ClusterSettings& settings) {
  NodeCore core{{.name = NodeName{"a"}, .isolation_timeout = kIsolation}, Random{1}};
  (void)core.start(kNow);
  (void)core.on_control_connected(kNow);
  const control::Welcome welcome{Epoch{1}, MembershipVersion{1}, 1, settings, {}};
  for (const auto& effect : core.on_control(wire::encode(ControlFrame{welcome}), kNow)) {
    if (const auto* found = std::get_if<node_effect::Unsuitable>(&effect)) return found->text;
  }
  const auto deadline = core.next_deadline();
  EXPECT_TRUE(!deadline || *deadline >= kNow);
  return {};
}

TEST(ClusterSettingsOfABroker, AreLivedByIfTheyFitTogether) {
  EXPECT_EQ(refusal_of(usual()), "");
  auto settings = usual();
  settings.beat_interval = settings.down_after - 1ns;
  EXPECT_EQ(refusal_of(settings), "");
  settings.beat_interval = 1ns;
  EXPECT_EQ(refusal_of(settings), "");
  settings = usual();
  settings.recovery = kIsolation - settings.down_after - 1ns;
  EXPECT_EQ(refusal_of(settings), "");
}

TEST(ClusterSettingsOfABroker, ABeatThatIsNoneOrComesTooLateIsRefused) {
  for (const Duration beat : {Duration::zero(), usual().down_after, Duration::max()}) {
    auto settings = usual();
    settings.beat_interval = beat;
    const std::string why = refusal_of(settings);
    EXPECT_NE(why.find("beat-interval"), std::string::npos) << why;
    EXPECT_NE(why.find("down-after"), std::string::npos) << why;
  }
}

TEST(ClusterSettingsOfABroker, BoundsThatReachBeyondOurIsolationAreRefused) {
  for (const auto& [down_after, recovery] :
       {std::pair{kIsolation, Duration::zero()}, std::pair{Duration{3s}, kIsolation - 3s},
        std::pair{Duration{3s}, Duration::max()}, std::pair{Duration::max(), Duration{6s}},
        std::pair{Duration::max(), Duration::max()}}) {
    auto settings = usual();
    settings.down_after = down_after;
    settings.recovery = recovery;
    const std::string why = refusal_of(settings);
    EXPECT_NE(why.find("isolation-timeout"), std::string::npos) << why;
  }
}

}  // namespace
}  // namespace liminal
