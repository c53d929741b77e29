// A broker, nodes and commands as real processes, each on a host of its own, and cuts between them.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/socket/node/participant/proc.hpp"
#include "tests/support/host_network.hpp"
#include "tests/system/process.hpp"

namespace liminal::test {

/// Skips its tests, saying why, where no hosts can be made.
class HostsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = HostNetwork::why_not()) GTEST_SKIP() << *reason;
  }
};

/// Skips them where cables cannot be made bad as well.
class BadCablesTest : public HostsTest {
 protected:
  void SetUp() override {
    HostsTest::SetUp();
    if (IsSkipped()) return;
    if (const auto reason = HostNetwork::why_no_impairment()) GTEST_SKIP() << *reason;
  }
};

/// Runs until it is destroyed. The broker is on host `hub`, commands run on host `desk`, and each
/// name given is a host with place for the node of that name.
class HostCluster {
 public:
  using Words = std::vector<std::string>;

  explicit HostCluster(const Words& nodes, const Words& broker_options = {});

  [[nodiscard]] HostNetwork& network() { return network_; }
  [[nodiscard]] Process& broker() { return *broker_; }
  [[nodiscard]] Process& node(const std::string& name) { return *nodes_.at(name); }

  /// Starts a node on the host of its name and waits until it is ready.
  Process& add_node(const std::string& name, const Words& services, const Words& options = {});

  /// `liminal words[0] --broker ENDPOINT words[1]...`, on `desk`, patient by default.
  [[nodiscard]] Words command(const Words& words) const;
  Finished run(const Words& words, std::string input = {}) const;

  /// What `status` says of a node: `state` and so on; empty where it says nothing. Asked on the
  /// broker's host, which no cut of another one touches.
  [[nodiscard]] std::string told_of(const std::string& node, const std::string& key) const;
  [[nodiscard]] bool eventually_is(const std::string& node, const std::string& state) const;

  /// Pids of all that descends from a node, itself excepted; of that name, if one is given.
  [[nodiscard]] std::vector<pid_t> below(const std::string& node, const std::string& name = {});
  /// An `ask slow` on `desk`, whose request `node` works on: it runs a `sleep`.
  /// Errors: std::runtime_error.
  [[nodiscard]] std::unique_ptr<Process> ask_slow(const std::string& node, const Words& more = {});

 private:
  HostNetwork network_;
  std::string mark_;
  std::string endpoint_;
  std::unique_ptr<Process> broker_;
  std::map<std::string, std::unique_ptr<Process>> nodes_;
};

/// `converse echo` of numbered lines on `desk`; each reply must be its line, none may be missing.
class EchoTalk {
 public:
  explicit EchoTalk(const HostCluster& cluster, const std::string& service = "echo");
  /// So many lines more; does not wait for replies.
  void say(int lines);
  /// Waits for the replies to all lines said.
  void read_all();
  /// Reads them, ends the conversation. Errors: std::runtime_error, if it did not go well.
  void finish();
  [[nodiscard]] int said() const { return said_; }

 private:
  int said_ = 0;
  int read_ = 0;
  Process converse_;
};

/// Does what needs the cluster to stay whole, and says whether it did. What cannot go on throws: in
/// a cluster that lost somebody that is its consequence and no failure by itself, so that a trial
/// which the machine's own pause spoilt is followed by another.
template <class Disturb, class NobodyLost>
[[nodiscard]] bool nobody_is_lost_by(const Disturb& disturb, const NobodyLost& nobody_lost) {
  try {
    disturb();
  } catch (const std::runtime_error&) {
    if (nobody_lost()) throw;
    return false;
  }
  return nobody_lost();
}

/// How often `part` is in what the process logged.
[[nodiscard]] int times_said(const Process& process, const std::string& part);

/// How long a fault lasts; nothing is waited for.
void keep_it_so(Milliseconds duration);

}  // namespace liminal::test
