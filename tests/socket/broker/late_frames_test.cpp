// Goal: what a real broker reads after a stall, of connections that have closed meanwhile, harms no
// living node, and what a node said before its connection was lost counts.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "common/wire/codec.hpp"
#include "tests/socket/common/net/net_test_support.hpp"
#include "tests/socket/common/net/strangers.hpp"
#include "tests/support/running_broker.hpp"

namespace liminal::broker {
namespace {

using namespace std::chrono_literals;
using net::test::Caller;
using net::test::RawSocket;

// The node here does not beat: nothing of this takes that long.
constexpr ClusterSettings kCluster{.beat_interval = 50ms,
                                   .suspect_after = 10min,
                                   .down_after = 20min,
                                   .reconnect_grace = 100ms,
                                   .payload_bytes_max = 1024};

/// Stalls whoever reads it while it is held.
class HeldClock : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override {
    std::unique_lock lock{mutex_};
    if (held_) {
      ++waiting_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return !held_; });
      --waiting_;
    }
    return real_.now();
  }
  /// Returns when its reader stands still.
  void hold() {
    std::unique_lock lock{mutex_};
    held_ = true;
    changed_.wait(lock, [&] { return waiting_ > 0; });
  }
  void release() {
    const std::lock_guard lock{mutex_};
    held_ = false;
    changed_.notify_all();
  }

 private:
  SystemClock real_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable int waiting_ = 0;
  bool held_ = false;
};

