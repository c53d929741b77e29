// A simulated node: the real core, scheduler and supervisor, and what a process suffers.
#include <algorithm>
#include <stdexcept>
#include <utility>

#include "common/base/text.hpp"
#include "common/wire/codec.hpp"
#include "tests/sim/world_events.hpp"

namespace liminal::sim {
namespace {

// How often who cannot send looks again.
constexpr Duration kPluggedLook = std::chrono::milliseconds{20};

// As in node_loop.cpp.
constexpr Duration kRecordsInterval = std::chrono::milliseconds{20};
constexpr int kRecordFramesAtOnce = 2;

// Until what its I/O thread read next has come to who was stopped.
constexpr Duration kNextPiece = std::chrono::microseconds{300};

/// Nothing yet, a few, or as many as a turn takes.
std::uint64_t some_handed_over(Random& random) {
  switch (random.below(3)) {
    case 0:
      return 0;
    case 1:
      return 1 + random.below(8);
    default:
      return 256;
  }
}

class BeatRequest final : public LocalMessage {};

class BeatProcess final : public Process {
 public:
  explicit BeatProcess(bool& done) : done_(done) {}
  void handle(Context&, Message) override { done_ = true; }

 private:
  bool& done_;
};

// Nothing of such a one comes any more: its end was told.
bool is_final(const std::optional<ExitReason>& reason) {
  return reason && reason->kind == ExitKind::kNoConnection && reason->evidence &&
         reason->evidence->source != EvidenceSource::kReset &&
         reason->evidence->source != EvidenceSource::kIsolated;
}

std::optional<ExitReason> reason_in(const Signal& signal) {
  if (const auto* exit = std::get_if<signal::Exit>(&signal)) return exit->reason;
  if (const auto* down = std::get_if<signal::Down>(&signal)) return down->reason;
  return std::nullopt;
}

// Conversations have random ids; those of who chooses a node by itself, and not well, are small.
constexpr std::uint64_t kNoConversationMax = 0xFFFF;

/// The instant of the choice: the directory is the one that it was made by.
std::optional<std::string> chosen_wrongly(const Signal& signal,
                                          const Directory::Snapshot& directory,
                                          const std::set<Incarnation>& lost) {
  const auto* request = std::get_if<signal::SpawnRequest>(&signal);
  if (request == nullptr || request->conversation.high <= kNoConversationMax) {
    return std::nullopt;
  }
  const auto member =
      std::find_if(directory.members.begin(), directory.members.end(), [&](const Member& each) {
        return each.name == request->to.node && each.incarnation == request->to.incarnation;
      });
  const auto accusation = [&](const char* what) {
    return "conversation " + to_string(request->conversation) + ": " + to_string(request->to) +
           " was chosen, which is " + what;
  };
  if (member == directory.members.end()) return accusation("no member");
  if (member->state != MemberState::kJoined) return accusation("not to be given anything new");
  if (lost.contains(request->to.incarnation)) return accusation("lost");
  return std::nullopt;
}

}  // namespace

World::Node::Node(World& world, std::size_t index, NodeCore::Settings settings, std::uint64_t seed)
    : world_(world),
      index_(index),
      name_(settings.name),
      started_(world.now()),
      recorder_(TimelineRecorder::kUntold, {}, world.settings_.recorder),
      scheduler_({.node = settings.name, .seed = seed, .mailbox = world.settings_.mailbox},
                 [this](Signal signal) {
                   if (alive_ && world_.settings_.violation) {
                     const auto why = chosen_wrongly(signal, *directory_.snapshot(), lost_forever_);
                     if (why) world_.settings_.violation(label() + ": " + *why);
                   }
                   forwarded_.push_back(std::move(signal));
                 }),
      core_(std::move(settings), Random{seed + 1}),
      beat_process_(scheduler_.spawn(std::make_unique<BeatProcess>(turn_done_))) {
  borne_.emplace(core_.incarnation(), std::nullopt);
}

std::optional<TimePoint> World::Node::gave_up(Incarnation incarnation) const {
  const auto found = borne_.find(incarnation);
  return found == borne_.end() ? std::nullopt : found->second;
}

std::string World::Node::label() const {
  return name_.value() + "#" + std::to_string(index_) + "/" +
         to_hex(core_.incarnation().value()).substr(0, 4);
}

void World::Node::poke() {
  handle([] {});
}

/// Who dies here runs on to the end of its turn, and nothing of that leaves it.
void World::Node::reached(FaultPoint point) {
  if (!alive_) return;
  ++world_.points_reached_[static_cast<std::size_t>(point)];
  if (!world_.fate_) return;
  switch (world_.fate_(point, index_)) {
    case Fate::kLives:
      return;
    case Fate::kDies:
      world_.trace(label() + " reaches " + std::string{name_of(point)});
      return world_.kill(index_);
    case Fate::kActorDies:
      world_.trace(label() + ": an actor reaches " + std::string{name_of(point)});
      throw std::runtime_error("fault point " + std::string{name_of(point)});
  }
}

/// After a pause: a turn after the other with as much of each connection as the I/O thread has
/// handed over by then, which may be of the second one alone. Data first, as NodeLoop does it.
void World::Node::read_on() {
  if (!alive_ || paused_) return;
  const Listening listening{*this};
  for (const bool data : {true, false}) {
    std::uint64_t messages = some_handed_over(world_.random_);
    for (auto next = unread_.begin(); next != unread_.end() && messages > 0;) {
      if (world_.at(next->first).data != data) {
        ++next;
        continue;
      }
      auto& waiting = next->second;
      for (; messages > 0 && !waiting.empty(); --messages) {
        const auto event = std::move(waiting.front());
        waiting.pop_front();
        if (alive_) event();
      }
      next = waiting.empty() ? unread_.erase(next) : std::next(next);
    }
  }
  for (auto& event : std::exchange(pending_, {})) {
    if (alive_) event();
  }
  turn();
  reads_as_of_.reset();
  if (!unread_.empty()) world_.events_.after(kNextPiece, [this] { read_on(); });
}

void World::Node::turn() {
  const TimePoint now = this->now();
  while (alive_) {
    if (!hung_) scheduler_.run_until_idle(world_.now());
    for (auto& signal : std::exchange(forwarded_, {})) {
      carry_out(core_.on_signal(std::move(signal), now));
    }
    if (std::exchange(turn_done_, false)) {
      carry_out(core_.on_turn(static_cast<std::uint32_t>(participants_->live),
                              static_cast<std::uint32_t>(supervisor_->open()), now));
    }
    if (!records_due_ && !recorder_.empty()) records_due_ = now + kRecordsInterval;
    tell_records(now);
    carry_out(core_.advance(now));
    if (!plugged_) carry_out(core_.flush(now));
    if (hung_) break;
    const auto timer = scheduler_.next_deadline();
    scheduler_.run_until_idle(world_.now());
    if (forwarded_.empty() && !turn_done_ && (!timer || *timer > world_.now())) break;
  }
  if (alive_) sleep();
}

/// As NodeLoop: a few at once, and all before the end.
void World::Node::tell_records(TimePoint now) {
  if (!core_.takes_records()) return;
  const bool due = records_due_ && now >= *records_due_;
  if (!due && !leaving_) return;
  for (int i = 0; (i < kRecordFramesAtOnce || leaving_) && !recorder_.empty(); ++i) {
    carry_out(core_.on_records(recorder_.take()));
  }
  records_due_.reset();
  if (!recorder_.empty()) records_due_ = now + kRecordsInterval;
}

/// Workers run while the loop's thread carries out what a step decided: what it hands over is
/// answered, and what it publishes read, before the next effect.
void World::Node::take_turns_between() {
  if (!world_.takes_turns_between_ || hung_ || !alive_) return;
  if (world_.random_.below(2) == 0) scheduler_.run_until_idle(world_.now());
}

bool World::Node::leaves_around(TimePoint when) const {
  return leaving_ && *leaving_ <= when && (!ended_ || *ended_ + std::chrono::seconds{1} >= when);
}

void World::Node::end() {
  if (std::exchange(alive_, false)) ended_ = world_.now();
}

void World::Node::sleep() {
  auto due = core_.next_deadline();
  const auto timer = hung_ ? std::nullopt : scheduler_.next_deadline();
  if (timer && (!due || *timer < *due)) due = timer;
  if (records_due_ && core_.takes_records() && (!due || *records_due_ < *due)) due = records_due_;
  // what it is to send stays due: it looks again after a while
  if (due && plugged_) due = std::max(*due, world_.now() + kPluggedLook);
  if (!due || (wake_ && *wake_ <= *due && *wake_ > world_.now())) return;
  wake_ = due;
  world_.events_.at(*due, [this, when = *due] {
    if (wake_ != when) return;  // an earlier wake-up was set since
    wake_.reset();
    poke();
  });
}

/// After a verdict was told nothing of its incarnation may come.
void World::Node::deliver(Signal signal) {
  const Incarnation from = from_of(signal).incarnation;
  const auto reason = reason_in(signal);
  // what came over the session is its sender's own exit, of whatever it died
  const bool final = !hears_frame_ && is_final(reason);
  if (!final && !(reason && reason->kind == ExitKind::kNoConnection) &&
      lost_forever_.contains(from) && !std::holds_alternative<signal::SpawnReply>(signal) &&
      !std::holds_alternative<signal::Demonitor>(signal) && world_.settings_.violation) {
    world_.settings_.violation("after its end was told " + label() + " heard of " +
                               to_string(from_of(signal)));
  }
  if (final) lost_forever_.insert(from);
  scheduler_.deliver(std::move(signal));
}

void World::Node::publish(Directory::Snapshot snapshot) {
  for (const Member& member : directory_.snapshot()->members) {
    if (world_.is_down(member.incarnation)) gone_.insert(member.incarnation);
  }
  for (const Member& member : snapshot.members) gone_.erase(member.incarnation);
  directory_.publish(std::move(snapshot));
}

/// What comes of one that it knows as down, late as it may be, changes nothing.
void World::Node::hear(const std::string& header, const std::string& frame) {
  const std::size_t sessions = core_.sessions();
  auto effects = core_.on_frame(header, frame, now());
  if (!gone_.empty() && (!effects.empty() || core_.sessions() != sessions)) {
    const auto route = wire::decode_route_from(header);
    const bool is_gone = route && gone_.contains(route->incarnation);
    if (is_gone && world_.settings_.violation)
      world_.settings_.violation(label() + " took a frame of " + route->node.value() + "/" +
                                 to_hex(route->incarnation.value()) + ", which it knows as down");
  }
  hears_frame_ = true;
  carry_out(std::move(effects));
  hears_frame_ = false;
}

void World::Node::carry_out(NodeCore::Effects effects) {
  for (const auto& effect : effects) {
    // decided, wherever in the midst of this the node may be killed
    const auto* fenced = std::get_if<node_effect::Fenced>(&effect);
    if (fenced == nullptr) continue;
    ++fenced_;
    borne_[fenced->old_incarnation] = world_.now();
    borne_.emplace(fenced->fresh, std::nullopt);
  }
  for (auto& effect : effects) {
    if (torn_ && torn_->effects_left-- == 0) {
      const auto struck = std::exchange(torn_, std::nullopt)->struck;
      world_.trace(label() + " is in the midst of its effects");
      world_.kill(index_);
      if (struck) struck();
    }
    if (!alive_) return;
    std::visit(
        [this](auto& e) {
          using Effect = std::decay_t<decltype(e)>;
          if constexpr (std::is_same_v<Effect, node_effect::OpenControl>) {
            if (control_) world_.close_from_node(*control_);
            control_ = world_.connect(index_, false);
          } else if constexpr (std::is_same_v<Effect, node_effect::OpenData>) {
            if (data_) world_.close_from_node(*data_);
            data_ = world_.connect(index_, true);
          } else if constexpr (std::is_same_v<Effect, node_effect::CloseData>) {
            if (data_) world_.close_from_node(*data_);
            data_.reset();
          } else if constexpr (std::is_same_v<Effect, node_effect::SendControl>) {
            if (control_) world_.to_broker(*control_, Message{std::move(e.bytes)});
          } else if constexpr (std::is_same_v<Effect, node_effect::SendOnData>) {
            if (data_) world_.to_broker(*data_, Message{std::move(e.bytes)});
          } else if constexpr (std::is_same_v<Effect, node_effect::SendFrame>) {
            if (data_) world_.to_broker(*data_, Message{std::move(e.header), std::move(e.frame)});
          } else if constexpr (std::is_same_v<Effect, node_effect::Deliver>) {
            deliver(std::move(e.signal));
            take_turns_between();
          } else if constexpr (std::is_same_v<Effect, node_effect::CertifyTurn>) {
            scheduler_.send_local(beat_process_, std::make_unique<BeatRequest>());
          } else if constexpr (std::is_same_v<Effect, node_effect::Publish>) {
            publish(std::move(e.snapshot));
            take_turns_between();
          } else if constexpr (std::is_same_v<Effect, node_effect::Undeliverable>) {
            scheduler_.dead_letters().add(
                DeadLetter::of(e.cause, e.send.from, e.send.to, e.send.envelope, world_.now()));
          } else if constexpr (std::is_same_v<Effect, node_effect::UndeliverableUnseen>) {
            scheduler_.dead_letters().add_unseen(e.cause, e.envelopes);
          } else if constexpr (std::is_same_v<Effect, node_effect::Joined>) {
            // what another broker declared is news to this one, until it is told
            if (std::exchange(epoch_, e.epoch) != e.epoch) gone_.clear();
            world_.trace(label() + (e.resumed ? " resumed" : " joined"));
          } else if constexpr (std::is_same_v<Effect, node_effect::Interrupted>) {
            world_.trace(label() + " interrupted");
          } else if constexpr (std::is_same_v<Effect, node_effect::Lease>) {
            lease_until_ = e.until;
            participants_->lease_until.store(e.until);
            take_turns_between();
          } else if constexpr (std::is_same_v<Effect, node_effect::RecordsArrived>) {
            recorder_.arrived(e.up_to);
          } else if constexpr (std::is_same_v<Effect, node_effect::KeepRecords>) {
            recorder_.set_records_max(e.records_max);
            recorder_.connected(e.epoch, e.anew);
            records_due_ = world_.now() + kRecordsInterval;
            if (e.anew && e.records_max > 0) supervisor_->retell();
          } else if constexpr (std::is_same_v<Effect, node_effect::CancelConversation>) {
            const bool accepted =
                cancel_ ? cancel_(e.conversation, e.by) : supervisor_->cancel(e.conversation, e.by);
            carry_out(core_.on_cancelled(e.conversation, accepted));
          } else if constexpr (std::is_same_v<Effect, node_effect::Fenced>) {
            recorder_.fenced(e.old_incarnation);
            lost_forever_.clear();
            gone_.clear();
            world_.trace(label() + " fenced: " + e.why);
            take_turns_between();
          } else if constexpr (std::is_same_v<Effect, node_effect::Refused> ||
                               std::is_same_v<Effect, node_effect::Left>) {
            refused_ = std::is_same_v<Effect, node_effect::Refused>;
            left_ = !refused_;
            world_.trace(label() + (refused_ ? " refused" : " left"));
            end();
            if (control_) world_.close_from_node(*control_);
            if (data_) world_.close_from_node(*data_);
          }
        },
        effect);
  }
}

}  // namespace liminal::sim
