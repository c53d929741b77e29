// What participants write, whatever threads they run on.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace liminal::test {

/// Thread-safety: all functions from any thread.
class WrittenLines {
 public:
  void add(std::string line) {
    const std::lock_guard lock{mutex_};
    lines_.push_back(std::move(line));
  }
  [[nodiscard]] std::vector<std::string> lines() {
    const std::lock_guard lock{mutex_};
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace liminal::test
