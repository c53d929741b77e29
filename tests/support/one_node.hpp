// A node without a network, for tests: what runs on it is run step by step, on virtual time.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "node/remote/directory.hpp"
#include "node/scheduler/scheduler.hpp"

namespace liminal::test {

/// As a directory lists the node that reads it.
inline Member own_node(std::vector<ServiceName> services, MemberState state = MemberState::kJoined,
                       NodeName name = NodeName{"a"}) {
  return {std::move(name), local_incarnation(), state, false, std::move(services), {}};
}

/// What leads to other nodes is in `forwarded`, for the test to answer by scheduler.deliver().
class OneNode : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kPayloadBytesMax = 1000;  // of the cluster

  void publish(Directory::Members members) {
    directory.publish({std::move(members), true, kPayloadBytesMax});
  }

  /// All that there is to do now.
  void run() { scheduler.run_until_idle(now); }
  /// And all that becomes due in this time, the end included, each at its own time.
  void run_for(Duration duration) {
    const TimePoint end = now + duration;
    run();
    while (const auto next = scheduler.next_deadline()) {
      if (*next > end) break;
      now = *next;
      run();
    }
    now = end;
    run();
  }

  TimePoint now{std::chrono::seconds{1000}};
  std::vector<Signal> forwarded;
  Scheduler scheduler{{.node = NodeName{"a"}, .seed = 7},
                      [this](Signal signal) { forwarded.push_back(std::move(signal)); }};
  Directory directory;
};

}  // namespace liminal::test
