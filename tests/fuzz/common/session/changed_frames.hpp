// A peer whose frames are not what a session says: each is told as a violation and changes nothing,
// or is one that a session could have said.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>

#include "common/session/session.hpp"
#include "tests/fuzz/choices.hpp"

namespace liminal::test {

/// Two sessions that read the same; one of them is sent, in between, what no session says. As long
/// as that one refuses it, nobody can tell the two from each other.
class ChangedFrames {
 public:
  explicit ChangedFrames(Choices choices);

  /// Until a changed frame was accepted, or the choices are over. Throws BrokenPromise.
  void run();

  [[nodiscard]] int refused() const { return refused_; }
  [[nodiscard]] int unreadable() const { return unreadable_; }

 private:
  static Signal answer_of(Signal signal);

  void disturb(const SessionFrame& frame);
  void disturb_with(SessionFrame frame);

  void both_read(const SessionFrame& frame);

  void answer();

  Choices choices_;
  Session::Settings settings_;
  Session sender_, disturbed_, undisturbed_;
  TimePoint now_{std::chrono::seconds{1000}};
  std::deque<SessionFrame> under_way_;  // from them to the sender
  std::deque<Signal> held_;
  std::uint64_t numbers_ = 0;
  bool accepted_ = false;
  int refused_ = 0, unreadable_ = 0;
};

/// One session that is told whatever there is, changed or not, without regard to what it makes of
/// it: it never breaks, and what it says is never too long. Throws BrokenPromise.
void say_anything(Choices& choices);

}  // namespace liminal::test
