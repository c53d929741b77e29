#include "node/participant/command_runner.hpp"

#include <csignal>
#include <string_view>

#include "node/participant/command_inbox.hpp"
#include "node/participant/command_loop.hpp"
#include "node/participant/minder_link.hpp"

namespace liminal {

using command_runner::Ask;
using command_runner::Begin;
using command_runner::Drop;
using command_runner::Inbox;
using command_runner::Kill;
using command_runner::Open;
using command_runner::Ticket;

namespace {

/// New threads inherit the mask of the thread that makes them.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

RunningChild::RunningChild(std::shared_ptr<Inbox> inbox, std::shared_ptr<Ticket> ticket)
    : inbox_(std::move(inbox)), ticket_(std::move(ticket)) {}

RunningChild& RunningChild::operator=(RunningChild&& other) noexcept {
  if (this != &other) {
    drop();
    inbox_ = std::move(other.inbox_);
    ticket_ = std::move(other.ticket_);
  }
  return *this;
}

RunningChild::~RunningChild() { drop(); }

void RunningChild::drop() noexcept {
  if (ticket_ && ticket_->claim()) inbox_->post(Drop{ticket_->number()});
  ticket_.reset();
}

void RunningCommand::kill() { inbox_->post(Kill{ticket_->number()}); }

void RunningPipe::ask(Payload request, std::size_t reply_bytes_max) {
  inbox_->post(Ask{ticket_->number(), std::move(request), reply_bytes_max});
}

Result<std::unique_ptr<CommandRunner>> CommandRunner::start(Settings settings) {
  auto program = find_minder(settings.minder_path);
  if (!program) return tl::unexpected(std::move(program.error()));
  auto minder = MinderLink::start(*program);
  if (!minder) return tl::unexpected(std::move(minder.error()));
  auto inbox = Inbox::open();
  if (!inbox) return tl::unexpected(std::move(inbox.error()));
  auto loop =
      CommandLoop::make(*inbox, *std::move(program), *std::move(minder), settings.commands_max);
  if (!loop) return tl::unexpected(std::move(loop.error()));
  // The loop writes into pipes that nobody may read: SIGPIPE must find nobody there.
  const AllSignalsBlocked blocked;
  std::thread thread{[loop = *std::move(loop)]() mutable {
    loop->run();
    loop.reset();  // on this thread, which made what it holds; blocks until all is gone
  }};
  return std::unique_ptr<CommandRunner>{new CommandRunner{*std::move(inbox), std::move(thread)}};
}

CommandRunner::CommandRunner(std::shared_ptr<Inbox> inbox, std::thread thread)
    : inbox_(std::move(inbox)), thread_(std::move(thread)) {}

CommandRunner::~CommandRunner() {
  inbox_->close();
  thread_.join();
}

RunningCommand CommandRunner::run(Command command, Completion completion) {
  auto ticket = std::make_shared<Ticket>(inbox_->next_number());
  inbox_->post(Begin{ticket, std::move(command), std::move(completion)});
  return RunningCommand{inbox_, std::move(ticket)};
}

RunningPipe CommandRunner::open(PipeCommand command, PipeEvents events) {
  auto ticket = std::make_shared<Ticket>(inbox_->next_number());
  inbox_->post(Open{ticket, std::move(command), std::move(events)});
  return RunningPipe{inbox_, std::move(ticket)};
}

}  // namespace liminal
