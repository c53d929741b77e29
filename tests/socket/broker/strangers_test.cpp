// Goal: whoever else finds the door of a real broker, with whatever bytes, the nodes inside do not
// notice, what can be counted is, and every descriptor comes back.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <zmq.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "broker/broker_loop.hpp"
#include "common/base/random.hpp"
#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"
#include "tests/socket/common/net/net_test_support.hpp"

namespace liminal::broker {
namespace {

using namespace std::chrono_literals;
using net::test::Caller;
using net::test::RawSocket;

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
       std::uint64_t incarnation)
      : name_(name),
        incarnation_(incarnation),
        control_(context, endpoint),
        data_(context, endpoint) {
    EXPECT_TRUE(control_.send(one(control::Join{name_, incarnation_, false, {}, {}})));
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

// libzmq itself, without our limits.
class PlainDealer {
 public:
  explicit PlainDealer(const std::string& endpoint) {
    const int patience_ms = 20'000, forever = 0;
    zmq_setsockopt(socket_, ZMQ_SNDTIMEO, &patience_ms, sizeof patience_ms);
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms);
    zmq_setsockopt(socket_, ZMQ_LINGER, &patience_ms, sizeof patience_ms);
    zmq_setsockopt(socket_, ZMQ_SNDHWM, &forever, sizeof forever);
    zmq_connect(socket_, endpoint.c_str());
  }
  ~PlainDealer() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  PlainDealer(const PlainDealer&) = delete;
  PlainDealer& operator=(const PlainDealer&) = delete;

  bool send(std::string_view bytes, bool more = false) {
    return zmq_send(socket_, bytes.data(), bytes.size(), more ? ZMQ_SNDMORE : 0) >= 0;
  }
  /// The next one-part message.
  std::string receive() {
    std::string bytes(1 << 20, '\0');
    const int size = zmq_recv(socket_, bytes.data(), bytes.size(), 0);
    bytes.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return bytes;
  }
  /// What was sent before this was read: the broker answers everybody's question, in order.
  bool is_read_by_the_broker() {
    if (!send(wire::encode(ControlFrame{control::StatusQuery{}}))) return false;
    for (;;) {
      const auto frame = wire::decode_control(receive());
      if (!frame) return false;
      if (std::holds_alternative<control::StatusReply>(*frame)) return true;
    }
  }

 private:
  void* context_ = zmq_ctx_new();
  void* socket_ = zmq_socket(context_, ZMQ_DEALER);
};

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

// A client of ZMTP 3.0 without security: its greeting, then READY of a DEALER.
std::string zmtp_handshake() {
  std::string bytes("\xFF\0\0\0\0\0\0\0\1\x7F\3\0NULL", 16);
  bytes.resize(64, '\0');
  const std::string property = std::string("\x0BSocket-Type\0\0\0\6", 16) + "DEALER";
  const std::string ready = std::string("\5READY") + property;
  bytes += '\4';
  bytes += static_cast<char>(ready.size());
  return bytes + ready;
}

/// Whether the other end's greeting and READY came.
bool shook_hands(RawSocket& raw) {
  const timeval patience{20, 0};
  ::setsockopt(raw.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  constexpr std::size_t kGreeting = 64;
  std::string all;
  while (all.find("READY") == std::string::npos || all.size() < kGreeting + 2) {
    char bytes[256];
    const ssize_t got = ::recv(raw.fd(), bytes, sizeof bytes, 0);
    if (got <= 0) return false;
    all.append(bytes, static_cast<std::size_t>(got));
  }
  return true;
}

/// Whether the other end closes the connection.
bool ends(RawSocket& raw) {
  const timeval patience{20, 0};
  ::setsockopt(raw.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char bytes[128];
  ssize_t got = 1;
  while (got > 0) got = ::recv(raw.fd(), bytes, sizeof bytes, 0);
  return got == 0 || errno == ECONNRESET;
}

class StrangersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto door = net::RouterSocket::bind(context_, {"tcp://127.0.0.1:*"}, {});
    ASSERT_TRUE(door) << door.error().detail;
    endpoint_ = door->endpoints().at(0);
    BrokerCore::Settings settings;
    settings.cluster = kCluster;
    loop_.emplace(*std::move(door), BrokerCore{settings, Random{1}, clock_.now()}, clock_, waker_,
                  BrokerLoop::Settings{.beat_interval = 1h});
    thread_ = std::thread{[this] { loop_->run(); }};
    a_.emplace(context_, endpoint_, "a", 1);
    b_.emplace(context_, endpoint_, "b", 2);
    before_ = open_descriptors();
  }
  void TearDown() override {
    if (thread_.joinable()) stop();
  }
  void stop() {
    loop_->stop();
    thread_.join();
  }

  [[nodiscard]] std::uint16_t port() const {
    return static_cast<std::uint16_t>(std::stoi(endpoint_.substr(endpoint_.rfind(':') + 1)));
  }
  void expect_traffic_goes_on() {
    a_->expect_frames_reach(*b_);
    b_->expect_frames_reach(*a_);
  }
  /// Strangers are gone: the nodes are as before, and nothing of the others is left.
  void expect_nothing_happened() {
    expect_traffic_goes_on();
    a_->expect_undisturbed();
    b_->expect_undisturbed();
    EXPECT_TRUE(net::test::eventually([&] { return open_descriptors() == before_; },
                                      [&] { net::wait({}, nobody_, 20ms); }))
        << open_descriptors() << " descriptors instead of " << before_;
    stop();
    EXPECT_EQ(loop_->core().members().size(), 2u);
    EXPECT_EQ(loop_->counters().given_up, 0u);
  }
  [[nodiscard]] std::uint64_t rejected(BadFrameReason reason) const {
    return loop_->core().counters().rejected[static_cast<std::size_t>(reason)];
  }
  [[nodiscard]] std::uint64_t dropped(DropCause cause) const {
    return loop_->core().counters().dropped[static_cast<std::size_t>(cause)];
  }

  net::NetContext context_;
  net::Waker waker_, nobody_;
  SystemClock clock_;
  std::string endpoint_;
  std::optional<BrokerLoop> loop_;
  std::thread thread_;
  std::optional<Node> a_, b_;
  std::size_t before_ = 0;
};

TEST_F(StrangersTest, RandomBytesHarmNobody) {
  Random random{kSeed};
  for (int i = 0; i < 100; ++i) {
    std::string bytes;
    if (i % 2 == 0) bytes = std::string("\xFF\0\0\0\0\0\0\0\1\x7F\3\0NULL", 16);
    for (std::uint64_t n = random.below(3000); n > 0; --n) {
      bytes += static_cast<char>(random.below(256));
    }
    RawSocket raw;
    ASSERT_TRUE(raw.connect(port()));
    raw.write(bytes);
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
    for (std::uint64_t n = i % 2 == 0 ? 0 : random.below(500); n > 0; --n) {
      bytes += static_cast<char>(random.below(256));
    }
    ASSERT_TRUE(raw.write(bytes));
    ::shutdown(raw.fd(), SHUT_WR);
    ASSERT_TRUE(ends(raw)) << "closing before would take back what is not read yet";
    if (i % 20 == 0) expect_traffic_goes_on();
  }
  expect_nothing_happened();
  EXPECT_GE(rejected(BadFrameReason::kMalformed), 50u) << "as far as the core came what was whole";
}

TEST_F(StrangersTest, WhatDoesNotDecodeIsCountedByReasonAndAnsweredSeldom) {
  {
    PlainDealer stranger{endpoint_};
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(stranger.send("garbage"));                                 // malformed
      ASSERT_TRUE(stranger.send(std::string("\x92\x02\x04", 3)));            // of another version
      ASSERT_TRUE(stranger.send("header", true) && stranger.send("frame"));  // of nobody
      ASSERT_TRUE(stranger.send(
          wire::encode(ControlFrame{control::Unknown{Epoch{1}}})));  // only a broker says so
    }
    ASSERT_TRUE(stranger.is_read_by_the_broker());
  }
  expect_nothing_happened();
  EXPECT_EQ(rejected(BadFrameReason::kMalformed), 50u);
  EXPECT_EQ(rejected(BadFrameReason::kVersion), 50u);
  EXPECT_EQ(rejected(BadFrameReason::kOutOfPlace), 50u);
  EXPECT_EQ(dropped(DropCause::kUnknownSender), 50u);
  const auto& counters = loop_->core().counters();
  EXPECT_EQ(counters.refusals + counters.unknown_replies + counters.replies_withheld, 150u);
  EXPECT_GT(counters.replies_withheld, 100u) << "one reply a second";
}

