// Goal: whatever the order of inputs, the crash policies keep their promises (contracts 34 to 37)
// over several roles: phases go only where they may; a request has at most one attempt under way
// and no more than its budget allows; what was completed or is in doubt is undone one at a time, in
// order, each step decided once; what never reached anybody is not undone; the end always comes.
// On failure the seed is printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/deferrals.hpp"
#include "common/base/random.hpp"
#include "common/base/text.hpp"
#include "node/conversation/conversation_core.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using Phase = ConversationPhase;
using Health = ParticipantHealth;

constexpr std::size_t kNodes = 3;
constexpr std::size_t kRequestsMax = 8;
constexpr std::size_t kStepsMax = 10;
const ConversationId kId{1, 2};

MessageId message(std::uint64_t n) { return {5, n}; }

/// Those that the phases may take, one at a time.
bool may_follow(Phase from, Phase to) {
  switch (from) {
    case Phase::kCreated:
      return to == Phase::kActive || to == Phase::kCompleting || to == Phase::kFailed;
    case Phase::kActive:
      return to == Phase::kCompleting || to == Phase::kCompensating || to == Phase::kFailed;
    case Phase::kCompleting:
      return to == Phase::kClosed;
    case Phase::kCompensating:
      return to == Phase::kFailed;
    case Phase::kClosed:
    case Phase::kFailed:
      return false;
  }
  return false;
}

/// Everything around a conversation: what its process, the scheduler and the nodes do, in an order
/// that a seed decides. Checks after each step what must always hold.
class World {
 public:
  struct Tally {
    std::size_t compensated = 0, not_compensated = 0, rerouted = 0, budgets_spent = 0, in_doubt = 0,
                steps = 0, tried_again = 0;
  };

  explicit World(std::uint64_t seed)
      : random_(seed),
        policy_(static_cast<CrashPolicy>(seed % 3)),
        state_{kId, std::make_shared<const ConversationConfig>(some_config())} {}

  void run() {
    if (state_.config->timeout) state_.ends_at = now_ + *state_.config->timeout;
    if (state_.ends_at) {
      timers_.push_back({*state_.ends_at, input::TimerFired{ConversationTimer::kTimeout, 0}});
    }
    const std::size_t steps = 20 + random_.below(100);
    for (std::size_t i = 0; i < steps; ++i) something();
    if (random_.below(6) == 0) {
      force_the_end();
    } else {
      drive_to_the_end();
    }
    at_the_end();
  }

  void add_to(Tally& tally) const {
    tally.rerouted += state_.reroutes.size();
    for (const auto& record : state_.compensations) {
      ++tally.steps;
      tally.in_doubt += record.in_doubt ? 1U : 0U;
      tally.tried_again += record.attempts > 1 ? 1U : 0U;
    }
    if (!state_.failure) return;
    tally.compensated += state_.failure->code == Errc::kCompensated ? 1U : 0U;
    tally.not_compensated += state_.failure->code == Errc::kCompensationFailed ? 1U : 0U;
    tally.budgets_spent += state_.failure->detail.find("max_") != std::string::npos ? 1U : 0U;
  }

 private:
  struct Instance {
    RoleIndex role;
    bool compensates;
    bool linked = false;
    bool ended = false;              // told to end, or let go, by the conversation
    bool gone = false;               // its exit was told
    std::set<MessageId> taken = {};  // and not answered
    std::set<MessageId> cancelled = {};
    Deferrals<int> book{1000};
    std::deque<std::pair<MessageId, signal::RefusalKind>> refusals = {};  // under way
  };
  struct Timer {
    TimePoint due;
    Input input;
  };

