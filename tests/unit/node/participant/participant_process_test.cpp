// A participant answers each request once, in order, to whoever sent it.
#include "node/participant/participant_process.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "fake_context.hpp"
#include "node/participant/behaviour_participant.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;

const Pid kAsker{NodeName{"there"}, Incarnation{5}, Serial{3}};
const Pid kOther{NodeName{"elsewhere"}, Incarnation{6}, Serial{4}};
constexpr ConversationId kConversation{1, 2};

class Upper : public ParticipantBehaviour {
 public:
  std::optional<Payload> process(const Request& request) override {
    if (request.payload.view() == "nothing") return std::nullopt;
    if (request.payload.view() == "throw") throw std::runtime_error("as told");
    return Payload{"<" + std::string{request.payload.view()} + ">"};
  }
};

class SlowUpper final : public Upper {
 public:
  bool blocking() const override { return true; }
};

/// Notes down what it is asked to undo.
class Undoing : public ParticipantBehaviour {
 public:
  std::optional<Payload> process(const Request& asked) override { return asked.payload; }
  void compensate(const Compensation& asked) override {
    undone().push_back(asked);
    if (asked.request.payload.view() == "throw") throw std::runtime_error("as told");
  }
  static std::vector<Compensation>& undone() {
    static std::vector<Compensation> all;
    return all;
  }
};

class SlowUndoing final : public Undoing {
 public:
  bool blocking() const override { return true; }
};

/// To undo the request `number`; its own number is that and 100.
Envelope compensate(std::uint64_t number, std::string payload,
                    std::optional<std::uint64_t> reply_at = {}) {
  return Envelope{.kind = EnvelopeKind::kCompensate,
                  .id = {8, 100 + number},
                  .conversation = kConversation,
                  .parent = MessageId{8, number},
                  .attempt = 2,
                  .trace = "00-trace",
                  .headers = {{"key", "value"}},
                  .payload = Payload{std::move(payload)},
                  .reply_at = reply_at};
}

/// What another thread says of the command that a Commanded runs; nothing: that it may leave.
class Concluded final : public LocalMessage {
 public:
  explicit Concluded(std::optional<CommandOutcome> told) : outcome(std::move(told)) {}
  std::optional<CommandOutcome> outcome;
};

/// As one with a command for each request does, without the command.
class Commanded final : public ParticipantProcess {
 public:
  explicit Commanded(ParticipantSlot slot) : ParticipantProcess(std::move(slot)) {}
  int begun = 0, interrupted = 0;
  bool told_to_end = false;
  std::vector<MessageId> ids;  // that were begun

 private:
  void begin(Context&, const Request& asked) override { begin(asked.id); }
  void begin_undo(Context&, const Compensation& asked) override { begin(asked.id); }
  void begin(const MessageId& id) {
    ++begun;
    ids.push_back(id);
    told_to_end = false;
  }
  void interrupt(Context&) override {
    ++interrupted;
    told_to_end = true;
  }
  bool on_local(Context& context, LocalMessage& message) override {
    auto* concluded = dynamic_cast<Concluded*>(&message);
    if (concluded == nullptr) return false;
    if (concluded->outcome) {
      conclude(context, *std::move(concluded->outcome));
    } else {
      leave(context);
    }
    return true;
  }
};

Envelope request(std::uint64_t number, std::string payload, bool wants_reply = true) {
  return Envelope{.kind = EnvelopeKind::kRequest,
                  .id = {8, number},
                  .conversation = kConversation,
                  .attempt = 3,
                  .wants_reply = wants_reply,
                  .trace = "00-trace",
                  .payload = Payload{std::move(payload)}};
}

class ParticipantProcessTest : public ::testing::Test {
 protected:
  template <class Behaviour>
  std::unique_ptr<Process> make() {
    auto slot = ParticipantSlot::take(ledger, 100);
    auto process = std::make_unique<BehaviourParticipant>(
        *std::move(slot), [] { return std::make_unique<Behaviour>(); });
    context.takes_envelopes = true;
    process->on_start(context);
    return process;
  }

  // As the scheduler does: envelopes wait while they are not taken, everything else is handed out.
  void give(Process& process, Envelope envelope, Pid from = kAsker) {
    mailbox.push_back({from, std::move(envelope)});
    hand_out(process);
  }
  void tell(Process& process, Message message) {
    process.handle(context, std::move(message));
    hand_out(process);
  }
  void hand_out(Process& process) {
    while (context.takes_envelopes && !mailbox.empty()) {
      message::Received next = std::move(mailbox.front());
      mailbox.pop_front();
      process.handle(context, std::move(next));
    }
  }

  /// What the pool would do: it has begun the first job, and has its result.
  void begin_one_blocking() {
    if (!result) result = context.blocking.front()();
  }
  /// The first job has ended.
  void run_one_blocking(Process& process) {
    begin_one_blocking();
    context.blocking.pop_front();
    tell(process, *std::exchange(result, std::nullopt));
  }

