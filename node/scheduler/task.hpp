// A coroutine that runs in the turns of one process, and holds no thread while it waits.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "common/base/check.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

class TaskHost;
template <class T>
class Task;
namespace task_detail {
template <class Awaited>
struct WaitReference;
}

/// What a Task can wait for besides other Tasks: a message to its process, or a timer of it. Its
/// await_resume() is what co_await comes to.
///
/// Lifetime: within the full expression that awaits it, in the coroutine's frame. Destroyed while
/// it waits, with the frame, it gives up what it waited for.
class Wait {
 public:
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;
  virtual ~Wait();

 protected:
  Wait() = default;

  /// Begins to wait. False: it is over already.
  [[nodiscard]] virtual bool begin(Context& context, TaskHost& host) = 0;
  /// A message came to the process. True if it was meant for this, which is then over.
  [[nodiscard]] virtual bool on_local(LocalMessage&) { return false; }
  /// The timer fired. True: it is over.
  [[nodiscard]] virtual bool on_timer() = 0;

  /// One at a time; ends with this object. Negative times are zero.
  void start_timer(Context& context, Duration after);

 private:
  friend class TaskHost;
  template <class Awaited>
  friend struct task_detail::WaitReference;
  [[nodiscard]] bool enter(TaskHost& host, std::coroutine_handle<> self);

  TaskHost* host_ = nullptr;  // while it waits
  std::optional<TimerId> timer_;
};

/// co_await sleep_for(1s)
class Sleep final : public Wait {
 public:
  explicit Sleep(Duration time) : time_(time) {}
  void await_resume() const noexcept {}

 private:
  bool begin(Context& context, TaskHost&) override {
    start_timer(context, time_);
    return true;
  }
  bool on_timer() override { return true; }

  Duration time_;
};
[[nodiscard]] inline Sleep sleep_for(Duration time) { return Sleep{time}; }

/// What a process keeps to run one Task at a time: it hands on what comes to it, and the Task goes
/// on in that turn.
///
/// Thread affinity: the process's turns; may be destroyed, like the Task, without one.
/// Lifetime: outlives the Task, and all that the Task owns.
class TaskHost {
 public:
  /// What the Task is about: whatever it sends has this as its cause, its trace and its bound,
  /// unless it says otherwise.
  struct Origin {
    std::optional<MessageId> cause = {};
    std::string trace = {};
    std::optional<TimePoint> deadline = {};
  };

  TaskHost() = default;
  TaskHost(const TaskHost&) = delete;
  TaskHost& operator=(const TaskHost&) = delete;

  /// Runs `task` until it waits or is done. REQUIRES: it was not started, and no other one runs.
  template <class T>
  void start(Context& context, Task<T>& task, Origin origin);
  /// Destroys `task` where it is.
  template <class T>
  void stop(Context& context, Task<T>& task);

  /// Lets the Task go on if this is what it waits for. False if not.
  bool on_local(Context& context, LocalMessage& message);
  bool on_timer(Context& context, TimerId timer);

  // --- for the Task ---

  [[nodiscard]] const Origin& origin() const { return origin_; }
  /// Never twice.
  [[nodiscard]] std::uint64_t new_tag() { return ++tags_; }
  /// REQUIRES: in a turn: the Task runs, or is stopped.
  [[nodiscard]] Context& context() const {
    check(context_ != nullptr, "a Task runs in a turn of its process");
    return *context_;
  }

 private:
  friend class Wait;
  template <class T>
  friend class Task;
  class InContext {
   public:
    InContext(TaskHost& host, Context& context) : host_(host) { host_.context_ = &context; }
    ~InContext() { host_.context_ = nullptr; }
    InContext(const InContext&) = delete;
    InContext& operator=(const InContext&) = delete;

   private:
    TaskHost& host_;
  };

  /// Runs what is next until nothing is.
  void run(std::coroutine_handle<> next);
  void go_on();

  Origin origin_;
  std::uint64_t tags_ = 0;
  Context* context_ = nullptr;  // in a turn
  Wait* waiting_ = nullptr;
  std::coroutine_handle<> suspended_;  // what waits there
  std::coroutine_handle<> next_;       // whose Task has just ended
};

namespace task_detail {

/// Nothing, for Task<void>.
struct Nothing {};

/// The Wait itself stays where it is, in the frame: g++ 12 would copy what it gets a reference to.
template <class Awaited>
struct WaitReference {
  Awaited& wait;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> self) const {
    return wait.enter(self.promise().host(), self);
  }
  decltype(auto) await_resume() const { return wait.await_resume(); }
};

class PromiseBase {
 public:
  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] TaskHost& host() const { return *host_; }

  template <std::derived_from<Wait> Awaited>
  [[nodiscard]] WaitReference<Awaited> await_transform(Awaited&& wait) {
    return {wait};
  }
  template <class T>
  [[nodiscard]] auto await_transform(Task<T>&& task) {
    return typename Task<T>::Awaiter{std::move(task), *host_};
  }

 protected:
  template <class T>
  friend class liminal::Task;
  TaskHost* host_ = nullptr;              // from its start on
  std::coroutine_handle<> continuation_;  // who awaits it, once it did not end at once
};

