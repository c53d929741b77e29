// What is encoded is decoded as it was: every kind of frame, every field, every enumerator.
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {
namespace {

constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();

Result<SessionFrame> through_the_wire(const SessionFrame& frame) {
  return wire::decode_session_frame(wire::encode(frame, kNow), kNow);
}

template <class T>
T signal_in(const Result<SessionFrame>& frame) {
  return std::get<T>(std::get<Signal>(frame.value().items.at(0)));
}

TEST(RoundTrip, EveryControlFrame) {
  for (const auto& [name, frame] : control_frames()) {
    const auto decoded = wire::decode_control(wire::encode(frame));
    ASSERT_TRUE(decoded) << name << ": " << decoded.error().detail;
    EXPECT_EQ(*decoded, frame) << name;
  }
}

TEST(RoundTrip, EveryRoutingHeader) {
  EXPECT_EQ(wire::decode_route_to(wire::encode(route_to())), route_to());
  EXPECT_EQ(wire::decode_route_from(wire::encode(route_from())), route_from());
}

TEST(RoundTrip, EveryItemAloneAndAllTogether) {
  std::vector<Item> together;
  for (const auto& [name, item] : items()) {
    const auto decoded = through_the_wire(session_frame({item}));
    ASSERT_TRUE(decoded) << name << ": " << decoded.error().detail;
    EXPECT_EQ(*decoded, session_frame({item})) << name;
    together.push_back(item);
  }
  EXPECT_EQ(through_the_wire(session_frame(together)), session_frame(together));
}

TEST(RoundTrip, SessionFieldsAtTheirEnds) {
  const SessionFrame largest{
      SessionNumber{std::numeric_limits<std::uint32_t>::max()}, kMax, kMax, true, kMax, {}};
  EXPECT_EQ(through_the_wire(largest), largest);
  const SessionFrame smallest{SessionNumber{0}, 1, 0, false, 1, {}};
  EXPECT_EQ(through_the_wire(smallest), smallest);
}

TEST(RoundTrip, EveryExitReasonWithEveryEvidence) {
  std::vector<ExitReason> reasons{ExitReason::normal(),
                                  ExitReason::shutdown(),
                                  ExitReason::error("exit status 3"),
                                  ExitReason::error(""),
                                  ExitReason::kill(),
                                  ExitReason::killed(),
                                  ExitReason::noproc(),
                                  ExitReason::noconnection(std::nullopt)};
  for (const auto source :
       {EvidenceSource::kConnectionClosed, EvidenceSource::kHeartbeatsMissed, EvidenceSource::kLeft,
        EvidenceSource::kIsolated, EvidenceSource::kRecovery, EvidenceSource::kReset}) {
    reasons.push_back(ExitReason::noconnection(Evidence{source, 1ns, 0ns, Duration::max()}));
  }
  for (const ExitReason& reason : reasons) {
    SCOPED_TRACE(to_string(reason));
    const signal::Exit exit{pid_a(1), pid_b(2), reason, LinkId{kMax}};
    EXPECT_EQ(signal_in<signal::Exit>(through_the_wire(session_frame({Signal{exit}}))), exit);
    const signal::Down down{pid_a(1), pid_b(kMax), MonitorId{0}, reason};
    EXPECT_EQ(signal_in<signal::Down>(through_the_wire(session_frame({Signal{down}}))), down);
  }
}

TEST(RoundTrip, EveryErrorCode) {
  for (int code = 0; code <= static_cast<int>(Errc::kInternal); ++code) {
    const signal::SpawnReply reply{pid_a(0), pid_b(2), SpawnId{1}, std::nullopt,
                                   Error{static_cast<Errc>(code), "why"}};
    EXPECT_EQ(signal_in<signal::SpawnReply>(through_the_wire(session_frame({Signal{reply}}))),
              reply);
  }
}

TEST(RoundTrip, EveryMemberStateRefusalAndEnvelopeKind) {
  for (const auto state : {MemberState::kJoined, MemberState::kSuspect, MemberState::kDown,
                           MemberState::kLeft, MemberState::kExpected}) {
    Member changed = member();
    changed.state = state;
    const ControlFrame frame = control::Changes{MembershipVersion{1}, {{changed, std::nullopt}}};
    EXPECT_EQ(wire::decode_control(wire::encode(frame)), frame);
  }
  for (const auto code : {control::RefusalCode::kNameTaken, control::RefusalCode::kMalformed,
                          control::RefusalCode::kVersion, control::RefusalCode::kLimit}) {
    const ControlFrame frame = control::Refused{code, ""};
    EXPECT_EQ(wire::decode_control(wire::encode(frame)), frame);
  }
  for (const auto kind : {EnvelopeKind::kRequest, EnvelopeKind::kReply, EnvelopeKind::kDone,
                          EnvelopeKind::kExpired, EnvelopeKind::kCompensate,
                          EnvelopeKind::kCancelled, EnvelopeKind::kCall, EnvelopeKind::kOutcome}) {
    Envelope envelope = bare_envelope();
    envelope.kind = kind;
    const auto frame = session_frame({Signal{signal::Send{pid_a(1), pid_b(2), envelope}}});
    EXPECT_EQ(through_the_wire(frame), frame);
  }
}

TEST(RoundTrip, PayloadsAndChunksUpToTheLimit) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{255}, std::size_t{256},
                                 std::size_t{65535}, wire::kChunkBytesMax}) {
    Envelope envelope = bare_envelope();
    envelope.payload = Payload{std::string(size, '\xc1')};
    const auto frame =
        session_frame({Signal{signal::Send{pid_a(1), pid_b(2), envelope}},
                       item::Chunk{TransferId{kMax}, Payload{std::string(size, '\0')}}});
    EXPECT_EQ(through_the_wire(frame), frame) << size;
  }
}

