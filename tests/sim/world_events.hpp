// How something happens to a node or to the broker of a simulated world: for world*.cpp alone.
#pragma once

#include <utility>

#include "tests/sim/world.hpp"

namespace liminal::sim {

/// Makes `listener` this thread's for its own lifetime: several worlds may take turns on a thread.
class Listening {
 public:
  explicit Listening(FaultListener& listener) : before_(std::exchange(fault_listener, &listener)) {}
  ~Listening() { fault_listener = before_; }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

 private:
  FaultListener* before_;
};

template <class Event>
void World::Node::handle(Event event) {
  if (!alive_) return;
  if (paused_) {
    pending_.push_back(std::move(event));
    return;
  }
  const Listening listening{*this};
  event();
  turn();
}

template <class Event>
void World::broker_handle(Event event) {
  if (broker_paused_) {
    broker_pending_.push_back(std::move(event));
    return;
  }
  const Listening listening{broker_listener_};
  event();
  broker_goes_on();
}

}  // namespace liminal::sim
