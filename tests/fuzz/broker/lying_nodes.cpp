// What they do.
#include "tests/fuzz/broker/lying_nodes.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "common/wire/limits.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/hostile_bytes.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::broker {
namespace {

NodeName name(std::string_view text) { return NodeName{std::string{text}}; }
ConnectionId conn(std::uint64_t number) { return ConnectionId{number}; }
Incarnation inc(std::uint64_t number) { return Incarnation{number}; }

/// As in frames.hpp, so that a field that a join gets is filled in there.
control::Join some_join(const NodeName& node, Incarnation incarnation) {
  static const control::Join kJoin = [] {
    for (const auto& [what, frame] : test::control_frames()) {
      const auto* found = std::get_if<control::Join>(&frame);
      if (found == nullptr) continue;
      control::Join join = *found;
      join.epoch.reset();
      join.peers.clear();
      join.verdicts.clear();
      return join;
    }
    throw test::BrokenPromise{"frames.hpp has a join"};
  }();
  control::Join join = kJoin;
  join.name = node;
  join.incarnation = incarnation;
  return join;
}

}  // namespace

LyingNodes::LyingNodes(test::Choices choices)
    : choices_(choices), core_(settings(), Random{choices_.below(256)}, now_) {
  for (std::uint64_t i = 1; i <= kHonest; ++i) join_honest(i);
  honest_moving_ = false;
}

void LyingNodes::run(int steps) {
  for (int i = 0; i < steps && !choices_.over(); ++i) {
    step();
    check_bounds();
  }
  check_the_end();
}

BrokerCore::Settings LyingNodes::settings() {
  BrokerCore::Settings settings;
  settings.cluster = test::settings();
  settings.cluster.recovery = std::chrono::seconds{6};
  settings.nodes_max = kNodesMax;
  settings.claims_max = 2;
  settings.history_max = kHistoryMax;
  settings.node_bytes_max = 4096;
  settings.cluster.timeline_records_max = kRecordsOfOneMax;
  settings.timelines_max = kTimelinesMax;
  settings.timeline_bytes_max = kTimelineBytesMax;
  settings.cancels_max = kCancelsMax;
  settings.expected_max = 4;
  return settings;
}

void LyingNodes::join_honest(std::uint64_t number) {
  const ConnectionId control = conn(10 * number), data = conn(10 * number + 1);
  Honest& node = honest_
                     .emplace(control, Honest{name("honest-" + std::to_string(number)),
                                              inc(1'000'000 + number), control, data})
                     .first->second;
  say(control, some_join(node.name, node.incarnation));
  test::expect(node.token.has_value(), "an honest join was not welcomed");
  say(data, control::Attach{*node.token});
}

void LyingNodes::return_honest() {
  const ConnectionId old_control = any_honest().control;
  auto entry = honest_.extract(old_control);
  Honest& node = entry.mapped();
  const ConnectionId old_data = node.data;
  const bool closes_first = choices_.below(2) == 0;
  const auto close_old = [&] {
    for (const ConnectionId old : {old_control, old_data}) {
      carry_out(core_.on_closed(old, now_), old);
    }
  };
  honest_moving_ = true;
  entry.key() = node.control = conn(++connections_);
  node.data = conn(++connections_);
  honest_.insert(std::move(entry));
  if (closes_first) close_old();
  node.token.reset();
  control::Join join = some_join(node.name, node.incarnation);
  if (choices_.below(2) == 0) join.epoch = core_.epoch();
  say(node.control, join);
  test::expect(node.token.has_value(), "an honest return was not welcomed");
  say(node.data, control::Attach{*node.token});
  if (!closes_first) close_old();
  honest_moving_ = false;
}

void LyingNodes::leave_honest() {
  honest_moving_ = true;
  while (!honest_.empty()) {
    const auto [control, node] = *honest_.begin();
    say(control, control::Leave{});
    honest_.erase(honest_.begin());
    for (const ConnectionId closing : {control, node.data}) {
      carry_out(core_.on_closed(closing, now_), closing);
      test::expect(!core_.is_a_nodes(closing), "a connection that closed is a node's");
    }
  }
  test::expect(core_.members().empty(), "a node that left is still a member");
  test::expect(!core_.next_beat(), "beats are due to nobody");
}

