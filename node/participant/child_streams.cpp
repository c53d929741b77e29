#include "node/participant/child_streams.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <system_error>

#include "node/participant/wait_status.hpp"

namespace liminal {

namespace {

std::string text_of(int error) { return std::error_code(error, std::generic_category()).message(); }

struct Pipe {
  Descriptor read_end;
  Descriptor write_end;
};

std::optional<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{Descriptor{ends[0]}, Descriptor{ends[1]}};
}

/// Of our end alone: the child's end is another open file.
void make_nonblocking(const Descriptor& descriptor) {
  ::fcntl(descriptor.get(), F_SETFL, O_NONBLOCK);
}

/// What waits in a pipe; either end knows.
std::size_t readable_bytes(const Descriptor& descriptor) {
  int bytes = 0;
  if (!descriptor.is_open() || ::ioctl(descriptor.get(), FIONREAD, &bytes) != 0) return 0;
  return static_cast<std::size_t>(bytes);
}

}  // namespace

// --- the poll ---

Result<StreamPoll> StreamPoll::make() {
  Descriptor epoll{::epoll_create1(EPOLL_CLOEXEC)};
  if (!epoll.is_open()) return fail(Errc::kInternal, "epoll_create1: " + text_of(errno));
  return StreamPoll{std::move(epoll)};
}

std::size_t StreamPoll::wait(std::span<epoll_event> events, int timeout_ms) const {
  const int count =
      ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  return count < 0 ? 0 : static_cast<std::size_t>(count);
}

bool StreamPoll::watch(int descriptor, std::uint32_t events, std::uint64_t tag) const {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) == 0;
}

void StreamPoll::change(int descriptor, std::uint32_t events, std::uint64_t tag) const {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, descriptor, &event);
}

void StreamPoll::close(Descriptor& descriptor) const {
  if (!descriptor.is_open()) return;
  // Said here, since a fork of this process may hold the file open for a moment longer.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, descriptor.get(), nullptr);
  descriptor.reset();
}

// --- the streams of one child ---

Result<std::pair<ChildStreams, ChildStreams::ChildEnds>> ChildStreams::open(StreamPoll& poll,
                                                                            std::uint64_t child,
                                                                            bool with_extra) {
  auto in = make_pipe();
  auto out = make_pipe();
  auto err = make_pipe();
  auto extra = with_extra ? make_pipe() : Pipe{};
  if (!in || !out || !err || !extra) return fail(Errc::kInternal, text_of(errno));
  make_nonblocking(in->write_end);
  make_nonblocking(out->read_end);
  make_nonblocking(err->read_end);

  ChildStreams ours{poll, child};
  ours.in_.end = std::move(in->write_end);
  ours.out_ = std::move(out->read_end);
  ours.err_ = std::move(err->read_end);
  if (with_extra) {
    make_nonblocking(extra->write_end);
    ours.extra_.end = std::move(extra->write_end);
  }
  if (!ours.watch(ours.in_) || (with_extra && !ours.watch(ours.extra_)) ||
      !poll.watch(ours.out_.get(), EPOLLIN, tag_of(child, kStdout)) ||
      !poll.watch(ours.err_.get(), EPOLLIN, tag_of(child, kStderr))) {
    return fail(Errc::kInternal, text_of(errno));
  }
  ChildEnds theirs{std::move(in->read_end), std::move(out->write_end), std::move(err->write_end),
                   std::move(extra->read_end)};
  return std::pair{std::move(ours), std::move(theirs)};
}

void ChildStreams::close() {
  poll_->close(in_.end);
  poll_->close(extra_.end);
  poll_->close(out_);
  poll_->close(err_);
}

void ChildStreams::feed(Input& input, Feed& feed) {
  while (input.end.is_open() && !feed.is_done()) {
    const std::string_view payload = feed.payload.view();
    const std::size_t of_prefix = std::min(feed.done_bytes, feed.prefix.size());
    const std::size_t of_payload = feed.done_bytes - of_prefix;
    // writev() writes to nowhere through these: its interface has no const.
    const std::array<iovec, 2> parts{
        {{feed.prefix.data() + of_prefix, feed.prefix.size() - of_prefix},
         {const_cast<char*>(payload.data()) + of_payload, payload.size() - of_payload}}};
    const ssize_t bytes = ::writev(input.end.get(), parts.data(), static_cast<int>(parts.size()));
    if (bytes < 0 && errno == EAGAIN) return await_room(input, true);
    if (bytes < 0) return poll_->close(input.end);
    feed.done_bytes += static_cast<std::size_t>(bytes);
  }
  await_room(input, false);
}

/// No more than an error, which needs no asking for, until something waits for room.
bool ChildStreams::watch(const Input& input) const {
  return poll_->watch(input.end.get(), 0, tag_of(child_, input.stream));
}

void ChildStreams::await_room(Input& input, bool wanted) {
  if (!input.end.is_open() || wanted == input.awaits_room) return;
  input.awaits_room = wanted;
  poll_->change(input.end.get(), wanted ? std::uint32_t{EPOLLOUT} : 0,
                tag_of(child_, input.stream));
}

std::size_t ChildStreams::unread_input_bytes() const { return readable_bytes(in_.end); }

std::ptrdiff_t ChildStreams::read(Descriptor& descriptor, std::size_t bytes_max) {
  if (!descriptor.is_open() || bytes_max == 0) return -1;
  const std::span<char> buffer = poll_->buffer();
  const ssize_t bytes = ::read(descriptor.get(), buffer.data(), std::min(bytes_max, buffer.size()));
  if (bytes == 0) poll_->close(descriptor);
  return bytes;
}

std::string_view ChildStreams::read_output(std::size_t bytes_max) {
  const std::ptrdiff_t bytes = read(out_, bytes_max);
  if (bytes <= 0) return {};
  return {poll_->buffer().data(), static_cast<std::size_t>(bytes)};
}

std::size_t ChildStreams::readable_output_bytes() const { return readable_bytes(out_); }

void ChildStreams::read_stderr(std::size_t bytes_max) {
  for (std::ptrdiff_t bytes; (bytes = read(err_, bytes_max)) > 0;) {
    const auto got = static_cast<std::size_t>(bytes);
    stderr_tail_.append(poll_->buffer().data(), got);
    if (stderr_tail_.size() > kStderrKeptBytes) {
      stderr_tail_.erase(0, stderr_tail_.size() - kStderrKeptBytes);
    }
    bytes_max -= got;
  }
}

std::size_t ChildStreams::readable_stderr_bytes() const { return readable_bytes(err_); }

}  // namespace liminal
