// What makes the participants of one kind: what an application offers, or has take part itself.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "node/participant/behaviour_participant.hpp"

namespace liminal {

/// Makes processes that answer requests, and says whether they can undo them.
///
/// Implicit from what returns a unique_ptr to a behaviour whose type is known:
/// `[] { return std::make_unique<EchoBehaviour>(); }`. async_participants() makes one of behaviours
/// that await (node/async/async_behaviour.hpp).
///
/// Thread-safety: the factory may be called from any thread.
class ParticipantMaker {
 public:
  using Make = std::function<std::unique_ptr<Process>(ParticipantSlot)>;

  ParticipantMaker(Make make, Undo undo) : make_(std::move(make)), undo_(undo) {}
  /// Where the type does not say what it makes.
  ParticipantMaker(BehaviourFactory factory, Undo undo)
      : ParticipantMaker(Make{[factory = std::move(factory)](ParticipantSlot slot) {
                           return std::make_unique<BehaviourParticipant>(std::move(slot), factory);
                         }},
                         undo) {}
  template <TypedBehaviourFactory Factory>
  ParticipantMaker(Factory factory)
      : ParticipantMaker(BehaviourFactory{std::move(factory)}, undo_of<Factory>()) {}

  [[nodiscard]] std::unique_ptr<Process> make(ParticipantSlot slot) const {
    return make_(std::move(slot));
  }
  [[nodiscard]] bool compensates() const { return undo_ == Undo::kCompensates; }

 private:
  Make make_;
  Undo undo_;
};

}  // namespace liminal
