// Goal: messages arrive as they were sent or are refused at once, limits hold, and a socket in the
// wrong thread ends the process rather than corrupting it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "net_test_support.hpp"

namespace liminal::net::test {
namespace {

using ::testing::HasSubstr;

class RouterDealerTest : public ::testing::Test {
 protected:
  NetContext context;
};

TEST_F(RouterDealerTest, TellsThePortsAsBound) {
  const auto router =
      RouterSocket::bind(context, {"tcp://127.0.0.1:*", "tcp://127.0.0.1:*"}, SocketLimits{});
  ASSERT_TRUE(router);
  ASSERT_EQ(router->endpoints().size(), 2u);
  EXPECT_NE(router->endpoints()[0], router->endpoints()[1]);
  for (const std::string& endpoint : router->endpoints()) {
    EXPECT_TRUE(endpoint.starts_with("tcp://127.0.0.1:")) << endpoint;
    EXPECT_GT(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)), 0);
    Caller caller{context, endpoint};
    EXPECT_TRUE(caller.connect());
  }
}

TEST_F(RouterDealerTest, AnAddressInUseIsNamed) {
  const Door door{context};
  const auto second = RouterSocket::bind(context, {door.endpoint()}, SocketLimits{});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kAddressInUse);
  EXPECT_THAT(second.error().detail, HasSubstr(door.endpoint()));
}

TEST_F(RouterDealerTest, WhatIsNoEndpointIsAUsageErrorThatSaysWhatIsRight) {
  for (const char* wrong :
       {"", "7411", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:x", "tcp://:1", "ipc://", "http://127.0.0.1:1", "inproc://x",
        "tcp://192.0.2.1:*", "tcp://no-such-interface:*"}) {
    const auto router = RouterSocket::bind(context, {wrong}, SocketLimits{});
    ASSERT_FALSE(router) << wrong;
    EXPECT_EQ(router.error().code, Errc::kUsage) << wrong << ": " << router.error().detail;
    EXPECT_THAT(router.error().detail, HasSubstr(std::string{"'"} + wrong + "'"));
    EXPECT_THAT(router.error().detail, HasSubstr("tcp://HOST:PORT"));
  }
  for (const char* wrong : {"", "7411", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:*",
                            "tcp://127.0.0.1:0", "tcp://127.0.0.1:65536", "udp://127.0.0.1:1"}) {
    const auto dealer = DealerSocket::connect(context, wrong, SocketLimits{});
    ASSERT_FALSE(dealer) << wrong;
    EXPECT_EQ(dealer.error().code, Errc::kUsage) << wrong << ": " << dealer.error().detail;
    EXPECT_THAT(dealer.error().detail, HasSubstr("tcp://HOST:PORT"));
  }
}

TEST_F(RouterDealerTest, AnIpV6AddressStandsInBrackets) {
  const auto router = RouterSocket::bind(context, {"tcp://[::1]:*"}, SocketLimits{});
  if (!router) GTEST_SKIP() << "this host has no ::1: " << router.error().detail;
  EXPECT_TRUE(router->endpoints()[0].starts_with("tcp://[::1]:")) << router->endpoints()[0];
  Caller caller{context, router->endpoints()[0]};
  EXPECT_TRUE(caller.connect());
}

TEST_F(RouterDealerTest, MessagesKeepTheirBytesBothWays) {
  const std::string nuls("a\0\0b\0", 5);
  std::string large(3'000'000, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 31);
  Door door{context};
  Caller caller{context, door.endpoint()};
  for (const std::string& body : {std::string{}, std::string{"x"}, nuls, large}) {
    for (const std::size_t count : {1u, 2u}) {
      Parts parts;
      for (std::size_t i = 0; i < count; ++i) parts.emplace_back(body);
      ASSERT_TRUE(caller.send(std::move(parts)));
      ASSERT_TRUE(door.until_received(1));
      RouterSocket::Incoming incoming = std::move(door.received.back());
      door.received.clear();
      EXPECT_THAT(incoming.peer, HasSubstr("127.0.0.1"));
      ASSERT_EQ(incoming.parts.size(), count);
      for (const MessagePart& part : incoming.parts) EXPECT_TRUE(part.view() == body);

      ASSERT_TRUE(door.router.send(incoming.connection, incoming.parts));
      ASSERT_TRUE(caller.until([&] { return caller.received.size() == 1; }));
      ASSERT_EQ(caller.received.back().size(), count);
      for (const MessagePart& part : caller.received.back()) EXPECT_TRUE(part.view() == body);
      caller.received.clear();
    }
  }
}

TEST_F(RouterDealerTest, APartAtTheLimitPassesAndOneOverItEndsThatConnectionOnly) {
  const SocketLimits limits{.part_bytes_max = 1000};
  Door door{context, limits};
  Caller good{context, door.endpoint()};
  Caller bad{context, door.endpoint()};
  ASSERT_TRUE(good.send(parts_of(std::string(1000, 'g'))));
  ASSERT_TRUE(door.until_received(1));
  ASSERT_TRUE(bad.send(parts_of("bad")));
  ASSERT_TRUE(door.until_received(2));
  const ConnectionId of_bad = door.received.back().connection;

  ASSERT_TRUE(bad.send(parts_of(std::string(1001, 'b'))));
  ASSERT_TRUE(door.until_closed(1));
  EXPECT_EQ(door.closed, std::vector<ConnectionId>{of_bad});
  ASSERT_TRUE(good.send(parts_of("still here")));
  ASSERT_TRUE(door.until_received(3));
  EXPECT_EQ(text_of(door.received.back().parts), "still here");
  EXPECT_EQ(door.closed.size(), 1u);
}

