// liminal-minder: runs commands for one node, and sees to it that none of them outlives it.
//
// For each command the minder forks a *guard*, which forks the command. Minder and guards are
// subreapers in a session of their own, so that whatever descends from a command stays below its
// guard, setsid() and double forks included, and "no child left" is exact: a guard ends when there
// is none. A guard kills its command and all that descends from it when the command's main process
// ended, when the minder says so, and when the minder or the node is gone. A guard that was killed
// takes its command with it (PDEATHSIG), and what descends from that falls to the minder.
// Single-threaded.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "node/participant/minder_protocol.hpp"

namespace liminal::minder {
namespace {

constexpr int kRescanMs = 5;           // descendants may be reparented to us without any signal
constexpr int kGuardPatienceMs = 250;  // then guards that do not end are killed, e.g. stopped ones

// From the minder to a guard: kill your command. Blocked in both, so that none is lost.
constexpr int kOrder = SIGUSR1;

using Descriptors = std::array<int, kDescriptorsMax>;  // -1: none

void close_all(const Descriptors& descriptors) {
  for (const int descriptor : descriptors) {
    if (descriptor >= 0) ::close(descriptor);
  }
}

/// A node that is gone is noticed elsewhere.
void report(Kind kind, std::uint64_t command, int value, int socket = kSocket) {
  const Message message{kind, value, command};
  while (::send(socket, &message, sizeof message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

void drain(int signals) {
  signalfd_siginfo info;
  while (::read(signals, &info, sizeof info) > 0) {
  }
}

// --- children by /proc: this kernel interface has no list of them ---

/// The fourth field of /proc/PID/stat; the second, a name in parentheses, may contain anything.
pid_t parent_of(const char* pid) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  char text[512];
  const ssize_t bytes = ::read(file, text, sizeof text - 1);
  ::close(file);
  if (bytes <= 0) return -1;
  text[bytes] = '\0';
  const char* name_end = std::strrchr(text, ')');
  char state;
  int parent;
  if (name_end == nullptr || std::sscanf(name_end + 1, " %c %d", &state, &parent) != 2) return -1;
  return parent;
}

/// Kills every child of this process that is no guard; how many there were, dead ones included.
/// None means that nothing descends from us any more but by guards: whoever loses its parent below
/// us was ours before that parent could be reaped.
int kill_children(const std::map<pid_t, std::uint64_t>& guards) {
  const pid_t self = ::getpid();
  int killed = 0;
  DIR* processes = ::opendir("/proc");
  if (processes == nullptr) return 1;  // not known to be none: try again
  while (const dirent* entry = ::readdir(processes)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    if (parent_of(entry->d_name) != self) continue;
    const pid_t pid = std::atoi(entry->d_name);
    if (guards.count(pid) != 0) continue;
    ::kill(pid, SIGKILL);  // only we reap our children, so it is still the same process
    ++killed;
  }
  ::closedir(processes);
  return killed;
}

// --- the command ---

/// What to execute: the shell's command and the environment, as execve() wants them.
class Program {
 public:
  /// False if `text` cannot be read.
  bool read(int text) {
    struct stat status;
    if (::fstat(text, &status) != 0) return false;
    bytes_.resize(static_cast<std::size_t>(status.st_size));
    std::size_t done = 0;
    while (done < bytes_.size()) {
      const ssize_t got =
          ::pread(text, bytes_.data() + done, bytes_.size() - done, static_cast<off_t>(done));
      if (got <= 0) return false;
      done += static_cast<std::size_t>(got);
    }
    std::vector<char*> strings;
    for (std::size_t at = 0; at < bytes_.size(); at += std::strlen(&bytes_[at]) + 1) {
      strings.push_back(&bytes_[at]);
    }
    if (strings.empty()) return false;
    command_ = strings.front();
    environment_.assign(strings.begin() + 1, strings.end());
    const std::size_t added = environment_.size();
    for (char** inherited = ::environ; *inherited != nullptr; ++inherited) {
      if (!is_replaced(*inherited, added)) environment_.push_back(*inherited);
    }
    environment_.push_back(nullptr);
    return true;
  }

  /// Returns on failure only.
  void execute() {
    char shell[] = "sh";
    char flag[] = "-c";
    char* arguments[] = {shell, flag, command_, nullptr};
    ::execve("/bin/sh", arguments, environment_.data());
  }

 private:
  [[nodiscard]] bool is_replaced(std::string_view inherited, std::size_t added) const {
    const std::string_view name = inherited.substr(0, inherited.find('=') + 1);
    for (std::size_t i = 0; i < added; ++i) {
      if (std::string_view{environment_[i]}.starts_with(name)) return true;
    }
    return false;
  }

  std::string bytes_;
  char* command_ = nullptr;
  std::vector<char*> environment_;
};

[[noreturn]] void run_command(std::uint64_t command, Program& program, const Descriptors& files,
                              pid_t guard) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != guard) ::_exit(127);  // it ended before the line above
  ::dup2(files[kStdin], STDIN_FILENO);
  ::dup2(files[kStdout], STDOUT_FILENO);
  ::dup2(files[kStderr], STDERR_FILENO);
  int socket = kSocket;
  if (files[kExtra] >= 0) {
    // The socket stands in its place. Above all that came: none of those is at its place by itself.
    socket = ::fcntl(kSocket, F_DUPFD_CLOEXEC, kExtraTarget + 1);
    ::dup2(files[kExtra], kExtraTarget);
  }
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  program.execute();
  report(Kind::kFailed, command, errno, socket);
  ::_exit(127);
}

// --- the guard ---

/// One command's guard, in its own process.
class Guard {
 public:
  /// `life` and `node` are readable when the minder, or the node, is gone.
  Guard(std::uint64_t command, int life, int node, int signals)
      : command_(command), life_(life), node_(node), signals_(signals) {}

