#include "node/conversation/conversation_registry.hpp"

#include <memory>
#include <string>
#include <utility>

namespace liminal {

Result<void> ConversationRegistry::reserve(const ConversationId& id) {
  const std::lock_guard lock{mutex_};
  if (stopped_) return fail(Errc::kConversationFailed, "this node is shutting down");
  if (open_.size() >= conversations_max_) {
    return fail(Errc::kRejected, std::to_string(open_.size()) +
                                     " conversations are open, conversations-max is " +
                                     std::to_string(conversations_max_));
  }
  open_.emplace(id, std::nullopt);
  return {};
}

auto ConversationRegistry::reserve_attachment() -> Result<AttachmentNumber> {
  const std::lock_guard lock{mutex_};
  if (stopped_) return fail(Errc::kConversationFailed, "this node is shutting down");
  if (attachments_.size() >= attachments_max_) {
    return fail(Errc::kRejected, std::to_string(attachments_.size()) +
                                     " conversations elsewhere are attached, attachments-max is " +
                                     std::to_string(attachments_max_));
  }
  attachments_.emplace(++next_attachment_, std::nullopt);
  return next_attachment_;
}

bool ConversationRegistry::attached(AttachmentNumber number, const Pid& proxy) {
  const std::lock_guard lock{mutex_};
  if (const auto found = attachments_.find(number); found != attachments_.end()) {
    found->second = proxy;
  }
  return !stopped_;
}

void ConversationRegistry::attachment_ended(AttachmentNumber number) {
  const std::lock_guard lock{mutex_};
  attachments_.erase(number);
  if (at_rest()) none_.notify_all();
}

std::size_t ConversationRegistry::attachments() const {
  const std::lock_guard lock{mutex_};
  return attachments_.size();
}

bool ConversationRegistry::at_rest() const {
  return open_.empty() && (!stopped_ || attachments_.empty());
}

bool ConversationRegistry::started(const ConversationId& id, Open open) {
  const std::lock_guard lock{mutex_};
  if (const auto found = open_.find(id); found != open_.end()) found->second = std::move(open);
  return !stopped_;
}

void ConversationRegistry::ended(const ConversationId& id) {
  const std::lock_guard lock{mutex_};
  open_.erase(id);
  if (at_rest()) none_.notify_all();
}

std::vector<Pid> ConversationRegistry::stop() {
  const std::lock_guard lock{mutex_};
  stopped_ = true;
  std::vector<Pid> pids;
  for (const auto& [id, open] : open_) {
    if (open) pids.push_back(open->pid);
  }
  for (const auto& [number, proxy] : attachments_) {
    if (proxy) pids.push_back(*proxy);
  }
  return pids;
}

std::optional<ConversationRegistry::Open> ConversationRegistry::find(
    const ConversationId& id) const {
  const std::lock_guard lock{mutex_};
  const auto found = open_.find(id);
  return found == open_.end() ? std::nullopt : found->second;
}

std::size_t ConversationRegistry::open() const {
  const std::lock_guard lock{mutex_};
  return open_.size();
}

std::vector<std::pair<ConversationId, Pid>> ConversationRegistry::behind(
    const std::optional<ConversationId>& id, std::size_t count) const {
  const std::lock_guard lock{mutex_};
  std::vector<std::pair<ConversationId, Pid>> some;
  for (auto each = id ? open_.upper_bound(*id) : open_.begin();
       each != open_.end() && some.size() < count; ++each) {
    if (each->second) some.emplace_back(each->first, each->second->pid);
  }
  return some;
}

bool ConversationRegistry::wait_until_none(Duration timeout) {
  std::unique_lock lock{mutex_};
  return none_.wait_for(lock, timeout, [this] { return at_rest(); });
}

void ConversationRegistry::post(const Pid& conversation, Call call) {
  if (Scheduler* const scheduler = scheduler_.load()) {
    scheduler->send_local(conversation, std::make_unique<CallMessage>(std::move(call)));
  }
}

}  // namespace liminal
