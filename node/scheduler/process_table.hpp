// Finds the control block of a living process by its serial.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "node/scheduler/process_control.hpp"

namespace liminal {

/// Thread-safety: all functions. Sharded, so that senders seldom wait for each other; nothing is
/// destroyed under a lock.
class ProcessTable {
 public:
  void insert(ProcessPtr process) {
    Shard& shard = shard_of(process->pid.serial);
    const Serial serial = process->pid.serial;
    const std::lock_guard lock(shard.mutex);
    shard.processes.emplace(serial, std::move(process));
    size_.fetch_add(1, std::memory_order_relaxed);
  }

  /// Null if it is gone.
  [[nodiscard]] ProcessPtr find(Serial serial) const {
    const Shard& shard = shard_of(serial);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.processes.find(serial);
    return found == shard.processes.end() ? nullptr : found->second;
  }

  /// REQUIRES: the caller holds the process.
  void erase(Serial serial) {
    Shard& shard = shard_of(serial);
    const std::lock_guard lock(shard.mutex);
    size_.fetch_sub(shard.processes.erase(serial), std::memory_order_relaxed);
  }

  /// Empties the table, and hands out what was in it in the order of serials.
  [[nodiscard]] std::map<Serial, ProcessPtr> release() {
    std::map<Serial, ProcessPtr> all;
    for (Shard& shard : shards_) {
      const std::lock_guard lock(shard.mutex);
      all.insert(shard.processes.begin(), shard.processes.end());
      shard.processes.clear();
    }
    size_.store(0, std::memory_order_relaxed);
    return all;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kShards = 16;

  struct alignas(64) Shard {  // each mutex on a cache line of its own
    mutable std::mutex mutex;
    std::unordered_map<Serial, ProcessPtr> processes;  // never iterated in an observable order
  };

  [[nodiscard]] Shard& shard_of(Serial serial) { return shards_[serial.value() % kShards]; }
  [[nodiscard]] const Shard& shard_of(Serial serial) const {
    return shards_[serial.value() % kShards];
  }

  std::array<Shard, kShards> shards_;
  std::atomic<std::size_t> size_ = 0;
};

}  // namespace liminal
