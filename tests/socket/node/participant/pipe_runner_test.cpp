// What long-lived children do with messages, and what becomes of those that do it wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <vector>

#include "pipe_harness.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using test::Pipe;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

class PipeRunnerTest : public test::PipeTest {};

// A message of one byte is five: this reads it, and nothing else.
const std::string kReadOne = "head -c 5 >/dev/null; ";

TEST_F(PipeRunnerTest, EachMessageIsAnsweredByOneChildByteForByte) {
  Pipe pipe = open("cat");
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  EXPECT_EQ(pipe.ask(every_byte), "ok " + every_byte);
  for (const std::size_t size :
       {0ul, 1ul, 4ul, 65531ul, 65532ul, 65533ul, 262140ul, 262144ul, 1048576ul, 16777216ul}) {
    const std::string payload(size, static_cast<char>('a' + size % 26));
    EXPECT_TRUE(pipe.ask(payload) == "ok " + payload) << size;
  }
  const auto children = test::marked(mark, "cat");
  EXPECT_EQ(children.size(), 1u);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(pipe.ask(std::to_string(i)), "ok " + std::to_string(i));
  }
  EXPECT_EQ(test::marked(mark, "cat"), children);
  EXPECT_FALSE(pipe.has_news());
}

TEST_F(PipeRunnerTest, AReplyMayComeInPieces) {
  EXPECT_EQ(
      ask_once(kReadOne + "for b in 0 0 0 3 141 142 143; do env printf \"\\\\$b\"; done; cat"),
      "ok abc");
}

TEST_F(PipeRunnerTest, ManyChildrenAnswerSideBySide) {
  std::vector<Pipe> pipes;
  for (int i = 0; i < 20; ++i) pipes.push_back(open("cat"));
  for (int round = 0; round < 20; ++round) {
    for (std::size_t i = 0; i < pipes.size(); ++i) pipes[i].send(std::to_string(i));
    for (std::size_t i = 0; i < pipes.size(); ++i) {
      EXPECT_EQ(pipes[i].reply(), "ok " + std::to_string(i));
    }
  }
}

// --- the child's end ---

TEST_F(PipeRunnerTest, ExitStatusZeroWithNothingUnansweredIsAGoodEnd) {
  EXPECT_EQ(open("exit 0").end(), "well");
  EXPECT_EQ(open("echo noise >&2").end(), "well");
  Pipe answers = open(kReadOne + "printf '\\0\\0\\0\\1x'");
  EXPECT_EQ(answers.ask("?"), "ok x");
  EXPECT_EQ(answers.end(), "well");
}

TEST_F(PipeRunnerTest, EveryOtherExitIsAFailureThatSaysHow) {
  EXPECT_EQ(open("exit 3").end(), "exit status 3");
  EXPECT_EQ(ask_once(kReadOne + "echo 'tail of\tstderr' >&2; exit 3"),
            "exit status 3: tail of\\tstderr");
  EXPECT_EQ(ask_once(kReadOne + "kill -9 $$"), "signal 9 (SIGKILL)");
  EXPECT_EQ(ask_once(kReadOne + "sh -c 'kill -9 $$' 2>/dev/null; exit $?"), "exit status 137");
  EXPECT_THAT(open("no-such-program").end(), MatchesRegex("exit status 127: .*not found"));
  EXPECT_EQ(ask_once(kReadOne), "exit status 0 with a request unanswered");
  EXPECT_EQ(ask_once(kReadOne + "echo sorry >&2"),
            "exit status 0 with a request unanswered: sorry");
}

TEST_F(PipeRunnerTest, ARequestToAChildThatHasEndedIsOneUnansweredOrTellsThatEnd) {
  for (int i = 0; i < 20; ++i) {
    // Either it was gone before it was asked, and had ended well, or it was not.
    EXPECT_THAT(ask_once("exit 0"), ::testing::AnyOf("well", StartsWith("exit status 0 with")));
    EXPECT_EQ(ask_once("exit 7"), "exit status 7");
  }
}

TEST_F(PipeRunnerTest, OutputThatEndsWithinAReplyIsAFailure) {
  EXPECT_EQ(ask_once(kReadOne + "printf '\\0\\0\\0\\12abc'"),
            "exit status 0 within a reply, 3 of 10 bytes");
  EXPECT_EQ(ask_once(kReadOne + "printf '\\0\\0'; echo oh >&2"),
            "exit status 0 within a reply, 2 of 4 bytes of a length prefix: oh");
  EXPECT_EQ(ask_once(kReadOne + "printf '\\0\\0\\0\\12abc'; exit 4"), "exit status 4");
}

