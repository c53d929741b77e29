// A data connection that stands and carries nothing is noticed, and nothing else is taken for one.
#include "node/remote/data_watch.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "common/wire/codec.hpp"
#include "node/remote/node_core.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{100s};

class DataWatchTest : public ::testing::Test {
 protected:
  DataWatchTest() {
    watch.set_bounds(3s, 250ms);  // so that 6 echoes are enough
    watch.attached(kStart);
  }
  void echo(std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t beat = first; beat <= last; ++beat) watch.echoed(beat);
  }

  DataWatch watch;
};

TEST_F(DataWatchTest, AsksOnceWhenNothingCameForHalfOfDownAfter) {
  EXPECT_EQ(watch.ask_at(), kStart + 1500ms);
  watch.heard(kStart + 1s);
  EXPECT_EQ(watch.ask_at(), kStart + 2500ms);
  watch.asked(kStart + 2500ms, 10);
  EXPECT_EQ(watch.ask_at(), std::nullopt);
}

TEST_F(DataWatchTest, GivesUpDownAfterTheQuestionWhenEnoughBeatsWereEchoedSince) {
  watch.asked(kStart + 2s, 10);
  echo(5, 10);  // they were sent before it
  echo(11, 15);
  EXPECT_EQ(watch.silent_at(), std::nullopt);
  echo(16, 16);
  EXPECT_EQ(watch.silent_at(), kStart + 5s);
  EXPECT_EQ(watch.given_up(kStart + 5s), 5s) << "since it stood, nothing was heard";
}

TEST_F(DataWatchTest, TwoEchoesAreTheLeastThatProvesABroker) {
  watch.set_bounds(1s, 400ms);
  watch.attached(kStart);
  watch.asked(kStart, 0);
  echo(1, 1);
  EXPECT_EQ(watch.silent_at(), std::nullopt);
  echo(2, 2);
  EXPECT_EQ(watch.silent_at(), kStart + 1s);
}

TEST_F(DataWatchTest, WhateverIsHeardAnswersTheQuestion) {
  watch.asked(kStart + 2s, 10);
  echo(11, 30);
  watch.heard(kStart + 4s);
  EXPECT_EQ(watch.silent_at(), std::nullopt);
  EXPECT_EQ(watch.ask_at(), kStart + 5500ms);
}

TEST_F(DataWatchTest, AnOpeningIsAQuestionThatOnlyAttachedAnswers) {
  watch.opening(kStart + 2s, 10);
  echo(11, 16);
  EXPECT_EQ(watch.silent_at(), kStart + 5s);
  watch.heard(kStart + 3s);
  EXPECT_EQ(watch.silent_at(), kStart + 5s);
  watch.attached(kStart + 4s);
  EXPECT_EQ(watch.silent_at(), std::nullopt);
  EXPECT_EQ(watch.ask_at(), kStart + 5500ms);
}

TEST_F(DataWatchTest, WaitsTwiceAsLongEachTimeUpToEightTimesUntilAQuestionIsAnswered) {
  TimePoint now = kStart;
  std::uint64_t beat = 0;
  for (const Duration patience : {3s, 6s, 12s, 24s, 24s}) {
    watch.opening(now, beat);
    watch.attached(now);  // says only that the new one stood for a moment
    watch.asked(now, beat);
    echo(beat + 1, beat + 6);
    beat += 6;
    EXPECT_EQ(watch.silent_at(), now + patience);
    now += patience;
    (void)watch.given_up(now);
  }
  watch.opening(now, beat);
  watch.attached(now);
  watch.asked(now, beat);
  watch.heard(now + 1s);
  watch.asked(now + 2s, beat);
  echo(beat + 1, beat + 6);
  EXPECT_EQ(watch.silent_at(), now + 5s);
}

TEST_F(DataWatchTest, OfAClosedConnectionNothingIsExpected) {
  watch.asked(kStart, 0);
  echo(1, 100);
  watch.closed();
  EXPECT_EQ(watch.silent_at(), std::nullopt);
  EXPECT_EQ(watch.ask_at(), std::nullopt);
}

// --- at its node ---

const Epoch kEpoch{77};
const NodeName kSelf{"self"}, kPeer{"peer"};
const Incarnation kPeerIncarnation{500};
const ClusterSettings kCluster{250ms, 1250ms, 3s, 500ms, 16 << 20};

/// One NodeCore and a broker that answers beats and attaches as it is told to.
class SilentData : public ::testing::Test {
 protected:
  SilentData() {
    carry_out(core.start(now));
    carry_out(core.on_control_connected(now));
    const Member peer{kPeer, kPeerIncarnation, MemberState::kJoined, false, {}, {}};
    say(control::Welcome{kEpoch, MembershipVersion{10}, 4711, kCluster, {peer}});
    EXPECT_TRUE(core.joined());
    opened = 0;
  }

  void say(const ControlFrame& frame) { carry_out(core.on_control(wire::encode(frame), now)); }

