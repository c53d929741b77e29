#include "tests/system/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace liminal::test {
namespace {

std::vector<std::string> environment_with(const std::vector<std::string>& more) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view{*entry}.starts_with("LIMINAL_")) all.emplace_back(*entry);
  }
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (auto& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

void close_once(int& fd) {
  if (fd >= 0) ::close(std::exchange(fd, -1));
}

}  // namespace

Process::Process(std::vector<std::string> command, Setup setup)
    : unwritten_(std::move(setup.input)), more_input_(setup.more_input) {
  for (const auto& word : command) command_ += (command_.empty() ? "" : " ") + word.substr(0, 200);
  ::signal(SIGPIPE, SIG_IGN);
  int in[2], out[2];
  err_ = ::memfd_create("stderr", MFD_CLOEXEC);
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0 || err_ < 0) {
    throw std::runtime_error{"no descriptors for " + command_};
  }
  in_ = in[1];
  out_ = out[0];
  ::fcntl(in_, F_SETFL, O_NONBLOCK);
  ::fcntl(out_, F_SETFL, O_NONBLOCK);

  auto environment = environment_with(setup.environment);
  const auto arguments = pointers(command);
  const auto variables = pointers(environment);
  const pid_t us = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != us) ::_exit(127);
    ::signal(SIGPIPE, SIG_DFL);
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    ::dup2(err_, STDERR_FILENO);
    ::execve(arguments[0], arguments.data(), variables.data());
    ::_exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  if (pid_ > 0) pid_fd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  if (pid_fd_ < 0) throw std::runtime_error{"cannot start " + command_};
  write_some();
}

Process::~Process() {
  if (!code_ && pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  for (int* fd : {&pid_fd_, &in_, &out_, &err_}) close_once(*fd);
}

SteadyClock::time_point Process::signal(int number) {
  const auto now = SteadyClock::now();
  if (!code_) ::kill(pid_, number);
  return now;
}

void Process::feed(std::string_view bytes) {
  unwritten_ += bytes;
  write_some();
}

void Process::end_input() {
  more_input_ = false;
  write_some();
}

void Process::await_fed(Milliseconds limit) {
  const auto deadline = SteadyClock::now() + limit;
  while (!unwritten_.empty()) {
    if (SteadyClock::now() >= deadline) give_up("a reader of its stdin");
    pump(deadline);
  }
}

void Process::close_output() { close_once(out_); }

std::string Process::line(Milliseconds limit) {
  const auto deadline = SteadyClock::now() + limit;
  for (;;) {
    const auto newline = output_.find('\n');
    if (newline != std::string::npos) {
      std::string text = output_.substr(0, newline);
      output_.erase(0, newline + 1);
      return text;
    }
    if (SteadyClock::now() >= deadline || out_ < 0) give_up("a line on stdout");
    pump(deadline);
  }
}

Finished Process::finish(Milliseconds limit) {
  const auto deadline = SteadyClock::now() + limit;
  while (!code_) {
    if (SteadyClock::now() >= deadline) give_up("its end");
    pump(deadline);
  }
  read_some();  // what it wrote last
  return {*code_, std::exchange(output_, {}), log(), ended_at_};
}

bool Process::running() {
  note_end();
  return !code_;
}

std::string Process::log() const {
  std::string text;
  char chunk[4096];
  ssize_t got;
  while ((got = ::pread(err_, chunk, sizeof chunk, static_cast<off_t>(text.size()))) > 0) {
    text.append(chunk, static_cast<std::size_t>(got));
  }
  return text;
}

void Process::pump(SteadyClock::time_point deadline) {
  pollfd waits[3] = {{code_ ? -1 : pid_fd_, POLLIN, 0},
                     {out_, POLLIN, 0},
                     {unwritten_.empty() ? -1 : in_, POLLOUT, 0}};
  const auto left = std::chrono::ceil<Milliseconds>(deadline - SteadyClock::now());
  ::poll(waits, 3, static_cast<int>(std::max<Milliseconds::rep>(0, left.count())));
  if (waits[0].revents != 0) note_end();
  if (waits[1].revents != 0) read_some();
  if (waits[2].revents != 0) write_some();
}

void Process::write_some() {
  while (!unwritten_.empty() && in_ >= 0) {
    const ssize_t put = ::write(in_, unwritten_.data(), unwritten_.size());
    if (put < 0 && errno == EAGAIN) return;
    if (put < 0) {  // it reads no more
      unwritten_.clear();
      close_once(in_);
      return;
    }
    unwritten_.erase(0, static_cast<std::size_t>(put));
  }
  if (!more_input_) close_once(in_);
}

void Process::read_some() {
  char chunk[65536];
  while (out_ >= 0) {
    const ssize_t got = ::read(out_, chunk, sizeof chunk);
    if (got < 0) return;
    if (got == 0) return close_once(out_);
    output_.append(chunk, static_cast<std::size_t>(got));
  }
}

void Process::note_end() {
  if (code_) return;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return;
  ended_at_ = SteadyClock::now();
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void Process::give_up(const std::string& waited_for) const {
  throw std::runtime_error{"waited in vain for " + waited_for + " of: " + command_ +
                           "\nstdout: " + output_.substr(0, 2000) + "\nstderr: " + log()};
}

std::string program(const std::string& name) {
  const char* folder = std::getenv("LIMINAL_BIN");
  if (folder == nullptr) throw std::runtime_error{"LIMINAL_BIN must name the programs' folder"};
  return std::string{folder} + "/" + name;
}

Finished run(std::vector<std::string> command, std::string input) {
  command[0] = program(command[0]);
  return Process{std::move(command), {.input = std::move(input)}}.finish();
}

Finished shell(const std::string& command, std::string input) {
  return Process{{"/bin/sh", "-c", command}, {.input = std::move(input)}}.finish();
}

}  // namespace liminal::test