  /// What the scheduler would do.
  void fire_due_timers(Process& process) {
    for (;;) {
      const auto due = std::find_if(context.timers.begin(), context.timers.end(),
                                    [this](const auto& t) { return t.second <= context.time; });
      if (due == context.timers.end()) return;
      const TimerId timer = due->first;
      context.timers.erase(due);
      tell(process, message::TimerFired{timer});
    }
  }

  /// As the scheduler does, the mailbox first.
  void cancel(Process& process, std::uint64_t number, Pid from = kAsker) {
    message::Cancelled cancelled{from, MessageId{8, number}, std::nullopt};
    const auto waiting = std::find_if(mailbox.begin(), mailbox.end(), [&](const auto& mail) {
      return mail.from == from && mail.envelope.id == cancelled.message;
    });
    if (waiting != mailbox.end()) {
      cancelled.taken = std::move(waiting->envelope);
      mailbox.erase(waiting);
    }
    tell(process, std::move(cancelled));
  }

  Envelope with_deadline(Envelope envelope, Duration at) {
    envelope.deadline = TimePoint{at};
    return envelope;
  }

  std::vector<std::string> answers() const {
    std::vector<std::string> texts;
    for (const auto& sent : context.sent) {
      std::string text = std::to_string(sent.envelope.parent->low);
      switch (sent.envelope.kind) {
        case EnvelopeKind::kRequest:
          text += " request";
          break;
        case EnvelopeKind::kReply:
          text += " reply ";
          break;
        case EnvelopeKind::kDone:
          text += " done";
          break;
        case EnvelopeKind::kExpired:
          text += " expired";
          break;
        case EnvelopeKind::kCancelled:
          text += " cancelled";
          break;
        case EnvelopeKind::kCompensate:
          text += " compensate";
          break;
        case EnvelopeKind::kCall:
        case EnvelopeKind::kOutcome:
          text += " no participant's";
          break;
      }
      texts.push_back(text + std::string{sent.envelope.payload.view()});
    }
    return texts;
  }

  std::unique_ptr<Commanded> make_commanded() {
    return std::make_unique<Commanded>(*ParticipantSlot::take(ledger, 100));
  }
  void conclude(Process& process, CommandOutcome outcome) {
    tell(process, std::make_unique<Concluded>(std::move(outcome)));
  }
  void leave(Process& process) { tell(process, std::make_unique<Concluded>(std::nullopt)); }
  static CommandOutcome failed(bool was_begun = true) {
    return tl::unexpected(CommandFailure{"signal 9 (SIGKILL)", was_begun});
  }

  std::shared_ptr<ParticipantLedger> ledger = std::make_shared<ParticipantLedger>();
  test::FakeContext context;
  std::deque<message::Received> mailbox;
  std::optional<LocalMessagePtr> result;  // of the first job that blocks, if it has begun
};

TEST_F(ParticipantProcessTest, ARequestGetsOneReplyThatSaysWhatItAnswers) {
  const auto process = make<Upper>();
  give(*process, request(1, "a"), kOther);

  ASSERT_EQ(context.sent.size(), 1u);
  EXPECT_EQ(context.sent[0].to, kOther);
  const Envelope& reply = context.sent[0].envelope;
  EXPECT_EQ(reply.kind, EnvelopeKind::kReply);
  EXPECT_EQ(reply.parent, (MessageId{8, 1}));
  EXPECT_NE(reply.id, (MessageId{8, 1}));
  EXPECT_EQ(reply.conversation, kConversation);
  EXPECT_EQ(reply.attempt, 3u);
  EXPECT_EQ(reply.trace, "00-trace");
  EXPECT_EQ(reply.payload, Payload{"<a>"});
}

TEST_F(ParticipantProcessTest, EchoRepliesWithThePayload) {
  const auto process = make<EchoBehaviour>();
  give(*process, request(1, std::string("\0\xff", 2)));
  give(*process, request(2, ""));
  EXPECT_THAT(answers(), ElementsAre("1 reply " + std::string("\0\xff", 2), "2 reply "));
}

TEST_F(ParticipantProcessTest, AReplyThatMayNotTravelIsACrashAndNotASilence) {
  ledger->payload_bytes_max = 3;
  const auto process = make<EchoBehaviour>();
  give(*process, request(1, "abc"));
  EXPECT_EQ(context.exited, std::nullopt);
  give(*process, request(2, "abcd"));
  EXPECT_THAT(answers(), ElementsAre("1 reply abc"));
  ASSERT_TRUE(context.exited);
  EXPECT_EQ(context.exited->text, "reply of 4 bytes exceeds payload-max (3 bytes)");
}

TEST_F(ParticipantProcessTest, DoneIsToldWhereThereIsNoReplyAndWhereNoneWasWanted) {
  const auto process = make<Upper>();
  give(*process, request(1, "nothing"));
  give(*process, request(2, "nothing", false));
  give(*process, request(3, "a", false));
  EXPECT_THAT(answers(), ElementsAre("1 done", "2 done", "3 done"));
}