TEST_F(PipeRunnerTest, WhatWasAnsweredBeforeTheEndCounts) {
  Pipe pipe = open(kReadOne + "printf '\\0\\0\\0\\1x'; echo bye >&2; exit 5");
  EXPECT_EQ(pipe.ask("?"), "ok x");
  EXPECT_EQ(pipe.end(), "exit status 5: bye");
}

TEST_F(PipeRunnerTest, AChildThatForksAwayHasEndedAndItsFamilyWithIt) {
  EXPECT_EQ(open("sleep 1000 & setsid sleep 1000 & exit 0").end(), "well");
  EXPECT_EQ(ask_once("(setsid cat &); " + kReadOne + "exit 0"),
            "exit status 0 with a request unanswered");
  EXPECT_TRUE(all_are_gone());
}

TEST_F(PipeRunnerTest, WhatCannotStartSaysSo) {
  EXPECT_EQ(open(": " + std::string(131072, 'x')).end(), "cannot start: Argument list too long");
  EXPECT_THAT(open(std::string("cat \0", 5)).end(), StartsWith("cannot start: a zero byte"));
  EXPECT_EQ(ask_once("cat"), "ok ?");
}

// --- a child that breaks the protocol ---

TEST_F(PipeRunnerTest, OutputThatNoRequestAskedForIsAFailureAtOnce) {
  EXPECT_EQ(open("printf '\\0\\0\\0\\1x'; exec sleep 1000").end(),
            "output that no request asked for, \"\\x00\\x00\\x00\\x01x\"");
  EXPECT_EQ(open("echo ready; echo why >&2; exec sleep 1000 2>&-").end().substr(0, 43),
            "output that no request asked for, \"ready\\n\"");

  Pipe twice = open(kReadOne + "printf '\\0\\0\\0\\1x\\0'; exec sleep 1000");
  EXPECT_EQ(twice.ask("?"), "ok x");
  EXPECT_EQ(twice.end(), "output that no request asked for, \"\\x00\"");
  EXPECT_TRUE(all_are_gone());
}

TEST_F(PipeRunnerTest, ALengthOverPayloadMaxIsAFailureAtOnceAndTheLimitIsExact) {
  Pipe pipe = open("cat");
  EXPECT_EQ(pipe.ask("abcd", 4), "ok abcd");
  EXPECT_EQ(pipe.ask("abcd", 3),
            "reply of 4 bytes exceeds payload-max (3 bytes); its length prefix is "
            "\"\\x00\\x00\\x00\\x04\"");
  EXPECT_EQ(ask_once(kReadOne + "echo hello; exec sleep 1000"),
            "reply of 1751477356 bytes exceeds payload-max (16777216 bytes); its length prefix is "
            "\"hell\"");
  EXPECT_TRUE(all_are_gone());
}

TEST_F(PipeRunnerTest, APrefixThatPromisesMoreThanComesHoldsUpNobodyElse) {
  Pipe liar = open(kReadOne + "printf '\\1\\0\\0\\0'; exec sleep 1000");
  liar.send("?");
  Pipe other = open("cat");
  EXPECT_EQ(other.ask("fine"), "ok fine");
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 1; }));
  EXPECT_FALSE(liar.has_news());
  liar.drop();
  EXPECT_TRUE(test::eventually([this] { return sleepers() == 0; }));
}

// --- a child that does not listen, or does not speak ---

TEST_F(PipeRunnerTest, AChildThatNeverReadsBlocksNobody) {
  Pipe deaf = open("exec sleep 1000");
  deaf.send(std::string(5'000'000, 'x'));
  Pipe other = open("cat");
  for (int i = 0; i < 100; ++i) ASSERT_EQ(other.ask("fine"), "ok fine");
  EXPECT_EQ(run("echo fine"), "ok fine\n");
  EXPECT_FALSE(deaf.has_news());
  deaf.drop();
  EXPECT_TRUE(test::eventually([this] { return sleepers() == 0; }));
}