  [[noreturn]] void run(const Descriptors& files) {
    Program program;
    if (!program.read(files[kText])) fail(EIO);
    const pid_t self = ::getpid();
    main_ = ::fork();
    if (main_ < 0) fail(errno);
    if (main_ == 0) run_command(command_, program, files, self);
    ::setpgid(main_, main_);  // as the child does, whichever comes first
    close_all(files);
    report(Kind::kStarted, command_, main_);
    wait_for_the_end();
    kill_the_rest();
    ::_exit(0);
  }

 private:
  [[noreturn]] void fail(int error) {
    report(Kind::kFailed, command_, error);
    ::_exit(0);
  }

  /// Returns when the main process ended, or all shall end. The main process is not reaped yet, so
  /// that its process group's number still means that group.
  void wait_for_the_end() {
    while (!main_has_ended()) {
      std::array<pollfd, 3> ready{{{signals_, POLLIN, 0}, {life_, POLLIN, 0}, {node_, POLLIN, 0}}};
      ::poll(ready.data(), ready.size(), -1);
      if (ready[1].revents != 0 || ready[2].revents != 0) {
        reported_ = true;  // how the command ends now is not its own doing
        return;
      }
      signalfd_siginfo info;
      while (::read(signals_, &info, sizeof info) > 0) {
        if (info.ssi_signo == static_cast<std::uint32_t>(kOrder)) return;
      }
    }
  }

  /// Reaps what else ended meanwhile: descendants whose parents are gone.
  bool main_has_ended() {
    for (;;) {
      siginfo_t info{};
      if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) break;
      if (info.si_pid == main_) break;
      ::waitpid(info.si_pid, nullptr, 0);
    }
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(main_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid != main_) {
      return false;
    }
    const int status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status;
    report(Kind::kExited, command_, status);
    reported_ = true;
    return true;
  }

  void kill_the_rest() {
    ::kill(-main_, SIGKILL);
    ::kill(main_, SIGKILL);
    for (;;) {
      int status;
      pid_t reaped;
      while ((reaped = ::waitpid(-1, &status, WNOHANG)) > 0) {
        if (reaped == main_ && !reported_) report(Kind::kExited, command_, status);
      }
      if (reaped < 0) return;  // nobody is left
      kill_children({});
      pollfd ready{signals_, POLLIN, 0};
      ::poll(&ready, 1, kRescanMs);
      drain(signals_);
    }
  }

  std::uint64_t command_;
  int life_;
  int node_;
  int signals_;
  pid_t main_ = -1;
  bool reported_ = false;
};

// --- the minder ---

class Minder {
 public:
  /// False if the system refuses what we cannot do without.
  bool set_up() {
    int life[2];
    if (::pipe2(life, O_CLOEXEC) != 0) return false;
    life_ = life[0];
    life_of_ours_ = life[1];
    sigset_t ours;
    ::sigemptyset(&ours);
    ::sigaddset(&ours, SIGCHLD);
    ::sigaddset(&ours, kOrder);
    if (::sigprocmask(SIG_BLOCK, &ours, nullptr) != 0) return false;
    signals_ = ::signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    // Beside the socket's end: a fork of the node that never executed would hold the socket open.
    // Without it (-1) poll() passes over it.
    node_ = static_cast<int>(::syscall(SYS_pidfd_open, ::getppid(), 0));
    return signals_ >= 0;
  }

