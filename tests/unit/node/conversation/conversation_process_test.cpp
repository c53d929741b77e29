// Goal: conversations with real processes on the step driver: happy path, crash, leave, close, and
// nothing left behind, whatever the way it went.
#include "node/conversation/conversation_process.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/unit/node/conversation/conversations_on_one_node.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;
using Phase = ConversationPhase;

class ConversationProcessTest : public ConversationsOnOneNode {};

TEST_F(ConversationProcessTest, AsksAndCloses) {
  auto handle = open();
  EXPECT_EQ(supervisor.open(), 1U);
  EXPECT_EQ(ask(handle, "hello"), "ok hello");
  EXPECT_EQ(ask(handle, "again"), "ok again");
  EXPECT_EQ(made, 1U);
  EXPECT_EQ(handle.query_state().phase, Phase::kActive);
  EXPECT_EQ(scheduler.counts().processes, 3U) << "conversation, actor, participant";
  EXPECT_EQ(close(handle), "ok ");
  EXPECT_EQ(scheduler.counts().processes, 0U);
  EXPECT_EQ(scheduler.counts().timers, 0U);
  EXPECT_EQ(supervisor.open(), 0U);
  EXPECT_EQ(handle.query_state().phase, Phase::kClosed);
  EXPECT_TRUE(handle.query_state().ended);
  EXPECT_EQ(handle.query_state().counters.received, 2U);
  EXPECT_TRUE(handle.query_state().crashes.empty());
  EXPECT_EQ(close(handle), "ok ") << "a second close is no error";
  EXPECT_EQ(send_refused(handle, "x"), "ConversationFailed: conversation closed");
  EXPECT_EQ(receive(handle), "ConversationFailed: conversation closed");
}

TEST_F(ConversationProcessTest, AnExceptionIsTheParticipantsCrashAndFailsTheConversation) {
  auto handle = open();
  const Told waits = nothing();
  const MessageId slow = send(handle, "silent");
  auto pending = handle.start_receive(slow, into(waits));
  EXPECT_EQ(ask(handle, "throw"), "ParticipantCrashed: toy on a: exit status 3");
  EXPECT_EQ(*waits, "ParticipantCrashed: toy on a: exit status 3");
  const auto state = handle.query_state();
  EXPECT_EQ(state.phase, Phase::kFailed);
  ASSERT_EQ(state.crashes.size(), 1U);
  EXPECT_EQ(state.crashes[0].reason, ExitReason::error("exit status 3"));
  EXPECT_EQ(state.crashes[0].at, now);
  EXPECT_EQ(scheduler.counts().processes, 0U) << "a failed conversation holds nothing";
  EXPECT_EQ(close(handle), "ok ");
  EXPECT_EQ(handle.query_state().phase, Phase::kFailed);
  EXPECT_EQ(send_refused(handle, "x"),
            "ConversationFailed: conversation failed: toy on a: exit status 3");
  EXPECT_EQ(receive(handle, slow), "ParticipantCrashed: toy on a: exit status 3");
}

TEST_F(ConversationProcessTest, AKilledParticipantIsACrash) {
  auto handle = open();
  EXPECT_EQ(ask(handle, "kill"), "ParticipantCrashed: toy on a: killed");
}

TEST_F(ConversationProcessTest, RepliesBufferedBeforeTheCrashAreStillHandedOut) {
  auto handle = open();
  const MessageId one = send(handle, "one");
  send(handle, "two", {.reply = ReplyMode::kInbox});
  const MessageId last = send(handle, "reply-then-throw");
  EXPECT_EQ(handle.query_state().phase, Phase::kFailed);
  EXPECT_EQ(receive(handle), "ok two");
  EXPECT_EQ(receive(handle), "ParticipantCrashed: toy on a: boom");
  EXPECT_EQ(receive(handle, one), "ok one");
  EXPECT_EQ(receive(handle, one), "ParticipantCrashed: toy on a: boom");
  EXPECT_EQ(receive(handle, last), "ok reply-then-throw");
}

