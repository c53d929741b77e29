// Mailboxes are bounded: what is too much is told its sender, and no sender's order is lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "tests/unit/node/scheduler/troupe.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::size_t kMessagesMax = 3;
constexpr std::size_t kBytesMax = 1000;
constexpr std::size_t kDeferredMax = 12;

class MailboxBoundsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    troupe.run();
    stall(sink);
  }
  void stall(std::size_t who) {
    troupe.act(who, [](Context& c) { c.take_envelopes(false); });
  }
  void go_on(std::size_t who) {
    troupe.act(who, [](Context& c) { c.take_envelopes(true); });
  }
  MessageId say(std::size_t from, std::string text) {
    MessageId id{};
    troupe.act(from, [&](Context& c) {
      Envelope envelope = test::envelope(c, text);
      id = envelope.id;
      c.send(troupe.pid(from, sink), std::move(envelope));
    });
    return id;
  }
  void say_again(std::size_t from, MessageId id, std::string text) {
    troupe.act(from, [&](Context& c) {
      Envelope envelope = test::envelope(c, text);
      envelope.id = id;
      c.send(troupe.pid(from, sink), std::move(envelope));
    });
  }
  Scheduler::MailboxLoad load() { return troupe.node().mailbox_load(troupe.pid(sink)); }

  test::Troupe troupe{2, 64, 1, MailboxBounds{kMessagesMax, kBytesMax, kDeferredMax}, 4};
  std::size_t sink = troupe.spawn_trapping();
  std::size_t a = troupe.spawn_trapping();
  std::size_t b = troupe.spawn();
  std::size_t far = troupe.spawn_trapping(1);
};

TEST_F(MailboxBoundsTest, TheOneThatIsTooManyIsDeferredAndGivenBack) {
  for (const char* text : {"1", "2", "3"}) say(a, text);
  EXPECT_THAT(troupe.seen(a), IsEmpty());
  say(a, "4");
  EXPECT_THAT(troupe.seen(a), ElementsAre("deferred by 0 4"));
  EXPECT_EQ(load().messages, kMessagesMax);
  go_on(sink);
  EXPECT_THAT(troupe.seen(sink), ElementsAre("got 1 1", "got 1 2", "got 1 3"));
  EXPECT_EQ(load(), (Scheduler::MailboxLoad{0, 0}));
  EXPECT_EQ(troupe.node().dead_letters().total(), 0U);  // deferred is not lost
}

TEST_F(MailboxBoundsTest, ASenderOnAnotherNodeIsToldAcrossIt) {
  for (const char* text : {"1", "2", "3", "4"}) say(far, text);
  EXPECT_THAT(troupe.seen(far), ElementsAre("deferred by 0"));  // the envelope stayed here
  EXPECT_EQ(load().messages, kMessagesMax);
}

TEST_F(MailboxBoundsTest, NothingLaterOfThatSenderIsTakenUntilTheDeferredOneCameAgain) {
  for (const char* text : {"1", "2", "3"}) say(a, text);
  const MessageId fourth = say(a, "4");
  go_on(sink);
  const MessageId fifth = say(a, "5");  // there is room, but 4 was first
  say(b, "other");                      // and nobody else is held up
  EXPECT_THAT(troupe.seen(a), ElementsAre("deferred by 0 4", "deferred by 0 5"));
  say_again(a, fourth, "4");
  say_again(a, fifth, "5");
  say(a, "6");
  EXPECT_THAT(troupe.seen(sink), ElementsAre("got 1 1", "got 1 2", "got 1 3", "got 2 other",
                                             "got 1 4", "got 1 5", "got 1 6"));
}

TEST_F(MailboxBoundsTest, BytesAreBoundedAtTheBoundAndOneByteBeyond) {
  constexpr std::size_t kConstant = wire::kItemCreditBytes;
  say(a, std::string(kBytesMax - 2 * kConstant - 1, 'x'));
  EXPECT_EQ(load().bytes, kBytesMax - kConstant - 1);
  say(b, "12");  // one byte too many
  EXPECT_EQ(load().messages, 1U);
  EXPECT_THAT(troupe.seen(b), ElementsAre("deferred by 0 12"));
  say(a, "1");
  EXPECT_EQ(load(), (Scheduler::MailboxLoad{2, kBytesMax}));
  EXPECT_THAT(troupe.seen(a), IsEmpty());
}

