// The ledger of effects: whole lines, whoever appends, and nothing lost in silence.
#include "node/participant/effects_ledger.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "command_harness.hpp"
#include "tests/support/effects.hpp"

namespace liminal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EffectsLedgerTest : public test::CommandTest {
 protected:
  EffectsLedgerTest() { ::unlink(path.c_str()); }
  ~EffectsLedgerTest() override { ::unlink(path.c_str()); }

  static EffectsLedger::Entry effect(std::uint64_t number, std::string text) {
    return {"process", ServiceName{"charge"}, NodeName{"n1"}, {8, number}, 2, std::move(text)};
  }

  std::string path = ::testing::TempDir() + "liminal-ledger-" + mark;
};

TEST_F(EffectsLedgerTest, AnEffectIsOneLineWhateverIsInItsText) {
  const auto ledger = EffectsLedger::open(path);
  ASSERT_TRUE(ledger) << ledger.error().detail;
  EXPECT_TRUE(ledger->append(effect(1, "a\tb\nc\\")));
  EXPECT_TRUE(ledger->append(EffectsLedger::Entry::undone(
      ServiceName{"charge"}, NodeName{"n1"},
      {.request = {.id = {8, 1}, .conversation = {1, 2}}, .id = {8, 9}, .attempt = 3}, "")));
  const std::string key = "00000000000000080000000000000001";
  EXPECT_THAT(test::effects_in(path),
              ElementsAre(test::EffectLine{"process", "charge", "n1", key, "2", R"(a\tb\nc\\)"},
                          test::EffectLine{"compensate", "charge", "n1", key, "3", ""}));
}

TEST_F(EffectsLedgerTest, TheEndOfALongTextIsKept) {
  const std::string longest(EffectsLedger::kTextBytesMax, 'x');
  EXPECT_THAT(line_of(effect(1, longest)), HasSubstr("\t" + longest + "\n"));
  EXPECT_THAT(line_of(effect(1, "a" + longest)), HasSubstr("\t..." + longest + "\n"));
}

TEST_F(EffectsLedgerTest, ACommandAppendsToTheFileThatTheNodesVariableNames) {
  ::setenv("LIMINAL_LEDGER", path.c_str(), 1);
  start({});  // the minder hands it on
  auto ledger = EffectsLedger::from_environment();
  ::unsetenv("LIMINAL_LEDGER");
  ASSERT_TRUE(ledger && *ledger);
  EXPECT_TRUE((*ledger)->append(effect(1, "first")));
  EXPECT_EQ(run(R"sh(printf '%s\t%s\t%s\t%s\t%s\t%s\n' process ship n2 42 1 "$(cat)")sh"
                R"sh( >> "$LIMINAL_LEDGER")sh",
                "second"),
            "ok ");
  EXPECT_THAT(test::actions_in(path), ElementsAre("process charge", "process ship"));
  EXPECT_EQ(test::effects_in(path)[1].text, "second");
}

TEST_F(EffectsLedgerTest, WithoutTheVariableThereIsNoneAndABadOneIsSaid) {
  ::unsetenv("LIMINAL_LEDGER");
  auto none = EffectsLedger::from_environment();
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
  ::setenv("LIMINAL_LEDGER", "/nowhere/at/all", 1);
  const auto bad = EffectsLedger::from_environment();
  ::unsetenv("LIMINAL_LEDGER");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error(),
            (Error{Errc::kUsage, "the ledger '/nowhere/at/all': No such file or directory"}));
}

TEST_F(EffectsLedgerTest, AnEffectThatIsNotTakenIsAnError) {
  const auto full = EffectsLedger::open("/dev/full");
  ASSERT_TRUE(full);
  const auto appended = full->append(effect(1, ""));
  ASSERT_FALSE(appended);
  EXPECT_EQ(
      appended.error(),
      (Error{Errc::kInternal, "the ledger '/dev/full' took no effect: No space left on device"}));
}

TEST_F(EffectsLedgerTest, LinesOfManyWritersStayWhole) {
  constexpr std::uint64_t kWriters = 4, kEach = 250;
  std::vector<std::thread> writers;
  for (std::uint64_t writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      const auto ledger = EffectsLedger::open(path);
      ASSERT_TRUE(ledger);
      for (std::uint64_t n = 0; n < kEach; ++n) {
        EXPECT_TRUE(ledger->append(effect(writer * kEach + n, std::string(200, 'x'))));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  std::set<std::string> messages;
  for (const auto& line : test::effects_in(path)) {
    EXPECT_EQ(line.text, std::string(200, 'x'));
    messages.insert(line.message);
  }
  EXPECT_EQ(messages.size(), kWriters * kEach);
}

}  // namespace
}  // namespace liminal
