// An exec service on a scheduler with its threads: what a conversation sees of it.
#include "node/participant/exec_participant.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "service_harness.hpp"

namespace liminal {
namespace {

using test::request;
using ::testing::ElementsAre;

class ExecParticipantTest : public test::ServiceTest {};

TEST_F(ExecParticipantTest, EachRequestIsACommandAndTheyRunInOrder) {
  serve("upper=exec:tr a-z A-Z");
  EXPECT_THAT(ask("upper", {request(1, "a"), request(2, "b", false), request(3, "c")}),
              ElementsAre("1: A", "2: done", "3: C"));
}

TEST_F(ExecParticipantTest, TheCommandKnowsWhatItIsCalledFor) {
  serve("show=exec:env | grep LIMINAL_CALL_ | sort");
  EXPECT_THAT(ask("show", {request(1, "")}),
              ElementsAre("1: LIMINAL_CALL_ACTION=process\n"
                          "LIMINAL_CALL_ATTEMPT=2\n"
                          "LIMINAL_CALL_CONVERSATION=00000000000000010000000000000002\n"
                          "LIMINAL_CALL_MESSAGE=00000000000000080000000000000001\n"
                          "LIMINAL_CALL_NODE=here\n"
                          "LIMINAL_CALL_SERVICE=show\n"));
}

TEST_F(ExecParticipantTest, AFailingCommandIsTheParticipantsCrash) {
  serve("fails=exec:cat >&2; exit 3");
  EXPECT_THAT(ask("fails", {request(1, "why\n"), request(2, "never")}),
              ElementsAre("exit: exit status 3: why"));
  EXPECT_TRUE(test::eventually([this] { return registry->participants() == 0; }));
}

TEST_F(ExecParticipantTest, OutputBeyondThePayloadsBoundIsACrash) {
  serve("zeros=exec:head -c 1001 /dev/zero");
  registry->set_payload_bytes_max(1000);
  EXPECT_THAT(ask("zeros", {request(1, "")}),
              ElementsAre("exit: output exceeds payload-max (1000 bytes)"));
}

TEST_F(ExecParticipantTest, TheConversationsEndIsTheCommandsEnd) {
  serve("sleep=exec:setsid sleep 1000 & sleep 1000; true");
  const Pid asker = begin("sleep", {request(1, "")}).first;
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 2; }));
  EXPECT_EQ(registry->participants(), 1u);
  scheduler->exit(asker, ExitReason::kill());
  EXPECT_TRUE(test::eventually([this] { return registry->participants() == 0; }));
  EXPECT_TRUE(test::eventually([this] { return sleepers() == 0; }));
}

TEST_F(ExecParticipantTest, AnExpiredRequestIsNotStarted) {
  serve("echo=exec:cat");
  Envelope late = request(1, "late");
  late.deadline = clock.now();
  EXPECT_THAT(ask("echo", {late, request(2, "fine")}), ElementsAre("1: expired", "2: fine"));
}

// Contract: what runs for a request that expires is ended, and nobody has crashed.
TEST_F(ExecParticipantTest, ARequestThatExpiresWhileItRunsIsKilledAndTheNextOneServed) {
  serve(
      "slow=exec:read x; test $x = fast && echo $x && exit; trap '' TERM; sleep 1000 & sleep 1000");
  Envelope late = request(1, "slow\n");
  const auto begin_at = clock.now();
  late.deadline = begin_at + std::chrono::seconds{5};
  auto [asker, answers] = begin("slow", {late, request(2, "fast\n"), request(3, "fast\n")});
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 2; }));
  ASSERT_EQ(answers.wait_for(std::chrono::seconds{30}), std::future_status::ready);
  EXPECT_GE(clock.now() - begin_at, std::chrono::seconds{5});
  EXPECT_THAT(answers.get(), ElementsAre("1: expired", "2: fast\n", "3: fast\n"));
  EXPECT_TRUE(test::eventually([this] { return sleepers() == 0; }));
}

// Contract: cancellation works as a deadline does, and nobody has crashed.
TEST_F(ExecParticipantTest, ACancelledRequestIsKilledAndTheNextOneWasNeverBegun) {
  serve("slow=exec:trap '' TERM; sleep 1000 & sleep 1000");
  auto [asker, answers] = begin("slow", {request(1, ""), request(2, "")});
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 2; }));
  cancel_all(asker);
  ASSERT_EQ(answers.wait_for(std::chrono::seconds{30}), std::future_status::ready);
  EXPECT_THAT(answers.get(), ElementsAre("2: cancelled", "1: expired"));
  EXPECT_TRUE(test::eventually([this] { return sleepers() == 0; }));
}

class CompensationTest : public test::ServiceTest {
 protected:
  CompensationTest() { ::unlink(file.c_str()); }
  ~CompensationTest() override { ::unlink(file.c_str()); }
  [[nodiscard]] std::string written() const {
    std::ifstream in{file};
    return {std::istreambuf_iterator<char>{in}, {}};
  }

