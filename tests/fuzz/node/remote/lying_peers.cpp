#include "tests/fuzz/node/remote/lying_peers.hpp"

#include <algorithm>
#include <optional>
#include <variant>
#include <vector>

#include "tests/fuzz/any_item.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/hostile_bytes.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {
namespace {

const Epoch kEpoch{77};
const NodeName kSelf{"self"}, kHonest{"honest"}, kLiar{"liar"};
const Incarnation kHonestIncarnation{500}, kLiarIncarnation{600};

Member listed(const NodeName& name, Incarnation incarnation) {
  Member found = member();
  found.name = name;
  found.incarnation = incarnation;
  found.state = MemberState::kJoined;
  return found;
}

/// A welcome as in frames.hpp, so that a field that it gets is filled in there.
control::Welcome some_welcome(std::vector<Member> members) {
  static const control::Welcome kWelcome = [] {
    for (const auto& [what, frame] : control_frames()) {
      if (const auto* found = std::get_if<control::Welcome>(&frame)) return *found;
    }
    throw BrokenPromise{"frames.hpp has a welcome"};
  }();
  control::Welcome welcome = kWelcome;
  welcome.epoch = kEpoch;
  welcome.version = MembershipVersion{10};
  welcome.members = std::move(members);
  return welcome;
}

std::string header(const NodeName& name, Incarnation incarnation, Epoch epoch = kEpoch,
                   MembershipVersion version = MembershipVersion{10}) {
  return wire::encode(RouteFrom{name, incarnation, epoch, version});
}

/// Small enough that something waits, and is deferred.
NodeCore::Settings node_settings(Choices& choices) {
  NodeCore::Settings settings{.name = kSelf};
  if (choices.below(2) == 0) settings.outbox_bytes_max = 100 * 1024;
  if (choices.below(4) == 0) settings.frames_per_flush_max = 1;
  return settings;
}

}  // namespace

LyingPeers::LyingPeers(Choices choices)
    : choices_(choices),
      core_(node_settings(choices_), Random{choices_.below(256)}),
      peer_(SessionNumber{1}, {}) {
  carry_out(core_.start(now_));
  control_stands();
  tell(some_welcome({listed(kHonest, kHonestIncarnation), listed(kLiar, kLiarIncarnation)}));
  data_stands();
  tell_on_data(wire::encode(ControlFrame{control::Attached{}}));
  expect(core_.joined(), "the node is not joined");
}

void LyingPeers::with_a_lying_peer() {
  for (int i = 0; i < 150 && !choices_.over(); ++i) {
    now_ += std::chrono::milliseconds{choices_.below(50)};
    switch (choices_.below(7)) {
      case 0:
        honest_signal();
        break;
      case 1:
        own_signal(choices_.below(2) == 0);
        break;
      case 2:
        advance();
        break;
      case 6:
        own_anything();
        break;
      default:
        lie();
    }
    expect(core_.joined(), "the node is not joined");
    expect(core_.sessions() <= 2u, "sessions with more peers than there are");
  }
  // What was under way with the honest one arrives.
  for (int i = 0; i < 20; ++i) {
    now_ += std::chrono::milliseconds{20};
    advance();
    exchange();
  }
  expect(expected_.empty(), "honest signals are missing");
  expect(expected_at_peer_.empty(), "the honest peer misses what was sent to it");
}

