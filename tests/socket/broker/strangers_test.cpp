// Goal: whoever else finds the door of a real broker, with whatever bytes, the nodes inside do not
// notice, what can be counted is, and every descriptor comes back.
#include "tests/socket/common/net/strangers.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>

#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"
#include "tests/socket/common/net/net_test_support.hpp"
#include "tests/support/running_broker.hpp"

namespace liminal::broker {
namespace {

using namespace std::chrono_literals;
using net::test::Caller;
using net::test::no_zmtp;
using net::test::PlainDealer;
using net::test::RawSocket;
using net::test::shook_hands;
using net::test::zmtp_handshake;
using net::test::zmtp_message;

constexpr std::uint64_t kSeed = 7411;

// The nodes here do not beat: nothing of this takes that long.
constexpr ClusterSettings kCluster{.beat_interval = 50ms,
                                   .suspect_after = 10min,
                                   .down_after = 20min,
                                   .reconnect_grace = 100ms,
                                   .payload_bytes_max = 1024};

/// A node that is played: both of its connections, joined.
class Node {
 public:
  Node(net::NetContext& context, const std::string& endpoint, const char* name,
       std::uint64_t incarnation, std::vector<std::pair<std::string, std::string>> labels = {})
      : name_(name),
        incarnation_(incarnation),
        control_(context, endpoint),
        data_(context, endpoint) {
    EXPECT_TRUE(
        control_.send(one(control::Join{name_, incarnation_, false, {}, std::move(labels)})));
    std::optional<std::uint64_t> token;
    EXPECT_TRUE(control_.until([&] {
      for (const net::Parts& parts : control_.received) {
        const auto frame = wire::decode_control(parts.at(0).view());
        const auto* welcome = frame ? std::get_if<control::Welcome>(&*frame) : nullptr;
        if (welcome != nullptr) token = welcome->token;
      }
      return token.has_value();
    }));
    EXPECT_TRUE(data_.send(one(control::Attach{token.value_or(0)})));
    EXPECT_TRUE(data_.until([&] { return data_.received.size() == 1; })) << "it is attached";
    data_.received.clear();
  }

  /// Frames from here arrive there, all, in order, and nothing else does.
  void expect_frames_reach(Node& other) {
    constexpr int kFrames = 20;
    for (int i = 0; i < kFrames; ++i) {
      net::Parts parts;
      parts.emplace_back(wire::encode(RouteTo{other.name_, other.incarnation_}));
      parts.emplace_back("frame " + std::to_string(++sent_));
      EXPECT_TRUE(data_.send(std::move(parts)));
    }
    EXPECT_TRUE(other.data_.until([&] { return other.data_.received.size() >= kFrames; }));
    ASSERT_EQ(other.data_.received.size(), static_cast<std::size_t>(kFrames));
    for (int i = 0; i < kFrames; ++i) {
      const net::Parts& parts = other.data_.received[static_cast<std::size_t>(i)];
      EXPECT_EQ(parts.at(1).view(), "frame " + std::to_string(sent_ - kFrames + 1 + i));
      EXPECT_EQ(wire::decode_route_from(parts.at(0).view())->node, name_);
    }
    other.data_.received.clear();
  }

  /// Its connections stand, and it was told of nobody's end.
  void expect_undisturbed() {
    control_.turn();
    data_.turn();
    EXPECT_EQ(std::count(control_.log.begin(), control_.log.end(), "closed"), 0);
    EXPECT_EQ(std::count(data_.log.begin(), data_.log.end(), "closed"), 0);
    for (const net::Parts& parts : control_.received) {
      const auto frame = wire::decode_control(parts.at(0).view());
      ASSERT_TRUE(frame);
      EXPECT_FALSE(std::holds_alternative<control::Unknown>(*frame));
      const auto* changes = std::get_if<control::Changes>(&*frame);
      if (changes == nullptr) continue;
      for (const auto& change : changes->changes) {
        EXPECT_EQ(change.member.state, MemberState::kJoined);
      }
    }
  }

 private:
  template <class Frame>
  static net::Parts one(Frame frame) {
    net::Parts parts;
    parts.emplace_back(wire::encode(ControlFrame{std::move(frame)}));
    return parts;
  }

  NodeName name_;
  Incarnation incarnation_;
  Caller control_, data_;
  int sent_ = 0;
};

/// What was sent before this was read: the broker answers everybody's question, in order.
bool is_read_by_the_broker(PlainDealer& stranger) {
  if (!stranger.send(wire::encode(ControlFrame{control::StatusQuery{}}))) return false;
  for (;;) {
    const auto frame = wire::decode_control(stranger.receive());
    if (!frame) return false;
    if (std::holds_alternative<control::StatusReply>(*frame)) return true;
  }
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    static_cast<void>(entry);
    ++count;
  }
  return count;
}

/// So many descriptors as are allowed, at most `wanted`.
std::size_t allow_descriptors(std::size_t wanted) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::max(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, wanted));
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_cur, wanted));
}