  void run() {
    while (read_orders()) {
      std::array<pollfd, 3> ready{
          {{kSocket, POLLIN, 0}, {signals_, POLLIN, 0}, {node_, POLLIN, 0}}};
      ::poll(ready.data(), ready.size(), orphans_ ? kRescanMs : -1);
      drain(signals_);
      reap();
      if (ready[2].revents != 0) break;
    }
    end_all();
  }

 private:
  /// All that wait. False when the node is gone.
  bool read_orders() {
    for (;;) {
      Message order{};
      Descriptors files;
      files.fill(-1);
      iovec part{&order, sizeof order};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof files)];
      msghdr header{};
      header.msg_iov = &part;
      header.msg_iovlen = 1;
      header.msg_control = control;
      header.msg_controllen = sizeof control;
      const ssize_t bytes = ::recvmsg(kSocket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes < 0) return errno == EAGAIN;
      if (bytes == 0) return false;
      const bool has_files = take_files(header, files, order.value);
      if (bytes == sizeof order) obey(order, files, has_files);
      close_all(files);
    }
  }

  static bool take_files(msghdr& header, Descriptors& files, std::int32_t count) {
    const cmsghdr* control = CMSG_FIRSTHDR(&header);
    if (control == nullptr || control->cmsg_type != SCM_RIGHTS) return false;
    const std::size_t bytes = control->cmsg_len - CMSG_LEN(0);
    std::memcpy(files.data(), CMSG_DATA(control), bytes < sizeof files ? bytes : sizeof files);
    return bytes == static_cast<std::size_t>(count) * sizeof files[0];
  }

  void obey(const Message& order, const Descriptors& files, bool has_files) {
    if (order.kind == Kind::kStart) {
      if (has_files) {
        start(order.command, files);
      } else {
        report(Kind::kFailed, order.command, EMFILE);  // there was no room for its files
      }
    } else if (order.kind == Kind::kKill) {
      for (const auto& [pid, command] : guards_) {
        if (command == order.command) ::kill(pid, kOrder);
      }
    }
  }

  void start(std::uint64_t command, const Descriptors& files) {
    const pid_t pid = ::fork();
    if (pid < 0) return report(Kind::kFailed, command, errno);
    if (pid != 0) {
      guards_.emplace(pid, command);
      return;
    }
    ::close(life_of_ours_);
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::prctl(PR_SET_NAME, "liminal-guard");
    Guard{command, life_, node_, signals_}.run(files);
  }

  /// False when there is no child left.
  bool reap() {
    int status;
    pid_t pid;
    while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
      const auto guard = guards_.find(pid);
      if (guard == guards_.end()) continue;
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        report(Kind::kLost, guard->second, 0);
        orphans_ = true;
      }
      guards_.erase(guard);
    }
    if (orphans_) orphans_ = kill_children(guards_) > 0;
    return pid == 0;
  }

  void end_all() {
    ::close(life_of_ours_);  // for the guards, the sign to end
    for (int waited_ms = 0; reap(); waited_ms += kRescanMs) {
      if (waited_ms == kGuardPatienceMs) {
        for (const auto& [pid, command] : guards_) ::kill(pid, SIGKILL);
      }
      pollfd ready{signals_, POLLIN, 0};
      ::poll(&ready, 1, kRescanMs);
      drain(signals_);
    }
  }

  int life_ = -1;          // read end, for guards: at its end when the minder is
  int life_of_ours_ = -1;  // write end, held by nobody else
  int signals_ = -1;
  int node_ = -1;
  std::map<pid_t, std::uint64_t> guards_;  // pid -> command
  bool orphans_ = false;                   // a guard was killed: its descendants are ours
};

bool is_socket(int descriptor) {
  struct stat status;
  return ::fstat(descriptor, &status) == 0 && S_ISSOCK(status.st_mode);
}

/// Away from the node's terminal, signals and files.
void detach() {
  ::setsid();
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  for (const int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::signal(number, SIG_IGN);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int standard = 0; standard < 3; ++standard) ::dup2(null, standard);
  ::closefrom(kSocket + 1);  // `null` with it
  ::fcntl(kSocket, F_SETFD, FD_CLOEXEC);
}

}  // namespace
}  // namespace liminal::minder

int main() {
  using namespace liminal::minder;
  if (!is_socket(kSocket)) {
    std::fputs("liminal-minder: runs commands for a liminal node, which starts it\n", stderr);
    return 2;
  }
  detach();
  Minder minder;
  if (!minder.set_up()) return 1;
  minder.run();
  return 0;
}
