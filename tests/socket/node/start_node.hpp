// A node of a running broker, with worker threads of its own.
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "node/node.hpp"
#include "tests/support/running_broker.hpp"

namespace liminal::test {

/// It has joined. Offers "echo" and "cat", a command, unless it is light.
inline std::unique_ptr<Node> start_node(const RunningBroker& broker, const std::string& name,
                                        bool light, unsigned workers) {
  Node::Settings settings{.name = NodeName{name}, .broker = broker.endpoint(), .light = light};
  settings.workers = workers;
  settings.blocking = 1;
  std::vector<ServiceDefinition> services;
  if (!light) services = {*parse_service("echo=echo"), *parse_service("cat=exec:cat")};
  auto node = Node::create(settings, services);
  if (!node) throw std::runtime_error{node.error().detail};
  const auto started = (*node)->start(std::chrono::seconds{20});
  if (!started) throw std::runtime_error{started.error().detail};
  return *std::move(node);
}

}  // namespace liminal::test
