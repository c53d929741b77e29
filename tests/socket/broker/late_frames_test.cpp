// Goal: what a real broker reads after a stall, of connections that have closed meanwhile, harms no
// living node.
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

class LateFramesTest : public ::testing::Test {
 protected:
  LateFramesTest() {
    auto door = net::RouterSocket::bind(context_, {"tcp://127.0.0.1:*"}, {});
    endpoint_ = door->endpoints().at(0);
    BrokerCore::Settings settings;
    settings.cluster = kCluster;
    loop_.emplace(*std::move(door), BrokerCore{settings, Random{1}, clock_.now()}, clock_, waker_,
                  BrokerLoop::Settings{.beat_interval = 1h});
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
  /// Bytes of a connection that is over before the broker's loop reads any.
  void say_and_end(const std::vector<ControlFrame>& frames) {
    RawSocket raw;
    ASSERT_TRUE(raw.connect(port()));
    ASSERT_TRUE(raw.write(net::test::zmtp_handshake()));
    ASSERT_TRUE(net::test::shook_hands(raw));
    for (const ControlFrame& frame : frames) {
      ASSERT_TRUE(raw.write(net::test::zmtp_message(wire::encode(frame))));
    }
    ::shutdown(raw.fd(), SHUT_WR);
    ASSERT_TRUE(raw.is_ended()) << "libzmq has read it all";
  }

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
  ASSERT_TRUE(a.send(one(kJoin)));
  const auto welcome = next<control::Welcome>(a);
  ASSERT_TRUE(welcome);
  ASSERT_TRUE(data.send(one(control::Attach{welcome->token})));
  ASSERT_TRUE(next<control::Attached>(data));
  clock_.hold();
  say_and_end({kJoin, control::Leave{}});
  clock_.release();
  for (bool ended = false; !ended;) {
    const auto changes = next<control::Changes>(watcher);
    ASSERT_TRUE(changes);
    for (const auto& change : changes->changes) {
      if (change.member.state == MemberState::kJoined) continue;
      EXPECT_EQ(change.member.state, MemberState::kLeft);
      ended = true;
    }
  }
}

}  // namespace
}  // namespace liminal::broker
