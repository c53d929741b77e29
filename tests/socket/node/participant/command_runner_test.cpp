// What a command reads, writes and returns, and how it fails.
#include "node/participant/command_runner.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <vector>

#include "command_harness.hpp"

namespace liminal {
namespace {

using test::Call;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

class CommandRunnerTest : public test::CommandTest {};

std::string many_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  std::uint64_t x = 1;
  for (char& byte : bytes) {
    x = x * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<char>(x >> 56);
  }
  return bytes;
}

TEST_F(CommandRunnerTest, StdoutIsTheReplyByteForByte) {
  EXPECT_EQ(run("tr a-z A-Z", "hello\n"), "ok HELLO\n");
  EXPECT_EQ(run("echo out; echo err >&2"), "ok out\n");
  EXPECT_EQ(run("true"), "ok ");
  EXPECT_EQ(run("wc -c", ""), "ok 0\n");

  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  EXPECT_EQ(run("cat", every_byte), "ok " + every_byte);
}

TEST_F(CommandRunnerTest, MegabytesPassBothWaysAtOnce) {
  const std::string five = many_bytes(5 * 1024 * 1024);
  EXPECT_TRUE(run("cat", five) == "ok " + five);
  const std::string zeros(5 * 1024 * 1024, '\0');
  EXPECT_EQ(run("sha256sum", zeros), run("head -c 5242880 /dev/zero | sha256sum"));

  const std::string sixteen = many_bytes(16 * 1024 * 1024);
  EXPECT_TRUE(run("cat", sixteen) == "ok " + sixteen);
  EXPECT_TRUE(run("cat; echo >&2", sixteen) == "ok " + sixteen);
}

TEST_F(CommandRunnerTest, OutputIsBoundedExactly) {
  Command at = command("head -c 1000 /dev/zero");
  at.output_bytes_max = 1000;
  EXPECT_EQ(Call(*runner, at).text(), "ok " + std::string(1000, '\0'));
  at.output_bytes_max = 999;
  EXPECT_EQ(Call(*runner, at).text(), "output exceeds payload-max (999 bytes)");
  at.output_bytes_max = 0;
  EXPECT_EQ(Call(*runner, at).text(), "output exceeds payload-max (0 bytes)");

  EXPECT_EQ(run("yes"), "output exceeds payload-max (16777216 bytes)");
  EXPECT_TRUE(all_are_gone());
}

TEST_F(CommandRunnerTest, FailuresSayHowItEndedAndTheEndOfStderr) {
  EXPECT_EQ(run("exit 3"), "exit status 3");
  EXPECT_EQ(run("echo some; echo 'tail of\tstderr' >&2; exit 3"),
            "exit status 3: tail of\\tstderr");
  EXPECT_EQ(run("kill -9 $$"), "signal 9 (SIGKILL)");
  EXPECT_EQ(run("echo bye >&2; kill -s TERM $$"), "signal 15 (SIGTERM): bye");
  EXPECT_EQ(run("sh -c 'kill -9 $$'; exit $?"), "exit status 137: Killed");
  EXPECT_THAT(run("no-such-program"), MatchesRegex("exit status 127: .*not found"));
  EXPECT_THAT(run("yes x | head -c 5000000 >&2; exit 1"), StartsWith("exit status 1: ..."));
  EXPECT_EQ(run("echo fine"), "ok fine\n");  // nothing of it stays
}

TEST_F(CommandRunnerTest, StdinLeftUnreadIsNoFailure) {
  const std::string much(1024 * 1024, 'x');
  EXPECT_EQ(run("true", much), "ok ");
  EXPECT_EQ(run("head -c 1", much), "ok x");
  EXPECT_EQ(run("exec <&-; echo closed", much), "ok closed\n");
}

TEST_F(CommandRunnerTest, AnExtraInputIsAtDescriptorThreeAndEnds) {
  EXPECT_EQ(run_with_extra("cat; cat <&3", "in ", "extra"), "ok in extra");
  EXPECT_EQ(run_with_extra("cat <&3; cat", "in ", "extra"), "ok extrain ");
  EXPECT_EQ(run_with_extra("cat <&3; echo end", "", ""), "ok end\n");
  EXPECT_EQ(run_with_extra("exit 3", "", "x"), "exit status 3");
}

TEST_F(CommandRunnerTest, WithoutOneDescriptorThreeIsNotOpen) {
  const std::string look = "if { true <&3; } 2>/dev/null; then echo open; else echo closed; fi";
  EXPECT_EQ(run_with_extra(look, "", ""), "ok open\n");
  EXPECT_EQ(run(look), "ok closed\n");
}

TEST_F(CommandRunnerTest, LargeInputsPassTogetherOrOneAfterTheOtherOrNotAtAll) {
  const std::string input = many_bytes(3'000'000), extra = many_bytes(2'000'000);
  EXPECT_EQ(run_with_extra("wc -c <&3; wc -c", input, extra), "ok 2000000\n3000000\n");
  EXPECT_EQ(run_with_extra("wc -c; wc -c <&3", input, extra), "ok 3000000\n2000000\n");
  EXPECT_EQ(run_with_extra("cat <&3", input, extra), "ok " + extra);
  EXPECT_EQ(run_with_extra("true", input, extra), "ok ");
  EXPECT_EQ(run_with_extra("exec <&- 3<&-; echo read nothing", input, extra), "ok read nothing\n");
  EXPECT_EQ(run_with_extra("head -c 5 <&3 >/dev/null; wc -c", input, extra), "ok 3000000\n");
}

TEST_F(CommandRunnerTest, AShellThatCannotStartIsSaidWithAnExtraInputToo) {
  EXPECT_THAT(run_with_extra("true " + std::string(200'000, 'x'), "", "x"),
              HasSubstr("cannot start: "));
}

TEST_F(CommandRunnerTest, ACommandMayBeLongButNotEndless) {
  EXPECT_EQ(run(": " + std::string(131072 - 64, 'x') + "; echo ok"), "ok ok\n");
  EXPECT_EQ(run(": " + std::string(131072, 'x')), "cannot start: Argument list too long");
  EXPECT_THAT(run(std::string("echo \0", 6)), HasSubstr("cannot start: a zero byte"));
  EXPECT_EQ(run("echo fine"), "ok fine\n");
}

TEST_F(CommandRunnerTest, TheEnvironmentIsTheNodesAndWhatWasAdded) {
  ::setenv("LIMINAL_TEST_INHERITED", "old", 1);
  ::setenv("LIMINAL_TEST_REPLACED", "old", 1);
  start({});
  Command shown = command(
      "echo \"$LIMINAL_TEST_INHERITED $LIMINAL_TEST_REPLACED $LIMINAL_TEST_ADDED\"; "
      "env | grep -c LIMINAL_TEST_REPLACED; pwd");
  shown.environment.emplace_back("LIMINAL_TEST_REPLACED", "new=1");
  shown.environment.emplace_back("LIMINAL_TEST_ADDED", "a b");
  char folder[4096];
  ASSERT_NE(::getcwd(folder, sizeof folder), nullptr);
  EXPECT_EQ(Call(*runner, shown).text(), std::string{"ok old new=1 a b\n1\n"} + folder + "\n");
}

TEST_F(CommandRunnerTest, ACommandInheritsNeitherFilesNorSignalsNorATerminal) {
  const int leaked = ::open("/dev/null", O_RDONLY);  // not close-on-exec
  const int high = ::fcntl(leaked, F_DUPFD, 77);
  const auto before = std::signal(SIGUSR2, SIG_IGN);
  start({});
  EXPECT_EQ(run("ls /proc/self/fd"), "ok 0\n1\n2\n3\n");  // 3: what ls reads them from
  // Signals 32 and 33 are the C library's own: what this test inherited stays.
  EXPECT_THAT(run("grep -E 'Sig(Blk|Ign)' /proc/self/status"),
              MatchesRegex("ok SigBlk:\t0000000000000000\nSigIgn:\t0000000[01][08]0000000\n"));
  EXPECT_EQ(run("cut -d' ' -f7 /proc/self/stat"), "ok 0\n");  // tty_nr
  std::signal(SIGUSR2, before);
  ::close(leaked);
  ::close(high);
}

TEST_F(CommandRunnerTest, ManyRunAtOnceAndEachGetsItsOwn) {
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 40; ++i) {
    const std::string number = std::to_string(i);
    calls.push_back(std::make_unique<Call>(
        *runner, command("cat; echo ' " + number + "'; exit " + (i % 2 ? "1" : "0"), number)));
  }
  for (int i = 0; i < 40; ++i) {
    const std::string number = std::to_string(i);
    EXPECT_EQ(calls[static_cast<std::size_t>(i)]->text(),
              i % 2 ? "exit status 1" : "ok " + number + " " + number + "\n");
  }
}

TEST_F(CommandRunnerTest, CommandsBeyondTheBoundWaitForTheirTurn) {
  start({.commands_max = 2});
  Call first{*runner, command("exec sleep 1000")};
  Call second{*runner, command("exec sleep 1000")};
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 2; }));
  auto never = std::make_unique<Call>(*runner, command("exec sleep 1000"));
  Call third{*runner, command("echo third")};
  never->drop();
  EXPECT_FALSE(third.has_ended());
  EXPECT_EQ(sleepers(), 2u);
  first.drop();
  EXPECT_EQ(third.text(), "ok third\n");
  EXPECT_FALSE(second.has_ended());
}

