// A Task runs in its process's turns only, waits without a thread, and leaves nothing behind
// wherever it is destroyed. Run under the address sanitizer too.
#include "node/scheduler/task.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "node/scheduler/scheduler.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

using Log = std::vector<std::string>;

struct Text final : LocalMessage {
  explicit Text(std::string the_text) : text(std::move(the_text)) {}
  std::string text;
};

/// The next message, or what to say when none came in time.
class NextText final : public Wait {
 public:
  explicit NextText(Duration timeout) : timeout_(timeout) {}
  [[nodiscard]] std::string await_resume() { return text_; }

 private:
  bool begin(Context& context, TaskHost&) override {
    start_timer(context, timeout_);
    return true;
  }
  bool on_local(LocalMessage& message) override {
    auto* text = dynamic_cast<Text*>(&message);
    if (text == nullptr) return false;
    text_ = text->text;
    return true;
  }
  bool on_timer() override {
    text_ = "timeout";
    return true;
  }

  Duration timeout_;
  std::string text_;
};

/// Says when it goes.
class Mark {
 public:
  Mark(Log& log, std::string name) : log_(log), name_(std::move(name)) {}
  ~Mark() { log_.push_back("~" + name_); }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;

 private:
  Log& log_;
  std::string name_;
};

using Body = std::function<Task<>()>;

/// Runs a Task; ends when it is done. "stop" ends the Task, "end" the process.
class Runner final : public Process {
 public:
  Runner(Log& log, Body body) : log_(log), body_(std::move(body)) {}

  void on_start(Context& context) override {
    task_ = body_();
    host_.start(context, task_, {});
    look(context);
  }
  void handle(Context& context, Message message) override {
    if (auto* fired = std::get_if<message::TimerFired>(&message)) {
      if (!host_.on_timer(context, fired->timer)) log_.push_back("a timer too many");
    } else if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
      if (auto* text = dynamic_cast<Text*>(local->get()); text != nullptr && text->text == "stop") {
        host_.stop(context, task_);
        log_.push_back("stopped");
        return;
      } else if (text != nullptr && text->text == "end") {
        return context.exit(ExitReason::shutdown());
      }
      if (!host_.on_local(context, **local)) log_.push_back("not awaited");
    }
    look(context);
  }

 private:
  void look(Context& context) {
    if (!task_.is_done()) return;
    Task<> done = std::move(task_);
    try {
      done.take();
      log_.push_back("done");
    } catch (const std::exception& thrown) {
      log_.push_back(std::string{"threw "} + thrown.what());
    }
    context.exit(ExitReason::normal());
  }

  Log& log_;
  Body body_;
  TaskHost host_;
  Task<> task_;
};

class TaskTest : public ::testing::Test {
 protected:
  Pid run(Body body) {
    const Pid pid = scheduler.spawn(std::make_unique<Runner>(log, std::move(body)));
    scheduler.run_until_idle(now);
    return pid;
  }
  void say(const Pid& to, const char* text) {
    scheduler.send_local(to, std::make_unique<Text>(text));
    scheduler.run_until_idle(now);
  }
  void pass(Duration time) {
    now += time;
    scheduler.run_until_idle(now);
  }

  Log log;
  TimePoint now{};
  Scheduler scheduler{{.node = NodeName{"a"}, .seed = 7}, [](const Signal&) {}};
};

Task<int> seven() { co_return 7; }
Task<int> after(Duration time, int value) {
  co_await sleep_for(time);
  co_return value;
}
Task<int> throws(Duration time) {
  if (time > Duration::zero()) co_await sleep_for(time);
  throw std::runtime_error("no");
}

TEST_F(TaskTest, NothingOfItRunsBeforeItIsAwaited) {
  const auto says = [](Log& to) -> Task<> {
    to.push_back("runs");
    co_return;
  };
  run([&]() -> Task<> {
    Task<> lazy = says(log);
    log.push_back("made");
    Task<> never = says(log);
    co_await std::move(lazy);
    EXPECT_FALSE(lazy);
    log.push_back("awaited");
  });
  EXPECT_EQ(log, (Log{"made", "runs", "awaited", "done"}));
}

TEST_F(TaskTest, ResultsComeFromTasksThatEndAtOnceAndThatWait) {
  run([&]() -> Task<> {
    const int sum = co_await seven() + co_await after(1s, 5);
    log.push_back(std::to_string(sum));
  });
  EXPECT_EQ(log, Log{});
  pass(1s - 1ns);
  EXPECT_EQ(log, Log{});
  pass(1ns);
  EXPECT_EQ(log, (Log{"12", "done"}));
  EXPECT_EQ(scheduler.counts().processes, 0U);
  EXPECT_EQ(scheduler.counts().timers, 0U);
}

TEST_F(TaskTest, ResultsMayBeMoveOnly) {
  const auto make = [](Duration time) -> Task<std::unique_ptr<int>> {
    co_await sleep_for(time);
    co_return std::make_unique<int>(3);
  };
  run([&]() -> Task<> {
    const std::unique_ptr<int> made = co_await make(1s);
    log.push_back(std::to_string(*made));
  });
  pass(1s);
  EXPECT_EQ(log, (Log{"3", "done"}));
}