TEST_F(ParticipantProcessTest, ARequestExpiresExactlyAtItsDeadline) {
  const auto process = make<Upper>();
  Envelope late = request(1, "a");
  late.deadline = TimePoint{5s};
  context.time = TimePoint{5s - 1ns};
  give(*process, late);
  context.time = TimePoint{5s};
  late.id.low = 2;
  give(*process, late);
  EXPECT_THAT(answers(), ElementsAre("1 reply <a>", "2 expired"));
}

TEST_F(ParticipantProcessTest, BlockingRequestsRunOneAtATimeInOrder) {
  const auto process = make<SlowUpper>();
  for (std::uint64_t n = 1; n <= 3; ++n) give(*process, request(n, std::to_string(n)));
  EXPECT_EQ(context.blocking.size(), 1u);
  EXPECT_TRUE(context.sent.empty());
  run_one_blocking(*process);
  EXPECT_EQ(context.blocking.size(), 1u);
  run_one_blocking(*process);
  run_one_blocking(*process);
  EXPECT_THAT(answers(), ElementsAre("1 reply <1>", "2 reply <2>", "3 reply <3>"));
  EXPECT_TRUE(context.blocking.empty());
}

TEST_F(ParticipantProcessTest, ARequestThatExpiresWhileItWaitsIsNotStarted) {
  const auto process = make<SlowUpper>();
  give(*process, request(1, "a"));
  Envelope waiting = request(2, "b");
  waiting.deadline = TimePoint{1s};
  give(*process, waiting);
  give(*process, request(3, "c"));
  context.time = TimePoint{2s};
  run_one_blocking(*process);
  ASSERT_EQ(context.blocking.size(), 1u);
  run_one_blocking(*process);
  EXPECT_THAT(answers(), ElementsAre("1 reply <a>", "2 expired", "3 reply <c>"));
}

TEST_F(ParticipantProcessTest, ARequestThatExpiresWhileItRunsIsAnsweredThenAndItsLateReplyDropped) {
  const auto process = make<SlowUpper>();
  give(*process, with_deadline(request(1, "a"), 5s));
  begin_one_blocking();
  context.time = TimePoint{5s - 1ns};
  fire_due_timers(*process);
  EXPECT_TRUE(context.sent.empty());
  context.time = TimePoint{5s};
  fire_due_timers(*process);
  EXPECT_THAT(answers(), ElementsAre("1 expired"));
  run_one_blocking(*process);
  give(*process, request(2, "b"));
  run_one_blocking(*process);
  EXPECT_THAT(answers(), ElementsAre("1 expired", "2 reply <b>"));
  EXPECT_EQ(ledger->late_replies.load(), 1u);
  EXPECT_THAT(context.dead_letters, ElementsAre(DeadLetterCause::kLateReply));
  EXPECT_FALSE(context.exited);
}

TEST_F(ParticipantProcessTest, NothingBeginsWhileWhatExpiredStillRunsAndDeadlinesCountMeanwhile) {
  const auto process = make<SlowUpper>();
  give(*process, with_deadline(request(1, "a"), 5s));
  begin_one_blocking();
  give(*process, with_deadline(request(2, "b"), 7s));
  give(*process, with_deadline(request(3, "c"), 6s));
  give(*process, request(4, "d"));
  context.time = TimePoint{5s};
  fire_due_timers(*process);
  context.time = TimePoint{7s};
  fire_due_timers(*process);
  EXPECT_THAT(answers(), ElementsAre("1 expired", "2 expired", "3 expired"));
  ASSERT_EQ(context.blocking.size(), 1u);
  run_one_blocking(*process);  // of the first one
  EXPECT_EQ(context.sent.size(), 3u);
  ASSERT_EQ(context.blocking.size(), 1u);
  run_one_blocking(*process);
  EXPECT_THAT(answers(), ElementsAre("1 expired", "2 expired", "3 expired", "4 reply <d>"));
  EXPECT_EQ(ledger->late_replies.load(), 1u);
}

TEST_F(ParticipantProcessTest, WhatExpiresBeforeThePoolHasBegunItNeverBegins) {
  class Counting final : public ParticipantBehaviour {
   public:
    std::optional<Payload> process(const Request&) override {
      ++begun();
      return std::nullopt;
    }
    bool blocking() const override { return true; }
    static int& begun() {
      static int count = 0;
      return count;
    }
  };
  auto process = make<Counting>();
  give(*process, with_deadline(request(1, "a"), 5s));
  context.time = TimePoint{5s};
  fire_due_timers(*process);
  run_one_blocking(*process);
  EXPECT_EQ(Counting::begun(), 0);
  give(*process, request(2, "b"));
  process.reset();  // it ended with its conversation
  (void)context.blocking.front()();
  EXPECT_EQ(Counting::begun(), 0);
}