  std::string file = ::testing::TempDir() + "liminal-" + mark;
  std::string undo = "{ printf 'undo '; cat; printf ' that said '; cat <&3; echo; } >> " + file;
};

TEST_F(CompensationTest, ACommandUndoesTheRequestsOfAServiceOfAnyKind) {
  for (const std::string kind : {"echo", "exec:cat", "pipe:cat"}) {
    SCOPED_TRACE(kind);
    const std::string name = kind.substr(0, 4);
    ::unlink(file.c_str());
    serve(name + "=" + kind, undo);
    EXPECT_THAT(ask(name, {test::compensate(1, "a", "A"), request(2, "b"),
                           test::compensate(2, "b", std::nullopt), request(3, "c")}),
                ElementsAre("101: done", "2: b", "102: done", "3: c"));
    EXPECT_EQ(written(), "undo a that said A\nundo b that said \n");
  }
}

TEST_F(CompensationTest, TheCommandKnowsWhatItIsCalledFor) {
  serve("show=echo", "env | grep LIMINAL_CALL_ | sort > " + file);
  EXPECT_THAT(ask("show", {test::compensate(1, "a", "A")}), ElementsAre("101: done"));
  EXPECT_EQ(written(),
            "LIMINAL_CALL_ACTION=compensate\n"
            "LIMINAL_CALL_ATTEMPT=3\n"
            "LIMINAL_CALL_CONVERSATION=00000000000000010000000000000002\n"
            "LIMINAL_CALL_MESSAGE=00000000000000080000000000000001\n"
            "LIMINAL_CALL_NODE=here\n"
            "LIMINAL_CALL_SERVICE=show\n");
}

TEST_F(CompensationTest, LargeRequestsAndRepliesReachACommandThatReadsThemOrNot) {
  const std::string request_bytes(1'000'000, 'q'), reply_bytes(3'000'000, 'r');
  serve("counts=echo", "wc -c <&3 > " + file + "; wc -c >> " + file);
  EXPECT_THAT(ask("counts", {test::compensate(1, request_bytes, reply_bytes)}),
              ElementsAre("101: done"));
  EXPECT_EQ(written(), "3000000\n1000000\n");
  serve("reads-nothing=exec:cat", "true");
  EXPECT_THAT(ask("reads-nothing", {test::compensate(1, request_bytes, reply_bytes)}),
              ElementsAre("101: done"));
}

TEST_F(CompensationTest, OneThatFailsIsTheParticipantsCrash) {
  serve("echo=echo", "cat <&3 >&2; exit 3");
  EXPECT_THAT(ask("echo", {test::compensate(1, "a", "why"), request(2, "never")}),
              ElementsAre("exit: exit status 3: why"));
}

TEST_F(CompensationTest, OneThatExpiresOrIsCancelledIsKilledAndNobodyHasCrashed) {
  serve("pipe=pipe:cat", "sleep 1000 & sleep 1000");
  Envelope late = test::compensate(1, "a", "A");
  late.deadline = clock.now() + std::chrono::milliseconds{200};
  EXPECT_THAT(ask("pipe", {late, request(2, "b")}), ElementsAre("101: expired", "2: b"));
  EXPECT_TRUE(test::eventually([this] { return sleepers() == 0; }));

  auto [asker, answers] = begin("pipe", {test::compensate(1, "a", "A")});
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 2; }));
  cancel_all(asker);
  ASSERT_EQ(answers.wait_for(std::chrono::seconds{30}), std::future_status::ready);
  EXPECT_THAT(answers.get(), ElementsAre("101: expired"));
  EXPECT_TRUE(test::eventually([this] { return sleepers() == 0; }));
}

TEST_F(CompensationTest, AServiceWithoutOneCrashesRatherThanSayItHasUndone) {
  for (const std::string kind : {"exec:cat", "pipe:cat"}) {
    serve(kind.substr(0, 4) + "=" + kind);
    EXPECT_THAT(ask(kind.substr(0, 4), {test::compensate(1, "a", "A")}),
                ElementsAre("exit: asked to undo a request, which this service cannot"));
  }
}

// The next command starts when the killed one is gone: one at a time means one.
TEST_F(ExecParticipantTest, TwoCommandsOfOneParticipantNeverRunTogether) {
  const std::string file = ::testing::TempDir() + "liminal-" + mark;
  ::unlink(file.c_str());
  serve("alone=exec:read x; test \"$x\" = run && { echo $$ > " + file +
        "; exec sleep 1000; }; kill -0 $(cat " + file + ") 2>&- && echo together || echo alone");
  for (std::uint64_t i = 0; i < 3; ++i) {
    Envelope late = request(1, "run\n");
    late.deadline = clock.now() + std::chrono::seconds{2};
    EXPECT_THAT(ask("alone", {late, request(2, "look\n")}),
                ElementsAre("1: expired", "2: alone\n"));
    EXPECT_EQ(::unlink(file.c_str()), 0) << "the first command ran";
  }
}

}  // namespace
}  // namespace liminal
