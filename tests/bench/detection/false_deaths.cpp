#include "false_deaths.hpp"

#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>

#include "lane.hpp"

namespace liminal::bench {
namespace {

// Over which the nodes are spread, where frames are to be lost between them and the broker.
constexpr int kHosts = 6;

int times(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) {
    ++count;
  }
  return count;
}

std::string host_of(int node) { return "host" + std::to_string(node % kHosts); }

std::unique_ptr<test::HostNetwork> make_hosts() {
  Words names{"hub"};
  for (int i = 0; i < kHosts; ++i) names.push_back(host_of(i));
  return std::make_unique<test::HostNetwork>(names);
}

}  // namespace

const std::vector<Condition>& all_conditions() {
  static const std::vector<Condition> conditions{
      {"idle", "nothing else runs", 0, 0},
      {"busy", "under 8 busy loops", 8, 0},
      {"loss-1", "1 % of frames lost each way", 0, 1},
      {"loss-5", "5 % of frames lost each way", 0, 5},
  };
  return conditions;
}

FalseDeaths count_false_deaths(const Condition& condition, int nodes,
                               std::chrono::seconds duration) {
  std::unique_ptr<test::HostNetwork> network;
  if (condition.loss_percent > 0) network = make_hosts();
  const auto on = [&](const std::string& host, const Words& command) {
    return network ? network->on(host, command) : command;
  };

  Words words{program_path("liminal-broker"), "--listen",
              "tcp://" + (network ? network->address("hub") : "127.0.0.1") + ":*"};
  if (network) words.push_back("--insecure");  // on hosts that nobody else can reach
  Process broker{on("hub", words)};
  const std::string ready = broker.line();
  const std::string prefix = "ready broker ";
  if (!ready.starts_with(prefix)) throw std::runtime_error{"the broker said: " + ready};
  const std::string endpoint = ready.substr(prefix.size());

  std::vector<std::unique_ptr<Process>> living;
  for (int i = 0; i < nodes; ++i) {
    living.push_back(std::make_unique<Process>(
        on(host_of(i), {program_path("liminal-node"), "--name", "node-" + std::to_string(i),
                        "--broker", endpoint, "--service", "echo=echo"})));
  }
  for (const auto& node : living) {
    if (!node->line().starts_with("ready ")) throw std::runtime_error{node->log()};
  }
  const auto count = [&](const char* said) { return times(broker.log(), said); };
  const int deaths_before = count(" is down: ");
  const int suspicions_before = count(" is suspect");

  std::vector<std::unique_ptr<Process>> loops;
  for (int i = 0; i < condition.busy_loops; ++i) {
    loops.push_back(std::make_unique<Process>(Words{this_program(), "--as", "busy-loop"}));
  }
  if (network) network->lose(condition.loss_percent);
  const auto begun = SteadyClock::now();
  std::this_thread::sleep_for(duration);
  const double hours = std::chrono::duration<double>(SteadyClock::now() - begun).count() / 3600;

  FalseDeaths counted{nodes, hours * nodes, count(" is down: ") - deaths_before,
                      count(" is suspect") - suspicions_before, 0};
  for (const auto& node : living) {
    if (!node->running()) throw std::runtime_error{"a node ended by itself: " + node->log()};
    counted.fenced += times(node->log(), "fenced: ");
  }
  if (!broker.running()) throw std::runtime_error{"the broker ended by itself: " + broker.log()};
  return counted;
}

}  // namespace liminal::bench
