// A real process with its standard streams in our hands; none outlives the test that started it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace liminal::test {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlack = 3;  // bounds on times are that much wider
#else
constexpr int kSlack = 1;
#endif

/// Far beyond what anything here takes, so that only a hang meets it.
constexpr Milliseconds kPatience = 40s;

struct Finished {
  int code;  // exit status; 128 + n after signal n
  std::string out;
  std::string err;
  SteadyClock::time_point at;  // when it ended
};

/// Started by its constructor, killed by its destructor, and by the kernel if we die.
///
/// Its environment is ours without LIMINAL_ variables, and with those given. Its stderr is a file
/// in memory, so that nobody needs to read it for it to go on; stdout is a pipe of the usual size.
///
/// Thread affinity: the thread that runs the tests, since the kernel's part hangs on that one.
/// Errors: std::runtime_error, which fails the test, saying what the process had printed.
class Process {
 public:
  struct Setup {
    std::string input = {};
    bool more_input = false;                    // feed() follows; else stdin ends after `input`
    std::vector<std::string> environment = {};  // NAME=VALUE
  };

  /// `command[0]` is a path. See program() for our own.
  explicit Process(std::vector<std::string> command) : Process{std::move(command), Setup{}} {}
  Process(std::vector<std::string> command, Setup setup);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// When the signal was sent.
  SteadyClock::time_point signal(int number);

  void feed(std::string_view bytes);
  void end_input();
  /// Waits until all that was fed fits into the pipe or was read.
  void await_fed(Milliseconds limit = kPatience);
  /// As `| head` does to it.
  void close_output();

  /// The next line of stdout, without its newline.
  [[nodiscard]] std::string line(Milliseconds limit = kPatience);
  /// Waits for its end. Stdout is what line() did not take.
  Finished finish(Milliseconds limit = kPatience);
  [[nodiscard]] bool running();
  /// Stderr so far.
  [[nodiscard]] std::string log() const;

 private:
  void pump(SteadyClock::time_point deadline);
  void write_some();
  void read_some();
  void note_end();
  [[noreturn]] void give_up(const std::string& waited_for) const;

  std::string command_;
  pid_t pid_ = -1;
  int pid_fd_ = -1;
  int in_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::string unwritten_;
  bool more_input_;
  std::string output_;
  std::optional<int> code_;
  SteadyClock::time_point ended_at_{};
};

/// Where one of our programs is: in the folder that LIMINAL_BIN names.
[[nodiscard]] std::string program(const std::string& name);

/// Runs one of our programs, `command[0]`, to its end.
Finished run(std::vector<std::string> command, std::string input = {});
/// Runs a command of the shell to its end.
Finished shell(const std::string& command, std::string input = {});

}  // namespace liminal::test
