#include "node/conversation/conversation_supervisor.hpp"

#include <utility>

#include "common/base/text.hpp"
#include "node/conversation/conversation_process.hpp"
#include "node/conversation/conversation_proxy.hpp"
#include "node/conversation/conversation_shared.hpp"

namespace liminal {
namespace {

/// Has the conversations told again, some at a time; ends when all were, or another one began.
class Retelling final : public Process {
 public:
  Retelling(std::shared_ptr<ConversationRegistry> registry,
            std::shared_ptr<const std::atomic<std::uint64_t>> newest)
      : registry_(std::move(registry)), newest_(std::move(newest)), number_(newest_->load()) {}

  void on_start(Context& context) override { go_on(context); }
  void handle(Context& context, Message message) override {
    if (std::holds_alternative<message::TimerFired>(message)) go_on(context);
  }

 private:
  void go_on(Context& context) {
    const auto some = registry_->behind(last_, ConversationSupervisor::kRetoldAtOnce);
    if (some.empty() || newest_->load() != number_) return context.exit(ExitReason::normal());
    for (const auto& [id, pid] : some) {
      context.send_local(pid, std::make_unique<CallMessage>(call::Retell{}));
    }
    last_ = some.back().first;
    (void)context.start_timer(ConversationSupervisor::kRetellPause);  // never cancelled
  }

  const std::shared_ptr<ConversationRegistry> registry_;
  const std::shared_ptr<const std::atomic<std::uint64_t>> newest_;
  const std::uint64_t number_;
  std::optional<ConversationId> last_;
};

}  // namespace

ConversationSupervisor::ConversationSupervisor(Scheduler& scheduler, const Directory& directory,
                                               Settings settings)
    : scheduler_(scheduler),
      directory_(directory),
      participants_(settings.participants),
      timeline_(std::move(settings.timeline)),
      retellings_(std::make_shared<std::atomic<std::uint64_t>>(0)),
      registry_(std::make_shared<ConversationRegistry>(scheduler, settings.conversations_max,
                                                       settings.attachments_max)) {}

ConversationSupervisor::~ConversationSupervisor() { registry_->forget_scheduler(); }

Result<ConversationActor> ConversationSupervisor::spawn(ConversationConfig config) {
  return spawn(std::move(config), nullptr);
}

Result<ConversationActor> ConversationSupervisor::spawn_with_participant(ConversationConfig config,
                                                                         ParticipantMaker maker) {
  if (participants_ == nullptr) {
    return fail(Errc::kUnsupported, "participants of one conversation need a node's registry");
  }
  if (!config.participants.empty()) {
    return fail(Errc::kUsage, "role '" + escaped_tail(config.participants.front().role, 63) +
                                  "': the participant that is given is the only one");
  }
  config.participants = {ParticipantConfig::owned(ServiceName{"participant"})};
  return spawn(std::move(config), [registry = participants_, maker = std::move(maker)] {
    return registry->make(maker);
  });
}

Result<ConversationActor> ConversationSupervisor::spawn(
    ConversationConfig config, std::function<Result<Scheduler::Instance>()> make) {
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
  const Pid pid = scheduler_.spawn(std::make_unique<ConversationProcess>(
      std::move(record), directory_, timeline_, [registry = registry_, id] { registry->ended(id); },
      std::move(make)));
  ConversationHandle handle{std::make_shared<ConversationHandle::Shared>(
      registry_, directory_, cell, shared_config, id, pid, pid)};
  if (!registry_->started(id, {pid, std::move(cell), std::move(shared_config)})) {
    registry_->post(pid, call::Close{});
  }
  return ConversationActor{std::move(handle)};
}

Result<Payload> ask(ConversationSupervisor& conversations, const ServiceName& service,
                    Payload payload, Duration timeout, CrashPolicy on_crash) {
  auto actor = conversations.spawn({on_crash, {ParticipantConfig::owned(service)}});
  if (!actor) return tl::unexpected{std::move(actor.error())};
  ConversationHandle conversation = actor->handle();
  auto reply = conversation.ask(std::move(payload), timeout);
  if (!reply) conversation.cancel("ask: " + reply.error().detail);
  (void)conversation.close(timeout);  // what it came to is known; its end needs nobody
  if (reply) return reply;
  return tl::unexpected{what_it_came_to(conversation.query_state(), std::move(reply.error()))};
}

Error what_it_came_to(const ConversationState& end, Error error) {
  const bool undone = end.failure && (end.failure->code == Errc::kCompensated ||
                                      end.failure->code == Errc::kCompensationFailed);
  return undone ? *end.failure : std::move(error);
}

Result<ConversationHandle> ConversationSupervisor::attach(const ConversationRef& ref) {
  const auto snapshot = directory_.snapshot();
  const auto open = registry_->find(ref.id);
  if (open && open->pid.node == ref.pid.node && open->pid.serial == ref.pid.serial) {
    ConversationHandle handle{std::make_shared<ConversationHandle::Shared>(
        registry_, directory_, open->cell, open->config, ref.id, open->pid, open->pid)};
    registry_->post(open->pid, call::HandlesBack{});
    return handle;
  }
  if (ref.pid.serial == Serial{0} || !valid_name(ref.pid.node.value())) {
    return fail(Errc::kUsage, "conversation " + to_string(ref.id) + ": no process has the pid " +
                                  escaped_tail(to_string(ref.pid), 200));
  }
  if (ref.pid.is_local() || ref.pid.incarnation == snapshot->incarnation) {
    return fail(Errc::kConversationFailed,
                "conversation " + to_string(ref.id) + " is over, or never was on this node");
  }
  const auto number = registry_->reserve_attachment();
  if (!number) return tl::unexpected{number.error()};
  auto cell = std::make_shared<ConversationCell>(ConversationState{.id = ref.id});
  const Pid proxy = scheduler_.spawn(std::make_unique<ConversationProxy>(
      ref, cell, directory_,
      [registry = registry_, which = *number] { registry->attachment_ended(which); }));
  if (!registry_->attached(*number, proxy)) registry_->post(proxy, call::Shutdown{});
  return ConversationHandle{std::make_shared<ConversationHandle::Shared>(
      registry_, directory_, std::move(cell), nullptr, ref.id, ref.pid, proxy)};
}

bool ConversationSupervisor::cancel(const ConversationId& id, std::string by) {
  const auto open = registry_->find(id);
  if (!open) return false;
  const ConversationPhase phase = open->cell->phase();
  if (phase != ConversationPhase::kCreated && phase != ConversationPhase::kActive) return false;
  registry_->post(open->pid, call::Cancel{std::move(by)});
  return true;
}

void ConversationSupervisor::retell() {
  if (!timeline_ || registry_->open() == 0) return;
  retellings_->fetch_add(1);
  scheduler_.spawn(std::make_unique<Retelling>(registry_, retellings_));
}

void ConversationSupervisor::shutdown() {
  for (const Pid& pid : registry_->stop()) registry_->post(pid, call::Shutdown{});
}

}  // namespace liminal