template <class T>
class ResultHolder : public PromiseBase {
 public:
  void unhandled_exception() noexcept {
    result_.template emplace<std::exception_ptr>(std::current_exception());
  }

 protected:
  using Stored = std::conditional_t<std::is_void_v<T>, Nothing, T>;
  template <class U>
  friend class liminal::Task;
  std::variant<std::monostate, Stored, std::exception_ptr> result_;
};

template <class T>
class Returns : public ResultHolder<T> {
 public:
  template <std::convertible_to<T> U = T>
  void return_value(U&& value) {
    this->result_.template emplace<1>(std::forward<U>(value));
  }
};
template <>
class Returns<void> : public ResultHolder<void> {
 public:
  void return_void() noexcept { result_.emplace<1>(); }
};

}  // namespace task_detail

/// A coroutine of a process: `Task<int> count(...) { co_await sleep_for(1s); co_return 1; }`.
///
/// Lazy: nothing of it runs before it is awaited, or started by a TaskHost. It may await other
/// Tasks, which run as part of it, and what derives from Wait. Nothing else compiles, since nothing
/// else would wake it in its process's turn.
///
/// Beware of g++ 12: an aggregate that is made in braces within an expression that has a co_await is
/// copied byte by byte. Give it a name before.
///
/// Ownership: one owner, who destroys the coroutine wherever it is, together with the Tasks that it
/// awaits; what it has on its stack is destroyed as by an exception. Awaiting a Task takes it over.
/// Errors: an exception that leaves it is thrown where it is awaited.
/// Thread affinity: its process's turns; whichever threads have them.
/// Cost: an allocation for each. Awaiting what ends at once takes no stack that stays, so loops may
/// be long.
template <class T = void>
class [[nodiscard]] Task {
 public:
  class promise_type : public task_detail::Returns<T> {
   public:
    [[nodiscard]] Task get_return_object() noexcept {
      return Task{std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    [[nodiscard]] auto final_suspend() noexcept {
      struct Final {
        bool await_ready() noexcept { return false; }
        void await_suspend(std::coroutine_handle<promise_type> self) noexcept {
          promise_type& promise = self.promise();
          promise.host_->next_ = std::exchange(promise.continuation_, nullptr);
        }
        void await_resume() noexcept {}
      };
      return Final{};
    }
  };

  /// No coroutine.
  Task() = default;
  Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (const auto old = std::exchange(coroutine_, nullptr)) old.destroy();
      coroutine_ = std::exchange(other.coroutine_, nullptr);
    }
    return *this;
  }
  ~Task() {
    if (coroutine_) coroutine_.destroy();
  }

  [[nodiscard]] explicit operator bool() const noexcept { return coroutine_ != nullptr; }
  [[nodiscard]] bool is_done() const noexcept { return coroutine_ && coroutine_.done(); }
  /// What it returned; throws what left it. REQUIRES: is_done(), and not taken before.
  T take() {
    auto& result = coroutine_.promise().result_;
    if (auto* thrown = std::get_if<std::exception_ptr>(&result)) std::rethrow_exception(*thrown);
    if constexpr (!std::is_void_v<T>) return std::move(std::get<1>(result));
  }

 private:
  friend class TaskHost;
  friend class task_detail::PromiseBase;

  class Awaiter {
   public:
    Awaiter(Task task, TaskHost& host) : task_(std::move(task)), host_(host) {
      if (!task_) throw std::logic_error("a Task is awaited that was awaited before");
    }
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    /// One that ends at once has its awaiter go on here, without another frame on the stack.
    [[nodiscard]] bool await_suspend(std::coroutine_handle<> self) {
      task_.begin(host_).resume();
      if (task_.is_done()) return false;
      task_.coroutine_.promise().continuation_ = self;
      return true;
    }
    T await_resume() { return task_.take(); }

   private:
    Task task_;
    TaskHost& host_;
  };

  explicit Task(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}

  [[nodiscard]] std::coroutine_handle<> begin(TaskHost& host) {
    coroutine_.promise().host_ = &host;
    return coroutine_;
  }

  std::coroutine_handle<promise_type> coroutine_;
};

template <class T>
void TaskHost::start(Context& context, Task<T>& task, Origin origin) {
  check(static_cast<bool>(task) && waiting_ == nullptr, "one Task at a time, not started before");
  origin_ = std::move(origin);
  const InContext in{*this, context};
  run(task.begin(*this));
}

template <class T>
void TaskHost::stop(Context& context, Task<T>& task) {
  const InContext in{*this, context};
  task = Task<T>{};
}

}  // namespace liminal