TEST_F(ParticipantProcessTest, ADeadlineLeavesNoTimerBehind) {
  const auto process = make<SlowUpper>();
  give(*process, with_deadline(request(1, "a"), 5s));
  give(*process, with_deadline(request(2, "b"), 5s));
  EXPECT_EQ(context.timers.size(), 1u);
  run_one_blocking(*process);
  EXPECT_EQ(context.timers.size(), 1u);
  run_one_blocking(*process);
  EXPECT_TRUE(context.timers.empty());
  const auto quick = make<Upper>();
  give(*quick, with_deadline(request(3, "c"), 5s));
  EXPECT_TRUE(context.timers.empty());
}

TEST_F(ParticipantProcessTest, AnExceptionLeavesTheHandlerUnanswered) {
  const auto process = make<Upper>();
  EXPECT_THROW(give(*process, request(1, "throw")), std::runtime_error);
  EXPECT_TRUE(context.sent.empty());

  const auto slow = make<SlowUpper>();
  give(*slow, request(1, "throw"));
  EXPECT_THROW((void)context.blocking.front()(), std::runtime_error);
}

TEST_F(ParticipantProcessTest, BlockingWorkMayOutliveItsParticipant) {
  auto process = make<SlowUpper>();
  give(*process, request(1, "a"));
  process.reset();
  EXPECT_NE(context.blocking.front()(), nullptr);
}

TEST_F(ParticipantProcessTest, RequestsWaitInTheMailboxWhileOneIsCarriedOut) {
  const auto process = make<SlowUpper>();
  for (std::uint64_t n = 1; n <= 3; ++n) give(*process, request(n, "a"));
  EXPECT_EQ(mailbox.size(), 2u);
  run_one_blocking(*process);
  EXPECT_EQ(mailbox.size(), 1u);
  run_one_blocking(*process);
  run_one_blocking(*process);
  EXPECT_THAT(answers(), ElementsAre("1 reply <a>", "2 reply <a>", "3 reply <a>"));
  EXPECT_TRUE(context.takes_envelopes);
}

TEST_F(ParticipantProcessTest, AnAnswerThatFoundNoRoomIsSentAgainBeforeAnythingIsBegun) {
  const auto process = make<Upper>();
  give(*process, request(1, "a"));
  give(*process, request(2, "b"));
  const auto sent = std::exchange(context.sent, {});
  for (const auto& [to, envelope] : sent) {
    tell(*process, message::Refused{to, envelope.id, signal::RefusalKind::kDeferred, {}, envelope});
  }
  EXPECT_THAT(context.waits, ElementsAre(5ms));
  give(*process, request(3, "c"));
  EXPECT_EQ(mailbox.size(), 1u);
  EXPECT_TRUE(context.sent.empty());

  tell(*process, message::TimerFired{TimerId{1}});
  ASSERT_EQ(context.sent.size(), 2u);  // the same, in order
  EXPECT_EQ(context.sent[0].envelope, sent[0].envelope);
  EXPECT_EQ(context.sent[1].envelope, sent[1].envelope);
  tell(*process,
       message::Refused{
           sent[1].to, sent[1].envelope.id, signal::RefusalKind::kDeferred, {}, sent[1].envelope});
  EXPECT_EQ(mailbox.size(), 1u);
  tell(*process, message::TimerFired{TimerId{2}});
  EXPECT_EQ(context.sent.size(), 3u);
  EXPECT_EQ(mailbox.size(), 1u);
  tell(*process, message::TimerFired{TimerId{3}});  // nothing came back: the answers went
  EXPECT_THAT(context.waits, ElementsAre(5ms, 10ms, 20ms));
  EXPECT_EQ(context.sent.back().envelope.payload, Payload{"<c>"});
  EXPECT_FALSE(context.exited);
}

TEST_F(ParticipantProcessTest, AnAnswerThatIsRefusedForGoodIsACrashAndNotASilence) {
  const auto process = make<Upper>();
  give(*process, request(1, "a"));
  const auto& sent = context.sent[0];
  tell(*process, message::Refused{sent.to, sent.envelope.id, signal::RefusalKind::kRejected,
                                  "too large", sent.envelope});
  EXPECT_EQ(context.exited, ExitReason::error("its answer was refused: too large"));
}

// From another node nothing is returned: it may be anybody's word.
TEST_F(ParticipantProcessTest, OnlyWhomItAnsweredLatelyRefusesAnAnswerForGood) {
  const auto process = make<Upper>();
  constexpr std::uint64_t kRemembered = 128;
  for (std::uint64_t i = 1; i <= kRemembered + 1; ++i) give(*process, request(i, "a"));
  const auto refuse = [&](const Pid& by, const MessageId& message) {
    tell(*process, message::Refused{by, message, signal::RefusalKind::kRejected, "no", {}});
  };
  const Pid stranger{NodeName{"mallory"}, Incarnation{66}, Serial{1}};
  const Pid asker = context.sent[0].to;
  refuse(stranger, context.sent.back().envelope.id);
  refuse(asker, MessageId{66, 66});
  refuse(asker, context.sent[0].envelope.id);
  EXPECT_FALSE(context.exited);
  EXPECT_EQ(ledger->ignored_messages.load(), 3u);

  refuse(asker, context.sent[1].envelope.id);
  EXPECT_EQ(context.exited, ExitReason::error("its answer was refused: no"));
}