LyingNodes::Honest& LyingNodes::any_honest() {
  auto found = honest_.begin();
  std::advance(found, static_cast<std::ptrdiff_t>(choices_.below(honest_.size())));
  return found->second;
}

LyingNodes::Honest* LyingNodes::by_data(ConnectionId connection) {
  for (auto& [control, node] : honest_) {
    if (node.data == connection) return &node;
  }
  return nullptr;
}

void LyingNodes::honest_frame() {
  const Honest &from = any_honest(), &to = any_honest();
  const auto before = core_.counters().forwarded;
  route(from.data, wire::encode(RouteTo{to.name, to.incarnation}), 100, &from);
  test::expect(core_.counters().forwarded == before + 1, "an honest frame was not forwarded");
}

void LyingNodes::pass(Duration duration) {
  now_ += duration;
  advance();
}

void LyingNodes::pass_beats(std::uint64_t count) {
  while (count-- > 0) pass(settings().cluster.beat_interval);
}

void LyingNodes::stall(Duration lag) {
  now_ += lag;
  core_.observer_late(lag, now_);
  advance();
}

void LyingNodes::advance() {
  carry_out(core_.advance(now_), std::nullopt);
  for (auto& [control, node] : honest_) {
    say(control, control::NodeBeat{++node.beats, node.newest_heard, 1, 1});
  }
  const auto deadline = core_.next_deadline();
  test::expect(!deadline || *deadline > now_, "what is due is due again at once");
}

LyingNodes::Hostile& LyingNodes::any_hostile() {
  if (hostile_.empty() || (hostile_.size() < kConnectionsMax && choices_.below(4) == 0)) {
    const ConnectionId fresh = conn(++connections_);
    return hostile_.emplace(fresh, Hostile{fresh}).first->second;
  }
  auto found = hostile_.begin();
  std::advance(found, static_cast<std::ptrdiff_t>(choices_.below(hostile_.size())));
  return found->second;
}

Duration LyingNodes::any_duration() {
  static constexpr Duration kOdd[] = {std::chrono::seconds{60}, Duration::zero(), Duration{1},
                                      Duration::max()};
  return kOdd[choices_.below(std::size(kOdd))];
}

LyingNodes::Hostile* LyingNodes::any_joined() {
  std::vector<Hostile*> joined;
  for (auto& [connection, each] : hostile_) {
    if (each.token) joined.push_back(&each);
  }
  return joined.empty() ? nullptr : joined[choices_.below(joined.size())];
}

NodeName LyingNodes::hostile_name() { return name("liar-" + std::to_string(choices_.below(12))); }

void LyingNodes::step() {
  switch (choices_.below(25)) {
    case 0:
    case 1:
      return honest_frame();
    case 2:
    case 3:
      return pass(std::chrono::milliseconds{choices_.below(300)});
    case 4: {  // joins like anybody
      Hostile& from = any_hostile();
      from.joined_as = some_join(hostile_name(), inc(1 + choices_.below(40)));
      return say(from.connection, *from.joined_as);
    }
    case 5:
      return join_with_a_lie();
    case 6:
      return attach();
    case 7:
      return beat();
    case 8:
      return leave();
    case 9:
    case 10:
      return send_bytes();
    case 11:
    case 12:
      return route_with_a_lie();
    case 13:
      return play_the_broker();
    case 16:
      return honest_records();
    case 17:
    case 18:
      return tell_lies();
    case 19:
      return ask_about_conversations();
    case 20:
    case 21:
      return come_back();
    case 22:
      return choices_.below(4) == 0 ? return_honest() : end_connection();
    case 23:
      return pass_beats(choices_.below(32));
    case 14:
      if (choices_.below(4) == 0) return stall(std::chrono::milliseconds{choices_.below(1000)});
      return say(any_hostile().connection, control::StatusQuery{});
    default:
      return end_connection();
  }
}

