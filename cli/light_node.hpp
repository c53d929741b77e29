// The node that a command is while it runs, and the conversation it holds.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "node/node.hpp"

namespace liminal::cli {

/// Far beyond the time that a conversation gives itself to end; a second signal does not wait.
inline constexpr Duration kEndBound = std::chrono::hours{24};

struct ConversationOptions {
  std::optional<std::string> broker;  // nullopt: none
  std::string name;                   // empty: one is made up
  Duration timeout;
  Duration connect_timeout;
  CrashPolicy on_crash;
  std::optional<Duration> deadline = {};  // of the whole conversation
  Duration compensation_timeout;          // of the undoing of one request
  std::uint32_t max_attempts;             // participants that one request is given to
  std::size_t max_reroutes;               // of the conversation
  bool json = false;
};

/// Blocks SIGINT and SIGTERM in the calling thread and all that it starts later, and lets one
/// thread wait for them: the first calls on_signal's function, the second ends the program at once.
///
/// Lifetime: made first thing in main, before any other thread.
class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  /// Replaces what the first signal calls, on the watching thread; at once if it came already.
  /// When this returns, a function set before is not running any more.
  void on_signal(std::function<void()> what);

  [[nodiscard]] bool interrupted() const { return interrupted_.load(); }

 private:
  void watch();

  std::atomic<bool> interrupted_ = false;
  std::atomic<bool> over_ = false;
  std::mutex mutex_;
  std::function<void()> what_;  // GUARDED_BY mutex_
  std::thread thread_;
};

struct OpenConversation {
  std::unique_ptr<Node> node;  // outlives the handle
  ConversationHandle handle;
};

/// Joins as a light node and opens a conversation with each service in a role. Errors: those of
/// Node::start() and ConversationSupervisor::spawn(); a signal ends the joining with kNoBroker.
[[nodiscard]] Result<OpenConversation> open_conversation(const SignalWatch& signals,
                                                         const ConversationOptions& options,
                                                         const std::vector<ServiceName>& services);

/// Ends a conversation in which something went wrong, by its policy, and waits for that end.
/// Returns what it all came to: `error`, unless the conversation had something to undo; without a
/// broker it says so where nobody offers a service. `by` says why it ends, for the record.
[[nodiscard]] Error end_by_policy(const ConversationOptions& options,
                                  ConversationHandle& conversation, Error error, std::string by);

/// `error`, naming the conversation it happened in.
[[nodiscard]] Error with_conversation(Error error, const ConversationHandle& conversation);

}  // namespace liminal::cli
