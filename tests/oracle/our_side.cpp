#include "tests/oracle/our_side.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <utility>

#include "tests/sim/world.hpp"

namespace liminal::oracle {
namespace {

using namespace std::chrono_literals;

constexpr ClusterSettings kCluster{250ms, 1250ms, 3s, 500ms, 16 << 20, 500ms, 6s};
constexpr Duration kDelayMin = 50us, kDelayMax = 1ms;
// A step is a chain of at most some ten hops, a loss also a verdict. Virtual time costs little.
constexpr Duration kSettles = 100ms, kVerdictSettles = 6s;
constexpr Duration kSpread = 4ms;  // within which what stands together begins
constexpr std::string_view kInstanceOf = "actor-";
constexpr std::string_view kUnknown = "unknown";

NodeName node_name(int node) { return NodeName{node == 1 ? "one" : "two"}; }

ExitReason reason_of(const std::string& word) {
  if (word == "normal") return ExitReason::normal();
  if (word == "shutdown") return ExitReason::shutdown();
  if (word == "kill") return ExitReason::kill();
  if (word == "killed") return ExitReason::killed();
  return ExitReason::error(word.substr(6, word.size() - 7));
}

std::string word_of(const ExitReason& reason) {
  switch (reason.kind) {
    case ExitKind::kNormal:
      return "normal";
    case ExitKind::kShutdown:
      return "shutdown";
    case ExitKind::kError:
      return "error(" + reason.text + ")";
    case ExitKind::kKill:
      return "kill";
    case ExitKind::kKilled:
      return "killed";
    case ExitKind::kNoProc:
      return "noproc";
    case ExitKind::kNoConnection:
      return "noconnection";
  }
  return "a reason without a name";
}

/// What all actors of a run share: the simulator runs both nodes in one thread.
struct Stage {
  struct Place {
    int node;
    Serial serial;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  Incarnation incarnations[2] = {local_incarnation(), local_incarnation()};
  std::size_t step = 0;
  Trace trace;
  std::map<std::string, Place> places;
  std::set<std::string> born_now;  // in this step
  std::map<Place, std::string> names;
  Pid coroners[2] = {Pid{NodeName{"one"}, local_incarnation(), Serial{0}},
                     Pid{NodeName{"two"}, local_incarnation(), Serial{0}}};

  void born(const std::string& name, int node, const Pid& pid) {
    const Place place{node, pid.serial};
    if (!names.try_emplace(place, name).second) return;
    places.emplace(name, place);
    born_now.insert(name);
    trace.born.insert(name);
  }
  [[nodiscard]] Pid seen_from(int node, const Place& place) const {
    return {node_name(place.node),
            place.node == node ? local_incarnation() : incarnations[place.node - 1], place.serial};
  }
  [[nodiscard]] std::string name_of(const Pid& pid) const {
    const auto found = names.find({pid.node == node_name(1) ? 1 : 2, pid.serial});
    return found == names.end() ? "nobody" : found->second;
  }
};

struct Watch final : LocalMessage {
  explicit Watch(Pid whom) : pid(std::move(whom)) {}
  Pid pid;
};
struct Command final : LocalMessage {
  explicit Command(std::vector<Op> what) : ops(std::move(what)) {}
  std::vector<Op> ops;
};

/// Notes how the actors of its node end.
class Coroner final : public Process {
 public:
  explicit Coroner(Stage& stage) : stage_(stage) {}
  void handle(Context& context, Message message) override {
    if (const auto* down = std::get_if<message::Down>(&message)) {
      stage_.trace.ends[stage_.name_of(down->process)] = {stage_.step, word_of(down->reason)};
    } else if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
      if (const auto* watch = dynamic_cast<const Watch*>(local->get())) {
        static_cast<void>(context.monitor(watch->pid));
      }
    }
  }

 private:
  Stage& stage_;
};

class Actor final : public Process {
 public:
  Actor(Stage& stage, std::string name, int node)
      : stage_(stage), name_(std::move(name)), node_(node) {}

  void on_start(Context& context) override {
    stage_.born(name_, node_, context.self());
    context.send_local(stage_.coroners[node_ - 1], std::make_unique<Watch>(context.self()));
  }

