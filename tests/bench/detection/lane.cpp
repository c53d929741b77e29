#include "lane.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace liminal::bench {

std::string this_program() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

std::string program_path(const std::string& name) {
  if (const char* folder = std::getenv("LIMINAL_BIN")) return std::string{folder} + "/" + name;
  return std::filesystem::path{this_program()}.replace_filename(name).string();
}

Told::Told() : folder_(std::filesystem::temp_directory_path() / "liminal-detection-XXXXXX") {
  if (::mkdtemp(folder_.data()) == nullptr) throw std::runtime_error{"no folder " + folder_};
  path_ = folder_ + "/told";
  // Held open for writing too, so that no writer's end is the pipe's.
  if (::mkfifo(path_.c_str(), 0600) == 0) fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  if (fd_ < 0) throw std::runtime_error{"no pipe " + path_};
}

Told::~Told() {
  if (fd_ >= 0) ::close(fd_);
  std::error_code ignored;  // what is left behind disturbs nobody
  std::filesystem::remove_all(folder_, ignored);
}

std::optional<long long> Told::next(test::Milliseconds limit) {
  const auto deadline = SteadyClock::now() + limit;
  for (;;) {
    if (const auto end = read_.find('\n'); end != std::string::npos) {
      const long long number = std::stoll(read_.substr(0, end));
      read_.erase(0, end + 1);
      return number;
    }
    const auto left = std::chrono::ceil<test::Milliseconds>(deadline - SteadyClock::now());
    pollfd readable{fd_, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) <= 0) {
      return std::nullopt;
    }
    char bytes[64];
    const ssize_t got = ::read(fd_, bytes, sizeof bytes);
    if (got > 0) read_.append(bytes, static_cast<std::size_t>(got));
  }
}

Lane::Lane(const Setup& setup) : setup_(setup) {
  if (setup.on_hosts) {
    network_ = std::make_unique<test::HostNetwork>(Words{"hub", "desk", "far"});
    setup_.broker_options.push_back("--insecure");  // on hosts that nobody else can reach
  }
  start_broker("tcp://" + (network_ ? network_->address("hub") : "127.0.0.1") + ":*");
  receiver_ = std::make_unique<Process>(
      on("desk", {this_program(), "--as", "receiver", "receiver", endpoint_}),
      Process::Setup{.more_input = true});
  if (receiver_->line() != "ready") throw std::runtime_error{"no receiver: " + receiver_->log()};
}

Words Lane::on(const std::string& host, Words command) const {
  return network_ ? network_->on(host, command) : command;
}

void Lane::start_broker(const std::string& listen) {
  Words words{program_path("liminal-broker"), "--listen", listen};
  words.insert(words.end(), setup_.broker_options.begin(), setup_.broker_options.end());
  broker_ = std::make_unique<Process>(on("hub", words));
  const std::string ready = broker_->line();
  const std::string prefix = "ready broker ";
  if (!ready.starts_with(prefix)) throw std::runtime_error{"the broker said: " + ready};
  endpoint_ = ready.substr(prefix.size());
}

void Lane::kill_broker() {
  broker_->signal(SIGKILL);
  (void)broker_->finish();
}

void Lane::restart_broker() { start_broker(endpoint_); }

void Lane::start_victim() {
  victim_.reset();
  const std::string name = "victim-" + std::to_string(++victims_);
  victim_ = std::make_unique<Process>(
      on("far", {program_path("liminal-node"), "--name", name, "--broker", endpoint_, "--service",
                 echo() + "=echo", "--service",
                 waiting() + "=exec:echo $$ >" + told_.path() + "; exec sleep 100000"}));
  const std::string ready = victim_->line();
  if (ready != "ready node " + name) throw std::runtime_error{"the victim said: " + ready};
}

void Lane::start_hanging_victim() {
  victim_.reset();
  const std::string name = "victim-" + std::to_string(++victims_);
  victim_ = std::make_unique<Process>(on(
      "far", {this_program(), "--as", "hanging-node", name, endpoint_, waiting(), told_.path()}));
  if (victim_->line() != "ready") throw std::runtime_error{"no victim: " + victim_->log()};
}

long long Lane::told() {
  const auto number = told_.next();
  if (number) return *number;
  throw std::runtime_error{"no participant began to work; the broker's log:\n" + broker_->log() +
                           "the victim's:\n" + victim_->log()};
}

void Lane::tell_receiver(const std::string& line) { receiver_->feed(line + "\n"); }

Seen Lane::seen() {
  const std::string line = receiver_->line(5 * test::kPatience);
  const auto blank = line.find(' ');
  if (blank == std::string::npos) throw std::runtime_error{"the receiver said: " + line};
  return {SteadyClock::time_point{std::chrono::nanoseconds{std::stoll(line.substr(0, blank))}},
          line.substr(blank + 1)};
}

}  // namespace liminal::bench