TEST_F(CommandRunnerTest, HundredsOfCommandsLeaveNothingBehind) {
  ASSERT_EQ(run("true"), "ok ");
  const std::size_t before = test::open_descriptors();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 200; ++i) ASSERT_EQ(run("tr a-z A-Z", "line"), "ok LINE");
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  std::printf("one command after the other: %.2f ms each\n", took.count() / 200);

  EXPECT_EQ(test::open_descriptors(), before);
  // Guards are reaped right after the last reply.
  EXPECT_TRUE(test::eventually([] { return test::children_of(minder()).empty(); }));
  EXPECT_EQ(test::children_of(::getpid()).size(), 1u);
  const pid_t last = minder();
  runner.reset();
  EXPECT_TRUE(test::children_of(::getpid()).empty());
  EXPECT_NE(::kill(last, 0), 0);
}

TEST_F(CommandRunnerTest, AMissingMinderIsSaidWithTheWay) {
  const auto wrong = CommandRunner::start({.minder_path = "/no/such/minder"});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error(),
            (Error{Errc::kUsage, "the minder '/no/such/minder' is not an executable file"}));
  ::setenv("LIMINAL_MINDER", "/nor/this", 1);
  const auto named = CommandRunner::start({});
  ::unsetenv("LIMINAL_MINDER");
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error(),
            (Error{Errc::kUsage, "LIMINAL_MINDER: '/nor/this' is not an executable file"}));
}

}  // namespace
}  // namespace liminal