TEST(RoundTrip, AReplyWithinACompensationFromItsFirstByteToItsEnd) {
  for (const std::optional<std::uint64_t> reply_at :
       {std::optional<std::uint64_t>{}, std::optional<std::uint64_t>{0},
        std::optional<std::uint64_t>{11}, std::optional<std::uint64_t>{12}}) {
    Envelope envelope = compensate_envelope();
    ASSERT_EQ(envelope.payload.size(), 12U);
    envelope.reply_at = reply_at;
    const auto frame = session_frame({Signal{signal::Send{pid_a(1), pid_b(2), envelope}}});
    EXPECT_EQ(through_the_wire(frame), frame);
    // of a transfer the payload comes later: here any number may stand
    envelope.payload = {};
    if (reply_at) envelope.reply_at = kMax;
    const auto begin = session_frame({item::Begin{TransferId{1}, {pid_a(1), pid_b(2), envelope}}});
    EXPECT_EQ(through_the_wire(begin), begin);
  }
}

TEST(RoundTrip, ServicesAndLabelsComeOutSortedWhateverTheirOrderOnTheWire) {
  const ControlFrame frame = control::Join{NodeName{"x"},
                                           Incarnation{1},
                                           false,
                                           {ServiceName{"b"}, ServiceName{"a"}},
                                           {{"z", "1"}, {"k", "2"}}};
  const auto join = std::get<control::Join>(wire::decode_control(wire::encode(frame)).value());
  EXPECT_EQ(join.services, (std::vector{ServiceName{"a"}, ServiceName{"b"}}));
  EXPECT_EQ(join.labels.front().first, "k");
}

TEST(RoundTrip, EveryTimelineEventStandingAndOutcome) {
  for (int event = 0; event <= static_cast<int>(TimelineEvent::kAnswered); ++event) {
    TimelineRecord record = full_record();
    record.event = static_cast<TimelineEvent>(event);
    const ControlFrame frame = control::Records{{record}};
    EXPECT_EQ(wire::decode_control(wire::encode(frame)), frame);
    EXPECT_NE(name_of(record.event), "?");
  }
  for (const auto standing :
       {control::ConversationStanding::kOpen, control::ConversationStanding::kEnded,
        control::ConversationStanding::kNodeLost}) {
    auto summary = full_summary();
    summary.standing = standing;
    const ControlFrame frame = control::ConversationsReply{{summary}};
    EXPECT_EQ(wire::decode_control(wire::encode(frame)), frame);
  }
  for (int outcome = 0; outcome <= static_cast<int>(control::CancelOutcome::kTooMany); ++outcome) {
    const ControlFrame frame =
        control::CancelReply{conversation(), static_cast<control::CancelOutcome>(outcome)};
    EXPECT_EQ(wire::decode_control(wire::encode(frame)), frame);
  }
}

