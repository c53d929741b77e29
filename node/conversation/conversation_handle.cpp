#include "node/conversation/conversation_handle.hpp"

#include <algorithm>
#include <string>

#include "common/base/text.hpp"
#include "common/wire/limits.hpp"
#include "node/conversation/conversation_shared.hpp"
#include "node/scheduler/in_turn.hpp"

namespace liminal {
namespace {

constexpr Duration kDeadlineMax = std::chrono::hours{24 * 365};  // beyond it clocks would overflow
// On a handle whose conversation, and so its configuration, is elsewhere.
constexpr std::size_t kRemoteExitNotifiersMax = 1024;

Ticket ticket_for(const std::shared_ptr<Waiter>& waiter,
                  const std::shared_ptr<ConversationCell>& cell, Question question) {
  return Ticket{waiter, cell, std::move(question)};
}

}  // namespace

ConversationHandle::Shared::~Shared() { registry->post(callee, call::HandlesGone{}); }

// --- blocking ---

namespace {

/// Nobody else may be left to answer: it would wait for itself.
std::optional<Error> why_not_blocked() {
  if (!is_in_turn()) return std::nullopt;
  return Error{Errc::kUsage,
               "this call waits, which a process must not in its turn: await it in an "
               "AsyncBehaviour (send_async() and the like), use start_...(), or declare the "
               "behaviour blocking"};
}

}  // namespace

std::string ConversationHandle::acceptance_of(const MessageId& request) {
  return "acceptance of request " + to_string(request);
}

Outcome ConversationHandle::wait(Pending pending, Duration timeout, const char* for_what) {
  if (auto outcome = pending.waiter_->wait_for(timeout)) return *std::move(outcome);
  pending.cancel();
  return out_of_time(for_what, timeout);
}

tl::unexpected<Error> ConversationHandle::out_of_time(const char* for_what,
                                                      Duration timeout) const {
  std::string text = std::string{"no "} + for_what + " within " + to_string(timeout) +
                     ", conversation " + to_string(shared_->id);
  const ConversationCounters counters = shared_->cell->snapshot().counters;
  if (counters.held_up > 0) {
    text += ": the participant's mailbox is full, deferred " + std::to_string(counters.deferred) +
            " times";
  }
  return fail(Errc::kConversationTimeout, std::move(text));
}

Result<MessageId> ConversationHandle::send(Payload payload, SendOptions options, Duration timeout) {
  if (auto refused = why_not_blocked()) return tl::unexpected{*std::move(refused)};
  auto waiter = std::make_shared<Waiter>();
  Sending sending = begin_send(std::move(payload), std::move(options), std::move(waiter));
  const std::string for_what = acceptance_of(sending.id);
  const Outcome outcome = wait(std::move(sending.pending), timeout, for_what.c_str());
  if (!outcome) return tl::unexpected{outcome.error()};
  return sending.id;
}

Result<MessageId> ConversationHandle::send_one_way(Payload payload, SendOptions options,
                                                   Duration timeout) {
  options.reply = ReplyMode::kNone;
  return send(std::move(payload), std::move(options), timeout);
}

Result<Payload> ConversationHandle::receive(const MessageId& request, Duration timeout) {
  return receive(std::optional{request}, timeout);
}

Result<Payload> ConversationHandle::receive(const MessageId& request) {
  return receive(std::optional{request}, shared_->receive_timeout.load());
}

Result<Payload> ConversationHandle::receive(Duration timeout) {
  return receive(std::nullopt, timeout);
}

Result<Payload> ConversationHandle::receive() {
  return receive(std::nullopt, shared_->receive_timeout.load());
}

Result<Payload> ConversationHandle::receive(std::optional<MessageId> request, Duration timeout) {
  if (auto refused = why_not_blocked()) return tl::unexpected{*std::move(refused)};
  return wait(start_receive(request, std::make_shared<Waiter>()), timeout, "reply");
}

Result<Payload> ConversationHandle::ask(Payload payload, Duration timeout, SendOptions options) {
  if (auto refused = why_not_blocked()) return tl::unexpected{*std::move(refused)};
  if (!options.deadline) options.deadline = timeout;
  return wait(start_ask(std::move(payload), std::move(options), std::make_shared<Waiter>()),
              timeout, "reply");
}

Result<void> ConversationHandle::close(Duration timeout) {
  if (auto refused = why_not_blocked()) return tl::unexpected{*std::move(refused)};
  const Outcome outcome = wait(start_close(std::make_shared<Waiter>()), timeout, "end");
  if (!outcome) return tl::unexpected{outcome.error()};
  return {};
}

void ConversationHandle::cancel(std::string by) {
  shared_->registry->post(shared_->callee, call::Cancel{std::move(by)});
}

ConversationState ConversationHandle::query_state() const { return shared_->cell->snapshot(); }
const ConversationId& ConversationHandle::id() const { return shared_->id; }
const Pid& ConversationHandle::pid() const { return shared_->pid; }

Result<ConversationRef> ConversationHandle::ref() const {
  if (!shared_->pid.is_local()) return ConversationRef{shared_->id, shared_->pid};
  if (shared_->registry->scheduler() == nullptr) {
    return fail(Errc::kConversationFailed,
                "the node of conversation " + to_string(shared_->id) + " is gone");
  }
  const auto incarnation = shared_->directory.snapshot()->incarnation;
  if (!incarnation) {
    return fail(Errc::kNoBroker, "node '" + shared_->pid.node.value() +
                                     "' has not joined: nobody elsewhere can know it");
  }
  return ConversationRef{shared_->id, Pid{shared_->pid.node, *incarnation, shared_->pid.serial}};
}

std::optional<Pid> ConversationHandle::actor_pid() const { return shared_->cell->actor(); }

Result<void> ConversationHandle::on_exit(const std::string& role, ExitNotifier notifier) {
  if (!notifier) return fail(Errc::kUsage, "an exit notifier must be something to call");
  if (!shared_->config) {
    return shared_->cell->notify_exit(role, kRemoteExitNotifiersMax, std::move(notifier));
  }
  const auto& participants = shared_->config->participants;
  const auto found = std::find_if(participants.begin(), participants.end(),
                                  [&](const ParticipantConfig& p) { return p.role == role; });
  if (found == participants.end()) {
    return fail(Errc::kUsage, "'" + escaped_tail(role, 63) + "' is no role of this conversation");
  }
  return shared_->cell->notify_exit(static_cast<RoleIndex>(found - participants.begin()),
                                    shared_->config->on_crash, shared_->config->exit_notifiers_max,
                                    std::move(notifier));
}

std::optional<ConversationHandle> ConversationHandle::Weak::lock() const {
  auto shared = shared_.lock();
  if (!shared) return std::nullopt;
  return ConversationHandle{std::move(shared)};
}

// --- not blocking ---

bool ConversationHandle::Pending::cancel() {
  if (!waiter_ || !waiter_->abandon()) return false;
  call::Abandon abandon{*id_, std::nullopt};
  if (forget_) abandon.forget.emplace(*forget_, *id_, cell_);
  registry_->post(*conversation_, std::move(abandon));
  return true;
}

ConversationHandle::Pending ConversationHandle::pending(std::shared_ptr<Waiter> waiter, WaiterId id,
                                                        std::optional<MessageId> forget) const {
  Pending call;
  call.handle_ = shared_;
  call.registry_ = shared_->registry.get();
  call.conversation_ = shared_->callee;
  call.waiter_ = std::move(waiter);
  call.id_ = id;
  call.forget_ = forget;
  call.cell_ = shared_->cell;
  return call;
}

MessageId ConversationHandle::start_send(Payload payload, SendOptions options,
                                         Completion completion) {
  return begin_send(std::move(payload), std::move(options), std::move(completion)).id;
}
ConversationHandle::Sending ConversationHandle::begin_send(Payload payload, SendOptions options,
                                                           Completion completion) {
  return begin_send(std::move(payload), std::move(options),
                    std::make_shared<Waiter>(std::move(completion)));
}
ConversationHandle::Pending ConversationHandle::start_receive(std::optional<MessageId> request,
                                                              Completion completion) {
  return start_receive(request, std::make_shared<Waiter>(std::move(completion)));
}
ConversationHandle::Pending ConversationHandle::start_ask(Payload payload, SendOptions options,
                                                          Completion completion) {
  return start_ask(std::move(payload), std::move(options),
                   std::make_shared<Waiter>(std::move(completion)));
}
ConversationHandle::Pending ConversationHandle::start_close(Completion completion) {
  return start_close(std::make_shared<Waiter>(std::move(completion)));
}

/// What can be known without the conversation. What passes fits into frames.
std::optional<Error> ConversationHandle::why_not_sent(const Payload& payload,
                                                      const SendOptions& options) const {
  // The directory may be gone as well then; the call is answered by the cell.
  if (shared_->registry->scheduler() == nullptr) return std::nullopt;
  const std::uint64_t payload_max = shared_->directory.snapshot()->payload_bytes_max;
  if (payload_max != 0 && payload.size() > payload_max) {
    return Error{Errc::kRejected, "payload of " + std::to_string(payload.size()) +
                                      " bytes exceeds payload-max " + std::to_string(payload_max)};
  }
  const auto too_long = [](const std::string& text) { return text.size() > wire::kTextBytesMax; };
  const bool header_too_long = std::any_of(
      options.headers.begin(), options.headers.end(),
      [&](const auto& header) { return too_long(header.first) || too_long(header.second); });
  if (options.headers.size() > wire::kEnvelopeHeadersMax || header_too_long ||
      too_long(options.schema) || too_long(options.trace)) {
    return Error{Errc::kRejected, "headers exceed " + std::to_string(wire::kEnvelopeHeadersMax) +
                                      " of " + std::to_string(wire::kTextBytesMax) + " bytes"};
  }
  return std::nullopt;
}

ConversationHandle::Sending ConversationHandle::begin_send(Payload payload, SendOptions options,
                                                           std::shared_ptr<Waiter> waiter) {
  const MessageId id = shared_->new_message_id();
  const WaiterId waiter_id = shared_->cell->new_waiter_id();
  if (auto refusal = why_not_sent(payload, options)) {
    shared_->cell->offer(*waiter, tl::unexpected{*std::move(refusal)});
    return {id, pending(std::move(waiter), waiter_id, id)};
  }
  if (options.deadline) options.deadline = std::min(*options.deadline, kDeadlineMax);
  call::Send send{id, std::move(payload), std::move(options), std::nullopt, std::nullopt};
  send.accepted.emplace(waiter_id, ticket_for(waiter, shared_->cell, question::Send{}));
  shared_->registry->post(shared_->callee, std::move(send));
  return {id, pending(std::move(waiter), waiter_id, id)};
}

ConversationHandle::Pending ConversationHandle::start_receive(std::optional<MessageId> request,
                                                              std::shared_ptr<Waiter> waiter) {
  const WaiterId waiter_id = shared_->cell->new_waiter_id();
  shared_->registry->post(
      shared_->callee,
      call::Receive{waiter_id, ticket_for(waiter, shared_->cell, question::Receive{request}),
                    request});
  return pending(std::move(waiter), waiter_id);
}

ConversationHandle::Pending ConversationHandle::start_ask(Payload payload, SendOptions options,
                                                          std::shared_ptr<Waiter> waiter) {
  const MessageId id = shared_->new_message_id();
  const WaiterId waiter_id = shared_->cell->new_waiter_id();
  if (auto refusal = why_not_sent(payload, options)) {
    shared_->cell->offer(*waiter, tl::unexpected{*std::move(refusal)});
    return pending(std::move(waiter), waiter_id, id);
  }
  if (options.deadline) options.deadline = std::min(*options.deadline, kDeadlineMax);
  options.reply = ReplyMode::kCorrelated;
  call::Send send{id, std::move(payload), std::move(options), std::nullopt, std::nullopt};
  send.reply.emplace(waiter_id, ticket_for(waiter, shared_->cell, question::Send{}));
  shared_->registry->post(shared_->callee, std::move(send));
  return pending(std::move(waiter), waiter_id, id);
}

ConversationHandle::Pending ConversationHandle::start_close(std::shared_ptr<Waiter> waiter) {
  const WaiterId waiter_id = shared_->cell->new_waiter_id();
  call::Close close;
  close.waiter.emplace(waiter_id, ticket_for(waiter, shared_->cell, question::Close{}));
  shared_->registry->post(shared_->callee, std::move(close));
  return pending(std::move(waiter), waiter_id);
}

ConversationHandle::Completion ConversationHandle::tell(const Pid& to, std::uint64_t tag) const {
  return [registry = shared_->registry, to, tag](Outcome outcome) {
    if (Scheduler* const scheduler = registry->scheduler()) {
      scheduler->send_local(to, std::make_unique<ConversationOutcome>(tag, std::move(outcome)));
    }
  };
}

ExitNotifier ConversationHandle::tell_exit(const Pid& to, std::uint64_t tag) const {
  return [registry = shared_->registry, to, tag](const ParticipantExit& exit) {
    if (Scheduler* const scheduler = registry->scheduler()) {
      scheduler->send_local(to, std::make_unique<ConversationExit>(tag, exit));
    }
  };
}

}  // namespace liminal
