// Goal: what a caller of a proxy gave up is not carried out, and what a caller was told is not
// taken back: not by a full mailbox, nor by the end of the caller's node.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "node/conversation/conversation_proxy.hpp"
#include "node/conversation/conversation_supervisor.hpp"
#include "node/conversation/remote_calls.hpp"
#include "tests/support/one_node.hpp"
#include "tests/support/outcomes.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;
using signal::RefusalKind;

const Pid kConversation{NodeName{"far"}, Incarnation{5}, Serial{50}};

/// An attached handle; the conversation is the test.
class ProxyGivesUp : public OneNode {
 protected:
  ProxyGivesUp() {
    publish({own_node({})});
    handle.emplace(*supervisor.attach({ConversationId{1, 2}, kConversation}));
    run();
    proxy = std::get<signal::Send>(forwarded.back()).from;
    forwarded.clear();
  }

  ConversationHandle::Sending send(const Told& told) {
    auto sending = handle->begin_send(Payload{"x"}, {}, into(told));
    run();
    return sending;
  }
  /// What went to the conversation since the last time: "send", "withdraw", "received 2", ...
  std::vector<std::string> said() {
    std::vector<std::string> all;
    for (const Signal& signal : std::exchange(forwarded, {})) {
      if (const auto* withdraw = std::get_if<signal::Withdraw>(&signal)) {
        if (withdraw->message) all.push_back("withdraw");
      } else if (const auto* send = std::get_if<signal::Send>(&signal)) {
        Envelope envelope = send->envelope;
        last = envelope.id;
        const auto call = take_call(envelope);
        if (std::holds_alternative<remote_call::Send>(*call)) all.push_back("send");
        if (std::holds_alternative<remote_call::Abandon>(*call)) all.push_back("abandon");
        if (const auto* received = std::get_if<remote_call::Received>(&*call)) {
          all.push_back("received " + std::to_string(received->calls.size()));
          acknowledged.insert(acknowledged.end(), received->calls.begin(), received->calls.end());
        }
      }
    }
    return all;
  }
  void taken(const MessageId& call) {
    Envelope outcome{.kind = EnvelopeKind::kOutcome,
                     .id = MessageId{66, ++outcomes},
                     .conversation = ConversationId{1, 2},
                     .parent = call};
    put(outcome, remote_outcome::Taken{});
    scheduler.deliver(signal::Send{kConversation, *proxy, std::move(outcome)});
    run();
  }
  void refused(const MessageId& call, RefusalKind kind = RefusalKind::kDeferred) {
    scheduler.deliver(signal::Refusal{kConversation, *proxy, call, kind, "no"});
    run();
  }

  using Said = std::vector<std::string>;
  ConversationSupervisor supervisor{scheduler, directory};
  std::optional<ConversationHandle> handle;
  std::optional<Pid> proxy;
  std::vector<MessageId> acknowledged;
  std::optional<MessageId> last;
  std::uint64_t outcomes = 0;
};

TEST_F(ProxyGivesUp, WhatCallersWereToldIsSaidBeforeTheirNodeEnds) {
  constexpr std::size_t kSends = 2 + remote_call::kReceivedMax;
  std::vector<MessageId> ids;
  const Told told = nothing();
  for (std::size_t i = 0; i < kSends; ++i) {
    ids.push_back(send(told).id);
    *told = "";
    taken(ids.back());
    ASSERT_EQ(*told, "ok ");
  }
  const Said before = said();
  ASSERT_EQ(before.back(), "send") << "the first Received is not answered: no other follows it";
  supervisor.shutdown();
  run();
  EXPECT_EQ(said(), (Said{"received 256", "received 1"}));
  EXPECT_EQ(acknowledged, ids);
}

TEST_F(ProxyGivesUp, WhatWasDeferredDoesNotHoldUpWhatIsSaidAtTheEnd) {
  const Told told = nothing(), other = nothing();
  const MessageId first = send(told).id;
  taken(first);
  ASSERT_EQ(said(), (Said{"send", "received 1"}));
  refused(*last);
  const MessageId second = send(other).id;  // behind it
  ASSERT_EQ(said(), Said{});
  supervisor.shutdown();
  run();
  EXPECT_EQ(said(), (Said{"withdraw", "withdraw", "received 1"}));
  EXPECT_EQ(acknowledged, (std::vector<MessageId>{first, first}));
  EXPECT_NE(second, first);
  EXPECT_NE(*other, "");
}

TEST_F(ProxyGivesUp, ASendThatWasDeferredIsNotSentAgain) {
  auto sending = send(nothing());
  refused(sending.id);
  said();
  EXPECT_TRUE(sending.pending.cancel());
  run();
  EXPECT_EQ(said(), (Said{"withdraw"}));
  run_for(1min);
  EXPECT_EQ(said(), Said{});
  const MessageId next = send(nothing()).id;
  EXPECT_EQ(said(), (Said{"send"})) << "nothing holds it up";
  EXPECT_EQ(*last, next);
}

TEST_F(ProxyGivesUp, ASendBehindOneThatWasDeferredIsNeverSent) {
  auto first = send(nothing()), second = send(nothing());
  refused(first.id);
  auto third = send(nothing());
  EXPECT_EQ(said(), (Said{"send", "send"}));
  EXPECT_TRUE(third.pending.cancel());
  run();
  said();
  refused(second.id);
  run_for(1min);
  EXPECT_EQ(said(), (Said{"send", "send"})) << "and of the third nothing";
}

TEST_F(ProxyGivesUp, ASendThatProvesRefusedAfterwardsIsNotSentAgain) {
  for (const RefusalKind kind : {RefusalKind::kDeferred, RefusalKind::kRejected}) {
    auto sending = send(nothing());
    EXPECT_TRUE(sending.pending.cancel());
    run();
    EXPECT_EQ(said(), (Said{"send", "abandon"}));
    refused(sending.id, kind);
    run_for(1min);
    const bool deferred = kind == RefusalKind::kDeferred;
    EXPECT_EQ(said(), (deferred ? Said{"withdraw"} : Said{}));
    taken(*last);
    EXPECT_EQ(said(), Said{});
  }
}

// A conversation that takes and takes, and never answers what is acknowledged.
TEST_F(ProxyGivesUp, WhatIsNotAcknowledgedYetHasABound) {
  const Told told = nothing();
  std::size_t accepted = 0;
  for (; accepted <= ConversationProxy::kCallsMax; ++accepted) {
    const MessageId id = send(told).id;
    if (!told->empty() && *told != "ok ") break;
    taken(id);
    ASSERT_EQ(*told, "ok ");
    *told = "";
    if (accepted % 1024 == 0) forwarded.clear();
  }
  EXPECT_EQ(told->rfind("Rejected: 65536 calls wait for node far", 0), 0U) << *told;
  EXPECT_LT(accepted, ConversationProxy::kCallsMax);
}

}  // namespace
}  // namespace liminal