TEST(RoundTrip, FramesOfTimelinesAtTheirLimits) {
  const ControlFrame records = control::Records{
      std::vector(wire::kRecordsMax, full_record()),
      std::vector(wire::kRecordsMax, control::LeftOut{conversation(), kMax, kMax}), kMax};
  EXPECT_EQ(wire::decode_control(wire::encode(records)), records);

  control::ConversationSummary longest = full_summary();
  longest.about = longest.phase = std::string(wire::kSummaryBytesMax, 'x');
  const ControlFrame list =
      control::ConversationsReply{std::vector(wire::kSummariesMax, longest), kMax};
  const std::string bytes = wire::encode(list);
  EXPECT_LE(bytes.size(), wire::kPartBytesMax);
  EXPECT_EQ(wire::decode_control(bytes), list);

  const ControlFrame loads =
      control::Loads{std::vector(wire::kLoadsMax, control::Loads::Load{Incarnation{kMax}, ~0u})};
  EXPECT_EQ(wire::decode_control(wire::encode(loads)), loads);
}

TEST(RoundTrip, TheWeightOfARecordIsNeverLessThanItsBytes) {
  TimelineRecord record = full_record();
  record.message = record.cause = MessageId{kMax, kMax};
  record.at = Duration::max();
  record.attempt = ~0u;
  record.role = std::string(63, 'r');
  record.participant = Pid{NodeName{std::string(63, 'n')}, Incarnation{kMax}, Serial{kMax}};
  const Evidence longest{EvidenceSource::kReset, Duration::max(), Duration::max(), Duration::max()};
  record.reason = ExitReason{ExitKind::kError, std::string(wire::kTextBytesMax, 'x'), longest};
  record.text = std::string(wire::kTextBytesMax, 'x');
  const std::size_t without = wire::encode(ControlFrame{control::Records{{}}}).size();
  EXPECT_LE(wire::encode(ControlFrame{control::Records{{record}}}).size() - without,
            weight_bytes(record));
  // so a frame that is filled as limits.hpp says, and one more, fits into a message part
  EXPECT_LE(wire::kRecordsFillBytes + weight_bytes(record), wire::kPartBytesMax / 2);
}

// --- deadlines ---

std::optional<TimePoint> deadline_after(TimePoint deadline, TimePoint sent, TimePoint received) {
  Envelope envelope = bare_envelope();
  envelope.deadline = deadline;
  const auto bytes =
      wire::encode(session_frame({Signal{signal::Send{pid_a(1), pid_b(2), envelope}}}), sent);
  return signal_in<signal::Send>(wire::decode_session_frame(bytes, received)).envelope.deadline;
}

TEST(Deadline, TravelsAsRemainingTimeToTheNanosecond) {
  const TimePoint elsewhere{77s};  // the receiver's clock has nothing to do with the sender's
  EXPECT_EQ(deadline_after(kNow + 5s, kNow, elsewhere), elsewhere + 5s);
  EXPECT_EQ(deadline_after(kNow + 1ns, kNow, elsewhere), elsewhere + 1ns);
}

TEST(Deadline, ThatPassedHasNoTimeRemaining) {
  EXPECT_EQ(deadline_after(kNow, kNow, kNow), kNow);
  EXPECT_EQ(deadline_after(kNow - 1ns, kNow, kNow), kNow);
  EXPECT_EQ(deadline_after(TimePoint::min(), kNow, kNow), kNow);
}

TEST(Deadline, BeyondTheEndOfTimeIsTheEndOfTime) {
  EXPECT_EQ(deadline_after(TimePoint::max(), kNow, kNow), TimePoint::max());
  EXPECT_EQ(deadline_after(TimePoint::max(), kNow, kNow + 1s), TimePoint::max());
  EXPECT_EQ(deadline_after(TimePoint::max(), TimePoint::min(), TimePoint{0s}), TimePoint::max());
  EXPECT_EQ(deadline_after(TimePoint::max(), TimePoint{0s}, TimePoint{-1s}), TimePoint::max() - 1s);
}

// --- texts that operators and programs make ---

TEST(LongTexts, OfReasonsAreCutBetweenCharacters) {
  const std::string umlauts = [] {
    std::string text = "x";  // so that the limit falls into a character
    while (text.size() <= wire::kTextBytesMax) text += "ä";
    return text;
  }();
  const signal::Exit exit{pid_a(1), pid_b(2), ExitReason::error(umlauts), std::nullopt};
  const auto cut = signal_in<signal::Exit>(through_the_wire(session_frame({Signal{exit}})));
  EXPECT_EQ(cut.reason.text, umlauts.substr(0, wire::kTextBytesMax - 1));
}

