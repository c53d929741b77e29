#include "node/participant/command_loop.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <string_view>
#include <system_error>

namespace liminal {

using command_runner::Ask;
using command_runner::Begin;
using command_runner::Drop;
using command_runner::Inbox;
using command_runner::Kill;
using command_runner::Open;
using command_runner::Order;

namespace {

// What an event is about, where it is no child's stream.
constexpr std::uint64_t kTagInbox = 0;
constexpr std::uint64_t kTagMinderSocket = 1;
constexpr std::uint64_t kTagMinderProcess = 2;

// While an end is due, which is rare and never for long: cheaper than to keep them in order.
constexpr int kOverstayCheckMs = 50;

std::string text_of(int error) { return std::error_code(error, std::generic_category()).message(); }

std::string cannot_start(const std::string& why) { return "cannot start: " + why; }

/// The command and its environment in a memory file, as minder_protocol.hpp says.
Descriptor text_file(const std::string& command, const CommandEnvironment& environment) {
  std::string text = command + '\0';
  for (const auto& [name, value] : environment) text += name + '=' + value + '\0';
  Descriptor file{::memfd_create("liminal-command", MFD_CLOEXEC)};
  std::size_t done = 0;
  while (file.is_open() && done < text.size()) {
    const ssize_t bytes = ::write(file.get(), text.data() + done, text.size() - done);
    if (bytes <= 0) return {};
    done += static_cast<std::size_t>(bytes);
  }
  return file;
}

bool has_zero_byte(const std::string& command, const CommandEnvironment& environment) {
  const auto found = [](std::string_view text) { return text.find('\0') != text.npos; };
  return found(command) || std::any_of(environment.begin(), environment.end(), [&](const auto& e) {
           return found(e.first) || found(e.second);
         });
}

}  // namespace

Result<std::unique_ptr<CommandLoop>> CommandLoop::make(std::shared_ptr<Inbox> inbox,
                                                       std::string minder_program,
                                                       MinderLink minder,
                                                       std::size_t commands_max) {
  auto poll = StreamPoll::make();
  if (!poll) return tl::unexpected(std::move(poll.error()));
  std::unique_ptr<CommandLoop> loop{
      new CommandLoop{std::move(inbox), std::move(minder_program), *std::move(poll), commands_max}};
  if (!loop->poll_.watch(loop->inbox_->wake_descriptor(), EPOLLIN, kTagInbox)) {
    return fail(Errc::kInternal, "epoll_ctl: " + text_of(errno));
  }
  loop->adopt(std::move(minder));
  return loop;
}

CommandLoop::CommandLoop(std::shared_ptr<Inbox> inbox, std::string minder_program, StreamPoll poll,
                         std::size_t commands_max)
    : inbox_(std::move(inbox)),
      minder_program_(std::move(minder_program)),
      poll_(std::move(poll)),
      commands_max_(commands_max) {}

void CommandLoop::run() {
  std::array<epoll_event, 64> events;
  for (;;) {
    const std::size_t count = poll_.wait(events, timeout_ms());
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t tag = events[i].data.u64;
      if (tag == kTagInbox) {
        auto orders = inbox_->take_all();
        if (!orders) return;
        for (Order& order : *orders) {
          std::visit([this](auto& kind) { obey(std::move(kind)); }, order);
        }
      } else if (tag == kTagMinderSocket || tag == kTagMinderProcess) {
        read_reports();
      } else {
        on_stream(tag, events[i].events);
      }
    }
    end_overstayers();
    start_waiting();
    if (minder_) minder_->flush();
    if (minder_ && minder_->is_gone()) read_reports();
    watch_unsent();
  }
}

// --- orders ---

void CommandLoop::obey(Begin begin) { waiting_.push_back(std::move(begin)); }