TEST_F(PipeRunnerTest, AClosedStdinIsAFailureWhenARequestCannotBeHandedOver) {
  const std::string closed = "stdin closed: a request cannot be handed over";
  EXPECT_EQ(ask_once("exec <&-; exec sleep 1000"), closed);
  // Whether it was closed before the request came, or was written and left unread.
  Pipe big = open("exec <&-; echo why >&2; exec sleep 1000");
  EXPECT_EQ(big.ask(std::string(5'000'000, 'x')), closed + ": why");
  EXPECT_EQ(ask_once(kReadOne + "exec <&-; printf '\\0\\0\\0\\1x'; exec sleep 1000"), "ok x");
  Pipe later = open(kReadOne + "exec <&-; printf '\\0\\0\\0\\1x'; exec sleep 1000");
  EXPECT_EQ(later.ask("?"), "ok x");
  EXPECT_EQ(later.ask("?"), closed);
  EXPECT_EQ(later.end(), closed);
}

TEST_F(PipeRunnerTest, AClosedStdoutIsAFailureWhenARequestIsOwedAReply) {
  const std::string closed = "stdout closed with a request unanswered";
  EXPECT_EQ(ask_once("exec >&-; exec sleep 1000"), closed);
  EXPECT_EQ(ask_once(kReadOne + "printf '\\0'; exec >&-; exec sleep 1000"), closed);
  // Owed nothing, it may take its time to end well.
  Pipe slow = open("exec >&-; read line; exit 0");
  ASSERT_TRUE(test::eventually([this] { return !test::marked(mark, "sh").empty(); }));
  EXPECT_FALSE(slow.has_news());
}

TEST_F(PipeRunnerTest, AChildThatClosesItsStreamsAndThenEndsSaysItself) {
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(ask_once("exec <&- >&-; exit 3"), "exit status 3");
    EXPECT_EQ(ask_once("exec <&- >&-; kill -9 $$"), "signal 9 (SIGKILL)");
  }
  EXPECT_EQ(open("exec <&- >&- 2>&-; exit 0").end(), "well");
}

TEST_F(PipeRunnerTest, AReplyCountsWhenItsRequestWasReadOrCanNoLongerBe) {
  const std::string big(5'000'000, 'x');
  Pipe reads_later = open("head -c 4 >/dev/null; printf '\\0\\0\\0\\1x'; exec cat >/dev/null");
  EXPECT_EQ(reads_later.ask(big), "ok x");

  Pipe never_reads = open("read n; printf '\\0\\0\\0\\1x'; sleep 1000");
  never_reads.send("\n" + big);
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 1; }));
  EXPECT_FALSE(never_reads.has_news());

  Pipe closes = open("read n; printf '\\0\\0\\0\\1x'; exec <&-; exec sleep 1000");
  EXPECT_EQ(closes.ask("\n" + big), "ok x");
  Pipe exits = open("read n; printf '\\0\\0\\0\\1x'; exit 0");
  EXPECT_EQ(exits.ask("\n" + big), "ok x");
  EXPECT_EQ(exits.end(), "well");
}

TEST_F(PipeRunnerTest, StderrIsReadAllAlongAndItsEndIsKept) {
  Pipe pipe = open("yes noise | head -c 5000000 >&2; " + kReadOne +
                   "printf '\\0\\0\\0\\1x'; yes z | head -c 3000000 >&2; echo last >&2; exit 1");
  EXPECT_EQ(pipe.ask("?"), "ok x");
  const std::string end = pipe.end();
  EXPECT_THAT(end, StartsWith("exit status 1: ..."));
  EXPECT_TRUE(end.ends_with("z\\nlast")) << end;
  EXPECT_LT(end.size(), 2200u);
}

// --- nobody outlives what it is for ---

constexpr const char* kFamily =
    "sleep 1000 & setsid sleep 1000 & (setsid sh -c 'sleep 1000 &' &); "
    "trap '' TERM HUP INT; cat; sleep 1000";

TEST_F(PipeRunnerTest, ADroppedChildIsKilledWithAllThatDescendsFromIt) {
  Pipe pipe = open(kFamily);
  EXPECT_EQ(pipe.ask("up"), "ok up");
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 3; }));
  pipe.drop();
  EXPECT_TRUE(all_are_gone());
  EXPECT_FALSE(pipe.has_news());
}

TEST_F(PipeRunnerTest, AChildDroppedAtOnceIsGoneWhetherItStartedOrNot) {
  for (int i = 0; i < 30; ++i) {
    Pipe pipe = open(kFamily);
    pipe.send("never");
  }
  EXPECT_EQ(ask_once("cat"), "ok ?");
  EXPECT_TRUE(all_are_gone());
}

