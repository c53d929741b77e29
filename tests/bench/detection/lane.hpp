// Where trials are made one after the other: a broker, a receiver that waits, and a victim.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/host_network.hpp"
#include "tests/system/process.hpp"

namespace liminal::bench {

using test::Process;
using test::SteadyClock;
using Words = std::vector<std::string>;

/// A program of this run: in the folder LIMINAL_BIN, or beside this one.
[[nodiscard]] std::string program_path(const std::string& name);
/// This program, to be started in another role.
[[nodiscard]] std::string this_program();

/// A named pipe in a folder of its own, by which a participant says that it works.
class Told {
 public:
  Told();
  ~Told();
  Told(const Told&) = delete;
  Told& operator=(const Told&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The next number that was written; nullopt after `limit`.
  [[nodiscard]] std::optional<long long> next(test::Milliseconds limit = test::kPatience);

 private:
  std::string folder_;
  std::string path_;
  std::string read_;
  int fd_ = -1;
};

/// What a receiver saw, and when.
struct Seen {
  SteadyClock::time_point at;
  std::string what;  // `ok`, or the error's name and detail
};

/// Broker, receiver and victim are processes of the lane's own, on three hosts or on loopback, so
/// that lanes do not disturb each other but for the processors that they share.
///
/// Thread affinity: the thread that made it.
/// Errors: std::runtime_error, of all functions.
class Lane {
 public:
  struct Setup {
    Words broker_options = {};
    bool on_hosts = false;  // named `hub`, `desk` (the receiver's) and `far` (the victim's)
  };
  explicit Lane(const Setup& setup);

  [[nodiscard]] Process& broker() { return *broker_; }
  [[nodiscard]] Process& victim() { return *victim_; }
  /// REQUIRES: on hosts.
  [[nodiscard]] test::HostNetwork& network() { return *network_; }

  [[nodiscard]] bool has_victim() const { return victim_ != nullptr; }
  /// In place of the one before, which is killed: a node that joined, with two services of its own,
  /// echo() and waiting(), which answers never and tells the pid of its child.
  void start_victim();
  /// The same, of which waiting() hangs the scheduler and tells when.
  void start_hanging_victim();
  /// Names that no victim had before, so that no receiver takes a dead one for this.
  [[nodiscard]] std::string echo() const { return "echo-" + std::to_string(victims_); }
  [[nodiscard]] std::string waiting() const { return "wait-" + std::to_string(victims_); }
  void kill_broker();
  void restart_broker();

  void tell_receiver(const std::string& line);
  /// What became of the line that was told last.
  [[nodiscard]] Seen seen();
  /// The next number that a participant told. Waits for one.
  [[nodiscard]] long long told();

 private:
  [[nodiscard]] Words on(const std::string& host, Words command) const;
  void start_broker(const std::string& listen);

  Setup setup_;
  Told told_;
  std::unique_ptr<test::HostNetwork> network_;
  std::string endpoint_;
  std::unique_ptr<Process> broker_;
  std::unique_ptr<Process> receiver_;
  std::unique_ptr<Process> victim_;
  int victims_ = 0;
};

}  // namespace liminal::bench
