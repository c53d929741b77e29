#include "tests/oracle/allowed_state.hpp"

#include <algorithm>

namespace liminal::oracle {
namespace {

using What = Told::What;

/// Lets one thing happen to a state.
class Hand {
 public:
  explicit Hand(State& state) : state_(state) {}

  void next_op(const Name& self);
  void handle_mail(const Name& self);
  void deliver(const Name& from, const Name& to);
  void lose();
  /// What `from` says to `to` first, the exit of a link, counts for the link of the moment.
  void renew_exit(const Name& from, const Name& to) {
    const auto tie = at(to).links.find(from);
    if (tie == at(to).links.end()) return;
    state_.under_way.at({from, to}).front().id =
        tie->second.mine != 0 ? tie->second.mine : tie->second.theirs;
  }

 private:
  Actor& at(const Name& name) { return state_.actors.at(name); }
  [[nodiscard]] bool exists(const Name& name) const { return state_.actors.contains(name); }
  [[nodiscard]] bool is_lost(const Name& name) const {
    return state_.lost && (name == "two" || (exists(name) && state_.actors.at(name).node == 2));
  }
  void tell(const Name& from, const Name& to, Told told) {
    state_.under_way[{from, to}].push_back(std::move(told));
  }
  void bear(const Name& name, int node) { oracle::bear(state_, name, node); }
  int new_id(const Name& maker) {
    Actor& actor = at(maker);
    return actor.ordinal * 10'000 + ++actor.ids_made;
  }
  // What is left of one that ended; what it saw in this step does not count, see canonical().
  void forget(const Name& self) {
    Actor& actor = at(self);
    Actor left{actor.node, actor.ordinal, actor.born_in};
    left.alive = false;
    actor = std::move(left);
    std::erase_if(state_.trace.seen, [&](const auto& entry) {
      return entry.first.step == state_.step && entry.first.process == self;
    });
  }
  void mail(const Name& to, Mail mail);
  void record(const Name& self, const Mail& mail);
  void die(const Name& self, const std::string& reason);
  void answer_for(const Name& gone, const Name& to, const Told& told, const std::string& reason);
  void link_exit(const Name& self, const Name& peer, int id, const std::string& reason);
  void down(const Name& self, int id, const std::string& reason);
  void unlink(const Name& self, const Name& peer);
  void demonitor(const Name& self, const std::string& label);
  void abandon(const Name& self, const Name& name);
  void not_spawned(const Name& self, const Name& name, const std::string& why);