TEST_F(ParticipantProcessTest, WhatIsNoRequestIsIgnoredAndCounted) {
  const auto process = make<Upper>();
  Envelope reply = request(1, "a");
  reply.kind = EnvelopeKind::kReply;
  give(*process, reply);
  process->handle(context, message::TimerFired{TimerId{1}});
  process->handle(context, std::make_unique<LocalMessage>());
  process->handle(context, LocalMessagePtr{});
  EXPECT_TRUE(context.sent.empty());
  EXPECT_FALSE(context.exited);
  EXPECT_EQ(ledger->ignored_messages.load(), 4u);
}

// --- undoing ---

TEST_F(ParticipantProcessTest, ACompensationHasTheRequestItsReplyAndTheSameKey) {
  Undoing::undone().clear();
  const auto process = make<Undoing>();
  give(*process, compensate(1, "requestreply", 7), kOther);
  give(*process, compensate(2, "request", 7));
  give(*process, compensate(3, "request", std::nullopt));
  give(*process, compensate(4, "reply", 0));
  EXPECT_THAT(answers(), ElementsAre("101 done", "102 done", "103 done", "104 done"));
  EXPECT_EQ(context.sent[0].to, kOther);
  EXPECT_EQ(context.sent[0].envelope.attempt, 2u);
  EXPECT_EQ(context.sent[0].envelope.conversation, kConversation);
  const auto& undone = Undoing::undone();
  ASSERT_EQ(undone.size(), 4u);
  EXPECT_EQ(undone[0].request.id, (MessageId{8, 1}));
  EXPECT_EQ(undone[0].id, (MessageId{8, 101}));
  EXPECT_EQ(undone[0].attempt, 2u);
  EXPECT_EQ(undone[0].request.conversation, kConversation);
  EXPECT_EQ(undone[0].request.trace, "00-trace");
  EXPECT_EQ(undone[0].request.headers.size(), 1u);
  EXPECT_EQ(undone[0].request.payload, Payload{"request"});
  EXPECT_EQ(undone[0].reply, Payload{"reply"});
  EXPECT_EQ(undone[1].reply, Payload{});  // an empty one is one
  EXPECT_EQ(undone[2].reply, std::nullopt);
  EXPECT_EQ(undone[2].request.payload, Payload{"request"});
  EXPECT_EQ(undone[3].request.payload, Payload{});
}

TEST_F(ParticipantProcessTest, RequestsAndCompensationsTakeTurnsAndObeyDeadlineAndLease) {
  Undoing::undone().clear();
  const auto process = make<SlowUndoing>();
  give(*process, compensate(1, "a"));
  give(*process, request(2, "b"));
  give(*process, with_deadline(compensate(3, "c"), 5s));
  ASSERT_EQ(context.blocking.size(), 1u);
  run_one_blocking(*process);
  run_one_blocking(*process);
  begin_one_blocking();
  context.time = TimePoint{5s};
  fire_due_timers(*process);
  EXPECT_THAT(answers(), ElementsAre("101 done", "2 reply b", "103 expired"));
  run_one_blocking(*process);
  EXPECT_EQ(ledger->late_replies.load(), 0u) << "it has none";
  ledger->lease_until = TimePoint{5s};
  give(*process, compensate(4, "d"));
  EXPECT_TRUE(context.blocking.empty());
  give(*process, with_deadline(compensate(5, "e"), 5s));
  EXPECT_EQ(Undoing::undone().size(), 2u);
  EXPECT_FALSE(context.exited);
}

TEST_F(ParticipantProcessTest, ACompensationThatThrowsLeavesTheHandlerUnanswered) {
  const auto process = make<Undoing>();
  EXPECT_THROW(give(*process, compensate(1, "throw")), std::runtime_error);
  const auto slow = make<SlowUndoing>();
  give(*slow, compensate(1, "throw"));
  EXPECT_THROW((void)context.blocking.front()(), std::runtime_error);
  EXPECT_TRUE(context.sent.empty());
}

TEST_F(ParticipantProcessTest, WhatCannotUndoCrashesRatherThanSayItHas) {
  const auto process = make<Upper>();
  EXPECT_THROW(give(*process, compensate(1, "a")), std::logic_error);
  EXPECT_TRUE(context.sent.empty());
}

TEST_F(ParticipantProcessTest, ACompensationThatCannotBeReadIsIgnoredAndCounted) {
  const auto process = make<Undoing>();
  Undoing::undone().clear();
  Envelope of_nothing = compensate(1, "a");
  of_nothing.parent.reset();
  give(*process, of_nothing);
  give(*process, compensate(1, "a", 2));
  EXPECT_EQ(ledger->ignored_messages.load(), 2u);
  EXPECT_TRUE(Undoing::undone().empty());
  EXPECT_TRUE(context.sent.empty());
}

// --- cancelling ---