  void handle(Context& context, Message message) override {
    if (const auto* received = std::get_if<message::Received>(&message)) {
      saw(stage_.name_of(received->from),
          "message " + std::string{received->envelope.payload.view()});
    } else if (const auto* exited = std::get_if<message::Exited>(&message)) {
      saw(stage_.name_of(exited->from), "exit " + word_of(exited->reason));
    } else if (const auto* down = std::get_if<message::Down>(&message)) {
      const auto found = std::find_if(monitors_.begin(), monitors_.end(), [&](const auto& entry) {
        return entry.second == down->monitor;
      });
      const std::string label = found == monitors_.end() ? "unknown" : found->first;
      saw(stage_.name_of(down->process), "down " + label + " " + word_of(down->reason));
    } else if (const auto* spawned = std::get_if<message::Spawned>(&message)) {
      handle(*spawned);
    } else if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
      if (const auto* command = dynamic_cast<const Command*>(local->get())) {
        did_in_ = stage_.step;
        for (const Op& op : command->ops) carry_out(context, op);
      }
    } else {
      saw("nobody", "something that no script causes");
    }
  }

 private:
  void saw(const std::string& sender, std::string what) {
    stage_.trace.saw(stage_.step, did_in_ == stage_.step, name_, sender, std::move(what));
  }

  void handle(const message::Spawned& spawned) {
    const auto found = std::find_if(asked_.begin(), asked_.end(), [&](const auto& entry) {
      return entry.second == spawned.spawn;
    });
    const std::string name = found == asked_.end() ? "nobody" : found->first;
    if (found != asked_.end()) asked_.erase(found);
    if (spawned.instance) {
      saw(name, "spawned");
    } else if (spawned.instance.error().code == Errc::kNoService) {
      saw(name, "not-spawned no-service");
    } else if (spawned.instance.error().code == Errc::kPeerUnreachable) {
      saw(name, "not-spawned noconnection");
    } else {
      saw(name, "not-spawned " + spawned.instance.error().detail);
    }
  }

  void carry_out(Context& context, const Op& op) {
    if (const auto target = stage_.places.find(op.target); target != stage_.places.end()) {
      carry_out(context, op, stage_.seen_from(node_, target->second));
      return;
    }
    switch (op.verb) {
      case Verb::kTrap:
        return context.trap_exits(op.word == "on");
      case Verb::kDemonitor:
        if (const auto found = monitors_.find(op.word); found != monitors_.end()) {
          context.demonitor(found->second);
        }
        return;
      case Verb::kExit:
        return context.exit(reason_of(op.word));
      case Verb::kThrow:
        throw std::runtime_error(op.word);
      case Verb::kSpawn:
        return stage_.born(op.target, node_,
                           context.spawn(std::make_unique<Actor>(stage_, op.target, node_)));
      case Verb::kSpawnLink:
        return stage_.born(op.target, node_,
                           context.spawn_link(std::make_unique<Actor>(stage_, op.target, node_)));
      case Verb::kAsk:
      case Verb::kAskUnknown: {
        const Pid node = stage_.seen_from(node_, {op.word == "one" ? 1 : 2, Serial{0}});
        const std::string service{op.verb == Verb::kAsk ? std::string{kInstanceOf} + op.target
                                                        : std::string{kUnknown}};
        asked_.insert_or_assign(op.target, context.spawn_service(node, ServiceName{service},
                                                                 ConversationId{1, stage_.step}));
        return;
      }
      case Verb::kAbandon:
        abandon(context, op.target);
        return;
      default:
        return;  // its target was never born: the others' does nothing either
    }
  }

  void carry_out(Context& context, const Op& op, const Pid& target) {
    switch (op.verb) {
      case Verb::kLink:
        return context.link(target);
      case Verb::kUnlink:
        return context.unlink(target);
      case Verb::kMonitor:
        monitors_.insert_or_assign(op.word, context.monitor(target));
        return;
      case Verb::kSend:
        return context.send(target, {.kind = EnvelopeKind::kRequest,
                                     .id = context.new_message_id(),
                                     .conversation = ConversationId{1, 1},
                                     .payload = Payload{op.word}});
      case Verb::kExitSignal:
        return context.exit(target, reason_of(op.word));
      case Verb::kKill:
        return context.exit(target, ExitReason::kill());
      case Verb::kAbandon:
        abandon(context, op.target);
        return;
      default:
        return;
    }
  }

  void abandon(Context& context, const std::string& name) {
    const auto found = asked_.find(name);
    if (found == asked_.end()) return;
    context.abandon_spawn(found->second);
    asked_.erase(found);
  }

