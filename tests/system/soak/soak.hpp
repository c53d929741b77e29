// What the soak tests share: their settings, and how completions reach the thread that drives.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/base/random.hpp"
#include "node/node.hpp"
#include "tests/system/process.hpp"

namespace liminal::test {

/// What the environment says, or else `otherwise`.
inline std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// LIMINAL_SOAK_SEED, or 1; it is printed.
inline std::uint64_t announced_seed() {
  const std::uint64_t seed = number_from("LIMINAL_SOAK_SEED", 1);
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

inline Milliseconds a_time_below(Random& random, Milliseconds bound) {
  return Milliseconds{
      static_cast<Milliseconds::rep>(random.below(static_cast<std::uint64_t>(bound.count())))};
}

/// A node of this process, which has joined. Errors: std::runtime_error.
inline std::unique_ptr<Node> start_client(const std::string& endpoint) {
  auto node = Node::create({.name = NodeName{"client"}, .broker = endpoint});
  if (!node) throw std::runtime_error{node.error().detail};
  if (const auto started = (*node)->start(20s); !started) {
    throw std::runtime_error{started.error().detail};
  }
  return *std::move(node);
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