TEST_F(ParticipantProcessTest, WhatIsCancelledBeforeItBeganNeverBeginsAndIsAnsweredSo) {
  const auto process = make<SlowUpper>();
  give(*process, request(1, "a"));
  give(*process, request(2, "b"));
  give(*process, compensate(3, "c"));
  cancel(*process, 2);
  cancel(*process, 103);
  ASSERT_THAT(answers(), ElementsAre("2 cancelled", "103 cancelled"));
  EXPECT_EQ(context.sent[0].envelope.conversation, kConversation);
  run_one_blocking(*process);
  EXPECT_THAT(answers(), ElementsAre("2 cancelled", "103 cancelled", "1 reply <a>"));
  EXPECT_TRUE(context.blocking.empty());
}

TEST_F(ParticipantProcessTest, WhatWaitsForTheLeaseOrForWhatIsOverdueWasNotBegun) {
  const auto process = make<SlowUpper>();
  ledger->lease_until = TimePoint::min();
  give(*process, with_deadline(request(1, "a"), 5s));
  cancel(*process, 1);
  EXPECT_THAT(answers(), ElementsAre("1 cancelled"));
  EXPECT_TRUE(context.takes_envelopes);

  ledger->lease_until = TimePoint::max();
  give(*process, with_deadline(request(2, "b"), 6s));
  begin_one_blocking();
  context.time = TimePoint{6s};
  fire_due_timers(*process);
  give(*process, request(3, "c"));
  EXPECT_FALSE(context.takes_envelopes);
  cancel(*process, 3);
  EXPECT_THAT(answers(), ElementsAre("1 cancelled", "2 expired", "3 cancelled"));
  run_one_blocking(*process);  // the second one's, which nobody waits for
  EXPECT_EQ(context.sent.size(), 3u);
  EXPECT_TRUE(context.blocking.empty());
  EXPECT_THAT(context.dead_letters, ElementsAre(DeadLetterCause::kLateReply));
}

TEST_F(ParticipantProcessTest, WhatRunsIsAnsweredAsWhatItCameToForCancellingUndoesNothing) {
  const auto process = make<SlowUpper>();
  give(*process, request(1, "a"));
  begin_one_blocking();
  cancel(*process, 1);
  cancel(*process, 1);
  EXPECT_TRUE(context.sent.empty());
  run_one_blocking(*process);
  give(*process, request(2, "nothing"));
  begin_one_blocking();
  cancel(*process, 2);
  run_one_blocking(*process);
  EXPECT_THAT(answers(), ElementsAre("1 reply <a>", "2 done"));
  EXPECT_FALSE(context.exited);
}

TEST_F(ParticipantProcessTest, WhatThePoolHadNotBegunWhenItWasCancelledIsAnsweredCancelled) {
  const auto process = make<SlowUpper>();
  give(*process, request(1, "a"));
  cancel(*process, 1);
  run_one_blocking(*process);
  EXPECT_THAT(answers(), ElementsAre("1 cancelled"));
}

TEST_F(ParticipantProcessTest, WhatIsCancelledAndRunsOnStillExpiresAtItsDeadline) {
  const auto process = make<SlowUpper>();
  give(*process, with_deadline(request(1, "a"), 5s));
  begin_one_blocking();
  cancel(*process, 1);
  context.time = TimePoint{5s};
  fire_due_timers(*process);
  EXPECT_THAT(answers(), ElementsAre("1 expired"));
  run_one_blocking(*process);
  EXPECT_EQ(context.sent.size(), 1u);
  EXPECT_EQ(ledger->late_replies.load(), 1u);
}

TEST_F(ParticipantProcessTest, NobodyCancelsWhatIsNotHisOrWasAnswered) {
  const auto process = make<SlowUpper>();
  give(*process, request(1, "a"));
  cancel(*process, 1, kOther);
  cancel(*process, 7);
  run_one_blocking(*process);
  cancel(*process, 1);
  EXPECT_THAT(answers(), ElementsAre("1 reply <a>"));
  EXPECT_EQ(ledger->ignored_messages.load(), 0u);
}

TEST_F(ParticipantProcessTest, ACommandThatWasToldToEndAndDidHasNotCrashed) {
  const auto process = make_commanded();
  give(*process, request(1, "a"));
  cancel(*process, 1);
  cancel(*process, 1);
  EXPECT_EQ(process->interrupted, 1);
  EXPECT_TRUE(context.sent.empty());
  conclude(*process, failed());
  give(*process, compensate(2, "b"));
  cancel(*process, 102);
  conclude(*process, failed());
  give(*process, request(3, "c"));
  cancel(*process, 3);
  conclude(*process, Payload{"sooner"});
  give(*process, request(4, "d"));
  cancel(*process, 4);
  conclude(*process, failed(false));
  EXPECT_THAT(answers(), ElementsAre("1 expired", "102 expired", "3 reply sooner", "4 cancelled"));
  EXPECT_FALSE(context.exited);
  // and what nobody told to end has
  give(*process, request(5, "e"));
  EXPECT_EQ(process->begun, 5);
  conclude(*process, failed());
  EXPECT_EQ(context.exited, ExitReason::error("signal 9 (SIGKILL)"));
}

