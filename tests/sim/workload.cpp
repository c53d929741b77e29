#include "tests/sim/workload.hpp"

#include <charconv>
#include <deque>
#include <utility>

#include "common/base/text.hpp"
#include "tests/sim/workload_ties.hpp"

namespace liminal::sim {
namespace {

constexpr std::uint64_t kWindow = 3;
constexpr std::size_t kIdLength = 32;  // hex digits
// Long enough for a chunked transfer; now and then, for copying them takes most of a run's time.
constexpr std::size_t kLargeBytes = 150'000;
constexpr std::uint64_t kLargeOneIn = 41;
constexpr Duration kThinkMax = std::chrono::milliseconds{300};
constexpr Duration kPairThinkMax = std::chrono::seconds{1};  // so that pairs live through faults

/// The number and whose it is.
Payload number_payload(const ConversationId& conversation, std::uint64_t number) {
  std::string text = std::to_string(number) + ' ' + to_string(conversation);
  if (number % kLargeOneIn == 3) text.resize(kLargeBytes, ' ');
  return Payload{std::move(text)};
}

bool is_of(const ConversationId& conversation, const Payload& payload) {
  const auto text = payload.view();
  const auto id = text.find(' ');
  return id != text.npos && text.substr(id + 1, kIdLength) == to_string(conversation);
}

std::uint64_t number_of(const Payload& payload) {
  std::uint64_t number = 0;
  const auto text = payload.view();
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// Between an answer and the next request, so that faults meet work that is under way.
Duration think(Context& context, Duration most = kThinkMax) {
  return Duration{
      static_cast<Duration::rep>(context.random().below(static_cast<std::uint64_t>(most.count())))};
}

Envelope reply_to(Context& context, const Envelope& request, Payload payload) {
  return {.kind = EnvelopeKind::kReply,
          .id = context.new_message_id(),
          .conversation = request.conversation,
          .parent = request.id,
          .attempt = request.attempt,
          .payload = std::move(payload)};
}

// Its mailbox may fill meanwhile. The timer's firing ends it.
void be_busy_at_times(Context& context) {
  if (context.random().below(8) != 0) return;
  context.take_envelopes(false);
  (void)context.start_timer(think(context));
}

/// Echoes numbers, which must come as 1, 2, 3, ...
class Counter final : public Instance {
 public:
  Counter(std::shared_ptr<int> live, std::shared_ptr<Violations> violations)
      : Instance(std::move(live)), violations_(std::move(violations)) {}

  void handle(Context& context, Message message) override {
    if (std::holds_alternative<message::TimerFired>(message)) context.take_envelopes(true);
    auto* received = std::get_if<message::Received>(&message);
    if (received == nullptr) return;
    be_busy_at_times(context);
    const std::uint64_t number = number_of(received->envelope.payload);
    if (!is_of(received->envelope.conversation, received->envelope.payload)) {
      violations_->add("a counter got a number of another pair than " +
                       to_string(received->envelope.conversation));
    }
    if (number != ++last_) {
      violations_->add("a counter of pair " + to_string(received->envelope.conversation) + " got " +
                       std::to_string(number) + " instead of " + std::to_string(last_));
    }
    context.send(received->from, reply_to(context, received->envelope, received->envelope.payload));
  }

 private:
  std::shared_ptr<Violations> violations_;
  std::uint64_t last_ = 0;
};

class Echo final : public Instance {
 public:
  Echo(std::shared_ptr<int> live, int crash_at) : Instance(std::move(live)), crash_at_(crash_at) {}

  void handle(Context& context, Message message) override {
    if (std::holds_alternative<message::TimerFired>(message)) context.take_envelopes(true);
    auto* received = std::get_if<message::Received>(&message);
    if (received == nullptr) return;
    be_busy_at_times(context);
    if (++requests_ == crash_at_) throw std::runtime_error("fragile");
    context.send(received->from, reply_to(context, received->envelope, received->envelope.payload));
  }

 private:
  int crash_at_;
  int requests_ = 0;
};

class PairProcess final : public Process {
 public:
  PairProcess(std::shared_ptr<PairRecord> record, Reporter reporter, Pid node)
      : record_(std::move(record)), reporter_(std::move(reporter)), node_(std::move(node)) {}

  void on_start(Context& context) override {
    context.trap_exits(true);
    record_->self = context.self();
    spawn_ = context.spawn_service(node_, ServiceName{"counter"}, record_->id);
    note("asks " + to_string(node_));
  }

  void handle(Context& context, Message message) override {
    std::visit([&](auto& m) { on(context, m); }, message);
    if (record_->not_spawned) over(context);
    if (record_->exit_reason && record_->down_reason && !linger_) {
      linger_ = context.start_timer(kLinger);
    }
  }

 private:
  void accuse(const std::string& what) { reporter_.violations->add(record_->name() + ": " + what); }
  void note(const std::string& what) {
    if (reporter_.trace) reporter_.trace(record_->name() + " " + what);
  }

  void over(Context& context) {
    record_->over = true;
    context.exit(ExitReason::normal());
  }

  void on(Context& context, message::Spawned& spawned) {
    if (spawned.spawn != spawn_ || record_->instance) accuse("spawned twice");
    if (!spawned.instance) {
      record_->not_spawned = true;
      note("has no instance: " + spawned.instance.error().detail);
      return;
    }
    record_->instance = *spawned.instance;
    note("has its instance");
    monitor_ = context.monitor(*record_->instance);
    for (std::uint64_t i = 0; i < kWindow; ++i) send_next(context);
  }

  void send_next(Context& context) {
    if (*reporter_.ends && record_->total > record_->sent) {
      record_->total = record_->sent;
      end_if_all_echoed(context);
    }
    if (record_->sent == record_->total) return;
    ++record_->sent;
    transmit(context, context.new_message_id(), record_->sent);
  }

  void on(Context& context, message::Received& received) {
    if (record_->exit_reason) accuse("a reply after the exit of who sent it");
    const std::uint64_t number = number_of(received.envelope.payload);
    if (received.from != *record_->instance) accuse("a reply from " + to_string(received.from));
    in_flight_.erase(*received.envelope.parent);
    if (number != ++record_->echoed) {
      accuse("an echo of " + std::to_string(number) + " instead of " +
             std::to_string(record_->echoed));
    }
    if (received.envelope.payload.size() != number_payload(record_->id, number).size()) {
      accuse("an echo of another size");
    }
    if (!is_of(record_->id, received.envelope.payload)) accuse("an echo to another pair");
    end_if_all_echoed(context);
    if (record_->sent < record_->total) {
      (void)context.start_timer(think(context, kPairThinkMax));
    }
  }

  void end_if_all_echoed(Context& context) {
    if (record_->echoed != record_->total) return;
    note("ends its instance");
    context.exit(*record_->instance, ExitReason::shutdown());
  }

  void on(Context&, message::Exited& exited) {
    note("told of an exit: " + to_string(exited.reason));
    if (record_->exit_reason) accuse("two exit signals of one link");
    if (!record_->instance || exited.from != *record_->instance) accuse("an exit of somebody else");
    record_->exit_reason = exited.reason;
    record_->told.push_back(exited.reason);
  }
  void on(Context&, message::Down& down) {
    note("told that it is down: " + to_string(down.reason));
    if (record_->down_reason) accuse("two DOWNs of one monitor");
    if (down.monitor != *monitor_) accuse("a DOWN of another monitor");
    record_->down_reason = down.reason;
    record_->told.push_back(down.reason);
  }
  void on(Context& context, message::TimerFired& fired) {
    if (fired.timer == linger_) return over(context);
    if (fired.timer != again_) return send_next(context);
    again_.reset();
    for (const auto& [id, number] : std::exchange(deferred_, {})) transmit(context, id, number);
  }
  void on(Context& context, message::Refused& refused) {
    if (refused.by != record_->instance) return;  // it sends to nobody else
    if (refused.kind != signal::RefusalKind::kDeferred) accuse("rejected");
    deferred_.emplace_back(refused.message, in_flight_.at(refused.message));
    ++record_->deferred;
    if (!again_) again_ = context.start_timer(std::chrono::milliseconds{5});
  }
  void on(Context&, message::Cancelled&) {}  // it works for nobody
  void on(Context&, LocalMessagePtr&) {}

  void transmit(Context& context, const MessageId& id, std::uint64_t number) {
    in_flight_.insert_or_assign(id, number);
    context.send(*record_->instance, {.kind = EnvelopeKind::kRequest,
                                      .id = id,
                                      .conversation = record_->id,
                                      .wants_reply = true,
                                      .payload = number_payload(record_->id, number)});
  }

  std::shared_ptr<PairRecord> record_;
  Reporter reporter_;
  Pid node_;
  std::optional<SpawnId> spawn_;
  std::optional<MonitorId> monitor_;
  std::map<MessageId, std::uint64_t> in_flight_;
  std::vector<std::pair<MessageId, std::uint64_t>> deferred_;  // in order
  std::optional<TimerId> again_, linger_;
};

class TalkProcess final : public Process {
 public:
  TalkProcess(std::shared_ptr<TalkRecord> record, std::shared_ptr<Violations> violations,
              ConversationSupervisor& supervisor, ServiceName service, int requests,
              Duration timeout)
      : record_(std::move(record)),
        violations_(std::move(violations)),
        supervisor_(supervisor),
        service_(std::move(service)),
        requests_(requests),
        timeout_(timeout) {}

  void on_start(Context& context) override {
    auto actor = supervisor_.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(service_)}});
    if (!actor) {
      record_->not_opened = actor.error();
      context.exit(ExitReason::normal());
      return;
    }
    handle_ = actor->handle();
    record_->id = handle_->id();
    record_->open = handle_;
    const auto counted = actor->notify_on_participant_exit(
        service_.value(), [record = record_](const ParticipantExit&) { ++record->exits_told; });
    if (!counted) violations_->add("an exit notifier was refused: " + counted.error().detail);
    for (std::uint64_t i = 0; i < kWindow; ++i) ask_next(context);
  }

