#include "node/scheduler/workers.hpp"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
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
      : scheduler_(scheduler), clock_(clock), settings_(std::move(settings)) {
    check(settings_.workers > 0 && settings_.blocking > 0, "there are threads of both kinds");
    check(settings_.turn_max > Duration::zero(), "a turn may take some time");
    scheduler_.run_queue.open(settings_.workers + settings_.spares);
    scheduler_.blocking.open();
    for (unsigned worker = 0; worker < settings_.workers; ++worker) start_worker('w');
    start_blocking_thread();
    watcher_ = std::thread{[this] { watch(); }};
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      watching_ = false;
    }
    watching_ends_.notify_all();
    watcher_.join();  // nobody starts workers any more
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
  void start_worker(char kind) {
    const auto worker = static_cast<unsigned>(workers_.size());
    workers_.emplace_back([this, kind, worker] { work(kind, worker); });
  }

  // Looks at the turns now and then; the rest of the time this thread sleeps.
  void watch() {
    pthread_setname_np(pthread_self(), "liminal-watch");
    std::unique_lock lock(mutex_);
    while (!watching_ends_.wait_for(lock, settings_.turn_max / 4, [this] { return !watching_; })) {
      lock.unlock();
      look();
      lock.lock();
    }
  }

  void look() {
    const auto seen = scheduler_.run_queue.watch(clock_.now(), settings_.turn_max);
    const std::size_t threads_max = settings_.workers + settings_.spares;
    const std::size_t wanted = std::min(settings_.workers + seen.in_long_turns, threads_max);
    while (workers_.size() < wanted) start_worker('s');
    if (!settings_.on_long_turn) return;
    for (const LongTurn& turn : seen.fresh) settings_.on_long_turn(turn);
  }

  void work(char kind, unsigned worker) {
    name_this_thread(kind, worker);
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
    if (stopping_ || free_ > 0 || blocking_threads_.size() == settings_.blocking) return;
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
  const Settings settings_;
  std::vector<std::thread> workers_;  // spares included; grown by the watcher alone
  std::thread watcher_;

  std::mutex mutex_;
  // guarded by mutex_:
  std::vector<std::thread> blocking_threads_;
  int free_ = 0;
  bool stopping_ = false;
  bool watching_ = true;
  std::condition_variable watching_ends_;
};

Workers::Workers(Scheduler& scheduler, const Clock& clock, Settings settings)
    : impl_(std::make_unique<Impl>(*scheduler.impl_, clock, std::move(settings))) {}

Workers::~Workers() = default;

}  // namespace liminal
