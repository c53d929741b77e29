#include "processes.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace liminal::bench {
namespace {

void stay_on(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(core), &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) give_up("cannot stay on one core");
}

// The child that is being ended; any other that ends by itself ends the run.
std::atomic<pid_t> expected_to_end{-1};

extern "C" void on_child_ended(int, siginfo_t* info, void*) {
  if (info->si_pid == expected_to_end.load()) return;
  constexpr std::string_view kWhy = "error: a process of the run ended by itself\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kWhy.data(), kWhy.size());
  std::_Exit(1);
}

void watch_children() {
  struct sigaction action {};
  action.sa_sigaction = on_child_ended;
  action.sa_flags = SA_SIGINFO | SA_NOCLDSTOP | SA_RESTART;
  ::sigaction(SIGCHLD, &action, nullptr);
}

}  // namespace

void give_up(const std::string& why) {
  std::fprintf(stderr, "error: %s\n", why.c_str());
  std::_Exit(1);  // threads of this process may be at work
}

void ChildLine::say(const std::string& line) const {
  const std::string text = line + "\n";
  if (::write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::_Exit(1);
}

Child::Child(std::optional<int> core, const std::function<void(const ChildLine&)>& body) {
  start(core, [&](int fd) {
    body(ChildLine{fd});
    std::_Exit(0);
  });
}

Child::Child(std::optional<int> core, const std::vector<std::string>& command) {
  start(core, [&](int fd) {
    ::dup2(fd, STDOUT_FILENO);
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execv(arguments.front(), arguments.data());
    std::fprintf(stderr, "error: cannot run %s\n", command.front().c_str());
    std::_Exit(127);
  });
}

void Child::start(std::optional<int> core, const std::function<void(int)>& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) give_up("no pipe for a child");
  watch_children();
  const pid_t parent = ::getpid();
  std::fflush(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) give_up("no child");
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) std::_Exit(1);
    ::close(ends[0]);
    if (core) stay_on(*core);
    body(ends[1]);
    std::_Exit(1);
  }
  ::close(ends[1]);
  fd_ = ends[0];
}

Child::~Child() {
  expected_to_end.store(pid_);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  ::close(fd_);
}

std::string Child::line() {
  for (;;) {
    if (const auto end = read_.find('\n'); end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    char bytes[256];
    const ssize_t got = ::read(fd_, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) give_up("a process of the run ended too early");
    read_.append(bytes, static_cast<std::size_t>(got));
  }
}

std::vector<ThreadUse> threads_of(pid_t process) {
  namespace fs = std::filesystem;
  std::vector<ThreadUse> threads;
  const fs::path tasks = fs::path{"/proc"} / std::to_string(process) / "task";
  std::error_code ignored;
  for (const auto& task : fs::directory_iterator{tasks, ignored}) {
    ThreadUse use{"", static_cast<pid_t>(std::stol(task.path().filename().string())), 0, 0};
    std::uint64_t waited_ns = 0;
    std::ifstream{task.path() / "comm"} >> use.name;
    std::ifstream{task.path() / "schedstat"} >> use.cpu_ns >> waited_ns >> use.slices;
    threads.push_back(std::move(use));
  }
  return threads;
}

std::vector<int> cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) give_up("cannot tell the cores");
  std::vector<int> found;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<std::size_t>(core), &set)) found.push_back(core);
  }
  return found;
}

}  // namespace liminal::bench