  State& state_;
};

// --- what processes do ---

void Hand::next_op(const Name& self) {
  Actor& actor = at(self);
  const Op op = actor.ops.front();
  actor.ops.pop_front();
  actor.began = !actor.ops.empty();
  actor.did = true;
  const bool to_somebody = exists(op.target);
  switch (op.verb) {
    case Verb::kTrap:
      actor.traps = op.word == "on";
      break;
    case Verb::kLink:
      if (to_somebody && op.target != self && !actor.links.contains(op.target)) {
        const int id = actor.links[op.target].mine = new_id(self);
        tell(self, op.target, {What::kLink, id});
      }
      break;
    case Verb::kUnlink:
      if (to_somebody) unlink(self, op.target);
      break;
    case Verb::kMonitor:
      if (to_somebody && op.target != self) {
        const int id = new_id(self);
        actor.monitors[id] = {op.target, op.word};
        tell(self, op.target, {What::kMonitor, id});
      }
      break;
    case Verb::kDemonitor:
      demonitor(self, op.word);
      break;
    case Verb::kSend:
      if (to_somebody) tell(self, op.target, {What::kMessage, 0, 0, op.word});
      break;
    case Verb::kExitSignal:
    case Verb::kKill:
      if (!to_somebody) break;
      tell(self, op.target, {What::kExitSignal, 0, 0, op.verb == Verb::kKill ? "kill" : op.word});
      if (op.target == self) deliver(self, self);
      break;
    case Verb::kExit:
      return die(self, op.word);
    case Verb::kThrow:
      return die(self, "error(" + op.word + ")");
    case Verb::kSpawn:
      bear(op.target, actor.node);
      break;
    case Verb::kSpawnLink:
      bear(op.target, actor.node);
      actor.links[op.target].mine = at(op.target).links[self].theirs = new_id(self);
      break;
    case Verb::kAsk:
    case Verb::kAskUnknown:
      actor.asked.insert(op.target);
      tell(self, op.word, {What::kAsk, 0, 0, op.verb == Verb::kAsk ? "" : "no-service", op.target});
      break;
    case Verb::kAbandon:
      abandon(self, op.target);
      break;
  }
  if (!actor.alive || !actor.ops.empty()) return;
  while (!at(self).mails.empty()) handle_mail(self);  // nothing takes them back any more
}

void Hand::unlink(const Name& self, const Name& peer) {
  Actor& actor = at(self);
  std::erase_if(actor.mails,
                [&](const Mail& mail) { return mail.link != 0 && mail.sender == peer; });
  const auto tie = actor.links.find(peer);
  if (tie == actor.links.end()) return;
  tell(self, peer, {What::kUnlink, tie->second.mine, tie->second.theirs});
  actor.links.erase(tie);
}

void Hand::demonitor(const Name& self, const std::string& label) {
  Actor& actor = at(self);
  const auto monitor = std::find_if(actor.monitors.begin(), actor.monitors.end(),
                                    [&](const auto& entry) { return entry.second.label == label; });
  if (monitor == actor.monitors.end()) return;
  const int id = monitor->first;
  std::erase_if(actor.mails, [&](const Mail& mail) { return mail.monitor == id; });
  tell(self, monitor->second.process, {What::kDemonitor, id});
  actor.monitors.erase(monitor);
}

void Hand::abandon(const Name& self, const Name& name) {
  Actor& actor = at(self);
  const auto answer = std::find_if(actor.mails.begin(), actor.mails.end(), [&](const Mail& mail) {
    return mail.spawn && mail.sender == name;
  });
  if (answer != actor.mails.end()) {
    const bool is_there = answer->event == "spawned";
    actor.mails.erase(answer);
    if (!is_there) return;
    unlink(self, name);
    tell(self, name, {What::kExitSignal, 0, 0, "shutdown"});
    return;
  }
  actor.asked.erase(name);
}

void Hand::die(const Name& self, const std::string& reason) {
  Actor& actor = at(self);
  actor.alive = false;
  state_.trace.ends[self] = {state_.step, reason};
  for (const auto& [peer, tie] : actor.links) {
    tell(self, peer, {What::kLinkExit, tie.mine != 0 ? tie.mine : tie.theirs, 0, reason});
  }
  for (const auto& [watcher, id] : actor.watchers) {
    tell(self, watcher, {What::kDown, id, 0, reason});
  }
  forget(self);
}

void Hand::lose() {
  state_.will_lose = false;
  state_.lost = true;
  for (auto& [name, actor] : state_.actors) {
    if (actor.node != 2 || !actor.alive) continue;
    state_.trace.ends[name] = {state_.step, "lost"};
    forget(name);
  }
  std::erase_if(state_.under_way, [&](const auto& entry) {
    return is_lost(entry.first.second) && is_lost(entry.first.first);
  });
  for (const auto& [name, actor] : state_.actors) {
    if (actor.node != 1 || !actor.alive) continue;
    for (const auto& [other, its] : state_.actors) {
      if (its.node == 2) tell(other, name, {What::kNodeLost});
    }
    tell("two", name, {What::kNodeLost});
  }
}

// --- what reaches them ---

void Hand::mail(const Name& to, Mail mail) {
  if (at(to).ops.empty()) return record(to, mail);
  at(to).mails.push_back(std::move(mail));
}

void Hand::handle_mail(const Name& self) {
  const Mail mail = std::move(at(self).mails.front());
  at(self).mails.pop_front();
  record(self, mail);
}

void Hand::record(const Name& self, const Mail& mail) {
  if (mail.monitor != 0) at(self).monitors.erase(mail.monitor);
  state_.trace.saw(state_.step, at(self).did, self, mail.sender, mail.event);
}

void Hand::link_exit(const Name& self, const Name& peer, int id, const std::string& reason) {
  Actor& actor = at(self);
  const auto tie = actor.links.find(peer);
  if (tie == actor.links.end() || (tie->second.mine != id && tie->second.theirs != id)) return;
  actor.links.erase(tie);
  if (actor.traps) return mail(self, {peer, "exit " + reason, id});
  if (reason != "normal") die(self, reason);
}

void Hand::down(const Name& self, int id, const std::string& reason) {
  const auto monitor = at(self).monitors.find(id);
  if (monitor == at(self).monitors.end()) return;
  for (const Mail& waits : at(self).mails) {
    if (waits.monitor == id) return;
  }
  mail(self, {monitor->second.process, "down " + monitor->second.label + " " + reason, 0, id});
}

void Hand::not_spawned(const Name& self, const Name& name, const std::string& why) {
  if (at(self).asked.erase(name) > 0) mail(self, {name, "not-spawned " + why, 0, 0, true});
}

// `told` came from `to`, for one that is not there.
void Hand::answer_for(const Name& gone, const Name& to, const Told& told,
                      const std::string& reason) {
  if (told.what == What::kLink || told.what == What::kSpawned) {
    tell(gone, to, {What::kLinkExit, told.id, 0, reason});
  } else if (told.what == What::kMonitor) {
    tell(gone, to, {What::kDown, told.id, 0, reason});
  } else if (told.what == What::kAsk) {
    tell(gone, to, {What::kNotSpawned, 0, 0, reason, told.name});
  }
}

void Hand::deliver(const Name& from, const Name& to) {
  auto channel = state_.under_way.find({from, to});
  const Told told = std::move(channel->second.front());
  channel->second.pop_front();
  if (channel->second.empty()) state_.under_way.erase(channel);

  if (is_lost(to)) return answer_for(to, from, told, "noconnection");
  if (told.what == What::kAsk) {
    if (!told.word.empty()) return tell(to, from, {What::kNotSpawned, 0, 0, told.word, told.name});
    bear(told.name, to == "one" ? 1 : 2);
    const int id = at(told.name).links[from].mine = new_id(told.name);
    return tell(told.name, from, {What::kSpawned, id, 0, {}, told.name});
  }
  Actor& actor = at(to);
  if (!actor.alive) return answer_for(to, from, told, "noproc");
  switch (told.what) {
    case What::kMessage:
      return mail(to, {from, "message " + told.word});
    case What::kLink:
      actor.links[from].theirs = told.id;
      return;
    case What::kUnlink: {
      const auto tie = actor.links.find(from);
      if (tie == actor.links.end()) return;
      if (tie->second.mine == told.other_id) tie->second.mine = 0;
      if (tie->second.theirs == told.id) tie->second.theirs = 0;
      if (tie->second.mine == 0 && tie->second.theirs == 0) actor.links.erase(tie);
      return;
    }
    case What::kLinkExit:
      return link_exit(to, from, told.id, told.word);
    case What::kExitSignal:
      if (told.word == "kill") return die(to, "killed");
      if (actor.traps) return mail(to, {from, "exit " + told.word});
      if (told.word != "normal" || from == to) die(to, told.word);
      return;
    case What::kMonitor:
      actor.watchers.insert({from, told.id});
      return;
    case What::kDemonitor:
      actor.watchers.erase({from, told.id});
      return;
    case What::kDown:
      return down(to, told.id, told.word);
    case What::kSpawned:
      if (actor.asked.erase(told.name) == 0) {
        return tell(to, from, {What::kLinkExit, told.id, 0, "shutdown"});
      }
      actor.links[from].theirs = told.id;
      return mail(to, {told.name, "spawned", 0, 0, true});
    case What::kNotSpawned:
      return not_spawned(to, told.name, told.word);
    case What::kNodeLost: {
      std::vector<int> ids;
      for (const auto& [id, monitored] : actor.monitors) {
        if (monitored.process == from) ids.push_back(id);
      }
      for (const int id : ids) down(to, id, "noconnection");
      not_spawned(to, from, "noconnection");
      if (const auto tie = actor.links.find(from); tie != actor.links.end()) {
        const int id = tie->second.mine != 0 ? tie->second.mine : tie->second.theirs;
        link_exit(to, from, id, "noconnection");
      }
      return;
    }
    case What::kAsk:
      return;  // handled above
  }
}

// Whether what `from` told `to` first is received with the same effect, sooner or later.
bool is_inert(const State& state, const Name& from, const Name& to, const Told& told) {
  const auto found = state.actors.find(to);
  if (found == state.actors.end()) return state.lost && to == "two";
  const Actor& actor = found->second;
  if (!actor.alive) return actor.node == 1 || !state.will_lose;
  if (!actor.ops.empty()) return false;
  switch (told.what) {
    case What::kMessage:
    case What::kDown:
    case What::kDemonitor:
    case What::kNotSpawned:
      return true;
    case What::kNodeLost:
      return actor.traps || !actor.links.contains(from);
    default:
      return false;
  }
}

}  // namespace

void bear(State& state, const Name& name, int node) {
  state.actors.emplace(name, Actor{node, static_cast<int>(state.trace.born.size()), state.step});
  state.trace.born.insert(name);
}

std::vector<State> successors(const State& state, bool one_is_enough) {
  std::vector<State> found;
  const auto enough = [&] { return one_is_enough && !found.empty(); };
  const auto by = [&](const auto& happens) {
    if (enough()) return;
    found.push_back(state);
    Hand hand{found.back()};
    happens(hand);
  };
  const auto deliver = [&](const auto& pair, const std::deque<Told>& told) {
    by([&](Hand& hand) { hand.deliver(pair.first, pair.second); });
    if (!state.exits_name_their_link && told.front().what == What::kLinkExit &&
        state.actors.at(pair.second).alive) {
      by([&](Hand& hand) {
        hand.renew_exit(pair.first, pair.second);
        hand.deliver(pair.first, pair.second);
      });
    }
    // What a lost node had sent need not have left it.
    const auto lost = std::find_if(told.begin(), told.end(),
                                   [](const Told& later) { return later.what == What::kNodeLost; });
    if (lost == told.begin() || lost == told.end() || enough()) return;
    found.push_back(state);
    auto& cut = found.back().under_way.at(pair);
    cut.erase(cut.begin(), cut.begin() + (lost - told.begin()));
  };

  for (const auto& [pair, told] : state.under_way) {
    if (!is_inert(state, pair.first, pair.second, told.front())) continue;
    deliver(pair, told);
    return found;
  }
  if (state.will_lose) by([](Hand& hand) { hand.lose(); });
  for (const auto& [name, actor] : state.actors) {
    if (!actor.alive || actor.ops.empty()) continue;
    by([&](Hand& hand) { hand.next_op(name); });
    if (!actor.began && !actor.mails.empty()) by([&](Hand& hand) { hand.handle_mail(name); });
  }
  for (const auto& [pair, told] : state.under_way) deliver(pair, told);
  return found;
}

}  // namespace liminal::oracle
