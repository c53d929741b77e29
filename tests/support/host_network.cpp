#include "tests/support/host_network.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/system/process.hpp"

namespace liminal::test {
namespace {

using Words = std::vector<std::string>;

// Where Debian keeps ip and nft is not in everybody's path.
constexpr const char* kPath = "PATH=$PATH:/usr/sbin:/sbin\n";

// A namespace belongs to the thread that makes it: one is made for it and ends.
int make_namespace() {
  int made = -1;
  std::thread{[&made] {
    if (::unshare(CLONE_NEWNET) != 0) return;
    made = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  }}.join();
  return made;
}

bool can_make_namespaces() {
  const int made = make_namespace();
  if (made >= 0) ::close(made);
  return made >= 0;
}

// This process becomes root of a user namespace of its own.
bool enter_user_namespace() {
  const auto user = ::geteuid();
  const auto group = ::getegid();
  if (::unshare(CLONE_NEWUSER) != 0) return false;
  const auto write = [](const char* file, const std::string& text) {
    std::ofstream out{file};
    out << text << std::flush;
    return out.good();
  };
  return write("/proc/self/setgroups", "deny") &&
         write("/proc/self/uid_map", "0 " + std::to_string(user) + " 1") &&
         write("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
}

std::optional<std::string> find_reason() {
  for (const std::string tool : {"ip", "bridge", "nft", "ss", "/usr/bin/nsenter"}) {
    const auto found = shell(kPath + ("command -v " + tool));
    if (found.code != 0) return "there is no " + tool;
  }
  if (!can_make_namespaces() && (!enter_user_namespace() || !can_make_namespaces())) {
    return std::string{"no network namespaces can be made here"};
  }
  try {
    NetworkNamespace probe;
    probe.run("ip link add switch type bridge && nft -f -",
              "table bridge probe {\n chain forward {\n type filter hook forward priority 0;\n"
              "numgen random mod 100000 < 1 drop\n }\n}\n");
  } catch (const std::runtime_error& error) {
    return std::string{"no bridge with rules can be made here: "} + error.what();
  }
  return std::nullopt;
}

std::string words_of(const Impairment& impairment) {
  std::ostringstream text;
  text << impairment.delay.count() << ' ' << impairment.jitter.count() << ' '
       << impairment.loss_percent << ' ' << impairment.reorder_percent << ' '
       << impairment.reorder_by.count() << ' ' << impairment.duplicate_percent;
  return text.str();
}

std::string asked(Process& cable, const std::string& what) {
  cable.feed(what + "\n");
  return cable.line();
}

DelayLine::Counts counts_of(Process& cable, const std::string& way) {
  std::istringstream words{asked(cable, "counts " + way)};
  DelayLine::Counts counts;
  words >> counts.taken >> counts.lost >> counts.refused >> counts.reordered >> counts.duplicated;
  if (!words) throw std::runtime_error{"a cable said: " + words.str()};
  return counts;
}

std::string rule_of(const std::string& from, int from_port, const std::string& to, int to_port) {
  return "ip saddr " + from + " ip daddr " + to + " tcp sport " + std::to_string(from_port) +
         " tcp dport " + std::to_string(to_port) + " drop";
}

}  // namespace

NetworkNamespace::NetworkNamespace() : fd_(make_namespace()) {
  if (fd_ < 0) throw std::runtime_error{"no network namespace can be made"};
}

NetworkNamespace::~NetworkNamespace() {
  if (fd_ >= 0) ::close(fd_);
}

Words NetworkNamespace::in(const Words& command) const {
  Words all{"/usr/bin/nsenter",
            "--net=/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_), "--"};
  all.insert(all.end(), command.begin(), command.end());
  return all;
}

void NetworkNamespace::run(const std::string& script, const std::string& input) const {
  const auto ended = Process{in({"/bin/sh", "-c", kPath + script}), {.input = input}}.finish();
  if (ended.code == 0) return;
  throw std::runtime_error{"exit " + std::to_string(ended.code) + " of: " + script + "\n" + input +
                           ended.err};
}

std::optional<std::string> HostNetwork::why_not() {
  static const std::optional<std::string> reason = find_reason();
  return reason;
}

std::optional<std::string> HostNetwork::why_no_impairment() {
  if (::access("/dev/net/tun", R_OK | W_OK) == 0) {
    try {
      NetworkNamespace{}.run("ip tuntap add dev probe mode tap");
      return std::nullopt;
    } catch (const std::runtime_error& error) {
      return std::string{"no tap can be made here: "} + error.what();
    }
  }
  return std::string{"/dev/net/tun cannot be had: "} + std::strerror(errno);
}

HostNetwork::HostNetwork(const Words& hosts) {
  int number = 0;
  for (const std::string& name : hosts) {
    Host host{{}, "10.77.0." + std::to_string(++number)};
    // Both ends are made on the host: what this process runs in is never touched.
    host.space.run(
        "set -e\n"
        "ip link set lo up\n"
        "ip link add eth0 type veth peer name " +
        cable_of(name) +
        "\n"
        "ip addr add " +
        host.address +
        "/24 dev eth0\n"
        "ip link set eth0 up");
    hosts_.emplace(name, std::move(host));
  }
  // The far end of each cable goes to where this one is.
  Process in_switch{switch_.in({"/bin/sh", "-c", "echo here; exec cat"}), {.more_input = true}};
  (void)in_switch.line();
  for (const auto& [name, host] : hosts_) {
    host.space.run("ip link set " + cable_of(name) + " netns " + std::to_string(in_switch.pid()));
  }
  std::string ports =
      "set -e\n"
      "ip link add switch type bridge\n"
      "ip link set switch up\n";
  for (const auto& [name, host] : hosts_) {
    ports += "ip link set " + cable_of(name) + " master switch\n";
    ports += "ip link set " + cable_of(name) + " up\n";
  }
  // A switch forwards once its ports have noticed that the cables are in, which takes a moment.
  ports +=
      "tries=500\n"
      "until [ $(bridge link | grep -c 'state forwarding') -eq " +
      std::to_string(hosts.size()) +
      " ]; do\n"
      "  tries=$((tries - 1))\n"
      "  [ $tries -gt 0 ] || { echo 'the switch does not forward' >&2; exit 1; }\n"
      "  sleep 0.01\n"
      "done\n";
  switch_.run(ports);
  apply();
}

HostNetwork::~HostNetwork() = default;

const HostNetwork::Host& HostNetwork::at(const std::string& host) const {
  const auto found = hosts_.find(host);
  if (found == hosts_.end()) throw std::runtime_error{"there is no host " + host};
  return found->second;
}

const std::string& HostNetwork::address(const std::string& host) const { return at(host).address; }

Words HostNetwork::on(const std::string& host, const Words& command) const {
  return at(host).space.in(command);
}

void HostNetwork::cut_all(const Words& hosts) {
  for (const std::string& host : hosts) {
    (void)at(host);
    cut_.insert(host);
  }
  apply();
}

void HostNetwork::cut_one_way(const std::string& from, const std::string& to) {
  (void)at(from), (void)at(to);
  cut_one_way_.emplace(from, to);
  apply();
}

void HostNetwork::heal() {
  cut_.clear();
  cut_one_way_.clear();
  cut_flows_.clear();
  apply();
}

void HostNetwork::lose(double percent) {
  loss_percent_ = percent;
  apply();
}

void HostNetwork::unplug(const std::string& host) {
  (void)at(host);
  switch_.run("ip link set " + cable_of(host) + " down");
}

void HostNetwork::plug_in(const std::string& host) {
  (void)at(host);
  switch_.run("ip link set " + cable_of(host) + " up");
}

std::string HostNetwork::port_of(const std::string& host) const {
  return (at(host).cable ? "out_" : "to_") + host;
}

// The cable and one tap are a bridge of their own; the other tap takes the cable's place.
void HostNetwork::put_program_into(const std::string& name) {
  Host& host = hosts_.at(name);
  const std::string in = "in_" + name;
  const std::string out = "out_" + name;
  const std::string number = host.address.substr(host.address.rfind('.') + 1);
  auto cable = std::make_unique<Process>(
      switch_.in({program("liminal-bad-cable"), in, out, number}), Process::Setup{{}, true});
  if (const std::string said = cable->line(); said != "ready") {
    throw std::runtime_error{"a cable said: " + said};
  }
  const auto set = [](const std::string& device, const std::string& what) {
    return "ip link set " + device + " " + what + "\n";
  };
  host.cable = std::move(cable);
  apply();  // what the rules name is there before frames go through it
  const std::string bridge = "bad_" + name;
  std::string script = "set -e\nip link add " + bridge + " type bridge\n" + set(bridge, "up") +
                       set(in, "master " + bridge) + set(in, "up") + set(out, "up") +
                       set(cable_of(name), "nomaster") + set(cable_of(name), "master " + bridge) +
                       set(out, "master switch");
  for (const std::string& port : {in, out, cable_of(name)}) {
    script +=
        "tries=500\n"
        "until bridge link show dev " +
        port +
        " | grep -q 'state forwarding'; do\n"
        "  tries=$((tries - 1))\n"
        "  [ $tries -gt 0 ] || { echo 'a cable does not forward' >&2; exit 1; }\n"
        "  sleep 0.01\n"
        "done\n";
  }
  switch_.run(script);
}

void HostNetwork::impair(const std::string& host, const Impairment& to_host,
                         const Impairment& from_host) {
  if (!at(host).cable) put_program_into(host);
  Process& cable = *at(host).cable;
  for (const auto& [way, impairment] : {std::pair{"to ", to_host}, std::pair{"from ", from_host}}) {
    const std::string said = asked(cable, std::string{"impair "} + way + words_of(impairment));
    if (said != "ok") throw std::runtime_error{"a cable said: " + said};
  }
}

HostNetwork::CableCounts HostNetwork::counts(const std::string& host) const {
  const auto& cable = at(host).cable;
  if (!cable) throw std::runtime_error{"its cable was never impaired: " + host};
  return {counts_of(*cable, "to"), counts_of(*cable, "from")};
}

std::vector<HostNetwork::Connection> HostNetwork::connections(const std::string& host) const {
  const auto ended =
      Process{on(host, {"/bin/sh", "-c", std::string{kPath} + "ss -HOtin state established"})}
          .finish();
  if (ended.code != 0) throw std::runtime_error{"ss: " + ended.err};
  std::map<int, Connection> found;
  std::istringstream lines{ended.out};
  for (std::string line; std::getline(lines, line);) {
    // RECV-Q SEND-Q LOCAL:PORT PEER:PORT and then words such as bytes_acked:123.
    std::istringstream words{line};
    std::string word, local, peer;
    words >> word >> word >> local >> peer;
    const auto local_colon = local.rfind(':');
    const auto peer_colon = peer.rfind(':');
    if (!words || local_colon == local.npos || peer_colon == peer.npos) continue;
    Connection connection{host, std::stoi(local.substr(local_colon + 1)),
                          peer.substr(0, peer_colon), std::stoi(peer.substr(peer_colon + 1)), 0};
    while (words >> word) {
      for (const std::string key : {"bytes_acked:", "bytes_received:"}) {
        if (word.starts_with(key)) connection.bytes += std::stoull(word.substr(key.size()));
      }
    }
    found.insert_or_assign(connection.port, connection);
  }
  std::vector<Connection> all;
  for (auto& [port, connection] : found) all.push_back(std::move(connection));
  return all;
}

void HostNetwork::cut_connection(const Connection& connection) {
  cut_flows_.insert(
      rule_of(address(connection.host), connection.port, connection.peer, connection.peer_port));
  cut_to_host(connection);  // both take effect here, at once
}

void HostNetwork::cut_from_host(const Connection& connection) {
  cut_flows_.insert(
      rule_of(address(connection.host), connection.port, connection.peer, connection.peer_port));
  apply();
}

void HostNetwork::cut_to_host(const Connection& connection) {
  cut_flows_.insert(
      rule_of(connection.peer, connection.peer_port, address(connection.host), connection.port));
  apply();
}

void HostNetwork::reset_connections(const std::string& host) {
  at(host).space.run("ss -K -t state connected");
}

// All rules at once, in one transaction.
void HostNetwork::apply() const {
  std::string rules =
      "flush ruleset\n"
      "table bridge cables {\n"
      "  chain forward {\n"
      "    type filter hook forward priority 0; policy accept;\n";
  // Between a bad cable and its tap nothing is cut or lost: that is done once, in the switch.
  for (const auto& [name, host] : hosts_) {
    if (!host.cable) continue;
    rules += "    iifname in_" + name + " accept\n";
    rules += "    iifname to_" + name + " accept\n";
  }
  for (const std::string& host : cut_) {
    rules += "    iifname " + port_of(host) + " drop\n";
    rules += "    oifname " + port_of(host) + " drop\n";
  }
  for (const auto& [from, to] : cut_one_way_) {
    rules += "    iifname " + port_of(from) + " oifname " + port_of(to) + " drop\n";
  }
  for (const std::string& flow : cut_flows_) rules += "    " + flow + "\n";
  if (loss_percent_ > 0) {
    const auto of_100000 = std::llround(loss_percent_ * 1000);
    // nft takes no bound that is always met.
    if (of_100000 < 100'000) {
      rules += "    numgen random mod 100000 < " + std::to_string(of_100000) + " drop\n";
    } else {
      rules += "    drop\n";
    }
  }
  rules += "  }\n}\n";
  switch_.run("nft -f -", rules);
}

}  // namespace liminal::test
