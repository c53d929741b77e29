#include "node/participant/pipe_task.hpp"

#include <algorithm>
#include <utility>

#include "common/base/check.hpp"
#include "common/base/text.hpp"
#include "node/participant/wait_status.hpp"

namespace liminal {

namespace {

constexpr std::size_t kShownOutputBytes = 32;

std::string quoted(std::string_view bytes) {
  return "\"" + escaped_tail(bytes.substr(0, kShownOutputBytes), kShownOutputBytes) + "\"";
}

}  // namespace

PipeTask::PipeTask(ChildStreams streams, command_runner::Open open)
    : streams_(std::move(streams)),
      ticket_(std::move(open.ticket)),
      events_(std::move(open.events)) {}

ChildNext PipeTask::ask(Payload request, std::size_t reply_bytes_max) {
  check(!unanswered_, "a child has one request at a time");
  unanswered_ = true;
  reply_bytes_max_ = reply_bytes_max;
  request_ = {.prefix = length_prefix(request.size()), .payload = std::move(request)};
  streams_.feed(request_);
  return next();
}

ChildNext PipeTask::on_stdin(bool is_broken) {
  if (is_broken) {
    left_unread_ = unanswered_ && streams_.unread_input_bytes() > 0;
    streams_.close_input();
  }
  streams_.feed(request_);
  settle_early_reply();
  return next();
}

ChildNext PipeTask::on_stdout(std::size_t bytes_max) {
  if (auto wrong = take_output(bytes_max)) {
    fail(*std::move(wrong));
    return ChildNext::kOver;
  }
  return next();
}

std::optional<std::string> PipeTask::take_output(std::size_t bytes_max) {
  while (bytes_max > 0) {
    const std::string_view got = streams_.read_output(bytes_max);
    if (got.empty()) break;
    if (auto wrong = take(got)) return wrong;
    // Less than was asked for: it was all; an event says when there is more.
    if (got.size() < std::min(bytes_max, StreamPoll::kReadBytes)) break;
    bytes_max -= got.size();
  }
  return std::nullopt;
}

std::optional<std::string> PipeTask::take(std::string_view output) {
  while (!output.empty()) {
    if (!awaits_output()) return "output that no request asked for, " + quoted(output);
    switch (reader_.read(output, reply_bytes_max_)) {
      case PipeMessageReader::Status::kNeedsMore:
        break;
      case PipeMessageReader::Status::kTooLong:
        return "reply of " + std::to_string(reader_.promised_bytes()) +
               " bytes exceeds payload-max (" + std::to_string(reply_bytes_max_) +
               " bytes); its length prefix is " + quoted(reader_.prefix());
      case PipeMessageReader::Status::kMessage:
        early_reply_ = reader_.take_message();
        settle_early_reply();
        break;
    }
  }
  return std::nullopt;
}

void PipeTask::settle_early_reply() {
  if (!early_reply_ || (streams_.input_is_open() && !request_.is_done())) return;
  reply(*std::exchange(early_reply_, std::nullopt));
}

void PipeTask::reply(std::string payload) {
  unanswered_ = false;
  request_ = {};
  if (!ticket_->is_claimed()) events_.replied(Payload{std::move(payload)});
}

ChildNext PipeTask::next() const {
  if (!unanswered_ || early_reply_) return ChildNext::kGoesOn;
  const bool is_handed_over = streams_.input_is_open() || (request_.is_done() && !left_unread_);
  return is_handed_over && streams_.output_is_open() ? ChildNext::kGoesOn : ChildNext::kEndIsDue;
}

void PipeTask::on_exit(int wait_status) {
  // No more than what is there now: others may go on to write.
  auto wrong = take_output(streams_.readable_output_bytes());
  streams_.close_input();  // nobody is left to read it
  settle_early_reply();
  streams_.read_stderr(streams_.readable_stderr_bytes());
  if (auto failure = failure_of(wait_status, streams_.stderr_tail())) {
    end(std::move(failure));
  } else if (wrong) {
    fail(*std::move(wrong));
  } else if (!reader_.is_between_messages()) {
    fail("exit status 0 within a reply, " + reader_.progress());
  } else if (unanswered_) {
    fail("exit status 0 with a request unanswered");
  } else {
    end(std::nullopt);
  }
}

void PipeTask::on_overstay() {
  fail(streams_.output_is_open() ? "stdin closed: a request cannot be handed over"
                                 : "stdout closed with a request unanswered");
}

void PipeTask::fail(std::string what) {
  streams_.read_stderr(streams_.readable_stderr_bytes());
  end(with_stderr(std::move(what), streams_.stderr_tail()));
}

void PipeTask::end(std::optional<std::string> failure) {
  streams_.close();  // whoever hears of the end finds nothing of it open
  if (ticket_->claim()) events_.ended(std::move(failure));
}

}  // namespace liminal
