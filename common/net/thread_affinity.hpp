// Catches a socket that is used by a thread that does not own it.
#pragma once

#include <thread>

#include "common/base/check.hpp"

namespace liminal::net {

/// Belongs to the thread that made it, until another adopts it.
class ThreadAffinity {
 public:
  /// One compare; on in release too, since a libzmq socket used by two threads corrupts memory
  /// rather than failing.
  void check(const char* file = __builtin_FILE(), int line = __builtin_LINE()) const noexcept {
    liminal::check(std::this_thread::get_id() == owner_, "called on the thread that owns it", file,
                   line);
  }

  /// Gives the object to the calling thread. REQUIRES: the old owner is done with it and that
  /// happens-before this call, e.g. it moved the object into the std::thread that adopts it.
  void adopt() noexcept { owner_ = std::this_thread::get_id(); }

 private:
  std::thread::id owner_ = std::this_thread::get_id();
};

}  // namespace liminal::net