TEST_F(ParticipantProcessTest, WhatExpiredAndThenEndsIsNoCrashWhateverIsAnsweredMeanwhile) {
  const auto process = make_commanded();
  give(*process, with_deadline(request(1, "a"), 5s));
  cancel(*process, 1);
  context.time = TimePoint{5s};
  fire_due_timers(*process);
  EXPECT_EQ(process->interrupted, 1) << "it was told before";
  give(*process, with_deadline(request(2, "b"), 6s));
  give(*process, request(3, "c"));
  cancel(*process, 3);
  context.time = TimePoint{6s};
  fire_due_timers(*process);
  give(*process, request(4, "d"));
  cancel(*process, 4);
  EXPECT_THAT(answers(), ElementsAre("1 expired", "3 cancelled", "2 expired", "4 cancelled"));
  EXPECT_EQ(process->begun, 1);
  conclude(*process, failed());
  EXPECT_FALSE(context.exited);
  EXPECT_EQ(context.sent.size(), 4u);
  EXPECT_TRUE(context.dead_letters.empty());
  give(*process, request(5, "e"));
  EXPECT_EQ(process->begun, 2);
}

TEST_F(ParticipantProcessTest, OneThatLeavesSeesItsAnswersOffFirst) {
  const auto process = make_commanded();
  give(*process, request(1, "a"));
  conclude(*process, Payload{"x"});
  leave(*process);
  EXPECT_FALSE(context.exited) << "the answer may come back";
  EXPECT_FALSE(context.takes_envelopes);
  const auto sent = std::exchange(context.sent, {});
  tell(*process,
       message::Refused{
           sent[0].to, sent[0].envelope.id, signal::RefusalKind::kDeferred, {}, sent[0].envelope});
  context.time += 1s;
  fire_due_timers(*process);
  EXPECT_THAT(answers(), ElementsAre("1 reply x"));
  EXPECT_FALSE(context.exited);
  context.time += 1s;
  fire_due_timers(*process);
  EXPECT_EQ(context.exited, ExitReason::normal());
  EXPECT_TRUE(context.timers.empty());
}

TEST_F(ParticipantProcessTest, OneThatLeavesUndoesFirstWhatItHadBegunToUndo) {
  const auto process = make_commanded();
  give(*process, compensate(1, "a"));
  leave(*process);
  give(*process, request(2, "b"));
  EXPECT_EQ(mailbox.size(), 1u) << "it takes nothing more";
  EXPECT_FALSE(context.exited);
  conclude(*process, Payload{});
  EXPECT_THAT(answers(), ElementsAre("101 done"));
  context.time += 1s;
  fire_due_timers(*process);
  EXPECT_EQ(context.exited, ExitReason::normal());
  EXPECT_EQ(process->begun, 1);

  const auto idle = make_commanded();
  context.exited.reset();
  leave(*idle);
  EXPECT_EQ(context.exited, ExitReason::normal()) << "at once: it owes nothing";
}

// Whatever the order of arrivals, cancellings, deadlines and ends: everything that was asked is
// answered exactly once, and `cancelled` only what never began. On failure the seed is printed.
TEST_F(ParticipantProcessTest, AnyInterleavingOfCancellingsAnswersEverythingOnce) {
  std::map<EnvelopeKind, int> kinds;
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    context.sent.clear();
    context.timers.clear();
    mailbox.clear();
    context.takes_envelopes = true;
    const auto process = make_commanded();
    std::uint64_t given = 0;
    int concluded = 0;
    for (int i = 0; i < 120; ++i) {
      context.time += Duration{static_cast<Duration::rep>(random.below(10))};
      fire_due_timers(*process);
      const std::uint64_t choice = random.below(10);
      if (choice < 4) {
        Envelope next = random.below(3) == 0 ? compensate(++given, "u") : request(++given, "a");
        next.id.low = given;
        if (random.below(3) == 0) {
          next.deadline = context.time + Duration{static_cast<Duration::rep>(random.below(30))};
        }
        give(*process, next);
      } else if (choice < 7) {
        cancel(*process, 1 + random.below(given + 1));
      } else if (process->begun > concluded) {
        ++concluded;
        if (process->told_to_end && random.below(2) == 0) {
          const bool was_begun = random.below(2) == 0;
          if (!was_begun) process->ids.pop_back();
          conclude(*process, failed(was_begun));
        } else {
          conclude(*process, Payload{"r"});
        }
      }
      ASSERT_LE(process->begun, concluded + 1) << "one at a time";
      ASSERT_FALSE(context.exited);
    }
    while (process->begun > concluded) {
      ++concluded;
      conclude(*process, Payload{"r"});
    }
    std::map<std::uint64_t, int> answered;
    for (const auto& sent : context.sent) {
      ++answered[sent.envelope.parent->low];
      ++kinds[sent.envelope.kind];
      ASSERT_TRUE(sent.envelope.kind != EnvelopeKind::kCancelled ||
                  std::count(process->ids.begin(), process->ids.end(), *sent.envelope.parent) == 0);
    }
    ASSERT_EQ(answered.size(), given);
    for (const auto& [number, times] : answered) ASSERT_EQ(times, 1) << number;
    EXPECT_TRUE(context.timers.empty());
  }
  for (const EnvelopeKind kind : {EnvelopeKind::kReply, EnvelopeKind::kDone, EnvelopeKind::kExpired,
                                  EnvelopeKind::kCancelled}) {
    EXPECT_GT(kinds[kind], 500);  // else this explored nothing of what it is about
  }
}