TEST_F(ConversationProcessTest, OneWhoEndsNormallyOwingNothingHasLeft) {
  auto handle = open();
  EXPECT_EQ(ask(handle, "last"), "ok last");
  EXPECT_EQ(handle.query_state().phase, Phase::kActive);
  EXPECT_EQ(send_refused(handle, "x"), "ParticipantLeft: toy on a has left");
  EXPECT_EQ(ask(handle, "x"), "ParticipantLeft: toy on a has left");
  EXPECT_EQ(close(handle), "ok ");
  EXPECT_EQ(handle.query_state().phase, Phase::kClosed);
}

TEST_F(ConversationProcessTest, OneWhoEndsNormallyOwingAReplyCrashed) {
  auto handle = open();
  EXPECT_EQ(ask(handle, "leave"), "ParticipantCrashed: toy on a: normal, with 1 unanswered");
}

TEST_F(ConversationProcessTest, DoneWithoutReplyIsNoReply) {
  auto handle = open();
  EXPECT_EQ(ask(handle, "done").substr(0, 9), "NoReply: ");
  EXPECT_EQ(handle.query_state().phase, Phase::kActive);
}

TEST_F(ConversationProcessTest, AReceiveThatWasGivenUpSwallowsNoReply) {
  auto handle = open();
  const Told told = nothing();
  auto pending = handle.start_receive(std::nullopt, into(told));
  run();
  EXPECT_TRUE(pending.cancel());
  EXPECT_FALSE(*told != "");
  send(handle, "kept", {.reply = ReplyMode::kInbox});
  EXPECT_EQ(receive(handle), "ok kept");
  EXPECT_EQ(*told, "");
}

/// Takes the call, gives up, and the conversation does not know: it finds out when it answers.
class GivesUpUnseen {
 public:
  GivesUpUnseen(Scheduler& scheduler, const ConversationHandle& handle,
                std::optional<MessageId> request) {
    auto cell = std::make_shared<ConversationCell>(handle.query_state());
    scheduler.send_local(
        handle.pid(),
        std::make_unique<CallMessage>(call::Receive{
            WaiterId{0}, Ticket{waiter_, std::move(cell), question::Receive{request}}, request}));
  }
  void give_up() { EXPECT_TRUE(waiter_->abandon()); }

 private:
  std::shared_ptr<Waiter> waiter_ =
      std::make_shared<Waiter>([](const Outcome&) { ADD_FAILURE() << "told after giving up"; });
};

// The actor decides to hand a reply to a caller that is gone: the reply goes back, and whoever
// waits next gets it.
TEST_F(ConversationProcessTest, AReplyThatMeetsACallerGivingUpIsNotLost) {
  auto handle = open();
  GivesUpUnseen first{scheduler, handle, std::nullopt};
  run();
  first.give_up();
  const Told next = nothing();
  auto pending = handle.start_receive(std::nullopt, into(next));
  send(handle, "kept", {.reply = ReplyMode::kInbox});
  EXPECT_EQ(*next, "ok kept");
}

TEST_F(ConversationProcessTest, AReplyThatGoesBackIsThereBeforeTheNextCallIsDecided) {
  auto handle = open();
  const MessageId id = send(handle, "kept");
  GivesUpUnseen first{scheduler, handle, id};
  // gives up when its call is in the inbox already: this one is handled right after it
  struct GiveUp final : Process {
    explicit GiveUp(GivesUpUnseen& the_first) : first(the_first) {}
    void on_start(Context& context) override {
      first.give_up();
      context.exit(ExitReason::normal());
    }
    void handle(Context&, Message) override {}
    GivesUpUnseen& first;
  };
  scheduler.spawn(std::make_unique<GiveUp>(first));
  EXPECT_EQ(receive(handle, id), "ok kept") << "both calls were in the inbox at once";
}

TEST_F(ConversationProcessTest, ACallWhoseCallerIsGoneAlreadyIsNotTaken) {
  auto handle = open();
  const MessageId id = send(handle, "kept");
  GivesUpUnseen first{scheduler, handle, id};
  first.give_up();
  EXPECT_EQ(receive(handle, id), "ok kept");
  EXPECT_EQ(handle.query_state().counters.received, 1U);
}