TEST(LongTexts, OfErrorsAndRefusalsAreCut) {
  const std::string text(wire::kTextBytesMax + 1, 'x');
  const signal::SpawnReply reply{pid_a(0), pid_b(2), SpawnId{1}, std::nullopt,
                                 Error{Errc::kRejected, text}};
  EXPECT_EQ(signal_in<signal::SpawnReply>(through_the_wire(session_frame({Signal{reply}})))
                .error->detail.size(),
            wire::kTextBytesMax);
  const auto refused =
      wire::decode_control(wire::encode(control::Refused{control::RefusalCode::kLimit, text}));
  EXPECT_EQ(std::get<control::Refused>(refused.value()).text.size(), wire::kTextBytesMax);

  TimelineRecord record = bare_record();
  record.text = text;
  record.reason = ExitReason::error(text);
  const auto records = wire::decode_control(wire::encode(control::Records{{record}}));
  const auto& cut = std::get<control::Records>(records.value()).records.at(0);
  EXPECT_EQ(cut.text.size(), wire::kTextBytesMax);
  EXPECT_EQ(cut.reason->text.size(), wire::kTextBytesMax);
  auto summary = full_summary();
  summary.about = summary.phase = text;
  const auto list = wire::decode_control(wire::encode(control::ConversationsReply{{summary}}));
  EXPECT_EQ(std::get<control::ConversationsReply>(list.value()).summaries.at(0).phase.size(),
            wire::kSummaryBytesMax);
}

TEST(LongTexts, TheFullestFrameFitsIntoAMessagePart) {
  const std::string text(wire::kTextBytesMax, 'x');
  Envelope largest = full_envelope();
  largest.schema = largest.trace = text;
  largest.headers.assign(wire::kEnvelopeHeadersMax, {text, text});
  largest.payload = Payload{std::string(wire::kChunkBytesMax, 'x')};
  ASSERT_TRUE(wire::fits(largest));

  std::vector<Item> items{Signal{signal::Send{pid_a(kMax), pid_b(kMax), largest}}};
  Envelope filler = full_envelope();
  filler.headers.assign(wire::kEnvelopeHeadersMax, {"a", "b"});
  const Item fill = Signal{signal::Send{pid_a(kMax), pid_b(kMax), filler}};
  const std::size_t fillers = wire::kFrameFillBytes / wire::credit_bytes(fill);
  items.insert(items.end(), fillers, fill);
  const Item exit = Signal{
      signal::Exit{pid_a(kMax), pid_b(kMax), {ExitKind::kError, text, evidence()}, LinkId{kMax}}};
  items.insert(items.end(), wire::kFrameItemsMax - items.size(), exit);

  const std::string bytes = wire::encode(session_frame(items), kNow);
  EXPECT_LE(bytes.size(), wire::kPartBytesMax);
  const auto decoded = wire::decode_session_frame(bytes, kNow);
  ASSERT_TRUE(decoded) << decoded.error().detail;
  EXPECT_EQ(decoded->items.size(), wire::kFrameItemsMax);
  EXPECT_GE(std::get<signal::Exit>(std::get<Signal>(decoded->items.back())).reason.text.size(),
            1024U);
}

TEST(LongTexts, RefusalsAreCutLikeReasons) {
  const Item refusal =
      Signal{signal::Refusal{pid_a(1), pid_b(2), MessageId{1, 2}, signal::RefusalKind::kRejected,
                             std::string(2 * wire::kTextBytesMax, 'x')}};
  const auto text_in = [](const std::vector<Item>& sent) {
    const auto frame = wire::decode_session_frame(wire::encode(session_frame(sent), kNow), kNow);
    return std::get<signal::Refusal>(std::get<Signal>(frame.value().items.back())).text.size();
  };
  EXPECT_EQ(text_in({refusal}), wire::kTextBytesMax);
  EXPECT_EQ(text_in(std::vector<Item>(wire::kFrameItemsMax, refusal)), 1024U);
}

TEST(RoundTrip, AnEnvelopeThatWasGivenBackStaysOnItsNode) {
  const Item sent = Signal{signal::Refusal{
      pid_a(1), pid_b(2), MessageId{1, 2}, signal::RefusalKind::kDeferred, {}, full_envelope()}};
  const auto frame = through_the_wire(session_frame({sent}));
  EXPECT_EQ(std::get<signal::Refusal>(std::get<Signal>(frame.value().items.at(0))).returned,
            std::nullopt);
}

