// Goal: what the broker refuses to start with, and what it derives.
#include "broker/broker_options.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/support/source_dir.hpp"

namespace liminal::broker {
namespace {

using namespace std::chrono_literals;

Result<BrokerOptions> read(const std::vector<std::string>& arguments) {
  const auto parsed = broker_option_table().parse(
      arguments, [](const std::string&) -> std::optional<std::string> { return std::nullopt; });
  if (!parsed) return tl::unexpected(parsed.error());
  return read_broker_options(*parsed);
}

TEST(BrokerOptions, DefaultsListenOnLoopbackWithTheSettingsOfTheSurface) {
  const auto options = read({});
  ASSERT_TRUE(options) << options.error().detail;
  EXPECT_EQ(options->listen, std::vector<std::string>{"tcp://127.0.0.1:7411"});
  EXPECT_FALSE(options->insecure);
  EXPECT_EQ(options->cluster,
            (ClusterSettings{250ms, 1250ms, 3s, 500ms, 16 * 1024 * 1024, 500ms, 6s, 1000}));
}

TEST(BrokerOptions, TheShippedExampleIsValidAndSaysTheDefaults) {
  const std::string file = test::source_path("config/broker.conf");
  const auto options = read({"--config", file});
  ASSERT_TRUE(options) << options.error().detail;
  EXPECT_EQ(options->cluster, read({})->cluster);
  EXPECT_EQ(options->nodes_max, read({})->nodes_max);
  EXPECT_EQ(options->outbox_bytes_max, read({})->outbox_bytes_max);
  EXPECT_EQ(options->listen, read({})->listen);
  EXPECT_EQ(options->timelines_max, read({})->timelines_max);
  EXPECT_EQ(options->timeline_bytes_max, read({})->timeline_bytes_max);
}

TEST(BrokerOptions, TimelinesHaveLimitsAndMayBeNone) {
  EXPECT_EQ(read({"--timeline-max", "0"})->cluster.timeline_records_max, 0u);
  EXPECT_EQ(read({"--timeline-max", "100000"})->cluster.timeline_records_max, 100'000u);
  EXPECT_FALSE(read({"--timeline-max", "100001"}));
  EXPECT_EQ(read({"--timelines-max", "1"})->timelines_max, 1u);
  EXPECT_FALSE(read({"--timelines-max", "0"}));
  EXPECT_EQ(read({"--timeline-bytes-max", "1MiB"})->timeline_bytes_max, 1024u * 1024u);
  EXPECT_FALSE(read({"--timeline-bytes-max", "1023KiB"}));
}

TEST(BrokerOptions, LimitsThatContradictEachOtherAreRefusedNamingBothKeys) {
  struct Case {
    std::vector<std::string> arguments;
    std::string one, other;
  };
  for (const Case& each : {Case{{"--beat-interval", "1250ms"}, "beat-interval", "suspect-after"},
                           Case{{"--suspect-after", "3s"}, "suspect-after", "down-after"},
                           Case{{"--lease-margin", "2750ms"}, "lease-margin", "down-after"},
                           Case{{"--lease-margin", "249ms"}, "lease-margin", "beat-interval"},
                           Case{{"--reconnect-grace", "3001ms"}, "reconnect-grace", "down-after"},
                           Case{{"--recovery", "2999ms"}, "recovery", "down-after"}}) {
    const auto options = read(each.arguments);
    ASSERT_FALSE(options);
    EXPECT_EQ(options.error().code, Errc::kUsage);
    EXPECT_NE(options.error().detail.find(each.one), std::string::npos) << options.error().detail;
    EXPECT_NE(options.error().detail.find(each.other), std::string::npos);
    EXPECT_EQ(options.error().detail.find('\n'), std::string::npos);
  }
  EXPECT_TRUE(read({"--beat-interval", "1249ms"}));
  EXPECT_FALSE(read({"--down-after", "31s"}));
  EXPECT_TRUE(read({"--down-after", "30s"}));
  EXPECT_TRUE(read({"--lease-margin", "2749ms"}));
  EXPECT_TRUE(read({"--lease-margin", "250ms"}));
  EXPECT_TRUE(read({"--reconnect-grace", "3s"}));
  EXPECT_TRUE(read({"--recovery", "3s"}));
  EXPECT_TRUE(read({"--recovery", "29s", "--down-after", "30s"}));
}

TEST(BrokerOptions, WhatIsNotGivenFollowsTheLongerBounds) {
  EXPECT_EQ(read({"--down-after", "10s"})->cluster.recovery, 10s);
  EXPECT_EQ(read({"--recovery", "8s"})->cluster.recovery, 8s);
  const auto slow = read({"--down-after", "30s"})->cluster;
  EXPECT_LT(slow.down_after + slow.recovery, 60s) << "a node's isolation timeout, by default";
  EXPECT_EQ(read({"--recovery", "0s"})->cluster.recovery, 0s);
  EXPECT_EQ(read({"--beat-interval", "600ms"})->cluster.lease_margin, 600ms);
}

TEST(BrokerOptions, WhatMayGrowHasABoundWithAName) {
  const auto options = read({"--nodes-max", "3", "--outbox-max", "8MiB"});
  ASSERT_TRUE(options) << options.error().detail;
  EXPECT_EQ(options->nodes_max, 3U);
  EXPECT_EQ(options->outbox_bytes_max, std::size_t{8} * 1024 * 1024);
  EXPECT_FALSE(read({"--nodes-max", "0"}));
  EXPECT_FALSE(read({"--outbox-max", "8388607"}));  // less than two of the longest messages
}

TEST(BrokerOptions, BeyondLoopbackItNeedsInsecure) {
  const auto refused = read({"--listen", "tcp://0.0.0.0:7411"});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().detail.find("--insecure"), std::string::npos);
  EXPECT_TRUE(read({"--listen", "tcp://0.0.0.0:7411", "--insecure"}));
  EXPECT_FALSE(read({"--listen", "tcp://127.0.0.1:*", "--listen", "tcp://10.0.0.1:7411"}));
}

TEST(BrokerOptions, LoopbackIsWhatOnlyThisMachineReaches) {
  for (const char* endpoint : {"tcp://127.0.0.1:1", "tcp://127.8.9.1:*", "tcp://localhost:1",
                               "tcp://[::1]:7411", "ipc:///run/broker"}) {
    EXPECT_TRUE(is_loopback(endpoint)) << endpoint;
  }
  for (const char* endpoint : {"tcp://0.0.0.0:1", "tcp://*:1", "tcp://127.example.org:1",
                               "tcp://[::]:1", "tcp://10.0.0.1:1", "tcp://eth0:1"}) {
    EXPECT_FALSE(is_loopback(endpoint)) << endpoint;
  }
}

TEST(BrokerOptions, ZmtpReapsSocketsOnlyBeyondTwiceDownAfterAndBelowItsOverflow) {
  for (Duration down_after = 1s; down_after <= 30s; down_after += 500ms) {
    EXPECT_GT(zmtp_heartbeat_timeout(down_after), 2 * down_after);
    EXPECT_LT(zmtp_heartbeat_timeout(down_after), 65s);
  }
}

}  // namespace
}  // namespace liminal::broker