  ConversationConfig some_config() {
    std::vector<ParticipantConfig> roles;
    const std::size_t count = 1 + random_.below(3);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string name = "role" + std::to_string(i);
      if (random_.below(3) != 0) {
        roles.push_back(ParticipantConfig::owned(ServiceName{name}));
        continue;
      }
      const bool compensates = random_.below(3) != 0;
      const Pid pid = some_pid();
      std::vector<Pid> alternates;
      for (std::size_t left = random_.below(3); left > 0; --left) alternates.push_back(some_pid());
      instances_.emplace(pid, Instance{.role = i, .compensates = compensates});
      for (const Pid& alternate : alternates) {
        instances_.emplace(alternate, Instance{.role = i, .compensates = compensates});
      }
      roles.push_back(ParticipantConfig::attached(name, pid, alternates, compensates));
    }
    ConversationConfig config{policy_, std::move(roles)};
    config.requests_max = kRequestsMax;
    config.steps_max = kStepsMax;
    config.max_reroutes = 1 + random_.below(6);
    config.max_attempts = 1 + static_cast<std::uint32_t>(random_.below(4));
    config.compensation_attempts = 1 + static_cast<std::uint32_t>(random_.below(3));
    config.settle_timeout = 500ms;
    config.compensation_timeout = 1s;
    if (random_.below(4) == 0) config.timeout = 10s;
    return config;
  }

  Pid some_pid() {
    const std::uint64_t node = random_.below(kNodes);
    return {NodeName{std::string(1, static_cast<char>('a' + node))}, Incarnation{1 + lives_[node]},
            Serial{++serials_}};
  }
  MessageId some_message() { return message(1 + random_.below(messages_)); }
  WaiterId new_waiter() {
    const WaiterId waiter{++waiters_};
    waiting_.insert(waiter);
    return waiter;
  }
  [[nodiscard]] const std::string& role_name(RoleIndex role) const {
    return state_.config->participants[role].role;
  }

  // --- what happens ---

  void something() {
    switch (random_.below(20)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return send();
      case 4:
        return receive();
      case 5:
      case 6:
        return report_placement();
      case 7:
      case 8:
      case 9:
      case 10:
      case 11:
        return answer_some();
      case 12:
        return answer_wrongly();
      case 13:
        if (random_.below(3) == 0) exit_some();
        return;
      case 14:
        if (random_.below(6) == 0) kill_a_node();
        return;
      case 15:
        return report_refusals();
      case 16:
        return pass_time(Duration{static_cast<Duration::rep>(random_.below(500'000'000))});
      case 17:
        return fire_due();
      case 18:
        if (random_.below(5) == 0) exit_ended();
        return;
      default:
        switch (random_.below(80)) {
          case 0:
            return feed(input::CloseRequested{new_waiter()});
          case 1:
            return feed(input::Abandoned{"no handle was left"});
          case 2:
            return feed(input::CancelRequested{"somebody"});
          case 3:
            return feed(input::ActorCrashed{ExitReason::killed()});
          default:
            return;
        }
    }
  }

  void send() {
    const MessageId id = message(++messages_);
    const RoleIndex role = random_.below(state_.participants.size());
    SendOptions options{
        .role = role_name(role),
        .reply = static_cast<ReplyMode>(random_.below(3)),
        .when_deferred = random_.below(4) == 0 ? WhenDeferred::kTell : WhenDeferred::kRepeat};
    if (random_.below(8) == 0) options.deadline = 300ms;
    std::optional<WaiterId> reply;
    if (options.reply == ReplyMode::kCorrelated && random_.below(2) == 0) reply = new_waiter();
    feed(input::SendRequested{id, Payload{"q"}, std::move(options), new_waiter(), reply});
  }

  void receive() {
    std::optional<MessageId> of;
    if (random_.below(2) == 0 && messages_ > 0) of = some_message();
    feed(input::ReceiveRequested{new_waiter(), of});
  }

  void pass_time(Duration duration) { now_ += duration; }

  void fire_due() {
    for (;;) {
      std::vector<std::size_t> due;
      for (std::size_t i = 0; i < timers_.size(); ++i) {
        if (timers_[i].due <= now_) due.push_back(i);
      }
      if (due.empty()) return;
      const auto chosen =
          timers_.begin() + static_cast<std::ptrdiff_t>(due[random_.below(due.size())]);
      Input input = std::move(chosen->input);
      timers_.erase(chosen);
      if (const auto* repeat = std::get_if<input::RepeatTimerFired>(&input)) {
        repeating_.erase(repeat->role);
      }
      feed(std::move(input));
    }
  }

  /// One instance that the conversation believes to live, if there is any.
  std::map<Pid, Instance>::iterator some_instance(
      const std::function<bool(const Instance&)>& which) {
    std::vector<std::map<Pid, Instance>::iterator> found;
    for (auto it = instances_.begin(); it != instances_.end(); ++it) {
      if (which(it->second)) found.push_back(it);
    }
    return found.empty() ? instances_.end() : found[random_.below(found.size())];
  }

  void report_placement() {
    if (placing_.empty()) return;
    auto it = placing_.begin();
    std::advance(it, random_.below(placing_.size()));
    report(it->first, random_.below(4) != 0);
  }

  void report(RoleIndex role, bool found) {
    const effect::Place place = placing_.at(role);
    placing_.erase(role);
    if (!found) {
      feed(input::ParticipantUnavailable{role, {Errc::kNoService, "none"}});
      return;
    }
    const Pid pid = some_pid();
    const bool compensates = place.to_compensate_within || random_.below(4) != 0;
    instances_.emplace(pid, Instance{.role = role, .compensates = compensates, .linked = true});
    feed(input::ParticipantReady{role, pid, compensates, "any"});
  }

  void answer_some() {
    const auto it = some_instance([](const Instance& i) { return !i.gone && !i.taken.empty(); });
    if (it == instances_.end()) return;
    auto& [pid, instance] = *it;
    const MessageId id = *instance.taken.begin();  // in the order of the sends
    EnvelopeKind kind = random_.below(3) == 0 ? EnvelopeKind::kDone : EnvelopeKind::kReply;
    const bool undoes = undoing_.contains(id);
    if (undoes) kind = EnvelopeKind::kDone;
    if (instance.cancelled.contains(id) && random_.below(2) == 0) kind = EnvelopeKind::kCancelled;
    if (random_.below(16) == 0) kind = EnvelopeKind::kExpired;
    instance.taken.erase(id);
    if (kind == EnvelopeKind::kCancelled && !instance.ended) never_begun_.insert(id);
    const auto completed = state_.counters.completed;
    feed(answer_from(pid, id, kind, "ok"));
    if (state_.counters.completed == completed) return;
    EXPECT_FALSE(undoes) << "the undoing of a request is none";
    completed_.push_back(id);
  }

  static Input answer_from(const Pid& from, const MessageId& id, EnvelopeKind kind,
                           const std::string& text) {
    return input::Answered{from,
                           {.kind = kind,
                            .id = message(1'000'000),
                            .conversation = kId,
                            .parent = id,
                            .payload = Payload{text}}};
  }

  /// By somebody who was not asked, or not any more.
  void answer_wrongly() {
    if (instances_.empty() || messages_ == 0) return;
    const auto it = some_instance([](const Instance& i) { return i.linked; });
    if (it == instances_.end()) return;
    const MessageId id = some_message();
    const auto& [pid, instance] = *it;
    if (!instance.gone && instance.taken.contains(id)) return;
    // what was deferred there and is not yet known to be is no lie that anybody tells
    for (const auto& [refused, kind] : instance.refusals) {
      if (refused == id) return;
    }
    const auto completed = state_.counters.completed;
    feed(answer_from(pid, id, EnvelopeKind::kReply, "wrong"));
    EXPECT_EQ(state_.counters.completed, completed) << "an answer that nobody owed";
  }

  /// They arrive late, but in order.
  void report_refusals() {
    const auto it = some_instance([](const Instance& i) { return !i.gone && !i.refusals.empty(); });
    if (it == instances_.end()) return;
    const auto [id, kind] = it->second.refusals.front();
    it->second.refusals.pop_front();
    feed(input::Refused{it->first, id, kind, "full"});
  }

  ExitReason some_reason() {
    switch (random_.below(4)) {
      case 0:
        return ExitReason::normal();
      case 1:
        return ExitReason::shutdown();
      default:
        return ExitReason::error("boom");
    }
  }

  void exit_some() {
    const auto it = some_instance([](const Instance& i) { return i.linked && !i.gone; });
    if (it == instances_.end()) return;
    it->second.gone = true;
    const ExitReason reason = some_reason();
    feed(input::ParticipantsExited{{{it->first, reason}}});
    if (random_.below(3) == 0) feed(input::ParticipantsExited{{{it->first, reason}}});
  }

  /// Whoever was told to end does.
  void exit_ended() {
    const auto it = some_instance([](const Instance& i) { return i.linked && i.ended && !i.gone; });
    if (it == instances_.end()) return;
    it->second.gone = true;
    feed(input::ParticipantsExited{{{it->first, ExitReason::shutdown()}}});
  }

  void kill_a_node() {
    const std::uint64_t node = random_.below(kNodes);
    const NodeName name{std::string(1, static_cast<char>('a' + node))};
    const Incarnation incarnation{1 + lives_[node]++};
    std::vector<input::ParticipantsExited::Exit> exits;
    for (auto& [pid, instance] : instances_) {
      if (pid.node != name || pid.incarnation != incarnation || instance.gone) continue;
      if (!instance.linked) continue;
      instance.gone = true;
      exits.push_back({pid, ExitReason::noconnection({})});
    }
    const auto crashes = state_.crashes.size() + exits.size();
    if (exits.empty()) return;
    feed(input::ParticipantsExited{std::move(exits)});
    EXPECT_LE(state_.crashes.size(), crashes);
  }

  // --- the end ---

  /// Nobody answers any more, but time passes, and whoever was told to end does or not.
  void drive_to_the_end() {
    if (random_.below(2) == 0) feed(input::CloseRequested{new_waiter()});
    if (random_.below(2) == 0) feed(input::CancelRequested{"somebody"});
    feed(input::CloseRequested{new_waiter()});
    const bool silent = random_.below(2) == 0;
    for (int i = 0; i < 2000 && !state_.finished; ++i) {
      if (random_.below(4) == 0) report_placement();
      if (!silent) answer_some();
      report_refusals();
      if (random_.below(4) == 0 && !silent) exit_ended();
      if (random_.below(20) == 0) exit_some();
      pass_time(100ms);
      fire_due();
    }
  }

  void force_the_end() {
    const bool over = state_.finished;
    must_be_planned_ = policy_ == CrashPolicy::kCompensate &&
                       (state_.phase == Phase::kActive || state_.phase == Phase::kCompensating);
    Step ended = end_by_force(std::move(state_), {Errc::kConversationFailed, "forced"});
    state_ = std::move(ended.next);
    std::vector<Input> feedback;
    for (Effect& effect : ended.effects) std::visit([&](auto& e) { on(e, feedback); }, effect);
    EXPECT_EQ(over, ended.effects.empty());
    forced_ = true;
    placing_.clear();  // its process sees to what is left
    for (auto& [pid, instance] : instances_) instance.ended = true;
  }

  // --- deciding ---

  void feed(Input input) {
    const Phase before = state_.phase;
    phase_ = before;
    const bool was_finished = state_.finished;
    const auto crashes = state_.crashes;
    const auto compensations = state_.compensations;
    const bool stale = is_of_a_decided_step(input);
    Step result = step(std::move(state_), input, now_);
    state_ = std::move(result.next);
    std::vector<Input> feedback;
    for (Effect& effect : result.effects) std::visit([&](auto& e) { on(e, feedback); }, effect);
    EXPECT_EQ(phase_, state_.phase) << "every change of phase is told to the timeline";
    if (was_finished) {
      EXPECT_EQ(state_.phase, before);
      EXPECT_EQ(state_.crashes, crashes);
      EXPECT_EQ(state_.compensations, compensations);
    }
    if (stale) {
      EXPECT_EQ(state_.compensations, compensations) << "a timer of another step";
    }
    records_stay(compensations);
    holds();
    for (Input& next : feedback) feed(std::move(next));
  }

  [[nodiscard]] bool is_of_a_decided_step(const Input& input) const {
    const auto* fired = std::get_if<input::TimerFired>(&input);
    return fired != nullptr && fired->which == ConversationTimer::kCompensation &&
           state_.compensation && state_.compensation->step != fired->number;
  }

  void on(effect::Place& place, std::vector<Input>&) {
    EXPECT_FALSE(placing_.contains(place.role)) << "one search at a time";
    EXPECT_EQ(place.to_compensate_within.has_value(), phase_ == Phase::kCompensating);
    for (const Pid& tried : place.tried) EXPECT_TRUE(instances_.contains(tried));
    placing_.emplace(place.role, place);
  }
  /// Its answer comes all the same, and may be an instance.
  void on(effect::AbandonPlacement&, std::vector<Input>&) {}
  void on(effect::Link& link, std::vector<Input>&) {
    Instance& instance = instances_.at(link.pid);
    EXPECT_FALSE(std::exchange(instance.linked, true)) << "nobody takes a role twice";
  }
  void on(effect::Unlink& unlink, std::vector<Input>&) {
    Instance& instance = instances_.at(unlink.pid);
    instance.ended = instance.gone = true;  // nothing of the link arrives any more
  }
  void on(effect::Forward& forward, std::vector<Input>&) {
    const auto found = instances_.find(forward.to);
    ASSERT_NE(found, instances_.end());
    Instance& instance = found->second;
    EXPECT_TRUE(instance.linked) << "linked first";
    EXPECT_FALSE(instance.gone) << "to somebody who is known to be gone";
    EXPECT_FALSE(instance.ended) << "to somebody who was told to end";
    if (forward.request.kind == EnvelopeKind::kCompensate) {
      undoes(forward, instance);
    } else {
      attempts(forward);
    }
    const MessageId& id = forward.request.id;
    const auto verdict = instance.book.judge(0, id, random_.below(6) != 0);
    if (verdict != Deferrals<int>::Verdict::kTake) {
      instance.refusals.emplace_back(id, signal::RefusalKind::kDeferred);
    } else if (random_.below(30) == 0) {
      instance.refusals.emplace_back(id, signal::RefusalKind::kRejected);
    } else {
      EXPECT_TRUE(instance.taken.insert(id).second) << "taken twice by one";
      reached_.insert(id);
    }
    sent_.insert(id);
  }

  void attempts(const effect::Forward& forward) {
    const Envelope& request = forward.request;
    EXPECT_EQ(phase_, Phase::kActive) << "no further sends";
    auto& tries = tries_[request.id];
    if (tries.empty() || tries.back() != forward.to) {
      EXPECT_EQ(std::count(tries.begin(), tries.end(), forward.to), 0) << "to one and then back";
      if (!tries.empty()) {
        EXPECT_EQ(policy_, CrashPolicy::kRouteToNext);
        EXPECT_TRUE(instances_.at(tries.back()).gone) << "two have it at a time";
      }
      tries.push_back(forward.to);
    }
    EXPECT_LE(request.attempt, state_.config->max_attempts);
    EXPECT_LE(request.attempt, tries.size());
    EXPECT_GT(request.attempt, takers_of(request.id, forward.to)) << "an attempt not counted";
    std::uint32_t& newest = newest_attempt_[request.id];
    EXPECT_GE(request.attempt, newest);
    newest = request.attempt;
  }

  /// Others that had begun it, or may have.
  [[nodiscard]] std::size_t takers_of(const MessageId& id, const Pid& but) const {
    std::size_t takers = 0;
    for (const auto& [pid, instance] : instances_) {
      takers += pid != but && instance.taken.contains(id) ? 1U : 0U;
    }
    return takers;
  }

  void undoes(const effect::Forward& forward, const Instance& instance) {
    const Envelope& undo = forward.request;
    EXPECT_EQ(phase_, Phase::kCompensating);
    EXPECT_TRUE(instance.compensates);
    ASSERT_TRUE(undo.parent.has_value());
    const auto [of, fresh] = undoing_.emplace(undo.id, *undo.parent);
    EXPECT_EQ(of->second, *undo.parent) << "one id for one undoing, on every attempt";
    ASSERT_TRUE(state_.compensation && state_.compensation->step < state_.compensations.size());
    const auto& record = state_.compensations[state_.compensation->step];
    EXPECT_EQ(record.request, *undo.parent) << "in their order, one at a time";
    EXPECT_EQ(record.attempts, undo.attempt);
    EXPECT_LE(undo.attempt, state_.config->compensation_attempts);
    if (undo.attempt > std::exchange(newest_attempt_[undo.id], undo.attempt)) {
      EXPECT_LT(now_, *undo.deadline) << "begun when its time was over";
    }
    EXPECT_EQ(undo.reply_at.has_value(), replied_to(*undo.parent) && !record.in_doubt);
    EXPECT_FALSE(undo.wants_reply);
    for (const auto& timer : timers_) {
      const auto* fired = std::get_if<input::TimerFired>(&timer.input);
      if (fired == nullptr || fired->which != ConversationTimer::kCompensation) continue;
      if (fired->number == state_.compensation->step) return;
    }
    // started by this very decision, and told before it
    ADD_FAILURE() << "nothing bounds the undoing of " << to_string(*undo.parent);
  }
  [[nodiscard]] bool replied_to(const MessageId& id) const { return replied_.contains(id); }

  void on(effect::Cancel& cancel, std::vector<Input>&) {
    EXPECT_EQ(phase_, Phase::kCompensating);
    Instance& instance = instances_.at(cancel.to);
    EXPECT_FALSE(instance.gone);
    instance.cancelled.insert(cancel.message);
  }
  void on(effect::Withdraw& withdraw, std::vector<Input>&) {
    const auto found = instances_.find(withdraw.to);
    if (found == instances_.end()) return;
    EXPECT_FALSE(found->second.taken.contains(withdraw.message)) << "taken, and then withdrawn";
    found->second.book.withdraw(0, withdraw.message);
  }
  void on(effect::StartRepeatTimer& start, std::vector<Input>&) {
    EXPECT_TRUE(repeating_.insert(start.role).second) << "one for each role at a time";
    timers_.push_back({now_ + start.after, input::RepeatTimerFired{start.role}});
  }
  void on(effect::StartTimer& start, std::vector<Input>&) {
    timers_.push_back({now_ + start.after, input::TimerFired{start.which, start.number}});
  }
  void on(effect::StartEndTimer& start, std::vector<Input>&) {
    timers_.push_back({now_ + start.after, input::EndTimerFired{}});
  }
  void on(effect::GiveUp&, std::vector<Input>&) {}
  void on(effect::Note& note, std::vector<Input>&) {
    const TimelineRecord& record = note.record;
    if (record.event == TimelineEvent::kReplied) replied_.insert(*record.message);
    if (record.event != TimelineEvent::kPhase) return;
    const std::string name = record.text.substr(0, record.text.find(':'));
    for (const Phase to : {Phase::kActive, Phase::kCompleting, Phase::kCompensating, Phase::kClosed,
                           Phase::kFailed}) {
      if (name_of(to) != name) continue;
      EXPECT_TRUE(may_follow(phase_, to)) << name_of(phase_) << " and then " << name;
      phase_ = to;
    }
  }
  void on(effect::Complete& complete, std::vector<Input>& feedback) {
    if (random_.below(12) == 0 && complete.reply) {  // its caller is gone
      waiting_.erase(complete.waiter);
      feedback.push_back(input::OfferRefused{*complete.reply, complete.outcome});
      return;
    }
    EXPECT_EQ(waiting_.erase(complete.waiter), 1U) << "one outcome each";
    if (!complete.reply) return;
    EXPECT_TRUE(handed_out_.insert(complete.reply->request).second) << "an answer only once";
    if (complete.outcome) {
      EXPECT_EQ(complete.outcome->view(), "ok");
    }
  }
  void on(effect::End& end, std::vector<Input>&) {
    Instance& instance = instances_.at(end.pid);
    EXPECT_TRUE(
        std::holds_alternative<OwnedInstance>(state_.config->participants[instance.role].who))
        << "an attached pid lives on";
    instance.ended = true;
  }
  void on(effect::Finish& over, std::vector<Input>&) {
    EXPECT_FALSE(std::exchange(finish_seen_, true)) << "it finishes once";
    for (const auto& [id, outcome] : over.correlated) EXPECT_FALSE(handed_out_.contains(id));
  }

  // --- what always holds ---

  /// What was decided stays so, and nothing is decided out of turn.
  void records_stay(const std::vector<CompensationRecord>& before) {
    const auto& after = state_.compensations;
    ASSERT_GE(after.size(), before.size());
    for (std::size_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(after[i].request, before[i].request);
      if (before[i].outcome != CompensationOutcome::kPending) {
        EXPECT_EQ(after[i], before[i]) << "a step is decided once";
      }
    }
    const auto decided = [](const CompensationRecord& r) {
      return r.outcome != CompensationOutcome::kPending;
    };
    const auto pending = std::find_if_not(after.begin(), after.end(), decided);
    EXPECT_TRUE(std::none_of(pending, after.end(), decided)) << "in their order";
    if (pending == after.end()) return;
    EXPECT_TRUE(std::all_of(pending + 1, after.end(), [](const auto& r) {
      return r.attempts == 0;
    })) << "none begins before the one before is decided";
  }

  void holds() {
    EXPECT_LE(state_.requests.size(), kRequestsMax + 1);  // the one that is being undone
    EXPECT_LE(state_.reroutes.size(), state_.config->max_reroutes);
    EXPECT_LE(state_.completed.size(), kStepsMax * 20);
    EXPECT_LE(state_.undoable, kStepsMax);
    std::vector<std::size_t> unanswered(state_.participants.size());
    std::size_t held_up = 0, undoings = 0;
    for (const auto& [id, request] : state_.requests) {
      if (request.outcome) continue;
      ++unanswered[request.role];
      held_up += request.deferrals > 0 ? 1U : 0U;
      undoings += request.compensation ? 1U : 0U;
      EXPECT_NE(request.sent.has_value(), request.unsent.has_value());
    }
    EXPECT_LE(undoings, 1U) << "one at a time";
    EXPECT_EQ(state_.counters.held_up, held_up);
    for (std::size_t role = 0; role < unanswered.size(); ++role) {
      const auto& participant = state_.participants[role];
      EXPECT_EQ(participant.unanswered, unanswered[role]);
      for (const auto& [number, id] : participant.deferred) {
        EXPECT_TRUE(state_.requests.at(id).sent && !state_.requests.at(id).outcome);
      }
      for (const MessageId& id : participant.unsent) {
        EXPECT_TRUE(state_.requests.at(id).unsent.has_value());
      }
      if (participant.status.health == Health::kStarting && !state_.finished) {
        EXPECT_TRUE(placing_.contains(role)) << "nobody looks for it";
      }
    }
    std::set<Pid> crashed;
    for (const auto& crash : state_.crashes) {
      EXPECT_TRUE(crashed.insert(crash.pid).second) << "a crash is recorded once";
    }
    for (const auto& [due, id] : state_.deadlines) {
      EXPECT_TRUE(state_.requests.contains(id) && !state_.requests.at(id).outcome);
    }
    if (state_.phase == Phase::kCompensating) {
      compensating_holds(undoings);
    } else {
      EXPECT_EQ(undoings, 0U);
    }
    if (state_.phase == Phase::kActive || state_.phase == Phase::kCreated) return;
    EXPECT_TRUE(state_.receivers.empty()) << "nobody waits for a conversation that ends";
  }

  void compensating_holds(std::size_t undoings) {
    ASSERT_TRUE(state_.compensation.has_value());
    const auto& compensation = *state_.compensation;
    for (const MessageId& id : compensation.settling) {
      ASSERT_TRUE(state_.requests.contains(id));
      const auto& request = state_.requests.at(id);
      EXPECT_TRUE(request.sent && !request.outcome);
      const auto& status = state_.participants[request.role].status;
      EXPECT_EQ(status.health, Health::kAlive);
      EXPECT_TRUE(instances_.at(*status.pid).cancelled.contains(id))
          << "nobody told it to leave off";
    }
    if (!compensation.undoing) {
      EXPECT_FALSE(compensation.settling.empty()) << "it waits for nothing";
      return;
    }
    EXPECT_TRUE(compensation.settling.empty()) << "settled first";
    ASSERT_LT(compensation.step, compensation.steps.size()) << "it waits for nothing";
    const RoleIndex role = compensation.steps[compensation.step].role;
    const Health health = state_.participants[role].status.health;
    EXPECT_TRUE(undoings == 1 ? health == Health::kAlive : health == Health::kStarting)
        << "the step is with nobody: " << name_of(health);
  }

  void at_the_end() {
    EXPECT_TRUE(state_.finished) << name_of(state_.phase) << ", which must end";
    if (!state_.finished) return;
    EXPECT_TRUE(finish_seen_);
    EXPECT_TRUE(is_terminal(state_.phase));
    EXPECT_TRUE(waiting_.empty()) << waiting_.size() << " wait for ever";
    EXPECT_TRUE(state_.requests.empty() && state_.inbox.empty() && state_.closers.empty());
    EXPECT_EQ(state_.phase == Phase::kFailed, state_.failure.has_value());
    for (const auto& [pid, instance] : instances_) {
      EXPECT_TRUE(!instance.linked || instance.gone || instance.ended)
          << to_string(pid) << " outlives its conversation";
    }
    plan_was_right();
  }

  /// Completed ones backwards, behind those in doubt; each once, and nothing else.
  void plan_was_right() {
    const auto& records = state_.compensations;
    const bool planned = state_.compensation && state_.compensation->undoing;
    EXPECT_TRUE(planned || !must_be_planned_) << "what was not undone is named";
    if (!planned) {
      EXPECT_TRUE(records.empty());
      return;
    }
    std::vector<MessageId> doubted, undone;
    for (const auto& record : records) {
      EXPECT_NE(record.outcome, CompensationOutcome::kPending) << "every step is decided";
      EXPECT_TRUE(sent_.contains(record.request)) << "undone, and never sent to anybody";
      EXPECT_FALSE(never_begun_.contains(record.request) && record.in_doubt)
          << "its participant said that it never began it";
      EXPECT_TRUE(undone.empty() || !record.in_doubt) << "those in doubt come first";
      (record.in_doubt ? doubted : undone).push_back(record.request);
    }
    std::vector<MessageId> expected{completed_.rbegin(), completed_.rend()};
    EXPECT_EQ(undone, expected) << "in reverse order of completion, each once";
    EXPECT_TRUE(std::is_sorted(doubted.rbegin(), doubted.rend())) << "the later sent first";
    for (const MessageId& id : doubted) {
      EXPECT_EQ(std::count(completed_.begin(), completed_.end(), id), 0);
    }
    // what reached somebody, and was neither done nor said never to have begun, is in doubt
    for (const auto& [pid, instance] : instances_) {
      for (const MessageId& id : instance.taken) {
        if (undoing_.contains(id)) continue;
        EXPECT_EQ(std::count(doubted.begin(), doubted.end(), id), 1)
            << to_string(id) << " was forgotten";
      }
    }
    if (!forced_) {
      const bool failed = std::any_of(records.begin(), records.end(), [](const auto& r) {
        return r.outcome == CompensationOutcome::kFailed;
      });
      ASSERT_TRUE(state_.failure.has_value());
      if (!records.empty()) {
        EXPECT_EQ(state_.failure->code, failed ? Errc::kCompensationFailed : Errc::kCompensated);
      }
    }
  }

  Random random_;
  CrashPolicy policy_;
  std::uint64_t lives_[kNodes] = {};
  std::uint64_t serials_ = 0, messages_ = 0, waiters_ = 0;
  TimePoint now_{100s};
  std::map<Pid, Instance> instances_;
  ConversationContext state_;
  Phase phase_ = Phase::kCreated;  // while effects are carried out
  std::map<RoleIndex, effect::Place> placing_;
  std::vector<Timer> timers_;
  std::set<RoleIndex> repeating_;
  std::set<WaiterId> waiting_;
  std::set<MessageId> sent_, reached_, replied_, never_begun_, handed_out_;
  std::vector<MessageId> completed_;             // in this order
  std::map<MessageId, std::vector<Pid>> tries_;  // whom a request went to
  std::map<MessageId, std::uint32_t> newest_attempt_;
  std::map<MessageId, MessageId> undoing_;  // the undoing's id to the request's
  bool finish_seen_ = false, forced_ = false, must_be_planned_ = false;
};

TEST(PoliciesInAnyOrder, KeepTheirPromises) {
  World::Tally tally;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    World world{seed};
    world.run();
    world.add_to(tally);
    if (::testing::Test::HasFailure()) break;
  }
  std::printf(
      "compensated %zu, not %zu, steps %zu, in doubt %zu, tried again %zu, rerouted %zu, "
      "budgets spent %zu\n",
      tally.compensated, tally.not_compensated, tally.steps, tally.in_doubt, tally.tried_again,
      tally.rerouted, tally.budgets_spent);
  EXPECT_GT(tally.compensated, 100U) << "it was tried";
  EXPECT_GT(tally.not_compensated, 100U);
  EXPECT_GT(tally.in_doubt, 100U);
  EXPECT_GT(tally.tried_again, 10U);
  EXPECT_GT(tally.rerouted, 100U);
  EXPECT_GT(tally.budgets_spent, 20U);
}

}  // namespace
}  // namespace liminal
