// Whatever a listed peer, or the broker itself, sends to a node: the node does not break, delivers
// nothing that is not for it, and what an honest peer says arrives once and in order beside it.
#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>

#include "common/wire/codec.hpp"
#include "node/remote/node_core.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {
namespace {

const Epoch kEpoch{77};
const NodeName kSelf{"self"}, kHonest{"honest"}, kLiar{"liar"};
const Incarnation kHonestIncarnation{500}, kLiarIncarnation{600};

std::vector<std::string> valid_frames() {
  std::vector<std::string> all;
  for (auto& frame : encoded_frames()) all.push_back(std::move(frame.bytes));
  return all;
}

Member listed(const NodeName& name, Incarnation incarnation) {
  Member found = member();
  found.name = name;
  found.incarnation = incarnation;
  found.state = MemberState::kJoined;
  return found;
}

/// A welcome as in frames.hpp, so that a field that it gets is filled in there.
control::Welcome some_welcome(std::vector<Member> members) {
  for (const auto& [what, frame] : control_frames()) {
    if (const auto* found = std::get_if<control::Welcome>(&frame)) {
      control::Welcome welcome = *found;
      welcome.epoch = kEpoch;
      welcome.version = MembershipVersion{10};
      welcome.members = std::move(members);
      return welcome;
    }
  }
  ADD_FAILURE() << "frames.hpp has no welcome";
  return {kEpoch, MembershipVersion{10}, 1, settings(), {}};
}

class Exploration {
 public:
  explicit Exploration(std::uint64_t seed)
      : random_(seed), core_({.name = kSelf}, Random{seed}), peer_(SessionNumber{1}, {}) {
    carry_out(core_.start(now_));
    carry_out(core_.on_control_connected(now_));
    tell(some_welcome({listed(kHonest, kHonestIncarnation), listed(kLiar, kLiarIncarnation)}));
    carry_out(core_.on_data_connected(now_));
    carry_out(core_.on_data_control(wire::encode(ControlFrame{control::Attached{}}), now_));
    EXPECT_TRUE(core_.joined());
  }

  /// The broker is honest; one of the two peers is not.
  void with_a_lying_peer() {
    for (int i = 0; i < 150 && !::testing::Test::HasFailure(); ++i) {
      now_ += std::chrono::milliseconds{random_.below(50)};
      switch (random_.below(6)) {
        case 0:
          honest_signal();
          break;
        case 1:
          own_signal(random_.below(2) == 0);
          break;
        case 2:
          advance();
          break;
        default:
          lie();
      }
      EXPECT_TRUE(core_.joined());
      EXPECT_LE(core_.sessions(), 2u);
    }
    // What was under way with the honest one arrives.
    for (int i = 0; i < 20; ++i) {
      now_ += std::chrono::milliseconds{20};
      advance();
      exchange();
    }
    EXPECT_TRUE(expected_.empty()) << expected_.size() << " honest signals are missing";
    EXPECT_TRUE(expected_at_peer_.empty()) << "the honest peer misses what was sent to it";
  }

  /// Nobody is honest: all that is asked is that nothing breaks.
  void with_a_lying_broker() {
    honest_only_ = false;
    const auto frames = control_frames();
    static const std::vector<std::string> kValid = valid_frames();
    for (int i = 0; i < 150 && !::testing::Test::HasFailure(); ++i) {
      now_ += std::chrono::milliseconds{random_.below(500)};
      const std::string valid = wire::encode(frames[random_.below(frames.size())].frame);
      const std::string bytes = random_.below(2) == 0 ? valid : mutated(valid, kValid, random_);
      switch (random_.below(12)) {
        case 0:
        case 1:
        case 2:
          carry_out(core_.on_control(bytes, now_));
          break;
        case 3:
          carry_out(core_.on_data_control(bytes, now_));
          break;
        case 4:
          lie();
          break;
        case 5:
          own_signal(random_.below(2) == 0);
          break;
        case 6:
          carry_out(random_.below(2) == 0 ? core_.on_control_closed(now_)
                                          : core_.on_data_closed(now_));
          break;
        case 7:
          carry_out(core_.on_control_connected(now_));
          break;
        case 8:
          carry_out(core_.on_data_connected(now_));
          break;
        case 9:
          tell(some_welcome(
              {listed(kLiar, kLiarIncarnation),
               listed(kSelf, random_.below(2) == 0 ? core_.incarnation() : kHonestIncarnation)}));
          break;
        case 10: {
          control::Changes changes{MembershipVersion{10 + random_.below(4)}, {}};
          for (std::uint64_t n = random_.below(3); n-- > 0;) {
            Member about = listed(random_.below(2) == 0 ? kLiar : kSelf,
                                  random_.below(2) == 0 ? kLiarIncarnation : core_.incarnation());
            about.state = static_cast<MemberState>(random_.below(4));
            const bool ended = about.state > MemberState::kSuspect;
            changes.changes.push_back(
                {std::move(about), ended ? std::optional{evidence()} : std::nullopt});
          }
          tell(std::move(changes));
          break;
        }
        default:
          carry_out(core_.on_turn(1, 1, now_));
          advance();
      }
    }
  }

