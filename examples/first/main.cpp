// A node that offers a service in C++, asks it, and learns that it crashed.
// usage: first [BROKER]     without a broker the same program runs alone
#include <cctype>
#include <iostream>
#include <stdexcept>

#include "node/node.hpp"
#include "node/node_log.hpp"

using namespace liminal;
using namespace std::chrono_literals;

struct Shout final : ParticipantBehaviour {
  std::optional<Payload> process(const Request& request) override {
    std::string text{request.payload.view()};
    if (text.empty()) throw std::runtime_error("nothing to do");
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return Payload{text};
  }
};

int main(int argc, char** argv) {
  Node::Settings settings{.name = NodeName{"first"}};
  if (argc > 1) settings.broker = argv[1];
  set_up_node_log(settings.name, "warning");
  const auto node = Node::create(settings).value();
  const auto offered = node->offer(ServiceName{"shout"}, [] { return std::make_unique<Shout>(); });
  const auto started = offered.and_then([&] { return node->start(10s); });
  if (!started) return std::cerr << started.error().detail << '\n', 1;

  for (const char* text : {"hello, world", ""}) {
    const auto reply = ask(*node, ServiceName{"shout"}, Payload{text}, 5s, CrashPolicy::kFail);
    if (reply) {
      std::cout << reply->view() << '\n';
    } else {
      std::cout << name_of(reply.error().code) << ": " << reply.error().detail << '\n';
    }
  }
}