void LyingPeers::with_a_lying_broker() {
  honest_only_ = false;
  static const auto kFrames = control_frames();
  for (int i = 0; i < 150 && !choices_.over(); ++i) {
    now_ += std::chrono::milliseconds{choices_.below(500)};
    const std::string valid = wire::encode(kFrames[choices_.below(kFrames.size())].frame);
    const std::string bytes =
        choices_.below(2) == 0 ? valid : mutated(valid, valid_frames(), choices_);
    switch (choices_.below(21)) {
      case 0:
      case 1:
      case 2:
        tell_bytes(bytes);
        break;
      case 17:
        any_beat();
        break;
      case 18:
      case 19:
        reconnect();
        break;
      case 20:
        let_time_pass();
        break;
      case 3:
        tell_on_data(bytes);
        break;
      case 4:
        lie();
        break;
      case 5:
        own_signal(choices_.below(2) == 0);
        break;
      case 6:
        choices_.below(2) == 0 ? close_control() : close_data();
        break;
      case 7:
        control_stands();
        break;
      case 8:
        data_stands();
        break;
      case 9:
        any_welcome();
        break;
      case 10:
        any_change();
        break;
      case 11:
        own_records();
        if (choices_.below(20) == 1) carry_out(core_.leave(now_));
        break;
      case 12:
      case 13:
        own_anything();
        break;
      case 14:  // nothing of ours at all
        tell_bytes(any_bytes(100, choices_));
        break;
      default:
        carry_out(core_.on_turn(1, 1, now_));
        advance();
    }
  }
  check_the_end();
}

void LyingPeers::any_change() {
  if (choices_.below(4) != 0) ++version_;
  control::Changes changes{MembershipVersion{version_}, {}, choices_.below(4) == 0};
  for (std::uint64_t n = choices_.below(3); n-- > 0;) {
    const NodeName& name = choices_.below(4) == 0 ? kSelf : kLiar;
    const Incarnation incarnation = name == kSelf && choices_.below(2) == 0
                                        ? core_.incarnation()
                                        : Incarnation{600 + choices_.below(3)};
    Member about = listed(name, incarnation);
    about.state = static_cast<MemberState>(choices_.below(5));
    const bool ended = about.state == MemberState::kDown || about.state == MemberState::kLeft;
    changes.changes.push_back({std::move(about), ended ? std::optional{evidence()} : std::nullopt});
  }
  tell(std::move(changes));
}

void LyingPeers::any_beat() {
  std::uint64_t echo = newest_beat_;
  if (choices_.below(4) == 0) echo = choices_.next() >> choices_.below(64);
  tell(control::BrokerBeat{++own_beats_, echo});
  if (choices_.below(2) == 0) carry_out(core_.on_turn(1, 1, now_));
}

void LyingPeers::close_all() {
  close_data();
  close_control();
}

void LyingPeers::reconnect() {
  close_all();
  if (choices_.below(2) == 0) let_time_pass();
  control_stands();
  switch (choices_.below(8)) {
    case 0:
      return tell(control::Unknown{Epoch{77 + choices_.below(2)}});
    case 1:
      return tell(control::Refused{static_cast<control::RefusalCode>(choices_.below(4)), "no"});
    default:
      any_welcome();
  }
  data_stands();
  tell_on_data(wire::encode(ControlFrame{control::Attached{}}));
}

void LyingPeers::let_time_pass() {
  static constexpr Duration kSteps[] = {std::chrono::milliseconds{250}, std::chrono::seconds{1},
                                        std::chrono::seconds{4},        std::chrono::seconds{20},
                                        std::chrono::seconds{61},       std::chrono::seconds{121}};
  now_ += kSteps[choices_.below(std::size(kSteps))];
  advance();
}

void LyingPeers::check_the_end() {
  close_all();
  for (int i = 0; i < 10; ++i) {  // longer than it keeps its incarnation without a broker
    now_ += std::chrono::seconds{30};
    advance();
  }
  if (has_left_) return;  // for good: it keeps what it had, and does nothing with it
  expect(core_.sessions() == 0, "a session with somebody, and no broker for long");
  expect(core_.ties() == 0, "a tie to somebody, and no broker for long");
}

void LyingPeers::tell_bytes(const std::string& bytes) {
  if (control_stands_) carry_out(core_.on_control(bytes, now_));
}

void LyingPeers::tell_on_data(const std::string& bytes) {
  if (data_stands_) carry_out(core_.on_data_control(bytes, now_));
}

