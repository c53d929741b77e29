// Goal: why a command failed stands on one line, whoever said why.
#include "cli/exit_codes.hpp"

#include <gtest/gtest.h>

#include <string>

#include "common/base/random.hpp"

namespace liminal::cli {
namespace {

TEST(ErrorLine, SaysWhatItWasTold) {
  EXPECT_EQ(error_line({Errc::kRefused, "the name 'a' is taken (\u00e9)"}),
            "error: Refused: the name 'a' is taken (\u00e9)\n");
  EXPECT_EQ(error_line({Errc::kInternal, ""}), "error: Internal: \n");
}

TEST(ErrorLine, IsOneLineWhateverAnotherSaid) {
  EXPECT_EQ(error_line({Errc::kRefused, "no\nerror: Internal: forged\x1b[2J\xff"}),
            "error: Refused: no\\nerror: Internal: forged\\x1b[2J\\xff\n");
}

TEST(ErrorLine, LeavesEscapesAsTheyAre) {
  const std::string escaped = "'a\\nb' \\\\ \\";
  EXPECT_EQ(error_line({Errc::kUsage, escaped}), "error: Usage: " + escaped + "\n");
}

TEST(ErrorLine, AnyBytesAreOneLine) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    std::string bytes(random.below(40), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random.below(256));
    const std::string line = error_line({Errc::kRefused, bytes});
    ASSERT_EQ(line.find_first_of("\n\r\t\x1b\x7f"), line.size() - 1);
  }
}

}  // namespace
}  // namespace liminal::cli
