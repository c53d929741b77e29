// Whatever strangers and joined nodes that lie send to a broker: those who are honest stay members,
// hear of each other as before, get nothing that was not theirs, and every bad frame is counted.

#include <algorithm>
#include <map>
#include <set>

#include "common/wire/limits.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/unit/broker/broker_harness.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::broker {
namespace {

constexpr std::size_t kNodesMax = 8;
constexpr std::size_t kHistoryMax = 5;
constexpr std::size_t kHonest = 3;
constexpr std::size_t kRecordsOfOneMax = 8;
constexpr std::size_t kTimelinesMax = 12;
constexpr std::size_t kTimelineBytesMax = 64 * 1024;
constexpr std::size_t kCancelsMax = 4;
constexpr std::size_t kConnectionsMax = 60;  // of the hostile

/// As in frames.hpp, so that a field that a join gets is filled in there.
control::Join some_join(const NodeName& node, Incarnation incarnation) {
  for (const auto& [what, frame] : test::control_frames()) {
    if (const auto* found = std::get_if<control::Join>(&frame)) {
      control::Join join = *found;
      join.name = node;
      join.incarnation = incarnation;
      join.epoch.reset();
      join.peers.clear();
      join.verdicts.clear();
      return join;
    }
  }
  ADD_FAILURE() << "frames.hpp has no join";
  return {node, incarnation, true, {}, {}};
}

/// Frames are in the order of who sends them.
std::size_t first_of_broker() {
  static const std::size_t index =
      ControlFrame{control::Welcome{Epoch{1}, MembershipVersion{0}, 0, kCluster, {}}}.index();
  return index;
}

class Exploration {
 public:
  explicit Exploration(std::uint64_t seed) : random_(seed), core_(settings(), Random{seed}, now_) {
    for (std::uint64_t i = 1; i <= kHonest; ++i) join_honest(i);
    joining_ = false;
  }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(::testing::Message() << "step " << i);
      step();
      check_bounds();
    }
    if (!::testing::Test::HasFailure()) check_the_end();
  }

  [[nodiscard]] const BrokerCounters& counters() const { return core_.counters(); }
  [[nodiscard]] std::size_t hostile_joins() const { return hostile_joins_; }

 private:
  struct Honest {
    NodeName name;
    Incarnation incarnation;
    ConnectionId control, data;
    std::optional<std::uint64_t> token = {};
    std::uint64_t version = 0;
    std::set<NodeName> view = {};  // of the honest, as it was told
    std::uint64_t newest_heard = 0;
    std::uint64_t beats = 0;
    std::set<ConversationId> conversations = {};  // that it told of
  };
  /// A connection of somebody hostile, with what was answered there.
  struct Hostile {
    ConnectionId connection;
    std::optional<std::uint64_t> token = {};
    std::optional<control::Join> joined_as = {};
    std::uint64_t newest_heard = 0;
  };

  static BrokerCore::Settings settings() {
    auto settings = default_settings();
    settings.cluster.recovery = std::chrono::seconds{6};
    settings.nodes_max = kNodesMax;
    settings.claims_max = 2;
    settings.history_max = kHistoryMax;
    settings.node_bytes_max = 4096;
    settings.cluster.timeline_records_max = kRecordsOfOneMax;
    settings.timelines_max = kTimelinesMax;
    settings.timeline_bytes_max = kTimelineBytesMax;
    settings.cancels_max = kCancelsMax;
    return settings;
  }

  // ---- the honest ----

  void join_honest(std::uint64_t number) {
    const ConnectionId control = conn(10 * number), data = conn(10 * number + 1);
    Honest& node = honest_
                       .emplace(control, Honest{name("honest-" + std::to_string(number)),
                                                inc(1'000'000 + number), control, data})
                       .first->second;
    say(control, some_join(node.name, node.incarnation));
    ASSERT_TRUE(node.token);
    say(data, control::Attach{*node.token});
  }
  Honest& any_honest() {
    auto found = honest_.begin();
    std::advance(found, static_cast<std::ptrdiff_t>(random_.below(honest_.size())));
    return found->second;
  }
  Honest* by_data(ConnectionId connection) {
    for (auto& [control, node] : honest_) {
      if (node.data == connection) return &node;
    }
    return nullptr;
  }

  void honest_frame() {
    const Honest &from = any_honest(), &to = any_honest();
    const auto before = core_.counters().forwarded;
    route(from.data, wire::encode(RouteTo{to.name, to.incarnation}), 100, &from);
    EXPECT_EQ(core_.counters().forwarded, before + 1) << "an honest frame was not forwarded";
  }

  void pass(Duration duration) {
    now_ += duration;
    carry_out(core_.advance(now_), std::nullopt);
    for (auto& [control, node] : honest_) {
      say(control, control::NodeBeat{++node.beats, node.newest_heard, 1, 1});
    }
  }

  // ---- the others ----

  Hostile& any_hostile() {
    if (hostile_.empty() || (hostile_.size() < kConnectionsMax && random_.below(4) == 0)) {
      const ConnectionId fresh = conn(++connections_);
      return hostile_.emplace(fresh, Hostile{fresh}).first->second;
    }
    auto found = hostile_.begin();
    std::advance(found, static_cast<std::ptrdiff_t>(random_.below(hostile_.size())));
    return found->second;
  }
  Hostile* any_joined() {
    std::vector<Hostile*> joined;
    for (auto& [connection, each] : hostile_) {
      if (each.token) joined.push_back(&each);
    }
    return joined.empty() ? nullptr : joined[random_.below(joined.size())];
  }
  NodeName hostile_name() { return name("liar-" + std::to_string(random_.below(12))); }

  void step() {
    switch (random_.below(20)) {
      case 0:
      case 1:
        return honest_frame();
      case 2:
      case 3:
        return pass(std::chrono::milliseconds{random_.below(300)});
      case 4: {  // joins like anybody
        Hostile& from = any_hostile();
        from.joined_as = some_join(hostile_name(), inc(1 + random_.below(40)));
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
      case 14:
        return say(any_hostile().connection, control::StatusQuery{});
      default: {
        const ConnectionId closing = any_hostile().connection;
        if (random_.below(2) == 0) return;
        hostile_.erase(closing);
        return carry_out(core_.on_closed(closing, now_), closing);
      }
    }
  }

  void join_with_a_lie() {
    const ConnectionId from = any_hostile().connection;
    const Honest& victim = any_honest();
    control::Join join = some_join(victim.name, inc(5000 + random_.below(1000)));
    switch (random_.below(6)) {
      case 0:  // another's name
        break;
      case 1:  // another's incarnation
        join = some_join(hostile_name(), victim.incarnation);
        break;
      case 2:  // nobody's incarnation
        join.incarnation = local_incarnation();
        break;
      case 5: {  // a past that never was, and the deaths of those who live
        join = some_join(hostile_name(), inc(5000 + random_.below(1000)));
        join.epoch = Epoch{1 + random_.below(100)};
        const control::Peer peer{victim.name, victim.incarnation, false, std::chrono::seconds{60}};
        join.verdicts.push_back({peer, std::nullopt});
        join.peers.push_back(peer);
        join.peers.push_back({victim.name, inc(9000 + random_.below(100)), false, {}});
        break;
      }
      case 4:  // another's name and incarnation, and not its secret
        join = some_join(victim.name, victim.incarnation);
        join.secret ^= 1 + random_.below(1000);
        break;
      case 3:  // more than may be said of a node
        join = some_join(hostile_name(), inc(5000 + random_.below(1000)));
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

  void attach() {
    Hostile* joined = any_joined();
    std::uint64_t token = random_.next();
    if (joined != nullptr) {
      switch (random_.below(5)) {
        case 0:
          token = *joined->token + 1;
          break;
        case 1:
          token = *joined->token ^ (std::uint64_t{1} << random_.below(64));
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

  void beat() {
    Hostile& from = any_hostile();
    std::uint64_t echo = from.newest_heard;
    if (random_.below(2) == 0) echo += 1 + random_.below(3);
    if (random_.below(4) == 0) echo = random_.next();
    const bool huge = random_.below(2) == 0;
    say(from.connection, control::NodeBeat{random_.next(), echo, huge ? ~0u : 0u, huge ? ~0u : 0u});
  }

  void leave() {
    Hostile& from = any_hostile();
    if (random_.below(3) == 0) return;
    say(from.connection, control::Leave{});
  }

  void play_the_broker() {
    const auto frames = test::control_frames();
    const auto& frame = frames[random_.below(frames.size())].frame;
    say(any_hostile().connection, frame);
  }

  void send_bytes() {
    static const std::vector<std::string> kFrames = [] {
      std::vector<std::string> all;
      for (auto& frame : test::encoded_frames()) all.push_back(std::move(frame.bytes));
      return all;
    }();
    const std::string bytes =
        random_.below(4) == 0
            ? test::random_bytes(random_.below(10) == 0 ? 5000 : 60, random_)
            : test::mutated(kFrames[random_.below(kFrames.size())], kFrames, random_);
    const ConnectionId from = any_hostile().connection;
    if (random_.below(2) == 0) return say_bytes(from, bytes);
    route(from, bytes, random_.below(2) == 0 ? 10 : wire::kPartBytesMax + random_.below(2),
          nullptr);
  }

  void route_with_a_lie() {
    const Honest& victim = any_honest();
    RouteTo to{victim.name, victim.incarnation};
    switch (random_.below(4)) {
      case 0:
        to.incarnation = inc(1 + random_.below(50));
        break;
      case 1:
        to.node = hostile_name();
        break;
      default:
        break;  // rightly: a liar may write to whom it likes, in its own name
    }
    route(any_hostile().connection, wire::encode(to), 100, nullptr);
  }

  // ---- conversations ----

  void honest_records() {
    Honest& from = any_honest();
    if (from.conversations.empty() || random_.below(4) == 0) {
      from.conversations.insert({from.incarnation.value(), from.conversations.size()});
    }
    const ConversationId id = *from.conversations.rbegin();
    const auto events = static_cast<std::uint64_t>(TimelineEvent::kAnswered) + 1;
    TimelineRecord record{.conversation = id,
                          .event = static_cast<TimelineEvent>(random_.below(events)),
                          .text = "honest"};
    say(from.control, control::Records{{record}});
  }

  /// Of conversations that others opened, or that nobody did, as much as there is no room for.
  void tell_lies() {
    control::Records records{.records = {}};
    for (std::uint64_t i = random_.below(12); i-- > 0;) {
      TimelineRecord record = test::full_record();
      record.conversation = any_conversation();
      record.event = static_cast<TimelineEvent>(random_.below(21));
      record.text = std::string(random_.below(30) == 0 ? 16'000 : random_.below(100), 'l');
      records.records.push_back(std::move(record));
    }
    records.left_out.push_back({any_conversation(), random_.next() >> 1, random_.next() >> 1});
    say(any_hostile().connection, std::move(records));
  }

  ConversationId any_conversation() {
    const Honest& victim = any_honest();
    if (victim.conversations.empty() || random_.below(2) == 0) return {666, random_.below(20)};
    return *victim.conversations.rbegin();
  }

  void ask_about_conversations() {
    const ConnectionId from = any_hostile().connection;
    switch (random_.below(4)) {
      case 0:
        return say(from, control::TimelineQuery{any_conversation(), random_.below(10)});
      case 1:
        return say(from, control::ConversationsQuery{control::ListPosition{
                             random_.below(2) == 0, random_.next() >> random_.below(64)}});
      case 2:
        return say(from, control::CancelQuery{any_conversation()});
      default:
        return say(from, control::CancelAnswer{any_conversation(), random_.below(2) == 0});
    }
  }

  void check_timelines() {
    const Timelines& kept = core_.timelines();
    EXPECT_LE(kept.conversations(), kTimelinesMax);
    EXPECT_LE(kept.bytes(), kTimelineBytesMax);
    EXPECT_LE(core_.cancels_waiting(), kCancelsMax);
    for (const auto& [control, node] : honest_) {
      if (node.conversations.empty()) continue;
      const auto page = kept.page(control::TimelineQuery{*node.conversations.rbegin()}, now_);
      EXPECT_LE(page.told.size(), kRecordsOfOneMax);
      for (const control::Told& told : page.told) {
        // once forgotten, an id is whoever's that tells of it first
        const bool own = page.summary && told.teller == page.summary->node;
        EXPECT_TRUE(own || !is_told_by_opener(told.record.event))
            << told.teller.value() << " told of another's conversation";
        EXPECT_EQ(told.teller == node.name, told.record.text == "honest");
      }
    }
  }

  // ---- what goes in ----

  template <class Frame>
  void say(ConnectionId from, Frame frame) {
    say_bytes(from, wire::encode(ControlFrame{std::move(frame)}));
  }

  void say_bytes(ConnectionId from, const std::string& bytes) {
    const auto decoded = wire::decode_control(bytes);
    const BrokerCounters before = core_.counters();
    carry_out(core_.on_control(from, "peer", bytes, now_), from);
    const BrokerCounters& after = core_.counters();
    if (!decoded) {
      const auto reason = decoded.error().code == Errc::kUnsupportedVersion
                              ? BadFrameReason::kVersion
                              : BadFrameReason::kMalformed;
      EXPECT_EQ(count(after.rejected, reason), count(before.rejected, reason) + 1);
      EXPECT_EQ(sum(after.rejected), sum(before.rejected) + 1);
    } else if (decoded->index() >= first_of_broker()) {
      EXPECT_EQ(count(after.rejected, BadFrameReason::kOutOfPlace),
                count(before.rejected, BadFrameReason::kOutOfPlace) + 1)
          << "somebody played the broker";
    }
    EXPECT_EQ(after.forwarded, before.forwarded);
  }

  /// Each frame is forwarded, dropped or rejected; exactly one of them, once.
  void route(ConnectionId from, const std::string& header, std::size_t frame_bytes,
             const Honest* sender) {
    const BrokerCounters before = core_.counters();
    const Effects effects = core_.on_data(from, header, frame_bytes, now_);
    const BrokerCounters& after = core_.counters();
    EXPECT_EQ(after.forwarded + sum(after.dropped) + sum(after.rejected),
              before.forwarded + sum(before.dropped) + sum(before.rejected) + 1);
    const auto forwards = among<effect::Forward>(effects);
    EXPECT_EQ(forwards.size(), after.forwarded - before.forwarded);
    for (const auto& forward : forwards) check_forward(forward, header, frame_bytes, sender);
    carry_out(effects, from);
  }

  void check_forward(const effect::Forward& forward, const std::string& header,
                     std::size_t frame_bytes, const Honest* sender) {
    const auto to = wire::decode_route_to(header);
    const auto from = wire::decode_route_from(forward.header);
    ASSERT_TRUE(to && from);
    EXPECT_LE(frame_bytes, wire::kPartBytesMax);
    const Honest* receiver = by_data(forward.connection);
    EXPECT_EQ(receiver != nullptr, to->node.value().starts_with("honest"));
    if (receiver != nullptr) {
      EXPECT_EQ(to->node, receiver->name);
      EXPECT_EQ(to->incarnation, receiver->incarnation);
    }
    if (sender != nullptr) {
      EXPECT_EQ(from->node, sender->name);
      EXPECT_EQ(from->incarnation, sender->incarnation);
    } else {
      EXPECT_FALSE(from->node.value().starts_with("honest")) << "somebody spoke in another's name";
    }
    bool is_member = false;
    for (const Member& member : core_.members()) {
      is_member |= member.name == from->node && member.incarnation == from->incarnation;
    }
    EXPECT_TRUE(is_member) << "a frame of one who is no member was forwarded";
  }

  // ---- what comes out ----

  /// `cause`: the connection that spoke or closed; nullopt: time passed.
  void carry_out(const Effects& effects, std::optional<ConnectionId> cause) {
    for (const Effect& effect : effects) {
      if (const auto* send = std::get_if<effect::Send>(&effect)) on_send(*send, cause);
      if (const auto* down = std::get_if<effect::NodeDown>(&effect)) not_honest(down->name);
      if (const auto* left = std::get_if<effect::NodeLeft>(&effect)) not_honest(left->name);
      if (const auto* suspect = std::get_if<effect::NodeSuspect>(&effect))
        not_honest(suspect->name);
      if (const auto* lost = std::get_if<effect::ControlLost>(&effect)) not_honest(lost->name);
      if (const auto* joined = std::get_if<effect::NodeJoined>(&effect)) {
        if (!joining_) not_honest(joined->name);
        hostile_joins_ += !joining_;
      }
    }
  }
  static void not_honest(const NodeName& who) {
    EXPECT_FALSE(who.value().starts_with("honest")) << who.value() << " was harmed";
  }

  void on_send(const effect::Send& send, std::optional<ConnectionId> cause) {
    const auto frame = wire::decode_control(send.bytes);
    ASSERT_TRUE(frame) << frame.error().detail;
    ASSERT_LE(send.bytes.size(), wire::kPartBytesMax);
    if (const auto found = honest_.find(send.connection); found != honest_.end()) {
      return told_honest(found->second, *frame, cause);
    }
    if (Honest* node = by_data(send.connection)) {
      EXPECT_TRUE(joining_ && cause == node->data &&
                  std::holds_alternative<control::Attached>(*frame))
          << "an honest data connection was told something";
      return;
    }
    const auto found = hostile_.find(send.connection);
    ASSERT_NE(found, hostile_.end()) << "a frame to a connection that closed";
    if (const auto* welcome = std::get_if<control::Welcome>(&*frame)) {
      found->second.token = welcome->token;
    } else if (const auto* beat = std::get_if<control::BrokerBeat>(&*frame)) {
      found->second.newest_heard = beat->number;
    }
  }

  void told_honest(Honest& node, const ControlFrame& frame, std::optional<ConnectionId> cause) {
    if (const auto* welcome = std::get_if<control::Welcome>(&frame)) {
      EXPECT_TRUE(joining_ && cause == node.control) << "a welcome that nobody asked for";
      node.token = welcome->token;
      node.version = welcome->version.value();
      for (const Member& member : welcome->members) node.view.insert(member.name);
    } else if (const auto* beat = std::get_if<control::BrokerBeat>(&frame)) {
      node.newest_heard = beat->number;
    } else if (const auto* changes = std::get_if<control::Changes>(&frame)) {
      EXPECT_EQ(changes->version.value(), ++node.version) << "a gap or an overlap";
      for (const auto& change : changes->changes) {
        if (!joining_) not_honest(change.member.name);
        node.view.insert(change.member.name);
      }
    } else if (const auto* loads = std::get_if<control::Loads>(&frame)) {
      EXPECT_LE(loads->loads.size(), kNodesMax);
    } else if (const auto* order = std::get_if<control::CancelOrder>(&frame)) {
      EXPECT_TRUE(node.conversations.contains(order->conversation)) << "not its conversation";
      say(node.control, control::CancelAnswer{order->conversation, random_.below(2) == 0});
    } else {
      ADD_FAILURE() << "an honest node was refused or fenced";
    }
  }

  // ---- what holds ----

  template <class Counts, class Kind>
  static std::uint64_t count(const Counts& counts, Kind kind) {
    return counts[static_cast<std::size_t>(kind)];
  }
  template <class Counts>
  static std::uint64_t sum(const Counts& counts) {
    std::uint64_t all = 0;
    for (const std::uint64_t each : counts) all += each;
    return all;
  }

  void check_bounds() {
    const auto members = core_.members();
    EXPECT_LE(members.size(), kNodesMax);
    const auto honest = std::count_if(members.begin(), members.end(), [](const Member& member) {
      return member.name.value().starts_with("honest") && member.state == MemberState::kJoined;
    });
    EXPECT_EQ(honest, static_cast<std::ptrdiff_t>(kHonest));
    EXPECT_LE(core_.status(now_).nodes.size(), kNodesMax + kHistoryMax);
    if (random_.below(8) == 0) check_timelines();
  }

  /// When all the others are gone and forgotten, the honest are where they were.
  void check_the_end() {
    while (!hostile_.empty()) {
      const ConnectionId closing = hostile_.begin()->first;
      hostile_.erase(hostile_.begin());
      carry_out(core_.on_closed(closing, now_), closing);
    }
    for (int i = 0; i < 40; ++i) pass(250ms);
    EXPECT_EQ(core_.members().size(), kHonest);
    for (const auto& [control, node] : honest_) {
      EXPECT_EQ(node.version, core_.version().value());
      for (const auto& [other_control, other] : honest_) {
        EXPECT_TRUE(control == other_control || node.view.contains(other.name));
      }
    }
    for (int i = 0; i < 10; ++i) honest_frame();
  }

  Random random_;
  TimePoint now_{1h};
  BrokerCore core_;
  bool joining_ = true;
  std::map<ConnectionId, Honest> honest_;
  std::map<ConnectionId, Hostile> hostile_;
  std::uint64_t connections_ = 1000;
  std::size_t hostile_joins_ = 0;
};

TEST(BrokerFuzz, LiarsHarmNobodyElse) {
  std::uint64_t rejected = 0, dropped = 0, forwarded = 0, refusals = 0;
  std::size_t joins = 0;
  test::for_each_seed(2000, [&](std::uint64_t seed) {
    Exploration exploration{seed};
    exploration.run(400);
    for (const auto count : exploration.counters().rejected) rejected += count;
    for (const auto count : exploration.counters().dropped) dropped += count;
    forwarded += exploration.counters().forwarded;
    refusals += exploration.counters().refusals;
    joins += exploration.hostile_joins();
  });
  if (std::getenv("LIMINAL_FUZZ_SEEDS") == nullptr) {  // the walk goes where it should
    for (const std::uint64_t count : {rejected, dropped, forwarded, refusals})
      EXPECT_GT(count, 100u);
    EXPECT_GT(joins, 20u);
  }
}

}  // namespace
}  // namespace liminal::broker
