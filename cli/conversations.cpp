#include "cli/conversations.hpp"

#include <set>
#include <utility>
#include <vector>

#include "cli/broker_client.hpp"
#include "cli/json.hpp"
#include "cli/output.hpp"
#include "cli/timeline_view.hpp"
#include "common/base/text.hpp"
#include "node/conversation/conversation_ref.hpp"

namespace liminal::cli {
namespace {

Error unknown(const BrokerClient& client, const ConversationId& conversation) {
  return {Errc::kConversationFailed,
          "the broker at " + client.endpoint() + " knows of no conversation " +
              to_string(conversation) +
              ": it keeps a bounded number of them, and none of before its start"};
}

/// All pages of a timeline.
Result<control::TimelineReply> fetch(BrokerClient& client, Duration timeout,
                                     const ConversationId& conversation) {
  auto all = client.ask<control::TimelineReply>(control::TimelineQuery{conversation}, timeout);
  while (all && all->next) {
    auto page = client.ask<control::TimelineReply>(control::TimelineQuery{conversation, *all->next},
                                                   timeout);
    if (!page) return page;
    if (page->next && *page->next <= *all->next) {
      return fail(Errc::kNoBroker, "what answers at " + client.endpoint() + " repeats itself");
    }
    for (auto& told : page->told) all->told.push_back(std::move(told));
    all->next = page->next;
    all->left_out = page->left_out;
  }
  return all;
}

ExitCode print(const std::string& text) {
  const auto written = write_out(text);
  return written ? ExitCode::kDone : report(written.error());
}

}  // namespace

Result<ConversationId> conversation_argument(const std::string& text) {
  if (const auto id = parse_conversation_id(text)) return *id;
  return fail(Errc::kUsage, "conversation '" + escaped_tail(text, 100) +
                                "' on the command line: write its 32 hex digits, as `liminal "
                                "conversations` prints them");
}

ExitCode timeline(const std::string& endpoint, Duration timeout, const ConversationId& conversation,
                  bool json) {
  BrokerClient client{endpoint};
  auto reply = fetch(client, timeout, conversation);
  if (!reply) return report(reply.error());
  if (!reply->summary && reply->told.empty()) return report(unknown(client, conversation));
  const Timeline arranged = arrange(*std::move(reply));
  return print(json ? timeline_json(arranged) + "\n" : timeline_text(arranged));
}

ExitCode conversations(const std::string& endpoint, Duration timeout, std::size_t ended_max,
                       bool json) {
  BrokerClient client{endpoint};
  std::vector<control::ConversationSummary> summaries;
  std::set<ConversationId> seen;  // one that ends meanwhile is on two pages
  std::size_t ended = 0;
  std::uint64_t forgotten = 0;
  control::ConversationsQuery query;
  do {
    auto page = client.ask<control::ConversationsReply>(query, timeout);
    if (!page) return report(page.error());
    for (auto& summary : page->summaries) {
      const bool is_open = summary.standing == control::ConversationStanding::kOpen;
      if (!is_open && ended == ended_max) continue;
      if (!seen.insert(summary.conversation).second) continue;
      ended += !is_open;
      summaries.push_back(std::move(summary));
    }
    forgotten = page->forgotten;
    query.behind = page->next;
  } while (query.behind && !(query.behind->among_ended && ended >= ended_max));
  return print(json ? conversations_json(summaries, forgotten) + "\n"
                    : conversations_text(summaries, forgotten, ended_max > 0));
}

ExitCode cancel(const std::string& endpoint, Duration connect_timeout, Duration timeout,
                const ConversationId& conversation) {
  BrokerClient client{endpoint};
  // first what the broker answers by itself, so that silence afterwards is the node's
  const auto known =
      client.ask<control::TimelineReply>(control::TimelineQuery{conversation}, connect_timeout);
  if (!known) return report(known.error());
  const std::string id = to_string(conversation);
  const std::string node = known->summary ? "'" + known->summary->node.value() + "'" : "";
  const auto reply = client.ask<control::CancelReply>(control::CancelQuery{conversation}, timeout);
  if (!reply && client.timed_out()) {
    return report({Errc::kConversationTimeout, "node " + node + " did not answer within " +
                                                   to_string(timeout) +
                                                   " whether it cancels conversation " + id});
  }
  if (!reply) return report(reply.error());
  switch (reply->outcome) {
    case control::CancelOutcome::kAccepted:
      return ExitCode::kDone;
    case control::CancelOutcome::kEnded:
      return report({Errc::kConversationFailed,
                     "conversation " + id + " on node " + node + " is ending, or has ended"});
    case control::CancelOutcome::kUnknown:
      return report(unknown(client, conversation));
    case control::CancelOutcome::kNodeGone:
      return report({Errc::kConversationFailed,
                     "conversation " + id + " ended with its node " + node + ", which is gone"});
    case control::CancelOutcome::kTooMany:
      return report({Errc::kRejected, "the broker at " + endpoint +
                                          " waits for too many cancellations; conversation " + id +
                                          " was not cancelled"});
  }
  return report({Errc::kInternal, "an outcome that does not exist"});
}

}  // namespace liminal::cli