TEST_F(MailboxBoundsTest, OneThatIsTooLargePassesAlone) {
  say(a, std::string(10 * kBytesMax, 'x'));
  EXPECT_EQ(load().messages, 1U);
  say(b, "");
  EXPECT_THAT(troupe.seen(b), ElementsAre("deferred by 0 "));
}

TEST_F(MailboxBoundsTest, EverythingButEnvelopesGetsThrough) {
  for (const char* text : {"1", "2", "3"}) say(a, text);
  troupe.act(a, [&](Context& c) {
    c.send_local(troupe.pid(sink), std::make_unique<LocalMessage>());
    c.exit(troupe.pid(sink), ExitReason::shutdown());
  });
  troupe.act(sink, [](Context& c) { static_cast<void>(c.start_timer(0s)); });
  EXPECT_THAT(troupe.seen(sink), ElementsAre("local", "exited 1 shutdown", "timer 1"));
  go_on(sink);
  EXPECT_EQ(troupe.seen(sink).size(), 6U);
}

TEST_F(MailboxBoundsTest, MessagesComeInTheOrderInWhichTheyCameOnceEnvelopesAreTaken) {
  go_on(sink);
  troupe.post(a, [&](Context& c) {
    c.send(troupe.pid(sink), test::envelope(c, "1"));
    c.send_local(troupe.pid(sink), std::make_unique<LocalMessage>());
    c.send(troupe.pid(sink), test::envelope(c, "2"));
    c.send_local(troupe.pid(sink), std::make_unique<LocalMessage>());
  });
  troupe.run();
  EXPECT_THAT(troupe.seen(sink), ElementsAre("got 1 1", "local", "got 1 2", "local"));
}

TEST_F(MailboxBoundsTest, WhatIsOwedAnAnswerHasRoomForItAndForNoMore) {
  for (const char* text : {"1", "2", "3"}) say(b, text);
  const auto answer = [&](std::size_t from) {
    troupe.act(from, [&](Context& c) {
      Envelope envelope = test::envelope(c, "answer");
      envelope.kind = EnvelopeKind::kReply;
      c.send(troupe.pid(from, sink), std::move(envelope));
    });
  };
  answer(a);
  EXPECT_THAT(troupe.seen(a), ElementsAre("deferred by 0 answer"));  // nobody asked
  troupe.act(sink, [&](Context& c) { c.send(troupe.pid(a), test::envelope(c, "request")); });
  answer(far);
  answer(far);
  EXPECT_THAT(troupe.seen(far), ElementsAre("deferred by 0"));  // the second one
  EXPECT_EQ(load().messages, kMessagesMax + 1);
}

TEST_F(MailboxBoundsTest, ACompensationIsNoAnswerAndIsOwedOne) {
  for (const char* text : {"1", "2", "3"}) say(b, text);
  const auto send = [&](std::size_t from, std::size_t to, EnvelopeKind kind) {
    troupe.act(from, [&](Context& c) {
      Envelope envelope = test::envelope(c, "x");
      envelope.kind = kind;
      c.send(troupe.pid(from, to), std::move(envelope));
    });
  };
  send(sink, b, EnvelopeKind::kCompensate);
  send(a, sink, EnvelopeKind::kCompensate);  // the room is for its answer
  EXPECT_THAT(troupe.seen(a), ElementsAre("deferred by 0 x"));
  send(b, sink, EnvelopeKind::kCancelled);
  EXPECT_EQ(load().messages, kMessagesMax + 1);
}

TEST_F(MailboxBoundsTest, WhatItsSenderCancelsLeavesTheMailboxAndItsRoom) {
  say(a, "1");
  const MessageId second = say(a, "2");
  say(a, "3");
  const auto full = load();
  troupe.act(a, [&](Context& c) { c.cancel(troupe.pid(sink), second); });
  EXPECT_THAT(troupe.seen(sink), ElementsAre("cancelled by 1 2"));
  EXPECT_EQ(load(), (Scheduler::MailboxLoad{2, full.bytes / 3 * 2}));
  say(b, "other");
  EXPECT_THAT(troupe.seen(b), IsEmpty());
  go_on(sink);
  EXPECT_THAT(troupe.seen(sink),
              ElementsAre("cancelled by 1 2", "got 1 1", "got 1 3", "got 2 other"));
  EXPECT_EQ(load(), (Scheduler::MailboxLoad{0, 0}));
}

