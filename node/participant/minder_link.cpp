#include "node/participant/minder_link.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

namespace liminal {

namespace {

constexpr int kEndPatienceMs = 5000;

std::string text_of(int error) { return std::error_code(error, std::generic_category()).message(); }

bool is_program(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0;
}

bool is_readable(int descriptor, int timeout_ms) {
  pollfd ready{descriptor, POLLIN, 0};
  int count;
  while ((count = ::poll(&ready, 1, timeout_ms)) < 0 && errno == EINTR) {
  }
  return count > 0;
}

/// posix_spawn's attributes and actions, which must be destroyed.
struct SpawnPlan {
  SpawnPlan() {
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_init(&actions);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
};

}  // namespace

Result<std::string> find_minder(const std::string& wanted) {
  if (!wanted.empty()) {
    if (is_program(wanted)) return wanted;
    return fail(Errc::kUsage, "the minder '" + wanted + "' is not an executable file");
  }
  if (const char* named = std::getenv("LIMINAL_MINDER"); named != nullptr && *named != '\0') {
    if (is_program(named)) return std::string{named};
    return fail(Errc::kUsage,
                std::string{"LIMINAL_MINDER: '"} + named + "' is not an executable file");
  }
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const std::string beside = folder / "liminal-minder";
  if (is_program(beside)) return beside;
  const std::string installed = folder.parent_path() / "libexec/liminal/liminal-minder";
  if (is_program(installed)) return installed;
  return fail(Errc::kUsage, "there is no liminal-minder, which runs commands: neither '" + beside +
                                "' nor '" + installed + "'; LIMINAL_MINDER can name it");
}

Result<MinderLink> MinderLink::start(const std::string& program) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail(Errc::kInternal, "socketpair: " + text_of(errno));
  }
  Descriptor ours{ends[0]};
  const Descriptor theirs{ends[1]};
  ::fcntl(ours.get(), F_SETFL, O_NONBLOCK);

  SpawnPlan plan;
  sigset_t signals;
  ::sigfillset(&signals);
  ::posix_spawnattr_setsigdefault(&plan.attributes, &signals);
  ::sigemptyset(&signals);
  ::posix_spawnattr_setsigmask(&plan.attributes, &signals);
  ::posix_spawnattr_setflags(&plan.attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  ::posix_spawn_file_actions_adddup2(&plan.actions, theirs.get(), minder::kSocket);

  char name[] = "liminal-minder";
  char* arguments[] = {name, nullptr};
  pid_t pid;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &plan.actions, &plan.attributes, arguments, ::environ);
  if (error != 0) return fail(Errc::kInternal, "'" + program + "': " + text_of(error));
  Descriptor process{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  if (!process.is_open()) {
    const int pidfd_error = errno;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return fail(Errc::kInternal, "pidfd_open: " + text_of(pidfd_error));
  }
  return MinderLink{std::move(ours), std::move(process), pid};
}

MinderLink::~MinderLink() {
  if (!process_.is_open()) return;
  socket_.reset();
  if (!is_readable(process_.get(), kEndPatienceMs)) ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void MinderLink::send(const minder::Message& message, Files files) {
  unsent_.push_back({message, std::move(files)});
  flush();
}

void MinderLink::flush() {
  while (!unsent_.empty() && !broken_) {
    Unsent& next = unsent_.front();
    iovec part{&next.message, sizeof next.message};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    std::array<int, minder::kDescriptorsMax> numbers;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof numbers)] = {};
    if (next.files[minder::kText].is_open()) {
      std::size_t count = 0;
      for (const Descriptor& file : next.files) {
        if (file.is_open()) numbers[count++] = file.get();
      }
      const std::size_t bytes = count * sizeof numbers[0];
      header.msg_control = control;
      header.msg_controllen = CMSG_SPACE(bytes);
      cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(bytes);
      std::memcpy(CMSG_DATA(rights), numbers.data(), bytes);
    }
    if (::sendmsg(socket_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return;
      broken_ = true;
      return;
    }
    unsent_.pop_front();
  }
}

std::optional<minder::Message> MinderLink::try_receive() {
  for (;;) {
    minder::Message message;
    const ssize_t bytes = ::recv(socket_.get(), &message, sizeof message, MSG_DONTWAIT);
    if (bytes == sizeof message) return message;
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) return std::nullopt;
    broken_ = true;
    return std::nullopt;
  }
}

bool MinderLink::is_gone() const { return broken_ || is_readable(process_.get(), 0); }

}  // namespace liminal
