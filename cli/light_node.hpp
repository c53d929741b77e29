// The node that a command is while it runs, and the conversation it holds.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "node/node.hpp"

namespace liminal::cli {

struct ConversationOptions {
  std::optional<std::string> broker;  // nullopt: none
  std::string name;                   // empty: one is made up
  Duration timeout;
  Duration connect_timeout;
  CrashPolicy on_crash;
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

/// Joins as a light node and opens a conversation with one service. Errors: those of Node::start()
/// and ConversationSupervisor::spawn(); a signal ends the joining with kNoBroker.
[[nodiscard]] Result<OpenConversation> open_conversation(const SignalWatch& signals,
                                                         const ConversationOptions& options,
                                                         const ServiceName& service);

/// `error`, naming the conversation it happened in.
[[nodiscard]] Error with_conversation(Error error, const ConversationHandle& conversation);

}  // namespace liminal::cli
