#include "node/participant/command_task.hpp"

#include <utility>

#include "node/participant/wait_status.hpp"

namespace liminal {

CommandTask::CommandTask(ChildStreams streams, command_runner::Begin begin)
    : streams_(std::move(streams)),
      ticket_(std::move(begin.ticket)),
      completion_(std::move(begin.completion)),
      input_{.payload = std::move(begin.command.input)},
      extra_input_{.payload = std::move(begin.command.extra_input).value_or(Payload{})},
      output_bytes_max_(begin.command.output_bytes_max) {}

ChildNext CommandTask::on_stdin(bool is_broken) {
  streams_.feed(input_);
  // Left unread it is no failure.
  if (is_broken || input_.is_done()) streams_.close_input();
  return ChildNext::kGoesOn;
}

ChildNext CommandTask::on_extra(bool is_broken) {
  streams_.feed_extra(extra_input_);
  if (is_broken || extra_input_.is_done()) streams_.close_extra();
  return ChildNext::kGoesOn;
}

ChildNext CommandTask::on_stdout(std::size_t bytes_max) {
  for (;;) {
    const std::string_view got = streams_.read_output(bytes_max);
    if (got.empty()) return ChildNext::kGoesOn;
    if (got.size() > output_bytes_max_ - output_.size()) {
      fail("output exceeds payload-max (" + std::to_string(output_bytes_max_) + " bytes)");
      return ChildNext::kOver;
    }
    output_.append(got);
    bytes_max -= got.size();
  }
}

void CommandTask::on_exit(int wait_status) {
  // No more than what is there now: others may go on to write.
  if (on_stdout(streams_.readable_output_bytes()) == ChildNext::kOver) return;
  streams_.read_stderr(streams_.readable_stderr_bytes());
  if (auto failure = failure_of(wait_status, streams_.stderr_tail())) {
    return fail(*std::move(failure));
  }
  complete(Payload{std::move(output_)});
}

void CommandTask::complete(CommandOutcome outcome) {
  streams_.close();  // whoever hears of the end finds nothing of it open
  if (ticket_->claim()) completion_(std::move(outcome));
}

}  // namespace liminal
