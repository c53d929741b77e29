// Frames of every kind, full and minimal, and ways to look at their bytes.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"

namespace liminal::test {

using namespace std::chrono_literals;

inline const TimePoint kNow{1000s};

inline Pid pid_a(std::uint64_t serial) {
  return {NodeName{"node-a"}, Incarnation{0x018f0a0000000001}, Serial{serial}};
}
inline Pid pid_b(std::uint64_t serial) {
  return {NodeName{"node-b"}, Incarnation{0xb0b0b0b0b0b0b0b0}, Serial{serial}};
}

inline Evidence evidence() { return {EvidenceSource::kConnectionClosed, 612ms, 502ms, 3ms}; }

inline control::Peer peer() {
  return {NodeName{"node-b"}, Incarnation{0xb0b0b0b0b0b0b0b0}, true, 60s};
}

inline Member member() {
  return {NodeName{"node-b"},
          Incarnation{0xb0b0b0b0b0b0b0b0},
          MemberState::kSuspect,
          false,
          {ServiceName{"echo"}, ServiceName{"upper"}},
          {{"rack", "r1"}, {"zone", "north"}},
          60s};
}
inline Member bare_member() {
  return {NodeName{"x"}, Incarnation{1}, MemberState::kJoined, true, {}, {}};
}

inline ClusterSettings settings() {
  return {250ms, 1250ms, 3s, 500ms, 16 * 1024 * 1024, 500ms, 6s, 1000};
}

inline Envelope bare_envelope() {
  return {
      .kind = EnvelopeKind::kRequest, .id = MessageId{0, 1}, .conversation = ConversationId{0, 2}};
}
inline Envelope full_envelope() {
  return {.kind = EnvelopeKind::kReply,
          .id = MessageId{0x1122334455667788, 0x99aabbccddeeff00},
          .conversation = ConversationId{0x0102030405060708, 0x090a0b0c0d0e0f10},
          .parent = MessageId{0x1122334455667788, 7},
          .attempt = 3,
          .wants_reply = true,
          .schema = "text/1",
          .trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
          .deadline = kNow + 5s,
          .headers = {{"tenant", "blue"}, {"", ""}, {"tenant", "green"}},
          .payload = Payload{std::string{"\x00\xffhello", 7}}};
}

inline Envelope compensate_envelope() {
  return {.kind = EnvelopeKind::kCompensate,
          .id = MessageId{0x1122334455667788, 8},
          .conversation = ConversationId{0x0102030405060708, 0x090a0b0c0d0e0f10},
          .parent = MessageId{0x1122334455667788, 7},
          .attempt = 2,
          .payload = Payload{"requestreply"},
          .reply_at = 7};
}

inline ConversationId conversation() { return {0x0102030405060708, 0x090a0b0c0d0e0f10}; }
inline TimelineRecord full_record() {
  return {.conversation = conversation(),
          .event = TimelineEvent::kCrashed,
          .at = 1234567ns,
          .role = "upper",
          .participant = pid_a(17),
          .message = MessageId{0x1122334455667788, 9},
          .cause = MessageId{0x1122334455667788, 7},
          .attempt = 2,
          .reason = ExitReason::noconnection(evidence()),
          .text = "why"};
}
inline TimelineRecord bare_record() {
  return {.conversation = conversation(), .event = TimelineEvent::kOpened};
}
inline control::ConversationSummary full_summary() {
  return {.conversation = conversation(),
          .node = NodeName{"node-a"},
          .incarnation = Incarnation{0x018f0a0000000001},
          .about = "compensate: upper",
          .standing = control::ConversationStanding::kEnded,
          .phase = "Failed: upper on node-a",
          .opened_ago = 5s,
          .ended_ago = 1s,
          .crashes = 1,
          .requests = 3};
}
inline control::ConversationSummary bare_summary() {
  return {.conversation = conversation(), .node = NodeName{"x"}, .incarnation = Incarnation{1}};
}

struct NamedControl {
  const char* name;
  ControlFrame frame;
};

inline std::vector<NamedControl> control_frames() {
  using namespace control;
  return {
      {"join", Join{NodeName{"node-a"},
                    Incarnation{0x018f0a0000000001},
                    false,
                    {ServiceName{"upper"}},
                    {{"zone", "north"}},
                    60s,
                    Epoch{0x9f0c000000000001},
                    0xfeedfacecafebeef,
                    {peer()},
                    {{peer(), evidence()}, {peer(), std::nullopt}},
                    12}},
      {"join, bare", Join{NodeName{"x"}, Incarnation{1}, true, {}, {}}},
      {"attach", Attach{0x1234567890abcdef, 3}},
      {"node beat", NodeBeat{41, 40, 3, 2}},
      {"leave", Leave{}},
      {"status query", StatusQuery{}},
      {"records",
       Records{
           {full_record(), bare_record()}, {{conversation(), 40, 2}}, 3, 0x018f0a0000000001, 4097}},
      {"records, bare", Records{{}}},
      {"cancel answer", CancelAnswer{conversation(), true}},
      {"timeline query", TimelineQuery{conversation(), 128}},
      {"conversations query", ConversationsQuery{ListPosition{true, 77}}},
      {"conversations query, bare", ConversationsQuery{}},
      {"cancel query", CancelQuery{conversation()}},
      {"welcome", Welcome{Epoch{0x9f0c000000000001},
                          MembershipVersion{12},
                          0x1234567890abcdef,
                          settings(),
                          {member()},
                          true}},
      {"welcome, bare", Welcome{Epoch{1}, MembershipVersion{0}, 0, settings(), {}}},
      {"refused", Refused{RefusalCode::kNameTaken, "the name node-a is taken"}},
      {"attached", Attached{}},
      {"broker beat", BrokerBeat{40, 41}},
      {"changes",
       Changes{
           MembershipVersion{13}, {{bare_member(), std::nullopt}, {member(), evidence()}}, true}},
      {"changes, bare", Changes{MembershipVersion{13}, {}}},
      {"unknown", Unknown{Epoch{0x9f0c000000000001}}},
      {"status reply",
       StatusReply{Epoch{0x9f0c000000000001},
                   1500ms,
                   {{member(), 3, 2, evidence()}, {bare_member(), 0, 0, std::nullopt}}}},
      {"status reply, bare", StatusReply{Epoch{1}, 0s, {}}},
      {"loads", Loads{{{Incarnation{0xb0b0b0b0b0b0b0b0}, 3}, {Incarnation{1}, 0}}}},
      {"cancel order", CancelOrder{conversation(), "liminal cancel, from 127.0.0.1"}},
      {"timeline reply", TimelineReply{conversation(),
                                       full_summary(),
                                       {{NodeName{"node-b"}, 1500ms, full_record()},
                                        {NodeName{"x"}, 0s, bare_record()}},
                                       {conversation(), 40, 2},
                                       128}},
      {"timeline reply, bare",
       TimelineReply{.conversation = conversation(), .left_out = {conversation(), 0, 0}}},
      {"conversations reply",
       ConversationsReply{{full_summary(), bare_summary()}, 9, ListPosition{false, 12}}},
      {"conversations reply, bare", ConversationsReply{}},
      {"cancel reply", CancelReply{conversation(), CancelOutcome::kNodeGone}},
  };
}

inline SessionFrame session_frame(std::vector<Item> items) {
  return {SessionNumber{1}, 8, 4 * 1024 * 1024, false, 17, std::move(items)};
}

struct NamedItem {
  const char* name;
  Item item;
};

inline std::vector<NamedItem> items() {
  using namespace signal;
  Envelope empty = full_envelope();
  empty.payload = {};
  Envelope undoing = compensate_envelope();
  undoing.payload = {};
  return {
      {"send", Signal{Send{pid_a(17), pid_b(4), full_envelope()}}},
      {"send, bare", Signal{Send{pid_a(17), pid_b(4), bare_envelope()}}},
      {"send, compensate", Signal{Send{pid_a(17), pid_b(4), compensate_envelope()}}},
      {"link", Signal{Link{pid_a(17), pid_b(4), LinkId{6}}}},
      {"unlink", Signal{Unlink{pid_a(17), pid_b(4), LinkId{6}, LinkId{7}}}},
      {"unlink, bare", Signal{Unlink{pid_a(17), pid_b(4), {}, {}}}},
      {"exit", Signal{Exit{pid_a(0), pid_b(4), ExitReason::noconnection(evidence()), LinkId{6}}}},
      {"exit, bare", Signal{Exit{pid_a(17), pid_b(4), ExitReason::kill(), {}}}},
      {"monitor", Signal{Monitor{pid_a(17), pid_b(4), MonitorId{9}}}},
      {"demonitor", Signal{Demonitor{pid_a(17), pid_b(4), MonitorId{9}}}},
      {"down", Signal{Down{pid_a(17), pid_b(4), MonitorId{9}, ExitReason::error("exit status 3")}}},
      {"spawn request", Signal{SpawnRequest{pid_a(17), pid_b(0), SpawnId{5}, ServiceName{"upper"},
                                            ConversationId{0x0102030405060708, 9}}}},
      {"spawn reply", Signal{SpawnReply{pid_a(18), pid_b(4), SpawnId{5}, LinkId{8}}}},
      {"spawn reply, compensates", Signal{SpawnReply{pid_a(18), pid_b(4), SpawnId{5}, LinkId{8},
                                                     std::nullopt, /*compensates=*/true}}},
      {"spawn reply, error",
       Signal{SpawnReply{
           pid_a(0), pid_b(4), SpawnId{5}, {}, Error{Errc::kNoService, "no such service"}}}},
      {"refusal", Signal{Refusal{pid_a(17), pid_b(4), MessageId{0x0102030405060708, 9},
                                 RefusalKind::kRejected, "payload-max"}}},
      {"refusal, bare",
       Signal{Refusal{pid_a(17), pid_b(4), MessageId{0, 1}, RefusalKind::kDeferred}}},
      {"withdraw", Signal{Withdraw{pid_a(17), pid_b(4), MessageId{0x0102030405060708, 9}}}},
      {"withdraw, bare", Signal{Withdraw{pid_a(17), pid_b(4), {}}}},
      {"cancel", Signal{Cancel{pid_a(17), pid_b(4), MessageId{0x0102030405060708, 9}}}},
      {"offer", item::Offer{TransferId{2}, 1024 * 1024}},
      {"grant", item::Grant{TransferId{2}}},
      {"begin", item::Begin{TransferId{2}, {pid_a(17), pid_b(4), empty}}},
      {"begin, compensate", item::Begin{TransferId{2}, {pid_a(17), pid_b(4), undoing}}},
      {"chunk", item::Chunk{TransferId{2}, Payload{"abc"}}},
  };
}

inline RouteTo route_to() { return {NodeName{"node-b"}, Incarnation{0xb0b0b0b0b0b0b0b0}}; }
inline RouteFrom route_from() {
  return {NodeName{"node-a"}, Incarnation{0x018f0a0000000001}, Epoch{0x9f0c000000000001},
          MembershipVersion{12}};
}

/// One of the four functions that read a message part, without its type: the encoding of what it
/// read.
struct Decoder {
  const char* name;
  std::function<Result<std::string>(std::string_view)> reencode;
};

inline const std::vector<Decoder>& decoders() {
  static const std::vector<Decoder> all{
      {"control",
       [](std::string_view bytes) {
         return wire::decode_control(bytes).map(
             [](const ControlFrame& frame) { return wire::encode(frame); });
       }},
      {"route to",
       [](std::string_view bytes) {
         return wire::decode_route_to(bytes).map(
             [](const RouteTo& header) { return wire::encode(header); });
       }},
      {"route from",
       [](std::string_view bytes) {
         return wire::decode_route_from(bytes).map(
             [](const RouteFrom& header) { return wire::encode(header); });
       }},
      {"session",
       [](std::string_view bytes) {
         return wire::decode_session_frame(bytes, kNow).map([](const SessionFrame& frame) {
           return wire::encode(frame, kNow);
         });
       }},
  };
  return all;
}

struct Encoded {
  std::string name;
  std::string bytes;
  std::size_t decoder;  // of decoders()
};

/// One of each kind, and one session frame with all items.
inline std::vector<Encoded> encoded_frames() {
  std::vector<Encoded> all;
  for (const auto& [name, frame] : control_frames()) all.push_back({name, wire::encode(frame), 0});
  all.push_back({"route to", wire::encode(route_to()), 1});
  all.push_back({"route from", wire::encode(route_from()), 2});
  all.push_back({"session, no items", wire::encode(session_frame({}), kNow), 3});
  std::vector<Item> together;
  for (const auto& [name, item] : items()) {
    all.push_back({std::string{"session, "} + name, wire::encode(session_frame({item}), kNow), 3});
    together.push_back(item);
  }
  all.push_back({"session, all items", wire::encode(session_frame(together), kNow), 3});
  return all;
}

/// Their bytes alone. Lives as long as the program.
inline const std::vector<std::string>& valid_frames() {
  static const std::vector<std::string> kAll = [] {
    std::vector<std::string> all;
    for (Encoded& frame : encoded_frames()) all.push_back(std::move(frame.bytes));
    return all;
  }();
  return kAll;
}

inline std::string hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (!text.empty()) text += ' ';
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

/// "95 01" to bytes.
inline std::string unhex(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 3) {
    bytes += static_cast<char>(std::stoi(std::string{text.substr(i, 2)}, nullptr, 16));
  }
  return bytes;
}

}  // namespace liminal::test
