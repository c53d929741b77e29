// The faults, one by one.
#include <algorithm>
#include <utility>

#include "common/wire/codec.hpp"
#include "tests/sim/nemesis.hpp"

namespace liminal::sim {

using namespace std::chrono_literals;

namespace {

constexpr Serial kNobody{std::uint64_t{1} << 60};  // none has it

/// What would end or answer the other's, if only it came from who may say it.
std::optional<Signal> forged_from(const Signal& heard, const Pid& me, std::uint64_t which) {
  if (const auto* send = std::get_if<signal::Send>(&heard)) {
    using signal::RefusalKind;
    switch (which) {
      case 0:
        return signal::Withdraw{me, send->to, send->envelope.id};
      case 1:
        return signal::Cancel{me, send->to, send->envelope.id};
      default:
        return signal::Refusal{me, send->from, send->envelope.id, RefusalKind::kRejected, "forged"};
    }
  }
  if (const auto* refusal = std::get_if<signal::Refusal>(&heard)) {  // once more, for another one
    return signal::Refusal{me, refusal->to, refusal->message, signal::RefusalKind::kDeferred};
  }
  if (const auto* link = std::get_if<signal::Link>(&heard)) {
    if (which == 0) return signal::Unlink{me, link->to, link->link, std::nullopt};
    return signal::Exit{me, link->to, ExitReason::kill(), link->link};
  }
  if (const auto* monitor = std::get_if<signal::Monitor>(&heard)) {
    if (which == 0) return signal::Demonitor{me, monitor->to, monitor->monitor};
    return signal::Down{me, monitor->from, monitor->monitor, ExitReason::kill()};
  }
  if (const auto* spawn = std::get_if<signal::SpawnRequest>(&heard)) {
    return signal::SpawnReply{Pid{me.node, me.incarnation, Serial{0}}, spawn->from, spawn->spawn,
                              std::nullopt, Error{Errc::kNoService, "forged"}};
  }
  return std::nullopt;
}

}  // namespace

/// Reaches the functions that are nobody else's business.
struct NemesisKinds {
  // clang-format off
  static constexpr std::array all{
      Nemesis::Kind{"broker-flood",  &Nemesis::broker_flood,  4, "the broker is never done with reading, for up to 3 s"},
      Nemesis::Kind{"broker-kill",   &Nemesis::broker_kill,   6, "SIGKILL of the broker; another one up to 10 s later"},
      Nemesis::Kind{"broker-kills",  &Nemesis::broker_kills,  2, "the broker is killed and started again five times, every 2 s"},
      Nemesis::Kind{"broker-pause",  &Nemesis::broker_pause,  6, "SIGSTOP of the broker, up to 8 s"},
      Nemesis::Kind{"broker-starve", &Nemesis::broker_starve, 4, "the broker's loop is late again and again, 50 to 600 ms"},
      Nemesis::Kind{"broker-torn",   &Nemesis::broker_torn,   3, "the broker is killed in the midst of what it tells"},
      Nemesis::Kind{"cut",           &Nemesis::cut,           4, "nothing comes through, either way, up to 6 s"},
      Nemesis::Kind{"cut-from",      &Nemesis::cut_from,      3, "nothing comes from the node, up to 6 s"},
      Nemesis::Kind{"cut-to",        &Nemesis::cut_to,        3, "nothing comes to the node, up to 6 s"},
      Nemesis::Kind{"flap",          &Nemesis::flap,          2, "cut and whole again, eight times"},
      Nemesis::Kind{"hang",          &Nemesis::hang,          3, "no process gets a turn, up to 6 s, while the node answers"},
      Nemesis::Kind{"heavy-loss",    &Nemesis::heavy_loss,    2, "10 to 20 % of the messages are sent again, and connections break"},
      Nemesis::Kind{"hostile",       &Nemesis::hostile,       2, "a joined node sends what others sent, as it is and changed"},
      Nemesis::Kind{"jitter",        &Nemesis::jitter,        4, "up to 40 ms each way, for up to 3 s"},
      Nemesis::Kind{"kill",          &Nemesis::kill,         10, "SIGKILL of a node"},
      Nemesis::Kind{"kill-at-point", &Nemesis::kill_at_point, 8, "a node, an actor or the broker dies at a fault point"},
      Nemesis::Kind{"kill-fan-out",  &Nemesis::kill_fan_out,  3, "SIGKILL of a node while it tells of an exit"},
      Nemesis::Kind{"kill-joining",  &Nemesis::kill_joining,  3, "SIGKILL of a node, and of the next one while it joins"},
      Nemesis::Kind{"kill-torn",     &Nemesis::kill_torn,     3, "SIGKILL of a node in the midst of what it sends"},
      Nemesis::Kind{"late-frames",   &Nemesis::late_frames,   3, "what a young node sends arrives when it was declared dead"},
      Nemesis::Kind{"leave",         &Nemesis::leave,         5, "SIGTERM of a node"},
      Nemesis::Kind{"loss",          &Nemesis::loss,          3, "1 to 5 % of the messages are sent again, up to 5 s"},
      Nemesis::Kind{"malformed",     &Nemesis::malformed,     2, "a joined node sends frames that are none"},
      Nemesis::Kind{"pause-100ms",   &Nemesis::pause_100ms,   3, "SIGSTOP for 0.1 s"},
      Nemesis::Kind{"pause-1s",      &Nemesis::pause_1s,      3, "SIGSTOP for 1 s"},
      Nemesis::Kind{"pause-60s",     &Nemesis::pause_60s,     1, "SIGSTOP for 60 s, or until all is healed"},
      Nemesis::Kind{"pause-over",    &Nemesis::pause_over,    3, "SIGSTOP for just longer than the bound"},
      Nemesis::Kind{"pause-under",   &Nemesis::pause_under,   3, "SIGSTOP for just shorter than the bound"},
      Nemesis::Kind{"plug",          &Nemesis::plug,          2, "a node's data connection takes nothing, up to 4 s"},
      Nemesis::Kind{"reset-both",    &Nemesis::reset_both,    3, "both connections break, with what is on them"},
      Nemesis::Kind{"reset-control", &Nemesis::reset_control, 3, "the control connection breaks, with what is on it"},
      Nemesis::Kind{"reset-data",    &Nemesis::reset_data,    5, "the data connection breaks, with what is on it"},
      Nemesis::Kind{"slow-consumer", &Nemesis::slow_consumer, 3, "a node does not read its data connection, up to 2.5 s"},
      Nemesis::Kind{"spoil",         &Nemesis::spoil,         4, "a session frame breaks a rule"},
      Nemesis::Kind{"starve",        &Nemesis::starve,        3, "a node gets a fifth of its time, up to 4 s"},
      Nemesis::Kind{"two-names",     &Nemesis::two_names,     3, "a second process under the node's name"},
      Nemesis::Kind{"vanish",        &Nemesis::vanish,        3, "a node's machine goes: its connections stay half open"},
  };
  // clang-format on
};

std::span<const Nemesis::Kind> Nemesis::kinds() { return NemesisKinds::all; }

// --- it dies ---

bool Nemesis::kill(std::size_t host) {
  if (on(host).core().joined()) {
    killed_.push_back({on(host).core().incarnation(), on(host).name(), world_.now()});
  }
  world_.kill(hosts_[host]);
  died(hosts_[host]);
  return true;
}

bool Nemesis::kill_joining(std::size_t host) {
  kill(host);
  world_.events().after(below(1s), [this, host] {
    if (healed_) return;
    restart(host);
    const std::size_t index = hosts_[host];
    world_.events().after(below(20ms), [this, index] {
      if (healed_) return;
      world_.kill(index);
      died(index);
    });
  });
  return true;
}

bool Nemesis::kill_torn(std::size_t host) {
  const std::size_t index = hosts_[host];
  world_.kill_amid_effects(index, 1 + static_cast<int>(random_.below(6)), [this, index] {
    took_place("kill-torn");
    died(index);
  });
  // it sends a beat by then, unless something keeps it from it
  until_healed(500ms, [this, index] {
    if (!world_.node(index).alive()) return;
    world_.kill(index);
    took_place("kill-torn");
    died(index);
  });
  return false;
}

bool Nemesis::kill_fan_out(std::size_t) {
  const FaultPoint point =
      random_.below(2) == 0 ? FaultPoint::kExitFanOut : FaultPoint::kTiesBreaking;
  armed_.push_back({"kill-fan-out", point, 1 + random_.below(3), World::Fate::kDies});
  return false;
}

bool Nemesis::kill_at_point(std::size_t) {
  const auto point = static_cast<FaultPoint>(random_.below(kFaultPoints));
  bool in_actor = false, often = true;
  switch (point) {
    case FaultPoint::kActorTookInput:
    case FaultPoint::kActorRecorded:
    case FaultPoint::kActorBehind:
    case FaultPoint::kParticipantTook:
    case FaultPoint::kParticipantDone:
      in_actor = true;
      break;
    case FaultPoint::kCompensationStep:
      in_actor = true;
      often = false;
      break;
    case FaultPoint::kConversationSending:
    case FaultPoint::kPlacementChosen:
    case FaultPoint::kPlacementAnswered:
    case FaultPoint::kExitFanOut:
    case FaultPoint::kSessionAccepted:
    case FaultPoint::kSessionCollected:
      break;
    case FaultPoint::kTiesBreaking:
    case FaultPoint::kJoinDecided:
    case FaultPoint::kWelcomed:
    case FaultPoint::kFencing:
    case FaultPoint::kBrokerVerdict:
    case FaultPoint::kBrokerResume:
      often = false;
  }
  const World::Fate fate =
      in_actor && random_.below(2) == 0 ? World::Fate::kActorDies : World::Fate::kDies;
  armed_.push_back(
      {"kill-at-point", point, often ? 1 + random_.below(40) : 1 + random_.below(2), fate});
  return false;
}

bool Nemesis::vanish(std::size_t host) {
  world_.vanish(hosts_[host]);
  died(hosts_[host]);
  return true;
}

/// Its next one sends something to another host, its first frame there, and dies; what it sent
/// waits at the broker until all know of its end.
bool Nemesis::late_frames(std::size_t host) {
  const std::size_t to = (host + 1 + random_.below(hosts_.size() - 1)) % hosts_.size();
  kill(host);
  restart(host);
  // the name is free when the verdict on the first one is
  send_and_die(host, to, 100);
  return false;
}

void Nemesis::send_and_die(std::size_t host, std::size_t to, int tries) {
  if (healed_ || tries == 0) return;
  auto& young = on(host);
  auto& other = on(to);
  if (!young.alive() || !young.core().joined() || !other.alive() || !other.core().joined()) {
    world_.events().after(20ms, [=, this] { send_and_die(host, to, tries - 1); });
    return;
  }
  const std::size_t sender = hosts_[host], receiver = hosts_[to];
  hold(receiver, Hold::kStalled);
  // to nobody: what matters is the frame
  young.scheduler().exit(Pid{other.name(), other.core().incarnation(), kNobody},
                         ExitReason::kill());
  young.poke();
  until_healed(10ms + below(50ms), [=, this] {
    world_.kill(sender);
    died(sender);
    took_place("late-frames");
    until_healed(settings_.cluster.reconnect_grace + 50ms + below(1s),
                 [=, this] { release(receiver, Hold::kStalled); });
  });
}

bool Nemesis::leave(std::size_t host) {
  world_.leave(hosts_[host]);
  world_.events().after(3s + below(2s), [this, host] { restart(host); });
  return true;
}

// --- it gets no time ---

bool Nemesis::pause(std::size_t host, Duration length) {
  const std::size_t index = hosts_[host];
  impair(index, length);
  hold_for(index, Hold::kPaused, length);
  return true;
}

bool Nemesis::pause_100ms(std::size_t host) { return pause(host, 100ms); }
bool Nemesis::pause_1s(std::size_t host) { return pause(host, 1s); }
// Silence counts from the last of our beats that it echoed, which was sent up to two beats before.
bool Nemesis::pause_under(std::size_t host) {
  return pause(host,
               settings_.cluster.down_after - 2 * settings_.cluster.beat_interval - below(200ms));
}
bool Nemesis::pause_over(std::size_t host) {
  return pause(host, settings_.cluster.down_after + below(200ms));
}
bool Nemesis::pause_60s(std::size_t host) { return pause(host, 60s); }

bool Nemesis::hang(std::size_t host) {
  const std::size_t index = hosts_[host];
  const Duration length = 200ms + below(6s);
  impair(index, length);
  hold_for(index, Hold::kHung, length);
  return true;
}

bool Nemesis::starve(std::size_t host) {
  const std::size_t index = hosts_[host];
  const int slices = 20 + static_cast<int>(random_.below(60));
  impair(index, slices * 50ms, false);
  for (int i = 0; i < slices; ++i) {
    world_.events().after(i * 50ms, [this, index] {
      if (!healed_) hold_for(index, Hold::kPaused, 40ms);
    });
  }
  return true;
}

// --- the network ---

bool Nemesis::cut_for(std::size_t host, bool from, bool to, Duration length, Duration late) {
  const std::size_t index = hosts_[host];
  impair(index, length + late);
  if (from) hold(index, Hold::kBlockedFrom);
  if (to) hold(index, Hold::kBlockedTo);
  until_healed(length, [this, index, from, to, late] {
    if (from) release(index, Hold::kBlockedFrom, late);
    if (to) release(index, Hold::kBlockedTo, late);
  });
  return true;
}

bool Nemesis::cut(std::size_t host) { return cut_for(host, true, true, 50ms + below(6s), 400ms); }
bool Nemesis::cut_from(std::size_t host) {
  return cut_for(host, true, false, 50ms + below(6s), 400ms);
}
bool Nemesis::cut_to(std::size_t host) {
  return cut_for(host, false, true, 50ms + below(6s), 400ms);
}

bool Nemesis::flap(std::size_t host) {
  const Duration half = 100ms + below(400ms);
  for (int i = 0; i < 8; ++i) {
    world_.events().after(2 * i * half, [this, host, half] {
      if (!healed_ && on(host).alive()) cut_for(host, true, true, half, 100ms);
    });
  }
  return true;
}

bool Nemesis::loss(std::size_t host) {
  const std::size_t index = hosts_[host];
  const Duration length = 500ms + below(5s);
  impair(index, length + 1500ms, false);
  lose_for(index, 1 + static_cast<unsigned>(random_.below(5)), length);
  return true;
}

bool Nemesis::heavy_loss(std::size_t host) {
  const std::size_t index = hosts_[host];
  const Duration length = 500ms + below(5s);
  impair(index, length + 1500ms);
  lose_for(index, 10 + static_cast<unsigned>(random_.below(11)), length);
  world_.events().after(below(length), [this, index] {
    if (random_.below(2) == 0) world_.cut_control(index);
    world_.cut_data(index);
  });
  return true;
}

bool Nemesis::jitter(std::size_t) {
  ++jitters_;
  world_.set_delay_max(40ms);
  until_healed(below(3s), [this] {
    if (--jitters_ == 0) world_.set_delay_max(5ms);
  });
  return true;
}

bool Nemesis::reset_control(std::size_t host) { return world_.cut_control(hosts_[host]); }
bool Nemesis::reset_data(std::size_t host) { return world_.cut_data(hosts_[host]); }
bool Nemesis::reset_both(std::size_t host) {
  const bool control = world_.cut_control(hosts_[host]);
  return world_.cut_data(hosts_[host]) || control;
}

bool Nemesis::slow_consumer(std::size_t host) {
  hold_for(hosts_[host], Hold::kStalled, 100ms + below(2400ms));
  return true;
}

bool Nemesis::plug(std::size_t host) {
  hold_for(hosts_[host], Hold::kPlugged, 100ms + below(4s));
  return true;
}

// --- what nobody sends on purpose, and what somebody does ---

bool Nemesis::spoil(std::size_t host) {
  world_.spoil_frame_to(hosts_[host], [this] { took_place("spoil"); });
  return false;
}

/// It is joined, offers nothing, and belongs to none of the hosts.
std::size_t Nemesis::hostile_node() {
  if (hostile_ && world_.node(*hostile_).alive()) return *hostile_;
  hostile_ = world_.start_node({.name = NodeName{"mallory"}, .light = true},
                               [](const signal::SpawnRequest&) {
                                 return Result<Scheduler::Instance>{fail(Errc::kNoService, "none")};
                               });
  impairments_.resize(world_.nodes());
  gone_.resize(world_.nodes());
  world_.overhear(true);
  return *hostile_;
}

bool Nemesis::malformed(std::size_t) {
  const std::size_t index = hostile_node();
  for (int i = 0; i < 12; ++i) {
    world_.events().after(200ms + below(2s), [this, index] {
      std::string bytes(random_.below(200), '\0');
      for (char& c : bytes) c = static_cast<char>(random_.below(256));
      switch (random_.below(3)) {
        case 0:
          return world_.inject_control(index, std::move(bytes));
        case 1:
          return world_.inject_data(index, std::move(bytes), "");
        default: {
          const World::Node& to = on(some_host());
          auto& victim = world_.node(hosts_[some_host()]);
          world_.inject_data(index, wire::encode(RouteTo{to.name(), victim.core().incarnation()}),
                             std::move(bytes));
        }
      }
    });
  }
  return true;
}

bool Nemesis::hostile(std::size_t) {
  const std::size_t index = hostile_node();
  for (int i = 0; i < 60; ++i) {
    world_.events().after(200ms + below(2s), [this, index] {
      switch (random_.below(3)) {
        case 0:
          return forge_frame(index);
        case 1:
          return forge_signals(index);
        default:
          return forge_control(index);
      }
    });
  }
  return true;
}

/// What another sent, as it was or with a bit changed, to whom it was or to somebody else.
void Nemesis::forge_frame(std::size_t from) {
  if (world_.overheard().empty()) return;
  const auto& heard = world_.overheard()[random_.below(world_.overheard().size())];
  std::string header = heard.front(), frame = heard.back();
  auto& victim = on(some_host());
  if (random_.below(2) == 0) {
    header = wire::encode(RouteTo{victim.name(), victim.core().incarnation()});
  }
  if (random_.below(2) == 0 && !frame.empty()) {
    frame[random_.below(std::min<std::size_t>(frame.size(), 120))] ^=
        static_cast<char>(1U << random_.below(8));
  }
  world_.inject_data(from, std::move(header), std::move(frame));
}

/// With the ids of what others sent, in its own name and over its own sessions: so that it passes
/// every gate but the one that asks whose tie, spawn or deferred message that is.
void Nemesis::forge_signals(std::size_t from) {
  if (world_.overheard().empty()) return;
  const auto& heard = world_.overheard()[random_.below(world_.overheard().size())];
  const auto frame = wire::decode_session_frame(heard.back(), world_.now());
  if (!frame) return;
  const Pid me{world_.node(from).name(), local_incarnation(), Serial{1 + random_.below(8)}};
  for (const Item& item : frame->items) {
    const auto* signal = std::get_if<Signal>(&item);
    auto forged = signal == nullptr ? std::nullopt : forged_from(*signal, me, random_.below(3));
    if (forged && to_of(*forged).node != me.node) world_.inject_signal(from, std::move(*forged));
  }
}

/// Valid frames of somebody else's, or at a time when nobody may send them.
void Nemesis::forge_control(std::size_t from) {
  auto& victim = on(some_host());
  // before its own join nobody could tell whose node it is
  if (!world_.node(from).core().joined()) return;
  switch (random_.below(3)) {
    case 0:  // the victim's resume, but for the secret
      return world_.inject_control(
          from, wire::encode(ControlFrame{control::Join{.name = victim.name(),
                                                        .incarnation = victim.core().incarnation(),
                                                        .light = false,
                                                        .services = {},
                                                        .labels = {},
                                                        .isolation_timeout = 6s}}));
    case 1:
      return world_.inject_attach(from, random_.next());
    default:  // the echo of a beat that was not sent
      return world_.inject_control(
          from, wire::encode(ControlFrame{control::NodeBeat{.number = 1 + random_.below(1000),
                                                            .echo = 1'000'000,
                                                            .participants = 0,
                                                            .conversations = 0}}));
  }
}

bool Nemesis::two_names(std::size_t host) {
  const std::size_t first = hosts_[host];
  start(host);
  seconds_.emplace(hosts_[host], host);
  seconds_.emplace(first, host);
  hosts_[host] = first;
  // then the claim waits for the verdict on the holder, or for its return
  if (random_.below(2) == 0) pause(host, 1500ms + below(2500ms));
  return true;
}

// --- the broker ---

void Nemesis::start_broker_within(Duration within) {
  until_healed(below(within), [this] { world_.start_broker(); });
}

bool Nemesis::broker_kill(std::size_t) {
  if (!world_.kill_broker()) return false;
  start_broker_within(10s);
  return true;
}

bool Nemesis::broker_kills(std::size_t) {
  const bool first = world_.kill_broker();
  if (first) start_broker_within(1s);
  for (int i = 1; i < 5; ++i) {
    world_.events().after(i * 2s, [this] {
      if (!healed_ && world_.kill_broker()) start_broker_within(1s);
    });
  }
  return first;
}

bool Nemesis::broker_torn(std::size_t) {
  if (!world_.broker_runs()) return false;
  const auto struck = [this] {
    took_place("broker-torn");
    start_broker_within(3s);
  };
  world_.kill_broker_amid_effects(static_cast<int>(random_.below(30)), struck);
  // it carries out so many by then, or while it is stopped is killed as well
  const std::uint64_t broker = world_.brokers();
  until_healed(2s + below(3s), [this, broker, struck] {
    if (world_.brokers() == broker && world_.kill_broker()) struck();
  });
  return false;
}

bool Nemesis::broker_flood(std::size_t) {
  if (!world_.broker_runs()) return false;
  world_.flood_broker(true);
  until_healed(300ms + below(2700ms), [this] { world_.flood_broker(false); });
  return true;
}

bool Nemesis::broker_pause(std::size_t) {
  if (!world_.broker_runs()) return false;
  pause_broker_for(below(8s), false);
  return true;
}

void Nemesis::pause_broker_for(Duration length, bool loop_alone) {
  const std::uint64_t broker = world_.brokers();
  if (std::exchange(paused_broker_, broker) != broker) broker_pauses_ = 0;
  ++broker_pauses_;
  world_.pause_broker(loop_alone);
  until_healed(length, [this, broker] {
    if (paused_broker_ == broker && --broker_pauses_ == 0) world_.resume_broker();
  });
}

/// Each slice shorter than what settles it, or longer; between two of them it runs too short a time
/// to settle, or just long enough.
bool Nemesis::broker_starve(std::size_t) {
  if (!world_.broker_runs()) return false;
  const std::uint64_t broker = world_.brokers();
  const Duration longest = 100ms + below(500ms), gap = 1ms + below(200ms);
  Duration at = Duration::zero();
  for (std::uint64_t slices = 5 + random_.below(20); slices > 0; --slices) {
    const Duration length = 50ms + below(longest - 50ms);
    const bool loop_alone = random_.below(2) == 0;
    world_.events().after(at, [this, broker, length, loop_alone] {
      if (healed_ || world_.brokers() != broker || !world_.broker_runs()) return;
      pause_broker_for(length, loop_alone);
    });
    at += length + below(gap);
  }
  return true;
}

}  // namespace liminal::sim
