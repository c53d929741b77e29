#include "tests/conformance/stage.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace liminal::conformance {
namespace {

constexpr ClusterSettings kCluster{.beat_interval = 250ms,
                                   .suspect_after = 1250ms,
                                   .down_after = 3s,
                                   .reconnect_grace = 500ms,
                                   .payload_bytes_max = 16 << 20,
                                   .lease_margin = 500ms,
                                   .recovery = 6s,
                                   .timeline_records_max = 1000};
constexpr Duration kStep = 1ms;
constexpr Duration kPatience = 60s;
// Verdicts, close timeouts, sessions with those that are gone.
constexpr Duration kSettling = 20s;

std::uint64_t seed() {
  const char* text = std::getenv("LIMINAL_SIM_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

}  // namespace

Doing reply(std::string text) { return {.end = Doing::End::kReply, .text = std::move(text)}; }
Doing done() { return {.end = Doing::End::kDone}; }
Doing throwing(std::string text) { return {.end = Doing::End::kThrow, .text = std::move(text)}; }
Doing exiting(ExitReason reason) { return {.end = Doing::End::kExit, .reason = std::move(reason)}; }
Doing reply_and_leave(std::string text) {
  return {.end = Doing::End::kReplyAndLeave, .text = std::move(text)};
}
Doing never() { return {.end = Doing::End::kNever}; }

// --- services ---

/// In its turn.
class ScriptedBehaviour final : public ParticipantBehaviour {
 public:
  ScriptedBehaviour(Stage& stage, std::string name, const Service& service, NodeName node)
      : stage_(stage), name_(std::move(name)), service_(service), node_(std::move(node)) {}

  std::optional<Payload> process(const Request& request) override {
    stage_.note("process", name_, node_, request.id, request.attempt,
                std::string{request.payload.view()});
    return act(service_.process(request, node_));
  }
  void compensate(const Compensation& compensation) override {
    stage_.note("undo", name_, node_, compensation.request.id, compensation.attempt,
                std::string{compensation.reply ? compensation.reply->view() : "(no reply)"});
    (void)act(service_.undo(compensation, node_));
  }

 private:
  static std::optional<Payload> act(const Doing& doing) {
    switch (doing.end) {
      case Doing::End::kReply:
        return Payload{doing.text};
      case Doing::End::kDone:
        return std::nullopt;
      case Doing::End::kThrow:
        throw std::runtime_error{doing.text};
      case Doing::End::kExit:
      case Doing::End::kReplyAndLeave:
      case Doing::End::kNever:
        break;
    }
    throw std::logic_error{"only a service that waits can do this"};
  }

  Stage& stage_;
  std::string name_;
  const Service& service_;
  NodeName node_;
};

/// Over the time that its script says.
class WaitingParticipant final : public ParticipantProcess {
 public:
  WaitingParticipant(ParticipantSlot slot, Stage& stage, std::string name, const Service& service,
                     NodeName node)
      : ParticipantProcess(std::move(slot)),
        stage_(stage),
        name_(std::move(name)),
        service_(service),
        node_(std::move(node)) {}

  void on_start(Context& context) override {
    if (service_.fails_to_start) throw std::runtime_error{"does not start"};
    if (service_.ignores_shutdown) context.trap_exits(true);
  }

 private:
  struct Go final : LocalMessage {
    explicit Go(std::uint64_t the_number) : number(the_number) {}
    std::uint64_t number;
  };

  void begin(Context& context, const Request& request) override {
    stage_.note("process", name_, node_, request.id, request.attempt,
                std::string{request.payload.view()});
    asked_ = request.id;
    act(context, service_.process(request, node_));
  }
  void begin_undo(Context& context, const Compensation& compensation) override {
    stage_.note("undo", name_, node_, compensation.request.id, compensation.attempt,
                std::string{compensation.reply ? compensation.reply->view() : "(no reply)"});
    asked_ = compensation.request.id;
    act(context, service_.undo(compensation, node_));
  }
  void interrupt(Context& context) override {
    stage_.note("interrupt", name_, node_, *asked_, 0, {});
    if (doing_.stubborn) return;
    ended_ = true;
    ++number_;
    context.send_local(context.self(), std::make_unique<Go>(number_));
  }
  bool on_local(Context& context, LocalMessage& message) override {
    const auto* go = dynamic_cast<Go*>(&message);
    if (go == nullptr) return false;
    if (go->number == number_) end(context);
    return true;
  }

  void act(Context& context, Doing doing) {
    doing_ = std::move(doing);
    ended_ = false;
    ++number_;
    if (doing_.end == Doing::End::kNever) return;
    if (doing_.takes == Duration::zero()) return end(context);
    stage_.world().events().after(
        doing_.takes, [&stage = stage_, node = node_.value(), to = context.self(), n = number_] {
          stage.node(node).scheduler().send_local(to, std::make_unique<Go>(n));
          stage.node(node).poke();
        });
  }

  void end(Context& context) {
    if (ended_)
      return conclude(context, tl::unexpected{CommandFailure{"it was told to end", true}});
    switch (doing_.end) {
      case Doing::End::kReply:
        return finish(context, Payload{doing_.text});
      case Doing::End::kDone:
        return finish(context, std::nullopt);
      case Doing::End::kThrow:
        throw std::runtime_error{doing_.text};
      case Doing::End::kExit:
        return context.exit(doing_.reason);
      case Doing::End::kReplyAndLeave:
        finish(context, Payload{doing_.text});
        return leave(context);
      case Doing::End::kNever:
        return;
    }
  }

  Stage& stage_;
  std::string name_;
  const Service& service_;
  NodeName node_;
  Doing doing_;
  bool ended_ = false;  // by interrupt()
  std::optional<MessageId> asked_;
  std::uint64_t number_ = 0;
};

// --- calls ---

std::string Call::said() const {
  if (given_up) return "(given up)";
  if (!outcome) return "(waiting)";
  return *outcome ? std::string{(*outcome)->view()} : std::string{name_of(outcome->error().code)};
}

CallPtr Talk::make_call(ConversationHandle::Completion& completion) const {
  auto call = std::make_shared<Call>();
  completion = [call, &world = stage_.world()](Outcome outcome) {
    ++call->told;
    call->at = world.now();
    call->outcome = std::move(outcome);
    // What is pending holds the conversation; here it may still be on its way to us.
    world.events().at(world.now(), [call] { call->pending = {}; });
  };
  return call;
}

Talk::Sent Talk::send(const std::string& text, SendOptions options) {
  ConversationHandle::Completion completion;
  CallPtr call = make_call(completion);
  const MessageId id = handle_->start_send(Payload{text}, std::move(options), completion);
  stage_.poke_caller();
  return {id, call};
}

CallPtr Talk::receive(std::optional<MessageId> request) {
  ConversationHandle::Completion completion;
  CallPtr call = make_call(completion);
  call->pending = handle_->start_receive(request, completion);
  stage_.poke_caller();
  return call;
}

CallPtr Talk::ask(const std::string& text, SendOptions options) {
  ConversationHandle::Completion completion;
  CallPtr call = make_call(completion);
  call->pending = handle_->start_ask(Payload{text}, std::move(options), completion);
  stage_.poke_caller();
  return call;
}

void Talk::give_up(const CallPtr& call) {
  call->given_up = call->pending.cancel();
  call->pending = {};
  stage_.poke_caller();
}

CallPtr Talk::close() {
  ConversationHandle::Completion completion;
  CallPtr call = make_call(completion);
  (void)handle_->start_close(completion);
  stage_.poke_caller();
  return call;
}

void Talk::cancel(const std::string& by) {
  handle_->cancel(by);
  stage_.poke_caller();
}

void Talk::drop() {
  here_.reset();
  handle_.reset();
  stage_.poke_caller();
}

ParticipantStatus Talk::participant(const std::string& role) const {
  for (const ParticipantStatus& status : state().participants) {
    if (status.role == role) return status;
  }
  throw std::logic_error{"no role " + role};
}

std::vector<std::string> Talk::compensations() const {
  std::vector<std::string> told;
  for (const CompensationRecord& record : state().compensations) {
    told.push_back(record.role + " " + std::string{name_of(record.outcome)} +
                   (record.in_doubt ? " in doubt" : ""));
  }
  return told;
}

// --- the stage ---

Stage::Stage() : world_({.cluster = kCluster}, seed()) {}

void Stage::offer(const std::string& name, Service service, const std::vector<std::string>& hosts) {
  made_[name] = 0;
  offered_.insert_or_assign(name, Offered{std::move(service), hosts});
}

void Stage::start() {
  if (across()) {
    for (const std::string name : {"u", "c", "p1", "p2", "p3"}) start_node(name);
  } else {
    start_node("solo");
  }
  world_.run_for(1s);
  for (const auto& [name, index] : index_) {
    ASSERT_TRUE(world_.node(index).core().joined()) << name;
  }
}

void Stage::start_node(const std::string& name) {
  NodeCore::Settings settings{.name = NodeName{name}};
  std::vector<std::string> here;
  for (const auto& [service, offered] : offered_) {
    const bool is_host =
        std::find(offered.hosts.begin(), offered.hosts.end(), name) != offered.hosts.end();
    if (across() && !is_host) continue;
    here.push_back(service);
    settings.services.emplace_back(service);
  }
  const NodeName node_name = settings.name;
  const std::size_t index = world_.nodes();
  index_[name] = index;
  world_.start_node(std::move(settings),
                    [this, index, node_name](const signal::SpawnRequest& request) {
                      return make(hosts_[index], node_name, request);
                    });
  hosts_.push_back(make_host(world_.node(index), here));
}

Stage::Host Stage::make_host(sim::World::Node& node, const std::vector<std::string>& services) {
  Host host{std::make_shared<ServiceRegistry>(
                ServiceRegistry::Settings{.node = node.name(), .timeline = &node.timeline()}),
            std::make_shared<ParticipantLedger>()};
  host.waiting->timeline = &node.timeline();
  for (const std::string& service : services) {
    const Service& told = offered_.at(service).service;
    if (told.waits) continue;
    const BehaviourFactory factory = [this, service, &told, name = node.name()] {
      if (told.fails_to_start) throw std::runtime_error{"does not start"};
      return std::make_unique<ScriptedBehaviour>(*this, service, told, name);
    };
    const auto added = host.registry->add(ServiceName{service}, factory,
                                          told.compensates ? Undo::kCompensates : Undo::kNone);
    if (!added) throw std::logic_error{added.error().detail};
  }
  return host;
}

Result<Scheduler::Instance> Stage::make(const Host& host, const NodeName& node,
                                        const signal::SpawnRequest& request) {
  const std::string name = request.service.value();
  const auto found = offered_.find(name);
  if (found == offered_.end()) return fail(Errc::kNoService, "no service '" + name + "'");
  ++made_[name];
  const Service& service = found->second.service;
  if (!service.waits) return host.registry->make(request);
  auto slot = ParticipantSlot::take(host.waiting, 10'000);
  return Scheduler::Instance{
      std::make_unique<WaitingParticipant>(*std::move(slot), *this, name, service, node),
      service.compensates};
}

sim::World::Node& Stage::node(const std::string& name) {
  return world_.node(index_.at(across() ? name : "solo"));
}

void Stage::poke_caller() {
  node("c").poke();
  node(caller_node()).poke();
}

void Stage::kill_node(const std::string& name) { world_.kill(index_.at(name)); }

Pid Stage::attach(const std::string& service, const std::string& host) {
  sim::World::Node& home = node(host);
  const Pid self{home.name(), local_incarnation(), Serial{0}};
  auto made = make(hosts_[index_.at(across() ? host : "solo")], home.name(),
                   {self, self, SpawnId{1}, ServiceName{service}, {1, 1}});
  Pid pid = home.scheduler().spawn(std::move(made->process));
  attached_.push_back(pid);
  home.poke();
  if (across()) pid.incarnation = home.core().incarnation();
  return pid;
}

void Stage::exit(const Pid& participant, ExitReason reason) {
  sim::World::Node& home = node(participant.node.value());
  home.scheduler().exit({participant.node, local_incarnation(), participant.serial},
                        std::move(reason));
  home.poke();
}

void Stage::lose(const Talk& talk, const std::string& role) {
  const Pid pid = *talk.participant(role).pid;
  if (across()) {
    kill_node(pid.node.value());
  } else {
    exit(pid, ExitReason::kill());
  }
}

void Stage::crash_actor(Talk& talk) {
  const auto actor = talk.here().actor_pid();
  ASSERT_TRUE(actor);
  node("c").scheduler().exit(*actor, ExitReason::error("the actor's fault"));
  node("c").poke();
}

ConversationHandle Stage::caller_handle(const ConversationHandle& at_conversation) {
  auto handle = node(caller_node()).supervisor().attach(*at_conversation.ref());
  if (!handle) throw std::runtime_error{handle.error().detail};
  return *std::move(handle);
}

ConversationConfig Stage::config(CrashPolicy policy, const std::vector<std::string>& roles) {
  ConversationConfig made{policy, {}};
  for (const std::string& role : roles) {
    made.participants.push_back(ParticipantConfig::owned(ServiceName{role}));
  }
  return made;
}

Talk& Stage::open(ConversationConfig config) {
  Talk& talk = open_here(std::move(config));
  talk.handle() = caller_handle(talk.here());
  poke_caller();
  return talk;
}

Talk& Stage::open_here(ConversationConfig config) {
  auto handle = node("c").supervisor().spawn(std::move(config));
  if (!handle) throw std::runtime_error{handle.error().detail};
  talks_.push_back(std::make_unique<Talk>(*this, handle->handle(), handle->handle()));
  node("c").poke();
  poke_caller();
  return *talks_.back();
}

bool Stage::run_until(const std::function<bool()>& holds) {
  const TimePoint until = world_.now() + kPatience;
  while (!holds()) {
    if (world_.now() >= until) {
      ADD_FAILURE() << "not within a minute";
      return false;
    }
    world_.run_for(kStep);
  }
  return true;
}

std::vector<std::string> Stage::deeds(const std::string& service) const {
  std::vector<std::string> told;
  for (const EffectsLedger::Entry& deed : ledger_) {
    if (service.empty() || deed.service.value() == service) {
      told.push_back(deed.action + " " + deed.service.value());
    }
  }
  return told;
}

std::size_t Stage::live_participants() const {
  std::size_t live = 0;
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    if (!world_.node(i).alive()) continue;
    live += hosts_[i].registry->participants() + hosts_[i].waiting->live.load();
  }
  return live;
}

void Stage::note(std::string action, const std::string& service, const NodeName& node,
                 const MessageId& request, std::uint32_t attempt, std::string text) {
  ledger_.push_back({.action = std::move(action),
                     .service = ServiceName{service},
                     .node = node,
                     .message = request,
                     .attempt = attempt,
                     .text = std::move(text)});
}

void Stage::expect_rest() {
  EXPECT_EQ(live_participants(), 0U);
  for (std::size_t i = 0; i < world_.nodes(); ++i) {
    sim::World::Node& each = world_.node(i);
    if (!each.alive()) continue;
    const auto counts = each.scheduler().counts();
    EXPECT_EQ(counts.processes, 1U) << each.label() << ": the one that beats is left";
    EXPECT_EQ(counts.timers, 0U) << each.label();
    EXPECT_EQ(each.supervisor().open(), 0U) << each.label();
    EXPECT_EQ(each.supervisor().attachments(), 0U) << each.label();
    EXPECT_EQ(each.core().ties(), 0U) << each.label();
  }
}

void Stage::TearDown() {
  for (const auto& talk : talks_) {
    if (talk->is_held()) (void)talk->close();
  }
  world_.run_for(kSettling);
  for (const Pid& pid : attached_) exit(pid, ExitReason::kill());
  world_.run_for(1s);
  for (const auto& talk : talks_) {
    if (!talk->is_held()) continue;
    EXPECT_TRUE(talk->state().ended);
  }
  expect_rest();
}

}  // namespace liminal::conformance