void LyingNodes::join_with_a_lie() {
  const ConnectionId from = any_hostile().connection;
  const Honest& victim = any_honest();
  control::Join join = some_join(victim.name, inc(5000 + choices_.below(1000)));
  switch (choices_.below(6)) {
    case 0:  // another's name
      break;
    case 1:  // another's incarnation
      join = some_join(hostile_name(), victim.incarnation);
      break;
    case 2:  // nobody's incarnation
      join.incarnation = local_incarnation();
      break;
    case 5: {  // a past that never was, and the deaths of those who live
      join = some_join(hostile_name(), inc(5000 + choices_.below(1000)));
      join.epoch = Epoch{1 + choices_.below(100)};
      join.isolation_timeout = any_duration();
      const control::Peer peer{victim.name, victim.incarnation, false, std::chrono::seconds{60}};
      join.verdicts.push_back({peer, std::nullopt});
      join.peers.push_back(peer);
      join.peers.push_back({victim.name, inc(9000 + choices_.below(100)), false, {}});
      // and of those who are not there: some of them will come
      for (std::uint64_t i = choices_.below(4); i-- > 0;) {
        const control::Peer absent{hostile_name(), inc(1 + choices_.below(40)),
                                   choices_.below(2) == 0, any_duration()};
        if (choices_.below(4) == 0) {
          join.verdicts.push_back(
              {absent, Evidence{EvidenceSource::kHeartbeatsMissed, any_duration(), any_duration(),
                                any_duration()}});
        }
        if (choices_.below(4) != 0) join.peers.push_back(absent);
      }
      break;
    }
    case 4:  // another's name and incarnation, and not its secret
      join = some_join(victim.name, victim.incarnation);
      join.secret ^= 1 + choices_.below(1000);
      break;
    case 3:  // more than may be said of a node
      join = some_join(hostile_name(), inc(5000 + choices_.below(1000)));
      for (int i = 0; i < 60; ++i) {
        join.labels.emplace_back("label-" + std::to_string(100 + i), std::string(100, 'x'));
      }
      std::sort(join.labels.begin(), join.labels.end());
      break;
  }
  // encode() requires a real incarnation: what it would not write is patched in
  const bool nobody = join.incarnation == local_incarnation();
  if (!nobody) return say(from, std::move(join));
  join.incarnation = inc(0x4242424242424242);
  std::string bytes = wire::encode(ControlFrame{join});
  if (const auto at = bytes.find("\x42\x42\x42\x42\x42\x42\x42\x42"); at != std::string::npos) {
    bytes.replace(at, 8, std::string(8, '\0'));
  }
  say_bytes(from, bytes);
}

void LyingNodes::come_back() {
  const auto was = std::find_if(hostile_.begin(), hostile_.end(), [&](const auto& each) {
    return each.second.joined_as && choices_.below(3) == 0;
  });
  if (was == hostile_.end()) return;
  control::Join join = *was->second.joined_as;
  if (choices_.below(2) == 0) join.epoch = core_.epoch();
  if (choices_.below(4) == 0) join.incarnation = inc(1 + choices_.below(40));  // fenced, anew
  if (choices_.below(8) == 0) join.light = !join.light;
  Hostile& from = choices_.below(4) == 0 ? was->second : any_hostile();
  from.joined_as = join;
  say(from.connection, join);
}

void LyingNodes::end_connection() {
  const ConnectionId ending = any_hostile().connection;
  switch (choices_.below(5)) {
    case 0:
    case 1:
      hostile_.erase(ending);
      return carry_out(core_.on_closed(ending, now_), ending);
    case 2:
      hostile_.erase(ending);
      return carry_out(core_.on_given_up(ending, now_), ending);
    case 3:
      return carry_out(core_.on_withheld(ending, now_), ending);
    default:
      return carry_out(core_.beat(now_), std::nullopt);
  }
}

void LyingNodes::attach() {
  Hostile* joined = any_joined();
  std::uint64_t token = choices_.next();
  if (joined != nullptr) {
    switch (choices_.below(5)) {
      case 0:
        token = *joined->token + 1;
        break;
      case 1:
        token = *joined->token ^ (std::uint64_t{1} << choices_.below(64));
        break;
      case 2:
        token = 0;
        break;
      default:
        token = *joined->token;  // again, and on whatever connection
    }
  }
  say(any_hostile().connection, control::Attach{token});
}

