// Goal: the loop joins BrokerCore and the socket: real connections are served, closings judged, and
// a peer that takes nothing is bounded.
#include "broker/broker_loop.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "common/wire/codec.hpp"
#include "tests/socket/common/net/net_test_support.hpp"
#include "tests/socket/common/net/strangers.hpp"

namespace liminal::broker {
namespace {

using namespace std::chrono_literals;

constexpr ClusterSettings kCluster{.beat_interval = 50ms,
                                   .suspect_after = 5s,
                                   .down_after = 10s,
                                   .reconnect_grace = 100ms,
                                   .payload_bytes_max = 1024};

/// Stands still until it is told to go on.
class SetClock : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override { return TimePoint{Duration{now_.load()}}; }
  void advance(Duration by) { now_.fetch_add(by.count()); }

 private:
  std::atomic<Duration::rep> now_{Duration{1h}.count()};
};

/// Of a process that runs for 90 ms and is stopped for 300 ms, again and again.
class StutteringClock : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override {
    const TimePoint now = real_.now();
    return now + (now - start_) / 90ms * 300ms;
  }

 private:
  SystemClock real_;
  TimePoint start_ = real_.now();
};

class BrokerLoopTest : public ::testing::Test {
 protected:
  struct Serving {
    std::size_t outbox_bytes_max = std::size_t{64} * 1024 * 1024;
    Duration beat_interval = 1h;  // being later than this is being late
    int messages_per_turn_max = 256;
    const Clock* clock = nullptr;
    std::size_t all_answers_bytes_max = std::size_t{64} * 1024 * 1024;
  };
  void serve() { serve(Serving{}); }
  void serve(const Serving& serving) {
    const Clock& of_loop = serving.clock != nullptr ? *serving.clock : clock;
    net::SocketLimits limits;
    limits.queued_messages_max = 10;
    auto door = net::RouterSocket::bind(context, {"tcp://127.0.0.1:*"}, limits);
    ASSERT_TRUE(door) << door.error().detail;
    endpoint = door->endpoints().at(0);
    BrokerCore::Settings settings;
    settings.cluster = kCluster;
    loop.emplace(*std::move(door), BrokerCore{settings, Random{1}, of_loop.now()}, of_loop, waker,
                 BrokerLoop::Settings{.beat_interval = serving.beat_interval,
                                      .outbox_bytes_max = serving.outbox_bytes_max,
                                      .messages_per_turn_max = serving.messages_per_turn_max,
                                      .all_answers_bytes_max = serving.all_answers_bytes_max});
    thread = std::thread{[this] { loop->run(); }};
  }
  void TearDown() override {
    if (thread.joinable()) stop();
  }
  void stop() {
    loop->stop();
    thread.join();
  }

  net::DealerSocket connect(int queued_messages_max = 1000) {
    net::SocketLimits limits;
    limits.queued_messages_max = queued_messages_max;
    auto socket = net::DealerSocket::connect(context, endpoint, limits);
    EXPECT_TRUE(socket);
    return *std::move(socket);
  }

