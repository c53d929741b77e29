// What other threads tell the command runner's thread, and how they wake it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/result.hpp"
#include "node/participant/command_runner.hpp"
#include "node/participant/descriptor.hpp"

namespace liminal::command_runner {

/// One child, as both its holder and the runner's thread see it.
/// Thread-safety: all of it.
class Ticket {
 public:
  explicit Ticket(std::uint64_t number) : number_(number) {}

  [[nodiscard]] std::uint64_t number() const { return number_; }
  /// True for the first who asks: the holder may drop the child, or the runner may tell its end.
  [[nodiscard]] bool claim() { return !claimed_.exchange(true); }
  [[nodiscard]] bool is_claimed() const { return claimed_; }

 private:
  std::uint64_t number_;
  std::atomic<bool> claimed_ = false;
};

struct Begin {
  std::shared_ptr<Ticket> ticket;
  Command command;
  CommandRunner::Completion completion;
};
struct Open {
  std::shared_ptr<Ticket> ticket;
  PipeCommand command;
  PipeEvents events;
};
struct Ask {
  std::uint64_t number;
  Payload request;
  std::size_t reply_bytes_max;
};
struct Kill {
  std::uint64_t number;
};
struct Drop {
  std::uint64_t number;
};
using Order = std::variant<Begin, Open, Ask, Kill, Drop>;

/// Thread-safety: all functions may be called from any thread.
class Inbox {
 public:
  /// Errors: kInternal.
  [[nodiscard]] static Result<std::shared_ptr<Inbox>> open();

  explicit Inbox(Descriptor wake) : wake_(std::move(wake)) {}

  [[nodiscard]] std::uint64_t next_number() { return ++last_number_; }

  /// Dropped once closed: whoever closes it ends all commands.
  void post(Order order);
  void close();

  /// All that was posted since the last call; nullopt once closed. Takes the wake-up with it.
  [[nodiscard]] std::optional<std::vector<Order>> take_all();

  /// Readable when there is something to take.
  [[nodiscard]] int wake_descriptor() const { return wake_.get(); }

 private:
  void wake();

  Descriptor wake_;
  std::atomic<std::uint64_t> last_number_ = 0;

  std::mutex mutex_;  // guards what follows
  std::vector<Order> orders_;
  bool closed_ = false;
};

}  // namespace liminal::command_runner