void CommandLoop::obey(Open open) {
  const std::uint64_t number = open.ticket->number();
  auto streams = start_child(number, open.command.text, open.command.environment, false);
  if (!streams) {
    if (open.ticket->claim()) open.events.ended(cannot_start(streams.error()));
    return;
  }
  children_.try_emplace(number, Child{PipeTask{*std::move(streams), std::move(open)}});
}

void CommandLoop::obey(Ask ask) {
  const auto child = children_.find(ask.number);
  if (child == children_.end()) return;  // its end is told
  if (auto* pipe = std::get_if<PipeTask>(&child->second.task)) {
    follow(child, pipe->ask(std::move(ask.request), ask.reply_bytes_max));
  }
}

void CommandLoop::obey(Kill kill) {
  if (!kill_waiting(kill.number)) tell_minder_to_kill(kill.number);
}

void CommandLoop::obey(Drop drop) {
  if (const auto child = children_.find(drop.number); child != children_.end()) {
    tell_minder_to_kill(drop.number);
    erase(child);
  } else {
    std::erase_if(waiting_,
                  [&](const Begin& begin) { return begin.ticket->number() == drop.number; });
  }
}

bool CommandLoop::kill_waiting(std::uint64_t number) {
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const Begin& begin) {
    return begin.ticket->number() == number;
  });
  if (found == waiting_.end()) return false;
  const Begin begin = std::move(*found);
  waiting_.erase(found);
  if (begin.ticket->claim()) {
    begin.completion(tl::unexpected(CommandFailure{"never started", false}));
  }
  return true;
}

// --- children ---

void CommandLoop::start_waiting() {
  while (!waiting_.empty() && commands_ < commands_max_) {
    Begin begin = std::move(waiting_.front());
    waiting_.pop_front();
    start(std::move(begin));
  }
}

void CommandLoop::start(Begin begin) {
  const std::uint64_t number = begin.ticket->number();
  auto streams = start_child(number, begin.command.text, begin.command.environment,
                             begin.command.extra_input.has_value());
  if (!streams) {
    if (begin.ticket->claim()) {
      begin.completion(tl::unexpected(CommandFailure{cannot_start(streams.error()), false}));
    }
    return;
  }
  ++commands_;
  const auto child =
      children_.try_emplace(number, Child{CommandTask{*std::move(streams), std::move(begin)}})
          .first;
  auto& task = std::get<CommandTask>(child->second.task);
  follow(child, task.on_stdin(false));
  follow(child, task.on_extra(false));  // neither ends it
}

tl::expected<ChildStreams, std::string> CommandLoop::start_child(
    std::uint64_t number, const std::string& text, const CommandEnvironment& environment,
    bool with_extra) {
  if (has_zero_byte(text, environment)) {
    return tl::unexpected<std::string>("a zero byte in the command or its environment");
  }
  if (auto ready = ensure_minder(); !ready) return tl::unexpected(std::move(ready.error().detail));
  auto opened = ChildStreams::open(poll_, number, with_extra);
  if (!opened) return tl::unexpected(std::move(opened.error().detail));
  Descriptor file = text_file(text, environment);
  if (!file.is_open()) return tl::unexpected(text_of(errno));
  auto& [ours, theirs] = *opened;
  minder_->send({minder::Kind::kStart, with_extra ? minder::kExtra + 1 : minder::kExtra, number},
                {std::move(file), std::move(theirs.in), std::move(theirs.out),
                 std::move(theirs.err), std::move(theirs.extra)});
  return std::move(ours);
}

void CommandLoop::tell_minder_to_kill(std::uint64_t number) {
  if (minder_) minder_->send({minder::Kind::kKill, 0, number});
}