/// A connection that is played byte by byte: its kernel takes little that is not read, and it can
/// be known when libzmq has closed the other end.
class RawPeer {
 public:
  RawPeer() {
    const int bytes = 64 * 1024;
    ::setsockopt(raw_.fd(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }

  bool connect(std::uint16_t port) {
    return raw_.connect(port) && raw_.write(net::test::zmtp_handshake()) &&
           net::test::shook_hands(raw_);
  }
  bool write(const std::string& bytes) { return raw_.write(bytes); }
  bool send(const ControlFrame& frame) {
    return write(net::test::zmtp_message(wire::encode(frame)));
  }
  /// The next of that kind.
  template <class Frame>
  std::optional<Frame> next() {
    for (;;) {
      while (const auto message = take_message()) {
        const auto frame = wire::decode_control(*message);
        if (const auto* wanted = frame ? std::get_if<Frame>(&*frame) : nullptr) return *wanted;
      }
      const std::string more = raw_.read();
      if (more.empty()) return std::nullopt;
      bytes_ += more;
    }
  }
  /// Says nothing more, and returns when libzmq has read all and closed it.
  bool end() {
    ::shutdown(raw_.fd(), SHUT_WR);
    return raw_.is_ended();
  }

 private:
  // Flags (2: long, 4: a command, which does not decode here), the size in one byte or in eight.
  std::optional<std::string> take_message() {
    const std::size_t header = !bytes_.empty() && (bytes_[0] & 2) != 0 ? 9 : 2;
    if (bytes_.size() < header) return std::nullopt;
    std::size_t size = 0;
    for (std::size_t i = 1; i < header; ++i) {
      size = size << 8 | static_cast<unsigned char>(bytes_[i]);
    }
    if (bytes_.size() - header < size) return std::nullopt;
    std::string message = bytes_.substr(header, size);
    bytes_.erase(0, header + size);
    return message;
  }

  RawSocket raw_;
  std::string bytes_;
};

class LateFramesTest : public ::testing::Test {
 protected:
  explicit LateFramesTest(const ClusterSettings& cluster = kCluster,
                          const BrokerLoop::Settings& of_loop = {.beat_interval = 1h}) {
    auto door = net::RouterSocket::bind(context_, {"tcp://127.0.0.1:*"}, {});
    endpoint_ = door->endpoints().at(0);
    BrokerCore::Settings settings;
    settings.cluster = cluster;
    loop_.emplace(*std::move(door), BrokerCore{settings, Random{1}, clock_.now()}, clock_, waker_,
                  of_loop);
    thread_ = std::thread{[this] { loop_->run(); }};
  }
  ~LateFramesTest() override {
    clock_.release();
    stop();
  }
  void stop() {
    loop_->stop();
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] std::uint16_t port() const {
    return static_cast<std::uint16_t>(std::stoi(endpoint_.substr(endpoint_.rfind(':') + 1)));
  }

  template <class Frame>
  static net::Parts one(Frame frame) {
    net::Parts parts;
    parts.emplace_back(wire::encode(ControlFrame{std::move(frame)}));
    return parts;
  }
  /// The next of that kind.
  template <class Frame>
  static std::optional<Frame> next(Caller& caller) {
    std::optional<Frame> found;
    EXPECT_TRUE(caller.until([&] {
      for (const net::Parts& parts : std::exchange(caller.received, {})) {
        auto frame = wire::decode_control(parts.at(0).view());
        if (auto* wanted = frame ? std::get_if<Frame>(&*frame) : nullptr) found = *wanted;
      }
      return found.has_value();
    }));
    return found;
  }
  void join(Caller& control, Caller& data, const control::Join& join) {
    ASSERT_TRUE(control.send(one(join)));
    const auto welcome = next<control::Welcome>(control);
    ASSERT_TRUE(welcome);
    ASSERT_TRUE(data.send(one(control::Attach{welcome->token})));
    ASSERT_TRUE(next<control::Attached>(data));
  }
  void join(RawPeer& control, RawPeer& data, const control::Join& join) {
    ASSERT_TRUE(control.connect(port()) && data.connect(port()));
    ASSERT_TRUE(control.send(join));
    const auto welcome = control.next<control::Welcome>();
    ASSERT_TRUE(welcome);
    ASSERT_TRUE(data.send(control::Attach{welcome->token}));
    ASSERT_TRUE(data.next<control::Attached>());
  }
  /// As what another node's end is told.
  static std::optional<MemberState> told_end(Caller& watcher) {
    while (const auto changes = next<control::Changes>(watcher)) {
      for (const auto& change : changes->changes) {
        if (change.member.state != MemberState::kJoined) return change.member.state;
      }
    }
    return std::nullopt;
  }
  /// Bytes of a connection that is over before the broker's loop reads any.
  void say_and_end(const std::vector<ControlFrame>& frames) {
    RawPeer raw;
    ASSERT_TRUE(raw.connect(port()));
    std::string bytes;
    for (const ControlFrame& frame : frames) {
      bytes += net::test::zmtp_message(wire::encode(frame));
    }
    ASSERT_TRUE(raw.write(bytes));
    ASSERT_TRUE(raw.end()) << "libzmq has read it all";
  }
  /// What others wrote before is read by libzmq, whose one thread serves all in turn: another
  /// connection is accepted, shakes hands and ends meanwhile.
  void let_libzmq_read() { say_and_end({}); }

  net::NetContext context_;
  net::Waker waker_;
  HeldClock clock_;
  std::string endpoint_;
  std::optional<BrokerLoop> loop_;
  std::thread thread_;
};

const control::Join kJoin{NodeName{"a"}, Incarnation{1}, false, {}, {}};

TEST_F(LateFramesTest, AJoinThatIsReadWhenItsConnectionIsOverDisplacesNobody) {
  Caller living{context_, endpoint_};
  ASSERT_TRUE(living.send(one(kJoin)));
  ASSERT_TRUE(next<control::Welcome>(living));
  clock_.hold();
  say_and_end({kJoin});
  clock_.release();
  // far beyond the grace of a closing: beats still go to the living connection
  std::uint64_t number = 0;
  while (number <
         2 * static_cast<std::uint64_t>(kCluster.reconnect_grace / kCluster.beat_interval) + 10) {
    const auto beat = next<control::BrokerBeat>(living);
    ASSERT_TRUE(beat);
    number = beat->number;
  }
  stop();
  EXPECT_EQ(loop_->core().counters().ignored_control, 1u);
  EXPECT_EQ(loop_->core().counters().resumes, 0u);
  EXPECT_TRUE(loop_->core().next_beat()) << "it is still there";
}

TEST_F(LateFramesTest, ALeaveBehindSuchAJoinIsALeave) {
  Caller watcher{context_, endpoint_};
  ASSERT_TRUE(watcher.send(one(control::Join{NodeName{"w"}, Incarnation{9}, false, {}, {}})));
  ASSERT_TRUE(next<control::Welcome>(watcher));
  Caller a{context_, endpoint_}, data{context_, endpoint_};
  ASSERT_NO_FATAL_FAILURE(join(a, data, kJoin));
  clock_.hold();
  say_and_end({kJoin, control::Leave{}});
  clock_.release();
  EXPECT_EQ(told_end(watcher), MemberState::kLeft);
}

/// Its turns are short, and a closing is a verdict at once where nothing of the node is unread.
class FloodedBrokerTest : public LateFramesTest {
 protected:
  FloodedBrokerTest()
      : LateFramesTest(without_grace(), {.beat_interval = 1h, .messages_per_turn_max = 4}) {}

 private:
  static ClusterSettings without_grace() {
    ClusterSettings cluster = kCluster;
    cluster.reconnect_grace = Duration::zero();
    return cluster;
  }
};

TEST_F(FloodedBrokerTest, WhatANodeSentArrivesBeforeItsEndIsToldWhichThenWaitsNoLonger) {
  Caller a{context_, endpoint_}, a_data{context_, endpoint_};
  ASSERT_NO_FATAL_FAILURE(join(a, a_data, kJoin));
  RawPeer b, b_data;
  ASSERT_NO_FATAL_FAILURE(
      join(b, b_data, control::Join{NodeName{"b"}, Incarnation{2}, false, {}, {}}));

  clock_.hold();
  constexpr std::size_t kFrames = 100;
  std::string frames;
  for (std::size_t i = 0; i < kFrames; ++i) {
    frames += net::test::zmtp_message(wire::encode(RouteTo{kJoin.name, kJoin.incarnation}), true);
    frames += net::test::zmtp_message("frame " + std::to_string(i));
  }
  ASSERT_TRUE(b_data.write(frames));
  // A stranger's, on so many connections that of b's frames every eleventh message is one: a
  // closing is told after some 540 of them. And so many that more waits when b's are read out.
  for (int i = 0; i < 10; ++i) {
    ASSERT_NO_FATAL_FAILURE(
        say_and_end(std::vector<ControlFrame>(200, ControlFrame{control::StatusQuery{}})));
  }
  ASSERT_TRUE(b.end());
  clock_.release();

  EXPECT_EQ(told_end(a), MemberState::kDown) << "as soon as they are read, not in suspect_after";
  stop();
  // none is forwarded for a node that is down
  ASSERT_EQ(loop_->core().counters().forwarded, kFrames) << "before the verdict";
  ASSERT_TRUE(a_data.until([&] { return a_data.received.size() >= kFrames; }));
  for (std::size_t i = 0; i < kFrames; ++i) {
    EXPECT_EQ(a_data.received[i].at(1).view(), "frame " + std::to_string(i));
  }
}

class GivenUpTest : public LateFramesTest {
 protected:
  GivenUpTest() : LateFramesTest(kCluster, {.beat_interval = 1h, .outbox_bytes_max = 256 * 1024}) {}
};

TEST_F(GivenUpTest, ALeaveThatWasSentBeforeIsALeave) {
  const std::string label(16'000, 'x');
  Caller watcher{context_, endpoint_}, watchers_data{context_, endpoint_};
  ASSERT_NO_FATAL_FAILURE(join(
      watcher, watchers_data,
      control::Join{NodeName{"w"}, Incarnation{9}, false, {}, {{"k1", label}, {"k2", label}}}));
  RawPeer mute, mutes_data;
  ASSERT_NO_FATAL_FAILURE(join(mute, mutes_data, kJoin));

  clock_.hold();
  // Each join again is answered by a Welcome that lists the watcher: 2 MB in all, read by nobody.
  std::string bytes;
  for (int i = 0; i < 60; ++i) bytes += net::test::zmtp_message(wire::encode(ControlFrame{kJoin}));
  bytes += net::test::zmtp_message(wire::encode(ControlFrame{control::Leave{}}));
  ASSERT_TRUE(mute.write(bytes));
  ASSERT_NO_FATAL_FAILURE(let_libzmq_read());  // giving up cuts the connection
  clock_.release();

  EXPECT_EQ(told_end(watcher), MemberState::kLeft);
  stop();
  EXPECT_EQ(loop_->counters().given_up, 1u) << "before the leave was read";
  EXPECT_EQ(loop_->core().counters().leaves, 1u);
  EXPECT_EQ(loop_->core().counters().downs, 0u);
}

}  // namespace
}  // namespace liminal::broker
