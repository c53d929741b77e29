// Goal: whatever nodes, connections and strangers do, in any order, every node's view follows the
// broker's, names and ends are what they promise to be, and only the living are heard.
// On failure the seed is printed.
#include <map>
#include <set>

#include "broker_harness.hpp"

namespace liminal::broker {
namespace {

/// A node as it should be, and strangers beside it, taking random turns.
class Exploration {
 public:
  explicit Exploration(std::uint64_t seed) : random_(seed), core_(settings(), Random{seed}, now_) {}

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(::testing::Message() << "step " << i);
      step();
      check_views();
    }
  }

  struct Seen {
    int joins = 0, resumes = 0, downs = 0, lefts = 0, abandoned = 0, refusals = 0, claims = 0,
        forwards = 0, recovered = 0, late = 0;
  };
  [[nodiscard]] const Seen& seen() const { return seen_; }

 private:
  struct Node {
    NodeName name;
    Incarnation incarnation;
    bool living = false;  // welcomed, and no end of it was reported
    bool announced = false;
    std::optional<ConnectionId> control = {};  // the newest it has, if open
    std::optional<ConnectionId> data = {};
    std::optional<ConnectionId> welcomed = {};  // where the newest Welcome came
    bool attached = false;
    std::optional<std::uint64_t> token = {};
    std::uint64_t version = 0;
    std::map<Incarnation, Member> view = {};
    std::uint64_t newest_heard = 0;
    std::uint64_t beats = 0;
  };

  static BrokerCore::Settings settings() {
    auto settings = default_settings();
    settings.nodes_max = 5;
    return settings;
  }

  ConnectionId open() {
    const ConnectionId connection{++connections_};
    open_.insert(connection);
    return connection;
  }
  void close(ConnectionId connection) {
    open_.erase(connection);
    for (auto& [incarnation, node] : nodes_) {
      if (node.control == connection) node.control.reset();
      if (node.data == connection) {
        node.data.reset();
        node.attached = false;
      }
    }
    carry_out(core_.on_closed(connection, now_));
  }
  void send(ConnectionId from, const ControlFrame& frame) {
    carry_out(core_.on_control(from, "peer", wire::encode(frame), now_));
  }
  Node& any_node() {
    auto found = nodes_.begin();
    std::advance(found, static_cast<std::ptrdiff_t>(random_.below(nodes_.size())));
    return found->second;
  }

  void step() {
    if (nodes_.empty() || random_.below(12) == 0) return begin_node();
    Node& node = any_node();
    switch (random_.below(16)) {
      case 0:  // resume or claim again, the old connection still open or not
        return join(node);
      case 1:
        if (node.control) close(*node.control);
        return;
      case 2:
        if (node.data) close(*node.data);
        return;
      case 3:
      case 4:
        return attach(node);
      case 5:
        if (node.control && random_.below(3) == 0) send(*node.control, control::Leave{});
        return;
      case 6:  // some connection of the past closes, or one of now without the node's knowing
        if (!open_.empty()) {
          auto found = open_.begin();
          std::advance(found, static_cast<std::ptrdiff_t>(random_.below(open_.size())));
          close(*found);
        }
        return;
      case 7:
        return garbage();
      case 8:
      case 9:
        return route(node);
      case 10:
        if (random_.below(10) != 0) return;
        now_ += 2s;
        core_.observer_late(2s, now_);
        return carry_out(core_.advance(now_));
      case 11:
        return late(node);
      default:
        return pass();
    }
  }

  void begin_node() {
    const Incarnation incarnation{++incarnations_};
    const NodeName chosen = name(std::string(1, static_cast<char>('a' + random_.below(4))));
    Node& node = nodes_.emplace(incarnation, Node{chosen, incarnation}).first->second;
    join(node);
  }

  void join(Node& node) {
    node.control = open();
    joined_at_.insert_or_assign(*node.control, node.incarnation);
    send(*node.control, control::Join{.name = node.name,
                                      .incarnation = node.incarnation,
                                      .light = false,
                                      .services = {},
                                      .labels = {}});
  }

  /// A connection that closed before anything of it was read.
  void late(const Node& node) {
    ++seen_.late;
    const ConnectionId connection{++connections_};
    const auto say = [&](const ControlFrame& frame) {
      carry_out(core_.on_control(connection, "peer", wire::encode(frame), now_, Line::kClosed));
    };
    if (random_.below(3) == 0 && node.token) {
      say(control::Attach{*node.token});
    } else {
      say(control::Join{.name = node.name,
                        .incarnation = node.incarnation,
                        .light = false,
                        .services = {},
                        .labels = {}});
      if (random_.below(20) == 0) say(control::Leave{});
    }
    carry_out(core_.on_data(connection, wire::encode(RouteTo{node.name, node.incarnation}), 10,
                            now_, Line::kClosed));
    carry_out(core_.on_closed(connection, now_));
  }

