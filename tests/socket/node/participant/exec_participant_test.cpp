// An exec service on a scheduler with its threads: what a conversation sees of it.
#include "node/participant/exec_participant.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "command_harness.hpp"
#include "common/base/text.hpp"
#include "node/participant/service_registry.hpp"
#include "node/scheduler/scheduler.hpp"
#include "node/scheduler/workers.hpp"

namespace liminal {
namespace {

using ::testing::ElementsAre;

const NodeName kNode{"here"};
constexpr ConversationId kConversation{1, 2};

/// As a conversation does: spawns an instance linked to it, sends all requests at once, collects
/// the answers, ends after the last one or at the participant's end.
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
      for (Envelope& request : requests_) context.send(*spawned->instance, std::move(request));
    } else if (auto* received = std::get_if<message::Received>(&message)) {
      const Envelope& envelope = received->envelope;
      std::string text = std::to_string(envelope.parent->low) + ": ";
      if (envelope.kind == EnvelopeKind::kDone) text += "done";
      if (envelope.kind == EnvelopeKind::kExpired) text += "expired";
      answers_.push_back(text + std::string{envelope.payload.view()});
      if (answers_.size() == requests_.size()) {
        context.exit(ExitReason::shutdown());
        done_.set_value(answers_);
      }
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
  std::promise<Answers> done_;
  Answers answers_;
};

Envelope request(std::uint64_t number, std::string payload, bool wants_reply = true) {
  return Envelope{.kind = EnvelopeKind::kRequest,
                  .id = {8, number},
                  .conversation = kConversation,
                  .attempt = 2,
                  .wants_reply = wants_reply,
                  .payload = Payload{std::move(payload)}};
}

class ExecParticipantTest : public test::CommandTest {
 protected:
  ExecParticipantTest() {
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
  ~ExecParticipantTest() override {
    workers.reset();
    runner.reset();  // its completions reach the scheduler
    scheduler.reset();
  }

  void serve(const std::string& definition) {
    ASSERT_TRUE(registry->add(*parse_service(definition)));
  }

  std::pair<Pid, std::future<Asker::Answers>> begin(const std::string& service,
                                                    std::vector<Envelope> requests) {
    if (!workers) {
      workers.emplace(*scheduler, clock, Workers::Settings{.workers = 2, .blocking = 1});
    }
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

TEST_F(ExecParticipantTest, EachRequestIsACommandAndTheyRunInOrder) {
  serve("upper=exec:tr a-z A-Z");
  EXPECT_THAT(ask("upper", {request(1, "a"), request(2, "b", false), request(3, "c")}),
              ElementsAre("1: A", "2: done", "3: C"));
}

TEST_F(ExecParticipantTest, TheCommandKnowsWhatItIsCalledFor) {
  serve("show=exec:env | grep LIMINAL_CALL_ | sort");
  EXPECT_THAT(ask("show", {request(1, "")}),
              ElementsAre("1: LIMINAL_CALL_ACTION=process\n"
                          "LIMINAL_CALL_ATTEMPT=2\n"
                          "LIMINAL_CALL_CONVERSATION=00000000000000010000000000000002\n"
                          "LIMINAL_CALL_MESSAGE=00000000000000080000000000000001\n"
                          "LIMINAL_CALL_NODE=here\n"
                          "LIMINAL_CALL_SERVICE=show\n"));
}

TEST_F(ExecParticipantTest, AFailingCommandIsTheParticipantsCrash) {
  serve("fails=exec:cat >&2; exit 3");
  EXPECT_THAT(ask("fails", {request(1, "why\n"), request(2, "never")}),
              ElementsAre("exit: exit status 3: why"));
  EXPECT_TRUE(test::eventually([this] { return registry->participants() == 0; }));
}

TEST_F(ExecParticipantTest, OutputBeyondThePayloadsBoundIsACrash) {
  serve("zeros=exec:head -c 1001 /dev/zero");
  registry->set_payload_bytes_max(1000);
  EXPECT_THAT(ask("zeros", {request(1, "")}),
              ElementsAre("exit: output exceeds payload-max (1000 bytes)"));
}

TEST_F(ExecParticipantTest, TheConversationsEndIsTheCommandsEnd) {
  serve("sleep=exec:setsid sleep 1000 & sleep 1000; true");
  const Pid asker = begin("sleep", {request(1, "")}).first;
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 2; }));
  EXPECT_EQ(registry->participants(), 1u);
  scheduler->exit(asker, ExitReason::kill());
  EXPECT_TRUE(test::eventually([this] { return registry->participants() == 0; }));
  EXPECT_TRUE(test::eventually([this] { return sleepers() == 0; }));
}

TEST_F(ExecParticipantTest, AnExpiredRequestIsNotStarted) {
  serve("echo=exec:cat");
  Envelope late = request(1, "late");
  late.deadline = clock.now();
  EXPECT_THAT(ask("echo", {late, request(2, "fine")}), ElementsAre("1: expired", "2: fine"));
}

}  // namespace
}  // namespace liminal
