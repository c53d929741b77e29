#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "cli/ask.hpp"
#include "cli/end_watch.hpp"
#include "cli/json.hpp"
#include "cli/output.hpp"
#include "cli/stdin_reader.hpp"
#include "common/base/text.hpp"

namespace liminal::cli {
namespace {

/// A line that was sent, or what kept it from being sent.
struct Sent {
  std::size_t line;
  Result<MessageId> request;
  TimePoint at;
};

/// What one thread sends and the other waits for, in order; at most `window` at once.
/// Thread-safety: all of it.
class Flights {
 public:
  explicit Flights(std::size_t window) : window_(window) {}

  /// Blocks until there is room for one more. False when the conversation is over.
  bool wait_for_room() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return in_flight_ < window_ || over_; });
    return !over_;
  }
  void push(Sent sent) {
    {
      const std::lock_guard lock{mutex_};
      ++in_flight_;
      waiting_.push_back(std::move(sent));
    }
    changed_.notify_all();
  }
  /// No more will be sent.
  void end() {
    {
      const std::lock_guard lock{mutex_};
      ended_ = true;
    }
    changed_.notify_all();
  }
  /// Blocks for the oldest one; nullopt when there are no more.
  std::optional<Sent> pop() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return !waiting_.empty() || ended_; });
    if (waiting_.empty()) return std::nullopt;
    Sent sent = std::move(waiting_.front());
    waiting_.pop_front();
    return sent;
  }
  /// The one popped last was answered.
  void answered() {
    {
      const std::lock_guard lock{mutex_};
      --in_flight_;
    }
    changed_.notify_all();
  }
  /// Nobody waits any more: the sender shall stop.
  void give_up() {
    {
      const std::lock_guard lock{mutex_};
      over_ = true;
    }
    changed_.notify_all();
  }

 private:
  const std::size_t window_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Sent> waiting_;   // GUARDED_BY mutex_
  std::size_t in_flight_ = 0;  // GUARDED_BY mutex_; sent and not answered
  bool ended_ = false;         // GUARDED_BY mutex_
  bool over_ = false;          // GUARDED_BY mutex_
};

/// What a line asks for: with one service the line, with several SERVICE, a tab, the payload.
struct Line {
  std::string role;
  Payload payload;
};

// Errors: kUsage, naming the line.
Result<Line> parse(std::string text, std::size_t number, const std::vector<ServiceName>& services) {
  if (services.size() == 1) return Line{services[0].value(), Payload{std::move(text)}};
  const std::string where = "line " + std::to_string(number) + " on stdin";
  const std::size_t tab = text.find('\t');
  if (tab == std::string::npos) {
    return fail(Errc::kUsage, where + " has no tab: write SERVICE, a tab, the payload");
  }
  std::string role = text.substr(0, tab);
  std::string known;
  for (const ServiceName& service : services) {
    if (service.value() == role) return Line{std::move(role), Payload{text.substr(tab + 1)}};
    known += (known.empty() ? "" : ", ") + service.value();
  }
  return fail(Errc::kUsage, where + " names service '" + escaped_tail(role, 63) +
                                "', which this conversation does not have: write one of " + known);
}

void send_lines(StdinReader& in, std::size_t line_bytes_max,
                const std::vector<ServiceName>& services, ConversationHandle conversation,
                Flights& flights) {
  const SystemClock clock;
  LineReader lines{in, line_bytes_max};
  for (std::size_t number = 1; flights.wait_for_room(); ++number) {
    auto line = lines.next();
    if (!line) {
      flights.push({number, tl::unexpected<Error>(line.error()), clock.now()});
      break;
    }
    if (!line->has_value()) break;
    auto parsed = parse(**std::move(line), number, services);
    if (!parsed) {
      flights.push({number, tl::unexpected<Error>(parsed.error()), clock.now()});
      break;
    }
    auto request = conversation.send(std::move(parsed->payload), {.role = std::move(parsed->role)});
    const bool sent = request.has_value();
    flights.push({number, std::move(request), clock.now()});
    if (!sent) break;
  }
  flights.end();
}

// The reply as a line. Errors: kConversationFailed where it is more than one.
Result<std::string> as_line(const Payload& reply, std::size_t number) {
  std::string_view text = reply.view();
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  if (text.find('\n') != std::string_view::npos) {
    return fail(Errc::kConversationFailed,
                "the reply to line " + std::to_string(number) + " is several lines: use --json");
  }
  return std::string{text} + "\n";
}