void LyingPeers::control_stands() {
  if (std::exchange(control_stands_, true)) return;
  carry_out(core_.on_control_connected(now_));
}

void LyingPeers::data_stands() {
  if (!std::exchange(data_wanted_, false)) return;
  data_stands_ = true;
  carry_out(core_.on_data_connected(now_));
}

void LyingPeers::close_control() {
  if (std::exchange(control_stands_, false)) carry_out(core_.on_control_closed(now_));
}

void LyingPeers::close_data() {
  if (std::exchange(data_stands_, false)) carry_out(core_.on_data_closed(now_));
}

Pid LyingPeers::own(std::uint64_t serial) const {
  return {kSelf, core_.incarnation(), Serial{serial}};
}

void LyingPeers::honest_signal() {
  const Serial from{1 + choices_.below(3)};
  const LinkId link{++numbers_};
  expected_.push_back({from, link});
  peer_.send(signal::Link{{kHonest, kHonestIncarnation, from}, own(4), link});
  exchange();
}

void LyingPeers::own_signal(bool to_honest) {
  const Pid to = to_honest ? Pid{kHonest, kHonestIncarnation, Serial{9}}
                           : Pid{kLiar, kLiarIncarnation, Serial{9}};
  const Pid from{kSelf, local_incarnation(), Serial{4}};
  ++numbers_;
  if (to_honest) expected_at_peer_.push_back(numbers_);
  carry_out(core_.on_signal(signal::Link{from, to, LinkId{numbers_}}, now_));
  exchange();
}

void LyingPeers::any_welcome() {
  std::vector<Member> members;
  if (choices_.below(4) != 0) members.push_back(listed(kHonest, kHonestIncarnation));
  if (choices_.below(4) != 0) {
    members.push_back(listed(kLiar, Incarnation{600 + choices_.below(3)}));
    static constexpr MemberState kStates[] = {MemberState::kJoined, MemberState::kSuspect,
                                              MemberState::kExpected};
    members.back().state = kStates[choices_.below(std::size(kStates))];
  }
  if (choices_.below(4) == 0) {
    members.push_back(
        listed(kSelf, choices_.below(2) == 0 ? core_.incarnation() : Incarnation{500}));
  }
  auto welcome = some_welcome(std::move(members));
  if (choices_.below(3) == 0) welcome.epoch = Epoch{77 + choices_.below(3)};
  welcome.version = MembershipVersion{version_ = 10 + choices_.below(4)};
  welcome.recovering = choices_.below(4) == 0;
  if (choices_.below(4) == 0) {  // of a cluster that cannot be
    ClusterSettings& cluster = welcome.settings;
    Duration* const settings[] = {&cluster.beat_interval, &cluster.suspect_after,
                                  &cluster.down_after,    &cluster.reconnect_grace,
                                  &cluster.lease_margin,  &cluster.recovery};
    for (Duration* setting : settings) {
      switch (choices_.below(4)) {
        case 0:
          *setting = Duration::zero();
          break;
        case 1:
          *setting = Duration::max() - Duration{choices_.below(2)};
          break;
        default:
          break;
      }
    }
  }
  tell(std::move(welcome));
}

void LyingPeers::own_anything() {
  static const auto kAll = items();
  const auto* found = std::get_if<Signal>(&kAll[choices_.below(kAll.size())].item);
  if (found == nullptr) return;
  Signal signal = *found;
  const Incarnation to{honest_only_ ? 600 : 600 + choices_.below(4)};
  std::visit(
      [&](auto& each) {
        each.from = {kSelf, local_incarnation(), each.from.serial};
        each.to = {kLiar, to, each.to.serial};
      },
      signal);
  if (auto* send = std::get_if<signal::Send>(&signal); send != nullptr && choices_.below(4) == 0) {
    send->envelope.payload = Payload{std::string(choices_.below(300 * 1024), 'p')};
  }
  carry_out(core_.on_signal(std::move(signal), now_));
  carry_out(core_.flush(now_));
}

