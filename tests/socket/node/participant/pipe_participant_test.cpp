// A pipe service on a scheduler with its threads: what a conversation sees of it.
#include "node/participant/pipe_participant.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "node/participant/descriptor.hpp"
#include "service_harness.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using test::request;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Nobody asks it for anything before it ends.
class Watcher final : public Process {
 public:
  Watcher(ServiceName service, std::promise<std::string> end)
      : service_(std::move(service)), end_(std::move(end)) {}

  void on_start(Context& context) override {
    context.trap_exits(true);
    (void)context.spawn_service(Pid{test::kNode, local_incarnation(), Serial{0}}, service_,
                                test::kConversation);
  }
  void handle(Context& context, Message message) override {
    if (auto* exited = std::get_if<message::Exited>(&message)) {
      end_.set_value(to_string(exited->reason));
      context.exit(ExitReason::normal());
    }
  }

 private:
  ServiceName service_;
  std::promise<std::string> end_;
};

class PipeParticipantTest : public test::ServiceTest {
 protected:
  /// How an instance ends that nobody asks for anything.
  std::string end_of(const std::string& service) {
    start_workers();
    std::promise<std::string> end;
    auto told = end.get_future();
    scheduler->spawn(std::make_unique<Watcher>(ServiceName{service}, std::move(end)));
    return told.wait_for(30s) == std::future_status::ready ? told.get() : "hangs";
  }

  Envelope due_in(Envelope envelope, Duration after) {
    envelope.deadline = clock.now() + after;
    return envelope;
  }
};

TEST_F(PipeParticipantTest, RequestsAreAnsweredInOrderByOneChild) {
  serve("echo=pipe:cat");
  EXPECT_THAT(ask("echo", {request(1, "a"), request(2, "b", false), request(3, "")}),
              ElementsAre("1: a", "2: done", "3: "));
  EXPECT_TRUE(test::eventually([this] { return test::marked(mark, "cat").empty(); }));
}

TEST_F(PipeParticipantTest, TheChildKnowsWhatItIsCalledFor) {
  serve(
      "show=pipe:head -c 4 >/dev/null; v=$(env | grep ^LIMINAL_CALL_ | sort); "
      "printf '\\0\\0\\0'; env printf \"\\\\$(printf %o ${#v})\"; printf %s \"$v\"; cat "
      ">/dev/null");
  EXPECT_THAT(ask("show", {request(1, "")}),
              ElementsAre("1: LIMINAL_CALL_CONVERSATION=00000000000000010000000000000002\n"
                          "LIMINAL_CALL_NODE=here\n"
                          "LIMINAL_CALL_SERVICE=show"));
}

TEST_F(PipeParticipantTest, TheChildsExitIsTheParticipants) {
  serve("well=pipe:exit 0");
  serve("fails=pipe:echo why >&2; exit 3");
  serve("dies=pipe:kill -9 $$");
  serve("quits=pipe:head -c 5 >/dev/null");
  EXPECT_EQ(end_of("well"), "normal");
  EXPECT_EQ(end_of("fails"), "exit status 3: why");
  EXPECT_EQ(end_of("dies"), "signal 9 (SIGKILL)");
  EXPECT_THAT(ask("quits", {request(1, "?"), request(2, "never")}),
              ElementsAre("exit: exit status 0 with a request unanswered"));
  EXPECT_TRUE(test::eventually([this] { return registry->participants() == 0; }));
}

TEST_F(PipeParticipantTest, ARequestThatTheChildsGoodEndOvertookIsACrashAndNeverSilence) {
  serve("once=pipe:head -c 5 >/dev/null; printf '\\0\\0\\0\\1x'");
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(ask("once", {request(1, "?"), request(2, "?")}),
                ElementsAre("1: x", ::testing::AnyOf("exit: normal",
                                                     "exit: exit status 0 with a request "
                                                     "unanswered")));
  }
}

TEST_F(PipeParticipantTest, AReplyBeyondThePayloadsBoundIsACrash) {
  serve("echo=pipe:cat");
  registry->set_payload_bytes_max(3);
  EXPECT_THAT(ask("echo", {request(1, "abc"), request(2, "abcd")}),
              ElementsAre("1: abc", HasSubstr("exit: reply of 4 bytes exceeds payload-max (3 ")));
}

