// Puppets: processes that do what a test tells them and note down what reaches them, on one node or
// on several that are joined in one thread.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "node/scheduler/scheduler.hpp"

namespace liminal::test {

inline std::string text_of(const ExitReason& reason) {
  switch (reason.kind) {
    case ExitKind::kNormal:
      return "normal";
    case ExitKind::kShutdown:
      return "shutdown";
    case ExitKind::kError:
      return "error " + reason.text;
    case ExitKind::kKill:
      return "kill";
    case ExitKind::kKilled:
      return "killed";
    case ExitKind::kNoProc:
      return "noproc";
    case ExitKind::kNoConnection:
      return "noconnection";
  }
  return "?";
}

inline Envelope envelope(Context& context, std::string text) {
  Envelope made{EnvelopeKind::kRequest, context.new_message_id(), ConversationId{0, 1}};
  made.payload = Payload{std::move(text)};
  return made;
}

/// Nodes "n0", "n1", ... on the step driver. What one sends another waits, in order, on a wire for
/// each direction until carry() or run().
class Troupe {
 public:
  using Action = std::function<void(Context&)>;

  explicit Troupe(std::size_t nodes = 1, std::size_t turn_messages_max = 64, std::uint64_t seed = 1,
                  MailboxBounds mailbox = {}, std::size_t links_max = 100'000) {
    wires_.resize(nodes, std::vector<std::deque<Signal>>(nodes));
    for (std::size_t node = 0; node < nodes; ++node) {
      nodes_.push_back(std::make_unique<Scheduler>(
          Scheduler::Settings{.node = name(node),
                              .seed = seed + node,
                              .turn_messages_max = turn_messages_max,
                              .mailbox = mailbox,
                              .links_max = links_max},
          [this, node](Signal signal) { leave(node, std::move(signal)); }));
      nodes_.back()->set_service_factory(
          [this, node](const signal::SpawnRequest& request) { return serve(node, request); });
    }
  }

  /// A puppet's number.
  std::size_t spawn(std::size_t node = 0, bool traps = false) {
    auto [number, process] = make(node, traps);
    puppets_[number]->serial = nodes_[node]->spawn(std::move(process)).serial;
    return number;
  }
  std::size_t spawn_trapping(std::size_t node = 0) { return spawn(node, true); }
  /// For Context::spawn() and spawn_link() of a puppet on `node`; its serial is noted at its start.
  std::pair<std::size_t, std::unique_ptr<Process>> make(std::size_t node = 0, bool traps = false) {
    const std::size_t number = puppets_.size();
    puppets_.push_back(std::make_unique<Notes>());
    puppets_.back()->node = node;
    return {number, std::make_unique<Puppet>(*this, *puppets_.back(), traps)};
  }

  /// Puts the action into the puppet's queue. False if the puppet is gone.
  bool post(std::size_t who, Action action) {
    return nodes_[puppets_[who]->node]->send_local(seen_from(puppets_[who]->node, who),
                                                   std::make_unique<Do>(std::move(action)));
  }
  /// Does it, and everything that follows from it.
  void act(std::size_t who, Action action) {
    post(who, std::move(action));
    run();
  }

  /// Until nothing moves anywhere.
  void run() {
    do {
      for (auto& node : nodes_) node->run_until_idle(now);
    } while (carry_all());
  }
  void run_node(std::size_t node) { nodes_[node]->run_until_idle(now); }
  /// Takes one signal off the wire and delivers it. False if there is none.
  bool carry(std::size_t from, std::size_t to) {
    std::deque<Signal>& wire = wires_[from][to];
    if (wire.empty()) return false;
    Signal signal = std::move(wire.front());
    wire.pop_front();
    nodes_[to]->deliver(std::move(signal));
    return true;
  }

  Pid seen_from(std::size_t node, std::size_t who) const {
    const Notes& notes = *puppets_[who];
    return Pid{name(notes.node), node == notes.node ? local_incarnation() : incarnation(notes.node),
               notes.serial};
  }
  Pid node_seen_from(std::size_t looking, std::size_t node) const {
    return Pid{name(node), looking == node ? local_incarnation() : incarnation(node), Serial{0}};
  }
  /// As `observer` sees `who`.
  Pid pid(std::size_t observer, std::size_t who) const {
    return seen_from(puppets_[observer]->node, who);
  }
  Pid pid(std::size_t who) const { return pid(who, who); }

  const std::vector<std::string>& seen(std::size_t who) const { return puppets_[who]->seen; }
  bool alive(std::size_t who) const { return puppets_[who]->alive; }
  bool started(std::size_t who) const { return puppets_[who]->started; }
  std::size_t size() const { return puppets_.size(); }
  Scheduler& node(std::size_t index = 0) { return *nodes_[index]; }
  /// Messages of either kind that nobody got.
  std::uint64_t dropped(std::size_t index = 0) {
    return node(index).counts().dropped_messages + node(index).dead_letters().total();
  }

  /// Runs in each puppet that notes down something, after that.
  std::function<void(std::size_t who, const std::string& note)> on_note;
  TimePoint now{};