TEST_F(ConversationProcessTest, ACloseWakesWhoWaitsAndEndsTheParticipant) {
  auto handle = open();
  const Told waits = nothing();
  auto pending = handle.start_ask(Payload{"silent"}, {}, into(waits));
  run();
  EXPECT_EQ(close(handle), "ok ");
  EXPECT_EQ(*waits, "ConversationFailed: conversation closed");
  EXPECT_EQ(scheduler.counts().processes, 0U);
}

TEST_F(ConversationProcessTest, AParticipantThatDoesNotEndIsKilledAtTheLimit) {
  auto handle = open();
  EXPECT_EQ(ask(handle, "stubborn"), "ok stubborn");
  const Told closed = nothing(), second = nothing();
  auto one = handle.start_close(into(closed));
  run();
  auto two = handle.start_close(into(second));
  run_for(2s - 1ns);
  EXPECT_EQ(handle.query_state().phase, Phase::kCompleting);
  EXPECT_EQ(*closed, "");
  run_for(1ns);
  EXPECT_EQ(*closed, "ok ");
  EXPECT_EQ(*second, "ok ");
  EXPECT_EQ(scheduler.counts().processes, 0U);
  EXPECT_EQ(handle.query_state().phase, Phase::kClosed);
}

// Whatever is under way when the close comes: messages are posted without running in between.
TEST_F(ConversationProcessTest, CloseRacesWithEverything) {
  for (const char* order : {"hello", "throw", "leave", "kill", "done", "silent", "last"}) {
    SCOPED_TRACE(order);
    auto handle = open();
    const Told asked = nothing(), closed = nothing();
    auto pending_ask = handle.start_ask(Payload{order}, {}, into(asked));
    auto pending_close = handle.start_close(into(closed));
    run();
    EXPECT_EQ(*closed, "ok ");
    EXPECT_EQ(*asked, "ConversationFailed: conversation closed");
    EXPECT_EQ(handle.query_state().phase, Phase::kClosed);
    EXPECT_EQ(scheduler.counts().processes, 0U);
    EXPECT_EQ(scheduler.counts().timers, 0U);
  }
}

TEST_F(ConversationProcessTest, AKilledConversationLeavesNobodyWaitingAndNothingRunning) {
  auto handle = open();
  const Told waits = nothing();
  auto pending = handle.start_ask(Payload{"silent"}, {}, into(waits));
  run();
  scheduler.exit(handle.pid(), ExitReason::kill());
  run();
  EXPECT_EQ(waits->substr(0, 18), "ConversationFailed");
  EXPECT_EQ(scheduler.counts().processes, 0U);
  EXPECT_EQ(supervisor.open(), 0U);
  EXPECT_EQ(handle.query_state().phase, Phase::kFailed);
  EXPECT_EQ(close(handle), "ok ");
}

TEST_F(ConversationProcessTest, WithoutAServiceItFailsAtOnce) {
  auto handle = open({CrashPolicy::kFail, {ParticipantConfig::owned(ServiceName{"lower"})}});
  EXPECT_EQ(ask(handle, "x"), "NoService: no node offers service 'lower'");
  EXPECT_EQ(handle.query_state().phase, Phase::kFailed);
  EXPECT_EQ(scheduler.counts().processes, 0U);
}

TEST_F(ConversationProcessTest, ASuspectNodeIsWaitedFor) {
  publish({own_node({kToy}, MemberState::kSuspect)});
  auto handle = open();
  const Told asked = nothing();
  auto pending = handle.start_ask(Payload{"x"}, {}, into(asked));
  run_for(1s);
  EXPECT_EQ(*asked, "");
  publish({own_node({kToy})});
  run_for(50ms);
  EXPECT_EQ(*asked, "ok x");
}

TEST_F(ConversationProcessTest, AnUnansweredSpawnIsGivenUpAtTheLimit) {
  publish({{NodeName{"b"}, Incarnation{5}, MemberState::kJoined, false, {kToy}, {}}});
  auto handle = open();
  const Told asked = nothing();
  auto pending = handle.start_ask(Payload{"x"}, {}, into(asked));
  run_for(15s - 1ns);
  EXPECT_EQ(*asked, "");
  ASSERT_EQ(forwarded.size(), 1U);
  run_for(1ns);
  EXPECT_EQ(*asked, "NoService: no instance of service 'toy' within 15s");
  EXPECT_EQ(scheduler.counts().processes, 0U);
}