  [[nodiscard]] const NodeCore::Counters& counters() const { return core_.counters(); }
  [[nodiscard]] std::uint64_t delivered_of_liar() const { return delivered_of_liar_; }

 private:
  struct Expected {
    Serial from;
    LinkId link;
  };

  template <class Frame>
  void tell(Frame frame) {
    carry_out(core_.on_control(wire::encode(ControlFrame{std::move(frame)}), now_));
  }
  [[nodiscard]] Pid own(std::uint64_t serial) const {
    return {kSelf, core_.incarnation(), Serial{serial}};
  }
  static std::string header(const NodeName& name, Incarnation incarnation, Epoch epoch = kEpoch,
                            MembershipVersion version = MembershipVersion{10}) {
    return wire::encode(RouteFrom{name, incarnation, epoch, version});
  }

  void honest_signal() {
    const Serial from{1 + random_.below(3)};
    const LinkId link{++numbers_};
    expected_.push_back({from, link});
    peer_.send(signal::Link{{kHonest, kHonestIncarnation, from}, own(4), link});
    exchange();
  }

  void own_signal(bool to_honest) {
    const Pid to = to_honest ? Pid{kHonest, kHonestIncarnation, Serial{9}}
                             : Pid{kLiar, kLiarIncarnation, Serial{9}};
    const Pid from{kSelf, local_incarnation(), Serial{4}};
    ++numbers_;
    if (to_honest) expected_at_peer_.push_back(numbers_);
    carry_out(core_.on_signal(signal::Link{from, to, LinkId{numbers_}}, now_));
    exchange();
  }

  void advance() {
    carry_out(core_.advance(now_));
    carry_out(core_.flush(now_));
  }

  void exchange() {
    for (const SessionFrame& frame : peer_.collect(now_, 100)) {
      carry_out(
          core_.on_frame(header(kHonest, kHonestIncarnation), wire::encode(frame, now_), now_));
    }
    carry_out(core_.flush(now_));
  }

  /// A frame of the liar: the broker says whose it is, what is in it is the liar's choice.
  void lie() {
    SessionFrame frame{SessionNumber{static_cast<std::uint32_t>(random_.below(10) == 0 ? 2 : 1)},
                       1 + (random_.below(4) == 0 ? random_.below(100) : 0),
                       random_.below(4) == 0 ? random_.next() : 4'000'000,
                       random_.below(6) == 0,
                       liar_sequence_,
                       {}};
    if (random_.below(6) == 0) frame.first_sequence = random_.next() >> random_.below(64);
    const auto all = items();
    for (std::uint64_t n = random_.below(4); n-- > 0;) {
      Item item = all[random_.below(all.size())].item;
      readdress(item);
      frame.items.push_back(std::move(item));
    }
    if (!can_be_written(frame)) frame.items.erase(frame.items.begin() + 1, frame.items.end());
    std::string bytes = wire::encode(frame, now_);
    static const std::vector<std::string> kValid = valid_frames();
    if (random_.below(3) == 0) bytes = mutated(std::move(bytes), kValid, random_);
    std::string route = header(kLiar, kLiarIncarnation);
    switch (random_.below(12)) {  // what only a broker that lies would say
      case 0:
        route = mutated(std::move(route), kValid, random_);
        if (honest_only_) route = header(kLiar, kLiarIncarnation);
        break;
      case 1:
        route = header(kLiar, kLiarIncarnation, Epoch{78});
        break;
      case 2:  // of one who is not listed, although our list is new enough
        route = header(kLiar, Incarnation{601});
        break;
    }
    const auto before = core_.counters();
    carry_out(core_.on_frame(route, bytes, now_));
    const auto& after = core_.counters();
    if (!wire::decode_session_frame(bytes, now_)) {
      EXPECT_EQ(after.malformed_frames + after.foreign_frames,
                before.malformed_frames + before.foreign_frames + 1);
    }
    const bool taken = after.malformed_frames == before.malformed_frames &&
                       after.foreign_frames == before.foreign_frames &&
                       after.session_violations == before.session_violations;
    if (taken && bytes == wire::encode(frame, now_) && frame.first_sequence == liar_sequence_) {
      liar_sequence_ += frame.items.size();
    }
  }

  /// The ends that a frame's items have: mostly its own, sometimes another's.
  void readdress(Item& item) {
    const Pid from = random_.below(12) == 0 ? Pid{kHonest, kHonestIncarnation, Serial{1}}
                                            : Pid{kLiar, kLiarIncarnation, Serial{3}};
    const Pid to = random_.below(12) == 0 ? Pid{kHonest, kHonestIncarnation, Serial{9}} : own(4);
    const auto put = [&](auto& signal) {
      const Serial from_serial = signal.from.serial, to_serial = signal.to.serial;
      signal.from = from;
      signal.to = to;
      if (from_serial == Serial{0}) signal.from.serial = from_serial;
      if (to_serial == Serial{0}) signal.to.serial = to_serial;
    };
    if (auto* signal = std::get_if<Signal>(&item)) std::visit(put, *signal);
    if (auto* begin = std::get_if<item::Begin>(&item)) put(begin->send);
  }