// What was waited for was the rest of the time, of which nobody wants to read.
std::string out_of_time(std::size_t number, Duration timeout,
                        const ConversationHandle& conversation) {
  std::string text = "no reply to line " + std::to_string(number) + " within " + to_string(timeout);
  const ConversationCounters counters = conversation.query_state().counters;
  if (counters.held_up > 0) {
    text += ": the participant's mailbox is full, deferred " + std::to_string(counters.deferred) +
            " times";
  }
  return text;
}

// Prints replies until there are no more or one is missing.
Result<void> print_replies(const ConversationOptions& options, ConversationHandle& conversation,
                           Flights& flights, StoppableOutput& out) {
  const SystemClock clock;
  TimePoint answered{};
  while (auto sent = flights.pop()) {
    Result<Payload> reply = tl::unexpected<Error>(
        sent->request ? Error{Errc::kInternal, "not received"} : sent->request.error());
    if (sent->request) {
      const TimePoint deadline = std::max(sent->at, answered) + options.timeout;
      reply =
          conversation.receive(*sent->request, std::max(Duration::zero(), deadline - clock.now()));
      if (!reply && reply.error().code == Errc::kConversationTimeout &&
          !conversation.query_state().failure) {
        reply.error().detail = out_of_time(sent->line, options.timeout, conversation);
      }
    }
    Result<std::string> line = tl::unexpected<Error>(Error{Errc::kInternal, ""});
    if (options.json && reply) {
      line = outcome_json(conversation.query_state(), reply) + "\n";
    } else if (reply) {
      line = as_line(*reply, sent->line);
    }
    if (reply && !line) return tl::unexpected<Error>(line.error());
    if (line) {
      if (auto written = out.write(*line); !written) return written;
    }
    if (!reply) return tl::unexpected<Error>(reply.error());
    answered = clock.now();
    flights.answered();
  }
  return {};
}

}  // namespace

ExitCode converse(SignalWatch& signals, const ConversationOptions& options,
                  const std::vector<ServiceName>& services, std::size_t window) {
  StdinReader in;  // outlives the node, whose threads may stop it to its end
  StoppableOutput out;
  auto opened = open_conversation(signals, options, services);
  if (!opened) {
    return signals.interrupted() ? ExitCode::kInterrupted : report(opened.error());
  }
  ConversationHandle& conversation = opened->handle;
  Flights flights{services.size() == 1 ? window : 1};
  const auto payload_bytes_max = opened->node->directory().snapshot()->payload_bytes_max;
  std::thread sender{[&] { send_lines(in, payload_bytes_max, services, conversation, flights); }};
  signals.on_signal([&] {
    in.stop();
    out.stop();
    conversation.cancel("a signal to liminal converse");
  });
  EndWatch ended{opened->node->scheduler(), conversation, [&in] { in.stop(); }};

  auto printed = print_replies(options, conversation, flights, out);
  flights.give_up();
  in.stop();
  sender.join();
  if (printed) printed = ended.result();
  if (printed && signals.interrupted()) {
    printed = fail(Errc::kConversationFailed, "interrupted");
  }
  if (printed) {
    // It may end by its policy up to here, with all replies printed.
    (void)conversation.close(kEndBound);
    if (auto failure = conversation.query_state().failure) {
      printed = tl::unexpected<Error>(*std::move(failure));
    }
  }
  if (!printed) {
    const std::string why = printed.error().detail;
    const bool usage = printed.error().code == Errc::kUsage;
    Error end = end_by_policy(options, conversation, printed.error(), "liminal converse: " + why);
    if (!usage) {
      printed = tl::unexpected<Error>(std::move(end));
    } else if (end.code != Errc::kUsage) {
      printed.error().detail += "; " + std::string{name_of(end.code)} + ": " + end.detail;
    }
  }
  if (!printed && options.json) {
    // it may be stdout that failed: the error tells
    (void)out.write(
        outcome_json(conversation.query_state(), tl::unexpected<Error>(printed.error())) + "\n");
  }
  signals.on_signal({});
  (void)conversation.close();  // what it came to is known; the rest ends with the node
  if (signals.interrupted()) return ExitCode::kInterrupted;
  if (!printed) return report(with_conversation(printed.error(), conversation));
  return ExitCode::kDone;
}

}  // namespace liminal::cli
