// Our ends of the streams of a child of the operating system: the standard three, and one more.
#pragma once

#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/payload.hpp"
#include "common/base/result.hpp"
#include "node/participant/descriptor.hpp"

namespace liminal {

/// What the streams of all children share: the epoll that one thread waits at, and its buffer.
/// Thread affinity: all but make() on that thread. Lifetime: outlives what is watched.
class StreamPoll {
 public:
  /// So much is read of one stream in one turn: the others wait meanwhile.
  static constexpr std::size_t kReadBytes = 256 * 1024;

  /// Errors: kInternal.
  [[nodiscard]] static Result<StreamPoll> make();

  /// Waits for events, at most `timeout_ms` (-1: as long as it takes); how many there are.
  [[nodiscard]] std::size_t wait(std::span<epoll_event> events, int timeout_ms) const;

  /// False, with errno, if the system has no room for it.
  [[nodiscard]] bool watch(int descriptor, std::uint32_t events, std::uint64_t tag) const;
  /// REQUIRES: it is watched.
  void change(int descriptor, std::uint32_t events, std::uint64_t tag) const;
  /// Watched or not; none is fine.
  void close(Descriptor& descriptor) const;

  [[nodiscard]] std::span<char> buffer() { return buffer_; }

 private:
  explicit StreamPoll(Descriptor epoll) : epoll_(std::move(epoll)), buffer_(kReadBytes, '\0') {}

  Descriptor epoll_;
  std::string buffer_;
};

/// Bytes on their way into a child.
struct Feed {
  std::string prefix = {};  // in front of the payload
  Payload payload = {};
  std::size_t done_bytes = 0;

  [[nodiscard]] bool is_done() const { return done_bytes == prefix.size() + payload.size(); }
};

/// What is to become of a child, as the task sees it whose streams these are.
enum class ChildNext {
  kGoesOn,
  kEndIsDue,  // nothing useful can follow: it ends soon, or it has to be ended
  kOver,      // its end was told: to be killed and forgotten
};

/// Never blocks; closes and forgets what it holds when it is destroyed.
/// Thread affinity: its StreamPoll's thread.
class ChildStreams {
 public:
  enum Stream : std::uint64_t { kStdin = 0, kStdout = 1, kStderr = 2, kExtra = 3 };

  /// An event's tag: the child's number and its stream. Tags below 4 are no child's.
  [[nodiscard]] static constexpr std::uint64_t tag_of(std::uint64_t child, Stream stream) {
    return child * 4 + stream;
  }
  [[nodiscard]] static constexpr std::uint64_t child_of(std::uint64_t tag) { return tag / 4; }
  [[nodiscard]] static constexpr Stream stream_of(std::uint64_t tag) {
    return static_cast<Stream>(tag % 4);
  }

  /// The child's ends, as programs expect them: they block.
  struct ChildEnds {
    Descriptor in;
    Descriptor out;
    Descriptor err;
    Descriptor extra;  // open only where there is one
  };

  /// Makes the pipes and watches them. Errors: kInternal, with what the system said.
  /// `with_extra`: one more input, at the child's descriptor 3. REQUIRES: `child` is at least 1.
  [[nodiscard]] static Result<std::pair<ChildStreams, ChildEnds>> open(StreamPoll& poll,
                                                                       std::uint64_t child,
                                                                       bool with_extra);

  ChildStreams(ChildStreams&&) = default;
  ChildStreams& operator=(ChildStreams&&) = delete;
  ~ChildStreams() { close(); }

  void close();

  /// Writes as much as there is room for; an event of stdin says when there is more. A child that
  /// reads no more closes stdin.
  void feed(Feed& feed) { this->feed(in_, feed); }
  void close_input() { poll_->close(in_.end); }
  /// The same for the extra input, with events of its own.
  void feed_extra(Feed& feed) { this->feed(extra_, feed); }
  void close_extra() { poll_->close(extra_.end); }
  /// Written and not read by the child.
  [[nodiscard]] std::size_t unread_input_bytes() const;
  [[nodiscard]] bool input_is_open() const { return in_.end.is_open(); }

  /// What there is of stdout now, at most `bytes_max` of it, in the poll's buffer: valid until the
  /// next call of any child's. Empty: nothing now, or its end, which closes it.
  [[nodiscard]] std::string_view read_output(std::size_t bytes_max);
  void close_output() { poll_->close(out_); }
  [[nodiscard]] bool output_is_open() const { return out_.is_open(); }
  [[nodiscard]] std::size_t readable_output_bytes() const;

  /// Reads stderr and keeps its end, kStderrKeptBytes.
  void read_stderr(std::size_t bytes_max);
  [[nodiscard]] std::size_t readable_stderr_bytes() const;
  [[nodiscard]] const std::string& stderr_tail() const { return stderr_tail_; }

 private:
  struct Input {
    Stream stream;
    Descriptor end = {};
    bool awaits_room = false;
  };

  ChildStreams(StreamPoll& poll, std::uint64_t child) : poll_(&poll), child_(child) {}

  /// As read(2), but -1 for a closed one too; closes it at its end.
  [[nodiscard]] std::ptrdiff_t read(Descriptor& descriptor, std::size_t bytes_max);
  void feed(Input& input, Feed& feed);
  void await_room(Input& input, bool wanted);
  [[nodiscard]] bool watch(const Input& input) const;

  StreamPoll* poll_;
  std::uint64_t child_;
  Input in_{kStdin};
  Input extra_{kExtra};
  Descriptor out_;
  Descriptor err_;
  std::string stderr_tail_;
};

}  // namespace liminal