  void carry_out(NodeCore::Effects effects) {
    for (auto& effect : effects) {
      if (std::holds_alternative<node_effect::CertifyTurn>(effect)) {
        carry_out(core.on_turn(0, 0, now));
      } else if (const auto* sent = std::get_if<node_effect::SendControl>(&effect)) {
        const auto frame = wire::decode_control(sent->bytes);
        const auto* beat = frame ? std::get_if<control::NodeBeat>(&*frame) : nullptr;
        if (beat != nullptr && echoes) say(control::BrokerBeat{++beats, beat->number});
      } else if (std::holds_alternative<node_effect::OpenData>(effect)) {
        ++opened;
        ++connections;
        carry_out(core.on_data_connected(now));
      } else if (const auto* on_data = std::get_if<node_effect::SendOnData>(&effect)) {
        EXPECT_EQ(wire::decode_control(on_data->bytes),
                  (ControlFrame{control::Attach{4711, connections}}))
            << "the number tells a question on this connection from what a former one says late";
        ++asked;
        if (answers) answer();
      } else if (auto* silent = std::get_if<node_effect::BrokerSilent>(&effect)) {
        given_up.push_back(*silent);
      } else if (std::holds_alternative<node_effect::SendFrame>(effect)) {
        ++frames;
      } else if (std::holds_alternative<node_effect::Deliver>(effect)) {
        ++delivered;
      } else if (const auto* lease = std::get_if<node_effect::Lease>(&effect)) {
        leased_until = lease->until;
      }
    }
  }
  void answer() {
    carry_out(core.on_data_control(wire::encode(ControlFrame{control::Attached{}}), now));
  }

  /// Carries out what becomes due until then.
  void run_until(TimePoint end) {
    for (auto due = core.next_deadline(); due && *due <= end; due = core.next_deadline()) {
      now = std::max(now, *due);
      carry_out(core.advance(now));
      carry_out(core.flush(now));
    }
    now = end;
  }
  void send_to_peer() {
    const Envelope envelope{.kind = EnvelopeKind::kRequest, .id = {1, 1}, .conversation = {2, 2}};
    carry_out(core.on_signal(signal::Send{{kSelf, local_incarnation(), Serial{1}},
                                          {kPeer, kPeerIncarnation, Serial{2}},
                                          envelope},
                             now));
    carry_out(core.flush(now));
  }

  TimePoint now = kStart;
  NodeCore core{{.name = kSelf}, Random{1}};
  bool echoes = true;   // of beats, on control
  bool answers = true;  // to an attach, on data
  std::uint64_t beats = 0;
  std::uint64_t connections = 0;  // in its life
  int opened = 0, asked = 0, frames = 0, delivered = 0;
  TimePoint leased_until = TimePoint::min();
  std::vector<node_effect::BrokerSilent> given_up;
};

TEST_F(SilentData, IsOpenedAnewExactlyDownAfterTheQuestionAndTheSessionsSendAgain) {
  send_to_peer();
  answers = false;
  asked = 0;
  run_until(kStart + 4500ms - 1ns);
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(opened, 0);
  EXPECT_EQ(core.next_deadline(), kStart + 4500ms);
  answers = true;  // on another connection
  frames = 0;
  now += 1ns;
  carry_out(core.advance(now));
  EXPECT_EQ(opened, 1);
  ASSERT_EQ(given_up.size(), 1u);
  EXPECT_TRUE(given_up[0].data_only);
  EXPECT_EQ(given_up[0].last_heard, 4500ms);
  EXPECT_TRUE(core.joined()) << "at once, since the broker answers there";
  carry_out(core.flush(now));
  EXPECT_EQ(frames, 1) << "what was not acknowledged goes out anew";
  EXPECT_EQ(delivered, 0) << "nobody is dead for it";
  EXPECT_GT(leased_until, now) << "the control connection proves as much as before";
}

TEST_F(SilentData, AnIdleConnectionIsAskedAndKept) {
  asked = 0;
  run_until(kStart + 60s);
  EXPECT_EQ(opened, 0);
  EXPECT_EQ(asked, 40) << "one small message for 1.5 s of silence";
}

TEST_F(SilentData, APeerThatAcknowledgesNothingCostsNoConnection) {
  send_to_peer();
  run_until(kStart + 60s);
  EXPECT_EQ(opened, 0);
  EXPECT_GT(frames, 10) << "its session asks again and again";
}

TEST_F(SilentData, IsNotJudgedWhileControlIsSilentToo) {
  echoes = answers = false;
  run_until(kStart + 4500ms);
  EXPECT_EQ(opened, 0);
  ASSERT_EQ(given_up.size(), 1u);
  EXPECT_FALSE(given_up[0].data_only) << "it is the control connection that is given up";
}

TEST_F(SilentData, ABrokerOrNodeThatWasStoppedBlamesNoConnection) {
  answers = false;
  run_until(kStart + 1600ms);  // asked, and one beat echoed since
  now = kStart + 5s;
  carry_out(core.advance(now));
  run_until(kStart + 6s - 1ns);  // 5 echoes since the question, where 6 are enough
  EXPECT_EQ(opened, 0);
  EXPECT_TRUE(given_up.empty());
  answer();  // it was in a buffer all the time
  run_until(now + 1s);
  EXPECT_EQ(opened, 0);
}

TEST_F(SilentData, AnAttachThatNobodyAnswersIsTriedOnAnotherConnectionMoreAndMoreRarely) {
  answers = false;
  carry_out(core.on_data_closed(now));
  opened = 0;
  for (const Duration patience : {3s, 6s, 12s, 24s, 24s}) {
    const TimePoint due = now + patience;
    run_until(due - 1ns);
    EXPECT_EQ(opened, 0);
    run_until(due);
    EXPECT_EQ(opened, 1);
    opened = 0;
  }
  answer();
  EXPECT_TRUE(core.joined());
}

TEST_F(SilentData, ALeavingNodeHearsItsAcknowledgementsOnAnotherConnection) {
  send_to_peer();
  answers = false;
  run_until(kStart + 4s);
  carry_out(core.leave(now));
  run_until(kStart + 4500ms);
  EXPECT_EQ(opened, 1);
}

}  // namespace
}  // namespace liminal
