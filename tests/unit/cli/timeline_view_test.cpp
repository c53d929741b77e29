// What people and scripts are shown of a timeline: order, times, ids that stay apart, one line
// each.
#include "cli/timeline_view.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/conversations.hpp"
#include "cli/json.hpp"

namespace liminal::cli {
namespace {

using namespace std::chrono_literals;
using enum TimelineEvent;

const ConversationId kConversation{0x0123456789abcdef, 0xfedcba9876543210};

control::Told told(const char* teller, TimelineEvent event, Duration at, Duration heard) {
  return {NodeName{teller}, heard, {.conversation = kConversation, .event = event, .at = at}};
}

control::TimelineReply reply(std::vector<control::Told> all) {
  return {.conversation = kConversation, .told = std::move(all), .left_out = {kConversation, 0, 0}};
}

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ConversationArgument, IsThirtyTwoHexDigits) {
  EXPECT_EQ(conversation_argument("0123456789abcdeffedcba9876543210").value(), kConversation);
  for (const char* bad : {"", "0123456789abcdeffedcba987654321",
                          "0123456789abcdeffedcba98765432100", "0123456789abcdeffedcba987654321g",
                          "0123456789abcdef-fedcba987654321", "0x23456789abcdeffedcba9876543210"}) {
    const auto result = conversation_argument(bad);
    ASSERT_FALSE(result) << bad;
    EXPECT_EQ(result.error().code, Errc::kUsage);
    EXPECT_TRUE(has(result.error().detail, "32 hex digits"));
  }
}

TEST(TimelineView, TimesOfOneNodeAreExactAndClocksOfOthersAreBroughtTogether) {
  const auto timeline = arrange(reply({
      told("a", kOpened, 1000s, 10s + 20ms),  // heard late
      told("a", kPlaced, 1000s + 500ms, 10s + 501ms),
      told("b", kBegun, 7s, 10s + 700ms),  // a clock of its own
  }));
  EXPECT_EQ(timeline.at, (std::vector<Duration>{0ms, 500ms, 699ms}));
}

TEST(TimelineView, TimesThatNoClockShowsDoNoHarm) {
  const auto timeline = arrange(
      reply({told("a", kOpened, Duration::max(), 0s), told("a", kPlaced, 0s, Duration::max()),
             told("b", kBegun, 0s, Duration::max())}));
  for (const Duration at : timeline.at) EXPECT_GE(at, 0s);
  EXPECT_FALSE(timeline_text(timeline).empty());
}

TEST(TimelineView, ShortIdsAreAsLongAsKeepsThemApart) {
  auto one = told("a", kSent, 0s, 0s), other = one;
  one.record.message = MessageId{1, 0xabcd};
  EXPECT_EQ(ShortIds({one})(*one.record.message), "abcd");
  other.record.cause = MessageId{1, 0x10abcd};
  const ShortIds apart{{one, other}};
  EXPECT_EQ(apart(*one.record.message), "00abcd");
  EXPECT_EQ(apart(*other.record.cause), "10abcd");
  other.record.cause = MessageId{2, 0xabcd};  // another node's
  EXPECT_EQ(ShortIds({one, other})(*one.record.message).size(), 17u);
}

TEST(TimelineView, EachRecordIsOneLineWhateverItsText) {
  auto crashed = told("a", kCrashed, 0s, 0s);
  crashed.record.role = "upper";
  crashed.record.participant = Pid{NodeName{"b"}, Incarnation{7}, Serial{17}};
  crashed.record.reason = ExitReason::error("exit status 3:\nno such\tfile");
  crashed.record.text = "line\none\x1b[31m";
  auto sent = told("a", kSent, 0s, 0s);
  sent.record.message = MessageId{1, 2};
  sent.record.cause = MessageId{1, 1};
  sent.record.attempt = 2;
  const std::string text = timeline_text(arrange(reply({crashed, sent})));
  EXPECT_EQ(lines_of(text), 4u) << text;
  EXPECT_TRUE(has(text, "crashed")) << text;
  EXPECT_TRUE(has(text, "b/17")) << text;
  EXPECT_TRUE(has(text, "exit status 3:\\nno such\\tfile; line\\none")) << text;
  EXPECT_FALSE(has(text, "\x1b")) << text;
  EXPECT_TRUE(has(text, "0002     attempt 2; because of 0001")) << text;
  EXPECT_TRUE(has(text, "its own node told nothing of it")) << text;
  EXPECT_FALSE(has(text, "not kept")) << text;
}

TEST(TimelineView, SaysWhatWasNotKept) {
  auto head = reply({told("a", kOpened, 0s, 0s)});
  head.left_out = {kConversation, 1, 0};
  EXPECT_TRUE(has(timeline_text(arrange(head)), "1 send or reply was not kept\n"));
  head.left_out = {kConversation, 41, 2};
  const std::string text = timeline_text(arrange(head));
  EXPECT_TRUE(has(text, "41 sends and replies were not kept\n2 other records were not kept\n"));
}

TEST(TimelineView, JsonHasAllOfARecordUnderStableNames) {
  const Evidence evidence{EvidenceSource::kConnectionClosed, 612ms, 502ms, 3ms};
  auto head = reply({});
  head.summary = control::ConversationSummary{.conversation = kConversation,
                                              .node = NodeName{"a"},
                                              .incarnation = Incarnation{7},
                                              .about = "fail: upper",
                                              .standing = control::ConversationStanding::kEnded,
                                              .phase = "Failed: why",
                                              .opened_ago = 5s,
                                              .ended_ago = 1s,
                                              .crashes = 1,
                                              .requests = 2};
  auto crashed = told("b", kCrashed, 1s, 1s);
  crashed.record.role = "upper";
  crashed.record.participant = Pid{NodeName{"b"}, Incarnation{7}, Serial{17}};
  crashed.record.message = MessageId{1, 2};
  crashed.record.cause = MessageId{1, 1};
  crashed.record.attempt = 2;
  crashed.record.reason = ExitReason::noconnection(evidence);
  crashed.record.text = "so \xff";
  head.told = {crashed, told("b", kCancelRequested, 2s, 2s)};
  head.left_out = {kConversation, 4, 5};
  const auto json = nlohmann::json::parse(timeline_json(arrange(head)));
  EXPECT_EQ(json["conversation"], "0123456789abcdeffedcba9876543210");
  EXPECT_EQ(json["node"], "a");
  EXPECT_EQ(json["incarnation"], "0000000000000007");
  EXPECT_EQ(json["state"], "ended");
  EXPECT_EQ(json["phase"], "Failed: why");
  EXPECT_EQ(json["about"], "fail: upper");
  EXPECT_EQ(json["opened_ago_ms"], 5000.0);
  EXPECT_EQ(json["ended_ago_ms"], 1000.0);
  EXPECT_EQ(json["crashes"], 1);
  EXPECT_EQ(json["requests"], 2);
  EXPECT_EQ(json["not_kept"]["routine"], 4);
  EXPECT_EQ(json["not_kept"]["other"], 5);
  const auto& record = json["records"][0];
  EXPECT_EQ(record["at_ms"], 0.0);
  EXPECT_EQ(record["node"], "b");
  EXPECT_EQ(record["event"], "crashed");
  EXPECT_EQ(record["role"], "upper");
  EXPECT_EQ(record["participant"], "b/0000000000000007/17");
  EXPECT_EQ(record["message"], "00000000000000010000000000000002");
  EXPECT_EQ(record["cause"], "00000000000000010000000000000001");
  EXPECT_EQ(record["attempt"], 2);
  EXPECT_TRUE(record["reason"].get<std::string>().starts_with("noconnection"));
  EXPECT_EQ(record["evidence"]["source"], "connection closed");
  const auto& bare = json["records"][1];
  EXPECT_EQ(bare["event"], "cancel-requested");
  EXPECT_EQ(bare["at_ms"], 1000.0);
  for (const char* key :
       {"role", "participant", "message", "cause", "attempt", "reason", "evidence", "text"}) {
    EXPECT_TRUE(bare.contains(key) && bare[key].is_null()) << key;
  }
}

TEST(ConversationsView, ListsThemOneALine) {
  EXPECT_EQ(conversations_text({}, 0), "no conversations\n");
  EXPECT_EQ(conversations_text({}, 0, false), "no open conversations\n");
  const control::ConversationSummary open{.conversation = kConversation,
                                          .node = NodeName{"a"},
                                          .incarnation = Incarnation{7},
                                          .about = "fail: upper",
                                          .phase = "Active"};
  auto lost = open;
  lost.standing = control::ConversationStanding::kNodeLost;
  lost.ended_ago = 1500ms;
  lost.phase = "Failed: two\nlines";
  const std::string text = conversations_text({open, lost}, 3);
  EXPECT_EQ(lines_of(text), 4u) << text;
  for (const char* part : {"0123456789abcdeffedcba9876543210", "open", "node gone", "1.500 s",
                           "fail: upper", "two\\nlines", "3 more were forgotten"}) {
    EXPECT_TRUE(has(text, part)) << part << " in " << text;
  }
  const auto json = nlohmann::json::parse(conversations_json({open, lost}, 3));
  EXPECT_EQ(json["conversations"].size(), 2u);
  EXPECT_EQ(json["conversations"][0]["state"], "open");
  EXPECT_TRUE(json["conversations"][0]["ended_ago_ms"].is_null());
  EXPECT_EQ(json["conversations"][1]["state"], "node gone");
  EXPECT_EQ(json["forgotten"], 3);
}

}  // namespace
}  // namespace liminal::cli