  /// Until it succeeds, for as long as a busy machine may need.
  template <class Done>
  bool eventually(net::DealerSocket& socket, Done&& done) {
    const TimePoint end = clock.now() + 20s;
    net::Waker nobody;
    while (clock.now() < end) {
      if (done()) return true;
      net::wait({&socket}, nobody, 10ms);
    }
    return false;
  }
  bool send(net::DealerSocket& socket, std::vector<std::string> texts) {
    net::Parts parts;
    for (std::string& text : texts) parts.emplace_back(std::move(text));
    return eventually(socket, [&] {
      while (socket.try_event()) {
      }
      return socket.send(parts).has_value();
    });
  }
  std::optional<net::Parts> receive(net::DealerSocket& socket) {
    std::optional<net::Parts> got;
    (void)eventually(socket, [&] {
      auto received = socket.try_receive();
      if (received && *received) got = std::move(**received);
      return got.has_value();
    });
    return got;
  }
  /// The next frame of the kind; others are passed over.
  template <class Frame>
  std::optional<Frame> next(net::DealerSocket& socket) {
    for (int i = 0; i < 1000; ++i) {
      const auto parts = receive(socket);
      if (!parts) return std::nullopt;
      auto frame = wire::decode_control(parts->at(0).view());
      if (!frame) return std::nullopt;
      if (auto* wanted = std::get_if<Frame>(&*frame)) return *std::move(wanted);
    }
    return std::nullopt;
  }
  /// Whether a node's end is told, as the next change of anybody that is no joining.
  bool is_told_of_an_end(net::DealerSocket& control) {
    for (;;) {
      const auto changes = next<control::Changes>(control);
      if (!changes) return false;
      for (const control::Change& change : changes->changes) {
        if (change.member.state == MemberState::kDown) return true;
      }
    }
  }
  using Labels = std::vector<std::pair<std::string, std::string>>;
  std::string join_bytes(const std::string& name, std::uint64_t incarnation, Labels labels = {}) {
    return wire::encode(ControlFrame{control::Join{.name = NodeName{name},
                                                   .incarnation = Incarnation{incarnation},
                                                   .light = false,
                                                   .services = {},
                                                   .labels = std::move(labels)}});
  }
  struct Pair {
    net::DealerSocket control;
    net::DealerSocket data;
  };
  std::optional<Pair> join(const std::string& name, std::uint64_t incarnation, Labels labels = {}) {
    Pair pair{connect(), connect(2)};
    if (!send(pair.control, {join_bytes(name, incarnation, std::move(labels))}))
      return std::nullopt;
    const auto welcome = next<control::Welcome>(pair.control);
    if (!welcome) return std::nullopt;
    if (!send(pair.data, {wire::encode(ControlFrame{control::Attach{welcome->token}})}))
      return std::nullopt;
    if (!next<control::Attached>(pair.data)) return std::nullopt;
    return pair;
  }

  net::NetContext context;
  net::Waker waker;
  net::Waker waker_of_test;
  SystemClock clock;
  std::string endpoint;
  std::optional<BrokerLoop> loop;
  std::thread thread;
};

TEST_F(BrokerLoopTest, NodesJoinBeatAndExchangeFrames) {
  serve();
  auto a = join("a", 1);
  auto b = join("b", 2);
  ASSERT_TRUE(a && b);
  ASSERT_TRUE(send(a->data, {wire::encode(RouteTo{NodeName{"b"}, Incarnation{2}}), "frame"}));
  const auto parts = receive(b->data);
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->size(), 2u);
  const auto header = wire::decode_route_from(parts->at(0).view());
  ASSERT_TRUE(header);
  EXPECT_EQ(header->node, NodeName{"a"});
  EXPECT_EQ(parts->at(1).view(), "frame");
  EXPECT_TRUE(next<control::BrokerBeat>(a->control));
  const auto first = next<control::BrokerBeat>(a->control);
  const auto second = next<control::BrokerBeat>(a->control);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(second->number, first->number + 1);
}

TEST_F(BrokerLoopTest, AClosedConnectionBecomesAVerdictThatOthersAreTold) {
  serve();
  auto a = join("a", 1);
  auto b = join("b", 2);
  ASSERT_TRUE(a && b);
  b.reset();
  for (;;) {
    const auto changes = next<control::Changes>(a->control);
    ASSERT_TRUE(changes);
    if (changes->changes.empty()) continue;
    const control::Change& change = changes->changes.front();
    if (change.member.state != MemberState::kDown) continue;  // it may be suspect first
    ASSERT_TRUE(change.evidence);
    EXPECT_EQ(change.evidence->source, EvidenceSource::kConnectionClosed);
    break;
  }
}

