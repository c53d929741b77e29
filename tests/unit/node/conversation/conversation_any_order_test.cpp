// Goal: whatever the order of inputs, a conversation keeps its promises: one outcome for each
// waiter, each reply handed out once, a crash recorded once, an end that stays, nobody left
// running. On failure the seed is printed; run it again with that seed as the only one.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/deferrals.hpp"
#include "common/base/random.hpp"
#include "node/conversation/conversation_core.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using Phase = ConversationPhase;

const ConversationId kId{1, 2};
const TimePoint kNow{100s};
const Pid kUpperOnB{NodeName{"node-b"}, Incarnation{7}, Serial{3}};

MessageId message(std::uint64_t n) { return {5, n}; }

ConversationConfig owned_config() {
  return {CrashPolicy::kFail, {ParticipantConfig::owned(ServiceName{"upper"})}};
}
ConversationConfig attached_config() {
  return {CrashPolicy::kFail, {ParticipantConfig::attached("helper", kUpperOnB)}};
}

/// A world that does what effects say, in an order that a seed decides, and checks after each step
/// what must always hold.
class World {
 public:
  World(std::uint64_t seed, bool attached)
      : random_(seed),
        attached_(attached),
        state_{kId, std::make_shared<const ConversationConfig>(config(attached))} {}

  void run() {
    for (int i = 0; i < 60; ++i) something();
    if (takes_requests_still()) get_everything_taken();
    feed(input::CloseRequested{new_waiter()});
    for (int i = 0; i < 4 && !state_.finished; ++i) {
      report_placement();
      if (!state_.finished && random_.below(2) == 0) exit_participant(ExitReason::shutdown());
    }
    if (!state_.finished && timer_) feed(input::EndTimerFired{});
    at_the_end();
  }

 private:
  static ConversationConfig config(bool attached) {
    auto made = attached ? attached_config() : owned_config();
    made.requests_max = 6;
    return made;
  }

  WaiterId new_waiter() {
    const WaiterId waiter{++waiters_made_};
    waiting_.insert(waiter);
    return waiter;
  }

  void something() {
    switch (random_.below(15)) {
      case 0:
      case 1:
      case 2: {
        const MessageId id = message(++messages_made_);
        const auto mode = static_cast<ReplyMode>(random_.below(3));
        std::optional<WaiterId> reply;
        if (mode == ReplyMode::kCorrelated && random_.below(2) == 0) {
          reply = new_waiter();
          wants_[*reply] = id;
        }
        const auto when = random_.below(4) == 0 ? WhenDeferred::kTell : WhenDeferred::kRepeat;
        feed(input::SendRequested{
            id, Payload{}, {.reply = mode, .when_deferred = when}, new_waiter(), reply});
        return;
      }
      case 3:
      case 4: {
        const WaiterId waiter = new_waiter();
        if (random_.below(2) == 0 && messages_made_ > 0) {
          wants_[waiter] = some_message();
          feed(input::ReceiveRequested{waiter, wants_[waiter]});
        } else {
          feed(input::ReceiveRequested{waiter, std::nullopt});
        }
        return;
      }
      case 5: {  // a caller gives up; the conversation may not know yet when it answers
        if (waiting_.empty()) return;
        auto it = waiting_.begin();
        std::advance(it, random_.below(waiting_.size()));
        const WaiterId waiter = *it;
        waiting_.erase(it);
        gave_up_.insert(waiter);
        if (random_.below(2) == 0) feed(input::ReceiveAbandoned{waiter, std::nullopt});
        return;
      }
      case 6:
        report_placement();
        return;
      case 7:
      case 8:
      case 9:
        if (messages_made_ > 0) answer(some_message());
        return;
      case 10:
        if (random_.below(8) == 0) exit_participant(some_reason());
        return;
      case 11:
        if (random_.below(12) == 0) feed(input::CloseRequested{new_waiter()});
        return;
      case 12:
        if (random_.below(20) == 0) feed(input::ActorCrashed{ExitReason::killed()});
        if (random_.below(20) == 0) feed(input::Abandoned{"no handle was left"});
        return;
      case 13:
        report_refusals(1 + random_.below(3));
        return;
      case 14:
        if (std::exchange(repeat_timer_, false)) feed(input::RepeatTimerFired{0});
        return;
    }
  }

  MessageId some_message() { return message(1 + random_.below(messages_made_)); }

  ExitReason some_reason() {
    switch (random_.below(4)) {
      case 0:
        return ExitReason::normal();
      case 1:
        return ExitReason::shutdown();
      case 2:
        return ExitReason::error("boom");
      default:
        return ExitReason::noconnection({});
    }
  }