// --- credit and limits ---

TEST(Credit, IsTakenByEnvelopesAndChunksOnly) {
  for (const auto& [name, item] : items()) {
    const bool takes = std::string_view{name}.starts_with("send") ||
                       std::string_view{name}.starts_with("begin") ||
                       std::string_view{name} == "chunk";
    EXPECT_EQ(wire::credit_bytes(item) > 0, takes) << name;
  }
}

TEST(Credit, GrowsWithEverythingOfVariableSize) {
  const auto credit = [](const Envelope& envelope) {
    return wire::credit_bytes(Signal{signal::Send{pid_a(1), pid_b(2), envelope}});
  };
  const std::size_t bare = credit(bare_envelope());
  Envelope envelope = bare_envelope();
  envelope.payload = Payload{"12345"};
  EXPECT_EQ(credit(envelope), bare + 5);
  envelope.headers = {{"ab", "c"}};
  EXPECT_EQ(credit(envelope), bare + 8);
  envelope.schema = "s";
  envelope.trace = "tt";
  EXPECT_EQ(credit(envelope), bare + 11);
}

TEST(Credit, IsTheSameAtBothEnds) {
  for (const auto& [name, item] : items()) {
    EXPECT_EQ(wire::credit_bytes(through_the_wire(session_frame({item})).value().items.at(0)),
              wire::credit_bytes(item))
        << name;
  }
}

TEST(Fits, SaysWhichEnvelopesMayTravel) {
  const std::string longest(wire::kTextBytesMax, 'x');
  Envelope envelope = bare_envelope();
  envelope.schema = envelope.trace = longest;
  envelope.headers.assign(wire::kEnvelopeHeadersMax, {longest, longest});
  EXPECT_TRUE(wire::fits(envelope));

  const auto spoilt = [&](auto&& spoil) {
    Envelope other = envelope;
    spoil(other);
    const auto result = wire::fits(other);
    return !result && result.error().code == Errc::kTooLarge;
  };
  EXPECT_TRUE(spoilt([](Envelope& e) { e.schema += 'x'; }));
  EXPECT_TRUE(spoilt([](Envelope& e) { e.trace += 'x'; }));
  EXPECT_TRUE(spoilt([](Envelope& e) { e.headers.front().first += 'x'; }));
  EXPECT_TRUE(spoilt([](Envelope& e) { e.headers.back().second += 'x'; }));
  EXPECT_TRUE(spoilt([](Envelope& e) { e.headers.emplace_back("", ""); }));
}

// --- bugs of ours ---

using BrokenContractDeathTest = ::testing::Test;

TEST(BrokenContractDeathTest, WhatAPeerCouldOnlyRefuseIsNotSent) {
  const auto send = [](Item item) {
    static_cast<void>(wire::encode(session_frame({std::move(item)}), kNow));
  };
  Pid local = pid_a(1);
  local.incarnation = local_incarnation();
  EXPECT_DEATH(send(Signal{signal::Link{local, pid_b(2), LinkId{1}}}), "local");
  EXPECT_DEATH(send(Signal{signal::Link{pid_a(0), pid_b(2), LinkId{1}}}), "processes");
  EXPECT_DEATH(send(Signal{signal::SpawnRequest{pid_a(1), pid_b(2), SpawnId{1}, ServiceName{"s"},
                                                ConversationId{0, 1}}}),
               "asks a node");
  Envelope large = bare_envelope();
  large.payload = Payload{std::string(wire::kChunkBytesMax + 1, 'x')};
  EXPECT_DEATH(send(Signal{signal::Send{pid_a(1), pid_b(2), large}}), "chunks");
  EXPECT_DEATH(send(item::Chunk{TransferId{1}, Payload{}}), "chunk");
  TimelineRecord record = full_record();
  record.participant = local;
  EXPECT_DEATH(static_cast<void>(wire::encode(control::Records{{record}})), "local");
}

TEST(BrokenContractDeathTest, OneFrameGoesFromOneIncarnationToAnother) {
  Pid fenced = pid_b(2);
  fenced.incarnation = Incarnation{1};
  const auto frame = session_frame({Signal{signal::Link{pid_a(1), pid_b(2), LinkId{1}}},
                                    Signal{signal::Link{pid_a(1), fenced, LinkId{1}}}});
  EXPECT_DEATH(static_cast<void>(wire::encode(frame, kNow)), "one incarnation");
}

}  // namespace
}  // namespace liminal::test