void LyingPeers::own_records() {
  if (core_.takes_records()) {
    TimelineRecord record = bare_record();
    record.participant = Pid{kSelf, local_incarnation(), Serial{4}};
    carry_out(core_.on_records({{std::move(record)}}));
  }
  carry_out(core_.on_cancelled(conversation(), choices_.below(2) == 0));
}

void LyingPeers::advance() {
  carry_out(core_.advance(now_));
  for (int i = 0; i < 1000; ++i) {  // as long as the connection takes more
    const NodeCore::Effects frames = core_.flush(now_);
    if (frames.empty()) break;
    carry_out(frames);
  }
  const auto deadline = core_.next_deadline();
  expect(!deadline || *deadline > now_, "what is due is due again at once");
}

void LyingPeers::exchange() {
  for (const SessionFrame& frame : peer_.collect(now_, 100)) {
    carry_out(core_.on_frame(header(kHonest, kHonestIncarnation), wire::encode(frame, now_), now_));
  }
  carry_out(core_.flush(now_));
}

void LyingPeers::lie() {
  if (!data_stands_ && !honest_only_) reconnect();
  if (!data_stands_) return;
  SessionFrame frame{SessionNumber{static_cast<std::uint32_t>(choices_.below(10) == 0 ? 2 : 1)},
                     1 + (choices_.below(4) == 0 ? choices_.below(100) : 0),
                     choices_.below(4) == 0 ? choices_.next() : 4'000'000,
                     choices_.below(6) == 0,
                     liar_sequence_,
                     {}};
  if (choices_.below(6) == 0) frame.first_sequence = choices_.next() >> choices_.below(64);
  for (std::uint64_t n = choices_.below(4); n-- > 0;) {
    Item item = any_item(choices_);
    readdress(item);
    frame.items.push_back(std::move(item));
  }
  if (!can_be_written(frame)) frame.items.erase(frame.items.begin() + 1, frame.items.end());
  std::string bytes = wire::encode(frame, now_);
  if (choices_.below(3) == 0) bytes = mutated(std::move(bytes), valid_frames(), choices_);
  std::string route = header(kLiar, kLiarIncarnation);
  switch (choices_.below(12)) {  // what only a broker that lies would say
    case 0:
      route = mutated(std::move(route), valid_frames(), choices_);
      if (honest_only_) route = header(kLiar, kLiarIncarnation);
      break;
    case 1:
      route = header(kLiar, kLiarIncarnation, Epoch{78});
      break;
    case 2:  // of one who is not listed, although our list is new enough
      route = header(kLiar, Incarnation{601});
      break;
    case 3:  // listed later, or by another broker
      if (honest_only_) break;
      route = header(kLiar, Incarnation{600 + choices_.below(3)}, Epoch{77 + choices_.below(3)},
                     MembershipVersion{version_ + choices_.below(3)});
      break;
  }
  const auto before = core_.counters();
  NodeCore::Effects effects = core_.on_frame(route, bytes, now_);
  const bool came_too_early = effects.empty();  // of a name whose former bearer's end is not told
  carry_out(std::move(effects));
  const auto& after = core_.counters();
  if (!wire::decode_session_frame(bytes, now_)) {
    const std::uint64_t counted = after.malformed_frames + after.foreign_frames -
                                  before.malformed_frames - before.foreign_frames;
    expect(counted == 1 || (counted == 0 && came_too_early),
           "a frame that does not decode was not counted once");
  }
  const bool taken = after.malformed_frames == before.malformed_frames &&
                     after.foreign_frames == before.foreign_frames &&
                     after.session_violations == before.session_violations;
  if (taken && bytes == wire::encode(frame, now_) && frame.first_sequence == liar_sequence_) {
    liar_sequence_ += frame.items.size();
  }
}

