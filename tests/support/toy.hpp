// A participant that does what the text of a request tells it.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "node/scheduler/scheduler.hpp"

namespace liminal::test {

inline const ServiceName kToy{"toy"};

/// Any text is answered with itself; some say what to do besides, or instead:
///
///   throw             crashes with "exit status 3"
///   leave, kill       exits normal, or is killed, and owes the reply
///   silent, speak     answers nothing; answers what was met with silence, then this
///   done              is done without a reply
///   stall             takes no more envelopes, and owes the reply
///   lie               tells the sender that it exited, and lives on
///   stubborn          traps exits from now on
///   last              answers, then exits normal
///   reply-then-throw  answers, then crashes with "boom"
class Toy final : public Process {
 public:
  /// `handled`, if any, gets the text of each request.
  explicit Toy(std::vector<std::string>* handled = nullptr) : handled_(handled) {}

  void handle(Context& context, Message message) override {
    auto* received = std::get_if<message::Received>(&message);
    if (received == nullptr) return;
    const Pid& from = received->from;
    const Envelope& request = received->envelope;
    const std::string order{request.payload.view()};
    if (handled_ != nullptr) handled_->push_back(order);
    if (order == "throw") throw std::runtime_error("exit status 3");
    if (order == "leave") return context.exit(ExitReason::normal());
    if (order == "kill") return context.exit(context.self(), ExitReason::kill());
    if (order == "stall") return context.take_envelopes(false);
    if (order == "lie") return context.exit(from, ExitReason::error("so it says"));
    if (order == "silent") return silent_.push_back(request.id);
    if (order == "stubborn") context.trap_exits(true);
    if (order == "speak") {
      for (const MessageId& id : std::exchange(silent_, {})) answer(context, from, request, id);
    }
    answer(context, from, request, request.id,
           order == "done" ? EnvelopeKind::kDone : EnvelopeKind::kReply);
    if (order == "last") context.exit(ExitReason::normal());
    if (order == "reply-then-throw") throw std::runtime_error("boom");
  }

 private:
  static void answer(Context& context, const Pid& to, const Envelope& request, const MessageId& id,
                     EnvelopeKind kind = EnvelopeKind::kReply) {
    context.send(to, {.kind = kind,
                      .id = context.new_message_id(),
                      .conversation = request.conversation,
                      .parent = id,
                      .payload = request.payload});
  }

  std::vector<std::string>* handled_;
  std::vector<MessageId> silent_;
};

/// The factory of a node that offers toys alone.
inline Result<std::unique_ptr<Process>> make_toy(const signal::SpawnRequest& request) {
  if (request.service != kToy) return fail(Errc::kNoService, "no");
  return std::make_unique<Toy>();
}

}  // namespace liminal::test
