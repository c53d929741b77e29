// What liminal-broker is told by flags, environment and file.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/config/options.hpp"
#include "common/wire/control.hpp"

namespace liminal::broker {

struct BrokerOptions {
  std::vector<std::string> listen;
  bool insecure;
  ClusterSettings cluster;
  std::string log_level;
  std::size_t nodes_max;
  std::size_t outbox_bytes_max;
  std::size_t timelines_max;
  std::size_t timeline_bytes_max;
};

/// The table that Options reads; its help is the broker's.
[[nodiscard]] config::Options broker_option_table();

/// Errors: kUsage, on one line, where options contradict each other, a bound is out of what the
/// transport can keep, or the broker would listen beyond loopback without --insecure.
/// REQUIRES: `parsed` came from that table, with the outcome kRun.
[[nodiscard]] Result<BrokerOptions> read_broker_options(const config::Parsed& parsed);

/// Whether only this machine can reach the endpoint. A host name is taken to be reachable from
/// elsewhere, whatever it resolves to now; "localhost" excepted.
[[nodiscard]] bool is_loopback(std::string_view endpoint);

/// Silence after which ZMTP reaps a socket: beyond twice down_after, so that the detector always
/// judges first, and below the 65 s at which its field overflows.
[[nodiscard]] Duration zmtp_heartbeat_timeout(Duration down_after);

}  // namespace liminal::broker