void LyingPeers::readdress(Item& item) {
  const Pid from = choices_.below(12) == 0 ? Pid{kHonest, kHonestIncarnation, Serial{1}}
                                           : Pid{kLiar, kLiarIncarnation, Serial{3}};
  const Pid to = choices_.below(12) == 0 ? Pid{kHonest, kHonestIncarnation, Serial{9}} : own(4);
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

bool LyingPeers::can_be_written(const SessionFrame& frame) {
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

void LyingPeers::carry_out(const NodeCore::Effects& effects) {
  for (const auto& effect : effects) {
    if (const auto* deliver = std::get_if<node_effect::Deliver>(&effect)) {
      on_delivered(deliver->signal);
    } else if (const auto* sent = std::get_if<node_effect::SendFrame>(&effect)) {
      on_sent(*sent);
    } else if (const auto* said = std::get_if<node_effect::SendControl>(&effect)) {
      expect(control_stands_, "something was said on a connection that does not stand");
      const auto frame = wire::decode_control(said->bytes);
      expect(frame.has_value(), "what was said does not decode");
      if (const auto* beat = std::get_if<control::NodeBeat>(&*frame)) newest_beat_ = beat->number;
    } else if (const auto* also = std::get_if<node_effect::SendOnData>(&effect)) {
      expect(data_stands_, "something was said on a connection that does not stand");
      expect(wire::decode_control(also->bytes).has_value(), "what was said does not decode");
    } else if (std::holds_alternative<node_effect::Left>(effect)) {
      has_left_ = true;
    } else if (std::holds_alternative<node_effect::OpenControl>(effect)) {
      control_stands_ = false;  // in place of the one that stood
    } else if (std::holds_alternative<node_effect::OpenData>(effect) ||
               std::holds_alternative<node_effect::CloseData>(effect)) {
      data_stands_ = false;
      data_wanted_ = std::holds_alternative<node_effect::OpenData>(effect);
    } else if (honest_only_) {
      expect(!std::holds_alternative<node_effect::Fenced>(effect), "a peer had the node fenced");
      expect(!std::holds_alternative<node_effect::Interrupted>(effect),
             "a peer cut the node off its broker");
    }
  }
}

void LyingPeers::on_delivered(const Signal& signal) {
  expect(to_of(signal).is_local(), "a signal was delivered to a process elsewhere");
  expect(to_of(signal).node == kSelf, "a signal was delivered to another node's process");
  expect(!from_of(signal).is_local(), "a peer's signal came in a local process's name");
  if (!honest_only_) return;
  if (from_of(signal).node == kLiar) {
    ++delivered_of_liar_;
    return;
  }
  expect(from_of(signal).node == kHonest, "a signal came in a stranger's name");
  const auto* link = std::get_if<signal::Link>(&signal);
  expect(link != nullptr, "the honest one never said so");
  const auto found = std::find_if(expected_.begin(), expected_.end(), [&](const Expected& each) {
    return each.from == link->from.serial;
  });
  expect(found != expected_.end(), "something came twice, or was never sent");
  expect(found->link == link->link, "another was next of this process");
  expected_.erase(found);
}

void LyingPeers::on_sent(const node_effect::SendFrame& sent) {
  expect(data_stands_, "a frame on a connection that does not stand");
  const auto to = wire::decode_route_to(sent.header);
  expect(to.has_value(), "a routing header does not decode");
  auto frame = wire::decode_session_frame(sent.frame, now_);
  expect(frame.has_value(), "what was sent does not decode");
  if (to->node != kHonest || !honest_only_) return;
  const auto received = peer_.receive(*std::move(frame), now_);
  expect(received.has_value(), "an honest session was told what it refuses");
  for (const Signal& signal : received->signals) {
    peer_.returned(signal);
    const auto* link = std::get_if<signal::Link>(&signal);
    expect(link != nullptr, "the honest one was told what it did not ask for");
    expect(!expected_at_peer_.empty(), "the honest peer was told more than was said");
    expect(link->link.value() == expected_at_peer_.front(),
           "the honest peer was told in another order");
    expected_at_peer_.pop_front();
  }
}

}  // namespace liminal::test