  void answer(const MessageId& id) {
    if (!forwarded_.contains(id) && random_.below(4) != 0) return;
    if (!running_) return;
    Envelope envelope{.kind = random_.below(4) == 0 ? EnvelopeKind::kDone : EnvelopeKind::kReply,
                      .id = message(100000 + random_.below(1000)),
                      .conversation = kId,
                      .parent = id,
                      .payload = Payload{"r" + std::to_string(id.low)}};
    feed(input::Answered{kUpperOnB, std::move(envelope)});
  }

  /// They arrive late, but in order.
  void report_refusals(std::uint64_t most) {
    for (; most > 0 && !refusals_.empty(); --most) {
      const auto [id, kind] = refusals_.front();
      refusals_.pop_front();
      feed(input::Refused{kUpperOnB, id, kind, "full"});
    }
  }

  void report_placement() {
    if (!placing_) return;
    placing_ = false;
    if (random_.below(4) != 0) {
      running_ = true;
      feed(input::ParticipantReady{0, kUpperOnB});
    } else {
      feed(input::ParticipantUnavailable{0, {Errc::kNoService, "none"}});
    }
  }

  void exit_participant(ExitReason reason) {
    if (!running_) return;
    running_ = false;
    feed(input::ParticipantsExited{{{kUpperOnB, reason}}});
    if (random_.below(3) == 0 && !state_.finished) {
      feed(input::ParticipantsExited{{{kUpperOnB, std::move(reason)}}});
    }
  }

  void feed(Input input) {
    if (state_.finished) return unfed(input);
    const Phase before = state_.phase;
    const bool was_terminal = is_terminal(before);
    Step result = step(std::move(state_), input, kNow);
    state_ = std::move(result.next);
    EXPECT_TRUE(!was_terminal || state_.phase == before);
    std::vector<Input> feedback;
    for (Effect& effect : result.effects) std::visit([&](auto& e) { on(e, feedback); }, effect);
    holds();
    for (Input& next : feedback) feed(std::move(next));
  }

  /// A finished conversation: inputs still have their answer, and change nothing.
  void unfed(const Input& input) {
    const Phase before = state_.phase;
    const auto crashes = state_.crashes;
    Step result = step(std::move(state_), input, kNow);
    state_ = std::move(result.next);
    EXPECT_EQ(state_.phase, before);
    EXPECT_EQ(state_.crashes, crashes);
    std::vector<Input> feedback;
    for (Effect& effect : result.effects) {
      if (std::holds_alternative<effect::Withdraw>(effect)) continue;
      if (std::holds_alternative<effect::GiveUp>(effect)) continue;
      ASSERT_TRUE(std::holds_alternative<effect::Complete>(effect));
      on(std::get<effect::Complete>(effect), feedback);
    }
    EXPECT_TRUE(feedback.empty());
  }

  void on(effect::Place&, std::vector<Input>&) {
    EXPECT_FALSE(running_ || placed_ || attached_);
    placing_ = placed_ = true;
  }
  void on(effect::AbandonPlacement&, std::vector<Input>& feedback) {
    if (!placing_) return;
    if (random_.below(2) == 0) return;  // the answer is under way
    placing_ = false;
    feedback.push_back(input::ParticipantUnavailable{0, {Errc::kConversationFailed, "gone"}});
  }
  void on(effect::Link&, std::vector<Input>&) { running_ = true; }
  void on(effect::Unlink&, std::vector<Input>&) { running_ = false; }
  /// The participant's mailbox, which has room or not as it likes.
  void on(effect::Forward& forward, std::vector<Input>&) {
    EXPECT_TRUE(state_.participants[0].status.pid.has_value()) << "linked first";
    const MessageId& id = forward.request.id;
    if (random_.below(12) == 0 && !refused_before_.contains(id)) {
      refusals_.emplace_back(id, signal::RefusalKind::kRejected);
      return;
    }
    if (book_.judge(0, id, room_ || random_.below(2) == 0) == Deferrals<int>::Verdict::kTake) {
      EXPECT_TRUE(forwarded_.insert(id).second) << "taken once";
      EXPECT_GT(id, newest_taken_) << "in the order of the sends";
      newest_taken_ = id;
      return;
    }
    refused_before_.insert(id);
    refusals_.emplace_back(id, signal::RefusalKind::kDeferred);
  }
  void on(effect::Withdraw& withdraw, std::vector<Input>&) {
    EXPECT_FALSE(forwarded_.contains(withdraw.message)) << "taken, and then withdrawn";
    book_.withdraw(0, withdraw.message);
  }
  void on(effect::StartRepeatTimer&, std::vector<Input>&) {
    EXPECT_FALSE(std::exchange(repeat_timer_, true)) << "one runs at a time";
  }
  void on(effect::GiveUp&, std::vector<Input>&) {}
  void on(effect::Note&, std::vector<Input>&) {}
  void on(effect::Cancel&, std::vector<Input>&) { ADD_FAILURE() << "there is nothing to settle"; }
  void on(effect::StartTimer&, std::vector<Input>&) {}
  void on(effect::Complete& complete, std::vector<Input>& feedback) {
    EXPECT_TRUE(completed_.insert(complete.waiter).second) << "one outcome each";
    if (gave_up_.contains(complete.waiter)) {
      if (complete.reply) {
        feedback.push_back(input::OfferRefused{*complete.reply, complete.outcome});
        completed_.erase(complete.waiter);
      }
      return;
    }
    EXPECT_EQ(waiting_.erase(complete.waiter), 1U);
    if (!complete.reply) return;
    EXPECT_TRUE(handed_out_.insert(complete.reply->request).second) << "a reply only once";
    const auto wanted = wants_.find(complete.waiter);
    if (wanted == wants_.end()) return;
    EXPECT_EQ(complete.reply->request, wanted->second);
    if (complete.outcome) {
      EXPECT_EQ(complete.outcome->view(), "r" + std::to_string(wanted->second.low));
    }
  }
  void on(effect::End& end, std::vector<Input>&) {
    EXPECT_FALSE(attached_) << "an attached pid lives on";
    if (end.reason.kind == ExitKind::kKill) running_ = false;
  }
  void on(effect::StartEndTimer&, std::vector<Input>&) { timer_ = true; }
  void on(effect::Finish& over, std::vector<Input>&) {
    EXPECT_FALSE(std::exchange(finish_seen_, true)) << "it finishes once";
    for (const auto& [id, outcome] : over.correlated) EXPECT_FALSE(handed_out_.contains(id));
  }

