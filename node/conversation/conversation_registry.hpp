// Which conversations of a node are open.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "node/conversation/conversation_calls.hpp"
#include "node/scheduler/scheduler.hpp"

namespace liminal {

/// Thread-safety: all functions from any thread.
/// Ownership: shared by the supervisor, the conversations' processes and the handles, since handles
/// may outlive the supervisor: the scheduler is then out of reach, and says so.
class ConversationRegistry {
 public:
  /// What a handle needs of a conversation that is open here.
  struct Open {
    Pid pid;
    std::shared_ptr<ConversationCell> cell;
    std::shared_ptr<const ConversationConfig> config;
  };

  using AttachmentNumber = std::uint64_t;

  ConversationRegistry(Scheduler& scheduler, std::size_t conversations_max,
                       std::size_t attachments_max)
      : scheduler_(&scheduler),
        conversations_max_(conversations_max),
        attachments_max_(attachments_max) {}

  /// Errors: kRejected at conversations_max, kConversationFailed after stop().
  [[nodiscard]] Result<void> reserve(const ConversationId& id);
  /// False if stop() came meanwhile: the caller closes it.
  [[nodiscard]] bool started(const ConversationId& id, Open open);
  void ended(const ConversationId& id);

  /// Proxies of conversations elsewhere. Errors: as reserve(), at attachments_max.
  [[nodiscard]] Result<AttachmentNumber> reserve_attachment();
  /// False if there are to be no new ones: it must be told to end. One that has ended already stays
  /// so.
  [[nodiscard]] bool attached(AttachmentNumber number, const Pid& proxy);
  void attachment_ended(AttachmentNumber number);
  [[nodiscard]] std::size_t attachments() const;

  /// No new ones. Returns those that are open, and the proxies.
  [[nodiscard]] std::vector<Pid> stop();

  /// nullopt if it is not open.
  [[nodiscard]] std::optional<Open> find(const ConversationId& id) const;
  [[nodiscard]] std::size_t open() const;
  /// Of those behind `id`, by id, the first `count` at most; nullopt: from the first on.
  [[nodiscard]] std::vector<std::pair<ConversationId, Pid>> behind(
      const std::optional<ConversationId>& id, std::size_t count) const;
  /// Blocks until none is open, and after stop() no proxy left, at most for `timeout`. False if
  /// some are.
  [[nodiscard]] bool wait_until_none(Duration timeout);

  /// Null once the supervisor is gone.
  [[nodiscard]] Scheduler* scheduler() const { return scheduler_.load(); }
  void forget_scheduler() { scheduler_.store(nullptr); }

  /// Dropped, its tickets answered, if the process or the scheduler is gone.
  void post(const Pid& conversation, Call call);

 private:
  [[nodiscard]] bool at_rest() const;  // REQUIRES: mutex_ is held

  std::atomic<Scheduler*> scheduler_;
  const std::size_t conversations_max_, attachments_max_;

  mutable std::mutex mutex_;
  std::condition_variable none_;
  bool stopped_ = false;                                        // GUARDED_BY mutex_
  std::map<ConversationId, std::optional<Open>> open_;          // GUARDED_BY mutex_
  std::map<AttachmentNumber, std::optional<Pid>> attachments_;  // GUARDED_BY mutex_
  AttachmentNumber next_attachment_ = 0;                        // GUARDED_BY mutex_
};

}  // namespace liminal
