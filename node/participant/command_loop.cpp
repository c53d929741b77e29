#include "node/participant/command_loop.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <system_error>

#include "node/participant/wait_status.hpp"

namespace liminal {

using command_runner::Begin;
using command_runner::Drop;
using command_runner::Inbox;
using command_runner::Order;

namespace {

constexpr std::size_t kReadBytes = 256 * 1024;  // of one stream in one turn: the others wait

// What an epoll event is about: one of these, or a command's number times four and its stream.
constexpr std::uint64_t kTagInbox = 0;
constexpr std::uint64_t kTagMinderSocket = 1;
constexpr std::uint64_t kTagMinderProcess = 2;
enum Stream : std::uint64_t { kStdinStream = 0, kStdoutStream = 1, kStderrStream = 2 };
constexpr std::uint64_t tag_of(std::uint64_t number, Stream stream) { return number * 4 + stream; }

std::string text_of(int error) { return std::error_code(error, std::generic_category()).message(); }

std::string cannot_start(const std::string& why) { return "cannot start: " + why; }

struct Pipe {
  Descriptor read_end;
  Descriptor write_end;
};

std::optional<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{Descriptor{ends[0]}, Descriptor{ends[1]}};
}

/// Of our end alone: the command's end is another open file, and stays as programs expect it.
void make_nonblocking(const Descriptor& descriptor) {
  ::fcntl(descriptor.get(), F_SETFL, O_NONBLOCK);
}

/// The command and its environment in a memory file, as minder_protocol.hpp says.
Descriptor text_file(const Command& command) {
  std::string text = command.text + '\0';
  for (const auto& [name, value] : command.environment) text += name + '=' + value + '\0';
  Descriptor file{::memfd_create("liminal-command", MFD_CLOEXEC)};
  std::size_t done = 0;
  while (file.is_open() && done < text.size()) {
    const ssize_t bytes = ::write(file.get(), text.data() + done, text.size() - done);
    if (bytes <= 0) return {};
    done += static_cast<std::size_t>(bytes);
  }
  return file;
}

bool has_zero_byte(const Command& command) {
  const auto found = [](std::string_view text) { return text.find('\0') != text.npos; };
  return found(command.text) ||
         std::any_of(command.environment.begin(), command.environment.end(),
                     [&](const auto& entry) { return found(entry.first) || found(entry.second); });
}

/// What can be read of a pipe now.
std::size_t readable_bytes(const Descriptor& descriptor) {
  int bytes = 0;
  if (!descriptor.is_open() || ::ioctl(descriptor.get(), FIONREAD, &bytes) != 0) return 0;
  return static_cast<std::size_t>(bytes);
}

}  // namespace

Result<std::unique_ptr<CommandLoop>> CommandLoop::make(std::shared_ptr<Inbox> inbox,
                                                       std::string minder_program,
                                                       MinderLink minder,
                                                       std::size_t commands_max) {
  Descriptor epoll{::epoll_create1(EPOLL_CLOEXEC)};
  if (!epoll.is_open()) return fail(Errc::kInternal, "epoll_create1: " + text_of(errno));
  std::unique_ptr<CommandLoop> loop{
      new CommandLoop{std::move(inbox), std::move(minder_program), std::move(epoll), commands_max}};
  if (!loop->watch(loop->inbox_->wake_descriptor(), EPOLLIN, kTagInbox)) {
    return fail(Errc::kInternal, "epoll_ctl: " + text_of(errno));
  }
  loop->adopt(std::move(minder));
  return loop;
}

CommandLoop::CommandLoop(std::shared_ptr<Inbox> inbox, std::string minder_program, Descriptor epoll,
                         std::size_t commands_max)
    : inbox_(std::move(inbox)),
      minder_program_(std::move(minder_program)),
      epoll_(std::move(epoll)),
      commands_max_(commands_max),
      buffer_(kReadBytes, '\0') {}

void CommandLoop::run() {
  std::array<epoll_event, 64> events;
  for (;;) {
    const int count =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const std::uint64_t tag = events[static_cast<std::size_t>(i)].data.u64;
      if (tag == kTagInbox) {
        auto orders = inbox_->take_all();
        if (!orders) return;
        for (Order& order : *orders) obey(std::move(order));
      } else if (tag == kTagMinderSocket || tag == kTagMinderProcess) {
        read_reports();
      } else {
        on_stream(tag);
      }
    }
    start_waiting();
    if (minder_) minder_->flush();
    if (minder_ && minder_->is_gone()) read_reports();
    watch_unsent();
  }
}

// --- commands ---

