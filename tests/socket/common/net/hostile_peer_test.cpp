// Goal: whoever speaks no ZMTP, or speaks it badly, harms nobody else.
#include <gtest/gtest.h>

#include <thread>

#include "net_test_support.hpp"
#include "tests/socket/common/net/strangers.hpp"

namespace liminal::net::test {
namespace {

constexpr std::uint64_t kSeed = 7411;

TEST(HostilePeerTest, MessagesOfMoreThanTwoPartsAreDroppedAndCounted) {
  NetContext context;
  Door door{context};
  PlainDealer peer{door.endpoint()};
  peer.send_parts(2);
  peer.send_parts(3);
  peer.send_parts(1);
  peer.send_parts(10'000);
  peer.send_parts(2);
  ASSERT_TRUE(door.until_received(3));
  EXPECT_EQ(door.log, (std::vector<std::string>{"0|1", "0", "0|1"}));
  EXPECT_EQ(door.router.oversized_messages(), 2u);
  EXPECT_EQ(door.received[0].connection, door.received[2].connection);
}

TEST(HostilePeerTest, NobodyChoosesItsRoutingId) {
  NetContext context;
  Door door{context};
  PlainDealer chooser{door.endpoint(), "node-a"};
  chooser.send_parts(1);
  PlainDealer other{door.endpoint()};
  other.send_parts(2);
  ASSERT_TRUE(door.until_received(1));
  other.send_parts(2);
  chooser.send_parts(1);
  ASSERT_TRUE(door.until_received(2));
  EXPECT_EQ(door.log, (std::vector<std::string>{"0|1", "0|1"}));
}

// In the protocol's first version nearly any bytes are a message.
TEST(HostilePeerTest, APeerOfZmtp1IsTurnedAway) {
  NetContext context;
  Door door{context};
  RawSocket raw;
  ASSERT_TRUE(raw.connect(door.port()));
  ASSERT_TRUE(raw.write(std::string("\1\0\6\0hello\6\0hello", 16)));
  EXPECT_TRUE(raw.is_ended());
  Caller good{context, door.endpoint()};
  ASSERT_TRUE(good.send(parts_of("good")));
  ASSERT_TRUE(door.until_received(1));
  EXPECT_EQ(door.log, std::vector<std::string>{"good"});
}

TEST(HostilePeerTest, RandomBytesHarmNobody) {
  NetContext context;
  Door door{context};
  Caller good{context, door.endpoint()};
  ASSERT_TRUE(good.send(parts_of("before")));
  ASSERT_TRUE(door.until_received(1));
  Random random{kSeed};
  for (int i = 0; i < 100; ++i) {
    RawSocket raw;
    ASSERT_TRUE(raw.connect(door.port()));
    raw.write(no_zmtp(i, 2000, random));
    if (i % 10 == 0) door.turn();
  }
  Caller late{context, door.endpoint()};
  ASSERT_TRUE(late.send(parts_of("late")));
  ASSERT_TRUE(good.send(parts_of("after")));
  ASSERT_TRUE(door.until_received(3)) << "seed " << kSeed;
  EXPECT_TRUE(door.closed.empty());
}

TEST(HostilePeerTest, SilentConnectionsHarmNobodyAndAreEnded) {
  NetContext context;
  Door door{context, SocketLimits{.handshake_max = 200ms}};
  std::vector<RawSocket> silent(200);
  for (RawSocket& raw : silent) ASSERT_TRUE(raw.connect(door.port()));
  Caller good{context, door.endpoint()};
  ASSERT_TRUE(good.send(parts_of("hello")));
  ASSERT_TRUE(door.until_received(1));
  // Each is ended: after libzmq's greeting comes the end of the stream.
  for (RawSocket& raw : silent) {
    const timeval patience{20, 0};
    ::setsockopt(raw.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char bytes[128];
    ssize_t got = 1;
    while (got > 0) got = ::recv(raw.fd(), bytes, sizeof bytes, 0);
    EXPECT_TRUE(got == 0 || errno == ECONNRESET);
  }
  door.turn();
  EXPECT_TRUE(door.closed.empty()) << "they never were connections";
}

TEST(HostilePeerTest, ADealerTellsAListenerThatSpeaksNoZmtp) {
  // with what it begins, and whether it hangs up
  struct Case {
    const char* name;
    std::string greeting;
    bool hangs_up;
  };
  for (const Case& c :
       {Case{"garbage", "HTTP/1.1 400 Bad Request\r\n\r\n", true},
        Case{"garbage, then silence", "220 mail ESMTP ready\r\n", false}, Case{"nothing", "", true},
        Case{"silence", "", false},
        Case{"ZMTP 2", std::string("\xFF\0\0\0\0\0\0\0\1\x7F\1\5\0\0", 14), false}}) {
    SCOPED_TRACE(c.name);
    RawSocket listener;
    const std::uint16_t port = listener.listen();
    ASSERT_NE(port, 0);
    NetContext context;
    Caller caller{context, "tcp://127.0.0.1:" + std::to_string(port),
                  SocketLimits{.handshake_max = 500ms}};
    RawSocket accepted = listener.accept();
    if (!c.greeting.empty()) accepted.write(c.greeting);
    if (c.hangs_up) accepted.close();
    EXPECT_TRUE(caller.until_event(DealerSocket::Event::kHandshakeFailed));
    EXPECT_EQ(caller.events.front(), DealerSocket::Event::kHandshakeFailed);
  }
}

}  // namespace
}  // namespace liminal::net::test
