#include "tests/hosts/host_cluster.hpp"

#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <thread>
#include <utility>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

std::vector<std::string> with_hub_and_desk(std::vector<std::string> hosts) {
  hosts.insert(hosts.begin(), {"hub", "desk"});
  return hosts;
}

std::string line_of(int number) { return "line " + std::to_string(number); }

}  // namespace

HostCluster::HostCluster(const Words& nodes, const Words& broker_options)
    : network_(with_hub_and_desk(nodes)) {
  static int count = 0;
  mark_ = std::to_string(::getpid()) + "-h" + std::to_string(++count);
  Words words{program("liminal-broker"), "--listen", "tcp://" + network_.address("hub") + ":*",
              "--insecure"};
  words.insert(words.end(), broker_options.begin(), broker_options.end());
  broker_ = std::make_unique<Process>(network_.on("hub", words));
  const std::string ready = broker_->line();
  const std::string prefix = "ready broker ";
  if (!ready.starts_with(prefix)) throw std::runtime_error{"the broker said: " + ready};
  endpoint_ = ready.substr(prefix.size());
}

Process& HostCluster::add_node(const std::string& name, const Words& services,
                               const Words& options) {
  Words words{program("liminal-node"), "--name", name, "--broker", endpoint_};
  for (const auto& service : services) words.insert(words.end(), {"--service", service});
  words.insert(words.end(), options.begin(), options.end());
  auto& node = nodes_[name];
  node.reset();  // the one before ends first, and what it left running: below() finds none of it
  const std::string mark = mark_ + "-" + name;
  if (!eventually([&] { return marked(mark).empty(); })) {
    throw std::runtime_error{"something of the node before still runs: " + name};
  }
  node = std::make_unique<Process>(network_.on(name, words),
                                   Process::Setup{.environment = {"LIMINAL_TEST_MARK=" + mark}});
  const std::string ready = node->line();
  if (ready != "ready node " + name) throw std::runtime_error{"the node said: " + ready};
  return *node;
}

HostCluster::Words HostCluster::command(const Words& words) const {
  Words all{program("liminal"), words[0], "--broker", endpoint_};
  all.insert(all.end(), words.begin() + 1, words.end());
  return network_.on("desk", patient(std::move(all)));
}

Finished HostCluster::run(const Words& words, std::string input) const {
  return Process{command(words), {.input = std::move(input)}}.finish();
}

std::string HostCluster::told_of(const std::string& node, const std::string& key) const {
  const std::string status =
      Process{network_.on("hub",
                          patient({program("liminal"), "status", "--broker", endpoint_, "--json"}))}
          .finish()
          .out;
  const auto name = status.find("{\"name\":\"" + node + "\"");
  if (name == std::string::npos) return {};
  const std::string quoted = "\"" + key + "\":\"";
  const auto at = status.find(quoted, name);
  if (at == std::string::npos) return {};
  const auto begin = at + quoted.size();
  return status.substr(begin, status.find('"', begin) - begin);
}

bool HostCluster::eventually_is(const std::string& node, const std::string& state) const {
  return eventually([&] { return told_of(node, "state") == state; });
}

std::vector<pid_t> HostCluster::below(const std::string& node, const std::string& name) {
  auto found = marked(mark_ + "-" + node, name);
  found.erase(std::remove(found.begin(), found.end(), nodes_.at(node)->pid()), found.end());
  return found;
}

std::unique_ptr<Process> HostCluster::ask_slow(const std::string& node, const Words& more) {
  Words words{"ask", "slow", "x", "--timeout", "300s", "--json"};
  words.insert(words.end(), more.begin(), more.end());
  auto ask = std::make_unique<Process>(command(words));
  if (!eventually([&] { return !below(node, "sleep").empty(); })) {
    throw std::runtime_error{"no work began: " + ask->log()};
  }
  return ask;
}

EchoTalk::EchoTalk(const HostCluster& cluster, const std::string& service)
    : converse_(cluster.command({"converse", service, "--timeout", "60s"}), {.more_input = true}) {}

void EchoTalk::say(int lines) {
  std::string more;
  for (const int end = said_ + lines; said_ < end; ++said_) more += line_of(said_) + "\n";
  converse_.feed(more);
}

void EchoTalk::read_all() {
  for (; read_ < said_; ++read_) ASSERT_EQ(converse_.line(), line_of(read_));
}

void EchoTalk::finish() {
  read_all();
  converse_.end_input();
  const auto went_well = printed(converse_.finish(), "");
  if (!went_well) throw std::runtime_error{went_well.message()};
}

int times_said(const Process& process, const std::string& part) {
  const std::string log = process.log();
  int times = 0;
  for (std::size_t at = 0; (at = log.find(part, at)) != std::string::npos; at += part.size()) {
    ++times;
  }
  return times;
}

void keep_it_so(Milliseconds duration) { std::this_thread::sleep_for(duration); }

}  // namespace liminal::test
