// Goal: each check takes what is right up to its limits and says what would be right otherwise.
#include "common/config/expect.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

namespace liminal::config {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

void takes(const Wrong& wrong, const std::vector<std::string>& values) {
  for (const std::string& value : values) {
    EXPECT_EQ(wrong(value), std::nullopt) << "'" << value << "'";
  }
}

void refuses(const Wrong& wrong, const std::vector<std::string>& values, const std::string& right) {
  for (const std::string& value : values) {
    const auto said = wrong(value);
    ASSERT_TRUE(said) << "'" << value << "'";
    EXPECT_THAT(*said, HasSubstr(right));
  }
}

TEST(ExpectTest, Durations) {
  takes(expect::duration(1s, 60s), {"1s", "60s", "1m", "1500ms"});
  refuses(expect::duration(1s, 60s), {"", "5", "999ms", "60001ms", "-1s", "1 s", "s"},
          "a duration from 1s to 1m, such as 250ms");
  takes(expect::duration(), {"0s", "8760h"});
  refuses(expect::duration(), {"8761h", "2562047h"}, "a duration of at most 8760h, such as");
  refuses(expect::duration(1ms), {"0s", "x"}, "a duration of at least 1ms, such as");
  refuses(expect::duration(1ms), {"8761h"}, "a duration from 1ms to 8760h, such as");
}

TEST(ExpectTest, NumbersAndSizes) {
  takes(expect::number(0, 9), {"0", "9", "09"});
  refuses(expect::number(0, 9), {"", "-1", "10", "1.5", "x", "1x", " 1", "99999999999999999999"},
          "a whole number from 0 to 9");
  takes(expect::size(1024, 16 << 20), {"1KiB", "16MiB", "1024", "2048B"});
  refuses(expect::size(1024, 16 << 20), {"", "0", "1023", "17MiB", "1MB", "MiB", "-1", "1 MiB"},
          "a size from 1KiB to 16MiB");
  EXPECT_EQ(parse_size("16MiB"), 16u << 20);
  EXPECT_EQ(parse_size("3GiB"), std::uint64_t{3} << 30);
  EXPECT_FALSE(parse_size("99999999999GiB")) << "would overflow";
}

TEST(ExpectTest, NamesAndLabels) {
  takes(expect::name(), {"a", "A-z_0.9", std::string(63, 'x')});
  refuses(expect::name(), {"", std::string(64, 'x'), "a b", "a/b", "\xC3\xA4"}, "1 to 63");
  takes(expect::label(), {"zone=eu", "a=1"});
  refuses(expect::label(), {"zone", "=", "zone=", "=eu", "a=b=c", "a=b c"}, "KEY=VALUE");
}

TEST(ExpectTest, Endpoints) {
  const std::vector<std::string> both{"tcp://127.0.0.1:1", "tcp://[::1]:65535", "tcp://host-a:7411",
                                      "ipc:///run/liminal"};
  const std::vector<std::string> neither{
      "",          "7411",          "tcp://",      "tcp://:1",   "tcp://h",
      "tcp://h:",  "tcp://h:65536", "tcp://h:-1",  "tcp://h:1x", "tcp://::1:5",
      "udp://h:1", "ipc://",        "tcp://a b:1", "tcp://[]:1"};
  for (const Wrong& wrong : {expect::listen_endpoint(), expect::connect_endpoint(),
                             expect::connect_endpoint_or_none()}) {
    takes(wrong, both);
    refuses(wrong, neither, "tcp://HOST:PORT");
  }
  takes(expect::listen_endpoint(), {"tcp://*:7411", "tcp://127.0.0.1:*", "tcp://127.0.0.1:0"});
  refuses(expect::connect_endpoint(),
          {"tcp://*:7411", "tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "none"}, "tcp://HOST:PORT");
  takes(expect::connect_endpoint_or_none(), {"none"});
  refuses(expect::connect_endpoint_or_none(), {"None"}, "or none");
}

TEST(ExpectTest, TheOthers) {
  takes(expect::host_port(), {"127.0.0.1:0", "localhost:7412", "[::1]:80", "*:80"});
  refuses(expect::host_port(), {"", "7412", ":7412", "h:", "h:65536", "http://h:1"}, "HOST:PORT");
  takes(expect::one_of({"info", "debug"}), {"info", "debug"});
  refuses(expect::one_of({"info", "debug"}), {"", "Info"}, "one of info, debug");
  takes(expect::text(), {" "});
  refuses(expect::text(), {""}, "must not be empty");
}

}  // namespace
}  // namespace liminal::config