TEST_F(TaskTest, ExceptionsAreThrownWhereItIsAwaited) {
  for (const Duration time : {Duration{0s}, Duration{1s}}) {
    log.clear();
    run([&]() -> Task<> {
      try {
        (void)co_await throws(time);
      } catch (const std::runtime_error& thrown) {
        log.push_back(std::string{"caught "} + thrown.what());
      }
      (void)co_await throws(time);
    });
    pass(1s);
    pass(1s);
    EXPECT_EQ(log, (Log{"caught no", "threw no"}));
  }
}

TEST_F(TaskTest, AMessageComesBeforeItsTimeAndTheTimerIsGone) {
  const Pid pid = run([&]() -> Task<> {
    log.push_back(co_await NextText{1s});
    log.push_back(co_await NextText{1s});
    log.push_back(co_await NextText{1s});
  });
  pass(1s - 1ns);
  say(pid, "one");
  EXPECT_EQ(log, (Log{"one"}));
  pass(1s - 1ns);
  EXPECT_EQ(log, (Log{"one"})) << "the first one's timer fired for the second";
  pass(1ns);
  EXPECT_EQ(log, (Log{"one", "timeout"}));
  say(pid, "two");
  EXPECT_EQ(log, (Log{"one", "timeout", "two", "done"}));
  EXPECT_EQ(scheduler.counts().timers, 0U);
}

TEST_F(TaskTest, LongLoopsOfTasksThatEndAtOnceTakeNoStack) {
  run([&]() -> Task<> {
    int sum = 0;
    for (int i = 0; i < 300'000; ++i) sum += co_await seven();
    log.push_back(std::to_string(sum));
  });
  EXPECT_EQ(log, (Log{"2100000", "done"}));
}

Task<> nested(Log& log, int depth) {
  const Mark mark{log, std::to_string(depth)};
  if (depth == 0) {
    co_await sleep_for(1s);
  } else {
    co_await nested(log, depth - 1);
  }
}

TEST_F(TaskTest, StoppedWhereItWaitsItsStacksAreUnwoundFromTheInside) {
  const Pid pid = run([&]() -> Task<> { return nested(log, 3); });
  EXPECT_EQ(scheduler.counts().timers, 1U);
  say(pid, "stop");
  EXPECT_EQ(log, (Log{"~0", "~1", "~2", "~3", "stopped"}));
  EXPECT_EQ(scheduler.counts().timers, 0U);
  pass(2s);
  say(pid, "late");
  EXPECT_EQ(log.back(), "not awaited");
}

TEST_F(TaskTest, ItsProcessMayEndWhileItWaits) {
  const Pid pid = run([&]() -> Task<> { return nested(log, 2); });
  say(pid, "end");
  EXPECT_EQ(log, (Log{"~0", "~1", "~2"}));
  EXPECT_EQ(scheduler.counts().processes, 0U);
  EXPECT_EQ(scheduler.counts().timers, 0U);
}

TEST_F(TaskTest, TheSchedulerMayGoWhileItWaits) {
  {
    Scheduler other{{.node = NodeName{"b"}, .seed = 7}, [](const Signal&) {}};
    other.spawn(std::make_unique<Runner>(log, [&]() -> Task<> { return nested(log, 1); }));
    other.run_until_idle(now);
  }
  EXPECT_EQ(log, (Log{"~0", "~1"}));
}

TEST_F(TaskTest, OneThatIsKeptElsewhereGoesWithWhoAwaitsIt) {
  // It waits when its awaiter is stopped: what wakes it later must find neither.
  Task<> kept = nested(log, 0);
  const Pid pid = run([&]() -> Task<> { co_await std::move(kept); });
  say(pid, "stop");
  EXPECT_EQ(log, (Log{"~0", "stopped"}));
  pass(2s);
  EXPECT_EQ(log, (Log{"~0", "stopped"}));
}

TEST_F(TaskTest, AwaitedTwiceItThrows) {
  run([&]() -> Task<> {
    Task<int> once = seven();
    EXPECT_EQ(co_await std::move(once), 7);
    (void)co_await std::move(once);
  });
  EXPECT_EQ(log, (Log{"threw a Task is awaited that was awaited before"}));
}

TEST_F(TaskTest, ManyWaitAtOnceEachForItsOwn) {
  std::vector<Pid> pids;
  for (int i = 0; i < 1000; ++i) {
    pids.push_back(run([this, i]() -> Task<> {
      const std::string text = co_await NextText{1h};
      if (text != std::to_string(i)) log.push_back("not its own");
    }));
  }
  EXPECT_EQ(log, Log{});
  for (std::size_t i = pids.size(); i-- > 0;) say(pids[i], std::to_string(i).c_str());
  EXPECT_EQ(log, Log(1000, "done"));
  EXPECT_EQ(scheduler.counts().timers, 0U);
}

// Whatever would wake it outside of its process's turns does not compile.
template <class Promise, class Awaited>
concept Awaits = requires(Promise promise, Awaited awaited) {
  promise.await_transform(std::forward<Awaited>(awaited));
};
using Promise = Task<>::promise_type;
static_assert(Awaits<Promise, Task<int>> && Awaits<Promise, Sleep>);
static_assert(!Awaits<Promise, std::suspend_always>);
static_assert(!Awaits<Promise, Task<int>&>, "a Task is awaited as what is given away");
static_assert(!std::is_copy_constructible_v<Task<>> && !std::is_copy_assignable_v<Task<>>);

}  // namespace
}  // namespace liminal