TEST_F(BrokerLoopTest, ALeaveThatWasSentBeforeTheClosingIsNoCrash) {
  serve();
  auto a = join("a", 1);
  auto b = join("b", 2);
  ASSERT_TRUE(a && b);
  ASSERT_TRUE(send(b->control, {wire::encode(ControlFrame{control::Leave{}})}));
  // a frame behind the leave is answered: so the leave was read before the socket closes
  ASSERT_TRUE(send(b->control, {wire::encode(ControlFrame{control::StatusQuery{}})}));
  ASSERT_TRUE(next<control::StatusReply>(b->control));
  b.reset();
  for (;;) {
    const auto changes = next<control::Changes>(a->control);
    ASSERT_TRUE(changes);
    if (changes->changes.empty()) continue;
    if (changes->changes.front().member.state == MemberState::kJoined) continue;
    EXPECT_EQ(changes->changes.front().member.state, MemberState::kLeft);
    break;
  }
}

TEST_F(BrokerLoopTest, BeatsGoOutAlsoWhileItReadsBeforeItJudges) {
  SetClock set;
  serve({.beat_interval = 50ms, .clock = &set});
  auto a = join("a", 1);
  ASSERT_TRUE(a);
  const auto first = next<control::BrokerBeat>(a->control);
  ASSERT_TRUE(first);
  for (int late = 0; late < 3; ++late) {
    set.advance(300ms);  // beyond a beat: from here on it settles, and the clock stands still
    EXPECT_TRUE(next<control::BrokerBeat>(a->control)) << "lateness " << late;
  }
  stop();
  EXPECT_EQ(loop->counters().late, 0u) << "it had not judged yet";
}

TEST_F(BrokerLoopTest, ALoopThatIsLateAgainAndAgainJudgesAllTheSame) {
  const StutteringClock stuttering;
  serve({.beat_interval = 250ms, .clock = &stuttering});
  auto a = join("a", 1);  // which answers no beat, and is alone: no reason to doubt
  ASSERT_TRUE(a);
  EXPECT_TRUE(next<control::Unknown>(a->control)) << "it was judged";
  stop();
  EXPECT_GT(loop->counters().late, 0u);
}

/// Sends for as long as it lives, more than is read.
class Flooder {
 public:
  Flooder(const std::string& endpoint, std::string message)
      : thread_{[this, endpoint, message = std::move(message)] {
          net::test::PlainDealer dealer{endpoint, "", 2000};
          while (!end_.load()) (void)dealer.send(message);
        }} {}
  ~Flooder() {
    end_.store(true);
    thread_.join();
  }
  Flooder(const Flooder&) = delete;
  Flooder& operator=(const Flooder&) = delete;

 private:
  std::atomic<bool> end_{false};
  std::thread thread_;
};

TEST_F(BrokerLoopTest, AClosingIsJudgedAlsoWhileAStrangersMessagesAlwaysWait) {
  serve({.messages_per_turn_max = 4});
  auto a = join("a", 1);
  auto b = join("b", 2);
  ASSERT_TRUE(a && b);
  // of a stranger, but long to decode: so more always waits
  control::Loads loads{.loads = {}};
  for (std::uint64_t i = 1; i <= 2000; ++i) loads.loads.push_back({Incarnation{i}, 1});
  const Flooder flooder{endpoint, wire::encode(ControlFrame{loads})};
  ASSERT_TRUE(next<control::BrokerBeat>(a->control));
  ASSERT_TRUE(next<control::BrokerBeat>(a->control));
  b.reset();
  const TimePoint closed = clock.now();
  EXPECT_TRUE(is_told_of_an_end(a->control));
  EXPECT_LT(clock.now() - closed, kCluster.suspect_after) << "far below down_after";
}