  void handle(Context& context, Message message) override {
    if (auto* fired = std::get_if<message::TimerFired>(&message)) {
      on_timeout(context, fired->timer);
    } else if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
      if (auto* outcome = dynamic_cast<ConversationOutcome*>(local->get())) {
        on_outcome(context, *outcome);
      }
    }
  }

 private:
  static constexpr std::uint64_t kCloseTag = 0;

  struct Open {
    ConversationHandle::Pending pending;
    TimerId timer;
  };

  void ask_next(Context& context) {
    if (record_->requests == requests_) return;
    const auto tag = static_cast<std::uint64_t>(++record_->requests);
    auto pending = handle_->start_ask(number_payload(*record_->id, tag), {},
                                      handle_->tell(context.self(), tag));
    open_.emplace(tag, Open{std::move(pending), context.start_timer(timeout_)});
  }

  void on_timeout(Context& context, TimerId timer) {
    if (thinking_.erase(timer) > 0) {
      ask_next(context);
      return;
    }
    for (auto& [tag, open] : open_) {
      if (open.timer != timer) continue;
      if (!open.pending.cancel()) return;  // its outcome is on the way to us
      finish(context, tag, tl::unexpected<Error>(Error{Errc::kConversationTimeout, ""}));
      return;
    }
  }

  void on_outcome(Context& context, ConversationOutcome& outcome) {
    if (outcome.tag == kCloseTag) {
      record_->closed = true;
      record_->end = handle_->query_state();
      handle_.reset();
      record_->open.reset();
      context.exit(ExitReason::normal());
      return;
    }
    if (!open_.contains(outcome.tag)) {
      violations_->add("conversation " + to_string(*record_->id) + ": two outcomes of one request");
      return;
    }
    if (outcome.outcome &&
        (number_of(*outcome.outcome) != outcome.tag || !is_of(*record_->id, *outcome.outcome))) {
      violations_->add("conversation " + to_string(*record_->id) + ": request " +
                       std::to_string(outcome.tag) + " got the reply to " +
                       std::string{outcome.outcome->view().substr(0, kIdLength + 8)});
    }
    finish(context, outcome.tag, outcome.outcome);
  }

  void finish(Context& context, std::uint64_t tag, const Outcome& outcome) {
    const auto found = open_.find(tag);
    context.cancel_timer(found->second.timer);
    open_.erase(found);
    ++record_->outcomes;
    if (outcome) {
      ++record_->replies;
    } else {
      ++record_->errors[outcome.error().code];
    }
    thinking_.insert(context.start_timer(think(context)));
    if (record_->outcomes == requests_)
      handle_->start_close(handle_->tell(context.self(), kCloseTag));
  }

  std::shared_ptr<TalkRecord> record_;
  std::shared_ptr<Violations> violations_;
  ConversationSupervisor& supervisor_;
  ServiceName service_;
  int requests_;
  Duration timeout_;
  std::optional<ConversationHandle> handle_;
  std::map<std::uint64_t, Open> open_;
  std::set<TimerId> thinking_;
};

}  // namespace