BrokerCore::Settings of_this_cluster() {
  BrokerCore::Settings settings;
  settings.cluster = kCluster;
  return settings;
}

class StrangersTest : public ::testing::Test {
 protected:
  [[nodiscard]] const std::string& endpoint() const { return broker_.endpoint(); }
  [[nodiscard]] std::uint16_t port() const {
    return static_cast<std::uint16_t>(std::stoi(endpoint().substr(endpoint().rfind(':') + 1)));
  }
  void expect_traffic_goes_on() {
    a_.expect_frames_reach(b_);
    b_.expect_frames_reach(a_);
  }
  /// Strangers are gone: the nodes are as before, and nothing of the others is left.
  void expect_nothing_happened() {
    expect_traffic_goes_on();
    a_.expect_undisturbed();
    b_.expect_undisturbed();
    EXPECT_TRUE(net::test::eventually([&] { return open_descriptors() == before_; },
                                      [&] { net::wait({}, nobody_, 20ms); }))
        << open_descriptors() << " descriptors instead of " << before_;
    EXPECT_EQ(broker_.stop().members().size(), 2u);
    EXPECT_EQ(broker_.loop().counters().given_up, 0u);
  }
  [[nodiscard]] std::uint64_t rejected(BadFrameReason reason) const {
    return broker_.loop().core().counters().rejected[static_cast<std::size_t>(reason)];
  }
  [[nodiscard]] std::uint64_t dropped(DropCause cause) const {
    return broker_.loop().core().counters().dropped[static_cast<std::size_t>(cause)];
  }

  liminal::test::RunningBroker broker_{of_this_cluster(), "tcp://127.0.0.1:*", 1h};
  net::NetContext context_;
  net::Waker nobody_;
  Node a_{context_, endpoint(), "a", 1}, b_{context_, endpoint(), "b", 2};
  const std::size_t before_ = open_descriptors();
};

TEST_F(StrangersTest, RandomBytesHarmNobody) {
  Random random{kSeed};
  for (int i = 0; i < 100; ++i) {
    RawSocket raw;
    ASSERT_TRUE(raw.connect(port()));
    raw.write(no_zmtp(i, 3000, random));
    if (i % 20 == 0) expect_traffic_goes_on();
  }
  expect_nothing_happened();
}

TEST_F(StrangersTest, GarbageBehindAHandshakeHarmsNobody) {
  Random random{kSeed};
  for (int i = 0; i < 100; ++i) {
    RawSocket raw;
    ASSERT_TRUE(raw.connect(port()));
    ASSERT_TRUE(raw.write(zmtp_handshake()));
    ASSERT_TRUE(shook_hands(raw));
    std::string bytes("\0\5hello", 7);
    if (i % 2 != 0) bytes += liminal::test::any_bytes(500, random);
    ASSERT_TRUE(raw.write(bytes));
    ::shutdown(raw.fd(), SHUT_WR);
    ASSERT_TRUE(raw.is_ended()) << "closing before would take back what is not read yet";
    if (i % 20 == 0) expect_traffic_goes_on();
  }
  expect_nothing_happened();
  EXPECT_GE(rejected(BadFrameReason::kMalformed), 50u) << "as far as the core came what was whole";
}

TEST_F(StrangersTest, WhatDoesNotDecodeIsCountedByReasonAndAnsweredSeldom) {
  {
    PlainDealer stranger{endpoint()};
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(stranger.send("garbage"));                                 // malformed
      ASSERT_TRUE(stranger.send(std::string("\x92\x02\x04", 3)));            // of another version
      ASSERT_TRUE(stranger.send("header", true) && stranger.send("frame"));  // of nobody
      ASSERT_TRUE(stranger.send(
          wire::encode(ControlFrame{control::Unknown{Epoch{1}}})));  // only a broker says so
    }
    ASSERT_TRUE(is_read_by_the_broker(stranger));
  }
  expect_nothing_happened();
  EXPECT_EQ(rejected(BadFrameReason::kMalformed), 50u);
  EXPECT_EQ(rejected(BadFrameReason::kVersion), 50u);
  EXPECT_EQ(rejected(BadFrameReason::kOutOfPlace), 50u);
  EXPECT_EQ(dropped(DropCause::kUnknownSender), 50u);
  const auto& counters = broker_.loop().core().counters();
  EXPECT_EQ(counters.refusals + counters.unknown_replies + counters.replies_withheld, 150u);
  EXPECT_GT(counters.replies_withheld, 100u) << "one reply a second";
}