void CommandLoop::erase(Children::iterator child) {
  if (std::holds_alternative<CommandTask>(child->second.task)) --commands_;
  if (child->second.end_due_since) --ends_due_;
  children_.erase(child);
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
  if (!poll_.watch(minder_->socket(), EPOLLIN, kTagMinderSocket) ||
      !poll_.watch(minder_->process(), EPOLLIN, kTagMinderProcess)) {
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
  const auto child = children_.find(report.command);
  if (child == children_.end()) return;  // dropped, or over
  const auto lost = [&](const std::string& why) {
    std::visit([&](auto& task) { task.on_lost(why); }, child->second.task);
    erase(child);
  };
  switch (report.kind) {
    case minder::Kind::kStarted:
      child->second.group = report.value;
      return;
    case minder::Kind::kExited:
      std::visit([&](auto& task) { task.on_exit(report.value); }, child->second.task);
      return erase(child);
    case minder::Kind::kFailed:
      return lost(cannot_start(text_of(report.value)));
    case minder::Kind::kLost:
      return lost("minder died");
    case minder::Kind::kStart:
    case minder::Kind::kKill:
      return;
  }
}

void CommandLoop::lose_minder() {
  ::kill(minder_->pid(), SIGKILL);  // where it was not dead, but out of reach
  minder_.reset();
  for (const auto& [number, child] : children_) {
    // Its guard does so too, unless it was killed with the minder.
    if (child.group > 0) ::kill(-child.group, SIGKILL);
  }
  while (!children_.empty()) {
    const auto child = children_.begin();
    std::visit([](auto& task) { task.on_lost("minder died"); }, child->second.task);
    erase(child);
  }
}

void CommandLoop::watch_unsent() {
  if (!minder_ || minder_->has_unsent() == unsent_is_watched_) return;
  unsent_is_watched_ = minder_->has_unsent();
  poll_.change(minder_->socket(), unsent_is_watched_ ? EPOLLIN | EPOLLOUT : EPOLLIN,
               kTagMinderSocket);
}

// --- streams ---

void CommandLoop::on_stream(std::uint64_t tag, std::uint32_t events) {
  const auto child = children_.find(ChildStreams::child_of(tag));
  if (child == children_.end()) return;  // over by an earlier event of this turn
  auto& task = child->second.task;
  switch (ChildStreams::stream_of(tag)) {
    case ChildStreams::kStdin: {
      const bool is_broken = (events & EPOLLERR) != 0;
      return follow(child, std::visit([&](auto& any) { return any.on_stdin(is_broken); }, task));
    }
    case ChildStreams::kExtra: {
      auto* command = std::get_if<CommandTask>(&task);
      if (command == nullptr) return;  // no other has one
      return follow(child, command->on_extra((events & EPOLLERR) != 0));
    }
    case ChildStreams::kStdout:
      return follow(
          child, std::visit([](auto& any) { return any.on_stdout(StreamPoll::kReadBytes); }, task));
    case ChildStreams::kStderr:
      return std::visit([](auto& any) { any.on_stderr(StreamPoll::kReadBytes); }, task);
  }
}

void CommandLoop::follow(Children::iterator child, ChildNext next) {
  auto& since = child->second.end_due_since;
  switch (next) {
    case ChildNext::kGoesOn:
      if (since) --ends_due_;
      since.reset();
      return;
    case ChildNext::kEndIsDue:
      if (since) return;
      ++ends_due_;
      since = SystemClock{}.now();
      return;
    case ChildNext::kOver:
      tell_minder_to_kill(child->first);
      return erase(child);
  }
}

void CommandLoop::end_overstayers() {
  if (ends_due_ == 0) return;
  const TimePoint now = SystemClock{}.now();
  for (auto child = children_.begin(); child != children_.end();) {
    const auto next = std::next(child);
    const auto& since = child->second.end_due_since;
    if (since && now - *since >= kEndPatience) {
      std::visit([](auto& task) { task.on_overstay(); }, child->second.task);
      tell_minder_to_kill(child->first);
      erase(child);
    }
    child = next;
  }
}

int CommandLoop::timeout_ms() const { return ends_due_ == 0 ? -1 : kOverstayCheckMs; }

}  // namespace liminal
