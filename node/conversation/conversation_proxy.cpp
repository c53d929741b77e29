#include "node/conversation/conversation_proxy.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/text.hpp"

namespace liminal {
namespace {

// What one firing of the repeat timer sends again: enough to fill a mailbox that was emptied.
constexpr std::size_t kRepeatedMax = 64;

TimePoint later(TimePoint now, Duration after) {
  return after > TimePoint::max() - now ? TimePoint::max() : now + after;
}

}  // namespace

ConversationProxy::ConversationProxy(ConversationRef ref, std::shared_ptr<ConversationCell> cell,
                                     const Directory& directory, std::function<void()> ended)
    : ref_(std::move(ref)),
      cell_(std::move(cell)),
      directory_(directory),
      ended_(std::move(ended)) {}

ConversationProxy::~ConversationProxy() {
  cell_->lost_sight({Errc::kConversationFailed, "outcome unknown: its handle's node stopped"},
                    false);
  ended_();
  // tickets that are still here are answered by the cell as they go
}

void ConversationProxy::on_start(Context& context) {
  static_cast<void>(context.monitor(ref_.pid));
  watch(context);
}

void ConversationProxy::handle(Context& context, Message message) {
  if (over_) return;
  std::visit([&](auto& m) { on_message(context, std::move(m)); }, message);
  if (over_) return;
  acknowledge(context);
  cell_->tell_exits();
  end_if_done(context);
}

// --- what handles call ---

void ConversationProxy::on_message(Context& context, LocalMessagePtr local) {
  if (auto* message = dynamic_cast<CallMessage*>(local.get())) {
    std::visit([&](auto& c) { on_call(context, std::move(c)); }, message->call);
  }
}

bool ConversationProxy::admit(std::optional<std::pair<WaiterId, Ticket>>& waiter) {
  if (!waiter || under_way() < kCallsMax) return true;
  waiter->second.redeem(fail(Errc::kRejected, std::to_string(under_way()) +
                                                  " calls wait for node " + ref_.pid.node.value() +
                                                  ", the most is " + std::to_string(kCallsMax)));
  return false;
}

ConversationProxy::Sent ConversationProxy::fresh(Context& context) const {
  return Sent{.envelope = {.kind = EnvelopeKind::kCall,
                           .id = context.new_message_id(),
                           .conversation = ref_.id}};
}

void ConversationProxy::call(Context& context, const RemoteCall& what, Sent sent) {
  put(sent.envelope, what);
  const Number number = ++next_;
  numbers_.emplace(sent.envelope.id, number);
  if (sent.waiter) waiters_.emplace(sent.waiter->first, number);
  transmit(context, number, calls_.emplace(number, std::move(sent)).first->second);
}

/// Behind one that was deferred nothing would be taken.
void ConversationProxy::transmit(Context& context, Number number, const Sent& sent) {
  if (deferred_.empty()) {
    context.send(ref_.pid, sent.envelope);
  } else {
    deferred_.insert(number);
  }
}

void ConversationProxy::repeat(Context& context, std::size_t count) {
  for (; count > 0 && !deferred_.empty(); --count) {
    const Number number = *deferred_.begin();
    deferred_.erase(deferred_.begin());
    context.send(ref_.pid, calls_.at(number).envelope);
  }
}

void ConversationProxy::watch(Context& context) {
  Sent sent = fresh(context);
  watch_ = sent.envelope.id;
  call(context, remote_call::Watch{}, std::move(sent));
}

void ConversationProxy::on_call(Context& context, call::Send send) {
  const bool waits_for_reply = send.reply.has_value();
  auto& waiter = waits_for_reply ? send.reply : send.accepted;
  if (waiter && !waiter->second.is_wanted()) return waiter->second.cancel();
  if (!admit(waiter)) return;
  SendOptions& options = send.options;
  Sent sent = fresh(context);
  sent.envelope.id = send.id;
  sent.envelope.parent = options.cause;
  sent.envelope.schema = std::move(options.schema);
  sent.envelope.trace = std::move(options.trace);
  sent.envelope.headers = std::move(options.headers);
  sent.envelope.payload = std::move(send.payload);
  if (options.deadline) sent.envelope.deadline = later(context.now(), *options.deadline);
  sent.gets_reply = waits_for_reply;
  sent.forget = true;
  if (waiter) sent.waiter.emplace(waiter->first, std::move(waiter->second));
  call(context,
       remote_call::Send{std::move(options.role), options.reply, options.when_deferred,
                         waits_for_reply},
       std::move(sent));
}

void ConversationProxy::on_call(Context& context, call::Receive receive) {
  if (!receive.ticket.is_wanted()) {
    receive.ticket.cancel();
    return;
  }
  std::optional<std::pair<WaiterId, Ticket>> waiter;
  waiter.emplace(receive.waiter, std::move(receive.ticket));
  if (!admit(waiter)) return;
  Sent sent = fresh(context);
  sent.gets_reply = true;
  sent.waiter.emplace(waiter->first, std::move(waiter->second));
  call(context, remote_call::Receive{receive.request}, std::move(sent));
}

void ConversationProxy::on_call(Context& context, call::Abandon abandon) {
  const auto found = waiters_.find(abandon.waiter);
  if (found == waiters_.end()) return;  // answered meanwhile, or never taken
  Sent& sent = calls_.at(found->second);
  sent.waiter->second.cancel();
  sent.waiter.reset();
  waiters_.erase(found);
  give_up(context, MessageId{sent.envelope.id}, abandon.forget.has_value());
}

void ConversationProxy::on_call(Context& context, call::Close close) {
  if (!admit(close.waiter)) return;
  Sent sent = fresh(context);
  if (close.waiter) sent.waiter.emplace(close.waiter->first, std::move(close.waiter->second));
  call(context, remote_call::Close{}, std::move(sent));
}

void ConversationProxy::on_call(Context& context, call::Cancel cancel) {
  if (under_way() >= kCallsMax) return;  // who waits for nothing learns nothing
  call(context, remote_call::Cancel{std::move(cancel.by)}, fresh(context));
}

/// Whoever waits would wait for a node that does no more.
void ConversationProxy::on_call(Context& context, call::Shutdown) {
  acknowledge_all(context);
  lose(context, "outcome unknown: its handle's node is stopping", false);
}

void ConversationProxy::on_call(Context&, call::HandlesGone) { handles_gone_ = true; }

/// The reply, whether it came or not, stays with the conversation. The call is kept until that is
/// settled, so that its outcome is known for what it is. What waits to be sent again was not taken.
void ConversationProxy::give_up(Context& context, const MessageId& call_id, bool forget) {
  const Number number = numbers_.at(call_id);
  if (deferred_.contains(number)) return drop_deferred(context, number);
  calls_.at(number).abandoned = true;
  Sent sent = fresh(context);
  sent.of = call_id;
  call(context, remote_call::Abandon{call_id, forget}, std::move(sent));
}

// --- what the conversation answers ---

void ConversationProxy::on_message(Context& context, message::Received received) {
  const bool is_answer = received.from == ref_.pid &&
                         received.envelope.kind == EnvelopeKind::kOutcome &&
                         received.envelope.parent && numbers_.contains(*received.envelope.parent);
  if (!is_answer) {
    context.dead_letter(DeadLetterCause::kLateReply, received.from, context.self(),
                        received.envelope);
    return;
  }
  repeat_after_.reset();
  repeat(context, 1);  // what was taken has made room for one
  if (const auto taken = take_outcome(context, std::move(received.envelope)); !taken) {
    acknowledge_all(context);
    lose(context,
         "what node " + ref_.pid.node.value() + " answered cannot be read: " + taken.error().detail,
         false);
  }
}

Result<void> ConversationProxy::take_outcome(Context& context, Envelope envelope) {
  const MessageId call = *envelope.parent;
  const auto outcome = liminal::take_outcome(envelope);
  if (!outcome) return tl::unexpected{outcome.error()};
  return std::visit(
      [&](const auto& what) { return on_outcome(context, call, what, envelope.payload); },
      *outcome);
}

Result<void> ConversationProxy::on_outcome(Context& context, const MessageId& call,
                                           remote_outcome::Taken taken, const Payload& state) {
  if (taken.has_state) {
    if (auto published = publish(context, state); !published) return published;
  }
  const Sent& sent = calls_.at(numbers_.at(call));
  if (sent.gets_reply || call == watch_) {
    return fail(Errc::kMalformed, "an outcome without what was asked for");
  }
  if (sent.of) erase(*sent.of);
  settle(context, call, Payload{});
  return {};
}

Result<void> ConversationProxy::on_outcome(Context& context, const MessageId& call,
                                           remote_outcome::Reply, const Payload& reply) {
  return hand_on(context, call, reply);
}

Result<void> ConversationProxy::hand_on(Context& context, const MessageId& call, Outcome outcome) {
  Sent& sent = calls_.at(numbers_.at(call));
  if (!sent.gets_reply) return fail(Errc::kMalformed, "a reply that was not asked for");
  if (sent.abandoned) return {};  // it stays there
  const bool reached = sent.waiter->second.redeem(std::move(outcome));
  waiters_.erase(sent.waiter->first);
  sent.waiter.reset();
  if (reached) {
    received_.push_back(call);
    erase(call);
  } else {
    give_up(context, call, sent.forget);
  }
  return {};
}

Result<void> ConversationProxy::on_outcome(Context& context, const MessageId& call,
                                           const remote_outcome::Failed& failed,
                                           const Payload& state) {
  if (failed.has_state) {
    if (auto published = publish(context, state); !published) return published;
  }
  if (call == watch_) {
    refused(context, failed.error);
    return {};
  }
  if (failed.instead_of_reply) return hand_on(context, call, tl::unexpected{failed.error});
  if (const auto of = calls_.at(numbers_.at(call)).of) erase(*of);
  settle(context, call, tl::unexpected{failed.error});
  return {};
}

/// There will be no attachment.
void ConversationProxy::refused(Context& context, const Error& error) {
  acknowledge_all(context);
  cell_->lost_sight(error, false);
  for (auto& [number, sent] : calls_) {
    if (sent.waiter) sent.waiter->second.redeem(tl::unexpected{error});
  }
  waiters_.clear();
  calls_.clear();
  over_ = true;
  context.exit(ExitReason::normal());
}

Result<void> ConversationProxy::on_outcome(Context& context, const MessageId& call,
                                           remote_outcome::State, const Payload& state) {
  if (call != watch_) return fail(Errc::kMalformed, "a state that was not asked for");
  if (auto published = publish(context, state); !published) return published;
  erase(call);
  watch(context);
  return {};
}

Result<void> ConversationProxy::publish(Context& context, const Payload& state) {
  const Viewpoint seen_from{ref_.pid, context.self().node, directory_.snapshot()->incarnation};
  auto decoded = decode_state(state.view(), seen_from, context.now(), clocks_);
  if (!decoded) return tl::unexpected{decoded.error()};
  if (decoded->state.id != ref_.id || decoded->state.participants.empty()) {
    return fail(Errc::kMalformed, "the state of another conversation");
  }
  // notifiers wait by the place of their role
  std::vector<std::string> roles;
  for (const auto& participant : decoded->state.participants) roles.push_back(participant.role);
  if (roles_.empty()) roles_ = roles;
  if (roles != roles_) return fail(Errc::kMalformed, "the state of other roles than before");
  cell_->publish_policy(decoded->on_crash);
  cell_->publish_actor(std::move(decoded->actor));
  cell_->publish(std::move(decoded->state));
  cell_->tell_exits();  // before the outcome that it came with
  return {};
}

/// A request that was taken stays with the conversation's process until it is told whether its
/// caller knows.
void ConversationProxy::settle(Context& context, const MessageId& call, Outcome outcome) {
  if (call == acknowledging_) acknowledging_.reset();
  Sent& sent = calls_.at(numbers_.at(call));
  if (sent.abandoned) return;  // until the answer to that
  if (sent.waiter) {
    const bool was_taken = sent.forget && outcome;
    const bool reached = sent.waiter->second.redeem(std::move(outcome));
    waiters_.erase(sent.waiter->first);
    sent.waiter.reset();
    if (was_taken && !reached) return give_up(context, call, true);
    if (was_taken) received_.push_back(call);
  }
  erase(call);
}

void ConversationProxy::erase(const MessageId& call) {
  const auto found = numbers_.find(call);
  if (found == numbers_.end()) return;
  deferred_.erase(found->second);
  calls_.erase(found->second);
  numbers_.erase(found);
}

/// As many as one call names.
remote_call::Received ConversationProxy::take_received() {
  const auto count =
      static_cast<std::ptrdiff_t>(std::min(received_.size(), remote_call::kReceivedMax));
  remote_call::Received told{{received_.begin(), received_.begin() + count}};
  received_.erase(received_.begin(), received_.begin() + count);
  return told;
}

/// At the end, where no answer is waited for: with this process the conversation would withdraw
/// what its callers know to be taken. Behind what was deferred it would not be taken itself.
void ConversationProxy::acknowledge_all(Context& context) {
  const auto acknowledging = acknowledging_ ? numbers_.find(*acknowledging_) : numbers_.end();
  const bool was_deferred =
      acknowledging != numbers_.end() && deferred_.contains(acknowledging->second);
  if (received_.empty() && !was_deferred) return;
  for (const Number number : std::exchange(deferred_, {})) {
    context.withdraw(ref_.pid, calls_.at(number).envelope.id);
  }
  if (was_deferred) context.send(ref_.pid, calls_.at(acknowledging->second).envelope);
  while (!received_.empty()) {
    Sent sent = fresh(context);
    put(sent.envelope, take_received());
    context.send(ref_.pid, std::move(sent.envelope));
  }
}

/// One at a time: what is received meanwhile goes with the next.
void ConversationProxy::acknowledge(Context& context) {
  if (received_.empty() || acknowledging_) return;
  const remote_call::Received told = take_received();
  Sent sent = fresh(context);
  acknowledging_ = sent.envelope.id;
  call(context, told, std::move(sent));
}

// --- what is not taken ---

void ConversationProxy::on_message(Context& context, message::Refused refused) {
  const auto found = numbers_.find(refused.message);
  if (refused.by != ref_.pid || found == numbers_.end()) return;  // answered before
  Sent& sent = calls_.at(found->second);
  if (refused.kind == signal::RefusalKind::kRejected && sent.waiter) {
    settle(context, refused.message, fail(Errc::kRejected, std::move(refused.text)));
    return;
  }
  if (sent.abandoned) {  // what gives it up finds nothing
    if (refused.kind == signal::RefusalKind::kDeferred)
      return drop_deferred(context, found->second);
    return erase(refused.message);
  }
  deferred_.insert(found->second);
  if (!repeat_timer_) repeat_timer_ = context.start_timer(repeat_after_.next());
}

void ConversationProxy::on_message(Context& context, message::TimerFired fired) {
  if (fired.timer != repeat_timer_) return;
  repeat_timer_.reset();
  repeat(context, kRepeatedMax);
  if (!deferred_.empty()) repeat_timer_ = context.start_timer(repeat_after_.next());
}

/// The conversation has not seen it, and will not.
void ConversationProxy::drop_deferred(Context& context, Number number) {
  const MessageId call = calls_.at(number).envelope.id;
  context.withdraw(ref_.pid, call);
  erase(call);
}

// --- the end ---

void ConversationProxy::on_message(Context& context, message::Down down) {
  std::string why;
  switch (down.reason.kind) {
    case ExitKind::kNoConnection:
      why = "outcome unknown: the connection to node " + ref_.pid.node.value() +
            ", where conversation " + to_string(ref_.id) +
            " runs, is lost: " + to_string(down.reason);
      break;
    case ExitKind::kNoProc:
    case ExitKind::kNormal:
      why = "conversation " + to_string(ref_.id) + " is over";
      break;
    case ExitKind::kShutdown:
    case ExitKind::kError:
    case ExitKind::kKill:
    case ExitKind::kKilled:
      why = "the conversation's process ended: " + to_string(down.reason);
      break;
  }
  const bool over = down.reason.kind != ExitKind::kNoConnection;
  lose(context, std::move(why), over);
}

/// Whoever waits is answered by the cell.
void ConversationProxy::lose(Context& context, std::string why, bool over) {
  cell_->lost_sight({Errc::kConversationFailed, std::move(why)}, over);
  over_ = true;
  waiters_.clear();
  calls_.clear();
  context.exit(ExitReason::normal());
}

void ConversationProxy::end_if_done(Context& context) {
  if (!handles_gone_) return;
  const bool only_watch = calls_.size() == (watch_ ? 1U : 0U);
  if (only_watch && received_.empty() && !cell_->has_exit_notifiers()) {
    over_ = true;
    context.exit(ExitReason::normal());
    return;
  }
  if (std::exchange(detached_, true)) return;
  call(context, remote_call::Detach{}, fresh(context));
}

}  // namespace liminal