TEST_F(StrangersTest, AMessageOfVeryManyPartsIsDroppedAndCounted) {
  {
    PlainDealer stranger{endpoint()};
    for (int i = 1; i < 300'000; ++i) ASSERT_TRUE(stranger.send("x", true));
    ASSERT_TRUE(stranger.send("x"));
    expect_traffic_goes_on();
    ASSERT_TRUE(is_read_by_the_broker(stranger));
  }
  expect_nothing_happened();
  EXPECT_EQ(broker_.loop().oversized_messages(), 1u);
}

TEST_F(StrangersTest, APartBeyondTheLimitEndsItsConnectionOnly) {
  {
    PlainDealer stranger{endpoint()};
    ASSERT_TRUE(is_read_by_the_broker(stranger));
    ASSERT_TRUE(stranger.send(std::string(wire::kPartBytesMax + 1, 'x')));
    expect_traffic_goes_on();
    // libzmq connects it again: it may ask like anybody
    ASSERT_TRUE(is_read_by_the_broker(stranger));
  }
  {
    PlainDealer stranger{endpoint()};  // one that is as long as allowed is read, and refused
    ASSERT_TRUE(stranger.send(std::string(wire::kPartBytesMax, 'x')));
    ASSERT_TRUE(is_read_by_the_broker(stranger));
  }
  expect_nothing_happened();
  EXPECT_EQ(rejected(BadFrameReason::kMalformed), 1u);
}

TEST_F(StrangersTest, ThousandsOfSilentConnectionsHarmNobodyAndAreEnded) {
  // two descriptors each: their end and ours are in this process
  const std::size_t wanted = 2000;
  const std::size_t allowed = allow_descriptors(2 * wanted + 500);
  const std::size_t count = std::min(wanted, (allowed - before_ - 100) / 2);
  RecordProperty("connections", static_cast<int>(count));
  {
    std::vector<RawSocket> silent(count);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_TRUE(silent[i].connect(port())) << i;
      if (i % 500 == 0) expect_traffic_goes_on();
    }
    expect_traffic_goes_on();
    // Each is ended: after libzmq's greeting comes the end of the stream.
    for (RawSocket& raw : silent) {
      ASSERT_TRUE(raw.is_ended());
    }
    expect_traffic_goes_on();
  }
  expect_nothing_happened();
  EXPECT_EQ(broker_.loop().counters().late, 0u);
}

TEST_F(StrangersTest, WhoAsksAndReadsNothingIsAnsweredUpToABound) {
  const std::string label(16'000, 'x');
  const Node large{
      context_, endpoint(), "large", 3, {{"a", label}, {"b", label}, {"c", label}, {"d", label}}};
  constexpr int kQuestions = 3000;  // each is answered by 64 kB, 192 MB in all
  const std::string question = wire::encode(ControlFrame{control::StatusQuery{}});
  PlainDealer reader{endpoint()};
  {
    RawSocket mute;
    ASSERT_TRUE(mute.connect(port()));
    ASSERT_TRUE(mute.write(zmtp_handshake()));
    ASSERT_TRUE(shook_hands(mute));
    for (int i = 0; i < kQuestions; ++i) ASSERT_TRUE(mute.write(zmtp_message(question)));
    // Each is read in turn with the other's: so all of the former are read before the latter.
    const std::string cancel = wire::encode(ControlFrame{control::CancelQuery{ConversationId{}}});
    for (int i = 0; i < kQuestions; ++i) {
      ASSERT_TRUE(reader.send(cancel));
      ASSERT_FALSE(reader.receive().empty());
    }
    for (int i = 0; i < 100; ++i)
      ASSERT_TRUE(is_read_by_the_broker(reader)) << "who reads is answered";
  }
  expect_traffic_goes_on();
  broker_.stop();
  const auto& counters = broker_.loop().counters();
  EXPECT_GT(counters.answers_withheld, 1000u);
  EXPECT_LT(counters.answered_bytes, 100u * 70'000 + 16u * 1024 * 1024) << "the reader's, kernels'";
  EXPECT_EQ(counters.given_up, 0u);
}

TEST_F(StrangersTest, WhoIsRefusedWithoutEndAndReadsNothingIsCut) {
  RawSocket mute;
  ASSERT_TRUE(mute.connect(port()));
  ASSERT_TRUE(mute.write(zmtp_handshake()));
  ASSERT_TRUE(shook_hands(mute));
  // under another node's incarnation: refused each time
  const std::string others = zmtp_message(
      wire::encode(ControlFrame{control::Join{NodeName{"x"}, Incarnation{1}, false, {}, {}}}));
  std::string many;
  for (int i = 0; i < 1000; ++i) many += others;
  bool cut = false;  // after all that kernels hold and 1 MiB
  for (int i = 0; i < 2000 && !cut; ++i) cut = !mute.write(many);
  EXPECT_TRUE(cut);
  expect_traffic_goes_on();
  broker_.stop();
  EXPECT_EQ(broker_.loop().counters().given_up, 1u);
  EXPECT_EQ(broker_.loop().core().members().size(), 2u);
}

}  // namespace
}  // namespace liminal::broker
