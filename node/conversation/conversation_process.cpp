#include "node/conversation/conversation_process.hpp"

#include <utility>

#include "common/base/fault_point.hpp"
#include "common/base/text.hpp"

namespace liminal {
namespace {

// The exits of one node's death come one right after the other: one that is still missing then is
// not of that death.
constexpr Duration kExitsHeldMax = std::chrono::milliseconds{50};

}  // namespace

ConversationProcess::ConversationProcess(std::shared_ptr<ConversationRecord> record,
                                         const Directory& directory, TimelineSink timeline,
                                         std::function<void()> ended,
                                         PlacementSearches::MakeHere make_here)
    : record_(std::move(record)),
      id_(record_->state.id),
      config_(record_->state.config),
      cell_(record_->cell),
      timeline_(std::move(timeline)),
      ended_(std::move(ended)),
      intensity_(config_->actor_restarts_max, config_->actor_restart_period),
      here_(config_),
      elsewhere_(config_, cell_, id_),
      searches_(id_, config_, directory, linked_, std::move(make_here)) {}

ConversationProcess::~ConversationProcess() {
  cell_->lost();
  if (ended_) ended_();
}

void ConversationProcess::on_start(Context& context) {
  context.trap_exits(true);
  tell_opened(context);
  if (config_->timeout) {
    record_->state.ends_at = context.now() + *config_->timeout;
    timers_.emplace(context.start_timer(*config_->timeout),
                    input::TimerFired{ConversationTimer::kTimeout, 0});
  }
  start_actor(context);
}

void ConversationProcess::tell_opened(Context& context) {
  if (!timeline_) return;
  std::string text{name_of(config_->on_crash)};
  for (const ParticipantConfig& participant : config_->participants) {
    const auto* owned = std::get_if<OwnedInstance>(&participant.who);
    text += ", " + participant.role;
    if (owned == nullptr) {
      text += " attached";
    } else if (owned->service.value() != participant.role) {
      text += " of " + owned->service.value();
    }
  }
  effect::Note opened{{.conversation = id_, .event = TimelineEvent::kOpened, .text = text}};
  carry_out(context, opened);
}

void ConversationProcess::handle(Context& context, Message message) {
  if (over_) return after_the_end(context, std::move(message));
  std::visit([&](auto& m) { on_message(context, std::move(m)); }, message);
  pump(context);
  cell_->tell_exits();
  elsewhere_.tell_state(context);
  if (over_) return end_if_not_needed(context);
  watch_over_handles(context);
  watch_over_held_exits(context);
}

// --- handles elsewhere ---

void ConversationProcess::hear(RemoteHandles::Inputs inputs) {
  for (Input& input : inputs) {
    if (is_settled_unseen(input)) continue;
    inbox_.push_from_elsewhere(std::move(input));
  }
}

/// What a call that waits in the inbox settles needs no decision.
bool ConversationProcess::is_settled_unseen(const Input& input) {
  if (const auto* abandoned = std::get_if<input::ReceiveAbandoned>(&input)) {
    forget_on_its_way(input);
    return inbox_.drop_call(abandoned->waiter, with_actor_);
  }
  return std::holds_alternative<input::CancelRequested>(input) && inbox_.has_cancel();
}

/// A reply that is on its way to a holder when its request is given up is in no record. Once when
/// that is heard, and once when it is decided: it may have been handed out in between.
void ConversationProcess::forget_on_its_way(const Input& input) {
  const auto* abandoned = std::get_if<input::ReceiveAbandoned>(&input);
  if (abandoned == nullptr || !abandoned->forget) return;
  elsewhere_.forgotten(*abandoned->forget, abandoned->waiter);
}

/// Orphaned is who has no handle here and none elsewhere.
void ConversationProcess::watch_over_handles(Context& context) {
  const bool held = here_.held() || elsewhere_.held();
  if (held && orphan_timer_) context.cancel_timer(*std::exchange(orphan_timer_, std::nullopt));
  if (!held && !orphan_timer_ && !orphaned_) {
    orphan_timer_ = context.start_timer(config_->orphan_timeout);
  }
}

/// Nothing is decided any more: only handles elsewhere can still want something.
void ConversationProcess::after_the_end(Context& context, Message message) {
  RemoteHandles::Inputs none;
  if (auto* received = std::get_if<message::Received>(&message)) {
    if (received->envelope.kind == EnvelopeKind::kCall) {
      elsewhere_.on_call(context, received->from, std::move(received->envelope), {}, none);
    } else {
      context.dead_letter(DeadLetterCause::kLateReply, received->from, context.self(),
                          received->envelope);
    }
  } else if (const auto* down = std::get_if<message::Down>(&message)) {
    elsewhere_.on_down(*down, none);
  } else if (auto* refused = std::get_if<message::Refused>(&message)) {
    static_cast<void>(elsewhere_.on_refused(context, *refused));
  } else if (const auto* fired = std::get_if<message::TimerFired>(&message)) {
    static_cast<void>(elsewhere_.on_timer(context, fired->timer));
  } else if (const auto* exited = std::get_if<message::Exited>(&message)) {
    const bool from_own_node = exited->from.is_local() && exited->from.serial == Serial{0};
    if (from_own_node) return context.exit(ExitReason::normal());  // told from outside to end
  } else if (const auto* local = std::get_if<LocalMessagePtr>(&message)) {
    // handles of this node are answered as their tickets go
    const auto* call = dynamic_cast<const CallMessage*>(local->get());
    if (call != nullptr && std::holds_alternative<call::Shutdown>(call->call)) {
      return context.exit(ExitReason::normal());
    }
    if (call != nullptr && std::holds_alternative<call::Abandon>(call->call)) {
      const auto& forget = std::get<call::Abandon>(call->call).forget;
      // before it is asked whether it is needed
      if (forget) {
        elsewhere_.forgotten(forget->request(), forget->waiter());
        cell_->forget(forget->request(), forget->waiter());
      }
    }
  }
  end_if_not_needed(context);
}

void ConversationProcess::end_if_not_needed(Context& context) {
  if (elsewhere_.needed()) return;
  if (ended_) std::exchange(ended_, nullptr)();
  context.exit(ExitReason::normal());
}

// --- what arrives ---

void ConversationProcess::on_message(Context& context, message::Received received) {
  if (received.envelope.kind == EnvelopeKind::kCall) {
    RemoteHandles::Inputs inputs;
    elsewhere_.on_call(context, received.from, std::move(received.envelope),
                       {.other_waiters = here_.waiting(), .undecided = inbox_.from_elsewhere()},
                       inputs);
    return hear(std::move(inputs));
  }
  const std::size_t answers = inbox_.answers_of(received.from);
  const bool too_many =
      answers >= kLateAnswersMax && answers - kLateAnswersMax >= config_->requests_max;
  if (!linked_.contains(received.from) || too_many) {
    cell_->count_dropped_answer();
    context.dead_letter(DeadLetterCause::kLateReply, received.from, context.self(),
                        received.envelope);
    return;
  }
  enqueue(input::Answered{std::move(received.from), std::move(received.envelope)});
}

void ConversationProcess::on_message(Context& context, message::Exited exited) {
  if (actor_ == exited.from) {
    on_actor_exit(context, exited.reason);
    return;
  }
  const bool from_own_node = exited.from.is_local() && exited.from.serial == Serial{0};
  if (from_own_node && exited.reason.kind != ExitKind::kNormal) {
    enqueue(input::CloseRequested{});  // told from outside to end
    return;
  }
  gone(context, std::move(exited.from), std::move(exited.reason));
}

/// A process that lives can send an exit signal too: who says that it has exited is taken at its
/// word, and sees to it that it has.
void ConversationProcess::gone(Context& context, Pid participant, ExitReason reason) {
  if (!linked_.contains(participant)) {
    cell_->count_ignored_exit();
    return;
  }
  context.unlink(participant);
  if (linked_.instances().contains(participant)) context.exit(participant, ExitReason::kill());
  enqueue(linked_.exited(std::move(participant), std::move(reason)));
}

void ConversationProcess::enqueue(std::vector<LinkedParticipants::Exits> fallen) {
  for (auto& exits : fallen) enqueue(input::ParticipantsExited{std::move(exits)});
}

void ConversationProcess::watch_over_held_exits(Context& context) {
  if (linked_.holds_exits()) {
    if (!held_exits_timer_) held_exits_timer_ = context.start_timer(kExitsHeldMax);
  } else if (held_exits_timer_) {
    context.cancel_timer(*std::exchange(held_exits_timer_, std::nullopt));
  }
}

void ConversationProcess::on_message(Context&, message::Down down) {
  RemoteHandles::Inputs inputs;
  elsewhere_.on_down(down, inputs);
  hear(std::move(inputs));
}

void ConversationProcess::on_message(Context& context, message::Refused refused) {
  if (elsewhere_.on_refused(context, refused)) return;
  enqueue(input::Refused{std::move(refused.by), refused.message, refused.kind,
                         std::move(refused.text)});
}

void ConversationProcess::on_message(Context& context, message::TimerFired fired) {
  if (fired.timer == end_timer_) {
    end_timer_.reset();
    enqueue(input::EndTimerFired{});
    return;
  }
  if (fired.timer == orphan_timer_) {
    orphan_timer_.reset();
    orphaned_ = true;
    enqueue(input::Abandoned{"no handle was left"});
    return;
  }
  if (fired.timer == held_exits_timer_) {
    held_exits_timer_.reset();
    return enqueue(linked_.release());
  }
  if (auto due = timers_.extract(fired.timer)) return enqueue(std::move(due.mapped()));
  if (elsewhere_.on_timer(context, fired.timer)) return;
  hear(searches_.on_timer(context, fired.timer));
}

void ConversationProcess::on_message(Context& context, message::Spawned spawned) {
  hear(searches_.on_spawned(context, std::move(spawned)));
}

void ConversationProcess::on_message(Context& context, LocalMessagePtr local) {
  if (auto* answer = dynamic_cast<DecidedMessage*>(local.get())) {
    if (!with_actor_ || answer->number != order_) return;  // of an actor that is gone
    decided(context);
  } else if (auto* message = dynamic_cast<CallMessage*>(local.get())) {
    if (std::holds_alternative<call::Retell>(message->call)) return retell(context);
    auto input = here_.on_call(std::move(message->call), elsewhere_.waiting());
    if (input && !is_settled_unseen(*input)) enqueue(std::move(*input));
  }
}

/// As of the last decision: what is being decided now is told when it is.
void ConversationProcess::retell(Context& context) {
  if (!timeline_) return;
  tell_opened(context);
  effect::Note phase{{.conversation = id_, .event = TimelineEvent::kPhase, .text = told_phase_}};
  carry_out(context, phase);
}

// --- deciding ---

void ConversationProcess::enqueue(Input input) { inbox_.push(std::move(input)); }

void ConversationProcess::hear(PlacementSearches::Report report) {
  if (report) inbox_.push(std::move(*report));
}

/// One input at a time: what its effects feed back (a reply whose caller is gone) must be decided
/// before the next, or a receive in between would miss it.
void ConversationProcess::pump(Context& context) {
  while (!over_ && !inbox_.empty() && !with_actor_) {
    if (actor_) {
      with_actor_ = true;
      context.send_local(*actor_, std::make_unique<DecideMessage>(++order_, inbox_.front()));
      return;
    }
    decide_alone(context);
  }
}

/// The first of the inbox was decided: the record has the effects.
void ConversationProcess::decided(Context& context) {
  with_actor_ = false;
  forget_on_its_way(*inbox_.front());
  inbox_.pop();
  elsewhere_.tell_state(context);  // whoever is told of a crash finds it
  carry_out_all(context, std::exchange(record_->effects, {}));
}

void ConversationProcess::carry_out_all(Context& context, std::vector<Effect> effects) {
  for (Effect& effect : effects) {
    fault_point(FaultPoint::kConversationSending);
    std::visit([&](auto& e) { carry_out(context, e); }, effect);
  }
  inbox_.push_front(std::exchange(feedback_, {}));
  if (!over_) return;
  // nothing of this is decided any more: who still waits is answered by the cell
  inbox_.clear();
  here_.over();
}

// --- the actor ---

void ConversationProcess::start_actor(Context& context) {
  actor_ = context.spawn_link(std::make_unique<ActorProcess>(record_, context.self()));
  cell_->publish_actor(actor_);
}

/// An input that the actor had not decided is still first in the inbox, and decided again.
void ConversationProcess::on_actor_exit(Context& context, const ExitReason& reason) {
  actor_.reset();
  record_->draft.reset();                           // it may be one decision behind
  if (with_actor_ && record_->decided == order_) {  // decided, and died before it said so
    cell_->publish(snapshot_of(record_->state));
    decided(context);
    if (over_) return;
  }
  with_actor_ = false;
  if (intensity_.allows_restart(context.now())) {
    cell_->count_actor_restart();
    start_actor(context);
    return;
  }
  cell_->publish_actor(std::nullopt);
  too_many_crashes_ = too_many_crashes(*config_, reason);
  inbox_.push_urgent(input::ActorCrashed{reason});
}

/// What cannot be decided here either is given up; its caller is answered at the end. Once the
/// participants are ending, a timer sees to it that the end comes; before, it must come now.
void ConversationProcess::decide_alone(Context& context) {
  if (decide_without_actor(*record_, ++order_, *inbox_.front(), context.now())) {
    decided(context);
    return;
  }
  cell_->count_undecided();
  inbox_.pop();
  if (end_timer_) return;
  Step ended = end_by_force(std::move(record_->state), *too_many_crashes_);
  record_->state = std::move(ended.next);
  cell_->publish(snapshot_of(record_->state));
  carry_out_all(context, std::move(ended.effects));
}

// --- effects ---

void ConversationProcess::carry_out(Context& context, effect::Place& place) {
  hear(searches_.begin(context, std::move(place)));
}

void ConversationProcess::carry_out(Context& context, effect::AbandonPlacement& abandon) {
  hear(searches_.abandon(context, abandon.role));
}

void ConversationProcess::carry_out(Context& context, effect::Link& link) {
  linked_.attach(link.pid);
  context.link(link.pid);
}

void ConversationProcess::carry_out(Context& context, effect::Unlink& unlink) {
  enqueue(linked_.detach(unlink.pid));
  context.unlink(unlink.pid);
}

void ConversationProcess::carry_out(Context& context, effect::Forward& forward) {
  context.send(forward.to, std::move(forward.request));
}

void ConversationProcess::carry_out(Context& context, effect::Cancel& cancel) {
  context.cancel(cancel.to, cancel.message);
}

void ConversationProcess::carry_out(Context& context, effect::StartTimer& start) {
  timers_.emplace(context.start_timer(start.after), input::TimerFired{start.which, start.number});
}

void ConversationProcess::carry_out(Context& context, effect::Note& note) {
  if (!timeline_) return;
  note.record.at = context.now().time_since_epoch();
  if (note.record.event == TimelineEvent::kPhase) {
    told_phase_ = note.record.text.substr(0, note.record.text.find_first_of(":;"));
  }
  timeline_(std::move(note.record));
}

void ConversationProcess::carry_out(Context& context, effect::Complete& complete) {
  const auto taken_here = here_.complete(complete.waiter, complete.outcome);
  const bool taken = taken_here ? *taken_here : elsewhere_.complete(context, complete);
  if (!taken && complete.reply) {
    feedback_.push_back(input::OfferRefused{*complete.reply, std::move(complete.outcome)});
  }
}

void ConversationProcess::carry_out(Context& context, effect::End& end) {
  context.exit(end.pid, std::move(end.reason));
}

void ConversationProcess::carry_out(Context& context, effect::StartEndTimer& start) {
  if (end_timer_) return;
  end_timer_ = context.start_timer(start.after);
}

void ConversationProcess::carry_out(Context& context, effect::StartRepeatTimer& start) {
  timers_.emplace(context.start_timer(start.after), input::RepeatTimerFired{start.role});
}

void ConversationProcess::carry_out(Context& context, effect::Withdraw& withdraw) {
  context.withdraw(withdraw.to, withdraw.message);
}

void ConversationProcess::carry_out(Context& context, effect::GiveUp& give_up) {
  const bool is_ours = give_up.envelope.kind == EnvelopeKind::kRequest;
  context.dead_letter(give_up.cause, is_ours ? context.self() : give_up.peer,
                      is_ours ? give_up.peer : context.self(), give_up.envelope);
}

/// Those that their callers did not get and that are not back in the record, in their order.
void ConversationProcess::put_back_replies() {
  inbox_.push_front(std::exchange(feedback_, {}));
  auto replies = inbox_.returned_replies();
  for (auto it = replies.rbegin(); it != replies.rend(); ++it) {
    cell_->put_back(it->reply, std::move(it->outcome));
  }
}

void ConversationProcess::carry_out(Context& context, effect::Finish& finish) {
  over_ = true;
  cell_->archive(std::move(finish));
  for (const auto& [request, waiter] : inbox_.forgotten()) cell_->forget(request, waiter);
  put_back_replies();
  cell_->tell_exits();  // before who closed it is told
  for (const Pid& pid : linked_.instances()) context.exit(pid, ExitReason::kill());
  for (const Pid& pid : linked_.attached()) context.unlink(pid);
  searches_.end_all(context);
  if (actor_) {
    context.unlink(*actor_);
    context.exit(*actor_, ExitReason::shutdown());
  }
  // who closed it finds it gone; where others may fetch replies it stays until they did
  elsewhere_.over(context);
  elsewhere_.tell_state(context);
  if (!elsewhere_.needed()) std::exchange(ended_, nullptr)();
}

}  // namespace liminal
