#include "node/scheduler/run_queue.hpp"

#include <algorithm>
#include <utility>

namespace liminal {

namespace {
// Which queue this thread is a worker of. Two schedulers in one OS process may send to each other,
// so that it matters which.
thread_local const RunQueue* own_queue = nullptr;
}  // namespace

void RunQueue::push(ProcessPtr process) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(process));
    wake = sleeping_ > 0 && (queue_.size() > 1 || own_queue != this);
  }
  if (wake) work_or_close_.notify_one();
}

ProcessPtr RunQueue::try_take() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) return nullptr;
  ProcessPtr process = std::move(queue_.front());
  queue_.pop_front();
  return process;
}

void RunQueue::open(unsigned workers) {
  const std::lock_guard lock(mutex_);
  workers_.assign(workers, Worker{});
  sleeping_ = 0;
  closed_ = false;
}

void RunQueue::enter() { own_queue = this; }

RunQueue::Watch RunQueue::watch(TimePoint now, Duration turn_max) {
  Watch watch{{}, 0};
  const std::lock_guard lock(mutex_);
  for (Worker& worker : workers_) {
    if (!worker.runs || now - worker.began < turn_max) continue;
    ++watch.in_long_turns;
    if (std::exchange(worker.told, true)) continue;
    watch.fresh.push_back(
        {worker.process, worker.service != nullptr ? *worker.service : "", now - worker.began});
  }
  return watch;
}

ProcessPtr RunQueue::take_or_sleep(unsigned worker, TimePoint now,
                                   std::optional<TimePoint> next_timer) {
  std::unique_lock lock(mutex_);
  Worker& self = workers_[worker];
  self.runs = false;
  if (closed_) return nullptr;
  if (queue_.empty()) {
    sleep(lock, self, now, next_timer);
    return nullptr;
  }

  ProcessPtr process = std::move(queue_.front());
  queue_.pop_front();
  self.runs = true;
  self.told = false;
  self.began = now;
  self.process = process->pid.serial;
  self.service = process->service;
  const bool wake = sleeping_ > 0 && (!queue_.empty() || earliest_wake_up() > now + kGlance);
  lock.unlock();
  if (wake) work_or_close_.notify_one();
  return process;
}

void RunQueue::sleep(std::unique_lock<std::mutex>& lock, Worker& self, TimePoint now,
                     std::optional<TimePoint> next_timer) {
  // A wait is cut into pieces: while the host sleeps it does not go on, but the timer's time does.
  constexpr Duration kLongest = std::chrono::seconds(1);
  TimePoint until = next_timer.value_or(TimePoint::max());
  if (anybody_runs()) until = std::min(until, now + kGlance);

  // One who wakes at that time is enough.
  const bool must_watch = until < earliest_wake_up();
  ++sleeping_;
  if (must_watch) {
    self.wakes_at = until;
    const Duration wait = until > now ? until - now : Duration::zero();
    work_or_close_.wait_for(lock, std::min(wait, kLongest));
    self.wakes_at = TimePoint::max();
  } else {
    work_or_close_.wait(lock);
  }
  --sleeping_;
}

TimePoint RunQueue::earliest_wake_up() const {
  TimePoint earliest = TimePoint::max();
  for (const Worker& worker : workers_) earliest = std::min(earliest, worker.wakes_at);
  return earliest;
}

bool RunQueue::anybody_runs() const {
  return std::any_of(workers_.begin(), workers_.end(), [](const Worker& w) { return w.runs; });
}

void RunQueue::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  work_or_close_.notify_all();
}

bool RunQueue::is_closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace liminal