TEST_F(BrokerLoopTest, APeerThatReadsNothingCostsItsOutboxAndNobodyElse) {
  serve({.outbox_bytes_max = 256 * 1024});
  auto a = join("a", 1);
  auto slow = join("slow", 2);
  auto c = join("c", 3);
  ASSERT_TRUE(a && slow && c);
  const std::string header = wire::encode(RouteTo{NodeName{"slow"}, Incarnation{2}});
  for (int i = 0; i < 400; ++i) {
    ASSERT_TRUE(send(a->data, {header, std::string(100'000, 'x')}));
  }
  ASSERT_TRUE(send(a->data, {wire::encode(RouteTo{NodeName{"c"}, Incarnation{3}}), "quick"}));
  const auto parts = receive(c->data);
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->at(1).view(), "quick");
  stop();
  EXPECT_GT(loop->counters().dropped_at_outbox, 0u);
  EXPECT_EQ(loop->counters().given_up, 0u);
  EXPECT_EQ(loop->core().members().size(), 3u);
}

TEST_F(BrokerLoopTest, ThoseWhoReadAreAnsweredThoughManyAskAndReadNothing) {
  serve({.all_answers_bytes_max = 2 * 1024 * 1024});
  const std::string label(16'000, 'x');
  auto large = join("large", 1, Labels{{"a", label}, {"b", label}, {"c", label}, {"d", label}});
  ASSERT_TRUE(large);
  const std::string question = wire::encode(ControlFrame{control::StatusQuery{}});
  std::vector<net::test::RawSocket> mute(6);
  const auto port = static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)));
  auto reader = connect();
  for (net::test::RawSocket& each : mute) {
    ASSERT_TRUE(each.connect(port));
    ASSERT_TRUE(each.write(net::test::zmtp_handshake()));
    ASSERT_TRUE(net::test::shook_hands(each));
    for (int i = 0; i < 300; ++i) ASSERT_TRUE(each.write(net::test::zmtp_message(question)));
  }
  // each is read in turn with the others' questions
  for (int i = 0; i < 400; ++i) {
    ASSERT_TRUE(send(reader, {question}));
    const auto parts = receive(reader);
    ASSERT_TRUE(parts);
    const auto frame = wire::decode_control(parts->at(0).view());
    ASSERT_TRUE(frame && std::holds_alternative<control::StatusReply>(*frame)) << "question " << i;
  }
  stop();
  EXPECT_GT(loop->counters().given_up, 0u) << "who did not read made room";
  EXPECT_LT(loop->counters().given_up, mute.size());
  EXPECT_EQ(loop->core().members().size(), 1u);
}

TEST_F(BrokerLoopTest, ANodeThatTookNoControlFramesIsCutOffLearnsItAndResumes) {
  serve({.outbox_bytes_max = 256 * 1024});
  auto a = join("a", 1, Labels{{"k1", std::string(16'000, 'x')}, {"k2", std::string(16'000, 'x')}});
  auto mute = join("mute", 2);
  ASSERT_TRUE(a && mute);
  // Each join again is answered by a Welcome that lists a; nobody reads them.
  const TimePoint end = clock.now() + 20s;
  bool goes_on = true;
  for (int i = 0; i < 3000 && goes_on && clock.now() < end; ++i) {
    net::Parts parts;
    parts.emplace_back(join_bytes("mute", 2));
    goes_on = mute->control.send(parts).has_value();
    for (int tries = 0; !goes_on && tries < 50; ++tries) {  // cut, it takes no more
      net::wait({&mute->control}, waker_of_test, 10ms);
      goes_on = mute->control.send(parts).has_value();
    }
  }
  bool closed = false;  // told behind what had come
  EXPECT_TRUE(eventually(mute->control, [&] {
    while (mute->control.try_receive().value()) {
    }
    while (const auto event = mute->control.try_event()) {
      closed = closed || *event == net::DealerSocket::Event::kClosed;
    }
    return closed;
  }));
  auto again = connect();
  ASSERT_TRUE(send(again, {join_bytes("mute", 2)}));
  EXPECT_TRUE(next<control::Welcome>(again)) << "the same incarnation lives";
  stop();
  EXPECT_EQ(loop->counters().given_up, 1u);
  EXPECT_EQ(loop->core().counters().downs, 0u);
}

}  // namespace
}  // namespace liminal::broker
