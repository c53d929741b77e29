// What is written where nobody reads can be stopped, whatever it is that nobody reads.
#include "cli/output.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <future>
#include <string>

#include "cli/commands.hpp"
#include "cli/exit_codes.hpp"

namespace liminal::cli {
namespace {

using namespace std::chrono_literals;

/// Stdout is that descriptor while this lives.
class StdoutIs {
 public:
  explicit StdoutIs(int fd) : before_(::dup(STDOUT_FILENO)) { ::dup2(fd, STDOUT_FILENO); }
  ~StdoutIs() {
    ::dup2(before_, STDOUT_FILENO);
    ::close(before_);
  }
  StdoutIs(const StdoutIs&) = delete;
  StdoutIs& operator=(const StdoutIs&) = delete;

 private:
  int before_;
};

/// Two ends: what is written to one is read from the other.
struct Ends {
  int in, out;
};

Ends open_pipe() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  return {ends[0], ends[1]};
}

Ends open_terminal() {
  const int in = ::posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT_GE(in, 0);
  EXPECT_EQ(::grantpt(in), 0);
  EXPECT_EQ(::unlockpt(in), 0);
  return {in, ::open(::ptsname(in), O_RDWR | O_NOCTTY)};
}

/// Writes far more than there is room for, of which nobody reads anything, with stop() before it.
/// `first` bytes go out by themselves, so that the limit is met at another place.
void expect_stopped(Ends ends, std::size_t first) {
  StoppableOutput out;
  ASSERT_TRUE([&] {
    const StdoutIs redirected{ends.out};
    return write_out(std::string(first, 'x')).has_value();
  }());
  out.stop();
  std::future<Result<void>> written;
  bool ended = false;
  {
    const StdoutIs redirected{ends.out};
    written =
        std::async(std::launch::async, [&out] { return out.write(std::string(1'000'000, 'x')); });
    ended = written.wait_for(10s) == std::future_status::ready;
    std::array<char, 4096> chunk{};
    while (written.wait_for(0s) != std::future_status::ready) {
      ASSERT_GT(::read(ends.in, chunk.data(), chunk.size()), 0);
    }
  }
  EXPECT_TRUE(ended) << "it waited for its reader";
  const Result<void> result = written.get();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::kConversationFailed);
  ::close(ends.in);
  ::close(ends.out);
}

TEST(StoppableOutput, IsStoppedWhereAPipesReaderDoesNotRead) {
  for (const std::size_t first : {0, 1, 4095}) {
    SCOPED_TRACE(first);
    expect_stopped(open_pipe(), first);
  }
}

TEST(StoppableOutput, IsStoppedWhereATerminalDoesNotRead) {
  for (std::size_t first = 0; first < 256; first += 15) {
    SCOPED_TRACE(first);
    expect_stopped(open_terminal(), first);
    if (HasFailure()) return;
  }
}

TEST(StoppableOutput, WritesAllThatIsReadAfterAStopToo) {
  const Ends ends = open_pipe();
  StoppableOutput out;
  out.stop();
  {
    const StdoutIs redirected{ends.out};
    EXPECT_TRUE(out.write("there is room"));
  }
  std::array<char, 64> got{};
  EXPECT_EQ(::read(ends.in, got.data(), got.size()), 13);
  ::close(ends.in);
  ::close(ends.out);
}

void help_into_a_full_pipe() {
  ::alarm(20);  // rather than forever
  const Ends ends = open_pipe();
  ::fcntl(ends.out, F_SETFL, O_NONBLOCK);
  const std::string chunk(4096, 'x');
  while (::write(ends.out, chunk.data(), chunk.size()) > 0) continue;
  ::fcntl(ends.out, F_SETFL, 0);
  ::dup2(ends.out, STDOUT_FILENO);
  SignalWatch signals;
  ::kill(::getpid(), SIGTERM);
  (void)run(signals, {"--help"});
  std::_Exit(0);
}

TEST(CommandsDeathTest, ASignalEndsAHelpThatNobodyReads) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(help_into_a_full_pipe(),
              ::testing::ExitedWithCode(static_cast<int>(ExitCode::kInterrupted)), "");
}

}  // namespace
}  // namespace liminal::cli
