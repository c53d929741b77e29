// Services with children on a scheduler with its threads, and what a conversation would ask them.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command_harness.hpp"
#include "common/base/text.hpp"
#include "node/participant/service_registry.hpp"
#include "node/scheduler/scheduler.hpp"
#include "node/scheduler/workers.hpp"

namespace liminal::test {

inline const NodeName kNode{"here"};
inline constexpr ConversationId kConversation{1, 2};

/// As a conversation does: spawns an instance linked to it, sends all requests at once, collects
/// the answers, ends after the last one or at the participant's end. Told anything, it cancels all.
class Asker final : public Process {
 public:
  using Answers = std::vector<std::string>;

  Asker(ServiceName service, std::vector<Envelope> requests, std::promise<Answers> done)
      : service_(std::move(service)), requests_(std::move(requests)), done_(std::move(done)) {}

  void on_start(Context& context) override {
    context.trap_exits(true);
    (void)context.spawn_service(Pid{kNode, local_incarnation(), Serial{0}}, service_,
                                kConversation);
  }

  void handle(Context& context, Message message) override {
    if (auto* spawned = std::get_if<message::Spawned>(&message)) {
      if (!spawned->instance) return end(context, spawned->instance.error().detail);
      participant_ = *spawned->instance;
      for (const Envelope& request : requests_) context.send(*participant_, request);
    } else if (auto* received = std::get_if<message::Received>(&message)) {
      const Envelope& envelope = received->envelope;
      std::string text = std::to_string(envelope.parent->low) + ": ";
      if (envelope.kind == EnvelopeKind::kDone) text += "done";
      if (envelope.kind == EnvelopeKind::kExpired) text += "expired";
      if (envelope.kind == EnvelopeKind::kCancelled) text += "cancelled";
      answers_.push_back(text + std::string{envelope.payload.view()});
      if (answers_.size() == requests_.size()) {
        context.exit(ExitReason::shutdown());
        done_.set_value(answers_);
      }
    } else if (std::holds_alternative<LocalMessagePtr>(message)) {
      for (const Envelope& request : requests_) context.cancel(*participant_, request.id);
    } else if (auto* exited = std::get_if<message::Exited>(&message)) {
      end(context, "exit: " + to_string(exited->reason));
    }
  }

 private:
  void end(Context& context, std::string text) {
    answers_.push_back(std::move(text));
    context.exit(ExitReason::normal());
    done_.set_value(answers_);
  }

  ServiceName service_;
  std::vector<Envelope> requests_;
  std::optional<Pid> participant_;
  std::promise<Answers> done_;
  Answers answers_;
};

inline Envelope request(std::uint64_t number, std::string payload, bool wants_reply = true) {
  return Envelope{.kind = EnvelopeKind::kRequest,
                  .id = {8, number},
                  .conversation = kConversation,
                  .attempt = 2,
                  .wants_reply = wants_reply,
                  .payload = Payload{std::move(payload)}};
}

/// To undo the request `number`; its own number is that and 100.
inline Envelope compensate(std::uint64_t number, std::string request,
                           std::optional<std::string> reply) {
  Envelope made{.kind = EnvelopeKind::kCompensate,
                .id = {8, 100 + number},
                .conversation = kConversation,
                .parent = MessageId{8, number},
                .attempt = 3};
  if (reply) made.reply_at = request.size();
  made.payload = Payload{std::move(request) + reply.value_or("")};
  return made;
}

class ServiceTest : public CommandTest {
 protected:
  ServiceTest() {
    ::setenv("LIMINAL_TEST_MARK", mark.c_str(), 1);  // the minder hands it on
    start({});
    ::unsetenv("LIMINAL_TEST_MARK");
    registry.emplace(
        ServiceRegistry::Settings{.node = kNode},
        ServiceRegistry::ExecSupport{*runner, [this](const Pid& to, LocalMessagePtr message) {
                                       return scheduler->send_local(to, std::move(message));
                                     }});
    scheduler.emplace(Scheduler::Settings{.node = kNode, .seed = 1}, [](Signal) {});
    scheduler->set_service_factory(
        [this](const signal::SpawnRequest& wanted) { return registry->make(wanted); });
  }
  ~ServiceTest() override {
    workers.reset();
    runner.reset();  // its completions reach the scheduler
    scheduler.reset();
  }

  void serve(const std::string& definition, std::optional<std::string> compensation = {}) {
    ServiceDefinition made = *parse_service(definition);
    made.compensation = std::move(compensation);
    ASSERT_TRUE(registry->add(made));
  }

  void cancel_all(const Pid& asker) {
    EXPECT_TRUE(scheduler->send_local(asker, std::make_unique<LocalMessage>()));
  }

  void start_workers() {
    if (workers) return;
    workers.emplace(*scheduler, clock, Workers::Settings{.workers = 2, .blocking = 1});
  }

  std::pair<Pid, std::future<Asker::Answers>> begin(const std::string& service,
                                                    std::vector<Envelope> requests) {
    start_workers();
    std::promise<Asker::Answers> done;
    auto answers = done.get_future();
    const Pid asker = scheduler->spawn(
        std::make_unique<Asker>(ServiceName{service}, std::move(requests), std::move(done)));
    return {asker, std::move(answers)};
  }

  Asker::Answers ask(const std::string& service, std::vector<Envelope> requests) {
    auto [asker, answers] = begin(service, std::move(requests));
    if (answers.wait_for(std::chrono::seconds{30}) != std::future_status::ready) return {"hangs"};
    return answers.get();
  }

  SystemClock clock;
  std::optional<ServiceRegistry> registry;
  std::optional<Scheduler> scheduler;
  std::optional<Workers> workers;
};

}  // namespace liminal::test
