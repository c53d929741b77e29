#include "cli/ask.hpp"

#include <utility>

#include "cli/end_watch.hpp"
#include "cli/json.hpp"
#include "cli/output.hpp"
#include "cli/stdin_reader.hpp"
#include "common/base/text.hpp"

namespace liminal::cli {

ExitCode ask(SignalWatch& signals, const ConversationOptions& options, const ServiceName& service,
             const std::optional<std::string>& payload) {
  StdinReader in;  // outlives the node, whose threads may stop it to its end
  signals.on_signal([&in] { in.stop(); });
  auto opened = open_conversation(signals, options, {service});
  if (!opened) {
    signals.on_signal({});
    return signals.interrupted() ? ExitCode::kInterrupted : report(opened.error());
  }
  ConversationHandle& conversation = opened->handle;
  const auto request = [&]() -> Result<std::string> {
    if (payload) return *payload;
    const EndWatch ended{opened->node->scheduler(), conversation, [&in] { in.stop(); }};
    auto all = in.read_all(opened->node->directory().snapshot()->payload_bytes_max);
    if (const auto over = ended.result(); !over) return tl::unexpected<Error>(over.error());
    return all;
  }();
  signals.on_signal([&conversation] { conversation.cancel("a signal to liminal ask"); });

  Result<Payload> reply = tl::unexpected<Error>(Error{Errc::kConversationFailed, "interrupted"});
  if (!request) {
    reply = tl::unexpected<Error>(request.error());
  } else if (!signals.interrupted()) {
    reply = conversation.ask(Payload{*request}, options.timeout);
  }
  if (reply && signals.interrupted()) reply = fail(Errc::kConversationFailed, "interrupted");
  if (!reply) {
    const std::string why = reply.error().detail;
    reply = tl::unexpected<Error>(
        end_by_policy(options, conversation, std::move(reply.error()), "liminal ask: " + why));
  }
  ConversationState end = conversation.query_state();
  if (reply) {
    // It may end by its policy up to here, with the reply received.
    (void)conversation.close(kEndBound);
    ConversationState closed = conversation.query_state();
    if (closed.failure) {
      reply = tl::unexpected<Error>(*closed.failure);
      end = std::move(closed);
    }
  }
  signals.on_signal({});
  (void)conversation.close();  // what it came to is known; the rest ends with the node
  if (signals.interrupted()) return ExitCode::kInterrupted;

  StoppableOutput out;
  signals.on_signal([&out] { out.stop(); });
  Result<void> written;
  if (options.json) {
    written = out.write(outcome_json(end, reply) + "\n");
  } else if (reply) {
    written = out.write(reply->view());
  }
  signals.on_signal({});
  if (!written && signals.interrupted()) return ExitCode::kInterrupted;
  if (!written) return report(written.error());
  return reply ? ExitCode::kDone : report(with_conversation(reply.error(), conversation));
}

}  // namespace liminal::cli
