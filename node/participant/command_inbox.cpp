#include "node/participant/command_inbox.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace liminal::command_runner {

Result<std::shared_ptr<Inbox>> Inbox::open() {
  Descriptor wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wake.is_open()) {
    return fail(Errc::kInternal,
                "eventfd: " + std::error_code(errno, std::generic_category()).message());
  }
  return std::make_shared<Inbox>(std::move(wake));
}

void Inbox::post(Order order) {
  {
    const std::lock_guard lock{mutex_};
    if (closed_) return;
    orders_.push_back(std::move(order));
    if (orders_.size() > 1) return;  // the wake-up for the first one is still due
  }
  wake();
}

void Inbox::close() {
  {
    const std::lock_guard lock{mutex_};
    closed_ = true;
    orders_.clear();
  }
  wake();
}

std::optional<std::vector<Order>> Inbox::take_all() {
  std::uint64_t wakes;
  // Before the orders: a wake-up that comes in between finds none, which is harmless.
  [[maybe_unused]] const ssize_t bytes = ::read(wake_.get(), &wakes, sizeof wakes);
  const std::lock_guard lock{mutex_};
  if (closed_) return std::nullopt;
  return std::exchange(orders_, {});
}

void Inbox::wake() {
  const std::uint64_t one = 1;
  // It cannot fail but where it is awake already.
  [[maybe_unused]] const ssize_t bytes = ::write(wake_.get(), &one, sizeof one);
}

}  // namespace liminal::command_runner
