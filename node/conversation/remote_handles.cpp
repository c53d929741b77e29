#include "node/conversation/remote_handles.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/text.hpp"
#include "node/conversation/remote_state.hpp"

namespace liminal {
namespace {

constexpr Duration kDeadlineMax = std::chrono::hours{24 * 365};  // beyond it clocks would overflow
// Outcomes that the callers of one honest holder may have under way, however small waiters_max is.
constexpr std::size_t kUntakenAlwaysAllowed = 1024;

RemoteOutcome failed(Errc code, std::string detail) {
  return remote_outcome::Failed{{code, std::move(detail)}, false};
}

Duration remaining(TimePoint deadline, TimePoint now) {
  if (deadline <= now) return Duration::zero();
  if (deadline == TimePoint::max()) return kDeadlineMax;
  return std::min(deadline - now, kDeadlineMax);
}

}  // namespace

RemoteHandles::RemoteHandles(std::shared_ptr<const ConversationConfig> config,
                             std::shared_ptr<ConversationCell> cell, ConversationId id)
    : config_(std::move(config)), cell_(std::move(cell)), id_(id) {}

bool RemoteHandles::held() const {
  return std::any_of(holders_.begin(), holders_.end(),
                     [](const auto& entry) { return !entry.second.detached; });
}

bool RemoteHandles::needed() const {
  const std::uint64_t version = cell_->version();
  const bool owed = std::any_of(holders_.begin(), holders_.end(), [&](const auto& entry) {
    const Holder& holder = entry.second;
    return holder.told != version || !holder.untaken.empty();
  });
  const bool is_waited_for = !out_of_patience_ && (owed || !unacknowledged_.empty());
  return is_waited_for || (held() && cell_->has_archive());
}

// --- calls ---

void RemoteHandles::on_call(Context& context, const Pid& from, Envelope envelope, const Load& load,
                            Inputs& inputs) {
  load_ = load;
  const CallKey key{from, envelope.id};
  if (takes_no_outcomes(from)) return let_go(context, from, inputs);
  auto call = take_call(envelope);
  if (!call) {
    cell_->count_ignored_call();
    settle(context, key, remote_outcome::Failed{call.error(), false});
    return;
  }
  if (waiters_.contains(key) || unacknowledged_.contains(key) || accepted_.contains(key)) {
    cell_->count_ignored_call();  // it would have two outcomes
    return;
  }
  if (!std::holds_alternative<remote_call::Watch>(*call) && !holders_.contains(from)) {
    cell_->count_ignored_call();
    settle(context, key,
           failed(Errc::kConversationFailed,
                  "not attached to conversation " + to_string(id_) + " any more"));
    return;
  }
  std::visit([&](auto& what) { on(context, key, envelope, std::move(what), inputs); }, *call);
}

bool RemoteHandles::attach(Context& context, const CallKey& key) {
  if (holders_.contains(key.first)) return true;
  if (holders_.size() >= config_->remote_handles_max) {
    settle(context, key,
           failed(Errc::kRejected, "conversation " + to_string(id_) + " has " +
                                       std::to_string(holders_.size()) +
                                       " attachments, remote-handles-max is " +
                                       std::to_string(config_->remote_handles_max)));
    return false;
  }
  const MonitorId monitor = context.monitor(key.first);
  monitors_.emplace(monitor, key.first);
  holders_.emplace(key.first, Holder{.monitor = monitor});
  return true;
}

void RemoteHandles::on(Context& context, const CallKey& key, Envelope&, remote_call::Watch,
                       Inputs&) {
  if (!attach(context, key)) return;
  Holder& holder = holders_.at(key.first);
  if (const auto replaced = std::exchange(holder.watch, std::nullopt)) {
    settle(context, {key.first, *replaced}, remote_outcome::Taken{});
  }
  holder.watch = key.second;
  tell_state(context, key.first, holder);
}

/// The id under which its outcome will come; none if it was answered at once.
std::optional<WaiterId> RemoteHandles::admit(Context& context, Waiting waiting) {
  if (over_) {
    answer_from_archive(context, waiting);
    return std::nullopt;
  }
  const std::size_t all = load_.other_waiters + this->waiting();
  if (all >= config_->waiters_max) {
    settle(context, waiting.call,
           failed(Errc::kRejected, std::to_string(all) + " calls wait, waiters-max is " +
                                       std::to_string(config_->waiters_max)));
    return std::nullopt;
  }
  // those of calls that were given up too: their inputs are still there
  if (load_.undecided >= config_->waiters_max) {
    settle(
        context, waiting.call,
        failed(Errc::kRejected, std::to_string(load_.undecided) +
                                    " calls from other nodes are to be decided, waiters-max is " +
                                    std::to_string(config_->waiters_max)));
    return std::nullopt;
  }
  const WaiterId waiter = cell_->new_waiter_id();
  waiters_.emplace(waiting.call, waiter);
  waiting_.emplace(waiter, std::move(waiting));
  return waiter;
}

void RemoteHandles::on(Context& context, const CallKey& key, Envelope& envelope,
                       remote_call::Send send, Inputs& inputs) {
  const auto waiter = admit(context, {key, question::Send{}, envelope.id});
  if (!waiter) return;
  SendOptions options{.role = std::move(send.role),
                      .reply = send.waits_for_reply ? ReplyMode::kCorrelated : send.reply,
                      .when_deferred = send.when_deferred,
                      .cause = envelope.parent,
                      .schema = std::move(envelope.schema),
                      .trace = std::move(envelope.trace),
                      .headers = std::move(envelope.headers)};
  if (envelope.deadline) options.deadline = remaining(*envelope.deadline, context.now());
  input::SendRequested request{envelope.id, std::move(envelope.payload), std::move(options),
                               std::nullopt, std::nullopt};
  (send.waits_for_reply ? request.reply : request.accepted) = waiter;
  inputs.push_back(std::move(request));
}

void RemoteHandles::on(Context& context, const CallKey& key, Envelope&,
                       remote_call::Receive receive, Inputs& inputs) {
  const auto waiter = admit(context, {key, question::Receive{receive.request}, std::nullopt});
  if (waiter) inputs.push_back(input::ReceiveRequested{*waiter, receive.request});
}

void RemoteHandles::on(Context& context, const CallKey& key, Envelope&,
                       remote_call::Abandon abandon, Inputs& inputs) {
  give_up({key.first, abandon.call}, abandon.forget, inputs);
  settle(context, key, remote_outcome::Taken{});
}

void RemoteHandles::on(Context& context, const CallKey& key, Envelope&, remote_call::Close,
                       Inputs& inputs) {
  const auto waiter = admit(context, {key, question::Close{}, std::nullopt});
  if (waiter) inputs.push_back(input::CloseRequested{waiter});
}

void RemoteHandles::on(Context& context, const CallKey& key, Envelope&, remote_call::Cancel cancel,
                       Inputs& inputs) {
  if (!over_) inputs.push_back(input::CancelRequested{std::move(cancel.by)});
  settle(context, key, remote_outcome::Taken{});
}

void RemoteHandles::on(Context& context, const CallKey& key, Envelope&,
                       remote_call::Received received, Inputs&) {
  for (const MessageId& call : received.calls) {
    const CallKey known{key.first, call};
    if (accepted_.erase(known) == 0) unacknowledged_.erase(known);
  }
  settle(context, key, remote_outcome::Taken{});
}

void RemoteHandles::on(Context& context, const CallKey& key, Envelope&, remote_call::Detach,
                       Inputs&) {
  holders_.at(key.first).detached = true;
  settle(context, key, remote_outcome::Taken{});
}

void RemoteHandles::give_up(const CallKey& call, bool forget, Inputs& inputs) {
  if (const auto found = unacknowledged_.find(call); found != unacknowledged_.end()) {
    Unacknowledged reply = std::move(found->second);
    unacknowledged_.erase(found);
    if (!forget || !reply.forget) put_back(std::move(reply), inputs);
    return;
  }
  if (const auto taken = accepted_.extract(call)) {
    if (forget) withdraw(call.second, taken.mapped(), inputs);
    return;
  }
  const auto found = waiters_.find(call);
  if (found == waiters_.end()) return;  // answered with an error meanwhile
  const WaiterId waiter = found->second;
  const auto request = waiting_.at(waiter).forget;
  waiting_.erase(waiter);
  waiters_.erase(found);
  if (!over_) inputs.push_back(input::ReceiveAbandoned{waiter, forget ? request : std::nullopt});
}

/// Taken, and its caller will never know.
void RemoteHandles::withdraw(const MessageId& request, WaiterId taken_for, Inputs& inputs) {
  if (over_) {
    forgotten(request, taken_for);
    return cell_->forget(request, taken_for);
  }
  inputs.push_back(input::ReceiveAbandoned{taken_for, request});
}

void RemoteHandles::forgotten(const MessageId& request, WaiterId taken_for) {
  for (auto& [call, reply] : unacknowledged_) {
    const HandedOut& of = reply.handed_out;
    if (of.request == request && of.taken_for == taken_for) reply.forgotten = true;
  }
}

void RemoteHandles::put_back(Unacknowledged reply, Inputs& inputs) {
  if (reply.forgotten) return cell_->count_dropped_answer();
  if (!over_) {
    inputs.push_back(input::OfferRefused{reply.handed_out, std::move(reply.reply)});
    return;
  }
  cell_->put_back(reply.handed_out, std::move(reply.reply));
}

// --- outcomes ---

bool RemoteHandles::complete(Context& context, const effect::Complete& complete) {
  const auto found = waiting_.find(complete.waiter);
  if (found == waiting_.end()) return false;
  const Waiting waiting = std::move(found->second);
  waiting_.erase(found);
  waiters_.erase(waiting.call);
  const Outcome& outcome = complete.outcome;
  if (complete.reply) {
    unacknowledged_.emplace(waiting.call, Unacknowledged{*complete.reply, waiting.forget, outcome});
  } else if (outcome && std::holds_alternative<question::Send>(waiting.question)) {
    accepted_.emplace(waiting.call, complete.waiter);
  }
  tell(context, waiting.call, outcome, complete.reply.has_value());
  return true;
}

void RemoteHandles::tell(Context& context, const CallKey& call, const Outcome& outcome,
                         bool is_reply) {
  if (!outcome) {
    settle(context, call, remote_outcome::Failed{outcome.error(), is_reply});
  } else if (is_reply) {
    settle(context, call, remote_outcome::Reply{}, *outcome);
  } else {
    settle(context, call, remote_outcome::Taken{});
  }
}

void RemoteHandles::over(Context& context) {
  over_ = true;
  if (!holders_.empty()) be_patient(context);
  waiters_.clear();
  for (const auto& [waiter, waiting] : std::exchange(waiting_, {})) {
    answer_from_archive(context, waiting);
  }
}

void RemoteHandles::be_patient(Context& context) {
  if (patience_timer_) context.cancel_timer(*patience_timer_);
  patience_timer_ = context.start_timer(config_->policy_timeout);
  out_of_patience_ = false;
}

void RemoteHandles::answer_from_archive(Context& context, const Waiting& waiting) {
  std::optional<Outcome> outcome;
  Waiter waiter{[&](Outcome answer) { outcome = std::move(answer); }};
  const auto kept = cell_->answer(waiting.question, waiter);
  if (kept) {
    be_patient(context);
    unacknowledged_.emplace(waiting.call, Unacknowledged{*kept, std::nullopt, *outcome});
  }
  tell(context, waiting.call, *outcome, kept.has_value());
}

Envelope RemoteHandles::outcome_of(Context& context, const MessageId& call,
                                   const RemoteOutcome& outcome, Payload payload) const {
  Envelope envelope{.kind = EnvelopeKind::kOutcome,
                    .id = context.new_message_id(),
                    .conversation = id_,
                    .parent = call,
                    .payload = std::move(payload)};
  put(envelope, outcome);
  return envelope;
}

void RemoteHandles::settle(Context& context, const CallKey& call, RemoteOutcome outcome,
                           Payload payload) {
  const auto found = holders_.find(call.first);
  if (found == holders_.end()) {  // whoever it is
    context.send(call.first, outcome_of(context, call.second, outcome, std::move(payload)));
    return;
  }
  Holder& holder = found->second;
  const auto add_state = [&](bool& has_state) {
    auto state = state_for(context, holder);
    has_state = state.has_value();
    if (state) payload = *std::move(state);
  };
  if (auto* taken = std::get_if<remote_outcome::Taken>(&outcome)) add_state(taken->has_state);
  if (auto* failed = std::get_if<remote_outcome::Failed>(&outcome)) add_state(failed->has_state);
  send(context, call.first, holder, outcome_of(context, call.second, outcome, std::move(payload)));
}

void RemoteHandles::send(Context& context, const Pid& to, Holder& holder, Envelope envelope) {
  if (holder.untaken.empty()) {
    context.send(to, std::move(envelope));
  } else {
    holder.untaken.push_back(std::move(envelope));
    ++untaken_;
  }
}

void RemoteHandles::tell_state(Context& context) {
  for (auto& [to, holder] : holders_) tell_state(context, to, holder);
}

/// Nothing if it was told the newest.
std::optional<Payload> RemoteHandles::state_for(Context& context, Holder& holder) const {
  const std::uint64_t version = cell_->version();
  if (holder.told == version) return std::nullopt;
  auto bytes = encode_state({cell_->snapshot(), config_->on_crash, cell_->actor()}, context.now());
  if (!bytes) return std::nullopt;
  holder.told = version;
  return Payload{*std::move(bytes)};
}

void RemoteHandles::tell_state(Context& context, const Pid& to, Holder& holder) {
  if (!holder.watch || holder.told == cell_->version()) return;
  const MessageId call = *std::exchange(holder.watch, std::nullopt);
  if (auto state = state_for(context, holder)) {
    send(context, to, holder,
         outcome_of(context, call, remote_outcome::State{}, *std::move(state)));
    return;
  }
  holder.told = cell_->version();
  send(context, to, holder,
       outcome_of(context, call,
                  failed(Errc::kRejected, "conversation " + to_string(id_) +
                                              " has too many participants for handles elsewhere"),
                  {}));
}

// --- what is not taken ---

/// A holder's mailbox has room for what it asked for: it was this node's way to it that had none.
bool RemoteHandles::on_refused(Context& context, message::Refused& refused) {
  const auto found = holders_.find(refused.by);
  if (found == holders_.end()) return false;
  if (!refused.returned) return true;  // made up
  Holder& holder = found->second;
  Envelope envelope = *std::move(refused.returned);
  if (refused.kind == signal::RefusalKind::kRejected) {
    // its dead letter was noted down by whoever refused it
    if (unacknowledged_.erase({refused.by, *envelope.parent}) > 0) {
      cell_->count_dropped_answer();
      envelope = outcome_of(context, *envelope.parent,
                            failed(Errc::kRejected, "its reply: " + refused.text), {});
    }
  }
  // before those that waited behind it
  const auto behind = holder.untaken.begin() + static_cast<std::ptrdiff_t>(holder.refused++);
  holder.untaken.insert(behind, std::move(envelope));
  ++untaken_;
  if (!repeat_timer_) repeat_timer_ = context.start_timer(repeat_after_.next());
  return true;
}

bool RemoteHandles::on_timer(Context& context, TimerId timer) {
  if (timer == patience_timer_) {
    patience_timer_.reset();
    out_of_patience_ = true;
    for (std::size_t i = 0; i < unacknowledged_.size(); ++i) cell_->count_dropped_answer();
    unacknowledged_.clear();
    return true;
  }
  if (timer != repeat_timer_) return false;
  repeat_timer_.reset();
  bool all_sent = true;
  for (auto& [to, holder] : holders_) {
    all_sent = all_sent && holder.untaken.empty();
    untaken_ -= holder.untaken.size();
    holder.refused = 0;
    for (Envelope& envelope : std::exchange(holder.untaken, {})) {
      context.send(to, std::move(envelope));
    }
  }
  if (all_sent) {
    repeat_after_.reset();
  } else {
    repeat_timer_ = context.start_timer(repeat_after_.next());
  }
  return true;
}

// --- the end of a holder ---

void RemoteHandles::on_down(const message::Down& down, Inputs& inputs) {
  if (const auto monitor = monitors_.find(down.monitor); monitor != monitors_.end()) {
    forget(Pid{monitor->second}, inputs);
  }
}

/// More than an honest one can have asked for.
bool RemoteHandles::takes_no_outcomes(const Pid& holder) const {
  const auto found = holders_.find(holder);
  return found != holders_.end() &&
         found->second.untaken.size() > std::max(2 * config_->waiters_max, kUntakenAlwaysAllowed);
}

void RemoteHandles::let_go(Context& context, const Pid& holder, Inputs& inputs) {
  cell_->count_ignored_call();
  context.demonitor(holders_.at(holder).monitor);
  context.exit(holder, ExitReason::error("it took too few of its outcomes"));
  forget(holder, inputs);
}

void RemoteHandles::forget(const Pid& holder, Inputs& inputs) {
  const auto found = holders_.find(holder);
  untaken_ -= found->second.untaken.size();
  monitors_.erase(found->second.monitor);
  holders_.erase(found);

  std::vector<CallKey> waiting;
  for (const auto& [call, waiter] : waiters_) {
    if (call.first == holder) waiting.push_back(call);
  }
  for (const auto& [call, waiter] : accepted_) {
    if (call.first == holder) waiting.push_back(call);
  }
  for (const CallKey& call : waiting) give_up(call, true, inputs);
  const std::size_t lost = std::erase_if(
      unacknowledged_, [&](const auto& entry) { return entry.first.first == holder; });
  for (std::size_t i = 0; i < lost; ++i) cell_->count_dropped_answer();
}

}  // namespace liminal
