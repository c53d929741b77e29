// Work that may block, on its way from a process to a thread that can afford it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>

#include "node/scheduler/process.hpp"

namespace liminal {

/// Thread-safety: all functions. Jobs are destroyed outside the lock.
class BlockingWork {
 public:
  struct Job {
    Serial owner;
    std::function<LocalMessagePtr()> work;
  };

  void push(Job job) {
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(std::move(job));
    }
    job_or_close_.notify_one();
  }

  [[nodiscard]] std::optional<Job> try_take() {
    const std::lock_guard lock(mutex_);
    return take_front();
  }

  /// Blocks; nullopt once it is closed.
  [[nodiscard]] std::optional<Job> take() {
    std::unique_lock lock(mutex_);
    job_or_close_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
    if (closed_) return std::nullopt;
    return take_front();
  }

  void open() {
    const std::lock_guard lock(mutex_);
    closed_ = false;
  }

  /// Ends every take(); what waits stays until drop() or another open().
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    job_or_close_.notify_all();
  }

  /// Forgets what was not begun.
  void drop() {
    std::deque<Job> dropped;
    const std::lock_guard lock(mutex_);
    dropped.swap(jobs_);
  }

 private:
  std::optional<Job> take_front() {
    if (jobs_.empty()) return std::nullopt;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    return job;
  }

  std::mutex mutex_;
  std::condition_variable job_or_close_;
  // guarded by mutex_:
  std::deque<Job> jobs_;
  bool closed_ = false;
};

}  // namespace liminal
