#include "tests/sim/workload_ties.hpp"

#include <charconv>
#include <stdexcept>
#include <utility>

#include "common/base/text.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLifeMax = 400ms;
constexpr Duration kBetweenMax = 8ms;  // about as long as signals travel
constexpr int kTurnsMax = 150;         // then it waits to be told, tied
constexpr std::string_view kDiedAt = "mortal, died at ";

Duration some(Context& context, Duration below) {
  return Duration{static_cast<Duration::rep>(
      context.random().below(static_cast<std::uint64_t>(below.count())))};
}

class Mortal final : public Instance {
 public:
  using Instance::Instance;
  void on_start(Context& context) override { (void)context.start_timer(some(context, kLifeMax)); }
  void handle(Context& context, Message message) override {
    if (!std::holds_alternative<message::TimerFired>(message)) return;
    const Duration died = context.now() - TimePoint{};
    throw std::runtime_error(std::string{kDiedAt} + std::to_string(died.count()));
  }
};

std::optional<TimePoint> death_in(const ExitReason& reason) {
  if (reason.kind != ExitKind::kError || reason.text.rfind(kDiedAt, 0) != 0) return std::nullopt;
  Duration::rep died = 0;
  std::from_chars(reason.text.data() + kDiedAt.size(), reason.text.data() + reason.text.size(),
                  died);
  return TimePoint{} + Duration{died};
}

class TieProcess final : public Process {
 public:
  TieProcess(std::shared_ptr<TieRecord> record, Reporter reporter, Pid node)
      : record_(std::move(record)), reporter_(std::move(reporter)), node_(std::move(node)) {}

  void on_start(Context& context) override {
    context.trap_exits(true);
    record_->self = context.self();
    spawn_ = context.spawn_service(node_, kMortal, record_->id);
    note("asks " + to_string(node_));
  }

  void handle(Context& context, Message message) override {
    if (auto* spawned = std::get_if<message::Spawned>(&message)) on(context, *spawned);
    if (auto* exited = std::get_if<message::Exited>(&message)) on(*exited);
    if (auto* down = std::get_if<message::Down>(&message)) on(*down);
    if (auto* fired = std::get_if<message::TimerFired>(&message)) on(context, *fired);
    if (record_->exit_reason && record_->down_reason && !linger_) {
      linger_ = context.start_timer(kLinger);
    }
  }

 private:
  void accuse(const std::string& what) { reporter_.violations->add(record_->name() + ": " + what); }
  void note(const std::string& what) {
    if (reporter_.trace) reporter_.trace(record_->name() + " " + what);
  }

  void over(Context& context) {
    record_->over = true;
    context.exit(ExitReason::normal());
  }

  void on(Context& context, message::Spawned& spawned) {
    if (spawned.spawn != spawn_ || record_->instance) accuse("spawned twice");
    if (!spawned.instance) {
      record_->not_spawned = true;
      note("has no instance: " + spawned.instance.error().detail);
      return over(context);
    }
    record_->instance = *spawned.instance;
    note("has its instance");
    linked_ = true;
    monitor(context);
    next_turn(context);
  }

  void next_turn(Context& context) { next_ = context.start_timer(some(context, kBetweenMax)); }

  void on(Context& context, message::TimerFired& fired) {
    if (fired.timer == linger_) return over(context);
    if (fired.timer != next_) return;
    const bool last = ++turns_ == kTurnsMax;
    if (!record_->exit_reason) tie_link(context, last);
    if (!record_->down_reason) tie_monitor(context, last);
    if (last || (record_->exit_reason && record_->down_reason)) return;
    next_turn(context);
  }

  // Mostly anew in one turn; now and then it is untied until the next.
  void tie_link(Context& context, bool last) {
    if (linked_) context.unlink(*record_->instance);
    linked_ = last || !linked_ || context.random().below(4) != 0;
    if (!linked_) return;
    context.link(*record_->instance);
    linked_at_ = context.now();
    ++record_->relinks;
  }

  void tie_monitor(Context& context, bool last) {
    const bool tied = monitor_.has_value();
    if (tied) context.demonitor(*std::exchange(monitor_, std::nullopt));
    if (!last && tied && context.random().below(4) == 0) return;
    monitor(context);
    ++record_->remonitors;
  }

  void monitor(Context& context) {
    monitor_ = context.monitor(*record_->instance);
    monitored_at_ = context.now();
  }

  void on(message::Exited& exited) {
    note("told of an exit: " + to_string(exited.reason));
    if (record_->exit_reason) accuse("two exit signals of one link");
    if (!record_->instance || exited.from != *record_->instance) accuse("an exit of somebody else");
    if (!linked_) accuse("an exit of a link that was taken back");
    const auto died = death_in(exited.reason);
    if (linked_at_ && died && *died < *linked_at_) accuse("an exit of an earlier link");
    record_->exit_reason = exited.reason;
  }
  void on(message::Down& down) {
    note("told that it is down: " + to_string(down.reason));
    if (record_->down_reason) accuse("two DOWNs of one monitor");
    if (!monitor_ || down.monitor != *monitor_) accuse("a DOWN of a monitor that was taken back");
    const auto died = death_in(down.reason);
    if (died && *died < monitored_at_) accuse("a DOWN of an earlier monitor");
    record_->down_reason = down.reason;
  }

  std::shared_ptr<TieRecord> record_;
  Reporter reporter_;
  Pid node_;
  std::optional<SpawnId> spawn_;
  bool linked_ = false;
  std::optional<TimePoint> linked_at_;  // none: the mortal is linked from its first moment
  std::optional<MonitorId> monitor_;
  TimePoint monitored_at_{};
  int turns_ = 0;
  std::optional<TimerId> next_, linger_;
};

}  // namespace

std::string TieRecord::name() const {
  return "tie " + to_string(id) + " of " + (self ? to_string(*self) : "nobody") + " with " +
         (instance ? to_string(*instance) : "nobody");
}

std::unique_ptr<Process> make_mortal(const std::shared_ptr<int>& live_instances) {
  return std::make_unique<Mortal>(live_instances);
}

std::unique_ptr<Process> make_tie_process(std::shared_ptr<TieRecord> record, Reporter reporter,
                                          Pid node) {
  return std::make_unique<TieProcess>(std::move(record), std::move(reporter), std::move(node));
}

}  // namespace liminal::sim