TEST_F(MailboxBoundsTest, NobodyCancelsWhatIsNotHisOrWasHandedOut) {
  const MessageId first = say(a, "1");
  troupe.act(b, [&](Context& c) { c.cancel(troupe.pid(sink), first); });
  EXPECT_THAT(troupe.seen(sink), ElementsAre("cancelled by 2 nothing"));
  EXPECT_EQ(load().messages, 1U);
  go_on(sink);
  troupe.act(a, [&](Context& c) { c.cancel(troupe.pid(sink), first); });
  EXPECT_EQ(troupe.seen(sink).back(), "cancelled by 1 nothing");
}

TEST_F(MailboxBoundsTest, ACancellingWhoseProcessEndsBeforeItReadsItIsADeadLetter) {
  const MessageId first = say(a, "1");
  troupe.post(a, [&](Context& c) { c.cancel(troupe.pid(sink), first); });
  troupe.post(sink, [](Context& c) { c.exit(ExitReason::normal()); });
  troupe.run();
  EXPECT_FALSE(troupe.alive(sink));
  EXPECT_EQ(troupe.node().dead_letters().total(), 1U);
  troupe.act(a, [&](Context& c) { c.cancel(troupe.pid(sink), first); });  // to the dead: dropped
  EXPECT_EQ(troupe.node().dead_letters().total(), 1U);
}

TEST_F(MailboxBoundsTest, CancelsOfOneNodeThatAProcessInALongTurnHasNotReadAreBounded) {
  const std::size_t most = 2 * kMessagesMax + kDeferredMax;
  const auto cancelled = [&] {
    const auto seen = troupe.seen(sink);
    return static_cast<std::size_t>(std::count_if(
        seen.begin(), seen.end(), [](const auto& line) { return line.starts_with("cancelled"); }));
  };
  const auto flood = [&](std::size_t from, std::size_t count) {
    troupe.post(from, [&, from, count](Context& c) {
      for (std::size_t i = 0; i < count; ++i) {
        c.cancel(troupe.pid(from, sink), MessageId{9, i});
      }
    });
  };
  // In its turn none of them is read.
  const auto during_a_long_turn = [&](std::size_t count) {
    troupe.post(sink, [&, count](Context&) {
      for (std::size_t i = 0; i < count; ++i) {
        troupe.node().deliver(
            signal::Cancel{troupe.pid(sink, far), troupe.pid(sink), MessageId{9, i}});
      }
    });
    troupe.run();
  };
  during_a_long_turn(most);
  EXPECT_EQ(cancelled(), most);
  EXPECT_EQ(troupe.node().dead_letters().total(), 0U);
  during_a_long_turn(most + 1);
  EXPECT_EQ(cancelled(), 2 * most);
  EXPECT_EQ(troupe.node().dead_letters().total(), 1U) << "counted";
  during_a_long_turn(most);
  EXPECT_EQ(cancelled(), 3 * most) << "what was read makes room";
  flood(a, 2 * most);  // of its own node: one for each request that it sent
  troupe.run();
  EXPECT_EQ(cancelled(), 5 * most);
}

TEST_F(MailboxBoundsTest, WhatIsWithdrawnIsNotWaitedFor) {
  for (const char* text : {"1", "2", "3"}) say(far, text);
  const MessageId fourth = say(far, "4");
  go_on(sink);
  troupe.act(far, [&](Context& c) { c.withdraw(troupe.pid(far, sink), fourth); });
  say(far, "5");
  EXPECT_EQ(troupe.seen(sink).back(), "got 3 5");
}

TEST_F(MailboxBoundsTest, TheBookOfTheDeferredIsBoundedToo) {
  for (const char* text : {"1", "2", "3"}) say(b, text);
  for (std::size_t n = 0; n < kDeferredMax; ++n) say(a, "more");
  EXPECT_EQ(troupe.seen(a).back(), "deferred by 0 more");
  say(a, "too many");
  EXPECT_EQ(troupe.seen(a).back(), "rejected by 0 too many");
  EXPECT_EQ(troupe.node().dead_letters().count(DeadLetterCause::kRejected), 1U);
  EXPECT_EQ(troupe.node().dead_letters().newest().back().to, troupe.pid(sink));
}

TEST_F(MailboxBoundsTest, ASenderThatEndsLeavesNothingInTheBook) {
  for (const char* text : {"1", "2", "3"}) say(b, text);
  for (std::size_t n = 0; n < kDeferredMax; ++n) say(far, "more");
  troupe.act(far, [](Context& c) { c.exit(ExitReason::normal()); });  // not linked to anybody
  say(a, "next");
  EXPECT_EQ(troupe.seen(a).back(), "deferred by 0 next");
}

