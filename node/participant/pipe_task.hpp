// A child that lives on: one message in, one message out, until one of both ends.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "node/participant/child_streams.hpp"
#include "node/participant/command_inbox.hpp"
#include "node/participant/command_runner.hpp"
#include "node/participant/pipe_message.hpp"

namespace liminal {

/// Hands requests to the child and takes its replies; tells its end once, unless its holder dropped
/// it. At most one request is unanswered at a time.
///
/// Whatever the child does has one outcome:
/// - exit status 0 with everything answered ends it well; each other end is a failure that says how
///   it ended, or else what was left open;
/// - output that no request asked for, or a length over the limit, is a failure at once: the stream
///   has no place to start from again;
/// - a request that cannot be handed over, because stdin is closed, or never be answered, because
///   stdout is, makes its end due: what ends by itself says why best. A child that closed them and
///   is owed nothing may take its time;
/// - a reply counts once its request was read, or can no longer be: what is left unread is bounded
///   by one request.
///
/// Thread affinity: its StreamPoll's thread.
class PipeTask {
 public:
  PipeTask(ChildStreams streams, command_runner::Open open);

  /// REQUIRES: the request before was answered.
  ChildNext ask(Payload request, std::size_t reply_bytes_max);

  ChildNext on_stdin(bool is_broken);
  ChildNext on_stdout(std::size_t bytes_max);
  void on_stderr(std::size_t bytes_max) { streams_.read_stderr(bytes_max); }
  void on_exit(int wait_status);
  void on_lost(const std::string& why) { end(why); }
  void on_overstay();

 private:
  [[nodiscard]] ChildNext next() const;
  [[nodiscard]] bool awaits_output() const { return unanswered_ && !early_reply_; }
  /// Hands out the replies in what stdout has, at most `bytes_max` of it; what is wrong with it.
  [[nodiscard]] std::optional<std::string> take_output(std::size_t bytes_max);
  [[nodiscard]] std::optional<std::string> take(std::string_view output);
  void settle_early_reply();
  void reply(std::string payload);
  void fail(std::string what);
  void end(std::optional<std::string> failure);

  ChildStreams streams_;
  std::shared_ptr<command_runner::Ticket> ticket_;  // shared with the holder, on another thread
  PipeEvents events_;
  Feed request_;
  bool unanswered_ = false;
  bool left_unread_ = false;  // stdin was closed before all of the request was read
  std::size_t reply_bytes_max_ = 0;
  PipeMessageReader reader_;
  std::optional<std::string> early_reply_;  // complete before its request was read
};

}  // namespace liminal
