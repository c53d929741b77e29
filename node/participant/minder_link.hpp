// The runner's end of a liminal-minder: finds, starts and ends it, and exchanges datagrams.
#pragma once

#include <sys/types.h>

#include <array>
#include <deque>
#include <optional>
#include <string>

#include "common/base/result.hpp"
#include "node/participant/descriptor.hpp"
#include "node/participant/minder_protocol.hpp"

namespace liminal {

/// The minder's program: `wanted` if it is not empty, else what LIMINAL_MINDER names, else
/// liminal-minder beside this program, else in ../libexec/liminal from there.
/// Errors: kUsage, naming what was tried.
[[nodiscard]] Result<std::string> find_minder(const std::string& wanted);

/// A running minder.
///
/// Thread-safety: none; any one thread at a time.
/// Errors: whatever ends the conversation with the minder makes is_gone() true, for good.
class MinderLink {
 public:
  using Files = std::array<Descriptor, minder::kDescriptorsMax>;  // the last one may be none

  /// Errors: kInternal, with what the system said.
  [[nodiscard]] static Result<MinderLink> start(const std::string& program);

  MinderLink(MinderLink&&) = default;
  MinderLink& operator=(MinderLink&&) = delete;
  /// Blocks until the minder, and with it every command, is gone; kills it after some seconds.
  ~MinderLink();

  /// In order; what the socket does not take now waits here, bounded by the runner's commands.
  void send(const minder::Message& message, Files files = {});
  /// Sends what waits, as far as it goes; call when the socket is writable.
  void flush();
  [[nodiscard]] bool has_unsent() const { return !unsent_.empty(); }

  /// The next report, or nullopt if none waits.
  [[nodiscard]] std::optional<minder::Message> try_receive();

  /// Ended or unreachable. Reports that it had sent before may still wait.
  [[nodiscard]] bool is_gone() const;

  [[nodiscard]] int socket() const { return socket_.get(); }
  /// Readable when the minder's process ends.
  [[nodiscard]] int process() const { return process_.get(); }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  struct Unsent {
    minder::Message message;
    Files files;
  };

  MinderLink(Descriptor socket, Descriptor process, pid_t pid)
      : socket_(std::move(socket)), process_(std::move(process)), pid_(pid) {}

  Descriptor socket_;
  Descriptor process_;  // not open: moved from
  pid_t pid_;
  bool broken_ = false;
  std::deque<Unsent> unsent_;
};

}  // namespace liminal
