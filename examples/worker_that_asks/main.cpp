// A worker that converses with other workers: it has a text's words counted by several at once, and
// waits for all of them without holding the node's only thread.
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "node/node.hpp"
#include "or_throw.hpp"

using namespace liminal;
using namespace std::chrono_literals;

const ServiceName kCountWords{"count-words"}, kCountText{"count-text"};

/// Counts the words of a line; crashes at one that it cannot read.
struct CountWords final : ParticipantBehaviour {
  std::optional<Payload> process(const Request& request) override {
    std::istringstream line{std::string{request.payload.view()}};
    int words = 0;
    for (std::string word; line >> word; ++words) {
      if (word == "?") throw std::runtime_error("cannot read this");
    }
    return Payload{std::to_string(words)};
  }
};

/// Gives each line to a worker of its own, and adds up.
struct CountText final : AsyncBehaviour {
  Task<std::optional<Payload>> process(Request request, ParticipantContext& context) override {
    struct Part {
      ConversationHandle conversation;
      MessageId request;
    };
    std::vector<Part> parts;
    std::istringstream text{std::string{request.payload.view()}};
    for (std::string line; std::getline(text, line);) {
      const auto actor =
          or_throw(context.spawn({CrashPolicy::kFail, {ParticipantConfig::owned(kCountWords)}}));
      const MessageId sent = or_throw(co_await actor.handle().send_async(Payload{line}));
      parts.push_back({actor.handle(), sent});
    }

    int words = 0, unknown = 0;
    for (Part& part : parts) {
      const Result<Payload> count = co_await part.conversation.receive_async(part.request, 5s);
      if (count) {
        words += std::stoi(std::string{count->view()});
      } else if (count.error().code == Errc::kParticipantCrashed) {
        ++unknown;  // its crash is an answer too
      } else {
        throw std::runtime_error(count.error().detail);
      }
      (void)co_await part.conversation.close_async();
    }
    co_return Payload{std::to_string(words) + " words, " + std::to_string(unknown) +
                      " lines that nobody could read"};
  }
};

int main() {
  const auto node = or_throw(Node::create({.name = NodeName{"counting"}, .workers = 1}));
  or_throw(node->offer(kCountWords, [] { return std::make_unique<CountWords>(); }));
  or_throw(node->offer(kCountText, [] { return std::make_unique<CountText>(); }));
  or_throw(node->start(10s));

  const Payload text{"let it crash\nand see\nwhat is ?\nleft when all is done"};
  std::cout << or_throw(ask(*node, kCountText, text, 10s, CrashPolicy::kFail)).view() << '\n';
}
