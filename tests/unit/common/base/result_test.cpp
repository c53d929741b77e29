// Errors bear the names that scripts see; payloads are values; a broken contract ends the process.
#include "common/base/result.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "common/base/check.hpp"
#include "common/base/payload.hpp"

namespace liminal {
namespace {

TEST(ErrorNames, AreThoseOfTheSurface) {
  const std::set<std::string_view> surface{"Internal",
                                           "Usage",
                                           "NoBroker",
                                           "Refused",
                                           "NoService",
                                           "ConversationTimeout",
                                           "ParticipantCrashed",
                                           "ParticipantLeft",
                                           "NoReply",
                                           "ConversationFailed",
                                           "Rejected"};
  for (int code = 0; code <= static_cast<int>(Errc::kInternal); ++code) {
    EXPECT_TRUE(surface.contains(name_of(static_cast<Errc>(code)))) << code;
  }
  EXPECT_EQ(name_of(Errc::kParticipantCrashed), "ParticipantCrashed");
  EXPECT_EQ(name_of(Errc::kMalformed), "Internal");
}

TEST(ResultTest, HoldsAValueOrAnError) {
  const Result<int> good = 3;
  const Result<int> bad = fail(Errc::kMalformed, "why");
  EXPECT_EQ(good.value(), 3);
  EXPECT_EQ(bad.error(), (Error{Errc::kMalformed, "why"}));
}

TEST(PayloadTest, IsEqualByItsBytes) {
  EXPECT_EQ(Payload{"abc"}, Payload{"abc"});
  EXPECT_FALSE(Payload{"abc"} == Payload{"abd"});
  EXPECT_EQ(Payload{}, Payload{""});
  EXPECT_EQ((Payload{std::string{"a\0b", 3}}).size(), 3U);
}

TEST(PayloadTest, OutlivesTheOneItWasCopiedFrom) {
  Payload copy;
  {
    const Payload original{std::string(1000, 'x')};
    copy = original;
    EXPECT_EQ(copy.view().data(), original.view().data()) << "no second copy of the bytes";
  }
  EXPECT_EQ(copy.view(), std::string(1000, 'x'));
}

TEST(CheckDeathTest, EndsTheProcessAndSaysWhereAndWhat) {
  check(true, "holds");
  EXPECT_DEATH(check(false, "water is wet"), "result_test.cpp.*broken contract: water is wet");
}

}  // namespace
}  // namespace liminal
