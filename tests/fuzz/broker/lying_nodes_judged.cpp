// What has to hold, whatever they do.
#include <algorithm>
#include <vector>

#include "common/wire/limits.hpp"
#include "tests/fuzz/broker/lying_nodes.hpp"
#include "tests/support/expect.hpp"

namespace liminal::broker {
namespace {

using test::expect;

/// Frames are in the order of who sends them.
std::size_t first_of_broker() {
  static const std::size_t kIndex =
      ControlFrame{control::Welcome{Epoch{1}, MembershipVersion{0}, 0, {}, {}}}.index();
  return kIndex;
}

std::vector<effect::Forward> forwards_among(const Effects& effects) {
  std::vector<effect::Forward> found;
  for (const Effect& effect : effects) {
    if (const auto* forward = std::get_if<effect::Forward>(&effect)) found.push_back(*forward);
  }
  return found;
}

}  // namespace

void LyingNodes::check_timelines() {
  const Timelines& kept = core_.timelines();
  expect(kept.conversations() <= kTimelinesMax, "more timelines than there is room for");
  expect(kept.bytes() <= kTimelineBytesMax, "timelines take more than their bound");
  expect(core_.cancels_waiting() <= kCancelsMax, "more cancellations wait than may");
  for (const auto& [control, node] : honest_) {
    if (node.conversations.empty()) continue;
    const auto page = kept.page(control::TimelineQuery{*node.conversations.rbegin()}, now_);
    expect(page.told.size() <= kRecordsOfOneMax, "more records of one conversation than are kept");
    for (const control::Told& told : page.told) {
      // once forgotten, an id is whoever's that tells of it first
      const bool own = page.summary && told.teller == page.summary->node;
      expect(own || !is_told_by_opener(told.record.event), "told of another's conversation");
      expect((told.teller == node.name) == (told.record.text == "honest"),
             "somebody told in another's name");
    }
  }
}

void LyingNodes::say_bytes(ConnectionId from, const std::string& bytes) {
  const auto decoded = wire::decode_control(bytes);
  const BrokerCounters before = core_.counters();
  carry_out(core_.on_control(from, "peer", bytes, now_), from);
  const BrokerCounters& after = core_.counters();
  if (!decoded) {
    const auto reason = decoded.error().code == Errc::kUnsupportedVersion
                            ? BadFrameReason::kVersion
                            : BadFrameReason::kMalformed;
    expect(count(after.rejected, reason) == count(before.rejected, reason) + 1,
           "a bad frame was not counted by its reason");
    expect(sum(after.rejected) == sum(before.rejected) + 1, "a bad frame was not counted once");
  } else if (decoded->index() >= first_of_broker()) {
    expect(count(after.rejected, BadFrameReason::kOutOfPlace) ==
               count(before.rejected, BadFrameReason::kOutOfPlace) + 1,
           "somebody played the broker");
  }
  if (decoded && !honest_.contains(from)) {
    const std::string again = wire::encode(*decoded);
    const auto twice = wire::decode_control(again);
    expect(twice && wire::encode(*twice) == again, "what was accepted cannot be said again");
  }
  expect(after.forwarded == before.forwarded, "a control frame was forwarded");
}

void LyingNodes::route(ConnectionId from, const std::string& header, std::size_t frame_bytes,
                       const Honest* sender) {
  const BrokerCounters before = core_.counters();
  const Effects effects = core_.on_data(from, header, frame_bytes, now_);
  const BrokerCounters& after = core_.counters();
  expect(after.forwarded + sum(after.dropped) + sum(after.rejected) ==
             before.forwarded + sum(before.dropped) + sum(before.rejected) + 1,
         "a data frame was not counted once");
  const auto forwards = forwards_among(effects);
  expect(forwards.size() == after.forwarded - before.forwarded,
         "what is forwarded and what is counted differ");
  for (const auto& forward : forwards) check_forward(forward, header, frame_bytes, sender);
  carry_out(effects, from);
}

void LyingNodes::check_forward(const effect::Forward& forward, const std::string& header,
                               std::size_t frame_bytes, const Honest* sender) {
  const auto to = wire::decode_route_to(header);
  const auto from = wire::decode_route_from(forward.header);
  expect(to && from, "a header of a forwarded frame does not decode");
  expect(frame_bytes <= wire::kPartBytesMax, "an oversized frame was forwarded");
  const Honest* receiver = by_data(forward.connection);
  expect((receiver != nullptr) == to->node.value().starts_with("honest"),
         "a frame went to another node than it names");
  if (receiver != nullptr) {
    expect(to->node == receiver->name, "a frame went to another node than it names");
    expect(to->incarnation == receiver->incarnation,
           "a frame went to another incarnation than it names");
  }
  if (sender != nullptr) {
    expect(from->node == sender->name, "a frame came in another's name");
    expect(from->incarnation == sender->incarnation, "a frame came in another incarnation's name");
  } else {
    expect(!(from->node.value().starts_with("honest")), "somebody spoke in another's name");
  }
  bool is_member = false;
  for (const Member& member : core_.members()) {
    is_member |= member.name == from->node && member.incarnation == from->incarnation;
  }
  expect(is_member, "a frame of one who is no member was forwarded");
}

void LyingNodes::carry_out(const Effects& effects, std::optional<ConnectionId> cause) {
  for (const Effect& effect : effects) {
    if (const auto* send = std::get_if<effect::Send>(&effect)) on_send(*send, cause);
    if (const auto* down = std::get_if<effect::NodeDown>(&effect)) not_honest(down->name);
    if (const auto* suspect = std::get_if<effect::NodeSuspect>(&effect)) not_honest(suspect->name);
    if (const auto* left = std::get_if<effect::NodeLeft>(&effect)) {
      if (!honest_moving_) not_honest(left->name);
    }
    if (const auto* lost = std::get_if<effect::ControlLost>(&effect)) {
      if (!honest_moving_) not_honest(lost->name);
    }
    if (const auto* joined = std::get_if<effect::NodeJoined>(&effect)) {
      if (!honest_moving_) not_honest(joined->name);
      hostile_joins_ += !honest_moving_;
    }
  }
}

void LyingNodes::not_honest(const NodeName& who) {
  expect(!(who.value().starts_with("honest")), "was harmed");
}

void LyingNodes::on_send(const effect::Send& send, std::optional<ConnectionId> cause) {
  const auto frame = wire::decode_control(send.bytes);
  expect(frame.has_value(), "what was sent does not decode");
  expect(send.bytes.size() <= wire::kPartBytesMax, "the broker sent an oversized part");
  if (const auto found = honest_.find(send.connection); found != honest_.end()) {
    return told_honest(found->second, *frame, cause);
  }
  if (Honest* node = by_data(send.connection)) {
    expect(
        honest_moving_ && cause == node->data && std::holds_alternative<control::Attached>(*frame),
        "an honest data connection was told something");
    return;
  }
  const auto found = hostile_.find(send.connection);
  expect(found != hostile_.end(), "a frame to a connection that closed");
  if (const auto* welcome = std::get_if<control::Welcome>(&*frame)) {
    found->second.token = welcome->token;
  } else if (const auto* beat = std::get_if<control::BrokerBeat>(&*frame)) {
    found->second.newest_heard = beat->number;
  }
}

void LyingNodes::told_honest(Honest& node, const ControlFrame& frame,
                             std::optional<ConnectionId> cause) {
  if (const auto* welcome = std::get_if<control::Welcome>(&frame)) {
    expect(honest_moving_ && cause == node.control, "a welcome that nobody asked for");
    node.token = welcome->token;
    node.version = welcome->version.value();
    node.view.clear();
    for (const Member& member : welcome->members) node.view.insert(member.name);
  } else if (const auto* beat = std::get_if<control::BrokerBeat>(&frame)) {
    node.newest_heard = beat->number;
  } else if (const auto* changes = std::get_if<control::Changes>(&frame)) {
    expect(changes->version.value() == ++node.version, "a gap or an overlap");
    for (const auto& change : changes->changes) {
      if (!honest_moving_) not_honest(change.member.name);
      node.view.insert(change.member.name);
    }
  } else if (const auto* loads = std::get_if<control::Loads>(&frame)) {
    expect(loads->loads.size() <= kNodesMax, "loads of more nodes than there are");
  } else if (const auto* order = std::get_if<control::CancelOrder>(&frame)) {
    expect(node.conversations.contains(order->conversation), "not its conversation");
    say(node.control, control::CancelAnswer{order->conversation, choices_.below(2) == 0});
  } else {
    expect(false, "an honest node was refused or fenced");
  }
}

void LyingNodes::check_bounds() {
  const auto members = core_.members();
  expect(members.size() <= kNodesMax, "more members than there is room for");
  const auto honest = std::count_if(members.begin(), members.end(), [](const Member& member) {
    return member.name.value().starts_with("honest") && member.state == MemberState::kJoined;
  });
  expect(honest == static_cast<std::ptrdiff_t>(kHonest), "an honest node is no longer joined");
  expect(core_.status(now_).nodes.size() <= kNodesMax + kHistoryMax,
         "the status shows more nodes than are kept");
  if (choices_.below(8) == 0) check_timelines();
}

void LyingNodes::check_the_end() {
  while (!hostile_.empty()) {
    const ConnectionId closing = hostile_.begin()->first;
    hostile_.erase(hostile_.begin());
    carry_out(core_.on_closed(closing, now_), closing);
  }
  for (int i = 0; i < 11; ++i) pass(std::chrono::seconds{1});  // recovery, and every verdict
  expect(core_.cancels_waiting() == 0, "somebody who is gone waits for an answer");
  for (std::uint64_t number = 1001; number <= connections_; ++number) {
    const ConnectionId connection{number};
    const bool of_honest = honest_.contains(connection) || by_data(connection) != nullptr;
    expect(core_.is_a_nodes(connection) == of_honest, "a connection that closed is a node's");
  }
  expect(core_.members().size() == kHonest, "a liar that is gone is still a member");
  for (const auto& [control, node] : honest_) {
    expect(node.version == core_.version().value(), "an honest node missed a change");
    for (const auto& [other_control, other] : honest_) {
      expect(control == other_control || node.view.contains(other.name),
             "an honest node was not told of another");
    }
  }
  for (int i = 0; i < 10; ++i) honest_frame();
  leave_honest();
}

}  // namespace liminal::broker