TEST_F(PipeParticipantTest, TheConversationsEndIsTheChildsEnd) {
  serve("deaf=pipe:trap '' TERM; setsid sleep 1000 & sleep 1000");
  const Pid asker = begin("deaf", {request(1, std::string(1'000'000, 'x'))}).first;
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 2; }));
  scheduler->exit(asker, ExitReason::kill());
  EXPECT_TRUE(test::eventually([this] { return registry->participants() == 0; }));
  EXPECT_TRUE(test::eventually([this] { return sleepers() == 0; }));
}

// The child is not told of deadlines: it goes on, and its order stays what it was.
TEST_F(PipeParticipantTest, ARequestThatExpiresInTheChildsHandsIsAnsweredAndItsLateReplyDropped) {
  // Answers what it reads, but the first time only when the file is there.
  const std::string gate = ::testing::TempDir() + "liminal-" + mark;
  serve("gated=pipe:head -c 5 >/dev/null; until test -e " + gate +
        "; do :; done; printf '\\0\\0\\0\\1L'; exec cat");
  auto [asker, answers] =
      begin("gated", {due_in(request(1, "1"), 2s), due_in(request(2, "2"), 2010ms),
                      request(3, "three"), request(4, "four")});
  // The first two are answered by their deadlines alone; the third waits for the child.
  EXPECT_EQ(answers.wait_for(4s), std::future_status::timeout);
  EXPECT_EQ(registry->late_replies(), 0u);
  { const Descriptor made{::open(gate.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)}; }
  ASSERT_EQ(answers.wait_for(30s), std::future_status::ready);
  EXPECT_THAT(answers.get(), ElementsAre("1: expired", "2: expired", "3: three", "4: four"));
  EXPECT_EQ(registry->late_replies(), 1u);
  ::unlink(gate.c_str());
}

TEST_F(PipeParticipantTest, AChildThatNeverAnswersLetsEachRequestExpire) {
  serve("mute=pipe:exec sleep 1000");
  EXPECT_THAT(ask("mute", {due_in(request(1, "a"), 20ms), due_in(request(2, "b"), 30ms),
                           due_in(request(3, std::string(5'000'000, 'c')), 40ms)}),
              ElementsAre("1: expired", "2: expired", "3: expired"));
}

TEST_F(PipeParticipantTest, ACrashAfterADeadlineIsStillACrash) {
  const std::string gate = ::testing::TempDir() + "liminal-" + mark;
  serve("dies=pipe:head -c 5 >/dev/null; until test -e " + gate + "; do :; done; exit 9");
  auto [asker, answers] = begin("dies", {due_in(request(1, "1"), 2s), request(2, "2")});
  EXPECT_EQ(answers.wait_for(4s), std::future_status::timeout);
  { const Descriptor made{::open(gate.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)}; }
  ASSERT_EQ(answers.wait_for(30s), std::future_status::ready);
  EXPECT_THAT(answers.get(), ElementsAre("1: expired", "exit: exit status 9"));
  ::unlink(gate.c_str());
}

TEST_F(PipeParticipantTest, ChildrenAreBoundedAndTheirEndsMakeRoom) {
  registry.emplace(
      ServiceRegistry::Settings{.node = test::kNode, .pipe_children_max = 2},
      ServiceRegistry::ExecSupport{*runner, [this](const Pid& to, LocalMessagePtr message) {
                                     return scheduler->send_local(to, std::move(message));
                                   }});
  serve("mute=pipe:exec sleep 1000");
  serve("echo=pipe:cat");
  const Pid first = begin("mute", {request(1, "?")}).first;
  const Pid second = begin("mute", {request(1, "?")}).first;
  ASSERT_TRUE(test::eventually([this] { return sleepers() == 2; }));
  EXPECT_THAT(ask("echo", {request(1, "?")}),
              ElementsAre(HasSubstr("2 children of pipe services (pipe-children-max)")));
  EXPECT_EQ(registry->participants(), 2u);
  scheduler->exit(first, ExitReason::kill());
  ASSERT_TRUE(test::eventually([this] { return registry->participants() == 1; }));
  EXPECT_THAT(ask("echo", {request(1, "?")}), ElementsAre("1: ?"));
  scheduler->exit(second, ExitReason::kill());
}

}  // namespace
}  // namespace liminal
