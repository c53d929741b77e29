// What is recorded reaches the broker's frames, in order, within bounds, and what does not is
// counted.
#include "node/timeline/timeline_recorder.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"

namespace liminal {
namespace {

using enum TimelineEvent;

TimelineRecord record(TimelineEvent event, std::uint64_t conversation = 1, std::string text = {}) {
  return {.conversation = {1, conversation}, .event = event, .text = std::move(text)};
}

control::Records take_all(TimelineRecorder& recorder) {
  control::Records all{.records = {}};
  while (!recorder.empty()) {
    control::Records frame = recorder.take();
    EXPECT_LE(frame.records.size(), wire::kRecordsMax);
    EXPECT_LE(frame.left_out.size(), wire::kRecordsMax);
    all.records.insert(all.records.end(), frame.records.begin(), frame.records.end());
    all.left_out.insert(all.left_out.end(), frame.left_out.begin(), frame.left_out.end());
    all.lost += frame.lost;
  }
  return all;
}
using LeftOut = std::vector<control::LeftOut>;

TEST(TimelineRecorder, HandsOutInOrderWhatWasRecorded) {
  TimelineRecorder recorder;
  EXPECT_TRUE(recorder.empty());
  for (std::size_t i = 0; i <= wire::kRecordsMax; ++i) recorder.record(record(kPlaced, i));
  EXPECT_EQ(recorder.take().records.size(), wire::kRecordsMax);
  EXPECT_FALSE(recorder.empty());
  EXPECT_EQ(recorder.take().records, (std::vector{record(kPlaced, wire::kRecordsMax)}));
  EXPECT_TRUE(recorder.empty());
}

TEST(TimelineRecorder, AFrameIsFilledByBytesToo) {
  TimelineRecorder recorder;
  for (int i = 0; i < 40; ++i) recorder.record(record(kCrashed, 1, std::string(16'000, 'x')));
  const auto frame = recorder.take();
  EXPECT_LE(frame.records.size(), wire::kRecordsFillBytes / 16'000 + 1);
  EXPECT_LE(wire::encode(ControlFrame{frame}).size(), wire::kPartBytesMax);
  EXPECT_EQ(frame.records.size() + take_all(recorder).records.size(), 40u);
}

TEST(TimelineRecorder, RoutineRecordsAndOthersHaveEachTheirBudget) {
  TimelineRecorder recorder{8};
  for (int i = 0; i < 6; ++i) recorder.record(record(kSent));
  for (int i = 0; i < 8; ++i) recorder.record(record(kCrashed));
  recorder.record(record(kSent, 2));
  auto all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 15u);
  EXPECT_EQ(all.left_out, LeftOut{});

  recorder.record(record(kBegun));
  recorder.record(record(kCrashed));
  recorder.record(record(kCrashed));
  all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 0u) << "the budget is of the conversation, not of a frame";
  EXPECT_EQ(all.left_out, (LeftOut{{{1, 1}, 1, 2}}));
  EXPECT_EQ(take_all(recorder).left_out, LeftOut{}) << "told once";
}

TEST(TimelineRecorder, WhatWaitsIsBoundedAndRoutineRecordsLeaveRoom) {
  TimelineRecorder recorder{1000, {}, {.waiting_max = 8}};
  for (std::uint64_t i = 0; i < 7; ++i) recorder.record(record(kSent, i));
  recorder.record(record(kCrashed, 10));
  recorder.record(record(kCrashed, 11));
  recorder.record(record(kCrashed, 12));
  const auto all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 8u);
  EXPECT_EQ(all.left_out, (LeftOut{{{1, 6}, 1, 0}, {{1, 12}, 0, 1}}));
  recorder.record(record(kSent, 6));
  EXPECT_EQ(take_all(recorder).records.size(), 1u) << "there is room again";
}

TEST(TimelineRecorder, WhatWaitsIsBoundedInBytes) {
  const std::size_t each = weight_bytes(record(kCrashed, 1, std::string(1000, 'x')));
  TimelineRecorder recorder{1000, {}, {.waiting_bytes_max = 2 * each}};
  for (int i = 0; i < 3; ++i) recorder.record(record(kCrashed, 1, std::string(1000, 'x')));
  const auto all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 2u);
  EXPECT_EQ(all.left_out, (LeftOut{{{1, 1}, 0, 1}}));
}

TEST(TimelineRecorder, OfTooManyConversationsTheOldestIsCountedAnew) {
  TimelineRecorder recorder{1, {}, {.conversations_max = 2}};
  recorder.record(record(kCrashed, 1));
  recorder.record(record(kCrashed, 1));  // left out
  recorder.record(record(kCrashed, 2));
  recorder.record(record(kCrashed, 3));
  const auto all = take_all(recorder);
  EXPECT_EQ(all.records.size(), 3u);
  EXPECT_EQ(all.left_out, LeftOut{});
  EXPECT_EQ(all.lost, 1u) << "of which conversation is not known any more";
  recorder.record(record(kCrashed, 1));
  EXPECT_EQ(take_all(recorder).records.size(), 1u);
}

TEST(TimelineRecorder, WakesWhoWaitsOnceUntilItIsEmptyAgain) {
  int woken = 0;
  TimelineRecorder recorder{1, [&] { ++woken; }};
  recorder.record(record(kCrashed));
  recorder.record(record(kCrashed));
  EXPECT_EQ(woken, 1);
  take_all(recorder);
  recorder.record(record(kCrashed));  // left out, which is to be told as well
  EXPECT_EQ(woken, 2);
}

TEST(TimelineRecorder, WhereNobodyKeepsRecordsNothingIsTaken) {
  int woken = 0;
  TimelineRecorder recorder{0, [&] { ++woken; }};
  EXPECT_FALSE(recorder.wanted());
  recorder.record(record(kCrashed));
  EXPECT_TRUE(recorder.empty());
  EXPECT_EQ(woken, 0);

  recorder.set_records_max(5);
  EXPECT_TRUE(recorder.wanted());
  recorder.record(record(kCrashed));
  recorder.record(record(kSent));
  recorder.set_records_max(0);
  EXPECT_TRUE(recorder.empty()) << "what waits is dropped";
}

TEST(TimelineRecorder, WhateverIsRecordedEncodes) {
  TimelineRecorder recorder;
  TimelineRecord bad = record(kCrashed, 1, std::string(100'000, 'x'));
  bad.at = Duration{-1};
  bad.role = "not a name";
  bad.participant = Pid{NodeName{"no name"}, Incarnation{1}, Serial{1}};
  bad.reason = ExitReason::error(std::string(100'000, 'x'));
  bad.reason->evidence = Evidence{EvidenceSource::kReset, Duration{-1}, Duration{-1}, Duration{-1}};
  recorder.record(bad);
  const auto decoded = wire::decode_control(wire::encode(ControlFrame{recorder.take()}));
  ASSERT_TRUE(decoded) << decoded.error().detail;
  const auto& got = std::get<control::Records>(*decoded).records.at(0);
  EXPECT_EQ(got.role, "");
  EXPECT_EQ(got.participant, std::nullopt);
  EXPECT_EQ(got.text.size(), wire::kTextBytesMax);
}

TEST(TimelineRecorder, ThreadsRecordAtOnceAndNothingIsLostUncounted) {
  constexpr std::uint64_t kThreads = 4, kEach = 5000;
  TimelineRecorder recorder{1000, {}, {.waiting_max = 512}};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&recorder, t] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        recorder.record(record(i % 3 == 0 ? kCrashed : kSent, 100 * t + i % 50));
      }
    });
  }
  std::uint64_t seen = 0;
  const auto count = [&](const control::Records& all) {
    seen += all.records.size() + all.lost;
    for (const auto& each : all.left_out) seen += each.routine + each.other;
  };
  while (seen < kThreads * kEach / 2) count(recorder.take());
  for (auto& thread : threads) thread.join();
  count(take_all(recorder));
  EXPECT_EQ(seen, kThreads * kEach);
}

}  // namespace
}  // namespace liminal