TEST_F(MailboxBoundsTest, ASenderWhoseNodeIsLostLeavesNothingWhereItWasLinked) {
  troupe.act(far, [&](Context& c) { c.link(troupe.pid(far, sink)); });
  for (const char* text : {"1", "2", "3"}) say(b, text);
  for (std::size_t n = 0; n < kDeferredMax; ++n) say(far, "more");
  // What NodeCore says for it. Its link has the first id that the greater pid makes.
  troupe.node().deliver(signal::Exit{troupe.pid(sink, far), troupe.pid(sink),
                                     ExitReason::noconnection({}), LinkId{3}});
  say(a, "next");
  EXPECT_EQ(troupe.seen(a).back(), "deferred by 0 next");
}

TEST_F(MailboxBoundsTest, ARefusalOfWhatWasNeverSentIsDropped) {
  for (int i = 0; i < 5; ++i) {
    troupe.node().deliver(signal::Refusal{troupe.pid(a, far), troupe.pid(a), MessageId{1, 2},
                                          signal::RefusalKind::kDeferred});
  }
  troupe.run();
  EXPECT_THAT(troupe.seen(a), IsEmpty());
}

TEST_F(MailboxBoundsTest, RefusalsThatAThirdNodeMakesUpTakeNoTrueOnesPlace) {
  for (const char* text : {"1", "2", "3"}) say(far, text);
  for (std::uint64_t i = 1; i <= 5; ++i) {
    troupe.node(1).deliver(signal::Refusal{Pid{NodeName{"mallory"}, Incarnation{0xbad}, Serial{i}},
                                           troupe.pid(far), MessageId{1, i},
                                           signal::RefusalKind::kDeferred});
  }
  say(far, "4");
  EXPECT_THAT(troupe.seen(far), ElementsAre("deferred by 0"));
}

// Each attempt counts, and its refusal too, wherever that came from.
TEST_F(MailboxBoundsTest, WhatWasRefusedHereGivesNobodyRefusalsToMakeUp) {
  const Pid there{NodeName{"mallory"}, Incarnation{0xbad}, Serial{1}};
  const auto refuse = [&](std::optional<Envelope> returned) {
    troupe.node().deliver(signal::Refusal{there,
                                          troupe.pid(a),
                                          MessageId{1, 1},
                                          signal::RefusalKind::kDeferred,
                                          {},
                                          std::move(returned)});
  };
  for (int i = 0; i < 10; ++i) {
    troupe.act(a, [&](Context& c) { c.send(there, test::envelope(c, "again")); });
    refuse(Envelope{EnvelopeKind::kRequest, MessageId{1, 1}, ConversationId{0, 1}});
  }
  troupe.run();
  ASSERT_EQ(troupe.seen(a).size(), 10u);
  for (int i = 0; i < 10; ++i) refuse(std::nullopt);
  troupe.run();
  EXPECT_EQ(troupe.seen(a).size(), 10u);
}

// However many are written to; those beyond the bound are not told apart.
TEST_F(MailboxBoundsTest, TrueRefusalsOfVeryManyNodesArrive) {
  const auto pid_of = [](std::uint64_t node) {
    return Pid{NodeName{"many"}, Incarnation{1000 + node}, Serial{1}};
  };
  constexpr std::uint64_t kMany = 3000;
  for (std::uint64_t n = 0; n < kMany; ++n) {
    troupe.act(a, [&](Context& c) { c.send(pid_of(n), test::envelope(c, "x")); });
  }
  for (std::uint64_t n = 0; n < kMany; ++n) {
    troupe.node().deliver(
        signal::Refusal{pid_of(n), troupe.pid(a), MessageId{1, 1}, signal::RefusalKind::kDeferred});
  }
  troupe.run();
  EXPECT_EQ(troupe.seen(a).size(), kMany);
}

TEST_F(MailboxBoundsTest, WhatAnEndedProcessHadNotReadIsDeadLetters) {
  for (const char* text : {"1", "2", "3"}) say(a, text);
  troupe.act(sink, [](Context& c) { c.exit(ExitReason::normal()); });
  say(a, "late");
  auto& letters = troupe.node().dead_letters();
  EXPECT_EQ(letters.count(DeadLetterCause::kNotRead), 3U);
  EXPECT_EQ(letters.count(DeadLetterCause::kNoProcess), 1U);
  EXPECT_EQ(letters.newest().back().payload_bytes, 4U);
}

// --- links and monitors --------------------------------------------------------------------------