TEST_F(RouterDealerTest, AFullQueueRefusesAndWhatWasAcceptedArrives) {
  const SocketLimits limits{.queued_messages_max = 10};
  const std::string filler(100'000, 'f');
  Door door{context, limits};
  Caller caller{context, door.endpoint(), limits};
  ASSERT_TRUE(caller.send(parts_of("hello")));
  ASSERT_TRUE(door.until_received(1));
  const ConnectionId connection = door.received.front().connection;

  const auto number = [](const MessagePart& part) { return std::stoi(std::string{part.view()}); };
  int accepted = 0;
  for (;; ++accepted) {
    Parts parts = parts_of(std::to_string(accepted), filler);
    const auto sent = door.router.send(connection, parts);
    if (sent) continue;
    ASSERT_EQ(sent.error().code, Errc::kWouldBlock);
    ASSERT_EQ(parts.size(), 2u);
    EXPECT_EQ(number(parts[0]), accepted);
    EXPECT_EQ(parts[1].view(), filler);
    break;
  }
  ASSERT_GE(accepted, 5);
  ASSERT_TRUE(
      caller.until([&] { return caller.received.size() == static_cast<std::size_t>(accepted); }));
  for (int i = 0; i < accepted; ++i) {
    EXPECT_EQ(number(caller.received[static_cast<std::size_t>(i)][0]), i);
  }

  accepted = 0;  // and the other way
  for (;; ++accepted) {
    Parts parts = parts_of(std::to_string(accepted), filler);
    const auto sent = caller.dealer.send(parts);
    if (sent) continue;
    ASSERT_EQ(sent.error().code, Errc::kWouldBlock);
    ASSERT_EQ(parts.size(), 2u);
    EXPECT_EQ(number(parts[0]), accepted);
    EXPECT_EQ(parts[1].view(), filler);
    break;
  }
  ASSERT_GE(accepted, 5);
  door.received.clear();
  ASSERT_TRUE(door.until_received(static_cast<std::size_t>(accepted)));
  for (int i = 0; i < accepted; ++i) {
    EXPECT_EQ(number(door.received[static_cast<std::size_t>(i)].parts[0]), i);
  }
}

TEST_F(RouterDealerTest, ADealerWithoutABrokerRefusesAndKeepsTheParts) {
  RawSocket reserved;
  const std::uint16_t port = reserved.listen();
  reserved.close();
  Caller caller{context, "tcp://127.0.0.1:" + std::to_string(port)};
  Parts parts = parts_of("head", "body");
  const auto sent = caller.dealer.send(parts);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::kWouldBlock);
  EXPECT_EQ(text_of(parts), "head|body");
  EXPECT_EQ(caller.dealer.try_event(), std::nullopt);
}

TEST_F(RouterDealerTest, AWakerEndsAWaitFromAnotherThreadAndIsNotLostBeforeIt) {
  Door door{context};
  Caller caller{context, door.endpoint()};
  ASSERT_TRUE(caller.connect());
  const SystemClock clock;
  const auto seconds_of = [&](const std::function<void()>& what) {
    const TimePoint begin = clock.now();
    what();
    return clock.now() - begin;
  };
  // A wait may also end for an event of the monitor: no wait is longer than a second, so ten that
  // a waker ended take less than the nine seconds that ten others would.
  Duration waited{};
  for (int i = 0; i < 10; ++i) {
    door.turn();
    caller.turn();
    std::jthread other{[&] {
      door.waker.notify();
      caller.waker.notify();
      caller.waker.notify();
    }};
    waited += seconds_of([&] { door.router.wait(door.waker, 1min); });
    waited += seconds_of([&] { wait({&caller.dealer}, caller.waker, 1min); });
    other.join();
    // what came twice is one
    waited += seconds_of([&] { wait({&caller.dealer}, caller.waker, Duration::zero()); });
  }
  EXPECT_LT(waited, 5s);
}

TEST_F(RouterDealerTest, AWaitEndsAfterASecondAtMost) {
  Door door{context};
  const SystemClock clock;
  const TimePoint begin = clock.now();
  door.router.wait(door.waker, 1h);
  EXPECT_GE(clock.now() - begin, 900ms);
  EXPECT_LT(clock.now() - begin, kPatience);
}

TEST_F(RouterDealerTest, AnAdoptedSocketWorksInItsNewThread) {
  Door door{context};
  Caller caller{context, door.endpoint()};
  ASSERT_TRUE(caller.send(parts_of("x")));
  bool received = false;
  std::thread{[&] {
    door.router.adopt();
    received = door.until_received(1);
  }}.join();
  EXPECT_TRUE(received);
}

using RouterDealerDeathTest = RouterDealerTest;

TEST_F(RouterDealerDeathTest, ASocketUsedByAThreadThatDoesNotOwnItEndsTheProcess) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  Door door{context};
  Caller caller{context, door.endpoint()};
  const auto elsewhere = [](const std::function<void()>& use) { std::thread{use}.join(); };
  const char* message = "broken contract: called on the thread that owns it";
  EXPECT_DEATH(elsewhere([&] { static_cast<void>(door.router.try_receive()); }), message);
  EXPECT_DEATH(elsewhere([&] { door.router.wait(door.waker, 0s); }), message);
  EXPECT_DEATH(elsewhere([&] { static_cast<void>(caller.dealer.try_event()); }), message);
  EXPECT_DEATH(elsewhere([&] { wait({&caller.dealer}, caller.waker, 0s); }), message);
  EXPECT_DEATH(elsewhere([&] {
                 Parts parts = parts_of("x");
                 static_cast<void>(caller.dealer.send(parts));
               }),
               message);
}

}  // namespace
}  // namespace liminal::net::test
