#include "node/scheduler/task.hpp"

#include <algorithm>

namespace liminal {

Wait::~Wait() {
  if (host_ == nullptr) return;
  host_->waiting_ = nullptr;
  host_->suspended_ = nullptr;
  // without a turn the process ends, and its timers with it
  if (timer_ && host_->context_ != nullptr) host_->context_->cancel_timer(*timer_);
}

void Wait::start_timer(Context& context, Duration after) {
  timer_ = context.start_timer(std::max(after, Duration::zero()));
}

bool Wait::enter(TaskHost& host, std::coroutine_handle<> self) {
  if (!begin(host.context(), host)) return false;
  host_ = &host;
  host.waiting_ = this;
  host.suspended_ = self;
  return true;
}

bool TaskHost::on_local(Context& context, LocalMessage& message) {
  if (waiting_ == nullptr || !waiting_->on_local(message)) return false;
  const InContext in{*this, context};
  if (waiting_->timer_) context.cancel_timer(*waiting_->timer_);
  go_on();
  return true;
}

bool TaskHost::on_timer(Context& context, TimerId timer) {
  if (waiting_ == nullptr || waiting_->timer_ != timer) return false;
  waiting_->timer_.reset();
  const InContext in{*this, context};
  if (waiting_->on_timer()) go_on();
  return true;
}

void TaskHost::go_on() {
  std::exchange(waiting_, nullptr)->host_ = nullptr;
  run(std::exchange(suspended_, nullptr));
}

void TaskHost::run(std::coroutine_handle<> next) {
  for (; next; next = std::exchange(next_, nullptr)) next.resume();
}

}  // namespace liminal
