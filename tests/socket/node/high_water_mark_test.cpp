// Goal: a node's program that reads nothing for a while has frames for it dropped at the broker's
// bounds; when it goes on, each request arrives once and in order, and nobody was declared dead.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/socket/node/start_node.hpp"
#include "tests/system/process.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using test::Process;

constexpr int kRequests = 2'000;
constexpr std::size_t kBytes = 32 * 1024;  // of each: more than the kernel holds of all of them
constexpr test::Milliseconds kReadsNothingFor = 1s;  // from when all are asked

std::string payload(int number) {
  std::string bytes = "request " + std::to_string(number) + " ";
  bytes.resize(kBytes, 'x');
  return bytes;
}

TEST(HighWaterMark, WhatWasDroppedThereArrivesOnceAndInOrder) {
  auto settings = test::quick_broker();
  settings.cluster.down_after = 30s;  // how long it reads nothing is no matter here
  test::RunningBroker broker{
      settings, "tcp://127.0.0.1:*", 250ms, {.queued_messages = 4, .outbox_bytes = 64 * 1024}};
  Process reader{{test::program("liminal-node"), "--name", "reader", "--broker", broker.endpoint(),
                  "--service", "echo=echo"}};
  ASSERT_TRUE(reader.line(test::kPatience).starts_with("ready "));
  const auto caller = test::start_node(broker, "caller", true, 2);

  ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(ServiceName{"echo"})}};
  auto actor = caller->conversations().spawn(config);
  ASSERT_TRUE(actor) << actor.error().detail;
  ConversationHandle conversation = actor->handle();
  const auto first = conversation.send(Payload{payload(0)}, {.reply = ReplyMode::kCorrelated});
  ASSERT_TRUE(first);
  ASSERT_TRUE(conversation.receive(*first, 60s)) << "it is there";

  reader.signal(SIGSTOP);
  std::vector<MessageId> asked;
  for (int i = 1; i <= kRequests; ++i) {
    asked.push_back(conversation.start_send(Payload{payload(i)}, {.reply = ReplyMode::kCorrelated},
                                            [](const Outcome&) {}));
  }
  std::this_thread::sleep_for(kReadsNothingFor);  // how long the fault lasts
  reader.signal(SIGCONT);
  for (int i = 1; i <= kRequests; ++i) {
    const auto reply = conversation.receive(asked[static_cast<std::size_t>(i - 1)], 60s);
    ASSERT_TRUE(reply) << i << ": " << reply.error().detail;
    ASSERT_EQ(reply->view(), payload(i));
  }
  EXPECT_TRUE(conversation.query_state().crashes.empty());
  caller->stop();
  broker.stop();
  EXPECT_GT(broker.loop().counters().dropped_at_outbox, 0U) << "there was nothing to send again";
}

}  // namespace
}  // namespace liminal