TEST_F(PipeRunnerTest, TheRunnersEndIsTheirs) {
  Pipe pipe = open(kFamily);
  EXPECT_EQ(pipe.ask("up"), "ok up");
  runner.reset();
  EXPECT_TRUE(test::marked(mark).empty());  // at once: the destructor waited for it
  EXPECT_FALSE(pipe.has_news());
  pipe.send("to nobody");
}

TEST_F(PipeRunnerTest, TheMindersDeathIsTheirsAndTheNextOneGetsANewOne) {
  Pipe pipe = open(kFamily);
  EXPECT_EQ(pipe.ask("up"), "ok up");
  ASSERT_EQ(::kill(minder(), SIGKILL), 0);
  EXPECT_EQ(pipe.end(), "minder died");
  EXPECT_TRUE(all_are_gone());
  EXPECT_EQ(ask_once("cat"), "ok ?");
}

TEST_F(PipeRunnerTest, AKilledNodeTakesThemWithIt) {
  runner.reset();  // so that this process has one thread when it forks
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t node = ::fork();
  ASSERT_GE(node, 0);
  if (node == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto own = CommandRunner::start({});
    if (!own) ::_exit(1);
    Pipe pipe{**own, pipe_command(kFamily)};
    if (pipe.ask("up") != "ok up" || ::write(ready[1], "r", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  ::close(ready[1]);  // so that its end is seen
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  const bool up = test::eventually([this] { return sleepers() == 3; });
  const auto begin = std::chrono::steady_clock::now();
  ::kill(node, SIGKILL);
  const bool gone = all_are_gone();
  const auto took = std::chrono::steady_clock::now() - begin;
  ::waitpid(node, nullptr, 0);
  EXPECT_TRUE(up);
  EXPECT_TRUE(gone);
  EXPECT_LT(took, 10s);  // promised: 100 ms; a busy machine may take longer to look
}

TEST_F(PipeRunnerTest, AHundredChildrenLeaveNothingBehind) {
  EXPECT_EQ(ask_once("cat"), "ok ?");
  ASSERT_TRUE(test::eventually([] { return test::children_of(minder()).empty(); }));
  const std::size_t before = test::open_descriptors();
  for (int i = 0; i < 100; ++i) {
    Pipe pipe = open(i % 2 == 0 ? "cat" : kReadOne + "printf '\\0\\0\\0\\1?'");
    ASSERT_EQ(pipe.ask("?"), "ok ?");
    if (i % 2 != 0) {
      ASSERT_EQ(pipe.end(), "well");
    }
  }
  EXPECT_TRUE(test::eventually([&] { return test::open_descriptors() == before; }));
  EXPECT_TRUE(test::eventually([] { return test::children_of(minder()).empty(); }));
}

TEST_F(PipeRunnerTest, ChildrenForLifeTakeNoTurnsOfCommands) {
  start({.commands_max = 1});
  std::vector<Pipe> pipes;
  for (int i = 0; i < 5; ++i) pipes.push_back(open("cat"));
  for (Pipe& pipe : pipes) EXPECT_EQ(pipe.ask("?"), "ok ?");
  EXPECT_EQ(run("echo fine"), "ok fine\n");
}

// --- commands that are killed ---

TEST_F(PipeRunnerTest, AKilledCommandIsCompletedWhenItIsGone) {
  start({.commands_max = 1});
  std::promise<std::string> first;
  std::promise<std::string> second;
  const auto tell = [](std::promise<std::string>& promise) {
    return [&promise](CommandOutcome outcome) {
      promise.set_value(
          outcome ? "ok" : outcome.error().text + (outcome.error().was_begun ? "" : ", not begun"));
    };
  };
  RunningCommand runs = runner->run(command("trap '' TERM; sleep 1000 & sleep 1000"), tell(first));
  RunningCommand waits = runner->run(command("echo never"), tell(second));
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 2; }));
  waits.kill();
  EXPECT_EQ(second.get_future().get(), "never started, not begun");
  runs.kill();
  EXPECT_EQ(first.get_future().get(), "signal 9 (SIGKILL)");
  EXPECT_TRUE(all_are_gone());
  EXPECT_EQ(run("echo fine"), "ok fine\n");
}

}  // namespace
}  // namespace liminal
