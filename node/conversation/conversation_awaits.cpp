#include "node/conversation/conversation_awaits.hpp"

#include <algorithm>

namespace liminal {

ConversationCall::~ConversationCall() {
  if (pending_) pending_->cancel();
}

bool ConversationCall::begin(Context& context, TaskHost& host) {
  // Unique in the process: an outcome that comes too late is nobody else's.
  tag_ = host.new_tag();
  pending_ =
      start(conversation_, conversation_.tell(context.self(), tag_), host.origin(), context.now());
  start_timer(context, timeout_);
  return true;
}

bool ConversationCall::on_local(LocalMessage& message) {
  auto* told = dynamic_cast<ConversationOutcome*>(&message);
  if (told == nullptr || told->tag != tag_) return false;
  outcome_ = std::move(told->outcome);
  pending_.reset();
  return true;
}

/// What was taken by then is on its way, and must not be lost.
bool ConversationCall::on_timer() {
  if (pending_ && !pending_->cancel()) return false;
  pending_.reset();
  outcome_ = conversation_.out_of_time(awaited(), timeout_);
  return true;
}

SendOptions ConversationCall::of_origin(SendOptions options, const TaskHost::Origin& origin,
                                        TimePoint now) {
  if (!options.cause) options.cause = origin.cause;
  if (options.trace.empty()) options.trace = origin.trace;
  if (origin.deadline) {
    const Duration left = std::max(*origin.deadline - now, Duration::zero());
    options.deadline = std::min(options.deadline.value_or(left), left);
  }
  return options;
}

std::optional<ConversationCall::Pending> AskCall::start(ConversationHandle& conversation,
                                                        Completion completion,
                                                        const TaskHost::Origin& origin,
                                                        TimePoint now) {
  if (!options_.deadline) options_.deadline = timeout();
  return conversation.start_ask(std::move(payload_), of_origin(std::move(options_), origin, now),
                                std::move(completion));
}

std::optional<ConversationCall::Pending> SendCall::start(ConversationHandle& conversation,
                                                         Completion completion,
                                                         const TaskHost::Origin& origin,
                                                         TimePoint now) {
  auto sending = conversation.begin_send(
      std::move(payload_), of_origin(std::move(options_), origin, now), std::move(completion));
  id_ = sending.id;
  awaited_ = ConversationHandle::acceptance_of(*id_);
  return std::move(sending.pending);
}

Result<MessageId> SendCall::await_resume() {
  if (!outcome()) return tl::unexpected{std::move(outcome().error())};
  return *id_;
}

std::optional<ConversationCall::Pending> ReceiveCall::start(ConversationHandle& conversation,
                                                            Completion completion,
                                                            const TaskHost::Origin&, TimePoint) {
  return conversation.start_receive(request_, std::move(completion));
}

std::optional<ConversationCall::Pending> CloseCall::start(ConversationHandle& conversation,
                                                          Completion completion,
                                                          const TaskHost::Origin&, TimePoint) {
  return conversation.start_close(std::move(completion));
}

Result<void> CloseCall::await_resume() {
  if (!outcome()) return tl::unexpected{std::move(outcome().error())};
  return {};
}

// --- the handle's side ---

AskCall ConversationHandle::ask_async(Payload payload, Duration timeout) {
  return {*this, std::move(payload), timeout, SendOptions{}};
}
AskCall ConversationHandle::ask_async(Payload payload, Duration timeout,
                                      const SendOptions& options) {
  return {*this, std::move(payload), timeout, options};
}
SendCall ConversationHandle::send_async(Payload payload, Duration timeout) {
  return {*this, std::move(payload), SendOptions{}, timeout};
}
SendCall ConversationHandle::send_async(Payload payload, const SendOptions& options,
                                        Duration timeout) {
  return {*this, std::move(payload), options, timeout};
}
ReceiveCall ConversationHandle::receive_async(const MessageId& request, Duration timeout) {
  return {*this, request, timeout};
}
ReceiveCall ConversationHandle::receive_async(Duration timeout) {
  return {*this, std::nullopt, timeout};
}
CloseCall ConversationHandle::close_async(Duration timeout) { return {*this, timeout}; }

}  // namespace liminal
