// How reasons, evidence and states are shown to people.
#include "common/wire/exit_reason.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "common/wire/control.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

TEST(ExitReasonText, IsErlangsWordOrTheErrorItself) {
  EXPECT_EQ(to_string(ExitReason::normal()), "normal");
  EXPECT_EQ(to_string(ExitReason::shutdown()), "shutdown");
  EXPECT_EQ(to_string(ExitReason::error("exit status 3")), "exit status 3");
  EXPECT_EQ(to_string(ExitReason::error("")), "error");
  EXPECT_EQ(to_string(ExitReason::kill()), "kill");
  EXPECT_EQ(to_string(ExitReason::killed()), "killed");
  EXPECT_EQ(to_string(ExitReason::noproc()), "noproc");
}

TEST(ExitReasonText, OfALostConnectionTellsHowItWasKnown) {
  const auto text = [](EvidenceSource source) {
    return to_string(ExitReason::noconnection(Evidence{source, 612ms, 502'400us, 3ms}));
  };
  EXPECT_EQ(to_string(ExitReason::noconnection(std::nullopt)), "noconnection");
  EXPECT_EQ(text(EvidenceSource::kConnectionClosed),
            "noconnection (connection closed, known after 502 ms)");
  EXPECT_EQ(text(EvidenceSource::kHeartbeatsMissed),
            "noconnection (heartbeats missed, known after 502 ms)");
  EXPECT_EQ(text(EvidenceSource::kLeft), "noconnection (left)");
  EXPECT_EQ(text(EvidenceSource::kIsolated), "noconnection (isolated)");
  EXPECT_EQ(text(EvidenceSource::kRecovery), "noconnection (recovery, known after 502 ms)");
  EXPECT_EQ(text(EvidenceSource::kReset), "noconnection (session reset)");
}

TEST(MemberStateText, IsTheSurfacesWord) {
  EXPECT_EQ(name_of(MemberState::kJoined), "joined");
  EXPECT_EQ(name_of(MemberState::kSuspect), "suspect");
  EXPECT_EQ(name_of(MemberState::kDown), "down");
  EXPECT_EQ(name_of(MemberState::kLeft), "left");
  EXPECT_EQ(name_of(MemberState::kExpected), "expected");
}

}  // namespace
}  // namespace liminal
