#include "broker/broker_options.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <chrono>

#include "common/wire/limits.hpp"

namespace liminal::broker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kDownAfterMin = seconds{1};
constexpr Duration kDownAfterMax = seconds{30};  // zmtp_heartbeat_timeout() is beyond twice that
constexpr Duration kRecoveryMax = seconds{60};
// With the longest down-after below a node's isolation timeout of 60 s, its default.
constexpr Duration kRecoveryRaisedMax = seconds{29};
constexpr Duration kBeatIntervalMin = milliseconds{10};
constexpr std::uint64_t kPayloadMax = std::uint64_t{1} << 30;
constexpr std::int64_t kTimelineMax = 100'000;
constexpr std::int64_t kTimelinesMax = 1'000'000;
constexpr std::uint64_t kTimelineBytesMin = std::uint64_t{1} << 20;
// Room for the longest message, or a node could not be told who is there.
constexpr std::uint64_t kOutboxMin = 2 * wire::kPartBytesMax;

std::string value_of(const config::Parsed& parsed, const std::string& name) {
  return "--" + name + " (" + parsed.value(name) + ")";
}

}  // namespace

config::Options broker_option_table() {
  namespace expect = config::expect;
  return config::Options{
      {.program = "liminal-broker",
       .summary = "Connects nodes: membership, routing, and the verdict on which of them live."},
      {{.name = "listen",
        .placeholder = "ENDPOINT",
        .help = "where nodes connect",
        .default_value = "tcp://127.0.0.1:7411",
        .repeatable = true,
        .wrong = expect::listen_endpoint()},
       {.name = "insecure",
        .help = "listen beyond loopback although nobody is authenticated",
        .flag = true},
       {.name = "beat-interval",
        .placeholder = "DURATION",
        .help = "between two heartbeats",
        .default_value = "250ms",
        .wrong = expect::duration(kBeatIntervalMin, kDownAfterMax)},
       {.name = "suspect-after",
        .placeholder = "DURATION",
        .help = "a node silent for this long gets no new work",
        .default_value = "1250ms",
        .wrong = expect::duration(kBeatIntervalMin, kDownAfterMax)},
       {.name = "down-after",
        .placeholder = "DURATION",
        .help = "a node silent for this long is down, for good",
        .default_value = "3s",
        .wrong = expect::duration(kDownAfterMin, kDownAfterMax)},
       {.name = "reconnect-grace",
        .placeholder = "DURATION",
        .help = "a node whose connection closed may resume within this",
        .default_value = "500ms",
        .wrong = expect::duration(Duration::zero(), kDownAfterMax)},
       {.name = "recovery",
        .placeholder = "DURATION",
        .help = "after a start, nodes that another broker had may resume within this (at least "
                "down-after); 0s: they are fenced",
        .default_value = "6s",
        .wrong = expect::duration(Duration::zero(), kRecoveryMax)},
       {.name = "lease-margin",
        .placeholder = "DURATION",
        .help = "a node starts no work for others that late before its silence could be judged (at "
                "least beat-interval)",
        .default_value = "500ms",
        .wrong = expect::duration(kBeatIntervalMin, kDownAfterMax)},
       {.name = "payload-max",
        .placeholder = "SIZE",
        .help = "the largest payload of a message",
        .default_value = "16MiB",
        .wrong = expect::size(1, kPayloadMax)},
       {.name = "log-level",
        .placeholder = "LEVEL",
        .help = "what is logged to stderr: debug, info, warning, error or off",
        .default_value = "info",
        .wrong = expect::one_of({"debug", "info", "warning", "error", "off"})},
       {.name = "nodes-max",
        .placeholder = "N",
        .help = "nodes at once, those included that are joining",
        .default_value = "1024",
        .wrong = expect::number(1, 65536)},
       {.name = "outbox-max",
        .placeholder = "SIZE",
        .help = "what waits for one node that does not read",
        .default_value = "64MiB",
        .wrong = expect::size(kOutboxMin)},
       {.name = "timeline-max",
        .placeholder = "N",
        .help = "records kept of one conversation; 0: none, and nodes send none",
        .default_value = "1000",
        .wrong = expect::number(0, kTimelineMax)},
       {.name = "timelines-max",
        .placeholder = "N",
        .help = "conversations of which records are kept",
        .default_value = "10000",
        .wrong = expect::number(1, kTimelinesMax)},
       {.name = "timeline-bytes-max",
        .placeholder = "SIZE",
        .help = "what all records together may take",
        .default_value = "256MiB",
        .wrong = expect::size(kTimelineBytesMin)}}};
}

