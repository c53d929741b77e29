#include "node/scheduler/workers.hpp"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/check.hpp"
#include "node/scheduler/scheduler_impl.hpp"

namespace liminal {

namespace {

void name_this_thread(char kind, std::size_t number) {
  const std::string name = "liminal-" + std::string(1, kind) + std::to_string(number);
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());  // Linux takes 15 characters
}

}  // namespace

/// The pool for blocking work grows on demand: as long as it may, one of its threads is free to
/// take what comes next.
class Workers::Impl {
 public:
  Impl(Scheduler::Impl& scheduler, const Clock& clock, Settings settings)
      : scheduler_(scheduler), clock_(clock), blocking_max_(settings.blocking) {
    check(settings.workers > 0 && settings.blocking > 0, "there are threads of both kinds");
    scheduler_.run_queue.open(settings.workers);
    scheduler_.blocking.open();
    for (unsigned worker = 0; worker < settings.workers; ++worker) {
      workers_.emplace_back([this, worker] { work(worker); });
    }
    start_blocking_thread();
  }

  ~Impl() {
    scheduler_.run_queue.close();
    scheduler_.blocking.close();
    for (std::thread& worker : workers_) worker.join();
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    // Nobody adds to them any more.
    for (std::thread& thread : blocking_threads_) thread.join();
    scheduler_.blocking.drop();
  }

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

 private:
  void work(unsigned worker) {
    name_this_thread('w', worker);
    scheduler_.run_queue.enter();
    while (!scheduler_.run_queue.is_closed()) {
      const TimePoint now = clock_.now();
      scheduler_.fire_timers(now);
      ProcessPtr process =
          scheduler_.run_queue.take_or_sleep(worker, now, scheduler_.timers.next());
      if (process) scheduler_.run_turn(std::move(process), now, &clock_);
    }
  }

  void start_blocking_thread() {
    const std::lock_guard lock(mutex_);
    if (stopping_ || free_ > 0 || blocking_threads_.size() == blocking_max_) return;
    ++free_;
    blocking_threads_.emplace_back(
        [this, number = blocking_threads_.size()] { work_blocking(number); });
  }

  void work_blocking(std::size_t number) {
    name_this_thread('b', number);
    while (auto job = scheduler_.blocking.take()) {
      count_free(-1);
      start_blocking_thread();
      scheduler_.run_job(std::move(*job));
      count_free(+1);
    }
  }

  void count_free(int change) {
    const std::lock_guard lock(mutex_);
    free_ += change;
  }

  Scheduler::Impl& scheduler_;
  const Clock& clock_;
  const unsigned blocking_max_;
  std::vector<std::thread> workers_;

  std::mutex mutex_;
  // guarded by mutex_:
  std::vector<std::thread> blocking_threads_;
  int free_ = 0;
  bool stopping_ = false;
};

Workers::Workers(Scheduler& scheduler, const Clock& clock, Settings settings)
    : impl_(std::make_unique<Impl>(*scheduler.impl_, clock, settings)) {}

Workers::~Workers() = default;

}  // namespace liminal
