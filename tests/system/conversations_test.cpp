// `liminal conversations`, `timeline` and `cancel` of a cluster of real processes.
#include <gtest/gtest.h>

#include <string>

#include "tests/system/cluster.hpp"

namespace liminal::test {
namespace {

const std::string kNobodys(32, 'a');

TEST(Conversations, OfAFreshClusterThereAreNone) {
  Cluster cluster;
  EXPECT_TRUE(printed(cluster.run({"conversations"}), "no conversations\n"));
  EXPECT_TRUE(printed(cluster.run({"conversations", "--json"}),
                      "{\"conversations\":[],\"forgotten\":0}\n"));
}

TEST(Conversations, OneThatNobodyToldOfIsSix) {
  Cluster cluster;
  for (const std::string command : {"timeline", "cancel"}) {
    EXPECT_TRUE(failed_with(cluster.run({command, kNobodys}), 6,
                            {"error: ConversationFailed: ", kNobodys}));
  }
}

}  // namespace
}  // namespace liminal::test
