// What the soak tests share: their settings, and how completions reach the thread that drives.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <utility>

#include "node/node.hpp"
#include "tests/system/process.hpp"

namespace liminal::test {

/// What the environment says, or else `otherwise`.
inline std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// What completions tell, from whatever thread, to the one that drives the conversations.
class Post {
 public:
  struct Told {
    std::size_t slot;
    enum class What { kReply, kClosed } what;
    Outcome outcome;
  };
  void push(Told told) {
    {
      const std::lock_guard lock{mutex_};
      told_.push_back(std::move(told));
    }
    changed_.notify_one();
  }
  /// Waits a little for the first.
  std::deque<Told> take() {
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, 5ms, [this] { return !told_.empty(); });
    return std::exchange(told_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Told> told_;  // GUARDED_BY mutex_
};

}  // namespace liminal::test
