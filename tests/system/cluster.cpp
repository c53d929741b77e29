#include "tests/system/cluster.hpp"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace liminal::test {
namespace {

std::string shown(const Finished& ended) {
  return "exit " + std::to_string(ended.code) + "\nstdout (" + std::to_string(ended.out.size()) +
         " bytes): " + ended.out.substr(0, 1000) + "\nstderr: " + ended.err.substr(0, 4000);
}

}  // namespace

Cluster::Cluster(Words broker_options) : broker_options_(std::move(broker_options)) {
  static int count = 0;
  mark_ = std::to_string(::getpid()) + "-" + std::to_string(++count);
  start_broker("tcp://127.0.0.1:*");
}

void Cluster::start_broker(const std::string& listen) {
  Words words{program("liminal-broker"), "--listen", listen};
  words.insert(words.end(), broker_options_.begin(), broker_options_.end());
  broker_ = std::make_unique<Process>(words);
  const std::string ready = broker_->line();
  const std::string prefix = "ready broker ";
  if (!ready.starts_with(prefix)) throw std::runtime_error{"the broker said: " + ready};
  endpoint_ = ready.substr(prefix.size());
}

void Cluster::kill_broker() {
  broker_->signal(SIGKILL);
  broker_->finish();
}

void Cluster::replace_broker() {
  kill_broker();
  restart_broker();
}

std::string Cluster::incarnation_of(const std::string& node) const {
  const std::string status = run({"status", "--json"}).out;
  const auto name = status.find("{\"name\":\"" + node + "\"");
  if (name == std::string::npos) return {};
  const std::string key = "\"incarnation\":\"";
  const auto at = status.find(key, name);
  return at == std::string::npos ? std::string{} : status.substr(at + key.size(), 16);
}

Process& Cluster::start_node(const std::string& name, const Words& services, const Words& options) {
  Words words{program("liminal-node"), "--name", name, "--broker", endpoint_};
  for (const auto& service : services) words.insert(words.end(), {"--service", service});
  words.insert(words.end(), options.begin(), options.end());
  auto& node = nodes_[name];
  node.reset();  // the one before ends first, and what it left running: below() finds none of it
  const std::string mark = mark_ + "-" + name;
  if (!eventually([&] { return marked(mark).empty(); })) {
    throw std::runtime_error{"something of the node before still runs: " + name};
  }
  node = std::make_unique<Process>(words,
                                   Process::Setup{.environment = {"LIMINAL_TEST_MARK=" + mark}});
  return *node;
}

Process& Cluster::add_node(const std::string& name, const Words& services, const Words& options) {
  Process& node = start_node(name, services, options);
  const std::string ready = node.line();
  if (ready != "ready node " + name) throw std::runtime_error{"the node said: " + ready};
  return node;
}

Cluster::Words Cluster::command(const Words& words) const {
  Words all{program("liminal"), words[0], "--broker", endpoint_};
  all.insert(all.end(), words.begin() + 1, words.end());
  return patient(std::move(all));
}

std::vector<std::string> patient(std::vector<std::string> command) {
  command.insert(command.begin(),
                 {"/usr/bin/env", "LIMINAL_CONNECT_TIMEOUT=30s", "LIMINAL_TIMEOUT=30s"});
  return command;
}

Finished Cluster::run(const Words& words, std::string input) const {
  return Process{command(words), {.input = std::move(input)}}.finish();
}

std::vector<pid_t> Cluster::below(const std::string& node, const std::string& name) {
  auto found = marked(mark_ + "-" + node, name);
  const pid_t itself = nodes_.at(node)->pid();
  found.erase(std::remove(found.begin(), found.end(), itself), found.end());
  return found;
}

::testing::AssertionResult failed_with(const Finished& ended, int code,
                                       const std::vector<std::string>& parts) {
  const auto wrong = [&](const std::string& what) {
    return ::testing::AssertionFailure() << what << ": " << shown(ended);
  };
  if (ended.code != code) return wrong("expected exit " + std::to_string(code));
  if (!ended.out.empty()) return wrong("expected nothing on stdout");
  if (std::count(ended.err.begin(), ended.err.end(), '\n') != 1 || !ended.err.ends_with('\n')) {
    return wrong("expected one line on stderr");
  }
  if (!ended.err.starts_with("error: ")) return wrong("expected a line 'error: ...'");
  for (const auto& part : parts) {
    if (ended.err.find(part) == std::string::npos) return wrong("expected '" + part + "'");
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult printed(const Finished& ended, std::string_view out) {
  if (ended.code == 0 && ended.out == out && ended.err.empty()) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure()
         << "expected " << out.size() << " bytes: " << out.substr(0, 200) << "\n"
         << shown(ended);
}

double number_after(std::string_view json, const std::string& key) {
  const std::string quoted = "\"" + key + "\":";
  const auto at = json.find(quoted);
  if (at == std::string_view::npos) return -1;
  return std::strtod(std::string{json.substr(at + quoted.size(), 40)}.c_str(), nullptr);
}

Folder::Folder() : path_(::testing::TempDir() + "liminal-system-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error{"no folder " + path_};
}

Folder::~Folder() {
  std::error_code ignored;  // a file left behind fails no test
  std::filesystem::remove_all(path_, ignored);
}

std::string Folder::file(const std::string& name, std::string_view text) const {
  const std::string path = path_ + "/" + name;
  std::ofstream{path, std::ios::binary} << text;
  return path;
}

}  // namespace liminal::test