void CommandLoop::obey(Order order) {
  if (auto* begin = std::get_if<Begin>(&order)) {
    waiting_.push_back(std::move(*begin));
  } else {
    drop(std::get<Drop>(order).number);
  }
}

void CommandLoop::drop(std::uint64_t number) {
  if (const auto active = active_.find(number); active != active_.end()) {
    minder_->send({minder::Kind::kKill, 0, number});
    complete(active, tl::unexpected<std::string>("dropped"));
    return;
  }
  std::erase_if(waiting_,
                [number](const Begin& begin) { return begin.ticket->number() == number; });
}

void CommandLoop::start_waiting() {
  while (!waiting_.empty() && active_.size() < commands_max_) {
    Begin begin = std::move(waiting_.front());
    waiting_.pop_front();
    start(std::move(begin));
  }
}

void CommandLoop::start(Begin begin) {
  const auto refuse = [&begin](const std::string& why) {
    if (begin.ticket->claim()) begin.completion(tl::unexpected(cannot_start(why)));
  };
  if (has_zero_byte(begin.command)) return refuse("a zero byte in the command or its environment");
  if (auto ready = ensure_minder(); !ready) return refuse(ready.error().detail);
  auto in = make_pipe();
  auto out = make_pipe();
  auto err = make_pipe();
  if (!in || !out || !err) return refuse(text_of(errno));
  Descriptor text = text_file(begin.command);
  if (!text.is_open()) return refuse(text_of(errno));

  make_nonblocking(in->write_end);
  make_nonblocking(out->read_end);
  make_nonblocking(err->read_end);
  const std::uint64_t number = begin.ticket->number();
  if (!watch(out->read_end.get(), EPOLLIN, tag_of(number, kStdoutStream)) ||
      !watch(err->read_end.get(), EPOLLIN, tag_of(number, kStderrStream))) {
    return refuse(text_of(errno));
  }
  minder_->send({minder::Kind::kStart, 0, number},
                {std::move(text), std::move(in->read_end), std::move(out->write_end),
                 std::move(err->write_end)});
  const auto [added, is_new] =
      active_.try_emplace(number, Active{.ticket = std::move(begin.ticket),
                                         .completion = std::move(begin.completion),
                                         .input = std::move(begin.command.input),
                                         .output_bytes_max = begin.command.output_bytes_max,
                                         .stdin_end = std::move(in->write_end),
                                         .stdout_end = std::move(out->read_end),
                                         .stderr_end = std::move(err->read_end)});
  Active& active = added->second;
  feed(active);
  if (active.stdin_end.is_open() &&
      !watch(active.stdin_end.get(), EPOLLOUT, tag_of(number, kStdinStream))) {
    minder_->send({minder::Kind::kKill, 0, number});
    complete(added, tl::unexpected(cannot_start(text_of(errno))));
  }
}

void CommandLoop::complete(ActiveCommands::iterator command, CommandOutcome outcome) {
  Active active = std::move(command->second);
  active_.erase(command);
  close(active.stdin_end);
  close(active.stdout_end);
  close(active.stderr_end);
  if (active.ticket->claim()) active.completion(std::move(outcome));
}

void CommandLoop::on_exit(ActiveCommands::iterator command, int wait_status) {
  Active& active = command->second;
  // No more than what is there now: others may go on to write.
  if (!read_output(command, readable_bytes(active.stdout_end))) return;
  read_stderr(active, readable_bytes(active.stderr_end));
  if (auto failure = failure_of(wait_status, active.stderr_tail)) {
    return complete(command, tl::unexpected(*std::move(failure)));
  }
  complete(command, Payload{std::move(active.output)});
}

// --- the minder ---

Result<void> CommandLoop::ensure_minder() {
  if (minder_ && minder_->is_gone()) read_reports();
  if (minder_) return {};
  auto minder = MinderLink::start(minder_program_);
  if (!minder) return tl::unexpected(std::move(minder.error()));
  adopt(*std::move(minder));
  if (!minder_) return fail(Errc::kInternal, "the minder cannot be watched");
  return {};
}

void CommandLoop::adopt(MinderLink minder) {
  minder_.emplace(std::move(minder));
  unsent_is_watched_ = false;
  // Where the system has no room for these, the minder is as good as lost.
  if (!watch(minder_->socket(), EPOLLIN, kTagMinderSocket) ||
      !watch(minder_->process(), EPOLLIN, kTagMinderProcess)) {
    lose_minder();
  }
}

void CommandLoop::read_reports() {
  if (!minder_) return;
  const bool is_gone = minder_->is_gone();  // asked first: then all that it sent can be read
  while (const auto report = minder_->try_receive()) on_report(*report);
  if (is_gone || minder_->is_gone()) lose_minder();
}

