// Goal: what a caller on another node gave up is withdrawn, and nothing of anybody else; what it
// did not give up is not.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "node/conversation/remote_calls.hpp"
#include "tests/unit/node/conversation/conversations_on_one_node.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;

const Pid kFar{NodeName{"far"}, Incarnation{5}, Serial{50}};
const Pid kFarToo{NodeName{"far"}, Incarnation{5}, Serial{51}};

/// A conversation here; those who call from elsewhere are the test.
class GivenUpElsewhere : public ConversationsOnOneNode {
 protected:
  GivenUpElsewhere() {
    ++bystanders;
    const Pid toy = scheduler.spawn(std::make_unique<Toy>());
    handle.emplace(open({CrashPolicy::kFail, {ParticipantConfig::attached("role", toy)}}));
    for (const Pid& who : {kFar, kFarToo}) call(who, remote_call::Watch{});
    run();
  }

  MessageId call(const Pid& from, const RemoteCall& what, std::optional<MessageId> id = {}) {
    Envelope envelope{.kind = EnvelopeKind::kCall,
                      .id = id.value_or(MessageId{77, ++calls}),
                      .conversation = handle->id(),
                      .payload = Payload{"theirs"}};
    const MessageId called = envelope.id;
    put(envelope, what);
    scheduler.deliver(signal::Send{from, handle->pid(), std::move(envelope)});
    return called;
  }
  void lose(const Pid& holder) {
    for (const Signal& signal : forwarded) {
      const auto* monitor = std::get_if<signal::Monitor>(&signal);
      if (monitor == nullptr || monitor->to != holder) continue;
      return scheduler.deliver(signal::Down{holder, handle->pid(), monitor->monitor,
                                            ExitReason::noconnection(std::nullopt)});
    }
    FAIL() << "not monitored";
  }

  static constexpr ReplyMode kModes[] = {ReplyMode::kCorrelated, ReplyMode::kInbox};
  static std::optional<MessageId> named(ReplyMode mode, const MessageId& id) {
    return mode == ReplyMode::kCorrelated ? std::optional{id} : std::nullopt;
  }
  const remote_call::Send kSend{"", ReplyMode::kCorrelated, WhenDeferred::kRepeat, false};
  std::optional<ConversationHandle> handle;
  std::uint64_t calls = 0;
};

// Its id is known to whoever sees the timeline.
TEST_F(GivenUpElsewhere, ASendUnderTheIdOfAnothersRequestWithdrawsNothingOfIt) {
  for (const ReplyMode mode : kModes) {
    const MessageId id = send(*handle, "mine", {.reply = mode});
    call(kFar, kSend, id);  // refused, but given up before that
    call(kFar, remote_call::Abandon{id, true});
    run();
    EXPECT_EQ(receive(*handle, named(mode, id)), "ok mine");
  }
}

TEST_F(GivenUpElsewhere, TheEndOfWhoSentUnderAnothersIdWithdrawsNothingOfIt) {
  const MessageId id = send(*handle, "mine", {.reply = ReplyMode::kInbox});
  call(kFar, kSend, id);
  lose(kFar);
  run();
  EXPECT_EQ(receive(*handle), "ok mine");
}

TEST_F(GivenUpElsewhere, TheRequestOfAnotherHolderIsItsOwnToo) {
  const MessageId id = call(kFarToo, kSend);
  run();
  call(kFar, kSend, id);
  call(kFar, remote_call::Abandon{id, true});
  run();
  EXPECT_EQ(receive(*handle, id), "ok theirs");
}

TEST_F(GivenUpElsewhere, NorIsTheReplyDroppedThatIsThereAtTheEnd) {
  for (const ReplyMode mode : kModes) {
    const MessageId id = send(*handle, "mine", {.reply = mode});
    call(kFar, kSend, id);
    const Told closed = nothing();
    static_cast<void>(handle->start_close(into(closed)));
    call(kFar, remote_call::Abandon{id, true});
    run();
    ASSERT_EQ(*closed, "ok ");
    EXPECT_EQ(receive(*handle, named(mode, id)), "ok mine");
    handle.emplace(open({CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}}));
    call(kFar, remote_call::Watch{});
    run();
  }
}

// The id was free again when another took it.
TEST_F(GivenUpElsewhere, WhatWasTakenUnderAnIdIsNotWhatIsTakenUnderItLater) {
  const MessageId id = call(kFar, kSend);
  run();
  ASSERT_EQ(receive(*handle, id), "ok theirs");
  call(kFarToo, kSend, id);
  run();
  call(kFar, remote_call::Abandon{id, true});
  run();
  EXPECT_EQ(receive(*handle, id), "ok theirs");
  call(kFar, kSend, id);
  run();
  EXPECT_EQ(close(*handle), "ok ");
  call(kFarToo, remote_call::Abandon{id, true});
  run();
  EXPECT_EQ(receive(*handle, id), "ok theirs");
}

// It was on its way to somebody when its sender gave up, and comes back.
TEST_F(GivenUpElsewhere, AReplyThatComesBackAfterItsRequestWasGivenUpIsNobodys) {
  enum { kNever, kBefore, kAfter };
  for (const int end : {kNever, kBefore, kAfter}) {
    const MessageId id =
        call(kFarToo, remote_call::Send{"", ReplyMode::kInbox, WhenDeferred::kRepeat, false});
    run();
    const MessageId receiving = call(kFar, remote_call::Receive{});
    run();
    if (end == kBefore) {
      EXPECT_EQ(close(*handle), "ok ");
    }
    const auto dropped = handle->query_state().counters.answers_dropped;
    call(kFarToo, remote_call::Abandon{id, true});
    run();
    if (end == kAfter) {
      EXPECT_EQ(close(*handle), "ok ");
    }
    call(kFar, remote_call::Abandon{receiving, false});
    run();
    EXPECT_EQ(receive(*handle), end == kNever ? "" : "ConversationFailed: conversation closed");
    EXPECT_EQ(handle->query_state().counters.answers_dropped, dropped + 1);
    if (end == kNever) continue;
    handle.emplace(open({CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}}));
    for (const Pid& who : {kFar, kFarToo}) call(who, remote_call::Watch{});
    run();
  }
}

TEST_F(GivenUpElsewhere, AReplyThatComesBackIsStillThereForOthersWhereItsRequestWasNot) {
  const MessageId id =
      call(kFarToo, remote_call::Send{"", ReplyMode::kInbox, WhenDeferred::kRepeat, false});
  run();
  const MessageId receiving = call(kFar, remote_call::Receive{});
  run();
  call(kFarToo, remote_call::Received{{id}});
  call(kFarToo, remote_call::Abandon{id, true});
  call(kFar, remote_call::Abandon{receiving, false});
  run();
  EXPECT_EQ(receive(*handle), "ok theirs");
}

TEST_F(GivenUpElsewhere, AnHonestHoldersOwnRequestIsWithdrawnWhereverItIs) {
  for (const bool decided : {false, true}) {
    const MessageId id = call(kFar, kSend);
    if (decided) run();
    call(kFar, remote_call::Abandon{id, true});
    run();
    EXPECT_EQ(receive(*handle, id).rfind("NoReply", 0), 0U);
  }
  const MessageId id = call(kFar, kSend);
  run();
  EXPECT_EQ(close(*handle), "ok ");
  call(kFar, remote_call::Abandon{id, true});
  run();
  EXPECT_EQ(receive(*handle, id), "ConversationFailed: conversation closed");
}

}  // namespace
}  // namespace liminal