 private:
  struct Notes {
    std::size_t node = 0;
    Serial serial{0};
    bool alive = true;
    bool started = false;
    std::vector<std::string> seen;
  };

  struct Do final : LocalMessage {
    explicit Do(Action what) : action(std::move(what)) {}
    Action action;
  };

  class Puppet final : public Process {
   public:
    Puppet(Troupe& troupe, Notes& notes, bool traps)
        : troupe_(troupe), notes_(notes), traps_(traps) {}
    ~Puppet() override { notes_.alive = false; }
    Puppet(const Puppet&) = delete;
    Puppet& operator=(const Puppet&) = delete;

    void on_start(Context& context) override {
      notes_.started = true;
      notes_.serial = context.self().serial;
      if (traps_) context.trap_exits(true);
    }

    void handle(Context& context, Message message) override {
      if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
        if (auto* todo = dynamic_cast<Do*>(local->get())) return todo->action(context);
        return note("local");
      }
      if (auto* got = std::get_if<message::Received>(&message)) {
        note("got " + number(got->from) + " " + std::string(got->envelope.payload.view()));
      } else if (auto* exited = std::get_if<message::Exited>(&message)) {
        note("exited " + number(exited->from) + " " + text_of(exited->reason));
      } else if (auto* down = std::get_if<message::Down>(&message)) {
        note("down " + std::to_string(down->monitor.value()) + " " + number(down->process) + " " +
             text_of(down->reason));
      } else if (auto* fired = std::get_if<message::TimerFired>(&message)) {
        note("timer " + std::to_string(fired->timer.value()));
      } else if (auto* refused = std::get_if<message::Refused>(&message)) {
        note(
            std::string(refused->kind == signal::RefusalKind::kDeferred ? "deferred" : "rejected") +
            " by " + number(refused->by) +
            (refused->returned ? " " + std::string(refused->returned->payload.view()) : ""));
      } else if (auto* cancelled = std::get_if<message::Cancelled>(&message)) {
        note("cancelled by " + number(cancelled->from) + " " +
             (cancelled->taken ? std::string(cancelled->taken->payload.view()) : "nothing"));
      } else if (auto* spawned = std::get_if<message::Spawned>(&message)) {
        note("spawned " + std::to_string(spawned->spawn.value()) + " " +
             (spawned->instance ? "serial " + std::to_string(spawned->instance->serial.value())
                                : "error " + spawned->instance.error().detail) +
             (spawned->compensates ? " compensates" : ""));
      }
    }

   private:
    void note(std::string text) {
      notes_.seen.push_back(std::move(text));
      if (!troupe_.on_note) return;
      for (std::size_t who = 0; who < troupe_.puppets_.size(); ++who) {
        if (troupe_.puppets_[who].get() == &notes_) troupe_.on_note(who, notes_.seen.back());
      }
    }
    std::string number(const Pid& pid) const {
      if (pid.serial == Serial{0}) return "node";
      for (std::size_t who = 0; who < troupe_.puppets_.size(); ++who) {
        if (troupe_.seen_from(notes_.node, who) == pid) return std::to_string(who);
      }
      return "?";
    }

    Troupe& troupe_;
    Notes& notes_;
    bool traps_;
  };

  static NodeName name(std::size_t node) { return NodeName{"n" + std::to_string(node)}; }
  static Incarnation incarnation(std::size_t node) { return Incarnation{100 + node}; }

  void leave(std::size_t node, Signal signal) {
    std::visit(
        [&](auto& s) {
          if (s.from.is_local()) s.from.incarnation = incarnation(node);
          for (std::size_t other = 0; other < nodes_.size(); ++other) {
            if (s.to.incarnation != incarnation(other)) continue;
            s.to.incarnation = local_incarnation();
            wires_[node][other].push_back(std::move(s));
            return;
          }
        },
        signal);
  }

  bool carry_all() {
    bool any = false;
    for (std::size_t from = 0; from < nodes_.size(); ++from) {
      for (std::size_t to = 0; to < nodes_.size(); ++to) {
        while (carry(from, to)) any = true;
      }
    }
    return any;
  }

  /// "puppet", "trapping" and "undoing" (which compensates) are services; "throws" has a broken
  /// factory.
  Result<Scheduler::Instance> serve(std::size_t node, const signal::SpawnRequest& request) {
    const std::string& service = request.service.value();
    if (service == "puppet") return make(node).second;
    if (service == "trapping") return make(node, true).second;
    if (service == "undoing") return Scheduler::Instance{make(node).second, true};
    if (service == "throws") throw std::runtime_error("broken factory");
    if (service == "nothing") return std::unique_ptr<Process>{};
    return fail(Errc::kNoService, "no " + service);
  }

  std::vector<std::unique_ptr<Notes>> puppets_;  // outlive the nodes, whose puppets write there
  std::vector<std::vector<std::deque<Signal>>> wires_;
  std::vector<std::unique_ptr<Scheduler>> nodes_;
};

}  // namespace liminal::test
