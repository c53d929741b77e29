// A broker and nodes as real processes, and what tests say about the commands they run against
// them.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/socket/node/participant/proc.hpp"
#include "tests/system/process.hpp"

namespace liminal::test {

/// Runs until it is destroyed. The broker's port is the system's choice.
class Cluster {
 public:
  using Words = std::vector<std::string>;

  explicit Cluster(Words broker_options = {});

  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  [[nodiscard]] Process& broker() { return *broker_; }
  [[nodiscard]] Process& node(const std::string& name) { return *nodes_.at(name); }

  /// Starts a node, in place of one of that name, and does not wait for it.
  Process& start_node(const std::string& name, const Words& services, const Words& options = {});
  /// Starts one and waits until it is ready.
  Process& add_node(const std::string& name, const Words& services, const Words& options = {});
  /// SIGKILL for the broker.
  void kill_broker();
  /// Another one at the same endpoint. REQUIRES: kill_broker().
  void restart_broker() { start_broker(endpoint_); }
  /// Both.
  void replace_broker();
  /// What is in the node's status, or empty: a string of 16 hex digits.
  [[nodiscard]] std::string incarnation_of(const std::string& node) const;

  /// `liminal words[0] --broker ENDPOINT words[1]...`, patient by default.
  [[nodiscard]] Words command(const Words& words) const;
  Finished run(const Words& words, std::string input = {}) const;

  /// Pids of a node's minder and of all that descends from it; of that name, if one is given.
  [[nodiscard]] std::vector<pid_t> below(const std::string& node, const std::string& name = {});

 private:
  void start_broker(const std::string& listen);

  Words broker_options_;
  std::string mark_;
  std::string endpoint_;
  std::unique_ptr<Process> broker_;
  std::map<std::string, std::unique_ptr<Process>> nodes_;
};

/// `command` with LIMINAL_CONNECT_TIMEOUT and LIMINAL_TIMEOUT so long that no pause of a busy
/// machine ends it; its own flags beat them.
std::vector<std::string> patient(std::vector<std::string> command);

/// An `ask` of service "slow" whose request is being worked on by node "b", which runs a `sleep`.
class WaitingAsk {
 public:
  WaitingAsk(Cluster& cluster, const Cluster::Words& more = {}) : ask_(words(cluster, more)) {
    if (!eventually([&] { return !cluster.below("b", "sleep").empty(); })) {
      ADD_FAILURE() << "no work began: " << ask_.log();
    }
  }
  Process* operator->() { return &ask_; }

 private:
  static Cluster::Words words(const Cluster& cluster, const Cluster::Words& more) {
    Cluster::Words all{"ask", "slow", "x", "--timeout", "60s"};
    all.insert(all.end(), more.begin(), more.end());
    return cluster.command(all);
  }
  Process ask_;
};

/// It ended with `code`, said nothing on stdout, and one line on stderr that has all of `parts`.
::testing::AssertionResult failed_with(const Finished& ended, int code,
                                       const std::vector<std::string>& parts = {});
/// It ended with 0 and has printed `out`, and nothing on stderr.
::testing::AssertionResult printed(const Finished& ended, std::string_view out);

/// The number after "key": in JSON; -1 where there is none.
double number_after(std::string_view json, const std::string& key);

/// Up to so many trials, since a machine's noise only ever adds to a time: true when one holds.
/// What failed in a trial in another way is not tried again.
template <class Trial>
bool best_of(int trials, Trial&& trial) {
  for (int i = 0; i < trials; ++i) {
    if (trial()) return true;
    if (::testing::Test::HasFailure()) return false;
  }
  return false;
}
template <class Trial>
bool best_of_three(Trial&& trial) {
  return best_of(3, trial);
}
/// For bounds of some tenths of a second.
template <class Trial>
bool best_of_ten(Trial&& trial) {
  return best_of(10, trial);
}

inline double ms_between(SteadyClock::time_point from, SteadyClock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

/// A folder for files of one test.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  /// Writes a file and returns its path.
  std::string file(const std::string& name, std::string_view text) const;
  /// Of a file that may not be there.
  [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace liminal::test
