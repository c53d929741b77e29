#include "node/conversation/conversation_supervisor.hpp"

#include <utility>

#include "node/conversation/conversation_process.hpp"
#include "node/conversation/conversation_shared.hpp"

namespace liminal {

ConversationSupervisor::ConversationSupervisor(Scheduler& scheduler, const Directory& directory,
                                               Settings settings)
    : scheduler_(scheduler),
      directory_(directory),
      timeline_(settings.timeline),
      registry_(std::make_shared<ConversationRegistry>(scheduler, settings.conversations_max)) {}

ConversationSupervisor::~ConversationSupervisor() { registry_->forget_scheduler(); }

Result<ConversationHandle> ConversationSupervisor::spawn(ConversationConfig config) {
  if (const auto valid = validate(config); !valid) return tl::unexpected{valid.error()};
  const ConversationId id = scheduler_.new_conversation_id();
  if (const auto reserved = registry_->reserve(id); !reserved) {
    return tl::unexpected{reserved.error()};
  }

  auto shared_config = std::make_shared<const ConversationConfig>(std::move(config));
  ConversationContext state{id, shared_config};
  auto cell = std::make_shared<ConversationCell>(snapshot_of(state));
  auto record = std::make_shared<ConversationRecord>(
      ConversationRecord{.state = std::move(state), .cell = cell});
  const Pid pid = scheduler_.spawn(
      std::make_unique<ConversationProcess>(std::move(record), directory_, timeline_,
                                            [registry = registry_, id] { registry->ended(id); }));
  ConversationHandle handle{std::make_shared<ConversationHandle::Shared>(
      registry_, directory_, std::move(cell), std::move(shared_config), id, pid)};
  if (!registry_->started(id, pid)) registry_->post(pid, call::Close{});
  return handle;
}

bool ConversationSupervisor::cancel(const ConversationId& id, std::string by) {
  const auto pid = registry_->find(id);
  if (!pid) return false;
  registry_->post(*pid, call::Cancel{std::move(by)});
  return true;
}

void ConversationSupervisor::shutdown() {
  for (const Pid& pid : registry_->stop()) registry_->post(pid, call::Shutdown{});
}

}  // namespace liminal