TEST_F(ConversationProcessTest, ANodeThatDiesDuringTheSpawnIsNoCrashAndAnotherIsChosen) {
  publish({{NodeName{"b"}, Incarnation{5}, MemberState::kJoined, false, {kToy}, {}}});
  auto handle = open();
  const Told asked = nothing();
  auto pending = handle.start_ask(Payload{"x"}, {}, into(asked));
  run();
  const auto request = std::get<signal::SpawnRequest>(forwarded.at(0));
  publish({own_node({kToy})});
  scheduler.deliver(signal::SpawnReply{request.to, request.from, request.spawn, std::nullopt,
                                       Error{Errc::kPeerUnreachable, "down"}});
  run();
  EXPECT_EQ(*asked, "ok x");
  EXPECT_TRUE(handle.query_state().crashes.empty());
}

TEST_F(ConversationProcessTest, ARemoteInstanceThatIsLostIsNamedWithItsNode) {
  publish({{NodeName{"b"}, Incarnation{5}, MemberState::kJoined, false, {kToy}, {}}});
  auto handle = open();
  const Told asked = nothing();
  auto pending = handle.start_ask(Payload{"x"}, {}, into(asked));
  run();
  const auto request = std::get<signal::SpawnRequest>(forwarded.at(0));
  const Pid instance{NodeName{"b"}, Incarnation{5}, Serial{77}};
  const LinkId link{instance > request.from ? 3U : 2U};
  scheduler.deliver(signal::SpawnReply{instance, request.from, request.spawn, link});
  run();
  ASSERT_EQ(forwarded.size(), 2U);
  EXPECT_EQ(std::get<signal::Send>(forwarded[1]).to, instance);
  scheduler.deliver(signal::Exit{
      instance, request.from,
      ExitReason::noconnection(Evidence{EvidenceSource::kHeartbeatsMissed, 3s, 3s, 0ms}), link});
  run();
  EXPECT_EQ(asked->rfind("ParticipantCrashed: toy on b: noconnection (heartbeats missed", 0), 0U)
      << *asked;
  ASSERT_EQ(handle.query_state().crashes.size(), 1U);
  EXPECT_EQ(handle.query_state().crashes[0].reason.evidence->source,
            EvidenceSource::kHeartbeatsMissed);
}

TEST_F(ConversationProcessTest, AnAttachedPidAnswersAndLivesOn) {
  const Pid toy = scheduler.spawn(std::make_unique<Toy>());
  bystanders = 1;
  {
    auto handle = open({CrashPolicy::kFail, {ParticipantConfig::attached("helper", toy)}});
    EXPECT_EQ(ask(handle, "x"), "ok x");
    EXPECT_EQ(close(handle), "ok ");
  }
  EXPECT_EQ(scheduler.counts().processes, 1U);
  auto handle = open({CrashPolicy::kFail, {ParticipantConfig::attached("helper", toy)}});
  EXPECT_EQ(ask(handle, "throw"), "ParticipantCrashed: helper on a: exit status 3");
  bystanders = 0;
}

TEST_F(ConversationProcessTest, AnAttachedPidThatIsGoneIsACrash) {
  const Pid nobody{NodeName{"a"}, local_incarnation(), Serial{4711}};
  auto handle = open({CrashPolicy::kFail, {ParticipantConfig::attached("helper", nobody)}});
  EXPECT_EQ(ask(handle, "x"), "ParticipantCrashed: helper on a: noproc");
}

TEST_F(ConversationProcessTest, ATooLargePayloadIsRefused) {
  auto handle = open();
  EXPECT_EQ(send_refused(handle, std::string(1001, 'x')),
            "Rejected: payload of 1001 bytes exceeds payload-max 1000");
  EXPECT_EQ(send_refused(handle, std::string(1000, 'x')), "ok ");
}