  void attach(Node& node) {
    if (!node.token) return;
    node.data = open();
    send(*node.data, control::Attach{*node.token});
  }

  void route(Node& from) {
    const Node& to = any_node();
    if (!from.data) return;
    from_ = from.incarnation;
    carry_out(core_.on_data(*from.data, wire::encode(RouteTo{to.name, to.incarnation}), 10, now_));
    from_.reset();
  }

  void garbage() {
    std::string bytes(random_.below(40), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_.next());
    const ConnectionId from =
        open_.empty() || random_.below(2) == 0 ? ConnectionId{999'999} : *open_.begin();
    carry_out(core_.on_control(from, "peer", bytes, now_));
    carry_out(core_.on_data(from, bytes, 10, now_));
  }

  // Most nodes echo; some are mute for this while.
  void pass() {
    now_ += std::chrono::milliseconds{random_.below(500)};
    carry_out(core_.advance(now_));
    for (auto& [incarnation, node] : nodes_) {
      if (!node.control || random_.below(4) == 0) continue;
      send(*node.control, control::NodeBeat{++node.beats, node.newest_heard, 0, 0});
    }
  }

  // ---- what the broker does ----

  void carry_out(const Effects& effects) {
    for (const Effect& effect : effects) {
      if (const auto* event = std::get_if<effect::NodeJoined>(&effect)) {
        Node& node = nodes_.at(event->incarnation);
        EXPECT_TRUE(node.living);
        EXPECT_FALSE(node.announced) << "announced twice";
        EXPECT_TRUE(node.control && node.data) << "announced before both connections stand";
        node.announced = true;
        ++seen_.joins;
      } else if (const auto* down = std::get_if<effect::NodeDown>(&effect)) {
        end(down->incarnation, true);
        ++seen_.downs;
      } else if (const auto* left = std::get_if<effect::NodeLeft>(&effect)) {
        end(left->incarnation, true);
        ++seen_.lefts;
      } else if (const auto* abandoned = std::get_if<effect::JoinAbandoned>(&effect)) {
        end(abandoned->incarnation, false);
        ++seen_.abandoned;
      } else if (const auto* forward = std::get_if<effect::Forward>(&effect)) {
        on_forward(*forward);
      } else if (const auto* send = std::get_if<effect::Send>(&effect)) {
        on_send(*send);
      }
      seen_.resumes += std::holds_alternative<effect::NodeResumed>(effect);
      seen_.refusals += std::holds_alternative<effect::ClaimRefused>(effect);
      seen_.claims += std::holds_alternative<effect::ClaimWaits>(effect);
      seen_.recovered += std::holds_alternative<effect::NodeRecovered>(effect);
    }
  }

  void end(Incarnation incarnation, bool was_announced) {
    Node& node = nodes_.at(incarnation);
    EXPECT_TRUE(node.living) << "ended twice";
    EXPECT_EQ(node.announced, was_announced);
    node.living = false;
    node.announced = false;
    node.attached = false;
    node.token.reset();
    ended_.insert(incarnation);
  }

  void on_forward(const effect::Forward& forward) {
    ++seen_.forwards;
    ASSERT_TRUE(from_) << "a forward without a frame";
    const auto header = wire::decode_route_from(forward.header);
    ASSERT_TRUE(header);
    EXPECT_EQ(header->incarnation, *from_);
    EXPECT_EQ(header->version, core_.version());
    EXPECT_TRUE(nodes_.at(*from_).announced) << "a frame of one that does not live was forwarded";
    for (const auto& [incarnation, node] : nodes_) {
      if (node.data != forward.connection) continue;
      EXPECT_TRUE(node.announced) << "a frame was forwarded to one that does not live";
      EXPECT_TRUE(!node.control || incarnation == *from_ || node.view.contains(*from_))
          << "a frame came before the sender's joining";
      return;
    }
    ADD_FAILURE() << "forwarded to a connection that nobody uses";
  }

  void on_send(const effect::Send& send) {
    const auto frame = wire::decode_control(send.bytes);
    ASSERT_TRUE(frame) << frame.error().detail;
    if (send.connection != ConnectionId{999'999}) {
      EXPECT_TRUE(open_.contains(send.connection)) << "a frame to a connection that closed";
    }
    if (const auto* welcome = std::get_if<control::Welcome>(&*frame)) {
      on_welcome(nodes_.at(joined_at_.at(send.connection)), send.connection, *welcome);
      return;
    }
    for (auto& [incarnation, node] : nodes_) {
      if (node.control == send.connection) on_control_frame(node, *frame);
      if (node.data != send.connection) continue;
      if (std::holds_alternative<control::Attached>(*frame)) node.attached = true;
      EXPECT_FALSE(node.living && node.attached && std::holds_alternative<control::Unknown>(*frame))
          << "a living node was fenced";
    }
  }

  void on_welcome(Node& node, ConnectionId connection, const control::Welcome& welcome) {
    EXPECT_EQ(node.control, connection);
    EXPECT_FALSE(ended_.contains(node.incarnation)) << "an ended incarnation was welcomed";
    EXPECT_LE(welcome.version, core_.version());
    node.living = true;
    node.welcomed = connection;
    node.token = welcome.token;
    node.version = welcome.version.value();
    node.view.clear();
    for (const Member& member : welcome.members) {
      EXPECT_NE(member.incarnation, node.incarnation) << "a node was told of itself";
      node.view.emplace(member.incarnation, member);
    }
  }

  void on_control_frame(Node& node, const ControlFrame& frame) {
    if (const auto* beat = std::get_if<control::BrokerBeat>(&frame)) {
      EXPECT_GT(beat->number, node.newest_heard);
      node.newest_heard = beat->number;
    } else if (const auto* changes = std::get_if<control::Changes>(&frame)) {
      EXPECT_EQ(node.welcomed, node.control) << "changes before the welcome";
      EXPECT_EQ(changes->version.value(), node.version + 1) << "a gap or an overlap";
      node.version = changes->version.value();
      for (const auto& change : changes->changes) apply(node, change);
    } else if (std::holds_alternative<control::Unknown>(frame)) {
      EXPECT_FALSE(node.living) << "a living node was fenced";
    }
  }

  void apply(Node& node, const control::Change& change) {
    const Member& member = change.member;
    EXPECT_NE(member.incarnation, node.incarnation) << "a node was told of itself";
    switch (member.state) {
      case MemberState::kJoined:
        EXPECT_FALSE(ended_.contains(member.incarnation)) << "down is final";
        for (const auto& [incarnation, other] : node.view) {
          EXPECT_TRUE(incarnation == member.incarnation || other.name != member.name)
              << "two incarnations of one name";
        }
        node.view.insert_or_assign(member.incarnation, member);
        return;
      case MemberState::kExpected:
        ADD_FAILURE() << "there is nobody to expect";
        return;
      case MemberState::kSuspect:
        EXPECT_TRUE(node.view.contains(member.incarnation));
        node.view.insert_or_assign(member.incarnation, member);
        return;
      case MemberState::kDown:
      case MemberState::kLeft:
        EXPECT_TRUE(change.evidence);
        EXPECT_EQ(node.view.erase(member.incarnation), 1u) << "an end of one that was not there";
        return;
    }
  }

  void check_views() {
    const auto members = core_.members();
    std::set<NodeName> names;
    for (const Member& member : members) {
      EXPECT_TRUE(names.insert(member.name).second) << "two incarnations of one name";
      EXPECT_TRUE(nodes_.at(member.incarnation).announced);
    }
    std::size_t announced = 0;
    for (const auto& [incarnation, node] : nodes_) {
      announced += node.announced;
      if (!node.living || !node.control) continue;
      EXPECT_EQ(node.version, core_.version().value());
      std::vector<Member> view;
      for (const Member& member : members) {
        if (member.incarnation != incarnation) view.push_back(member);
      }
      std::vector<Member> held;
      for (const auto& [other, member] : node.view) held.push_back(member);
      std::sort(held.begin(), held.end(),
                [](const auto& a, const auto& b) { return a.name < b.name; });
      EXPECT_EQ(held, view);
    }
    EXPECT_EQ(announced, members.size());
    for (const auto& entry : core_.status(now_).nodes) {
      EXPECT_EQ(names.contains(entry.member.name), entry.evidence == std::nullopt);
    }
  }

  Random random_;
  TimePoint now_{1h};
  BrokerCore core_;
  std::uint64_t connections_ = 0;
  std::uint64_t incarnations_ = 0;
  std::set<ConnectionId> open_;
  std::map<Incarnation, Node> nodes_;
  std::map<ConnectionId, Incarnation> joined_at_;
  std::set<Incarnation> ended_;
  std::optional<Incarnation> from_;  // whose frame is being routed
  Seen seen_;
};

TEST(BrokerCoreExploration, EveryViewFollowsTheBrokersAndOnlyTheLivingAreHeard) {
  Exploration::Seen total;
  for (std::uint64_t seed = 1; seed <= 60 && !HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Exploration exploration{seed};
    exploration.run(300);
    const auto& seen = exploration.seen();
    total.joins += seen.joins;
    total.resumes += seen.resumes;
    total.downs += seen.downs;
    total.lefts += seen.lefts;
    total.abandoned += seen.abandoned;
    total.refusals += seen.refusals;
    total.claims += seen.claims;
    total.forwards += seen.forwards;
    total.recovered += seen.recovered;
    total.late += seen.late;
  }
  // the walk goes where it should
  for (const int count :
       {total.joins, total.resumes, total.downs, total.lefts, total.abandoned, total.refusals,
        total.claims, total.forwards, total.recovered, total.late}) {
    EXPECT_GT(count, 10);
  }
}

}  // namespace
}  // namespace liminal::broker
