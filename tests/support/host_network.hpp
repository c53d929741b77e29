// Hosts on one machine: network namespaces around a switch whose cables can be cut, and be bad.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/delay_line.hpp"

namespace liminal::test {

class Process;

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
/// after the call began and before it returns.
///
/// A cable can be made bad: a program between two taps delays, loses, reorders and doubles what
/// goes over it, so that the hosts' own kernels see real delays. It ends with this object.
///
/// Thread affinity: the thread that made it; several may stand side by side, each with its thread.
/// Lifetime: processes in its hosts outlive neither it nor the thread that started them.
/// Errors: std::runtime_error.
class HostNetwork {
 public:
  /// Why none can be made here, or nullopt. Who is not root gets a user namespace for the whole
  /// process, in which it is. REQUIRES, of the first call: the process has one thread.
  [[nodiscard]] static std::optional<std::string> why_not();

  /// Why impair() cannot be had although the rest can, or nullopt. REQUIRES: why_not() said
  /// nothing.
  [[nodiscard]] static std::optional<std::string> why_no_impairment();

  /// REQUIRES: why_not() said nothing; at most 200 hosts, named `[a-z0-9]{1,10}`.
  explicit HostNetwork(const std::vector<std::string>& hosts);
  ~HostNetwork();

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

  /// What the host's cable does from now on to what goes to the host and to what comes from it;
  /// frames under way keep their times. Cuts and lose() come on top, in the switch.
  /// The first call for a host puts the program into its cable, and frames of some milliseconds may
  /// be lost then: impair a host before what must not notice. REQUIRES: why_no_impairment() said
  /// nothing; the host is plugged in.
  void impair(const std::string& host, const Impairment& to_host, const Impairment& from_host);
  void impair(const std::string& host, const Impairment& each_way) {
    impair(host, each_way, each_way);
  }
  void delay(const std::string& host, Duration each_way) { impair(host, {.delay = each_way}); }

  struct CableCounts {
    DelayLine::Counts to_host;
    DelayLine::Counts from_host;
  };
  /// What became of the frames since the first impair(). REQUIRES: impair() of that host.
  [[nodiscard]] CableCounts counts(const std::string& host) const;

  /// An established TCP connection, as the host that was asked sees it.
  struct Connection {
    std::string host;
    int port;
    std::string peer;  // its address
    int peer_port;
    std::uint64_t bytes;  // acknowledged, both ways
  };
  /// Those of the host, in the order of their local ports.
  [[nodiscard]] std::vector<Connection> connections(const std::string& host) const;

  /// Nothing of that connection gets through in the switch, either way; all else does. Until
  /// heal().
  void cut_connection(const Connection& connection);
  /// The same for what its host sends, or for what it is sent.
  void cut_from_host(const Connection& connection);
  void cut_to_host(const Connection& connection);

  /// Aborts all TCP connections of the host, listening sockets excepted: both ends see a reset.
  void reset_connections(const std::string& host);

 private:
  struct Host {
    NetworkNamespace space;
    std::string address;
    std::unique_ptr<Process> cable = nullptr;  // the program, where it is bad
  };

  /// The host's cable, as the switch's end of it is called.
  [[nodiscard]] static std::string cable_of(const std::string& host) { return "to_" + host; }
  /// What stands in the switch's bridge for the host: its cable, or the far tap of a bad one.
  [[nodiscard]] std::string port_of(const std::string& host) const;
  void put_program_into(const std::string& host);
  [[nodiscard]] const Host& at(const std::string& host) const;
  void apply() const;

  NetworkNamespace switch_;
  std::map<std::string, Host> hosts_;
  std::set<std::string> cut_;
  std::set<std::pair<std::string, std::string>> cut_one_way_;
  std::set<std::string> cut_flows_;  // as rules
  double loss_percent_ = 0;
};

}  // namespace liminal::test