std::string PairRecord::name() const {
  return "pair " + to_string(id) + " of " + (self ? to_string(*self) : "nobody") + " with " +
         (instance ? to_string(*instance) : "nobody");
}

std::unique_ptr<Process> make_pair_process(std::shared_ptr<PairRecord> record, Reporter reporter,
                                           Pid node) {
  return std::make_unique<PairProcess>(std::move(record), std::move(reporter), std::move(node));
}

std::unique_ptr<Process> make_talk_process(std::shared_ptr<TalkRecord> record,
                                           std::shared_ptr<Violations> violations,
                                           ConversationSupervisor& supervisor, ServiceName service,
                                           int requests, Duration timeout) {
  return std::make_unique<TalkProcess>(std::move(record), std::move(violations), supervisor,
                                       std::move(service), requests, timeout);
}

Result<std::unique_ptr<Process>> make_service(const signal::SpawnRequest& request,
                                              const std::shared_ptr<Violations>& violations,
                                              const std::shared_ptr<int>& live_instances) {
  if (request.service == ServiceName{"counter"}) {
    return std::make_unique<Counter>(live_instances, violations);
  }
  if (request.service == kMortal) return make_mortal(live_instances);
  if (request.service == ServiceName{"echo"}) return std::make_unique<Echo>(live_instances, 0);
  if (request.service == ServiceName{"fragile"}) return std::make_unique<Echo>(live_instances, 3);
  return fail(Errc::kNoService, "no service '" + request.service.value() + "'");
}

}  // namespace liminal::sim