void LyingNodes::beat() {
  Hostile& from = any_hostile();
  std::uint64_t echo = from.newest_heard;
  if (choices_.below(2) == 0) echo += 1 + choices_.below(3);
  if (choices_.below(4) == 0) echo = choices_.next();
  const bool huge = choices_.below(2) == 0;
  say(from.connection, control::NodeBeat{choices_.next(), echo, huge ? ~0u : 0u, huge ? ~0u : 0u});
}

void LyingNodes::leave() {
  Hostile& from = any_hostile();
  if (choices_.below(3) == 0) return;
  say(from.connection, control::Leave{});
}

void LyingNodes::play_the_broker() {
  static const auto kFrames = test::control_frames();
  const auto& frame = kFrames[choices_.below(kFrames.size())].frame;
  say(any_hostile().connection, frame);
}

void LyingNodes::send_bytes() {
  const std::vector<std::string>& frames = test::valid_frames();
  const std::string bytes =
      choices_.below(4) == 0
          ? test::any_bytes(choices_.below(10) == 0 ? 5000 : 60, choices_)
          : test::mutated(frames[choices_.below(frames.size())], frames, choices_);
  const ConnectionId from = any_hostile().connection;
  if (choices_.below(2) == 0) return say_bytes(from, bytes);
  route(from, bytes, choices_.below(2) == 0 ? 10 : wire::kPartBytesMax + choices_.below(2),
        nullptr);
}

void LyingNodes::route_with_a_lie() {
  const Honest& victim = any_honest();
  RouteTo to{victim.name, victim.incarnation};
  switch (choices_.below(4)) {
    case 0:
      to.incarnation = inc(1 + choices_.below(50));
      break;
    case 1:
      to.node = hostile_name();
      break;
    default:
      break;  // rightly: a liar may write to whom it likes, in its own name
  }
  route(any_hostile().connection, wire::encode(to), 100, nullptr);
}

void LyingNodes::honest_records() {
  Honest& from = any_honest();
  if (from.conversations.empty() || choices_.below(4) == 0) {
    from.conversations.insert({from.incarnation.value(), from.conversations.size()});
  }
  const ConversationId id = *from.conversations.rbegin();
  const auto events = static_cast<std::uint64_t>(TimelineEvent::kAnswered) + 1;
  TimelineRecord record{.conversation = id,
                        .event = static_cast<TimelineEvent>(choices_.below(events)),
                        .text = "honest"};
  say(from.control, control::Records{{record}});
}

void LyingNodes::tell_lies() {
  control::Records records{.records = {}};
  for (std::uint64_t i = choices_.below(12); i-- > 0;) {
    TimelineRecord record = test::full_record();
    record.conversation = any_conversation();
    record.event = static_cast<TimelineEvent>(choices_.below(21));
    record.text = std::string(choices_.below(30) == 0 ? 16'000 : choices_.below(100), 'l');
    records.records.push_back(std::move(record));
  }
  records.left_out.push_back({any_conversation(), choices_.next() >> 1, choices_.next() >> 1});
  say(any_hostile().connection, std::move(records));
}

ConversationId LyingNodes::any_conversation() {
  const Honest& victim = any_honest();
  if (victim.conversations.empty() || choices_.below(2) == 0) return {666, choices_.below(20)};
  return *victim.conversations.rbegin();
}

void LyingNodes::ask_about_conversations() {
  const ConnectionId from = any_hostile().connection;
  switch (choices_.below(4)) {
    case 0:
      return say(from, control::TimelineQuery{any_conversation(), choices_.below(10)});
    case 1:
      return say(from, control::ConversationsQuery{control::ListPosition{
                           choices_.below(2) == 0, choices_.next() >> choices_.below(64)}});
    case 2:
      return say(from, control::CancelQuery{any_conversation()});
    default:
      return say(from, control::CancelAnswer{any_conversation(), choices_.below(2) == 0});
  }
}

}  // namespace liminal::broker