  [[nodiscard]] bool takes_requests_still() const {
    return running_ && state_.phase == Phase::kActive;
  }
  /// With room for all, nothing stays behind: each was taken, told, or is waited for by nobody.
  void get_everything_taken() {
    room_ = true;
    for (int round = 0; round < 100 && (repeat_timer_ || !refusals_.empty()); ++round) {
      report_refusals(1000);
      if (std::exchange(repeat_timer_, false)) feed(input::RepeatTimerFired{0});
    }
    EXPECT_TRUE(refusals_.empty());
    EXPECT_TRUE(book_.empty()) << "the mailbox waits for what never comes";
    EXPECT_TRUE(state_.participants[0].deferred.empty());
    for (const auto& [id, request] : state_.requests) {
      EXPECT_TRUE(request.outcome || forwarded_.contains(id));
    }
  }

  void holds() {
    EXPECT_LE(state_.requests.size(), 6U);
    EXPECT_LE(state_.receivers.size(), waiting_.size() + gave_up_.size());
    EXPECT_LE(state_.crashes.size(), 1U);
    std::size_t unanswered = 0;
    for (const auto& [id, request] : state_.requests) unanswered += request.outcome ? 0U : 1U;
    EXPECT_EQ(state_.participants[0].unanswered, unanswered);
    EXPECT_LE(state_.counters.held_up, unanswered);
    for (const auto& [number, id] : state_.participants[0].deferred) {
      EXPECT_TRUE(state_.requests.at(id).sent && !state_.requests.at(id).outcome);
    }
    for (const auto& [arrival, id] : state_.inbox) {
      EXPECT_TRUE(state_.requests.contains(id) && state_.requests.at(id).outcome);
    }
    if (is_terminal(state_.phase) || state_.phase == Phase::kCompleting) {
      EXPECT_TRUE(state_.receivers.empty()) << "nobody waits for a conversation that ended";
      EXPECT_EQ(unanswered, 0U);
    }
  }

  void at_the_end() {
    EXPECT_TRUE(state_.finished);
    EXPECT_TRUE(finish_seen_);
    EXPECT_TRUE(is_terminal(state_.phase));
    EXPECT_TRUE(waiting_.empty()) << waiting_.size() << " wait for ever";
    EXPECT_FALSE(running_ && !attached_) << "a participant outlives its conversation";
    EXPECT_FALSE(placing_) << "an instance may still come";
    EXPECT_TRUE(state_.requests.empty());
    EXPECT_TRUE(state_.inbox.empty());
    EXPECT_TRUE(state_.closers.empty());
    EXPECT_EQ(state_.phase == Phase::kFailed, state_.failure.has_value());
  }

  Random random_;
  bool attached_;
  ConversationContext state_;
  std::uint64_t messages_made_ = 0, waiters_made_ = 0;
  std::set<WaiterId> waiting_, gave_up_, completed_;
  std::map<WaiterId, MessageId> wants_;
  std::set<MessageId> forwarded_, handed_out_;
  Deferrals<int> book_{1000};
  bool room_ = false;
  std::deque<std::pair<MessageId, signal::RefusalKind>> refusals_;  // under way
  std::set<MessageId> refused_before_;
  MessageId newest_taken_{0, 0};
  bool repeat_timer_ = false;
  bool placing_ = false, placed_ = false, running_ = false, timer_ = false, finish_seen_ = false;
};

TEST(ConversationInAnyOrder, KeepsItsPromises) {
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    World{seed, seed % 3 == 0}.run();
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace liminal
