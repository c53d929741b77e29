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

/// Of a connection: behind what waits there.
template <class Event>
void World::Node::receive(std::uint64_t connection, Event event) {
  if (!alive_) return;
  if (paused_ || !unread_.empty()) {
    unread_[connection].push_back(std::move(event));
    return;
  }
  handle(std::move(event));
}

/// A loop that has time reads each message in a turn of its own.
template <class Event>
void World::broker_hear(std::uint64_t connection, Event event) {
  if (loop_->stopped || !loop_->all_read) {
    loop_->unread[connection].push_back(std::move(event));
    return;
  }
  const Listening listening{broker_listener_};
  loop_->lag.woke(now());
  event();
  broker_goes_on();
}

}  // namespace liminal::sim
