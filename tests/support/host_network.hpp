// Hosts on one machine: network namespaces around a switch whose cables can be cut.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace liminal::test {

/// A network namespace that has no name: it is there as long as this object or a process in it is,
/// so that a test that is killed leaves none behind, and two runs never meet.
class NetworkNamespace {
 public:
  /// Errors: std::runtime_error.
  NetworkNamespace();
  ~NetworkNamespace();
  NetworkNamespace(NetworkNamespace&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  NetworkNamespace& operator=(NetworkNamespace&&) = delete;

  /// `command` as it runs in here; the process that it starts becomes that command.
  [[nodiscard]] std::vector<std::string> in(const std::vector<std::string>& command) const;
  /// Runs a script of the shell in here. Errors: std::runtime_error, when it fails.
  void run(const std::string& script, const std::string& input = {}) const;

 private:
  int fd_;
};

/// Hosts with an address each, joined by a switch that can lose what they send to each other.
///
/// A cut is silent: frames vanish in the switch, and no host is told. What was cut stays so until
/// heal(). A cut and its end take effect at once for all hosts that they name, some milliseconds
/// after the call began and before it returns. Delay cannot be had.
///
/// Thread affinity: the thread that made it; several may stand side by side, each with its thread.
/// Lifetime: processes in its hosts outlive neither it nor the thread that started them.
/// Errors: std::runtime_error.
class HostNetwork {
 public:
  /// Why none can be made here, or nullopt. Who is not root gets a user namespace for the whole
  /// process, in which it is. REQUIRES, of the first call: the process has one thread.
  [[nodiscard]] static std::optional<std::string> why_not();

  /// REQUIRES: why_not() said nothing; at most 200 hosts, named `[a-z0-9]{1,10}`.
  explicit HostNetwork(const std::vector<std::string>& hosts);

  [[nodiscard]] const std::string& address(const std::string& host) const;
  /// `command` as it runs on that host.
  [[nodiscard]] std::vector<std::string> on(const std::string& host,
                                            const std::vector<std::string>& command) const;

  /// Nothing reaches the host and nothing leaves it.
  void cut(const std::string& host) { cut_all({host}); }
  /// The same for several, all at the same instant.
  void cut_all(const std::vector<std::string>& hosts);
  /// Nothing gets from the one to the other; the other way it does.
  void cut_one_way(const std::string& from, const std::string& to);
  /// Ends all cuts of either kind.
  void heal();
  /// Of the frames between any two hosts so many are lost at random, in each direction.
  void lose(double percent);

  /// Takes the cable out of the switch: as cut(), but the host's own kernel sees that the link is
  /// down.
  void unplug(const std::string& host);
  void plug_in(const std::string& host);

  /// Aborts all TCP connections of the host, listening sockets excepted: both ends see a reset.
  void reset_connections(const std::string& host);

 private:
  struct Host {
    NetworkNamespace space;
    std::string address;
  };

  [[nodiscard]] static std::string port_of(const std::string& host) { return "to_" + host; }
  [[nodiscard]] const Host& at(const std::string& host) const;
  void apply() const;

  NetworkNamespace switch_;
  std::map<std::string, Host> hosts_;
  std::set<std::string> cut_;
  std::set<std::pair<std::string, std::string>> cut_one_way_;
  double loss_percent_ = 0;
};

}  // namespace liminal::test