TEST_F(StrangersTest, AMessageOfVeryManyPartsIsDroppedAndCounted) {
  {
    PlainDealer stranger{endpoint_};
    for (int i = 1; i < 300'000; ++i) ASSERT_TRUE(stranger.send("x", true));
    ASSERT_TRUE(stranger.send("x"));
    expect_traffic_goes_on();
    ASSERT_TRUE(stranger.is_read_by_the_broker());
  }
  expect_nothing_happened();
  EXPECT_EQ(loop_->oversized_messages(), 1u);
}

TEST_F(StrangersTest, APartBeyondTheLimitEndsItsConnectionOnly) {
  {
    PlainDealer stranger{endpoint_};
    ASSERT_TRUE(stranger.is_read_by_the_broker());
    ASSERT_TRUE(stranger.send(std::string(wire::kPartBytesMax + 1, 'x')));
    expect_traffic_goes_on();
    // libzmq connects it again: it may ask like anybody
    ASSERT_TRUE(stranger.is_read_by_the_broker());
  }
  {
    PlainDealer stranger{endpoint_};  // one that is as long as allowed is read, and refused
    ASSERT_TRUE(stranger.send(std::string(wire::kPartBytesMax, 'x')));
    ASSERT_TRUE(stranger.is_read_by_the_broker());
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
      ASSERT_TRUE(ends(raw));
    }
    expect_traffic_goes_on();
  }
  expect_nothing_happened();
  EXPECT_EQ(loop_->counters().late, 0u);
}

}  // namespace
}  // namespace liminal::broker