void CommandLoop::on_report(const minder::Message& report) {
  const auto command = active_.find(report.command);
  if (command == active_.end()) return;  // dropped, or failed
  switch (report.kind) {
    case minder::Kind::kStarted:
      command->second.group = report.value;
      return;
    case minder::Kind::kExited:
      return on_exit(command, report.value);
    case minder::Kind::kFailed:
      return complete(command, tl::unexpected(cannot_start(text_of(report.value))));
    case minder::Kind::kLost:
      return complete(command, tl::unexpected<std::string>("minder died"));
    case minder::Kind::kStart:
    case minder::Kind::kKill:
      return;
  }
}

void CommandLoop::lose_minder() {
  ::kill(minder_->pid(), SIGKILL);  // where it was not dead, but out of reach
  minder_.reset();
  for (const auto& [number, active] : active_) {
    // Its guard does so too, unless it was killed with the minder.
    if (active.group > 0) ::kill(-active.group, SIGKILL);
  }
  while (!active_.empty()) complete(active_.begin(), tl::unexpected<std::string>("minder died"));
}

void CommandLoop::watch_unsent() {
  if (!minder_ || minder_->has_unsent() == unsent_is_watched_) return;
  unsent_is_watched_ = minder_->has_unsent();
  epoll_event event{};
  event.events = unsent_is_watched_ ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.u64 = kTagMinderSocket;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, minder_->socket(), &event);
}

// --- streams ---

void CommandLoop::on_stream(std::uint64_t tag) {
  const auto command = active_.find(tag / 4);
  if (command == active_.end()) return;  // completed by an earlier event of this turn
  switch (static_cast<Stream>(tag % 4)) {
    case kStdinStream:
      return feed(command->second);
    case kStdoutStream:
      read_output(command, kReadBytes);
      return;
    case kStderrStream:
      return read_stderr(command->second, kReadBytes);
  }
}

void CommandLoop::feed(Active& active) {
  const std::string_view input = active.input.view();
  while (active.stdin_end.is_open() && active.fed_bytes < input.size()) {
    const ssize_t bytes = ::write(active.stdin_end.get(), input.data() + active.fed_bytes,
                                  input.size() - active.fed_bytes);
    if (bytes < 0 && errno == EAGAIN) return;
    if (bytes < 0) break;  // nobody reads it any more: no failure
    active.fed_bytes += static_cast<std::size_t>(bytes);
  }
  close(active.stdin_end);
}

bool CommandLoop::read_output(ActiveCommands::iterator command, std::size_t bytes_max) {
  Active& active = command->second;
  while (active.stdout_end.is_open() && bytes_max > 0) {
    const ssize_t bytes =
        ::read(active.stdout_end.get(), buffer_.data(), std::min(bytes_max, buffer_.size()));
    if (bytes < 0) return true;  // EAGAIN
    if (bytes == 0) {
      close(active.stdout_end);
      return true;
    }
    const auto got = static_cast<std::size_t>(bytes);
    if (got > active.output_bytes_max - active.output.size()) {
      minder_->send({minder::Kind::kKill, 0, command->first});
      complete(command, tl::unexpected("output exceeds payload-max (" +
                                       std::to_string(active.output_bytes_max) + " bytes)"));
      return false;
    }
    active.output.append(buffer_.data(), got);
    bytes_max -= got;
  }
  return true;
}

void CommandLoop::read_stderr(Active& active, std::size_t bytes_max) {
  while (active.stderr_end.is_open() && bytes_max > 0) {
    const ssize_t bytes =
        ::read(active.stderr_end.get(), buffer_.data(), std::min(bytes_max, buffer_.size()));
    if (bytes < 0) return;
    if (bytes == 0) return close(active.stderr_end);
    active.stderr_tail.append(buffer_.data(), static_cast<std::size_t>(bytes));
    if (active.stderr_tail.size() > kStderrKeptBytes) {
      active.stderr_tail.erase(0, active.stderr_tail.size() - kStderrKeptBytes);
    }
    bytes_max -= static_cast<std::size_t>(bytes);
  }
}

bool CommandLoop::watch(int descriptor, std::uint32_t events, std::uint64_t tag) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) == 0;
}

void CommandLoop::close(Descriptor& descriptor) {
  if (!descriptor.is_open()) return;
  // Said here, since a fork of this process may hold the file open for a moment longer.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, descriptor.get(), nullptr);
  descriptor.reset();
}

}  // namespace liminal
