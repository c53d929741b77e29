// What liminal-node is told by flags, environment and file.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/config/options.hpp"
#include "node/node.hpp"
#include "node/participant/service_registry.hpp"

namespace liminal {

struct NodeOptions {
  Node::Settings node;
  std::vector<ServiceDefinition> services;
  Duration join_timeout;
  std::string log_level;
};

/// The table that Options reads; its help is the node's.
[[nodiscard]] config::Options node_option_table();

/// Errors: kUsage, on one line: a service twice, a label twice, a compensation twice or of no
/// service.
/// REQUIRES: `parsed` came from that table, with the outcome kRun.
[[nodiscard]] Result<NodeOptions> read_node_options(const config::Parsed& parsed);

}  // namespace liminal