TEST_F(MailboxBoundsTest, ALinkOrMonitorBeyondTheBoundIsAnsweredAtOnce) {
  for (int i = 0; i < 4; ++i) {
    troupe.act(a, [&](Context& c) { static_cast<void>(c.monitor(troupe.pid(sink))); });
  }
  EXPECT_THAT(troupe.seen(a), IsEmpty());
  troupe.act(far, [&](Context& c) {
    c.link(troupe.pid(far, sink));
    static_cast<void>(c.monitor(troupe.pid(far, sink)));
  });
  EXPECT_THAT(troupe.seen(far),
              ElementsAre("exited 0 error 4 links and monitors at one process, links-max",
                          "down 1 0 error 4 links and monitors at one process, links-max"));
  troupe.act(a, [&](Context& c) {  // its own are four as well
    c.link(troupe.pid(b));
    static_cast<void>(c.monitor(troupe.pid(b)));
  });
  EXPECT_THAT(troupe.seen(a),
              ElementsAre("exited 2 error 4 links and monitors at one process, links-max",
                          "down 5 2 error 4 links and monitors at one process, links-max"));
  troupe.act(a, [](Context& c) { c.demonitor(MonitorId{1}); });
  troupe.act(a, [&](Context& c) { c.link(troupe.pid(b)); });
  EXPECT_EQ(troupe.seen(a).size(), 2U);
  troupe.act(b, [](Context& c) { c.exit(ExitReason::error("linked")); });
  EXPECT_EQ(troupe.seen(a).back(), "exited 2 error linked");
}

// --- any order -----------------------------------------------------------------------------------

// Senders near and far that send on at random and repeat what is deferred in order; a sink that
// stalls and goes on. Whatever the interleaving: the bound holds at every moment, and each sender's
// messages come out in its order, each once. On failure the seed is printed.
TEST(MailboxBounds, AnyInterleavingKeepsTheBoundAndEachSendersOrder) {
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    test::Troupe troupe{2, 64, 1, MailboxBounds{4, 100'000}};
    const auto sink = troupe.spawn(0);
    std::map<std::size_t, std::uint64_t> sent;  // by sender
    for (const std::size_t node : {0U, 0U, 1U}) sent[troupe.spawn(node)] = 0;
    troupe.run();

    const auto transmit = [&](std::size_t who, std::uint64_t number) {
      troupe.post(who, [&troupe, who, sink, number](Context& c) {
        Envelope envelope = test::envelope(c, std::to_string(number));
        envelope.id = MessageId{who, number};
        c.send(troupe.pid(who, sink), std::move(envelope));
      });
    };
    // A puppet does not say which one was refused, so that everything is repeated which the sink
    // has not got, from the first of it on: repeats of what it has would show as doubles.
    const auto got = [&](std::size_t who) {
      std::uint64_t count = 0;
      const std::string prefix = "got " + std::to_string(who) + " ";
      for (const std::string& note : troupe.seen(sink)) {
        if (!note.starts_with(prefix)) continue;
        EXPECT_EQ(std::stoull(note.substr(prefix.size())), ++count);
      }
      return count;
    };
    for (int i = 0; i < 60; ++i) {
      auto it = sent.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(random.below(3)));
      const std::size_t who = it->first;
      switch (random.below(4)) {
        case 0:
          troupe.post(sink, [](Context& c) { c.take_envelopes(false); });
          break;
        case 1:
          troupe.post(sink, [](Context& c) { c.take_envelopes(true); });
          troupe.run();
          for (std::uint64_t n = got(who) + 1; n <= sent[who]; ++n) transmit(who, n);
          break;
        default:
          transmit(who, ++sent[who]);
      }
      if (random.below(2) == 0) troupe.run_node(random.below(2));
      if (random.below(3) == 0) troupe.run();
      ASSERT_LE(troupe.node().mailbox_load(troupe.pid(sink)).messages, 4U);
    }
    for (int round = 0; round < 100; ++round) {
      troupe.act(sink, [](Context& c) { c.take_envelopes(true); });
      bool all = true;
      for (const auto& [who, last] : sent) {
        for (std::uint64_t n = got(who) + 1; n <= last; ++n, all = false) transmit(who, n);
      }
      if (all) break;
      troupe.run();
    }
    for (const auto& [who, last] : sent) EXPECT_EQ(got(who), last);
    EXPECT_EQ(troupe.node().mailbox_load(troupe.pid(sink)), (Scheduler::MailboxLoad{0, 0}));
    EXPECT_EQ(troupe.node().dead_letters().total(), 0U);
  }
}

}  // namespace
}  // namespace liminal