Result<BrokerOptions> read_broker_options(const config::Parsed& parsed) {
  BrokerOptions options{
      .listen = parsed.values("listen"),
      .insecure = parsed.flag("insecure"),
      .cluster = {.beat_interval = parsed.duration("beat-interval"),
                  .suspect_after = parsed.duration("suspect-after"),
                  .down_after = parsed.duration("down-after"),
                  .reconnect_grace = parsed.duration("reconnect-grace"),
                  .payload_bytes_max = parsed.size("payload-max"),
                  .lease_margin =
                      std::max(parsed.duration("lease-margin"), parsed.duration("beat-interval")),
                  .recovery = parsed.duration("recovery"),
                  .timeline_records_max =
                      static_cast<std::uint32_t>(parsed.number("timeline-max"))},
      .log_level = parsed.value("log-level"),
      .nodes_max = static_cast<std::size_t>(parsed.number("nodes-max")),
      .outbox_bytes_max = static_cast<std::size_t>(parsed.size("outbox-max")),
      .timelines_max = static_cast<std::size_t>(parsed.number("timelines-max")),
      .timeline_bytes_max = static_cast<std::size_t>(parsed.size("timeline-bytes-max"))};
  const ClusterSettings& cluster = options.cluster;
  if (cluster.beat_interval >= cluster.suspect_after) {
    return tl::unexpected(parsed.complaint(
        "suspect-after", "a duration longer than " + value_of(parsed, "beat-interval")));
  }
  if (cluster.suspect_after >= cluster.down_after) {
    return tl::unexpected(parsed.complaint(
        "down-after", "a duration longer than " + value_of(parsed, "suspect-after")));
  }
  if (cluster.lease_margin + cluster.beat_interval >= cluster.down_after) {
    return tl::unexpected(parsed.complaint(
        "down-after", "a duration longer than " + value_of(parsed, "beat-interval") + " and " +
                          value_of(parsed, "lease-margin") + " together"));
  }
  if (cluster.reconnect_grace > cluster.down_after) {
    return tl::unexpected(parsed.complaint(
        "reconnect-grace", "a duration no longer than " + value_of(parsed, "down-after")));
  }
  if (parsed.duration("lease-margin") < cluster.beat_interval && parsed.is_set("lease-margin")) {
    return tl::unexpected(parsed.complaint(
        "lease-margin", "a duration no shorter than " + value_of(parsed, "beat-interval")));
  }
  if (cluster.recovery != Duration::zero()) {
    const Duration at_least = std::min(cluster.down_after, kRecoveryRaisedMax);
    if (cluster.recovery < at_least && parsed.is_set("recovery")) {
      return tl::unexpected(parsed.complaint(
          "recovery", "a duration no shorter than " + value_of(parsed, "down-after") + ", or 0s"));
    }
    options.cluster.recovery = std::max(cluster.recovery, at_least);
  }
  for (const std::string& endpoint : options.listen) {
    if (options.insecure || is_loopback(endpoint)) continue;
    return tl::unexpected(parsed.complaint(
        "listen", "an address of loopback, e.g. tcp://127.0.0.1:7411, since whoever reaches '" +
                      endpoint + "' could join; or add --insecure"));
  }
  return options;
}

bool is_loopback(std::string_view endpoint) {
  if (endpoint.starts_with("ipc://")) return true;
  constexpr std::string_view kTcp = "tcp://";
  if (!endpoint.starts_with(kTcp)) return false;
  std::string_view host = endpoint.substr(kTcp.size());
  host = host.substr(0, host.rfind(':'));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);

  const std::string text{host};
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, text.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  return host == "localhost" || host == "lo";
}

Duration zmtp_heartbeat_timeout(Duration down_after) {
  constexpr Duration kAtLeast = seconds{20};
  constexpr Duration kAtMost = seconds{64};
  return std::clamp<Duration>(4 * down_after, kAtLeast, kAtMost);
}

}  // namespace liminal::broker
