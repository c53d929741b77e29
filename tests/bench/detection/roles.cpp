#include "roles.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "node/node.hpp"
#include "node/node_log.hpp"

namespace liminal::bench {
namespace {

using namespace std::chrono_literals;

constexpr Duration kJoinTimeout = 30s;
constexpr Duration kPatience = 10min;  // only what happens to the participant ends a wait
// More than a scheduler has threads, spares included.
constexpr int kHangingProcesses = 1000;

std::string now_ns() {
  const auto since_boot = std::chrono::steady_clock::now().time_since_epoch();
  return std::to_string(std::chrono::nanoseconds{since_boot}.count());
}

int complain(const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.detail.c_str());
  return 1;
}

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void say_what_became_of_it(const Result<Payload>& reply) {
  const std::string at = now_ns();
  say(reply ? at + " ok"
            : at + " " + std::string{name_of(reply.error().code)} + " " + reply.error().detail);
}

bool is_offered(const Node& node, const ServiceName& service) {
  for (const Member& member : node.directory().snapshot()->members) {
    for (const ServiceName& offered : member.services) {
      if (offered == service) return true;
    }
  }
  return false;
}

Result<ConversationHandle> open_conversation(Node& node, const std::string& service) {
  const auto give_up_at = std::chrono::steady_clock::now() + kJoinTimeout;
  while (!is_offered(node, ServiceName{service})) {
    if (std::chrono::steady_clock::now() > give_up_at) {
      return fail(Errc::kNoService, "nobody offers " + service);
    }
    std::this_thread::sleep_for(1ms);
  }
  const auto actor = node.conversations().spawn(
      {CrashPolicy::kFail, {ParticipantConfig::owned(ServiceName{service})}});
  if (!actor) return tl::unexpected<Error>(actor.error());
  return actor->handle();
}

[[noreturn]] void hang() {
  for (;;) ::pause();
}

class HangingProcess final : public Process {
 public:
  void on_start(Context&) override { hang(); }
  void handle(Context&, Message) override { hang(); }
};

class HangingBehaviour final : public ParticipantBehaviour {
 public:
  HangingBehaviour(Node& node, std::string told) : node_(node), told_(std::move(told)) {}

  std::optional<Payload> process(const Request&) override {
    const int file = ::open(told_.c_str(), O_WRONLY | O_CLOEXEC);
    const std::string line = now_ns() + "\n";
    if (file < 0 || ::write(file, line.data(), line.size()) < 0) std::perror("error");
    for (int i = 0; i < kHangingProcesses; ++i) {
      node_.scheduler().spawn(std::make_unique<HangingProcess>());
    }
    hang();
  }

 private:
  Node& node_;
  std::string told_;
};

}  // namespace

int run_receiver(const std::string& name, const std::string& broker) {
  silence_node_log();
  auto created = Node::create({.name = NodeName{name}, .broker = broker, .light = true});
  if (!created) return complain(created.error());
  Node& node = **created;
  if (auto started = node.start(kJoinTimeout); !started) return complain(started.error());
  say("ready");
  std::optional<ConversationHandle> kept;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "again" && kept) {
      say_what_became_of_it(kept->ask(Payload{"x"}, kPatience));
      continue;
    }
    const auto blank = line.find(' ');
    if (blank == std::string::npos) return complain({Errc::kUsage, "not understood: " + line});
    auto conversation = open_conversation(node, line.substr(blank + 1));
    if (!conversation) return complain(conversation.error());
    say_what_became_of_it(conversation->ask(Payload{"x"}, kPatience));
    if (line.starts_with("open ")) {
      kept = *std::move(conversation);
    } else {
      (void)conversation->close();
    }
  }
  return 0;
}

int run_hanging_node(const std::string& name, const std::string& broker, const std::string& service,
                     const std::string& told) {
  silence_node_log();
  auto created = Node::create({.name = NodeName{name}, .broker = broker});
  if (!created) return complain(created.error());
  Node& node = **created;
  const auto offered = node.offer(ServiceName{service}, [&node, told] {
    return std::make_unique<HangingBehaviour>(node, told);
  });
  if (!offered) return complain(offered.error());
  if (auto started = node.start(kJoinTimeout); !started) return complain(started.error());
  say("ready");
  hang();
}

void run_busy_loop() {
  for (volatile unsigned count = 0;;) count = count + 1;
}

int run_role(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2 || arguments[0] != "--as") return -1;
  if (arguments[1] == "receiver" && arguments.size() == 4) {
    return run_receiver(arguments[2], arguments[3]);
  }
  if (arguments[1] == "hanging-node" && arguments.size() == 6) {
    return run_hanging_node(arguments[2], arguments[3], arguments[4], arguments[5]);
  }
  if (arguments[1] == "busy-loop" && arguments.size() == 2) run_busy_loop();
  return -1;
}

}  // namespace liminal::bench