TEST_F(ParticipantProcessTest, ItTrapsNoExits) {
  const auto process = make<Upper>();
  give(*process, request(1, "a"));
  EXPECT_FALSE(context.trapped);
}

TEST_F(ParticipantProcessTest, AFactoryThatMakesNothingIsACrash) {
  BehaviourParticipant process{*ParticipantSlot::take(ledger, 100),
                               []() -> std::unique_ptr<ParticipantBehaviour> { return nullptr; }};
  process.on_start(context);
  ASSERT_TRUE(context.exited);
  EXPECT_EQ(context.exited->kind, ExitKind::kError);
  give(process, request(1, "a"));
  EXPECT_TRUE(context.sent.empty());
}

// Whatever the order of arrivals, completions and deadlines: every request is answered once, in
// order, and the one whose turn it is not after its deadline. On failure the seed is printed.
// --- the lease ---

TEST_F(ParticipantProcessTest, WorkForAnotherNodeBeginsOnlyWhileTheLeaseIsHeld) {
  const auto process = make<Upper>();
  ledger->lease_until = TimePoint{1s};
  context.time = TimePoint{1s - 1ns};
  give(*process, request(1, "a"));
  EXPECT_THAT(answers(), ElementsAre("1 reply <a>"));
  context.time = TimePoint{1s};
  give(*process, request(2, "b"));
  give(*process, request(3, "c"));
  EXPECT_THAT(answers(), ElementsAre("1 reply <a>"));
  EXPECT_FALSE(context.takes_envelopes) << "what comes next waits in the mailbox";

  ledger->lease_until = TimePoint{10s};
  context.time += 50ms;
  fire_due_timers(*process);
  EXPECT_THAT(answers(), ElementsAre("1 reply <a>", "2 reply <b>", "3 reply <c>"));
}

TEST_F(ParticipantProcessTest, WorkForItsOwnNodeNeedsNoLease) {
  const auto process = make<Upper>();
  ledger->lease_until = TimePoint::min();
  give(*process, request(1, "a"), Pid{NodeName{"here"}, local_incarnation(), Serial{3}});
  EXPECT_THAT(answers(), ElementsAre("1 reply <a>"));
}

TEST_F(ParticipantProcessTest, WhatWaitsForTheLeaseExpiresAtItsDeadline) {
  const auto process = make<Upper>();
  ledger->lease_until = TimePoint::min();
  give(*process, with_deadline(request(1, "a"), 120ms));
  for (int i = 0; i < 3; ++i) {
    context.time += 40ms;
    fire_due_timers(*process);
  }
  EXPECT_THAT(answers(), ElementsAre("1 expired"));
}

TEST_F(ParticipantProcessTest, AnyInterleavingAnswersEachRequestOnceInOrder) {
  std::uint64_t late = 0;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    context.sent.clear();
    mailbox.clear();
    const auto process = make<SlowUpper>();
    std::uint64_t given = 0;
    std::vector<TimePoint> deadlines;
    for (int i = 0; i < 80; ++i) {
      context.time += Duration{static_cast<Duration::rep>(random.below(10))};
      fire_due_timers(*process);
      ASSERT_LE(context.timers.size(), 1u);
      const std::size_t answered = context.sent.size();
      if (answered < given) {
        ASSERT_GT(deadlines[answered], context.time);
      }
      if (random.below(2) == 0) {
        Envelope next =
            request(++given, random.below(4) == 0 ? "nothing" : "a", random.below(3) != 0);
        if (random.below(3) == 0) {
          next.deadline = context.time + Duration{static_cast<Duration::rep>(random.below(30))};
        }
        deadlines.push_back(next.deadline.value_or(TimePoint::max()));
        give(*process, next);
      } else if (!context.blocking.empty()) {
        random.below(2) == 0 ? begin_one_blocking() : run_one_blocking(*process);
      }
      ASSERT_LE(context.blocking.size(), 1u);
    }
    while (!context.blocking.empty()) run_one_blocking(*process);
    ASSERT_EQ(context.sent.size(), given);
    for (std::uint64_t n = 0; n < given; ++n) {
      EXPECT_EQ(context.sent[n].envelope.parent->low, n + 1);
    }
    EXPECT_TRUE(context.timers.empty());
    EXPECT_FALSE(context.exited);
    late = ledger->late_replies.load();
  }
  EXPECT_GT(late, 40u);  // else this explored nothing of what it is about
}

}  // namespace
}  // namespace liminal