  /// encode() writes the two ends once.
  static bool can_be_written(const SessionFrame& frame) {
    std::optional<std::pair<Pid, Pid>> ends;
    const auto same = [&](const Pid& from, const Pid& to) {
      if (!ends) ends.emplace(from, to);
      return ends->first.incarnation == from.incarnation &&
             ends->second.incarnation == to.incarnation;
    };
    return std::all_of(frame.items.begin(), frame.items.end(), [&](const Item& item) {
      if (const auto* signal = std::get_if<Signal>(&item))
        return same(from_of(*signal), to_of(*signal));
      const auto* begin = std::get_if<item::Begin>(&item);
      return begin == nullptr || same(begin->send.from, begin->send.to);
    });
  }

  void carry_out(const NodeCore::Effects& effects) {
    for (const auto& effect : effects) {
      if (const auto* deliver = std::get_if<node_effect::Deliver>(&effect)) {
        on_delivered(deliver->signal);
      } else if (const auto* sent = std::get_if<node_effect::SendFrame>(&effect)) {
        on_sent(*sent);
      } else if (honest_only_) {
        EXPECT_FALSE(std::holds_alternative<node_effect::Fenced>(effect));
        EXPECT_FALSE(std::holds_alternative<node_effect::Interrupted>(effect));
      }
    }
  }

  void on_delivered(const Signal& signal) {
    EXPECT_TRUE(to_of(signal).is_local());
    EXPECT_EQ(to_of(signal).node, kSelf);
    EXPECT_FALSE(from_of(signal).is_local());
    if (!honest_only_) return;
    if (from_of(signal).node == kLiar) {
      ++delivered_of_liar_;
      return;
    }
    ASSERT_EQ(from_of(signal).node, kHonest);
    const auto* link = std::get_if<signal::Link>(&signal);
    ASSERT_NE(link, nullptr) << "the honest one never said so";
    const auto found = std::find_if(expected_.begin(), expected_.end(), [&](const Expected& each) {
      return each.from == link->from.serial;
    });
    ASSERT_NE(found, expected_.end()) << "something came twice, or was never sent";
    EXPECT_EQ(found->link, link->link) << "another was next of this process";
    expected_.erase(found);
  }

  void on_sent(const node_effect::SendFrame& sent) {
    const auto to = wire::decode_route_to(sent.header);
    ASSERT_TRUE(to);
    auto frame = wire::decode_session_frame(sent.frame, now_);
    ASSERT_TRUE(frame) << frame.error().detail;
    if (to->node != kHonest || !honest_only_) return;
    const auto received = peer_.receive(*std::move(frame), now_);
    ASSERT_TRUE(received) << received.error().detail;
    for (const Signal& signal : received->signals) {
      peer_.returned(signal);
      const auto* link = std::get_if<signal::Link>(&signal);
      ASSERT_NE(link, nullptr) << "the honest one was told what it did not ask for";
      ASSERT_FALSE(expected_at_peer_.empty());
      EXPECT_EQ(link->link.value(), expected_at_peer_.front());
      expected_at_peer_.pop_front();
    }
  }

  Random random_;
  TimePoint now_{1000s};
  bool honest_only_ = true;        // the broker
  std::deque<Expected> expected_;  // of the honest peer
  std::deque<std::uint64_t> expected_at_peer_;
  NodeCore core_;
  Session peer_;
  std::uint64_t numbers_ = 0;
  std::uint64_t liar_sequence_ = 1;
  std::uint64_t delivered_of_liar_ = 0;
};

TEST(NodeFuzz, APeerThatLiesHarmsNeitherTheNodeNorItsOtherPeers) {
  NodeCore::Counters seen;
  std::uint64_t delivered = 0;
  for_each_seed(3000, [&](std::uint64_t seed) {
    Exploration exploration{seed};
    exploration.with_a_lying_peer();
    seen.malformed_frames += exploration.counters().malformed_frames;
    seen.foreign_frames += exploration.counters().foreign_frames;
    seen.session_violations += exploration.counters().session_violations;
    delivered += exploration.delivered_of_liar();
  });
  if (std::getenv("LIMINAL_FUZZ_SEEDS") == nullptr) {  // the walk goes where it should
    for (const std::uint64_t count :
         {seen.malformed_frames, seen.foreign_frames, seen.session_violations, delivered}) {
      EXPECT_GT(count, 100u);
    }
  }
}

TEST(NodeFuzz, ABrokerThatLiesDoesNotBreakTheNode) {
  for_each_seed(3000, [](std::uint64_t seed) {
    Exploration exploration{seed};
    exploration.with_a_lying_broker();
  });
}

}  // namespace
}  // namespace liminal::test