TEST_F(ConversationProcessTest, TheLastHandlesEndCancelsTheConversation) {
  {
    auto handle = open();
    send(handle, "silent");
    auto copy = handle;
  }
  run_for(5s - 1ns);
  EXPECT_EQ(supervisor.open(), 1U);
  run_for(1ns);
  EXPECT_EQ(supervisor.open(), 0U);
  EXPECT_EQ(scheduler.counts().processes, 0U);
}

TEST_F(ConversationProcessTest, ACallUnderWayKeepsTheConversation) {
  const Told asked = nothing();
  std::optional<ConversationHandle::Pending> pending;
  {
    auto handle = open();
    pending = handle.start_ask(Payload{"silent"}, {}, into(asked));
  }
  run_for(60s);
  EXPECT_EQ(supervisor.open(), 1U);
  pending->cancel();
  pending.reset();
  run_for(5s);
  EXPECT_EQ(supervisor.open(), 0U);
}

TEST_F(ConversationProcessTest, ShutdownClosesAllAndTakesNoMore) {
  auto one = open(), two = open();
  EXPECT_EQ(ask(two, "x"), "ok x");
  supervisor.shutdown();
  run();
  EXPECT_EQ(supervisor.open(), 0U);
  EXPECT_TRUE(supervisor.wait_until_none(0s));
  EXPECT_EQ(one.query_state().phase, Phase::kClosed);
  EXPECT_FALSE(supervisor.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}}));
}

TEST_F(ConversationProcessTest, ConversationsAreBounded) {
  ConversationSupervisor small{scheduler, directory, {.conversations_max = 1}};
  const ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
  auto first = small.spawn(config);
  ASSERT_TRUE(first);
  const auto second = small.spawn(config);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(),
            (Error{Errc::kRejected, "1 conversations are open, conversations-max is 1"}));
  run();
  ConversationHandle handle = first->handle();
  EXPECT_EQ(close(handle), "ok ");
  auto third = small.spawn(config);
  ASSERT_TRUE(third);
  handle = third->handle();
  EXPECT_EQ(close(handle), "ok ");
}

TEST_F(ConversationProcessTest, CallsThatWaitAreBounded) {
  ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
  config.waiters_max = 1;
  auto handle = open(config);
  const Told first = nothing();
  auto pending = handle.start_receive(std::nullopt, into(first));
  run();
  EXPECT_EQ(receive(handle), "Rejected: 1 calls wait, waiters-max is 1");
  EXPECT_TRUE(pending.cancel());
}

/// Opens and asks from within a process's handler.
class Asker final : public Process {
 public:
  Asker(ConversationSupervisor& supervisor, std::vector<std::string>& log)
      : supervisor_(supervisor), log_(log) {}
  void on_start(Context& context) override {
    auto opened = supervisor_.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}});
    handle_.emplace(opened->handle());
    handle_->start_ask(Payload{"x"}, {}, handle_->tell(context.self(), 1));
  }
  void handle(Context& context, Message message) override {
    auto* local = std::get_if<LocalMessagePtr>(&message);
    if (local == nullptr) return;
    auto* outcome = dynamic_cast<ConversationOutcome*>(local->get());
    if (outcome == nullptr) return;
    log_.push_back(std::to_string(outcome->tag) +
                   (outcome->outcome ? " " + std::string{outcome->outcome->view()} : " error"));
    if (outcome->tag == 1) handle_->start_close(handle_->tell(context.self(), 2));
    if (outcome->tag == 2) context.exit(ExitReason::normal());
  }

 private:
  ConversationSupervisor& supervisor_;
  std::vector<std::string>& log_;
  std::optional<ConversationHandle> handle_;
};

TEST_F(ConversationProcessTest, AProcessMayConverseWithoutBlocking) {
  std::vector<std::string> log;
  scheduler.spawn(std::make_unique<Asker>(supervisor, log));
  run();
  EXPECT_EQ(log, (std::vector<std::string>{"1 x", "2 "}));
  EXPECT_EQ(scheduler.counts().processes, 0U);
}

}  // namespace
}  // namespace liminal
