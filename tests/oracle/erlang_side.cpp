#include "tests/oracle/erlang_side.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include "common/base/random.hpp"
#include "common/base/text.hpp"

namespace liminal::oracle {
namespace {

constexpr int kSilenceMaxMs = 60'000;

Error failed(const char* what) {
  return Error{Errc::kTransport, std::string{what} + ": " + std::strerror(errno)};
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream in{line};
  for (std::string field; std::getline(in, field, '\t');) fields.push_back(field);
  return fields;
}

// "saw STEP PROCESS SENDER WHAT", the same with "then", "end STEP PROCESS REASON", "born STEP
// PROCESS", tabs between.
bool note(Trace& trace, const std::string& line) {
  const auto fields = fields_of(line);
  if (fields.size() < 3 || fields[1].empty() ||
      fields[1].find_first_not_of("0123456789") != std::string::npos) {
    return false;
  }
  const std::size_t step = std::stoul(fields[1]);
  if ((fields[0] == "saw" || fields[0] == "then") && fields.size() == 5) {
    trace.saw(step, fields[0] == "then", fields[2], fields[3], fields[4]);
  } else if (fields[0] == "end" && fields.size() == 4) {
    trace.ends[fields[2]] = {step, fields[3]};
  } else if (fields[0] == "born" && fields.size() == 3) {
    trace.born.insert(fields[2]);
  } else {
    return false;
  }
  return true;
}

}  // namespace

// --- one node ---

Result<ErlangProcess> ErlangProcess::start(const std::vector<std::string>& arguments) {
  std::array<int, 2> in{-1, -1}, out{-1, -1};
  if (pipe2(in.data(), O_CLOEXEC) != 0) return tl::unexpected(failed("pipe"));
  if (pipe2(out.data(), O_CLOEXEC) != 0) {
    const Error why = failed("pipe");
    close(in[0]);
    close(in[1]);
    return tl::unexpected(why);
  }
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  const Error why = failed("fork");
  close(in[0]);
  close(out[1]);
  if (pid < 0) {
    close(in[1]);
    close(out[0]);
    return tl::unexpected(why);
  }
  return ErlangProcess{pid, in[1], out[0]};
}

ErlangProcess::ErlangProcess(ErlangProcess&& from) noexcept
    : pid_(std::exchange(from.pid_, -1)),
      to_(std::exchange(from.to_, -1)),
      from_(std::exchange(from.from_, -1)),
      read_(std::move(from.read_)) {}

ErlangProcess& ErlangProcess::operator=(ErlangProcess&& from) noexcept {
  std::swap(pid_, from.pid_);
  std::swap(to_, from.to_);
  std::swap(from_, from.from_);
  std::swap(read_, from.read_);
  return *this;
}

ErlangProcess::~ErlangProcess() {
  kill();
  if (to_ >= 0) close(to_);
  if (from_ >= 0) close(from_);
}

void ErlangProcess::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
  pid_ = -1;
}

bool ErlangProcess::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(to_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

std::optional<std::string> ErlangProcess::read_line() {
  for (;;) {
    if (const auto end = read_.find('\n'); end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    pollfd readable{from_, POLLIN, 0};
    const int ready = poll(&readable, 1, kSilenceMaxMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return std::nullopt;
    std::array<char, 16384> some;
    const ssize_t got = ::read(from_, some.data(), some.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    read_.append(some.data(), static_cast<std::size_t>(got));
  }
}

// --- the pair ---

Result<ErlangSide> ErlangSide::start(std::string beams) {
  signal(SIGPIPE, SIG_IGN);  // a node that is gone is an answer, not the end of this program
  ErlangSide side{std::move(beams)};
  side.cookie_ = to_hex(random_seed());
  if (auto started = side.start_missing(); !started) {
    return tl::unexpected(std::move(started.error()));
  }
  return side;
}

Result<void> ErlangSide::start_missing() {
  const auto arguments = [this](const std::string& name, const std::string& listens,
                                const std::string& starts) {
    // Busy schedulers of two nodes would take each other's processors. No report on standard error
    // of the crashes that scripts are made of.
    return std::vector<std::string>{
        "erl",          "-noshell",     "-name",        name,
        "-setcookie",   cookie_,        "-pa",          beams_,
        "-start_epmd",  "false",        "-epmd_module", "oracle_ports",
        "-dist_listen", listens,        "-kernel",      "inet_dist_use_interface",
        "{127,0,0,1}",  "logger_level", "none",         "+sbwt",
        "none",         "+sbwtdcpu",    "none",         "+sbwtdio",
        "none",         "-eval",        starts};
  };
  if (!one_) {
    two_.reset();
    auto argv = arguments("one@127.0.0.1", "false", "oracle_conductor:start().");
    auto one = ErlangProcess::start(argv);
    if (!one) return tl::unexpected(std::move(one.error()));
    one_ = std::move(*one);
  }
  if (two_) return {};
  const std::string name = "two" + std::to_string(++twos_) + "@127.0.0.1";
  auto argv = arguments(name, "true", "oracle_node:start_two().");
  auto two = ErlangProcess::start(argv);
  if (!two) return tl::unexpected(std::move(two.error()));
  two_ = std::move(*two);
  const auto port = two_->read_line();
  if (!port || !port->starts_with("port ")) {
    return fail(Errc::kTransport, "Erlang's node two did not start");
  }
  if (!one_->write("{peer,'" + name + "'," + port->substr(5) + "}.\n") ||
      one_->read_line() != "ready") {
    return fail(Errc::kTransport, "Erlang's nodes did not connect");
  }
  return {};
}

Trace ErlangSide::broken(std::string why) {
  one_.reset();
  two_.reset();
  Trace trace;
  trace.broken = std::move(why);
  return trace;
}

Trace ErlangSide::run(const Script& script) {
  if (auto started = start_missing(); !started) return broken(started.error().detail);
  if (!one_->write(to_term(script))) return broken("Erlang's node one is gone");
  Trace trace;
  for (;;) {
    const auto line = one_->read_line();
    if (!line) return broken("Erlang's node one is gone or silent");
    if (*line == "done") return trace;
    if (*line == "lose") {
      two_.reset();
      if (!one_->write("lost.\n")) return broken("Erlang's node one is gone");
    } else if (!note(trace, *line)) {
      return broken("Erlang: " + *line);
    }
  }
}

}  // namespace liminal::oracle
