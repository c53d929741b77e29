// How a child ended reads as one line.
#include "node/participant/wait_status.hpp"

#include <gtest/gtest.h>

#include <string>

namespace liminal {
namespace {

constexpr int exited(int status) { return status << 8; }
constexpr int signalled(int number) { return number; }

TEST(WaitStatusTest, OnlyExitStatusZeroIsNoFailure) {
  EXPECT_EQ(failure_of(exited(0), "warning"), std::nullopt);
  EXPECT_EQ(failure_of(exited(3), ""), "exit status 3");
  EXPECT_EQ(failure_of(exited(255), ""), "exit status 255");
  EXPECT_EQ(failure_of(signalled(9), ""), "signal 9 (SIGKILL)");
  EXPECT_EQ(failure_of(signalled(11) | 0x80, ""), "signal 11 (SIGSEGV)");  // with a core dump
  EXPECT_EQ(failure_of(signalled(40), ""), "signal 40");
}

TEST(WaitStatusTest, TheEndOfStderrFollowsOnTheSameLine) {
  EXPECT_EQ(failure_of(exited(1), "a\nb\n\r\n"), "exit status 1: a\\nb");
  EXPECT_EQ(failure_of(exited(1), "\n\n"), "exit status 1");
  EXPECT_EQ(failure_of(exited(1), std::string(kStderrShownBytes, 'x')),
            "exit status 1: " + std::string(kStderrShownBytes, 'x'));
  EXPECT_EQ(failure_of(exited(1), "y" + std::string(kStderrShownBytes, 'x')),
            "exit status 1: ..." + std::string(kStderrShownBytes, 'x'));
}

}  // namespace
}  // namespace liminal