  Stage& stage_;
  std::string name_;
  int node_;
  std::size_t did_in_ = 0;                     // the last step in which it was told to do something
  std::map<std::string, MonitorId> monitors_;  // by label
  std::map<std::string, SpawnId> asked_;       // by name
};

class Run {
 public:
  explicit Run(std::uint64_t seed)
      : world_({.cluster = kCluster, .delay_min = kDelayMin, .delay_max = kDelayMax}, seed),
        random_(seed ^ 0x0A) {
    for (const int node : {1, 2}) {
      const std::size_t index = world_.start_node(
          {.name = node_name(node)},
          [this, node](const signal::SpawnRequest& request) { return make(node, request); });
      check_index(index, node);
    }
    world_.run_for(1s);
    for (const int node : {1, 2}) {
      if (!at(node).core().joined()) stage_.trace.broken = "a node of ours did not join";
      stage_.incarnations[node - 1] = at(node).core().incarnation();
      stage_.coroners[node - 1] = at(node).scheduler().spawn(std::make_unique<Coroner>(stage_));
      at(node).poke();
    }
  }

  Trace play(const Script& script) {
    for (const Step& step : script.steps) {
      if (!stage_.trace.broken.empty()) break;
      ++stage_.step;
      if (const auto* start = std::get_if<Start>(&step)) {
        at(start->node)
            .scheduler()
            .spawn(std::make_unique<Actor>(stage_, start->name, start->node));
        at(start->node).poke();
        world_.run_for(kSettles);
      } else {
        carry_out(std::get<Together>(step));
      }
      for (const std::string& name : std::exchange(stage_.born_now, {})) {
        // Whether it was there for a moment chance decides: from now on its name is nobody's.
        if (stage_.trace.ends.contains(name)) stage_.places.erase(name);
      }
    }
    if (at(1).fenced() > 0) stage_.trace.broken = "node one of ours was fenced";
    return std::move(stage_.trace);
  }

 private:
  static void check_index(std::size_t index, int node) {
    if (index + 1 != static_cast<std::size_t>(node)) throw std::logic_error("nodes are in order");
  }
  [[nodiscard]] sim::World::Node& at(int node) {
    return world_.node(static_cast<std::size_t>(node - 1));
  }

  Result<std::unique_ptr<Process>> make(int node, const signal::SpawnRequest& request) {
    const std::string& service = request.service.value();
    if (!service.starts_with(kInstanceOf)) {
      return fail(Errc::kNoService, "there is no service " + service);
    }
    return std::make_unique<Actor>(stage_, service.substr(kInstanceOf.size()), node);
  }

  void carry_out(const Together& together) {
    std::vector<const Batch*> batches;
    for (const Batch& batch : together.batches) batches.push_back(&batch);
    for (std::size_t i = batches.size(); i > 1; --i) {
      std::swap(batches[i - 1], batches[random_.below(i)]);
    }
    const bool alone = batches.size() + (together.loses ? 1U : 0U) == 1;
    // Half of the time all at the same instant: what is under way then crosses.
    const bool at_once = alone || random_.below(2) == 0;
    for (const Batch* batch : batches) {
      world_.events().after(at_once ? Duration::zero() : some(kSpread), [this, batch] {
        const auto place = stage_.places.find(batch->actor);
        if (place == stage_.places.end()) return;
        sim::World::Node& node = at(place->second.node);
        if (!node.alive()) return;
        node.scheduler().send_local(stage_.seen_from(place->second.node, place->second),
                                    std::make_unique<Command>(batch->ops));
        if (random_.below(2) == 0) node.poke();  // else it waits in the mailbox for the next one
      });
    }
    if (together.loses) {
      world_.events().after(alone ? Duration::zero() : some(kSpread), [this] { lose_two(); });
    }
    world_.events().after(kSpread, [this] {
      for (const int node : {1, 2}) at(node).poke();
    });
    world_.run_for(kSettles + (together.loses ? kVerdictSettles : Duration::zero()));
  }

  void lose_two() {
    world_.kill(1);
    for (const auto& [name, place] : stage_.places) {
      if (place.node == 2) stage_.trace.ends.try_emplace(name, Trace::End{stage_.step, "lost"});
    }
  }

  [[nodiscard]] Duration some(Duration bound) {
    return Duration{
        static_cast<Duration::rep>(random_.below(static_cast<std::uint64_t>(bound.count())))};
  }

  Stage stage_;  // outlives the actors
  sim::World world_;
  Random random_;
};

}  // namespace

Trace run_on_ours(const Script& script, std::uint64_t seed) { return Run{seed}.play(script); }

}  // namespace liminal::oracle
